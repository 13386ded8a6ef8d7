import asyncio
import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from audio_data import InputError
from audio_eval.demo import Limits
from audio_eval.demo.files import Recording, RecordingStore, SessionFiles

ANN, BOB = "ann", "bob"


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def files(tmp_path, clock):
    limits = Limits(max_upload_bytes=10_000, max_stored_bytes=25_000, max_stored_seconds=60)
    return SessionFiles(tmp_path, limits, clock)


def on_disk(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_file_is_given_back_to_its_session_alone(files):
    path = files.store(ANN, "a.wav", b"sound")
    assert path.read_bytes() == b"sound"
    assert files.find(ANN, str(path)) == path
    assert files.find(BOB, str(path)) is None


def test_a_path_is_compared_as_text_and_never_followed(files, tmp_path):
    path = files.store(ANN, "a.wav", b"sound")
    link = tmp_path / "link.wav"
    link.symlink_to(path)
    same_file = [str(link), f"{path.parent}/./{path.name}", f"{path.parent}/../{path.parent.name}/{path.name}"]
    assert all(os.path.samefile(one, path) for one in same_file)
    assert [files.find(ANN, one) for one in (*same_file, str(path.parent), path.name, "/etc/passwd", "")] == [None] * 7


def test_the_sum_of_files_is_bounded_and_the_wait_is_told(files, clock, tmp_path):
    files.store(ANN, "a.wav", bytes(10_000))
    clock.seconds = 20.0
    files.store(BOB, "b.wav", bytes(10_000))
    with pytest.raises(InputError, match=r"at most 0\.0238 MiB together, got 0\.0286: try again in 40 s"):
        files.store(BOB, "c.wav", bytes(10_000))
    assert len(on_disk(tmp_path)) == 2
    clock.seconds = 60.0
    files.expire()
    files.store(BOB, "c.wav", bytes(10_000))


def test_empty_files_are_bounded_too(files, tmp_path):
    for _ in range(6):
        files.store(ANN, "a.wav", b"")
    with pytest.raises(InputError, match="together"):
        files.store(ANN, "a.wav", b"")
    assert len(on_disk(tmp_path)) == 6


def test_a_file_that_is_too_large_is_refused(files, tmp_path):
    with pytest.raises(InputError, match=r"must have at most 0\.00954 MiB, got 0\.00954: cut it"):
        files.store(ANN, "a.wav", bytes(10_001))
    assert on_disk(tmp_path) == []


def test_files_that_arrive_count_already(files):
    with files.reserve(10_000), files.reserve(10_000):
        with pytest.raises(InputError, match="together"), files.reserve(10_000):
            pass
        files.store(ANN, "a.wav", bytes(5_000))
    files.store(ANN, "a.wav", bytes(10_000))


def test_old_files_are_deleted_and_found_no_more(files, clock, tmp_path):
    path = files.store(ANN, "a.wav", b"sound")
    clock.seconds = 59.0
    assert files.find(ANN, str(path)) == path
    clock.seconds = 60.0
    assert files.find(ANN, str(path)) is None
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def large_files(tmp_path_factory):
    return SessionFiles(tmp_path_factory.mktemp("files"), Limits()), tmp_path_factory.getbasetemp()


@given(
    name=st.text(max_size=300) | st.sampled_from(["../../x", "/etc/passwd", "..", "a\r\nb: c", ".", "C:\\x", "\ud800"])
)
def test_whatever_its_name_a_file_lies_in_a_folder_of_its_own(large_files, name):
    files, base = large_files
    path = files.store(ANN, name, b"sound")
    assert path.resolve() == path
    assert path.parent.parent.parent == base
    assert path.name.isprintable()
    assert not path.name.startswith(".")
    assert Path(name).suffix != ".wav" or path.suffix == ".wav"
    path.unlink()


TONE = (0.5 * np.sin(np.arange(2_400) / 9)).astype(np.float32)


def listen(recording):
    async def collect():
        return b"".join([piece async for piece in recording.follow()])

    return asyncio.run(collect())


def test_a_finished_take_is_a_wav_file():
    recording = Recording("ann", 24_000, 10_000)
    recording.write(TONE)
    recording.write(np.array([2.0, -2.0], np.float32))
    recording.finish()
    samples, rate_hz = soundfile.read(io.BytesIO(listen(recording)), dtype="float32")
    assert rate_hz == 24_000
    np.testing.assert_allclose(samples, [*TONE, 1, -1], atol=1 / 32_000)
    assert recording.seconds == len(samples) / rate_hz
    assert recording.wav() == listen(recording)


def test_a_listener_hears_each_piece_when_it_is_written_and_an_end():
    recording = Recording("ann", 24_000, 10_000)

    async def follow():
        stream = recording.follow()
        sizes = [len(await anext(stream))]
        for _ in range(3):
            later = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.08)
            assert not later.done()
            recording.write(TONE)
            sizes.append(len(await asyncio.wait_for(later, 5)))
        recording.finish()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(stream), 5)
        return sizes

    assert asyncio.run(follow()) == [44, 4_800, 4_800, 4_800]


def test_an_open_take_promises_no_more_than_can_come():
    recording = Recording("ann", 24_000, 10_000)

    async def first() -> bytes:
        return await anext(recording.follow())

    header = asyncio.run(first())
    assert int.from_bytes(header[40:44], "little") == 20_000
    assert int.from_bytes(header[4:8], "little") == 20_036


def test_the_store_keeps_the_last_recordings():
    store = RecordingStore(capacity=2)
    first, second, third = (store.open("ann", 24_000, 1) for _ in range(3))
    assert store.find("ann", first.name) is None
    assert store.find("ann", second.name) is second
    assert store.find("ann", third.name) is third
    assert store.find("bob", third.name) is None
    assert len(third.name) > 20
