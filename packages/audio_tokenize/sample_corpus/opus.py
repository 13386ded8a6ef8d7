"""Recordings of the sample corpora: utterances in a row, as one Ogg Opus file, and where each begins and ends."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from voices import SAMPLE_RATE_HZ

_GAP_SECONDS = 0.1  # longer than Opus's 80 ms of pre-roll: a seek to an utterance settles before its first sample


@dataclass(frozen=True)
class Spoken:
    """One line of a manifest, but for the place in the recording, with its sound.

    Attributes:
        fields: What the manifest's line says beside `audio`, `start` and `end`.
        samples: float32 mono at 24 kHz, a whole number of centiseconds.
    """

    fields: dict[str, str | float]
    samples: np.ndarray


@dataclass(frozen=True)
class OpusSettings:
    """How libopus encodes; 60 ms frames save its per-packet overhead at rates this low."""

    bits_per_second: int = 11_200
    frame_milliseconds: int = 60
    cutoff_hz: int = 8_000

    def command(self, wav: Path, out: Path) -> list[str]:
        """Ffmpeg's command line; `bitexact` gives every run the same bytes."""
        return (
            f"ffmpeg -y -loglevel error -i {wav} -c:a libopus -b:a {self.bits_per_second} -vbr on -application audio "
            f"-compression_level 10 -frame_duration {self.frame_milliseconds} -cutoff {self.cutoff_hz} "
            f"-map_metadata -1 -fflags +bitexact -flags:a +bitexact {out}"
        ).split()


def write_recording(path: Path, utterances: list[Spoken], settings: OpusSettings) -> list[dict]:
    """Write one recording and return its manifest lines, in time order."""
    gap = np.zeros(round(_GAP_SECONDS * SAMPLE_RATE_HZ), np.float32)
    parts = [gap]
    lines = []
    position = len(gap)
    for utterance in utterances:
        end = position + len(utterance.samples)
        times = {"start": position / SAMPLE_RATE_HZ, "end": end / SAMPLE_RATE_HZ}
        lines.append(utterance.fields | {"audio": path.name} | {key: round(value, 2) for key, value in times.items()})
        parts += [utterance.samples, gap]
        position = end + len(gap)
    wav = path.with_suffix(".wav")
    soundfile.write(wav, np.concatenate(parts), SAMPLE_RATE_HZ, subtype="PCM_16")
    subprocess.run(settings.command(wav, path), check=True)
    wav.unlink()
    return lines


def write_manifest(path: Path, lines: list[dict]) -> None:
    """Write the manifest, one JSON object a line."""
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
