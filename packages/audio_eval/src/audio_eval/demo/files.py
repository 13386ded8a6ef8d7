"""Files of the demo and recordings that are still being made.

Files were uploaded or made, each for one session, bounded in size, sum and age. Recordings of generated speech are
written while frames are decoded, and streamed as WAV over HTTP from the first frame on.
"""

import asyncio
import contextlib
import dataclasses
import math
import re
import secrets
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from audio_data import InputError
from audio_eval.demo.limits import MEBIBYTE, Limits

# 60 characters are at most 240 bytes of UTF-8, and a file name may have 255.
_LONGEST_NAME = 60
# Minimum size that a file counts with, so that the number of empty files is limited.
_LEAST_BYTES = 4_096
_NOT_IN_NAMES = re.compile(r"[^\w .()+-]")


@dataclasses.dataclass(frozen=True)
class _Entry:
    num_bytes: int
    stored_at: float


class SessionFiles:
    """A store of files, each readable by the session that stored it only.

    A file is found by the path that `store` returned, compared as text. No path from outside is ever opened, so that
    relative paths, links and device files cannot lead anywhere. Threads may share it.
    """

    def __init__(self, folder: Path, limits: Limits, clock: Callable[[], float] = time.monotonic):
        """Make an empty store.

        Args:
            folder: An existing folder that nothing else writes to.
            limits: `max_upload_bytes` a file, `max_stored_bytes` together, `max_stored_seconds` each.
            clock: Seconds since any fixed time.
        """
        self._folder, self._limits, self._clock = folder, limits, clock
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._reserved_bytes: float | int = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def reserve(self, num_bytes: float | int) -> Generator[None, None, None]:
        """Reserve space for a file while it arrives, so that several at once cannot exceed the sum.

        Raises:
            InputError: The file is too large, or all files would be too large together.
        """
        num_bytes = max(num_bytes, _LEAST_BYTES)
        with self._lock:
            self._check_space(num_bytes)
            self._reserved_bytes += num_bytes
        try:
            yield
        finally:
            with self._lock:
                self._reserved_bytes -= num_bytes

    def store(self, session: str, name: str, content: bytes) -> Path:
        """Write a file.

        Args:
            session: Who may have it back.
            name: What to call it; only its last part is used, without unusual characters.
            content: What it holds.

        Returns:
            Its path; the folder's name cannot be guessed.

        Raises:
            InputError: It is too large, or all files would be too large together.
        """
        path = self._folder / secrets.token_urlsafe(16) / _plain_name(name)
        with self.reserve(len(content)):
            path.parent.mkdir(mode=0o700)
            path.write_bytes(content)
            with self._lock:
                self._entries[session, str(path)] = _Entry(max(len(content), _LEAST_BYTES), self._clock())
        return path

    def find(self, session: str, path: str) -> Path | None:
        """Return the file that was stored for this session under exactly this path, None if there is none any more."""
        self.expire()
        with self._lock:
            return Path(path) if (session, path) in self._entries else None

    def expire(self) -> None:
        """Delete the files that have reached their age."""
        oldest = self._clock() - self._limits.max_stored_seconds
        with self._lock:
            expired = [key for key, entry in self._entries.items() if entry.stored_at <= oldest]
            for key in expired:
                del self._entries[key]
        for _, path in expired:
            Path(path).unlink(missing_ok=True)
            Path(path).parent.rmdir()

    def _check_space(self, num_bytes: float | int) -> None:
        max_bytes = self._limits.max_upload_bytes
        if num_bytes > max_bytes:
            raise InputError(
                f"a file must have at most {max_bytes / MEBIBYTE:.3g} MiB, got {num_bytes / MEBIBYTE:.3g}: cut it"
            )
        stored = sum(entry.num_bytes for entry in self._entries.values()) + self._reserved_bytes
        if stored + num_bytes > self._limits.max_stored_bytes:
            oldest = min((entry.stored_at for entry in self._entries.values()), default=self._clock())
            seconds = max(1, math.ceil(oldest + self._limits.max_stored_seconds - self._clock()))
            raise InputError(
                f"all files must have at most {self._limits.max_stored_bytes / MEBIBYTE:.3g} MiB together, got "
                f"{(stored + num_bytes) / MEBIBYTE:.3g}: try again in {seconds} s, when the oldest is deleted"
            )


def _plain_name(name: str) -> str:
    last = _NOT_IN_NAMES.sub("_", re.split(r"[/\\]", name)[-1])[-_LONGEST_NAME:].lstrip(". ")
    return last or "recording"


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
