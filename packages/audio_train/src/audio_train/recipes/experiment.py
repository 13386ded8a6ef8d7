"""An experiment: runs that answer one question, their source, and reported results."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType

from audio_data import Vocabulary
from audio_train.config import TrainRun

UNKNOWN = "unknown"
"""Return the reported result of a run for which nothing was published."""


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Experiment:
    """A named set of runs.

    Attributes:
        name: Name of the experiment.
        question: The question that the runs answer, in one sentence.
        source: Publication or code that describes the runs.
        runs: The runs by name.
        reported: Published result of a run, by its name. Runs without one are left out.
        vocabulary: Vocabulary of the published data; None to take that of the user's data.
        vocabularies: Vocabulary of a run, by its name, if it differs from that of the experiment.
        aliases: Name of a run in the source, by the run's name.
        choices: Reason for the value of a field, by its path such as `optimizer.learning_rate`, if the source
            contradicts itself or leaves the value open. The key `PATH=VALUE` applies only if the field has this value.
        derived: Rule that computed a field, by its path. `--set` refuses to change such a field.
        inactive: Runs that the source defines but does not launch.
        mixtures: Named mixture weights, for `show` and `recipes`.
        fits_rows: Whether rows become longer where the user's data have longer documents; see `targets.with_rows_for`.
        fixed_size: Whether `--scale smoke` changes nothing, because the runs are small already.
        smoke_data: Command line that makes the data and weights for `--scale smoke`; `{data}` and `{name}` are replaced
            by the data folder and the run's name. Empty if there is none.
        smoke_weights: Folder below DATA/initial_weights with the weights that replace an `init.source` at
            `--scale smoke`, by the source, if it does not have the name of the run.
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
    fits_rows: bool = False
    fixed_size: bool = False
    smoke_data: str = ""
    smoke_weights: Mapping[str, str] = field(default_factory=_nothing)

    def vocabulary_of(self, run_name: str) -> Vocabulary | None:
        """Vocabulary of a run's published data; None to take that of the user's data."""
        return self.vocabularies.get(run_name, self.vocabulary)

    def mixture_name(self, weights: Mapping[str, float]) -> str | None:
        """Name of mixture weights: the only dataset, or a key of `mixtures`; None otherwise."""
        if len(weights) == 1:
            return next(iter(weights))
        return next((name for name, known in self.mixtures.items() if dict(known) == dict(weights)), None)

    def reported_of(self, run_name: str) -> str:
        """Return the reported result of a run, or "unknown"."""
        return self.reported.get(run_name, UNKNOWN)

    def source_of(self, run_name: str) -> str:
        """Source of a run, with its name there."""
        alias = self.aliases.get(run_name)
        return f"{self.source}: {alias}" if alias else self.source


def runs_by_name(*runs: TrainRun) -> Mapping[str, TrainRun]:
    """Return the runs by their names, in the order given."""
    return MappingProxyType({run.name: run for run in runs})
