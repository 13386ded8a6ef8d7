"""The sound of a file: links that are decoded one after the other, as long as what is decoded, and read in blocks."""

import os
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import fsum
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import soundfile
from jaxtyping import Float32

from audio_data import InputError
from audio_tokenize.audio_files import chunked
from audio_tokenize.audio_files.contents import container_of
from audio_tokenize.audio_files.flac import scan_flac
from audio_tokenize.audio_files.mpeg import scan_mpeg
from audio_tokenize.audio_files.ogg import scan_ogg
from audio_tokenize.audio_files.sources import (
    CONVERT,
    AudioBytes,
    AudioSource,
    Buffer,
    Piece,
    PieceStream,
    Scan,
    Section,
    open_buffer,
    open_stream,
)

# Manifests round their times: an end this far behind the last sample is the last sample.
END_TOLERANCE_SECONDS = 0.05
FORMATS = "wav, flac, ogg, opus, mp3, aiff, au, caf or sphere"
# Of sound that someone may have recorded as speech; a rate outside is a damaged header.
_MIN_RATE_HZ, _MAX_RATE_HZ = 2_000, 768_000
_MAX_CHANNELS = 64

_SCANS: Mapping[str, Callable[[Buffer, int], Scan]] = {
    "riff": chunked.scan_riff,
    "rf64": chunked.scan_rf64,
    "w64": chunked.scan_w64,
    "aiff": chunked.scan_aiff,
    "au": chunked.scan_au,
    "caf": chunked.scan_caf,
    "nist": chunked.scan_nist,
    "flac": scan_flac,
    "ogg": scan_ogg,
    "mpeg": scan_mpeg,
}


@dataclass(frozen=True)
class Link:
    """A stretch of sound that is decoded by itself.

    Attributes:
        pieces: The bytes that hold it; `None` is the whole file.
        num_frames: Samples of a channel.
        sample_rate_hz: Samples of a channel per second.
        num_channels: Channels.
    """

    pieces: tuple[Piece, ...] | None
    num_frames: int
    sample_rate_hz: int
    num_channels: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_frames / self.sample_rate_hz


@dataclass(frozen=True)
class Track:
    """The sound of a file.

    Attributes:
        links: In order of time, at least one.
        fault: Why there is less sound than the file states, as the end of `expected ..., got ...`; empty where it is
            whole.
        remedy: What to do about it.
    """

    links: tuple[Link, ...]
    fault: str = ""
    remedy: str = ""

    @property
    def seconds(self) -> float:
        """Duration of what can be decoded."""
        return self.links[0].seconds if len(self.links) == 1 else fsum(link.seconds for link in self.links)


@dataclass(frozen=True)
class LinkSpan:
    """A part of a link.

    Attributes:
        link: Which.
        start: First sample.
        stop: Behind the last sample.
    """

    link: Link
    start: int
    stop: int


def read_track(source: AudioSource) -> Track:
    """Find the sound in a file; it decodes nothing.

    The bytes of MPEG and Ogg files are looked at from beginning to end, of others the headers and the end.

    Raises:
        InputError: There is no sound that can be decoded; says why.
    """
    if isinstance(source, AudioBytes):
        if (track := _known.get(source)) is None:
            track = _known[source] = _read_track(source)
        return track
    try:
        found = source.stat()
    except (OSError, ValueError):
        # What is wrong with it is said where it is opened.
        return _read_track(source)
    return _read_file(source, found.st_size, found.st_mtime_ns)


# The segments of a recording are read one by one, and each needs its track.
_known: "weakref.WeakKeyDictionary[AudioBytes, Track]" = weakref.WeakKeyDictionary()


@lru_cache(64)
def _read_file(path: Path, num_bytes: int, modified_ns: int) -> Track:
    del num_bytes, modified_ns
    return _read_track(path)


def _read_track(source: AudioSource) -> Track:
    with open_buffer(source) as content:
        container, found = container_of(content)
        if container is None:
            raise InputError(f"`{source}`: expected readable audio ({FORMATS}), got {found}")
        if container == "mpeg-4":
            what = "MPEG-4 (m4a, mp4, mov or 3gp; mostly AAC), which is not read"
            raise InputError(f"`{source}`: expected readable audio ({FORMATS}), got {what}; {CONVERT}")
        assert isinstance(found, int)
        scan = _SCANS[container](content, found)
    links = []
    for section in scan.sections:
        link = _link(source, section, is_cut=bool(scan.fault))
        links += [link] if link else []
    if not links:
        fault = scan.fault or "a header without samples (0 s)"
        raise InputError(f"`{source}`: expected audio, got {fault}; {scan.remedy}")
    return Track(tuple(links), scan.fault, scan.remedy)


def _link(source: AudioSource, section: Section, is_cut: bool) -> Link | None:
    """Return the link of a section; `None` where it has no sample, or too little is left of it to be opened."""
    try:
        with _opened(source, section.pieces) as audio:
            num_frames, rate_hz, num_channels = audio.frames, audio.samplerate, audio.channels
    except soundfile.LibsndfileError as error:
        if is_cut:
            return None
        raise InputError(
            f"`{source}`: expected readable audio, got {_said(error)!r}; replace the file, or {CONVERT}"
        ) from error
    if not _MIN_RATE_HZ <= rate_hz <= _MAX_RATE_HZ:
        raise InputError(
            f"`{source}`: expected audio, got a sample rate of {rate_hz} Hz; replace the file, or correct its header"
        )
    if num_channels > _MAX_CHANNELS:
        raise InputError(
            f"`{source}`: expected audio of at most {_MAX_CHANNELS} channels, got {num_channels}; give fewer of them"
        )
    num_frames = num_frames if section.num_frames is None else section.num_frames
    return Link(section.pieces, num_frames, rate_hz, num_channels) if num_frames > 0 else None


class _SoundFile(soundfile.SoundFile):
    """A file that is read on from where the last block ended."""

    def seekable(self) -> bool:
        """Return False: `soundfile` would seek after each block, which lets MPEG start anew and round otherwise."""
        return False


@contextmanager
def _opened(source: AudioSource, pieces: tuple[Piece, ...] | None) -> Generator[soundfile.SoundFile, None, None]:
    if pieces is None and isinstance(source, Path):
        # As bytes: soundfile encodes a name as strict UTF-8, and names on disk may be anything.
        with _SoundFile(os.fsencode(source)) as audio:  # pyright: ignore[reportArgumentType]
            yield audio
        return
    with closing(open_stream(source)) as file:
        whole = (range(len(source.content)),) if isinstance(source, AudioBytes) else ()
        stream = PieceStream(file, whole if pieces is None else pieces)
        with _SoundFile(cast(BinaryIO, stream)) as audio:
            yield audio


def _said(error: Exception) -> str:
    said = str(getattr(error, "error_string", error)).rstrip(".")
    # What libsndfile calls its own struct is filled from the header.
    return "a header with a sample rate of 0 Hz or without channels" if "SF_INFO struct" in said else said


def find_spans(source: AudioSource, track: Track, start: float, end: float | None) -> list[LinkSpan]:
    """Turn times into parts of links.

    Args:
        source: The file, for messages.
        track: Its sound.
        start: Seconds from its beginning.
        end: Seconds from its beginning, exclusive, up to 0.05 behind its end; `None` is its end.

    Raises:
        InputError: The times are not within the file, or it is cut short before `end`.
    """
    seconds = track.seconds
    stop = seconds if end is None else end
    if not 0 <= start < stop:
        raise InputError(f"`{source}`: expected 0 <= start < end in seconds, got start {start!r} and end {stop!r}")
    is_inside = start < seconds and stop <= seconds + END_TOLERANCE_SECONDS
    if track.fault and (end is None or not is_inside):
        raise InputError(
            f"`{source}`: expected whole audio, got {track.fault} ({seconds:.2f} s can be read); {track.remedy}"
        )
    if not is_inside:
        raise InputError(
            f"`{source}`: expected a segment within its {seconds:.3f} s, got {start!r} to {stop!r}; "
            "correct the times or give the whole recording"
        )
    spans, offset = [], 0.0
    for link in track.links:
        first = round(max(0.0, start - offset) * link.sample_rate_hz)
        last = round(min(stop - offset, link.seconds) * link.sample_rate_hz)
        if first < last:
            spans.append(LinkSpan(link, first, last))
        offset += link.seconds
    return spans


def read_blocks(
    source: AudioSource, span: LinkSpan, max_frames: int
) -> Iterator[tuple[int, Float32[np.ndarray, "frames channels"]]]:
    """Decode a span.

    Args:
        source: The file.
        span: What to read of it.
        max_frames: Length of a block, but for the last one.

    Yields:
        The place of a block in its link, and its samples.

    Raises:
        InputError: It cannot be decoded, or ends before the end of the span.
    """
    with _opened(source, span.link.pieces) as audio:
        position = span.start
        try:
            if position:
                audio.seek(position)
            while position < span.stop:
                wanted = min(max_frames, span.stop - position)
                block = audio.read(wanted, dtype="float32", always_2d=True)
                if len(block):
                    yield position, block
                position += len(block)
                if len(block) < wanted:
                    break
        except soundfile.LibsndfileError as error:
            raise InputError(
                f"`{source}`: expected audio that can be decoded, got {_said(error)!r} after sample {position}; "
                "replace the file"
            ) from error
    missing = span.stop - position
    if position == span.start or missing > END_TOLERANCE_SECONDS * span.link.sample_rate_hz:
        raise InputError(
            f"`{source}`: expected {span.stop - span.start} samples from sample {span.start}, got "
            f"{position - span.start}; the file is cut short or damaged, replace it"
        )
