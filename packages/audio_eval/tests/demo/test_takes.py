import asyncio
import io

import numpy as np
import pytest
import soundfile

from audio_eval.demo.takes import Take, TakeShelf

TONE = (0.5 * np.sin(np.arange(2_400) / 9)).astype(np.float32)


def listen(take):
    async def collect():
        return b"".join([piece async for piece in take.follow()])

    return asyncio.run(collect())


def test_a_finished_take_is_a_wav_file():
    take = Take("ann", 24_000, 10_000)
    take.write(TONE)
    take.write(np.array([2.0, -2.0], np.float32))
    take.finish()
    samples, rate_hz = soundfile.read(io.BytesIO(listen(take)), dtype="float32")
    assert rate_hz == 24_000
    np.testing.assert_allclose(samples, [*TONE, 1, -1], atol=1 / 32_000)
    assert take.seconds == len(samples) / rate_hz
    assert take.wav() == listen(take)


def test_a_listener_hears_each_piece_when_it_is_written_and_an_end():
    take = Take("ann", 24_000, 10_000)

    async def follow():
        heard = take.follow()
        sizes = [len(await anext(heard))]
        for _ in range(3):
            later = asyncio.ensure_future(anext(heard))
            await asyncio.sleep(0.08)
            assert not later.done()
            take.write(TONE)
            sizes.append(len(await asyncio.wait_for(later, 5)))
        take.finish()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(heard), 5)
        return sizes

    assert asyncio.run(follow()) == [44, 4_800, 4_800, 4_800]


def test_an_open_take_promises_no_more_than_can_come():
    take = Take("ann", 24_000, 10_000)
    header = asyncio.run(anext(take.follow()))
    assert int.from_bytes(header[40:44], "little") == 20_000
    assert int.from_bytes(header[4:8], "little") == 20_036


def test_the_shelf_keeps_the_last_takes():
    shelf = TakeShelf(capacity=2)
    first, second, third = (shelf.open("ann", 24_000, 1) for _ in range(3))
    assert shelf.find("ann", first.name) is None
    assert shelf.find("ann", second.name) is second
    assert shelf.find("ann", third.name) is third
    assert shelf.find("bob", third.name) is None
    assert len(third.name) > 20
