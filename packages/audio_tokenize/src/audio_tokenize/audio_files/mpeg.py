"""MPEG audio (layers I to III): its frames counted one by one, since a header only states or guesses their number.

Without a Xing header libsndfile takes the bit rate of the first frame for that of all: speech after silence is cut off.
So a stretch of frames gets a Xing header that states the true number. Files joined to one are told apart by their own
headers, and by a change of rate or channels, and become a section each.

Source: ISO/IEC 11172-3 and 13818-3 (frame headers); the Xing header as LAME writes it.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache

from audio_tokenize.audio_files.sources import Buffer, Scan, Section, cut_short

_V1_KBPS = {
    1: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_V2_KBPS = {
    1: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_HEADER_BYTES = 4
_ID3_BYTES = 10
# What lies behind the last frame in tags that other programs write; longer stretches were sound once.
_MAX_TRAILER_BYTES = 8192
_SEARCH_BYTES = 1 << 16


@dataclass(frozen=True)
class _Frame:
    num_bytes: int
    num_samples: int
    layer: int
    is_version_1: bool
    is_mono: bool
    # What frames of one stretch have in common: version, layer, rate and whether there are two channels.
    kind: tuple[int, int, int, bool]

    @property
    def side_bytes(self) -> int:
        """Of the side information, behind which a Xing header lies."""
        if self.is_version_1:
            return 17 if self.is_mono else 32
        return 9 if self.is_mono else 17


@lru_cache(4096)
def _parse(header: bytes) -> _Frame | None:
    if len(header) < _HEADER_BYTES or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or rate == 3 or bitrate in (0, 15):
        return None
    rate_hz, padding = _RATES_HZ[version][rate], header[2] >> 1 & 1
    bits_per_second = (_V1_KBPS if version == 3 else _V2_KBPS)[layer][bitrate] * 1000
    num_samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    if layer == 1:
        num_bytes = (12 * bits_per_second // rate_hz + padding) * 4
    else:
        num_bytes = num_samples // 8 * bits_per_second // rate_hz + padding
    is_mono = header[3] >> 6 == 3
    return _Frame(num_bytes, num_samples, layer, version == 3, is_mono, (version, layer, rate_hz, is_mono))


def after_id3(content: Buffer, start: int = 0) -> int:
    """Where what follows the ID3v2 tags at `start` begins."""
    while content[start : start + 3] == b"ID3" and len(head := content[start : start + _ID3_BYTES]) == _ID3_BYTES:
        size = 0
        for byte in head[6:10]:
            size = size << 7 | (byte & 0x7F)
        start += _ID3_BYTES + size + (_ID3_BYTES if head[5] & 0x10 else 0)
    return start


def _frame(content: Buffer, position: int) -> _Frame | None:
    return _parse(content[position : position + _HEADER_BYTES])


def find_mpeg(content: Buffer, start: int) -> int | None:
    """Where the first of two frames in a row begins, near `start`; the last frame of a file stands alone."""
    stop = min(len(content), start + _SEARCH_BYTES)
    position = content.find(b"\xff", start, stop)
    while position >= 0:
        frame = _frame(content, position)
        if frame is not None:
            behind = position + frame.num_bytes
            following = _frame(content, behind)
            if (following is not None and following.kind == frame.kind) or (
                position == start and _is_end(content, behind)
            ):
                return position
        position = content.find(b"\xff", position + 1, stop)
    return None


def _is_end(content: Buffer, position: int) -> bool:
    return position == len(content) or content[position : position + 3] == b"TAG"


def _stated_frames(content: Buffer, position: int, frame: _Frame) -> tuple[str, int | None] | None:
    """Return the kind of header in a frame of no sound, and the number of frames that it states; `None` without one."""
    at = position + _HEADER_BYTES + frame.side_bytes
    tag = content[at : at + 4]
    if frame.layer == 3 and tag in (b"Xing", b"Info"):
        (flags,) = struct.unpack(">I", content[at + 4 : at + 8].ljust(4, b"\0"))
        stated = struct.unpack(">I", content[at + 8 : at + 12].ljust(4, b"\0"))[0] if flags & 1 else None
        return "Xing", stated
    at = position + _HEADER_BYTES + 32
    if frame.layer == 3 and content[at : at + 4] == b"VBRI":
        return "VBRI", struct.unpack(">I", content[at + 14 : at + 18].ljust(4, b"\0"))[0]
    return None


def _made_header(frame: bytes, num_frames: int) -> bytes:
    """Return a frame of no sound that states how many frames of that kind follow."""
    kind = _parse(frame)
    assert kind is not None
    # Without a checksum, without padding, and at the smallest bit rate that leaves room for the header.
    for bitrate in range(1, 15):
        header = bytes((0xFF, frame[1] | 1, bitrate << 4 | (frame[2] & 0x0C), frame[3]))
        made = _parse(header)
        if made is not None and made.num_bytes >= _HEADER_BYTES + made.side_bytes + 16:
            xing = b"Xing" + struct.pack(">II", 1, num_frames)
            return (header + bytes(made.side_bytes) + xing).ljust(made.num_bytes, b"\0")
    raise AssertionError("the highest bit rate has room for 16 bytes")


class _Stretch:
    """Frames of one kind in a row."""

    def __init__(self, content: Buffer, start: int, frame: _Frame):
        self._content, self._start, self.frame = content, start, frame
        header = _stated_frames(content, start, frame)
        self.header, self.stated = header or ("", None)
        self._first = start + frame.num_bytes if header else start
        self.stop, self.num_frames = self._first, 0

    def add(self, frame: _Frame) -> None:
        self.stop += frame.num_bytes
        self.num_frames += 1

    @property
    def is_counted(self) -> bool:
        """Whether its own header says what is there, so that the decoder can take it as it is."""
        return self.header == "Xing" and self.stated == self.num_frames

    def section(self) -> Section:
        if self.is_counted:
            return Section((range(self._start, self.stop),))
        sound = range(self._first, self.stop)
        if self.frame.layer != 3:
            return Section((sound,), self.num_frames * self.frame.num_samples)
        made = _made_header(self._content[self._first : self._first + _HEADER_BYTES], self.num_frames)
        return Section((made, sound))


def scan_mpeg(content: Buffer, start: int) -> Scan:
    """Count the frames from `start` on.

    Args:
        content: All of the file.
        start: Where it begins behind tags.
    """
    found = find_mpeg(content, start)
    position = start if found is None else found
    stretches: list[_Stretch] = []
    fault = ""
    while position < len(content):
        frame = _frame(content, position)
        if frame is None:
            following, problem = _after_other(content, position)
            if problem:
                fault = problem
                break
            position = following
            continue
        if position + frame.num_bytes > len(content):
            fault = f"a file that is cut short: its last frame has {len(content) - position} of {frame.num_bytes} bytes"
            break
        stretch = stretches[-1] if stretches else None
        if (
            stretch is None
            or stretch.stop != position
            or stretch.frame.kind != frame.kind
            or (stretch.header and stretch.num_frames == stretch.stated)
            or _stated_frames(content, position, frame) is not None
        ):
            if stretch is not None and (fault := _too_few(stretch)):
                break
            stretches.append(_Stretch(content, position, frame))
            if stretches[-1].header:
                position += frame.num_bytes
                continue
        stretches[-1].add(frame)
        position += frame.num_bytes
    if stretches and not fault:
        fault = _too_few(stretches[-1])
    return Scan(tuple(stretch.section() for stretch in stretches if stretch.num_frames), fault)


def _too_few(stretch: _Stretch) -> str:
    stated, there = stretch.stated or 0, stretch.num_frames
    return cut_short(stated, there, "frames") if stated > there else ""


def _after_other(content: Buffer, position: int) -> tuple[int, str]:
    """Where what is no frame ends, and what is wrong with it: tags are passed over, lost sound is not."""
    size = len(content)
    behind = after_id3(content, position)
    if content[position : position + 3] == b"TAG" and size - position >= 128:
        return position + 128, ""
    if content[position : position + 8] == b"APETAGEX":
        length, _, flags = struct.unpack("<III", content[position + 12 : position + 24].ljust(12, b"\0"))
        is_header = flags >> 29 & 1
        behind = position + 32 + (length if is_header else 0)
    if position < behind <= size:
        return behind, ""
    following = find_mpeg(content, position)
    if following is not None:
        return (
            following,
            f"{following - position:,} bytes at offset {position:,} that are no MPEG frames: it is damaged",
        )
    if size - position <= _MAX_TRAILER_BYTES:
        return size, ""
    zeros = " zero" if not content[position : position + _SEARCH_BYTES].strip(b"\0") else ""
    return size, f"{size - position:,}{zeros} bytes at its end that are no MPEG frames: it is damaged or cut short"
