import asyncio
import io

import numpy as np
import pytest
import soundfile

from audio_eval.demo.recordings import Recording, RecordingStore

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
