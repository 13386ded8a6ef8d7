"""Published weights from which runs of the study start, and checkpoints that it exported."""

from dataclasses import dataclass

from audio_data import Vocabulary
from audio_train.config import InitSpec, NamedModel
from audio_train.soda.catalogue import MARIN_MIMI, QWEN3X_MIMI


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A published model folder.

    Attributes:
        name: Name in recipes.
        repository: Repository on the Hugging Face hub.
        revision: Commit of the repository.
        model: Its shape, with the rotary base, scaling and epsilon of its training.
        vocabulary: Its vocabulary.
        recipe: Recipe that trains it, or None if it is not a run of the study.
        note: Description.
    """

    name: str
    repository: str
    revision: str
    model: NamedModel
    vocabulary: Vocabulary
    recipe: str | None
    note: str

    @property
    def init(self) -> InitSpec:
        """Start from these weights, with the rotary base, scaling and epsilon of the run's model."""
        return InitSpec(kind="model", source=self.repository, revision=self.revision, rope_and_epsilon_of="run")

    @property
    def run_model(self) -> NamedModel:
        """Model of the study's runs that start from these weights: their shape, with the values of the study."""
        return NamedModel(self.model.size, tied=self.model.tied)


_0_6B = NamedModel("0.6b", tied=False)


def _qwen3(size: str) -> NamedModel:
    """Return a model with the values in the `config.json` of Qwen3's base models on the hub."""
    return NamedModel(size, tied=False, rope_theta=1e6, rope_scaling="none", rms_epsilon=1e-6)


CHECKPOINTS = {
    checkpoint.name: checkpoint
    for checkpoint in (
        PublishedCheckpoint(
            "qwen3x-0.6b",
            "potsawee/qwen3x-0.6B-base",
            "1a84125",
            _qwen3("0.6b"),
            QWEN3X_MIMI,
            None,
            "Qwen3-0.6B-Base with rows for audio: the mean of all others and noise of 0.02",
        ),
        PublishedCheckpoint(
            "qwen3x-1.7b",
            "potsawee/qwen3x-1.7B-base",
            "14cd3a1",
            _qwen3("1.7b"),
            QWEN3X_MIMI,
            None,
            "Qwen3-1.7B-Base, extended alike",
        ),
        PublishedCheckpoint(
            "soda-600m",
            "potsawee/soda-600m-base",
            "86c9e30",
            _0_6B,
            MARIN_MIMI,
            "exp2.1-0.6b",
            "SODA-600M: cold start, English",
        ),
        PublishedCheckpoint(
            "soda-600m-warm",
            "potsawee/soda-600m-warmstart",
            "df960e9",
            _0_6B,
            QWEN3X_MIMI,
            "exp2.2-0.6b",
            "SODA-600M from Qwen3x-0.6B",
        ),
        PublishedCheckpoint(
            "soda-p",
            "WillHeld/blueberry",
            "9dc7905",
            NamedModel("0.6b-hd64", tied=False),
            MARIN_MIMI,
            "exp1.1",
            "the preliminary model (`blueberry`): eight languages of YODAS2",
        ),
    )
}
"""Published models by name."""

PUBLISHED_WEIGHTS_CHOICES: dict[str, str] = {
    "init.kind=model": "published weights are read as they are stored; the source reads them through bfloat16",
    "init.rope_and_epsilon_of=run": "the run's: the source's trainer loads weights into the run's own configuration "
    "(Levanter `main/train_lm.py`, `use_hf_model_config` False): rotary base 5e5, Llama-3 scaling, epsilon 1e-5. "
    "Qwen3x was trained with base 1e6, no scaling and 1e-6, which `exp2.2-weights-function` keeps",
}
"""Choices of runs that start from published weights."""


@dataclass(frozen=True)
class Export:
    """A checkpoint of a run that is written as a model folder.

    Attributes:
        recipe: The run.
        step: Step of the checkpoint.
        alias: Name in the source.
    """

    recipe: str
    step: int
    alias: str

    @property
    def command(self) -> str:
        """Command line that writes it."""
        return f"audio-train export {self.recipe} --step {self.step} --out exports/{self.recipe}-step{self.step}"


EXPORTS = tuple(Export("exp1.1", step, f"marin-yodas2-step-{step}") for step in (10_000, 210_000, 220_000, 230_000))
"""Checkpoints of the first run that the study exported. The run keeps one every 10,000 steps."""
