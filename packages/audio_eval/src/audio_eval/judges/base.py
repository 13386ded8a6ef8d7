"""The interface of a judge."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float

from audio_data import InputError, decode_json, read_bytes


@runtime_checkable
class Transcriber(Protocol):
    """Turns speech into text. Its errors are part of every score it gives, so scores carry its `judge_id`."""

    @property
    def language(self) -> str:
        """Code of the language it takes speech for, such as "en"."""
        ...

    @property
    def judge_id(self) -> str:
        """Kind, model and revision, enough to find the same judge again."""
        ...

    def transcribe(self, clips: Sequence[Float[np.ndarray, " _"]], sample_rate_hz: int) -> list[str]:
        """Transcribes clips.

        Args:
            clips: Mono samples in -1..1, each of its own length; an empty clip has an empty transcript.
            sample_rate_hz: Their sampling rate.

        Returns:
            One transcript a clip, as the model writes it.
        """
        ...


@runtime_checkable
class SpeakerModel(Protocol):
    """Says how alike two voices are. What its numbers mean is its own: a report shows them calibrated."""

    @property
    def judge_id(self) -> str:
        """Kind, model and revision, enough to find the same judge again."""
        ...

    def embed(self, clips: Sequence[Float[np.ndarray, " _"]], sample_rate_hz: int) -> list[Float[np.ndarray, " dim"]]:
        """Describes the voice of each clip by a vector; the cosine of two is how alike their voices are.

        Args:
            clips: Mono samples in -1..1, each of its own length; an empty clip has a vector of zeros.
            sample_rate_hz: Their sampling rate.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Unavailable:
    """Why there is no judge.

    Attributes:
        reason: What is missing and how to get it, in one line.
    """

    reason: str


Judge: TypeAlias = Transcriber | Unavailable
SpeakerJudge: TypeAlias = SpeakerModel | Unavailable


def damaged_settings(folder: Path) -> str | None:
    """Says which JSON file of a model's folder is damaged, before a library that expects whole ones meets it.

    Args:
        folder: The model's folder.

    Returns:
        The file and what is wrong with it, in one line; None where all are JSON.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            decode_json(read_bytes(path))
        except InputError as error:
            return f"{path.name}: {error.message}"
    return None


def similarity(one: Float[np.ndarray, " dim"], other: Float[np.ndarray, " dim"]) -> float:
    """Returns the cosine of two vectors, 0 where one has no length."""
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0
