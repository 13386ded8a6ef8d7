"""WAV, RF64, Wave64, AIFF, AU, CAF and SPHERE: whether the sound that a header states is there.

libsndfile takes what it finds for all there is: of a file that is cut short it reads the rest in silence, and of one
that was written to a pipe, whose header never learnt its size, all or nothing.
"""

import re
import struct
from dataclasses import dataclass

from audio_tokenize.audio_files.sources import CONVERT, Buffer, Scan, Section, cut_short

# Programs that write to a pipe state the largest size, or about it, as they cannot know a smaller one.
_UNKNOWN_FROM = 0x7FFF0000
_UNKNOWN_64_FROM = 1 << 62
# A writer may pad; a trailer of tags is small too.
_MAX_TRAILER_BYTES = 8192
_W64_GUID_BYTES = 24
_WAV_CODECS = {
    0x0050: "MPEG layer I or II",
    0x0055: "MP3",
    0x00FF: "AAC",
    0x0160: "Windows Media Audio",
    0x0161: "Windows Media Audio",
    0x0162: "Windows Media Audio",
    0x1600: "AAC (ADTS)",
    0x2000: "AC-3",
    0x2001: "DTS",
}


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    start: int
    size: int
    # Of the field that states the size.
    size_at: int


def _chunks(content: Buffer, start: int, end: int, big: bool) -> list[_Chunk]:
    """Return the chunks of a RIFF or IFF file, up to the one that holds the sound."""
    found, order = [], ">" if big else "<"
    while start + 8 <= end:
        name = bytes(content[start : start + 4])
        (size,) = struct.unpack(f"{order}I", content[start + 4 : start + 8])
        found.append(_Chunk(name, start + 8, size, start + 4))
        if name in (b"data", b"SSND"):
            break
        start += 8 + size + (size & 1)
    return found


def scan_riff(content: Buffer, start: int) -> Scan:
    """Compare the `data` chunk of a WAV file with what is there; WAV files joined to one are a section each.

    Args:
        content: All of the file.
        start: Where it begins.
    """
    sections: list[Section] = []
    if (codec := _codec_of(content, start)) is not None:
        return Scan((), f"a WAV file that holds {codec}", CONVERT)
    while True:
        section, fault, stop = _scan_wav(content, start)
        sections += [section] if section else []
        if fault or stop is None:
            plain = len(sections) == 1 and not fault and start == 0 and sections[0].pieces == (range(len(content)),)
            return Scan((Section(),) if plain else tuple(sections), fault)
        start = stop


def _scan_wav(content: Buffer, start: int) -> tuple[Section | None, str, int | None]:
    """One WAV file: its section, what is wrong with it, and where another one begins behind it."""
    size = len(content)
    is_big = content[start : start + 4] == b"RIFX"
    chunks = _chunks(content, start + 12, size, is_big)
    data = chunks[-1] if chunks and chunks[-1].name == b"data" else None
    if data is None:
        return None, "a WAV file without a `data` chunk: it is cut short or damaged", None
    there = size - data.start
    if data.size > there and data.size < _UNKNOWN_FROM:
        whole = _resized(content, start, data, there, size, is_big)
        return whole if there else None, cut_short(data.size, there), None
    if data.size >= _UNKNOWN_FROM and there < data.size:
        return _resized(content, start, data, there, size, is_big), "", None
    stop = data.start + data.size
    if _is_wav(content, stop := _even(content, stop)):
        return Section((range(start, stop),)), "", stop
    if _are_chunks(content, stop, is_big):
        return Section((range(start, size),)), "", None
    if data.size == 0:
        return _resized(content, start, data, there, size, is_big), "", None
    return Section((range(start, stop),)), _unknown_behind(data.size, size - stop), None


def _even(content: Buffer, stop: int) -> int:
    """Behind the byte that fills up an odd chunk, which some writers leave out."""
    return stop + (stop & 1) if not _is_wav(content, stop) else stop


def _is_wav(content: Buffer, at: int) -> bool:
    return content[at : at + 4] in (b"RIFF", b"RIFX") and content[at + 8 : at + 12] == b"WAVE"


def _are_chunks(content: Buffer, start: int, big: bool) -> bool:
    """Whether what follows the sound is chunks, or so little that it is no sound."""
    size = len(content)
    if size - start <= 1:
        return True
    position, order = start, ">" if big else "<"
    while position + 8 <= size and re.fullmatch(rb"[ -~]{4}", content[position : position + 4]):
        (length,) = struct.unpack(f"{order}I", content[position + 4 : position + 8])
        if content[position : position + 4] in (b"data", b"SSND") and length:
            return False
        position += 8 + length + (length & 1)
    return (
        position >= size - 1 or (position > start and size - position <= _MAX_TRAILER_BYTES) or _is_tag(content, start)
    )


def _is_tag(content: Buffer, start: int) -> bool:
    """Whether a tag of another form, or a little padding, follows the sound."""
    if content[start : start + 3] in (b"ID3", b"TAG"):
        return True
    return len(content) - start <= _MAX_TRAILER_BYTES and not content[start:].strip(b"\0")


def _codec_of(content: Buffer, start: int) -> str | None:
    """Name of a codec in a WAV file that libsndfile does not decode."""
    is_big = content[start : start + 4] == b"RIFX"
    for chunk in _chunks(content, start + 12, len(content), is_big):
        if chunk.name == b"fmt ":
            tag = content[chunk.start : chunk.start + 2]
            if tag == b"\xfe\xff":
                tag = content[chunk.start + 24 : chunk.start + 26]
            return _WAV_CODECS.get(int.from_bytes(tag, "big" if is_big else "little"))
    return None


def _resized(content: Buffer, start: int, data: _Chunk, there: int, stop: int, big: bool) -> Section:
    """Return the file with the size of its sound put right."""
    if there >= 1 << 32:
        return Section((range(start, stop),))
    order = "big" if big else "little"
    riff = min(stop - start - 8, (1 << 32) - 1).to_bytes(4, order)
    pieces = (
        range(start, start + 4),
        riff,
        range(start + 8, data.size_at),
        there.to_bytes(4, order),
        range(data.start, stop),
    )
    return Section(pieces)


def scan_rf64(content: Buffer, start: int) -> Scan:
    """Compare the sizes that the `ds64` chunk of an RF64 file states with what is there."""
    chunks = _chunks(content, start + 12, len(content), big=False)
    data = chunks[-1] if chunks and chunks[-1].name == b"data" else None
    if data is None:
        return Scan((), "an RF64 file without a `data` chunk: it is cut short or damaged")
    stated = data.size
    if stated == 0xFFFFFFFF and chunks[0].name == b"ds64":
        (stated,) = struct.unpack("<Q", content[chunks[0].start + 8 : chunks[0].start + 16].ljust(8, b"\0"))
    return _compared(content, start, data.start, stated, order="<")


def scan_w64(content: Buffer, start: int) -> Scan:
    """Compare the `data` chunk of a Wave64 file with what is there."""
    position = start + 40
    while position + _W64_GUID_BYTES <= len(content):
        (size,) = struct.unpack("<Q", content[position + 16 : position + _W64_GUID_BYTES])
        if content[position : position + 4] == b"data":
            return _compared(content, start, position + _W64_GUID_BYTES, size - _W64_GUID_BYTES)
        position += max(_W64_GUID_BYTES, (size + 7) // 8 * 8)
    return Scan((), "a Wave64 file without a `data` chunk: it is cut short or damaged")


def scan_aiff(content: Buffer, start: int) -> Scan:
    """Compare the `SSND` chunk of an AIFF file with what is there."""
    chunks = _chunks(content, start + 12, len(content), big=True)
    if not chunks or chunks[-1].name != b"SSND":
        return Scan((), "an AIFF file without an `SSND` chunk: it is cut short or damaged")
    return _compared(content, start, chunks[-1].start, chunks[-1].size, order=">")


def scan_au(content: Buffer, start: int) -> Scan:
    """Compare the size that the header of an AU file states with what is there; it may state that it is unknown."""
    header, stated = struct.unpack(">II", content[start + 4 : start + 12].ljust(8, b"\0"))
    return _compared(content, start, start + header, stated, unknown=0xFFFFFFFF)


def scan_caf(content: Buffer, start: int) -> Scan:
    """Compare the `data` chunk of a CAF file with what is there; it may state that it is unknown."""
    position = start + 8
    while position + 12 <= len(content):
        name = content[position : position + 4]
        (size,) = struct.unpack(">q", content[position + 4 : position + 12])
        if name == b"desc":
            codec = bytes(content[position + 20 : position + 24])
            if codec not in (b"lpcm", b"alac", b"ulaw", b"alaw", b"ima4"):
                kind = "AAC" if codec == b"aac " else repr(codec.decode("latin-1").strip())
                return Scan((), f"a CAF file that holds {kind}", CONVERT)
        if name == b"data":
            if size >= 0:
                return _compared(content, start, position + 12, size)
            known = (len(content) - position - 12).to_bytes(8, "big")
            return Scan((Section((range(position + 4), known, range(position + 12, len(content)))),))
        if size < 0:
            break
        position += 12 + size
    return Scan((), "a CAF file without a `data` chunk: it is cut short or damaged")


def scan_nist(content: Buffer, start: int) -> Scan:
    """Compare the samples that a SPHERE header states with what is there."""
    header = content[start : start + 4096].decode("latin-1")
    fields = dict(re.findall(r"^(\w+) -\w+ (.+?)\s*$", header.partition("end_head")[0], re.MULTILINE))
    if "shorten" in (coding := fields.get("sample_coding", "")):
        return Scan((), f"a SPHERE file of coding {coding!r}", "unpack it with `sph2pipe -f wav IN OUT.wav`")
    first = re.match(r"NIST_1A\s+(\d{1,6})", header)
    names = ("sample_count", "channel_count", "sample_n_bytes")
    sizes = [fields.get(name, "1" if name == "channel_count" else "") for name in names]
    if first is None or not all(re.fullmatch(r"\d{1,12}", size) for size in sizes):
        return Scan((Section(),))
    count, channels, width = map(int, sizes)
    return _compared(content, start, start + int(first[1]), count * channels * width)


def _compared(
    content: Buffer, start: int, sound: int, stated: int, *, order: str = "", unknown: int = _UNKNOWN_64_FROM
) -> Scan:
    """Compare the bytes of sound that a header states with those that are there.

    Args:
        content: All of the file.
        start: Where it begins.
        sound: Where its sound begins.
        stated: Bytes of sound that its header states.
        order: Of the bytes in sizes of chunks, `<` or `>`, where chunks may follow the sound.
        unknown: From which size on, and at 0, a header says that it does not know.
    """
    there = len(content) - sound
    if stated >= unknown or stated == 0:
        return Scan((Section(),))
    if stated > there:
        return Scan((Section(),) if there > 0 else (), cut_short(stated, max(0, there)))
    stop = sound + stated
    is_joined = content[stop : stop + 4] == content[start : start + 4]
    if not is_joined and (there - stated <= _MAX_TRAILER_BYTES or (order and _are_chunks(content, stop, order == ">"))):
        return Scan((Section(),))
    return Scan((Section(),), _unknown_behind(stated, there - stated))


def _unknown_behind(stated: int, num_bytes: int) -> str:
    return (
        f"a header that states {stated:,} bytes of sound, with {num_bytes:,} unknown bytes behind them: it was not "
        "closed, was joined with another, or is damaged"
    )
