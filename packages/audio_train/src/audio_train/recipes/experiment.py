"""An experiment: the runs that answer one question, where they come from, and what was reported."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType

from audio_data import Vocabulary
from audio_train.config import TrainRun

UNKNOWN = "unknown"
"""The reported result of a run without one."""


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Experiment:
    """A named set of runs.

    Attributes:
        name: Name of the experiment.
        question: What the runs together answer, in one sentence.
        source: Where the runs are described.
        runs: The runs by name.
        reported: Published result of a run, by its name. A run that is missing has no known result.
        vocabulary: Vocabulary of the published data; None where each user's data bring their own.
        vocabularies: Vocabulary of a run, by its name, where it differs from that of the experiment.
        aliases: Name of a run in the source, by the run's name.
        choices: Reason for the value of a field, by its path such as `optimizer.learning_rate`, where the source
            contradicts itself or leaves the value open. `PATH=VALUE` is the reason where the field has this value.
        derived: Rule that a field was computed by, by its path. Such a field cannot be set alone.
        inactive: Runs that the source defines but does not start.
        mixtures: Named mixture weights, for `show` and `recipes`.
        fixed_size: Whether `--scale smoke` changes nothing, because the runs are small as they are.
        smoke_data: Command line that makes the data and weights for `--scale smoke`; `{data}` and `{name}` are replaced
            by the data folder and the run's name. Empty where there is none.
        smoke_starts: Folder below DATA/starts of the weights that stand in for a `init.source` at `--scale smoke`, by
            the source, where the folder is not named like the run.
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
    mixtures: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: MappingProxyType({}))
    fixed_size: bool = False
    smoke_data: str = ""
    smoke_starts: Mapping[str, str] = field(default_factory=_nothing)

    def vocabulary_of(self, run_name: str) -> Vocabulary | None:
        """Vocabulary of a run's published data; None where the user's data bring their own."""
        return self.vocabularies.get(run_name, self.vocabulary)

    def mixture_name(self, weights: Mapping[str, float]) -> str | None:
        """The name of mixture weights: a key of `mixtures`, or the dataset where there is only one; None otherwise."""
        if len(weights) == 1:
            return next(iter(weights))
        return next((name for name, known in self.mixtures.items() if dict(known) == dict(weights)), None)

    def reported_of(self, run_name: str) -> str:
        """The reported result of a run, or "unknown"."""
        return self.reported.get(run_name, UNKNOWN)

    def source_of(self, run_name: str) -> str:
        """Where a run is described, and its name there."""
        alias = self.aliases.get(run_name)
        return f"{self.source}: {alias}" if alias else self.source


def runs_by_name(*runs: TrainRun) -> Mapping[str, TrainRun]:
    """Runs by their names, in the order given."""
    return MappingProxyType({run.name: run for run in runs})
