"""What a study is: runs that answer one question, where they come from, and what was reported."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType

from audio_data import MIXES, Vocabulary
from audio_train.config import TrainRun

UNKNOWN = "unknown"
"""What was reported of a run of which nothing was."""


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


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
        vocabularies: vocabulary of a run by its name, where it is not that of the study.
        aliases: what the source calls a run, by the run's name.
        choices: why a field holds what it holds, by its path such as `optimizer.learning_rate`, where the source
            disagrees with itself or leaves it open.
        derived: from what a field was computed when the recipes were written, by its path; it cannot be set alone.
        inactive: runs that the source defines but does not start.
        miniature: whether the runs are this project's own, no larger than they are meant to be: they read the
            generated corpora as they are, and `--scale smoke` changes nothing.
    """

    name: str
    question: str
    source: str
    runs: Mapping[str, TrainRun]
    reported: Mapping[str, str] = field(default_factory=_nothing)
    vocabulary: Vocabulary | None = None
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=lambda: MappingProxyType({}))
    aliases: Mapping[str, str] = field(default_factory=_nothing)
    choices: Mapping[str, str] = field(default_factory=_nothing)
    derived: Mapping[str, str] = field(default_factory=_nothing)
    inactive: Set[str] = frozenset()
    miniature: bool = False

    def vocabulary_of(self, run_name: str) -> Vocabulary | None:
        """The vocabulary of a run's published data, or None where the user's data bring their own."""
        return self.vocabularies.get(run_name, self.vocabulary)

    def reported_of(self, run_name: str) -> str:
        """What was reported of a run, or "unknown"."""
        return self.reported.get(run_name, UNKNOWN)

    def source_of(self, run_name: str) -> str:
        """Where a run is described, and what it is called there."""
        alias = self.aliases.get(run_name)
        return f"{self.source}: {alias}" if alias else self.source


def family(*runs: TrainRun) -> Mapping[str, TrainRun]:
    """Runs by their names, in the order given."""
    return MappingProxyType({run.name: run for run in runs})


def mixture_name(weights: Mapping[str, float]) -> str | None:
    """What mixture weights are called: a name in `audio_data.MIXES`, or the corpus where there is only one.

    Args:
        weights: weight of each corpus, of any sum.

    Returns:
        The name, or None for weights of the user's own.
    """
    if len(weights) == 1:
        return next(iter(weights))
    return next((mix.name for mix in MIXES.values() if dict(mix.weights) == dict(weights)), None)
