"""The synthetic voices of the sample corpora, and how one of them says one sentence."""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr

SAMPLE_RATE_HZ = 24_000
_ESPEAK_WORDS_PER_MINUTE = 175
_TARGET_RMS = 0.07
_MARGIN_SECONDS = 0.04
_SILENCE_DB = -45.0
_GRID_SAMPLES = 240  # 10 ms: times in the manifests then have two decimals and are exact


@dataclass(frozen=True)
class Voice:
    """One synthetic speaker.

    Attributes:
        speaker: Name used in the manifests.
        engine: Debian's `flite` or `espeak-ng`.
        name: What the engine calls the voice.
        weight: Share of the renditions it is drawn for; 0 where it is not drawn.
        speeds: Range of relative speech rates, 1 being the engine's own.
    """

    speaker: str
    engine: Literal["flite", "espeak-ng"]
    name: str
    weight: float = 0.0
    speeds: tuple[float, float] = (0.85, 1.2)

    def command(self, text: str, speed: float, out: Path) -> list[str]:
        """Return the command line that writes `text` at `speed` to the wav file `out`."""
        if self.engine == "flite":
            return [
                "flite",
                "-voice",
                self.name,
                "--setf",
                f"duration_stretch={1 / speed:.4f}",
                "-t",
                text,
                "-o",
                str(out),
            ]
        rate = round(_ESPEAK_WORDS_PER_MINUTE * speed)
        return ["espeak-ng", "-v", self.name, "-s", str(rate), "-w", str(out), text]


def _trim(samples: np.ndarray) -> np.ndarray:
    """Cuts or pads the silence at both ends to the same margin, and the whole to a multiple of 10 ms."""
    hop = SAMPLE_RATE_HZ // 200
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    level = np.sqrt(np.mean(frames**2, axis=1))
    loud = np.flatnonzero(level > level.max() * 10 ** (_SILENCE_DB / 20))
    margin = round(_MARGIN_SECONDS * SAMPLE_RATE_HZ)
    first, last = loud[0] * hop, (loud[-1] + 1) * hop
    padded = np.pad(samples, margin)
    kept = padded[first : last + 2 * margin]
    return np.pad(kept, (0, -len(kept) % _GRID_SAMPLES))


def speak(voice: Voice, text: str, speed: float) -> np.ndarray:
    """Synthesises one utterance: 24 kHz mono float32, trimmed, at a fixed loudness.

    Raises:
        subprocess.CalledProcessError: If the engine fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spoken.wav"
        subprocess.run(voice.command(text, speed, path), check=True, capture_output=True)
        samples, rate_hz = soundfile.read(path, dtype="float32")
    resampled = soxr.resample(samples - samples.mean(), rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    trimmed = _trim(resampled)
    scale = min(_TARGET_RMS / np.sqrt(np.mean(trimmed**2)), 0.95 / np.abs(trimmed).max())
    return (trimmed * scale).astype(np.float32)


TRAIN_VOICES = (
    Voice("slt", "flite", "slt", weight=0.40, speeds=(1.0, 1.0)),  # also the one voice of text to speech
    Voice("rms", "flite", "rms", weight=0.21, speeds=(1.05, 1.35)),  # a slow speaker
    Voice("kal16", "flite", "kal16", weight=0.13),
    Voice("en-us", "espeak-ng", "en-us", weight=0.09),
    Voice("en-us-f3", "espeak-ng", "en-us+f3", weight=0.09),
    Voice("en-us-m3", "espeak-ng", "en-us+m3", weight=0.08),
)
HELDOUT_VOICES = (
    Voice("awb", "flite", "awb", speeds=(1.0, 1.3)),
    Voice("en-gb-f4", "espeak-ng", "en-gb+f4"),
)

ENGLISH_TARGET = TRAIN_VOICES[0]  # every translation into English has the same speaker, as in CVSS-C

# What espeak-ng calls the voice of a language where that is not the language's code. Its `cmn` reads Latin letters as
# English and stumbles over the pinyin it makes itself; `cmn-latn-pinyin` reads Chinese characters well.
_ESPEAK_LANGUAGES = {"en": "en-us", "fr": "fr-fr", "zh": "cmn-latn-pinyin"}


def _two_voices(language: str) -> tuple[Voice, Voice]:
    name = _ESPEAK_LANGUAGES.get(language, language)
    return Voice(f"{language}-m", "espeak-ng", name), Voice(f"{language}-f", "espeak-ng", f"{name}+f3")


TRANSLATION_VOICES = {language: _two_voices(language) for language in ("en", "de", "es", "fr", "ar", "hi", "th", "zh")}
