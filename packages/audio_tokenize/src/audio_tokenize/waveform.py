"""Audio files and segments of them as mono float32 waveforms at the rate a codec wants."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import soxr
from jaxtyping import Float32

from audio_data import InputError
from audio_tokenize.audio_files.mixing import choose_channel, mix, require_samples
from audio_tokenize.audio_files.sources import AudioBytes as AudioBytes
from audio_tokenize.audio_files.sources import AudioSource as AudioSource
from audio_tokenize.audio_files.tracks import END_TOLERANCE_SECONDS as END_TOLERANCE_SECONDS
from audio_tokenize.audio_files.tracks import LinkSpan, find_spans, read_blocks, read_track

SAMPLE_RATE_HZ = 24_000

_BLOCK_SECONDS = 10.0
# What `load_audio` holds at most, all channels together: 3 h of one channel at 48 kHz.
_MAX_HELD_SAMPLES = 1 << 29


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file holds, whatever its header states.

    Attributes:
        seconds: Duration of what can be decoded.
        sample_rate_hz: Samples of one channel per second; of the first link of a chain.
        num_channels: Channels; of the first link of a chain.
        num_samples: Samples of all channels and links together: what decoding it holds.
        fault: Why that is less than the file states, as the end of `expected ..., got ...`; empty where it is whole.
    """

    seconds: float
    sample_rate_hz: int
    num_channels: int
    num_samples: int
    fault: str = ""


def audio_info(path: AudioSource | str) -> AudioInfo:
    """Look at an audio file without decoding it.

    The length is that of the frames, pages or chunks that are there. Files that are joined to one, chains of Ogg links,
    MPEG without an index and FLAC or WAV of unknown length have the length of their sound.

    Args:
        path: A file, or its bytes: wav (also RF64 and Wave64), flac, ogg (Vorbis, Opus or FLAC), mp3, aiff, au, caf or
            sphere, whatever its name.

    Raises:
        InputError: If the file is missing, no audio, of a format that is not read, or has no sample.
    """
    track = read_track(_source(path))
    num_samples = sum(link.num_frames * link.num_channels for link in track.links)
    return AudioInfo(
        track.seconds, track.links[0].sample_rate_hz, track.links[0].num_channels, num_samples, track.fault
    )


def resample(
    samples: Float32[np.ndarray, " from_samples"], from_hz: int, to_hz: int
) -> Float32[np.ndarray, " to_samples"]:
    """Change the sample rate with soxr's high-quality linear-phase filter.

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


def load_audio(
    path: AudioSource | str,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> Float32[np.ndarray, " samples"]:
    """Load a file, or one segment of it, as a mono waveform.

    Channels are averaged; where they cancel each other, the one that holds the speech is taken. Only the segment is
    decoded, so an utterance at the end of an hour costs no more than one at its beginning. Times are of the file,
    before resampling.

    Args:
        path: A file, or its bytes, as in `audio_info`.
        sample_rate_hz: Rate of the result.
        start_seconds: Where the segment begins; the beginning of the file by default.
        end_seconds: Where it ends, exclusive; the end of the file by default. It may lie up to 0.05 s behind the end of
            the file, as rounded times do.

    Returns:
        Samples, as decoded, nominally within -1 and 1.

    Raises:
        InputError: If the file is missing, unreadable, empty, damaged or cut short within the segment, if the segment
            is not inside it or too long to be held, if a sample is not finite or far outside -1 and 1, or if channels
            cancel each other and none holds everything.
    """
    path = _source(path)
    spans = find_spans(path, read_track(path), start_seconds or 0.0, end_seconds)
    held = sum((span.stop - span.start) * span.link.num_channels for span in spans)
    if held > _MAX_HELD_SAMPLES:
        raise InputError(
            f"`{path}`: expected at most {_MAX_HELD_SAMPLES:,} samples at once, got {held:,}; give a segment of it"
        )
    found = []
    for rate_hz, run in groupby(spans, lambda span: span.link.sample_rate_hz):
        mono = np.concatenate([_load_span(path, span) for span in run])
        found.append(resample(mono, rate_hz, sample_rate_hz))
    return found[0] if len(found) == 1 else np.concatenate(found)


def _load_span(path: AudioSource, span: LinkSpan) -> Float32[np.ndarray, " samples"]:
    link = span.link
    blocks = []
    for start, block in read_blocks(path, span, round(_BLOCK_SECONDS * link.sample_rate_hz)):
        require_samples(path, block, start)
        blocks.append(block)
    channel = choose_channel(path, blocks, link.num_channels, link.sample_rate_hz)
    return np.concatenate([mix(block, channel) for block in blocks])


def audio_pieces(
    path: AudioSource | str,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    *,
    piece_seconds: float = _BLOCK_SECONDS,
) -> Iterator[Float32[np.ndarray, " samples"]]:
    """Load what `load_audio` loads, a piece at a time: together the pieces are the same samples, to the bit.

    Of several channels, all is decoded twice: first to find out whether they cancel each other.

    Args:
        path: As in `load_audio`.
        sample_rate_hz: As in `load_audio`.
        start_seconds: As in `load_audio`.
        end_seconds: As in `load_audio`.
        piece_seconds: How much of the file is decoded at once, which bounds memory.

    Yields:
        Mono samples; how many of them varies.

    Raises:
        InputError: As `load_audio`, when the piece concerned is reached.
    """
    path = _source(path)
    spans = find_spans(path, read_track(path), start_seconds or 0.0, end_seconds)
    for rate_hz, run in groupby(spans, lambda span: span.link.sample_rate_hz):
        pieces = (piece for span in run for piece in _span_pieces(path, span, piece_seconds))
        if rate_hz == sample_rate_hz:
            yield from pieces
            continue
        resampler = soxr.ResampleStream(rate_hz, sample_rate_hz, 1, dtype="float32", quality="HQ")
        for piece in pieces:
            yield resampler.resample_chunk(piece)
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _span_pieces(path: AudioSource, span: LinkSpan, piece_seconds: float) -> Iterator[Float32[np.ndarray, " samples"]]:
    link = span.link
    size = max(1, round(piece_seconds * link.sample_rate_hz))
    first = (block for _, block in read_blocks(path, span, size))
    channel = choose_channel(path, first, link.num_channels, link.sample_rate_hz)
    for start, block in read_blocks(path, span, size):
        require_samples(path, block, start)
        yield mix(block, channel)
