"""FLAC: where its last frame ends, which its header may not know, or may state though the file is cut short.

Each frame says how many samples came before it. So the last one says how long the file is, and only the end of the file
is looked at.

Source: RFC 9639.
"""

from dataclasses import dataclass

from audio_tokenize.audio_files.sources import Buffer, Scan, Section, cut_short

_STREAMINFO_BYTES = 34
_MARKER = b"fLaC"
# A frame of 65,535 samples of 8 channels of 32 bits is no longer.
_MAX_FRAME_BYTES = 1 << 22
_BLOCK_SIZES = {1: 192} | {n: 144 << n for n in range(2, 6)} | {n: 1 << n for n in range(8, 16)}


def _crc_table(polynomial: int, bits: int) -> tuple[int, ...]:
    mask, top = (1 << bits) - 1, 1 << bits - 1
    table = []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value & top else 0)) & mask
        table.append(value)
    return tuple(table)


_CRC_8, _CRC_16 = _crc_table(0x07, 8), _crc_table(0x8005, 16)


def _crc_8(content: bytes) -> int:
    value = 0
    for byte in content:
        value = _CRC_8[value ^ byte]
    return value


def _crc_16(content: bytes) -> int:
    value = 0
    for byte in content:
        value = (value << 8 & 0xFF00) ^ _CRC_16[value >> 8 ^ byte]
    return value


@dataclass(frozen=True)
class _StreamInfo:
    # Where the bytes that hold the number of samples lie.
    total_at: int
    total: int
    block_size: int
    num_channels: int


def _stream_info(content: Buffer, start: int) -> _StreamInfo | None:
    at = start + 8
    info = content[at : at + _STREAMINFO_BYTES]
    if len(info) < _STREAMINFO_BYTES or content[start + 4] & 0x7F:
        return None
    packed = int.from_bytes(info[10:18], "big")
    return _StreamInfo(at + 13, packed & (1 << 36) - 1, int.from_bytes(info[2:4], "big"), (packed >> 41 & 7) + 1)


def _first_frame(content: Buffer, start: int) -> int | None:
    """Where the metadata ends."""
    position = start + 4
    while position + 4 <= len(content):
        is_last, size = content[position] >> 7, int.from_bytes(content[position + 1 : position + 4], "big")
        position += 4 + size
        if is_last:
            return position if position <= len(content) else None
    return None


def _frame_end(content: Buffer, position: int, info: _StreamInfo) -> int | None:
    """Return the number of samples up to the end of the frame at `position`; `None` if no header lies there."""
    head = bytes(content[position : position + 16])
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] & 1 or head[3] >> 4 > 10:
        return None
    code, rate_code = head[2] >> 4, head[2] & 15
    if code == 0 or rate_code == 15 or (head[3] >> 4 < 8 and (head[3] >> 4) + 1 != info.num_channels):
        return None
    length = 1 if head[4] < 0x80 else next((n for n in range(2, 8) if not head[4] >> 7 - n & 1), 0)
    if not length or len(head) < 4 + length:
        return None
    number = head[4] if length == 1 else head[4] & (1 << max(0, 7 - length)) - 1
    for byte in head[5 : 4 + length]:
        if byte >> 6 != 2:
            return None
        number = number << 6 | byte & 0x3F
    at = 4 + length
    if code in (6, 7):
        width = code - 5
        block_size = int.from_bytes(head[at : at + width], "big") + 1
        at += width
    else:
        block_size = _BLOCK_SIZES[code]
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if len(head) <= at or _crc_8(head[:at]) != head[at]:
        return None
    has_sample_number = head[1] & 1
    return (number if has_sample_number else number * info.block_size) + block_size


def _last_frame(content: Buffer, first: int, end: int, info: _StreamInfo) -> tuple[int, int] | None:
    """Position and last sample of the last frame that begins before `end`."""
    low = max(first, end - _MAX_FRAME_BYTES)
    position = end
    while (position := content.rfind(b"\xff", low, position)) >= 0:
        samples = _frame_end(content, position, info)
        if samples is not None:
            return position, samples
    return None


def _is_whole(content: Buffer, start: int, end: int) -> bool:
    frame = bytes(content[start:end])
    return len(frame) > 2 and _crc_16(frame[:-2]) == int.from_bytes(frame[-2:], "big")


def scan_flac(content: Buffer, start: int) -> Scan:
    """Find the last frame of a FLAC file, and compare its place with what the header states.

    Args:
        content: All of the file.
        start: Where it begins behind tags.
    """
    info, first = _stream_info(content, start), _first_frame(content, start)
    if info is None or first is None:
        return Scan((), "a FLAC file that is cut short or damaged within its metadata")
    if len(content) <= first:
        return Scan((), "a FLAC file without a frame: it is cut short")
    end = len(content)
    if content[end - 128 : end - 125] == b"TAG":
        end -= 128
    if (joined := _joined(content, start, first, end)) is not None:
        one, other = joined
        return Scan(one.sections + other.sections, one.fault or other.fault)
    last = _last_frame(content, first, end, info)
    is_stated = last is not None and last[1] == info.total and _is_whole(content, last[0], end)
    if is_stated and (start, end) == (0, len(content)):
        return Scan((Section(),))
    return _measured(content, start, first, end, info)


def _joined(content: Buffer, start: int, first: int, end: int) -> tuple[Scan, Scan] | None:
    """Return the scans of two FLAC files that lie one behind the other."""
    at = content.find(_MARKER, first, end)
    while at >= 0:
        if _stream_info(content, at) is not None and content[at + 5 : at + 8] == b"\0\0\x22":
            one = bytes(content[start:at])
            info = _stream_info(one, 0)
            assert info is not None
            scan = _measured(content, start, first, at, info)
            return scan, scan_flac(content, at)
        at = content.find(_MARKER, at + 1, end)
    return None


def _measured(content: Buffer, start: int, first: int, end: int, info: _StreamInfo) -> Scan:
    """One FLAC file from `start` to `end`, whose header is put right by its last whole frame."""
    stop, last = end, None
    while stop > first:
        last = _last_frame(content, first, stop, info)
        if last is None or _is_whole(content, last[0], stop):
            break
        stop, last = last[0], None
    if last is None:
        return Scan((), "a FLAC file without a whole frame: it is cut short or damaged")
    total = last[1]
    packed = int.from_bytes(content[info.total_at : info.total_at + 5], "big") & ~((1 << 36) - 1) | total
    pieces = (range(start, info.total_at), packed.to_bytes(5, "big"), range(info.total_at + 5, stop))
    fault = ""
    if info.total > total:
        fault = cut_short(info.total, total, "samples")
    elif stop < end:
        fault = f"a file that is cut short or damaged: {end - stop:,} bytes at its end are no whole frame"
    return Scan((Section(pieces, total),), fault)
