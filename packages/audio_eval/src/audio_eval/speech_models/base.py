"""Interfaces of transcribers and speaker encoders, and the weights of those that ship with the package."""

import dataclasses
import functools
import hashlib
import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from audio_data import InputError, decode_json, read_bytes

_SHA256 = {
    "speaker.safetensors": "59cdad45bbd47ddaa06d7d0b4f87f883b3b333f641ade56ff8a55447ce99654b",
    "transcriber.safetensors": "1c7149530771fc5cf9541e5515a8e8637d1a5e4280c773f0a29cbcacd1757b5c",
}


@runtime_checkable
class Transcriber(Protocol):
    """A speech-to-text model. Its errors are part of every score, so scores are recorded with its `model_id`."""

    @property
    def language(self) -> str:
        """Code of the language it transcribes, such as "en"."""
        ...

    @property
    def model_id(self) -> str:
        """Kind, model and revision, enough to find the same model again."""
        ...

    def transcribe(self, clips: Sequence[Float[np.ndarray, " _"]], sample_rate_hz: int) -> list[str]:
        """Transcribe clips.

        Args:
            clips: Mono samples in -1..1, each of its own length; an empty clip has an empty transcript.
            sample_rate_hz: Their sampling rate.

        Returns:
            One transcript per clip, as the model writes it.
        """
        ...


@runtime_checkable
class SpeakerEncoder(Protocol):
    """A model of voices. The scale of its similarities is its own: a report shows them beside reference values."""

    @property
    def model_id(self) -> str:
        """Kind, model and revision, enough to find the same model again."""
        ...

    def embed(self, clips: Sequence[Float[np.ndarray, " _"]], sample_rate_hz: int) -> list[Float[np.ndarray, " dim"]]:
        """Return a vector of the voice of each clip; the cosine of two vectors is the similarity of their voices.

        Args:
            clips: Mono samples in -1..1, each of its own length; an empty clip has a vector of zeros.
            sample_rate_hz: Their sampling rate.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Unavailable:
    """The reason why a model is not available.

    Attributes:
        reason: What is missing and how to get it, in one line.
    """

    reason: str


def damaged_settings(folder: Path) -> str | None:
    """Return which JSON file of a model's folder is damaged, before a library that expects whole ones reads it.

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
    """Return the cosine of two vectors, 0 where one has no length."""
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / length if length else 0.0


@functools.cache
def shipped_weights(name: str) -> bytes:
    """Read a file of weights that ships with the package.

    Args:
        name: Name of the file.

    Raises:
        InputError: It is missing or not as it was shipped.
    """
    file = importlib.resources.files("audio_eval.speech_models").joinpath(name)
    content = file.read_bytes() if file.is_file() else b""
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256[name]:
        raise InputError(
            f"`{file}` must have the SHA-256 {_SHA256[name]} that it was shipped with, got {found!r}: install "
            "audio-eval again"
        )
    return content
