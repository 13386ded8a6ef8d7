import io

import numpy as np
import pytest
import soundfile

from audio_data import InputError
from audio_eval.demo.answering import show_answer
from audio_eval.demo.files import Recording
from audio_eval.inference import Update

SILENCE = np.zeros(0, np.float32)
SECOND = np.full(24_000, 0.5, np.float32)


@pytest.fixture
def recording():
    return Recording("ann", 24_000, 240_000)


def test_texts_grow_sound_plays_from_the_first_piece_and_the_result_is_whole(recording):
    def work():
        yield Update(SILENCE, transcript="a")
        yield Update(SILENCE, transcript="a b")
        yield Update(SECOND)
        yield Update(SECOND, ended=True)

    changes = list(show_answer(work, recording))
    assert [change["transcript"] for change in changes if "transcript" in change] == ["a", "a b"]
    (player,) = [change["live"] for change in changes if "live" in change]
    assert f'src="recordings/{recording.name}.wav"' in player
    assert "live" in changes[3]
    samples, rate_hz = soundfile.read(io.BytesIO(changes[-1]["result"]))
    assert (rate_hz, len(samples)) == (24_000, 48_000)
    assert "2.0 s of sound" in changes[-1]["status"]
    assert "by itself" in changes[-1]["status"]
    assert recording.finished


def test_a_text_alone_has_no_player(recording):
    changes = list(show_answer(lambda: (Update(SILENCE, transcript=word) for word in ("a", "b")), recording))
    assert not any({"live", "result"} & set(change) for change in changes)
    assert "cut off at the longest length" in changes[-1]["status"]


def test_stopping_ends_the_work_and_keeps_what_there_is(recording):
    steps = []

    def work():
        try:
            for step in range(100):
                steps.append(step)
                yield Update(SECOND)
        finally:
            steps.append("closed")

    changes = list(show_answer(work, recording, lambda: len(steps) == 3))
    assert steps == [0, 1, 2, "closed"]
    assert "stopped" in changes[-1]["status"]
    assert soundfile.info(io.BytesIO(changes[-1]["result"])).frames == 3 * 24_000


def test_a_mistake_is_shown_as_text(recording):
    def work():
        yield Update(SECOND)
        raise InputError("`<b>x</b>.wav` must be audio")

    changes = list(show_answer(work, recording))
    assert changes[-1] == {"status": '<p role="alert">`&lt;b&gt;x&lt;/b&gt;.wav` must be audio</p>'}
    assert recording.finished


def test_a_fault_is_not_a_mistake(recording):
    def work():
        yield Update(SECOND)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(show_answer(work, recording))
    assert recording.finished
