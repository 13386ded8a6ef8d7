"""Sound and spectrograms as data URIs, so that a report is one file."""

import base64
import io
import struct
import zlib

import numpy as np
import soundfile
from jaxtyping import Float, UInt8

from audio_data.markup import Markup, tag

_WINDOW_SECONDS, _HOP_SECONDS = 0.025, 0.01
_ROWS = 72
_LOWEST_HZ, _HIGHEST_HZ = 60.0, 9_000.0
_RANGE_DB = 65.0
# Dark to bright, evenly spaced; a spectrogram is drawn with 256 steps between these.
_PALETTE_ANCHORS = (
    (8, 8, 24),
    (49, 22, 97),
    (121, 34, 120),
    (195, 60, 98),
    (245, 125, 70),
    (254, 204, 120),
    (253, 246, 220),
)


def player(samples: Float[np.ndarray, " samples"], sample_rate_hz: int, label: str) -> Markup:
    """Make a player for mono samples in -1..1, embedded as FLAC: lossless, and every current browser plays it."""
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(samples, -1.0, 1.0), sample_rate_hz, format="FLAC", subtype="PCM_16")
    source = data_uri("audio/flac", stream.getvalue())
    return tag("audio", controls=True, preload="metadata", src=source, aria_label=label)


def spectrogram(samples: Float[np.ndarray, " samples"], sample_rate_hz: int, label: str) -> Markup:
    """Make a picture of the loudness over time and mel-spaced frequency, 60 Hz to 9 kHz, 65 dB from dark to bright."""
    return tag("img", src=data_uri("image/png", encode_png(loudness(samples, sample_rate_hz))), alt=label)


def data_uri(media_type: str, content: bytes) -> str:
    """Return bytes as a `data:` address."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def loudness(samples: Float[np.ndarray, " samples"], sample_rate_hz: int) -> UInt8[np.ndarray, "rows columns"]:
    """Return a spectrogram, highest frequency in the first row, 255 at the loudest point and 0 at 65 dB below it."""
    window, hop = int(_WINDOW_SECONDS * sample_rate_hz), int(_HOP_SECONDS * sample_rate_hz)
    padded = np.pad(samples.astype(np.float64), (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    bins = _mel_frequencies(sample_rate_hz) * window / sample_rate_hz
    lower = np.floor(bins).astype(int)
    upper_share = bins - lower
    rows = power[:, lower] * (1 - upper_share) + power[:, lower + 1] * upper_share
    decibels = 10 * np.log10(rows.T + 1e-10)
    return np.clip((decibels - decibels.max()) / _RANGE_DB * 255 + 255, 0, 255).astype(np.uint8)


def _mel_frequencies(sample_rate_hz: int) -> Float[np.ndarray, " rows"]:
    highest_hz = min(_HIGHEST_HZ, sample_rate_hz / 2 * 0.95)
    low, high = (2595 * np.log10(1 + frequency / 700) for frequency in (_LOWEST_HZ, highest_hz))
    return 700 * (10 ** (np.linspace(high, low, _ROWS) / 2595) - 1)


def encode_png(levels: UInt8[np.ndarray, "rows columns"]) -> bytes:
    """Encode levels 0..255 as a PNG with this module's palette: one byte a pixel before compression."""
    rows, columns = levels.shape
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    # Every row begins with its filter type, 0 for none.
    pixels = np.concatenate([np.zeros((rows, 1), np.uint8), levels], axis=1).tobytes()
    chunks = ((b"IHDR", header), (b"PLTE", _palette()), (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _palette() -> bytes:
    positions = np.linspace(0, 255, len(_PALETTE_ANCHORS))
    anchors = np.array(_PALETTE_ANCHORS)
    channels = [np.interp(np.arange(256), positions, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8).tobytes()
