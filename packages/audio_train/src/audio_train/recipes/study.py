"""What a study is: runs that answer one question, where they come from, and what was reported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from audio_data import Vocabulary
from audio_train.config import TrainRun


@dataclass(frozen=True)
class Study:
    """A family of runs.

    Attributes:
        name: name of the family.
        question: what the runs together answer, in one sentence.
        source: where the recipe is described.
        runs: the runs by name.
        reported: published result of a run by its name; a run that is not named has none that is known.
        vocabulary: vocabulary of the published data, or None where each user's data brings its own.
    """

    name: str
    question: str
    source: str
    runs: Mapping[str, TrainRun]
    reported: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    vocabulary: Vocabulary | None = None
