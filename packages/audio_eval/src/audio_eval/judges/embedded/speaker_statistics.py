"""What the embedded speaker judge knows of a voice: statistics of spectrum and pitch, in units of how one varies."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float32

from audio_eval.judges.embedded.features import SAMPLE_RATE_HZ, log_mel, pitch

_NUM_CEPSTRA = 20
_LOUD_RANGE = 6.0
_SHRINKAGE = 0.05


def describe(samples: Float[np.ndarray, " samples"], sample_rate_hz: int) -> Float32[np.ndarray, " statistics"]:
    """Describes a voice by means and deviations over the loud frames of a clip.

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
    heard = pitch(samples, sample_rate_hz)
    voiced = np.log(heard[heard > 0])
    tone = [voiced.mean(), voiced.std(), len(voiced) / len(heard)] if len(voiced) else [0.0, 0.0, 0.0]
    return np.concatenate([cepstra.mean(axis=0), cepstra.std(axis=0), tone]).astype(np.float32)


def _cosines(num_bands: int) -> Float32[np.ndarray, "bands cepstra"]:
    bands, orders = np.arange(num_bands)[:, None], np.arange(1, _NUM_CEPSTRA + 1)[None]
    return (np.cos(np.pi / num_bands * (bands + 0.5) * orders) * np.sqrt(2 / num_bands)).astype(np.float32)


def fit(clips: Sequence[tuple[str, Float32[np.ndarray, " _"]]]) -> Mapping[str, Float32[np.ndarray, "..."]]:
    """Learns how much a voice varies from clip to clip.

    Args:
        clips: Speaker and samples at 16 kHz.

    Returns:
        `mean`, the average over speakers, and `whitening`, after which the clips of one speaker vary alike in all
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
