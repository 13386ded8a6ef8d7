"""Speech models that need no download: a transcriber of the 73 words of the sample corpus, and a speaker encoder.

Both read log-mel spectrograms. The transcriber is a network of dilated convolutions with words as outputs, trained with
CTC; the speaker encoder compares statistics of spectrum and pitch.
"""

import functools
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import Array, Bool, Float, Float32, Int

from audio_eval.speech_models.base import shipped_weights
from audio_tokenize import resample

SAMPLE_RATE_HZ = 16_000
HOP_SECONDS = 0.01
NUM_BANDS = 40
_WINDOW, _HOP, _FFT = 400, 160, 512
_LOWEST_HZ, _HIGHEST_HZ = 60.0, 7_600.0
# Below the quietest speech of the sample corpus and above the dither of 16-bit files.
_FLOOR = 1e-6
_LOWEST_PITCH_HZ, _HIGHEST_PITCH_HZ = 60.0, 400.0
_VOICED_CORRELATION = 0.45
_PITCH_WINDOW = 640
_PEAK_SHARE = 0.9


def log_mel(samples: Float[np.ndarray, " samples"], sample_rate_hz: int) -> Float32[np.ndarray, "frames bands"]:
    """Compute 40 log-mel energies every 10 ms, of windows of 25 ms.

    Args:
        samples: Mono, in -1..1.
        sample_rate_hz: Their rate; they are brought to 16 kHz.

    Returns:
        Natural logarithms; at least one frame, of silence where there are no samples.
    """
    frames = _frames(at_16_khz(samples, sample_rate_hz), _WINDOW)
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32), _FFT, axis=1)) ** 2
    return np.log(power @ _mel_filters() + _FLOOR).astype(np.float32)


def pitch(samples: Float[np.ndarray, " samples"], sample_rate_hz: int) -> Float32[np.ndarray, " frames"]:
    """Estimate the pitch every 10 ms by autocorrelation of windows of 40 ms.

    Returns:
        Hertz, 60 to 400; 0 where there is no voice. As many frames as `log_mel` has.
    """
    frames = _frames(at_16_khz(samples, sample_rate_hz), _PITCH_WINDOW).astype(np.float64)
    frames = frames - frames.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(frames, 2 * _PITCH_WINDOW, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)[:, :_PITCH_WINDOW]
    # Fewer samples overlap at a greater lag.
    correlation /= 1 - np.arange(_PITCH_WINDOW) / (_PITCH_WINDOW + 1)
    shortest, longest = (int(SAMPLE_RATE_HZ / hz) for hz in (_HIGHEST_PITCH_HZ, _LOWEST_PITCH_HZ))
    normalized = correlation[:, shortest : longest + 1] / np.maximum(correlation[:, :1], 1e-9)
    best = _first_peaks(normalized)
    loud = correlation[:, 0] > 0.01 * correlation[:, 0].max(initial=0.0)
    voiced = loud & (normalized[np.arange(len(best)), best] > _VOICED_CORRELATION)
    return np.where(voiced, SAMPLE_RATE_HZ / (best + shortest), 0.0).astype(np.float32)


def _first_peaks(correlation: Float[np.ndarray, "frames lags"]) -> Int[np.ndarray, " frames"]:
    """Return the shortest lag that correlates nearly as well as the best: multiples of a period correlate as well."""
    inner = correlation[:, 1:-1]
    peak = (inner >= correlation[:, :-2]) & (inner >= correlation[:, 2:])
    found = peak & (inner >= _PEAK_SHARE * correlation.max(axis=1, keepdims=True))
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1, correlation.argmax(axis=1))


def at_16_khz(samples: Float[np.ndarray, " samples"], sample_rate_hz: int) -> Float32[np.ndarray, " resampled"]:
    """Convert samples to the rate of the features."""
    return resample(np.ascontiguousarray(samples, np.float32), sample_rate_hz, SAMPLE_RATE_HZ)


def _frames(samples: Float32[np.ndarray, " samples"], window: int) -> Float32[np.ndarray, "frames window"]:
    count = max(1, -(-len(samples) // _HOP))
    padded = np.zeros((count - 1) * _HOP + window, np.float32)
    before = (window - _HOP) // 2
    kept = samples[: len(padded) - before]
    padded[before : before + len(kept)] = kept
    return np.lib.stride_tricks.sliding_window_view(padded, window)[::_HOP]


@functools.cache
def _mel_filters() -> Float32[np.ndarray, "bins bands"]:
    """Triangles of equal area, evenly spaced in mel."""
    low, high = (2595 * np.log10(1 + frequency / 700) for frequency in (_LOWEST_HZ, _HIGHEST_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, NUM_BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


CHANNELS = 80
NUM_BLOCKS = 5
WIDTH = 5
FRAMES_PER_STEP = 4
"""Log-mel frames of 10 ms per step of the network's output."""

Parameters = Mapping[str, Array]


def network_shapes(num_bands: int, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters by name: kernels `[width, in, out]` and biases."""
    found: dict[str, tuple[int, ...]] = {
        "in.0": (WIDTH, num_bands, CHANNELS),
        "in.1": (WIDTH, CHANNELS, CHANNELS),
        "out": (1, CHANNELS, num_classes),
    }
    found |= {f"block.{index}": (WIDTH, CHANNELS, CHANNELS) for index in range(NUM_BLOCKS)}
    return found | {f"{name}.bias": shape[-1:] for name, shape in list(found.items())}


def apply_network(
    parameters: Parameters, log_mels: Float[Array, "batch frames bands"], real: Bool[Array, "batch frames"]
) -> Float[Array, "batch steps classes"]:
    """Map log-mel frames to class scores, one step every 40 ms; a clip's scores do not depend on its padding.

    Args:
        parameters: As `network_shapes` says.
        log_mels: Natural logarithms; `frames` is a multiple of 4.
        real: False on padding.
    """
    count = jnp.maximum(real.sum(axis=1), 1)[:, None, None].astype(jnp.float32)
    mask = real[..., None].astype(jnp.float32)
    mean = (log_mels * mask).sum(axis=(1, 2), keepdims=True) / (count * log_mels.shape[2])
    hidden = (log_mels - mean) * mask * 0.3
    for name in ("in.0", "in.1"):
        mask = mask[:, ::2]
        hidden = jax.nn.relu(_convolve(parameters, name, hidden, stride=2)) * mask
    for index in range(NUM_BLOCKS):
        dilation = (1, 2, 4, 2, 1)[index % 5]
        hidden = hidden + jax.nn.relu(_convolve(parameters, f"block.{index}", _normalize(hidden), dilation=dilation))
        hidden = hidden * mask
    return _convolve(parameters, "out", _normalize(hidden))


def _normalize(hidden: Float[Array, "batch steps channels"]) -> Float[Array, "batch steps channels"]:
    return hidden * jax.lax.rsqrt(jnp.mean(hidden**2, axis=-1, keepdims=True) + 1e-5)


def _convolve(
    parameters: Parameters, name: str, hidden: Float[Array, "batch steps channels"], stride: int = 1, dilation: int = 1
) -> Float[Array, "batch out_steps out"]:
    kernel = parameters[name]
    reach = (kernel.shape[0] - 1) * dilation
    # Equal padding left and right for every length, so that padding a clip shifts nothing.
    padding = [(reach // 2, reach - reach // 2)]
    out = jax.lax.conv_general_dilated(
        hidden, kernel, (stride,), padding, rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC")
    )
    return out + parameters[f"{name}.bias"][None, None]


_SPEAKER_FILE = "speaker.safetensors"
SPEAKER_REVISION = 1
_NUM_CEPSTRA = 20
_LOUD_RANGE = 6.0
_SHRINKAGE = 0.05


class EmbeddedSpeaker:
    """Compare means and deviations of cepstra and pitch, scaled by how much one voice varies in each direction.

    It tells voices apart by spectrum and pitch. A change of microphone, room or codec counts as a change of voice, and
    two speakers with similar voices as one; a report therefore shows its numbers on pairs of recordings of the same and
    of different speakers beside those of generated speech.

    Attributes:
        model_id: Name, revision of the features and the first twelve digits of the SHA-256 of the weights.
    """

    def __init__(self, content: bytes | None = None):
        """Read the weights.

        Args:
            content: A safetensors file as `training` writes it; the shipped one by default.
        """
        content = shipped_weights(_SPEAKER_FILE) if content is None else content
        tensors: Mapping[str, Float32[np.ndarray, "..."]] = safetensors.numpy.load(content)
        self._mean, self._whitening = tensors["mean"], tensors["whitening"]
        self.model_id = f"embedded-speaker:{SPEAKER_REVISION}:{hashlib.sha256(content).hexdigest()[:12]}"

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


def fit_speaker_statistics(
    clips: Sequence[tuple[str, Float32[np.ndarray, " _"]]],
) -> Mapping[str, Float32[np.ndarray, "..."]]:
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


_TRANSCRIBER_FILE = "transcriber.safetensors"
TRANSCRIBER_REVISION = 1
_BATCH_SIZE = 16
# A batch's frames are rounded up to this, so that few shapes are compiled.
_FRAME_STEP = 128
_BLANK = 0


class EmbeddedTranscriber:
    """A small convolutional network with CTC over whole words, trained on the sample corpus's six synthetic voices.

    It transcribes every clip as a sequence of those 73 words, or as nothing: it suits models of the sample corpus,
    such as the quickstart's, and no others. Every report shows its error rate on the originals too.

    Attributes:
        words: Words that it knows, in the order of the network's classes.
        language: "en".
        model_id: Name, revision of the network and the first twelve digits of the SHA-256 of the weights.
    """

    def __init__(self, content: bytes | None = None):
        """Read the weights.

        Args:
            content: A safetensors file as `training` writes it; the shipped one by default.
        """
        content = shipped_weights(_TRANSCRIBER_FILE) if content is None else content
        tensors = safetensors.numpy.load(content)
        self._parameters = {name: jnp.asarray(value, jnp.float32) for name, value in tensors.items()}
        self.words: tuple[str, ...] = tuple(_metadata(content)["words"].split())
        self.language = "en"
        self.model_id = f"embedded-transcriber:{TRANSCRIBER_REVISION}:{hashlib.sha256(content).hexdigest()[:12]}"

    def transcribe(self, clips: Sequence[Float[np.ndarray, " _"]], sample_rate_hz: int) -> list[str]:
        """Transcribe clips, several at once; a clip's text does not depend on its neighbours."""
        features = [log_mel(clip, sample_rate_hz) for clip in clips]
        order = sorted((i for i, clip in enumerate(clips) if clip.size), key=lambda i: len(features[i]))
        texts = [""] * len(clips)
        for start in range(0, len(order), _BATCH_SIZE):
            members = order[start : start + _BATCH_SIZE]
            for index, text in zip(members, self._transcribe([features[i] for i in members]), strict=True):
                texts[index] = text
        return texts

    def _transcribe(self, features: Sequence[Float32[np.ndarray, "_ bands"]]) -> list[str]:
        frames = -(-max(len(one) for one in features) // _FRAME_STEP) * _FRAME_STEP
        log_mels = np.zeros((_BATCH_SIZE, frames, NUM_BANDS), np.float32)
        real = np.zeros((_BATCH_SIZE, frames), bool)
        for row, one in enumerate(features):
            log_mels[row, : len(one)], real[row, : len(one)] = one, True
        best = np.asarray(_best_classes(self._parameters, log_mels, real))
        steps = [-(-len(one) // FRAMES_PER_STEP) for one in features]
        return [self._words(best[row, :count]) for row, count in enumerate(steps)]

    def _words(self, classes: np.ndarray) -> str:
        changed = np.concatenate([[True], classes[1:] != classes[:-1]])
        return " ".join(self.words[index - 1] for index in classes[changed] if index != _BLANK)


@jax.jit
def _best_classes(parameters: Parameters, log_mels: jax.Array, real: jax.Array) -> jax.Array:
    return apply_network(parameters, log_mels, real).argmax(axis=-1)


def _metadata(content: bytes) -> dict[str, str]:
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size])["__metadata__"]
