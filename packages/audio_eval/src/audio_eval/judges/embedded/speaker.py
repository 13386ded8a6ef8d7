"""The embedded speaker judge: needs no download, and knows what a voice's spectrum and pitch are like, no more."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import safetensors.numpy
from jaxtyping import Float, Float32

from audio_eval.judges.embedded import shipped_weights
from audio_eval.judges.embedded.speaker_statistics import describe

_FILE = "speaker.safetensors"
REVISION = 1


class EmbeddedSpeaker:
    """Compares means and deviations of cepstra and pitch, scaled by how much one voice varies in each direction.

    It tells voices apart by their colour and pitch. A change of microphone, room or codec looks to it like a change of
    voice, and two people who sound alike like one; a report therefore shows its numbers on pairs of recordings of the
    same and of different speakers beside those of generated speech.
    """

    def __init__(self, content: bytes | None = None):
        """Reads the weights.

        Args:
            content: A safetensors file as `training` writes it; the shipped one by default.
        """
        content = shipped_weights(_FILE) if content is None else content
        tensors: Mapping[str, Float32[np.ndarray, "..."]] = safetensors.numpy.load(content)
        self._mean, self._whitening = tensors["mean"], tensors["whitening"]
        self._judge_id = f"embedded-speaker:{REVISION}:{hashlib.sha256(content).hexdigest()[:12]}"

    @property
    def judge_id(self) -> str:
        """Name, revision of the features and the first twelve digits of the SHA-256 of the weights."""
        return self._judge_id

    def embed(self, clips: Sequence[Float[np.ndarray, " _"]], sample_rate_hz: int) -> list[Float32[np.ndarray, " dim"]]:
        """Describes the voice of each clip; one of no samples has a vector of zeros."""
        return [self._embed(clip, sample_rate_hz) for clip in clips]

    def _embed(self, clip: Float[np.ndarray, " _"], sample_rate_hz: int) -> Float32[np.ndarray, " dim"]:
        if not clip.size or not np.any(clip):
            return np.zeros_like(self._mean)
        return self._whitening @ (describe(clip, sample_rate_hz) - self._mean)
