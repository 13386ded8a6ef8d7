"""Ogg: its pages looked at one by one, since libsndfile stops at the end of the first link of a chain.

Files joined to one, and what radio stations send, are chains: each link is a stream with headers, rate and channels of
its own. A page that is lost or damaged would shorten the sound without a word.

Source: RFC 3533 (Ogg), RFC 7845 (Opus in Ogg), the Vorbis I specification.
"""

import struct
import zlib
from dataclasses import dataclass, field

from audio_tokenize.audio_files.flac import scan_flac
from audio_tokenize.audio_files.sources import CONVERT, Buffer, Piece, Scan, Section

_MARKER = b"OggS"
_HEADER_BYTES = 27
_CONTINUED, _BEGINS, _ENDS = 1, 2, 4
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_READ = {b"\x01vorbis": "Vorbis", b"OpusHead": "Opus", b"\x7fFLAC": "FLAC"}
_OTHER = {b"Speex   ": "Speex", b"\x80theora": "Theora video", b"fishead": "Skeleton"}
_MAX_TRAILER_BYTES = 8192
# Before the bytes of a FLAC file.
_FLAC_MAPPING_BYTES = 9
_MARK_REMEDY = "replace the file; if it is whole, `ffmpeg -i IN -c copy OUT` writes the mark"


@dataclass
class _Stream:
    codec: str
    is_audio: bool
    sequence: int
    pieces: list[Piece] = field(default_factory=list)
    has_ended: bool = False


def _crc(page: bytes) -> int:
    """Ogg's checksum, which is zlib's with the bits of each byte, and of the result, in the other order."""
    value = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{value:032b}"[::-1], 2)


@dataclass(frozen=True)
class _Page:
    flags: int
    serial: int
    sequence: int
    stop: int
    body: int


def _page(content: Buffer, start: int) -> _Page | str:
    """Return the page at `start`, or why there is none."""
    head = content[start : start + _HEADER_BYTES]
    if len(head) < _HEADER_BYTES:
        return "a file that is cut short within a page"
    _, version, flags, _, serial, sequence, checksum, num_segments = struct.unpack("<4sBBqIIIB", head)
    body = start + _HEADER_BYTES + num_segments
    stop = body + sum(content[start + _HEADER_BYTES : body])
    if stop > len(content):
        return "a file that is cut short within a page"
    page = bytes(content[start:stop])
    if version or _crc(page[:22] + bytes(4) + page[26:]) != checksum:
        return f"a damaged page at offset {start:,}: its checksum differs"
    return _Page(flags, serial, sequence, stop, body)


def _opened(content: Buffer, page: _Page) -> _Stream:
    head = bytes(content[page.body : page.body + 8])
    for names, is_audio in ((_READ, True), (_OTHER, False)):
        for magic, codec in names.items():
            if head.startswith(magic):
                return _Stream(codec, is_audio, page.sequence)
    return _Stream(f"a stream that begins with {head.hex(' ')}", False, page.sequence)


def scan_ogg(content: Buffer, start: int) -> Scan:
    """Follow the pages from `start` on.

    Args:
        content: All of the file.
        start: Where it begins behind tags.
    """
    streams: dict[int, _Stream] = {}
    links: list[_Stream] = []
    fault, position = "", start
    # Streams that lie side by side all begin before the first of them goes on.
    beginning: list[_Stream] = []
    while position < len(content) and not fault:
        if content[position : position + 4] != _MARKER:
            fault = _lost(content, position)
            break
        page = _page(content, position)
        if isinstance(page, str):
            fault = page
            break
        if page.flags & _BEGINS:
            stream = streams[page.serial] = _opened(content, page)
            beginning.append(stream)
            links += [stream] if stream.is_audio else []
            if sum(other.is_audio for other in beginning) > 1:
                return Scan((), "several sound tracks side by side", "give one: `ffmpeg -i IN -map 0:a:0 OUT.flac`")
        elif (stream := streams.get(page.serial)) is None:
            fault = f"a page at offset {position:,} of a stream whose beginning is missing"
            break
        elif page.sequence != stream.sequence + 1:
            fault = f"lost pages before offset {position:,}: page {page.sequence} follows page {stream.sequence}"
            break
        if not page.flags & _BEGINS:
            beginning = []
        stream.sequence = page.sequence
        stream.has_ended = bool(page.flags & _ENDS)
        _append(stream.pieces, range(position, page.stop))
        position = page.stop
    if not links:
        found = ", ".join(stream.codec for stream in streams.values()) or "no stream"
        return Scan((), fault) if fault else Scan((), f"an Ogg file that holds {found}", CONVERT)
    sections: list[Section] = []
    for link in links:
        if link.codec != "FLAC":
            sections.append(_section(link, content))
            continue
        # libsndfile opens few of those; without their pages they are FLAC files.
        native = _unpaged(link, content)
        scan = scan_flac(native, 0)
        sections += [Section((_taken(native, section),), section.num_frames) for section in scan.sections]
        fault = fault or scan.fault
    if not fault and not links[-1].has_ended:
        return Scan(tuple(sections), "an Ogg file without its end-of-stream mark: it is cut short", _MARK_REMEDY)
    return Scan(tuple(sections), fault)


def _unpaged(link: _Stream, content: Buffer) -> bytes:
    """Return the FLAC file in a link."""
    packets = []
    for piece in link.pieces:
        assert isinstance(piece, range)
        position = piece.start
        while position < piece.stop:
            page = _page(content, position)
            assert isinstance(page, _Page)
            packets.append(content[page.body : page.stop])
            position = page.stop
    return b"".join(packets)[_FLAC_MAPPING_BYTES:]


def _taken(content: bytes, section: Section) -> bytes:
    pieces = (range(len(content)),) if section.pieces is None else section.pieces
    return b"".join(content[piece.start : piece.stop] if isinstance(piece, range) else piece for piece in pieces)


def _append(pieces: list[Piece], part: range) -> None:
    last = pieces[-1] if pieces else None
    if isinstance(last, range) and last.stop == part.start:
        pieces[-1] = range(last.start, part.stop)
    else:
        pieces.append(part)


def _section(link: _Stream, content: Buffer) -> Section:
    is_whole_file = link.pieces == [range(len(content))]
    return Section() if is_whole_file else Section(tuple(link.pieces))


def _lost(content: Buffer, position: int) -> str:
    following = content.find(_MARKER, position)
    rest = len(content) - position
    if following >= 0:
        return f"{following - position:,} bytes at offset {position:,} that are no Ogg page: it is damaged"
    if rest <= _MAX_TRAILER_BYTES and content[position : position + 3] in (b"TAG", b"ID3"):
        return ""
    return f"{rest:,} bytes at its end that are no Ogg page: it is cut short or damaged"
