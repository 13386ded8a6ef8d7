"""How much the demo takes and gives at once, and recordings that keep to it."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audio_data import InputError
from audio_eval.tasks.seed_tts import SeedTtsTask
from audio_tokenize import load_audio
from audio_tokenize.waveform import AudioBytes, audio_info

MEBIBYTE = 2**20


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much one request may hold; the model's context may hold less.

    Attributes:
        max_seconds: Longest recording.
        max_upload_bytes: Largest file.
        max_characters: Longest text to speak.
        max_text_tokens: Most text tokens of an answer; 200 is the study's for recognition.
        max_frames: Most frames of an answer; the study's for synthesis, 15 s of eight codebooks, by default.

    Raises:
        InputError: A limit that leaves nothing.
    """

    max_seconds: float | int = 30.0
    max_upload_bytes: int = 16 * MEBIBYTE
    max_characters: int = 1_000
    max_text_tokens: int = 200
    max_frames: int = SeedTtsTask.max_tokens // 8

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if (value := getattr(self, field.name)) <= 0:
                raise InputError(f"`{field.name}` must be above 0, got {value!r}")


def read_recording(path: Path, sample_rate_hz: int, limits: Limits) -> Float32[np.ndarray, " samples"]:
    """Reads a recording that someone gave, whatever it is.

    Its size is looked at before it is read and its length before it is decoded, since a small file can hold hours. The
    length is that of the sound that is there, whatever the header states.

    Args:
        path: The file.
        sample_rate_hz: Rate of the result.
        limits: What it must keep to.

    Returns:
        Mono samples, nominally in -1..1.

    Raises:
        InputError: It is gone, too large, too long, or no audio that can be decoded; the message names the file, not
            where it lies.
    """
    if not path.is_file():
        raise InputError(f"`{path.name}` must be there, got no such file (any longer): record or upload it again")
    size, most = path.stat().st_size, limits.max_upload_bytes
    if size > most:
        raise InputError(
            f"`{path.name}` must be a file of at most {most / MEBIBYTE:.3g} MiB, got {size / MEBIBYTE:.3g}: cut it"
        )
    content = AudioBytes(path.name, path.read_bytes())
    seconds = audio_info(content).seconds
    if seconds > limits.max_seconds:
        raise InputError(f"`{path.name}` must be at most {limits.max_seconds:g} s long, got {seconds:.1f} s: cut it")
    return load_audio(content, sample_rate_hz)
