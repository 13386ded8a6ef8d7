"""The embedded speaker encoder: statistics of spectrum and pitch; needs no download."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import safetensors.numpy
from jaxtyping import Float, Float32

from audio_eval.speech_models.base import shipped_weights
from audio_eval.speech_models.features import SAMPLE_RATE_HZ, log_mel, pitch

_FILE = "speaker.safetensors"
REVISION = 1
_NUM_CEPSTRA = 20
_LOUD_RANGE = 6.0
_SHRINKAGE = 0.05


class EmbeddedSpeaker:
    """Compare means and deviations of cepstra and pitch, scaled by how much one voice varies in each direction.

    It tells voices apart by spectrum and pitch. A change of microphone, room or codec counts as a change of voice, and
    two speakers with similar voices as one; a report therefore shows its numbers on pairs of recordings of the same and
    of different speakers beside those of generated speech.
    """

    def __init__(self, content: bytes | None = None):
        """Read the weights.

        Args:
            content: A safetensors file as `training` writes it; the shipped one by default.
        """
        content = shipped_weights(_FILE) if content is None else content
        tensors: Mapping[str, Float32[np.ndarray, "..."]] = safetensors.numpy.load(content)
        self._mean, self._whitening = tensors["mean"], tensors["whitening"]
        self._model_id = f"embedded-speaker:{REVISION}:{hashlib.sha256(content).hexdigest()[:12]}"

    @property
    def model_id(self) -> str:
        """Name, revision of the features and the first twelve digits of the SHA-256 of the weights."""
        return self._model_id

    def embed(self, clips: Sequence[Float[np.ndarray, " _"]], sample_rate_hz: int) -> list[Float32[np.ndarray, " dim"]]:
        """Return a vector of the voice of each clip; a clip of no samples has a vector of zeros."""
        return [self._embed(clip, sample_rate_hz) for clip in clips]

    def _embed(self, clip: Float[np.ndarray, " _"], sample_rate_hz: int) -> Float32[np.ndarray, " dim"]:
        if not clip.size or not np.any(clip):
            return np.zeros_like(self._mean)
        return self._whitening @ (describe(clip, sample_rate_hz) - self._mean)


def describe(samples: Float[np.ndarray, " samples"], sample_rate_hz: int) -> Float32[np.ndarray, " statistics"]:
    """Describe a voice by means and deviations over the loud frames of a clip.

    Args:
        samples: Mono, in -1..1.
        sample_rate_hz: Their rate.

    Returns:
        Means and standard deviations of 20 cepstra (loudness left out), and mean, deviation and share of voiced pitch;
        zeros where there is no sound.
    """
    log_mels = log_mel(samples, sample_rate_hz)
    loudness = log_mels.mean(axis=1)
    loud = loudness > loudness.max() - _LOUD_RANGE
    cepstra = log_mels[loud] @ _cosines(log_mels.shape[1])
    pitches = pitch(samples, sample_rate_hz)
    voiced = np.log(pitches[pitches > 0])
    tone = [voiced.mean(), voiced.std(), len(voiced) / len(pitches)] if len(voiced) else [0.0, 0.0, 0.0]
    return np.concatenate([cepstra.mean(axis=0), cepstra.std(axis=0), tone]).astype(np.float32)


def _cosines(num_bands: int) -> Float32[np.ndarray, "bands cepstra"]:
    bands, orders = np.arange(num_bands)[:, None], np.arange(1, _NUM_CEPSTRA + 1)[None]
    return (np.cos(np.pi / num_bands * (bands + 0.5) * orders) * np.sqrt(2 / num_bands)).astype(np.float32)


def fit(clips: Sequence[tuple[str, Float32[np.ndarray, " _"]]]) -> Mapping[str, Float32[np.ndarray, "..."]]:
    """Estimate how much a voice varies from clip to clip.

    Args:
        clips: Speaker and samples at 16 kHz.

    Returns:
        `mean`, the average over speakers, and `whitening`, after which the clips of one speaker vary equally in all
        directions.

    Source: within-class covariance normalisation, Hatch, Kajarekar and Stolcke (2006).
    """
    described = np.array([describe(samples, SAMPLE_RATE_HZ) for _, samples in clips], np.float64)
    speakers = np.array([speaker for speaker, _ in clips])
    centres = {speaker: described[speakers == speaker].mean(axis=0) for speaker in sorted(set(speakers))}
    within = np.array([row - centres[speaker] for row, speaker in zip(described, speakers, strict=True)])
    covariance = within.T @ within / len(within)
    covariance += _SHRINKAGE * np.diag(np.diag(covariance)) + 1e-6 * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    whitening = vectors @ np.diag(values**-0.5) @ vectors.T
    mean = np.mean(list(centres.values()), axis=0)
    return {"mean": mean.astype(np.float32), "whitening": whitening.astype(np.float32)}
