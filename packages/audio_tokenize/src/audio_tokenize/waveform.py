"""Audio files and segments of them as mono float32 waveforms at the rate a codec wants."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from audio_data import InputError

SAMPLE_RATE_HZ = 24_000

# Manifests round their times: an end this far behind the last sample is the last sample.
END_TOLERANCE_SECONDS = 0.05


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says.

    Attributes:
        seconds: Duration.
        sample_rate_hz: Samples of one channel per second.
        num_channels: Channels.
    """

    seconds: float
    sample_rate_hz: int
    num_channels: int


@dataclass(frozen=True)
class AudioBytes:
    """An audio file that lies in memory, as a member of an archive or a cell of a table does.

    Attributes:
        name: Where it came from, for messages and for people.
        content: The file's bytes.
    """

    name: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name


AudioSource = Path | AudioBytes


def _reason(source: AudioSource, error: Exception) -> str:
    """Says in a few words why `source` cannot be opened as audio."""
    if isinstance(source, AudioBytes):
        return _said(error) if source.content else "no bytes at all"
    path = source
    if not path.exists():
        return "there is no such file"
    if path.is_dir():
        return "it is a folder"
    if path.stat().st_size == 0:
        return "the file is empty (0 bytes)"
    return _said(error)


def _said(error: Exception) -> str:
    said = str(getattr(error, "error_string", error)).rstrip(".")
    # What libsndfile calls its own struct is filled from the header.
    return "a header with a sample rate of 0 Hz or without channels" if "SF_INFO struct" in said else said


def _open(path: AudioSource) -> soundfile.SoundFile:
    """Opens `path` and refuses a header that no waveform can follow."""
    try:
        audio = soundfile.SoundFile(io.BytesIO(path.content) if isinstance(path, AudioBytes) else path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise InputError(
            f"`{path}`: expected readable audio (wav, flac, ogg, opus or mp3), got {_reason(path, error)!r}; "
            "replace or remove the file"
        ) from error
    problem = _header_problem(audio)
    if problem:
        audio.close()
        raise InputError(f"`{path}`: expected audio, got {problem}; replace or remove the file")
    return audio


def _header_problem(audio: soundfile.SoundFile) -> str | None:
    if audio.samplerate <= 0:
        return f"a sample rate of {audio.samplerate} Hz"
    if audio.frames <= 0:
        return "a header without samples (0 s)"
    return None


def audio_info(path: AudioSource | str) -> AudioInfo:
    """Reads the header of an audio file.

    Args:
        path: A file, or its bytes, in a format of libsndfile: wav, flac, ogg (Vorbis or Opus), mp3.

    Raises:
        InputError: If the file is missing, unreadable, empty or has no sample rate.
    """
    with _open(_source(path)) as audio:
        return AudioInfo(audio.frames / audio.samplerate, audio.samplerate, audio.channels)


def resample(
    samples: Float32[np.ndarray, " from_samples"], from_hz: int, to_hz: int
) -> Float32[np.ndarray, " to_samples"]:
    """Changes the sample rate with soxr's high-quality linear-phase filter.

    Args:
        samples: Mono waveform.
        from_hz: Its rate.
        to_hz: The wanted rate; the input itself is returned where both are equal.

    Raises:
        InputError: If a rate is not positive.
    """
    if from_hz <= 0 or to_hz <= 0:
        raise InputError(f"`sample_rate_hz`: expected a rate above 0, got {from_hz!r} to {to_hz!r}")
    if from_hz == to_hz:
        return samples
    return soxr.resample(samples, from_hz, to_hz, quality="HQ")


def _source(path: AudioSource | str) -> AudioSource:
    return Path(path) if isinstance(path, str) else path


def _frame_span(path: AudioSource, seconds: float, rate_hz: int, start: float, end: float | None) -> tuple[int, int]:
    """Turns times into sample positions inside the file."""
    stop = seconds if end is None else end
    if not 0 <= start < stop:
        raise InputError(f"`{path}`: expected 0 <= start < end in seconds, got start {start!r} and end {stop!r}")
    if start >= seconds or stop > seconds + END_TOLERANCE_SECONDS:
        raise InputError(
            f"`{path}`: expected a segment within its {seconds:.3f} s, got {start!r} to {stop!r}; "
            "correct the times or give the whole recording"
        )
    return round(start * rate_hz), round(min(stop, seconds) * rate_hz)


def _read(path: AudioSource, audio: soundfile.SoundFile, start: int, stop: int) -> Float32[np.ndarray, " samples"]:
    """Reads and downmixes; less comes back where the file ends early."""
    try:
        if audio.tell() != start:
            audio.seek(start)
        channels = audio.read(stop - start, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise InputError(
            f"`{path}`: expected audio that can be decoded, got {error.error_string!r} after sample {start}; replace it"
        ) from error
    return channels.mean(axis=1)


def _require_length(
    path: AudioSource, audio: soundfile.SoundFile, start: int, stop: int, got: int, end: object
) -> None:
    """Refuses a file that is cut short; without a given end the header of an mp3 without an index only guesses it."""
    known_end = end is not None or audio.format != "MP3"
    if got == 0 or (known_end and stop - start - got > END_TOLERANCE_SECONDS * audio.samplerate):
        raise InputError(
            f"`{path}`: expected {stop - start} samples from sample {start}, got {got}; "
            "the file is cut short, replace it"
        )


def load_audio(
    path: AudioSource | str,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> Float32[np.ndarray, " samples"]:
    """Loads a file, or one segment of it, as a mono waveform.

    Channels are averaged. Only the segment is read, so an utterance at the end of an hour costs no more than one at its
    beginning. Times are of the file, before resampling.

    Args:
        path: A file, or its bytes, in a format of libsndfile: wav, flac, ogg (Vorbis or Opus), mp3.
        sample_rate_hz: Rate of the result.
        start_seconds: Where the segment begins; the beginning of the file by default.
        end_seconds: Where it ends, exclusive; the end of the file by default. It may lie up to 0.05 s behind the end of
            the file, as rounded times do.

    Returns:
        Samples, as decoded, nominally within -1 and 1.

    Raises:
        InputError: If the file is missing, unreadable, empty, damaged or has no sample rate, if the segment is not
            inside it, or if a sample is not finite.
    """
    path = _source(path)
    with _open(path) as audio:
        rate_hz = audio.samplerate
        start, stop = _frame_span(path, audio.frames / rate_hz, rate_hz, start_seconds or 0.0, end_seconds)
        samples = _read(path, audio, start, stop)
        _require_length(path, audio, start, stop, len(samples), end_seconds)
    _require_finite(path, samples, start)
    return resample(samples, rate_hz, sample_rate_hz)


def _require_finite(path: AudioSource, samples: Float32[np.ndarray, " samples"], start: int) -> None:
    if not np.isfinite(samples).all():
        position = int(np.flatnonzero(~np.isfinite(samples))[0])
        value = float(samples[position])
        raise InputError(f"`{path}`: expected finite samples, got {value!r} at sample {start + position}")


def audio_pieces(
    path: AudioSource | str,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    *,
    piece_seconds: float = 10.0,
) -> Iterator[Float32[np.ndarray, " samples"]]:
    """Loads what `load_audio` loads, a piece at a time: together the pieces are the same samples, to the bit.

    Args:
        path: As in `load_audio`.
        sample_rate_hz: As in `load_audio`.
        start_seconds: As in `load_audio`.
        end_seconds: As in `load_audio`.
        piece_seconds: How much of the file is read at once, which bounds memory.

    Yields:
        Mono samples; how many of them varies.

    Raises:
        InputError: As `load_audio`, when the piece concerned is reached.
    """
    path = _source(path)
    with _open(path) as audio:
        rate_hz = audio.samplerate
        start, stop = _frame_span(path, audio.frames / rate_hz, rate_hz, start_seconds or 0.0, end_seconds)
        resampler = soxr.ResampleStream(rate_hz, sample_rate_hz, 1, dtype="float32", quality="HQ")
        size = max(1, round(piece_seconds * rate_hz))
        for position in range(start, stop, size):
            wanted = min(size, stop - position)
            samples = _read(path, audio, position, position + wanted)
            last = position + wanted == stop or len(samples) < wanted
            if last:
                _require_length(path, audio, start, stop, position + len(samples) - start, end_seconds)
            _require_finite(path, samples, position)
            yield samples if rate_hz == sample_rate_hz else resampler.resample_chunk(samples, last=last)
            if last:
                return
