"""Limits of the requests and answers of the demo, and recordings within them."""

import dataclasses
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audio_data import InputError
from audio_eval.inference.abilities import AnswerLimits
from audio_tokenize import load_audio
from audio_tokenize.waveform import AudioBytes, audio_info

MEBIBYTE = 2**20
# Of all channels, for each second that a recording may have: two channels at 192 kHz, or eight at 48 kHz. A file of
# 165 kB can hold 30 s of eight channels at 655 kHz, which took 2.3 GB.
_MAX_SAMPLES_HZ = 384_000


@dataclasses.dataclass(frozen=True)
class Limits(AnswerLimits):
    """How much one request may hold; the model's context may hold less.

    Attributes:
        max_seconds: Longest recording.
        max_upload_bytes: Largest file.
        max_upload_seconds: Longest time that a file may take to arrive.
        max_stored_bytes: Largest sum of all files, of all visitors.
        max_stored_seconds: Age at which a file is deleted.

    Raises:
        InputError: A limit that leaves nothing.
    """

    max_seconds: float | int = 30.0
    max_upload_bytes: float | int = 16 * MEBIBYTE
    max_upload_seconds: float | int = 120.0
    max_stored_bytes: float | int = 512 * MEBIBYTE
    max_stored_seconds: float | int = 3_600.0


def read_recording(path: Path, sample_rate_hz: int, limits: Limits) -> Float32[np.ndarray, " samples"]:
    """Read a recording of unknown origin and format.

    Only a regular file is opened. Its size is checked before it is read and its length before it is decoded, since a
    small file can hold hours. The length is that of the samples in the file, not the one in its header.

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
    content = AudioBytes(path.name, _read(path, limits.max_upload_bytes))
    info = audio_info(content)
    if info.seconds > limits.max_seconds:
        raise InputError(
            f"`{path.name}` must be at most {limits.max_seconds:g} s long, got {info.seconds:.1f} s: cut it"
        )
    if info.num_samples > (max_samples := round(limits.max_seconds * _MAX_SAMPLES_HZ)):
        raise InputError(
            f"`{path.name}` must have at most {max_samples:,} samples in all channels, got {info.num_samples:,}: "
            "lower its rate or its number of channels"
        )
    return load_audio(content, sample_rate_hz)


def _read(path: Path, max_bytes: float | int) -> bytes:
    gone = f"`{path.name}` must be there, got no such file (any longer): record or upload it again"
    if not path.is_file():
        raise InputError(gone)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise InputError(
                f"`{path.name}` must be a file of at most {max_bytes / MEBIBYTE:.3g} MiB, got {size / MEBIBYTE:.3g}: "
                "cut it"
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        # It reached its age just now.
        raise InputError(gone) from error
