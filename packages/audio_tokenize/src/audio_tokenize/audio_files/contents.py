"""The format of a file, from its first bytes, whatever its name says."""

import re
from typing import Literal

from audio_tokenize.audio_files.mpeg import after_id3, find_mpeg
from audio_tokenize.audio_files.sources import CONVERT, Buffer

AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".opus", ".mp3", ".oga", ".mp2"),
    *(".aif", ".aiff", ".au", ".caf", ".w64", ".rf64", ".sph"),
)
"""Suffixes of audio that is read, in any case; what a file is, its content says."""

Container = Literal["riff", "rf64", "w64", "aiff", "au", "caf", "nist", "flac", "ogg", "mpeg", "mpeg-4"]

_READ: tuple[tuple[bytes, Container], ...] = (
    (rb"RIF[FX]....WAVE", "riff"),
    (rb"RF64....WAVE", "rf64"),
    (rb"riff\x2e\x91\xcf\x11", "w64"),
    (rb"FORM....AIF[FC]", "aiff"),
    (rb"\.snd", "au"),
    (rb"caff", "caf"),
    (rb"NIST_1A", "nist"),
    (rb"fLaC", "flac"),
    (rb"OggS", "ogg"),
    (rb"....ftyp", "mpeg-4"),
)
# What people give for audio, by how it begins, and what to do about it.
_OTHER: tuple[tuple[bytes, str, str], ...] = (
    (rb"\x1a\x45\xdf\xa3.{0,60}webm", "WebM", CONVERT),
    (rb"\x1a\x45\xdf\xa3", "Matroska", CONVERT),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (WMA, ASF)", CONVERT),
    (rb"#!AMR", "AMR", CONVERT),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "AAC (ADTS)", CONVERT),
    (rb"ADIF", "AAC (ADIF)", CONVERT),
    (rb"\x56[\xe0-\xff]", "AAC (LOAS)", CONVERT),
    (rb"RIFF....AVI ", "AVI video", CONVERT),
    (rb"BW64....WAVE", "Broadcast Wave 64 (BW64)", CONVERT),
    (rb"FORM....", "IFF of another kind than AIFF", CONVERT),
    (rb"FLV", "Flash video", CONVERT),
    (rb"\x00\x00\x01\xba", "MPEG program stream (video)", CONVERT),
    (rb"G.{187}G.{187}G", "MPEG transport stream (video)", CONVERT),
    (rb"\.RMF|\.ra\xfd", "RealAudio", CONVERT),
    (rb"MThd", "MIDI, which holds notes and no sound", "replace it"),
    (rb"\x0b\x77", "AC-3", CONVERT),
    (rb"\x7f\xfe\x80\x01", "DTS", CONVERT),
    (rb"MAC ", "Monkey's Audio", CONVERT),
    (rb"wvpk", "WavPack", CONVERT),
    (rb"TTA[12]", "True Audio (TTA)", CONVERT),
    (rb"MPCK|MP\+", "Musepack", CONVERT),
    (rb"ajkg", "Shorten", CONVERT),
    (rb"DSD |FRM8", "DSD", CONVERT),
    (rb"Creative Voice File", "Creative Voice (VOC)", CONVERT),
    (rb"version https://git-lfs", "a pointer of Git LFS instead of the file", "fetch the file with `git lfs pull`"),
    (rb"\s*(?i:<!doctype html|<html)", "an HTML page", "the download failed, repeat it"),
    (rb"\s*<", "an XML or HTML page", "the download failed, repeat it"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "a compressed file", "unpack it"),
    (rb"PK\x03\x04|7z\xbc\xaf|Rar!", "an archive", "unpack it"),
    (rb".{257}ustar", "a tar archive", "unpack it, or give its folder as a corpus of the form tar"),
    (rb"PAR1", "a parquet table", "give it as a corpus of the form parquet"),
    (rb"\x93NUMPY", "a NumPy array", "write its samples as a WAV file"),
    (rb"%PDF", "a PDF document", "replace it"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8", "an image", "replace it"),
)
_HEAD_BYTES = 4096


def container_of(content: Buffer) -> tuple[Container, int] | tuple[None, str]:
    """Find what a file is, and where it begins behind tags.

    Args:
        content: All of the file, at least a byte.

    Returns:
        The container and the offset of its first byte; or `None` and what the file is instead, with the remedy.
    """
    start = after_id3(content)
    head = content[start : start + _HEAD_BYTES]
    for pattern, container in _READ:
        if re.match(pattern, head, re.DOTALL):
            return container, start
    found = find_mpeg(content, start)
    if found == start:
        return "mpeg", start
    for pattern, name, remedy in _OTHER:
        if re.match(pattern, head, re.DOTALL):
            return None, f"{name}; {remedy}"
    if found is not None:
        return "mpeg", start
    return None, _unknown(head)


def _unknown(head: bytes) -> str:
    if not head.strip(b"\0"):
        return "nothing but zero bytes at its beginning; the file is damaged or was never written, replace it"
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head[:64]):
        return f"text that begins with {head[:40].decode('ascii').split(chr(10))[0].strip()!r}; replace the file"
    return f"an unknown format that begins with {head[:8].hex(' ')}; replace or convert the file"
