"""Odd audio: what becomes of each kind of file that people give for speech, as a table.

    uv run python tests/reliability/odd_audio.py

Each file is made here, with its right outcome stated beside it: *accepted* with its length, *repaired* with the length
of the sound that is there, whatever the header states, or *quarantined* with the reason. The files take the way of a
corpus: looked at when it is opened, decoded when it is encoded.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile

from audio_data import InputError
from audio_tokenize.audio_files.sources import AudioBytes
from audio_tokenize.corpora.corpus import Skipped
from audio_tokenize.corpora.entries import Entry, resolve_stream
from audio_tokenize.encoding.clips import read_ahead

RATE_HZ = 16_000
Verdict = Literal["accepted", "repaired", "quarantined"]


@dataclass(frozen=True)
class Kind:
    """A kind of odd audio.

    Attributes:
        name: What it is.
        content: The file.
        verdict: What is right to do with it.
        seconds: Its right length, of what is accepted or repaired.
        reason: A part of the right reason, of what is quarantined.
        suffix: Of the file's name.
    """

    name: str
    content: bytes
    verdict: Verdict
    seconds: float = 0.0
    reason: str = ""
    suffix: str = ".wav"


@dataclass(frozen=True)
class Found:
    """What became of a kind.

    Attributes:
        verdict: `read`, or `quarantined`.
        seconds: Length of what was read.
        stated_seconds: Length that the corpus says before it is read.
        reason: Why not.
        samples: What was read, mono.
    """

    verdict: Literal["read", "quarantined"]
    seconds: float = 0.0
    stated_seconds: float = 0.0
    reason: str = ""
    samples: np.ndarray | None = None


def speech(seconds: float = 1.0, rate_hz: int = RATE_HZ, seed: int = 0) -> np.ndarray:
    """A voice-like sound: harmonics that rise and fall with syllables; within -0.5 and 0.5."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / rate_hz
    voice = sum(np.sin(n * phase) / n for n in range(1, 12))
    noise = np.random.default_rng(seed).normal(0, 0.02, len(time))
    loudness = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time + seed)
    samples = (voice * loudness + noise) * 0.25
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


def written(
    samples: np.ndarray, format: str, subtype: str | None = None, rate_hz: int = RATE_HZ, **options: Any
) -> bytes:
    """A file as libsndfile writes it."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate_hz, format=format, subtype=subtype, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a WAV file."""
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def wav(
    samples: np.ndarray, *, before: bytes = b"", behind: bytes = b"", data_bytes: int | None = None, **form: int
) -> bytes:
    """A 16-bit WAV file by hand, with whatever its header is to say."""
    rate_hz, channels, tag = form.get("rate_hz", RATE_HZ), form.get("channels", 1), form.get("tag", 1)
    sound = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    head = struct.pack("<HHIIHH", tag, channels, rate_hz, 2 * channels * rate_hz % 2**32, 2 * channels, 16)
    stated = len(sound) if data_bytes is None else data_bytes
    body = b"WAVE" + chunk(b"fmt ", head) + before + b"data" + struct.pack("<I", stated) + sound + behind
    return b"RIFF" + struct.pack("<I", len(body)) + body


def mp3_frames(content: bytes) -> list[bytes]:
    """The frames of an MPEG-2 layer III file, cut by the length that each states."""
    kilobits = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    frames = []
    while content:
        rate_hz = (22_050, 24_000, 16_000)[content[2] >> 2 & 3]
        size = 72 * kilobits[content[2] >> 4] * 1000 // rate_hz + (content[2] >> 1 & 1)
        frames.append(content[:size])
        content = content[size:]
    return frames


def ogg_pages(content: bytes) -> list[bytes]:
    """The pages of an Ogg file."""
    starts = [0]
    while (at := content.find(b"OggS", starts[-1] + 4)) >= 0:
        starts.append(at)
    return [content[start:stop] for start, stop in zip(starts, [*starts[1:], len(content)], strict=True)]


def ogg_page(packets: list[bytes], sequence: int, flags: int, granule: int, serial: int = 7) -> bytes:
    """An Ogg page of whole packets, with its checksum (computed a bit at a time, as RFC 3533 defines it)."""
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, serial, sequence, 0, len(lacing))
    page = head + lacing + b"".join(packets)
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return page[:22] + struct.pack("<I", value) + page[26:]


def flac_in_ogg(samples: np.ndarray) -> bytes:
    """FLAC frames in Ogg pages, one frame of 4,096 samples a page."""
    native = written(samples, "FLAC")
    position, blocks = 4, []
    while not blocks or not blocks[-1][0] & 0x80:
        size = int.from_bytes(native[position + 1 : position + 4], "big")
        blocks.append(native[position : position + 4 + size])
        position += 4 + size
    starts = [native.find(b"\xff\xf8" + native[position + 2 : position + 4] + bytes([n]), position) for n in range(5)]
    starts = [position, *(start for start in starts[1:] if start > 0)]
    last = native.rfind(b"\xff\xf8")
    starts = sorted({*starts, last})
    frames = [native[a:b] for a, b in zip(starts, [*starts[1:], len(native)], strict=True)]
    first = b"\x7fFLAC\x01\x00" + struct.pack(">H", len(blocks) - 1) + b"fLaC" + blocks[0]
    pages = [ogg_page([first], 0, 2, 0), ogg_page(blocks[1:], 1, 0, 0)]
    for n, frame in enumerate(frames):
        is_last = n == len(frames) - 1
        granule = len(samples) if is_last else 4096 * (n + 1)
        pages.append(ogg_page([frame], n + 2, 4 if is_last else 0, granule))
    return b"".join(pages)


def flac_total(content: bytes, total: int) -> bytes:
    """A FLAC file whose header states another number of samples; 0 is unknown."""
    packed = int.from_bytes(content[21:26], "big") & ~((1 << 36) - 1) | total
    return content[:21] + packed.to_bytes(5, "big") + content[26:]


def flipped(content: bytes, place: float) -> bytes:
    """A file with one bit changed."""
    at = round(place * len(content))
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


def kinds() -> list[Kind]:
    """All kinds."""
    return [*_whole(), *_repaired(), *_cut(), *_values(), *_no_audio()]


def _whole() -> Iterator[Kind]:
    voice, stereo = speech(), np.stack([speech(), speech(seed=1)], 1)
    forms = {
        "WAV, 16 bits": ("WAV", "PCM_16", {}),
        "WAV, 24 bits": ("WAV", "PCM_24", {}),
        "WAV, 32 bits": ("WAV", "PCM_32", {}),
        "WAV, 8 bits": ("WAV", "PCM_U8", {}),
        "WAV, float": ("WAV", "FLOAT", {}),
        "WAV, double": ("WAV", "DOUBLE", {}),
        "WAV, mu-law": ("WAV", "ULAW", {}),
        "WAV, A-law": ("WAV", "ALAW", {}),
        "WAV, extensible": ("WAVEX", "PCM_16", {}),
        "WAV, big endian (RIFX)": ("WAV", "PCM_16", {"endian": "BIG"}),
        "RF64": ("RF64", "PCM_16", {}),
        "Wave64": ("W64", "PCM_16", {}),
        "AIFF": ("AIFF", "PCM_16", {}),
        "AIFF-C, float": ("AIFF", "FLOAT", {}),
        "AU": ("AU", "PCM_16", {}),
        "AU, mu-law": ("AU", "ULAW", {}),
        "CAF": ("CAF", "PCM_16", {}),
        "SPHERE (as TIMIT's .WAV)": ("NIST", "PCM_16", {}),
        "FLAC": ("FLAC", "PCM_16", {}),
        "FLAC, 24 bits": ("FLAC", "PCM_24", {}),
        "Ogg Vorbis": ("OGG", "VORBIS", {}),
        "Ogg Opus": ("OGG", "OPUS", {}),
        "MP3, variable bit rate": ("MP3", None, {"bitrate_mode": "VARIABLE"}),
        "MP3, constant bit rate": ("MP3", None, {"bitrate_mode": "CONSTANT"}),
    }
    for name, (format, subtype, options) in forms.items():
        yield Kind(name, written(voice, format, subtype, **options), "accepted", 1.0)
    # Blocks of 512 bytes hold 1,017 samples; the last one is filled up.
    yield Kind("WAV, IMA ADPCM", written(voice, "WAV", "IMA_ADPCM"), "accepted", 16 * 1017 / RATE_HZ)
    yield Kind("WAV, GSM 6.10", written(voice, "WAV", "GSM610"), "accepted", 1.0)
    yield Kind("FLAC in Ogg", flac_in_ogg(voice), "accepted", 1.0, suffix=".ogg")
    yield Kind(
        "MP3 in stereo at 44.1 kHz", written(np.repeat(stereo, 3, 0)[:44_100], "MP3", rate_hz=44_100), "accepted", 1.0
    )
    yield Kind("MP3 at 8 kHz (MPEG 2.5)", written(speech(rate_hz=8_000), "MP3", rate_hz=8_000), "accepted", 1.0)
    tagged = b"ID3\x04\0\0\0\0\0\x64" + bytes(100) + written(voice, "MP3") + b"TAG" + bytes(125)
    yield Kind("MP3 between ID3v2 and ID3v1 tags", tagged, "accepted", 1.0, suffix=".mp3")
    yield Kind("MP3 named .wav", written(voice, "MP3"), "accepted", 1.0)
    yield Kind("FLAC named .mp3", written(voice, "FLAC"), "accepted", 1.0, suffix=".mp3")
    yield Kind("WAV with chunks before and behind its sound", _chunked(voice), "accepted", 1.0)
    yield Kind("WAV with an odd chunk left unpadded", wav(voice, behind=b"LIST\x03\0\0\0abc"), "accepted", 1.0)
    yield Kind("WAV with an ID3 tag behind its sound", wav(voice, behind=b"ID3\x04" + bytes(3000)), "accepted", 1.0)
    yield Kind("WAV of 8 channels", written(np.repeat(voice[:, None], 8, 1), "WAV"), "accepted", 1.0)
    for rate_hz in (8_000, 22_050, 96_000, 192_000):
        yield Kind(f"WAV at {rate_hz:,} Hz", written(speech(rate_hz=rate_hz), "WAV", rate_hz=rate_hz), "accepted", 1.0)
    yield Kind("WAV of 10 ms", written(voice[4000:4160], "WAV"), "accepted", 0.01)
    yield Kind("clipped: a third of the samples at full scale", wav(4 * voice), "accepted", 1.0)
    yield Kind("float samples up to 1.5", written(3 * voice, "WAV", "FLOAT"), "accepted", 1.0)
    yield Kind("an offset of a third of full scale", wav(voice + 0.33), "accepted", 1.0)
    yield Kind("speech 60 dB below full scale", wav(voice / 500), "accepted", 1.0)
    yield Kind("a dead channel", written(stereo * [1, 0], "WAV"), "accepted", 1.0)
    yield Kind("two speakers in two channels", written(stereo, "WAV"), "accepted", 1.0)


def _chunked(voice: np.ndarray) -> bytes:
    return wav(voice, before=chunk(b"JUNK", bytes(28)), behind=chunk(b"LIST", b"INFOISFT\x04\0\0\0abc\0"))


def _repaired() -> Iterator[Kind]:
    voice, silence = speech(), np.zeros(3 * RATE_HZ, np.float32)
    speech_first, speech_last = np.concatenate([voice, silence]), np.concatenate([silence, voice])
    for name, samples in (("silence", speech_first), ("speech", speech_last)):
        frames = mp3_frames(written(samples, "MP3", bitrate_mode="VARIABLE"))
        # The encoder's frame of delay comes before, a part of a frame behind; the first 529 samples are the decoder's.
        seconds = (576 * len(frames[1:]) - 529) / RATE_HZ
        yield Kind(f"MP3 without an index, {name} last", b"".join(frames[1:]), "repaired", seconds, suffix=".mp3")
    mp3, mp3_other = written(voice, "MP3"), written(speech(0.5, 24_000), "MP3", rate_hz=24_000)
    mp3_stereo = written(np.repeat(voice[:, None], 2, 1), "MP3")
    bare = b"".join(mp3_frames(written(voice, "MP3", bitrate_mode="CONSTANT"))[1:])
    bare_seconds = (576 * len(mp3_frames(bare)) - 529) / RATE_HZ
    yield Kind("MP3 of constant bit rate without an index", bare, "repaired", bare_seconds, suffix=".mp3")
    yield Kind("MP3 with 2 KiB of something behind", mp3 + b"\x01" * 2048, "repaired", 1.0, suffix=".mp3")
    yield Kind("two MP3 joined", mp3 + mp3, "repaired", 2.0, suffix=".mp3")
    yield Kind("two MP3 of two rates joined", mp3 + mp3_other, "repaired", 1.5, suffix=".mp3")
    yield Kind("MP3 in mono and in stereo joined", mp3 + mp3_stereo, "repaired", 2.0, suffix=".mp3")
    tag = b"ID3\x04\0\0\0\0\0\x64" + bytes(100)
    yield Kind("two MP3 joined, a tag between them", mp3 + tag + mp3, "repaired", 2.0, suffix=".mp3")
    yield Kind("MP3 joined with MP3 without an index", mp3 + bare, "repaired", 1.0 + bare_seconds, suffix=".mp3")
    ogg, opus = written(voice, "OGG"), written(voice, "OGG", "OPUS")
    other = written(np.stack([speech(0.5, 24_000)] * 2, 1), "OGG", rate_hz=24_000)
    yield Kind("chained Ogg Vorbis", ogg + ogg, "repaired", 2.0, suffix=".ogg")
    yield Kind("chained Ogg Vorbis of other rates and channels", ogg + other, "repaired", 1.5, suffix=".ogg")
    yield Kind("chained Ogg Opus", opus + opus + opus, "repaired", 3.0, suffix=".opus")
    yield Kind("Vorbis and Opus in one chain", ogg + opus, "repaired", 2.0, suffix=".ogg")
    yield Kind("Ogg with pictures beside the sound", _with_video(ogg), "repaired", 1.0, suffix=".ogv")
    flac, short = written(voice, "FLAC"), written(speech(0.5), "FLAC")
    yield Kind("FLAC of unknown length (written to a pipe)", flac_total(flac, 0), "repaired", 1.0, suffix=".flac")
    yield Kind("FLAC that states less than it has", flac_total(flac, 5000), "repaired", 1.0, suffix=".flac")
    yield Kind("FLAC behind an ID3 tag", tag + flac, "repaired", 1.0, suffix=".flac")
    yield Kind("two FLAC joined", flac + short, "repaired", 1.5, suffix=".flac")
    yield Kind("two FLAC of one length joined", flac + flac, "repaired", 2.0, suffix=".flac")
    yield Kind("WAV whose recorder was killed (0 bytes stated)", wav(voice, data_bytes=0), "repaired", 1.0)
    yield Kind("WAV from a pipe (ffmpeg)", wav(voice, data_bytes=0xFFFFFFFF), "repaired", 1.0)
    yield Kind("WAV from a pipe (SoX)", wav(voice, data_bytes=0x7FFFF000), "repaired", 1.0)
    yield Kind("WAV from a pipe (arecord)", wav(voice, data_bytes=0x80000000), "repaired", 1.0)
    yield Kind("two WAV joined", wav(voice) + wav(voice), "repaired", 2.0)
    au, caf = written(voice, "AU"), written(voice, "CAF", "PCM_16")
    yield Kind("AU of unknown length", au[:8] + b"\xff" * 4 + au[12:], "repaired", 1.0, suffix=".au")
    at = caf.index(b"data") + 4
    yield Kind("CAF of unknown length", caf[:at] + b"\xff" * 8 + caf[at + 8 :], "repaired", 1.0, suffix=".caf")
    for gain, name in ((1.0, "opposite channels"), (0.97, "opposite channels of about one loudness")):
        yield Kind(name, written(np.stack([voice, -gain * voice], 1), "WAV"), "repaired", 1.0)
    quad = np.stack([voice, -voice, voice, -voice], 1)
    yield Kind("four channels that cancel each other", written(quad, "WAV"), "repaired", 1.0)


def _with_video(ogg: bytes) -> bytes:
    first, *rest = ogg_pages(ogg)
    video = [ogg_page([b"\x80theora" + bytes(35)], 0, 2, 0, 99), ogg_page([bytes(500)], 1, 4, 0, 99)]
    return first + video[0] + b"".join(rest[:1]) + video[1] + b"".join(rest[1:])


def _cut() -> Iterator[Kind]:
    voice = speech()
    forms = {
        "WAV": ("WAV", "PCM_16"),
        "RF64": ("RF64", "PCM_16"),
        "Wave64": ("W64", "PCM_16"),
        "AIFF": ("AIFF", "PCM_16"),
        "AU": ("AU", "PCM_16"),
        "CAF": ("CAF", "PCM_16"),
        "SPHERE": ("NIST", "PCM_16"),
        "FLAC": ("FLAC", None),
        "Ogg Vorbis": ("OGG", "VORBIS"),
        "Ogg Opus": ("OGG", "OPUS"),
        "MP3": ("MP3", None),
    }
    for name, (format, subtype) in forms.items():
        content = written(voice, format, subtype)
        yield Kind(f"{name} cut to 6 of 10", content[: len(content) * 6 // 10], "quarantined", reason="cut short")
    yield Kind("WAV cut within its header", wav(voice)[:30], "quarantined", reason="cut short or damaged")
    yield Kind("WAV cut before its first sample", wav(voice)[:44], "quarantined", reason="cut short")
    flac, mp3 = written(voice, "FLAC"), written(voice, "MP3")
    at = flac.rfind(b"\xff\xf8")
    yield Kind("FLAC without its last frame", flac[:at], "quarantined", reason="cut short: it states 16,000 samples")
    yield Kind("FLAC of unknown length, cut", flac_total(flac, 0)[:-300], "quarantined", reason="no whole frame")
    zeros = flac[: len(flac) // 2] + bytes(len(flac) // 2)
    yield Kind("FLAC with zeros for its second half", zeros, "quarantined", reason="cut short")
    yield Kind(
        "FLAC with a bit changed", flipped(flac, 0.6), "quarantined", reason="expected audio that can be decoded"
    )
    frames = mp3_frames(mp3)
    yield Kind(
        "MP3 without its last frame", b"".join(frames[:-1]), "quarantined", reason="cut short: it states", suffix=".mp3"
    )
    bare = b"".join(frames[1:])
    yield Kind("MP3 without an index, cut", bare[:-20], "quarantined", reason="its last frame has", suffix=".mp3")
    hole = bare[:900] + bytes(2000) + bare[2900:]
    yield Kind("MP3 with a hole of zeros", hole, "quarantined", reason="no MPEG frames", suffix=".mp3")
    yield Kind(
        "MP3 with zeros for the rest",
        bare + bytes(20_000),
        "quarantined",
        reason="zero bytes at its end",
        suffix=".mp3",
    )
    pages = ogg_pages(written(speech(3.0), "OGG", "OPUS"))
    yield Kind(
        "Opus without its last page", b"".join(pages[:-1]), "quarantined", reason="end-of-stream mark", suffix=".opus"
    )
    yield Kind(
        "Opus without a page", b"".join(pages[:3] + pages[4:]), "quarantined", reason="lost pages", suffix=".opus"
    )
    yield Kind(
        "Opus with a bit changed", flipped(b"".join(pages), 0.6), "quarantined", reason="checksum", suffix=".opus"
    )
    yield Kind("Opus with a hole", _holed(pages), "quarantined", reason="no Ogg page", suffix=".opus")
    more = wav(voice, data_bytes=8000)
    twice = wav(voice, behind=b"data" + struct.pack("<I", 8000) + (voice[:4000] * 32767).astype("<i2").tobytes())
    yield Kind("WAV with a second chunk of sound", twice, "quarantined", reason="unknown bytes behind them")
    for format in ("AU", "AIFF", "W64", "RF64", "CAF", "NIST"):
        joined = 2 * written(voice, format, "PCM_16")
        yield Kind(f"two {format} joined", joined, "quarantined", reason="unknown bytes behind them")
    yield Kind("WAV that states less than it has", more, "quarantined", reason="unknown bytes behind them")


def _holed(pages: list[bytes]) -> bytes:
    return b"".join([*pages[:3], bytes(len(pages[3])), *pages[4:]])


def _values() -> Iterator[Kind]:
    voice = speech()
    for value in ("nan", "inf", "-inf"):
        samples = voice.copy()
        samples[8000] = float(value)
        yield Kind(
            f"a sample that is {value}", written(samples, "WAV", "FLOAT"), "quarantined", reason=f"got {value} at"
        )
    shorts = (voice * 32767).astype(np.int16).astype(np.float32)
    yield Kind("16-bit samples as floats", written(shorts, "WAV", "FLOAT"), "quarantined", reason="divide them by")
    faint = np.rint(voice * 8).astype(np.float32)
    yield Kind("small whole numbers as floats", written(faint, "WAV", "FLOAT"), "quarantined", reason="divide them by")
    twice = voice / 32768
    yield Kind("samples divided by 32768 twice", written(twice, "WAV", "FLOAT"), "quarantined", reason="no sound")
    yield Kind("digital silence", wav(0 * voice), "quarantined", reason="no sound: all samples are between 0 and 0")
    yield Kind("a constant", wav(0 * voice + 0.5), "quarantined", reason="no sound")
    dither = np.random.default_rng(0).integers(-1, 2, RATE_HZ) / 32767
    yield Kind("silence with dither of a bit", wav(dither), "quarantined", reason="no sound")
    first, second, third = np.split(speech(1.5), 3)
    nothing = 0 * first
    left, right = np.concatenate([first, second, nothing]), np.concatenate([-first, nothing, third])
    one_dies = np.stack([left[:16_000], right[:16_000]], 1)
    yield Kind("channels of opposite sign, one of which dies", written(one_dies, "WAV"), "repaired", 1.0)
    in_turn = written(np.stack([left, right], 1), "WAV")
    yield Kind(
        "channels of opposite sign, then in turn", in_turn, "quarantined", reason="cancel each other from 0.00 s"
    )
    for rate_hz in (0, 16, 3_000_000):
        yield Kind(f"a rate of {rate_hz:,} Hz", wav(voice, rate_hz=rate_hz), "quarantined", reason="sample rate of")
    many = written(np.zeros((100, 200)), "WAV")
    yield Kind("200 channels", many, "quarantined", reason="at most 64 channels")
    yield Kind("a header without samples", wav(voice[:0]), "quarantined", reason="without samples")


def _no_audio() -> Iterator[Kind]:
    noise = np.random.default_rng(0).integers(1, 255, 4000).astype(np.uint8).tobytes()
    m4a = b"\0\0\0\x1cftypM4A \0\0\x02\0M4A isomiso2\0\0\0\x08free"
    begins = {
        "no bytes": (b"", "empty (0 bytes)"),
        "zero bytes alone": (bytes(9000), "nothing but zero bytes"),
        "MPEG-4 audio (m4a)": (m4a + noise, "MPEG-4 (m4a, mp4"),
        "AAC (ADTS)": (b"\xff\xf1\x50\x80\x02\x1f\xfc" + noise, "AAC (ADTS)"),
        "WMA": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9" + noise, "Windows Media"),
        "AMR": (b"#!AMR\n" + noise, "AMR"),
        "WebM": (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm" + noise, "WebM"),
        "Matroska": (b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska" + noise, "Matroska"),
        "AVI video": (b"RIFF\0\0\1\0AVI LIST" + noise, "AVI video"),
        "MPEG transport stream": (b"".join(b"G" + noise[n : n + 187] for n in range(0, 1870, 187)), "transport stream"),
        "AC-3": (b"\x0b\x77" + noise, "AC-3"),
        "WavPack": (b"wvpk" + noise, "WavPack"),
        "Monkey's Audio": (b"MAC " + noise, "Monkey's Audio"),
        "RealAudio": (b".ra\xfd" + noise, "RealAudio"),
        "MIDI": (b"MThd\0\0\0\x06" + noise, "MIDI"),
        "WAV that holds MP3": (wav(speech(0.1), tag=0x55), "holds MP3"),
        "CAF that holds AAC": (_aac_in_caf(noise), "holds AAC"),
        "SPHERE packed with Shorten": (_shortened(noise), "sph2pipe"),
        "Ogg that holds Speex": (ogg_page([b"Speex   " + bytes(72)], 0, 2, 0), "holds Speex"),
        "HTML page": (b"<!DOCTYPE html><html>404</html>", "an HTML page"),
        "JSON of an error": (b'{"error": "quota exceeded"}', "text that begins with"),
        "pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        "zip archive": (b"PK\x03\x04" + noise, "an archive"),
        "gzip file": (b"\x1f\x8b\x08" + noise, "a compressed file"),
        "tar archive": (b"a.wav" + bytes(252) + b"ustar\x0000" + noise, "a tar archive"),
        "parquet table": (b"PAR1" + noise, "a parquet table"),
        "NumPy array": (b"\x93NUMPY\x01\0" + noise, "a NumPy array"),
        "picture": (b"\x89PNG\r\n" + noise, "an image"),
        "noise": (b"\x02" + noise, "an unknown format"),
    }
    for name, (content, reason) in begins.items():
        yield Kind(name, content, "quarantined", reason=reason)
    yield Kind("MPEG-4 named .mp3", m4a + noise, "quarantined", reason="MPEG-4 (m4a, mp4", suffix=".mp3")
    two = ogg_pages(written(speech(), "OGG")), ogg_pages(written(speech(seed=1), "OGG"))
    side_by_side = b"".join(page for pair in zip(*two, strict=False) for page in pair)
    yield Kind("Ogg of two sound tracks", side_by_side, "quarantined", reason="side by side", suffix=".ogg")


def _aac_in_caf(noise: bytes) -> bytes:
    described = struct.pack(">d4sIIIII", 44_100.0, b"aac ", 0, 0, 1024, 1, 0)
    return (
        b"caff\0\x01\0\0desc"
        + struct.pack(">q", len(described))
        + described
        + b"data"
        + struct.pack(">q", 4000)
        + noise
    )


def _shortened(noise: bytes) -> bytes:
    head = b"NIST_1A\n   1024\nsample_rate -i 16000\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
    return head.ljust(1024) + noise


def outcome(kind: Kind, folder: Path | None = None) -> Found:
    """Takes a kind the way of a corpus.

    Args:
        kind: What to read.
        folder: Where to write it; `None` keeps it in memory, as members of archives are.
    """
    source: Path | AudioBytes = AudioBytes(f"odd{kind.suffix}", kind.content)
    if folder is not None:
        source = folder / f"odd{kind.suffix}"
        source.write_bytes(kind.content)
    entry = Entry(id="odd", text="what is said", audio=source, recording="odd", where="the table")
    [item] = resolve_stream([entry], str.strip)
    if isinstance(item, Skipped):
        return Found("quarantined", reason=item.reason)
    [(_, clip)] = read_ahead([(kind, item)], RATE_HZ)
    assert clip is not None
    if clip.samples is None:
        return Found("quarantined", reason=clip.unusable)
    return Found("read", len(clip.samples) / RATE_HZ, item.seconds, samples=clip.samples)


def table() -> str:
    """The table in Markdown; the outcomes are those of this run."""
    lines = ["| kind | outcome | length or reason |", "|---|---|---|"]
    for kind in kinds():
        found = outcome(kind)
        is_right = found.verdict == "read" and abs(found.seconds - kind.seconds) < 0.01
        said = found.verdict if found.verdict == "quarantined" else kind.verdict if is_right else "WRONG"
        reason = found.reason.partition(", got ")[2] or found.reason.partition("` is ")[2] or found.reason
        result = f"{found.seconds:.2f} s" if found.verdict == "read" else reason
        lines.append(f"| {kind.name} | {said} | {result} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    try:
        print(table())
    except InputError as error:
        raise SystemExit(error.message) from error


if __name__ == "__main__":
    main()
