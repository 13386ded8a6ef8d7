"""Recordings of generated speech: written while frames are decoded, streamed as WAV over HTTP from the first on."""

import asyncio
import secrets
import struct
from collections import OrderedDict
from collections.abc import AsyncIterator

import numpy as np
from jaxtyping import Float32

_PEAK = 32_767
_POLL_SECONDS = 0.05
_SAMPLE_BYTES = 2


class Recording:
    """One recording, 16-bit mono. One thread writes, any number of listeners follow.

    Attributes:
        name: Name of its address, impossible to guess.
        session: Session that may listen to it.
        sample_rate_hz: Its sampling rate.
        max_samples: Maximum number of samples: the length in its header while the final one is unknown.
        finished: Whether it is complete.
    """

    def __init__(self, session: str, sample_rate_hz: int, max_samples: int):
        self.name = secrets.token_urlsafe(16)
        self.session = session
        self.sample_rate_hz = sample_rate_hz
        self.max_samples = max_samples
        self.finished = False
        self._pieces: list[bytes] = []

    def write(self, samples: Float32[np.ndarray, " samples"]) -> None:
        """Add mono samples in -1..1; louder ones are clipped."""
        # A list's append is atomic, so a listener in another thread sees whole pieces.
        self._pieces.append((np.clip(samples, -1, 1) * _PEAK).round().astype("<i2").tobytes())

    def finish(self) -> None:
        """Mark the recording as complete, so that listeners reach an end."""
        self.finished = True

    def wav(self) -> bytes:
        """Return what is written so far as a WAV file."""
        samples = b"".join(self._pieces)
        return _header(len(samples) // _SAMPLE_BYTES, self.sample_rate_hz) + samples

    @property
    def seconds(self) -> float:
        """Length of what is written so far."""
        return sum(map(len, self._pieces)) / _SAMPLE_BYTES / self.sample_rate_hz

    async def follow(self) -> AsyncIterator[bytes]:
        """Yield a WAV file from its beginning: the header, then each piece as soon as it is written."""
        # Read before the length: a finished recording has its final length.
        finished = self.finished
        num_samples = sum(map(len, self._pieces)) // _SAMPLE_BYTES if finished else self.max_samples
        yield _header(num_samples, self.sample_rate_hz)
        given = 0
        while True:
            finished = self.finished
            for piece in self._pieces[given:]:
                given += 1
                yield piece
            if finished:
                return
            await asyncio.sleep(_POLL_SECONDS)


class RecordingStore:
    """The last recordings by name; older ones are dropped, so that a page that is used for days does not grow."""

    def __init__(self, capacity: int = 16):
        """Make an empty store for `capacity` recordings."""
        self._capacity = capacity
        self._recordings: OrderedDict[str, Recording] = OrderedDict()

    def open(self, session: str, sample_rate_hz: int, max_samples: int) -> Recording:
        """Begin a recording, see `Recording`."""
        recording = Recording(session, sample_rate_hz, max_samples)
        self._recordings[recording.name] = recording
        while len(self._recordings) > self._capacity:
            self._recordings.popitem(last=False)
        return recording

    def find(self, session: str, name: str) -> Recording | None:
        """Return the session's recording of that name, None where there is none (any longer)."""
        recording = self._recordings.get(name)
        return recording if recording is not None and recording.session == session else None


def _header(num_samples: int, sample_rate_hz: int) -> bytes:
    """Return the 44 bytes before the samples of a 16-bit mono WAV file."""
    num_bytes = num_samples * _SAMPLE_BYTES
    form = struct.pack("<4sI4s4sI", b"RIFF", 36 + num_bytes, b"WAVE", b"fmt ", 16)
    format_pcm, channels = 1, 1
    sound = struct.pack(
        "<HHIIHH", format_pcm, channels, sample_rate_hz, sample_rate_hz * _SAMPLE_BYTES, _SAMPLE_BYTES, 16
    )
    return form + sound + struct.pack("<4sI", b"data", num_bytes)
