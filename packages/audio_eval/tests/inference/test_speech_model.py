"""Whole answers are what streams add up to, and long recordings are cut where they are quiet."""

import dataclasses

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from audio_data import InputError
from audio_eval import SpeechModel, load
from audio_eval.inference import AnswerLimits
from audio_eval.inference.speech_model import split_at_pauses
from audio_tokenize import load_audio

RATE_HZ = 24_000


@pytest.fixture(scope="module")
def model(speaker):
    return SpeechModel.load(speaker, limits=AnswerLimits(max_frames=12, max_text_tokens=16))


@pytest.fixture(scope="module")
def samples(recording):
    return load_audio(recording, RATE_HZ)


def test_three_lines_are_enough(speaker, recording):
    assert isinstance(load(speaker).transcribe(recording), str)


def test_a_transcript_is_the_last_of_its_stream_alone_or_with_others(model, recording, samples):
    pieces = [recording, samples[: RATE_HZ // 2], -samples[RATE_HZ // 4 :]]
    streamed = [list(model.stream_transcript(piece))[-1].transcript for piece in pieces]
    assert [model.transcribe(piece) for piece in pieces] == streamed
    assert model.transcribe_batch(pieces, batch_size=2) == streamed


def test_a_recording_longer_than_the_context_is_transcribed_in_pieces(model, samples):
    long = np.tile(samples, 5)
    with pytest.raises(InputError, match=r"of the model's 512 tokens"):
        list(model.stream_transcript(long))
    pieces = split_at_pauses(long, RATE_HZ, model.budget.max_input_seconds)
    assert len(pieces) > 1
    assert model.transcribe(long) == " ".join(filter(None, map(model.transcribe, pieces)))


@given(st.lists(st.floats(-1, 1, width=32), max_size=300), st.floats(0.02, 1.0))
def test_pieces_are_the_whole_and_not_longer_than_asked(values, max_seconds):
    samples = np.array(values, np.float32)
    pieces = split_at_pauses(samples, 100, max_seconds)
    np.testing.assert_array_equal(np.concatenate(pieces), samples)
    assert max(map(len, pieces)) <= max(2, int(max_seconds * 100))


def test_a_cut_is_in_the_silence():
    voice = np.random.default_rng(0).uniform(-1, 1, 48_000).astype(np.float32)
    voice[30_000:33_000] = 0
    first, second = split_at_pauses(voice, RATE_HZ, 1.9)
    assert 31_000 <= len(first) <= 32_000
    assert len(first) + len(second) == 48_000


def test_speech_is_its_stream_and_is_saved_as_wav(model, recording, tmp_path):
    speech = model.speak("the red cat", seed=3)
    np.testing.assert_array_equal(
        speech.samples, np.concatenate([update.samples for update in model.stream_speech("the red cat", seed=3)])
    )
    speech.save(tmp_path / "said.wav")
    saved, rate_hz = soundfile.read(tmp_path / "said.wav")
    assert rate_hz == speech.sample_rate_hz == RATE_HZ
    np.testing.assert_allclose(saved, speech.samples.clip(-1, 1), atol=2 / 2**15)
    assert speech.seconds == len(saved) / RATE_HZ
    translated = model.translate(recording, "de", "en", seed=1)
    np.testing.assert_array_equal(
        translated.samples, model.translate(recording, "de", "en", route="chain", seed=1).samples
    )
    assert translated.transcript is not None
    assert translated.written is not None
    assert speech.transcript is speech.written is None


@pytest.mark.parametrize(
    ("layouts", "able"),
    [
        (["acoustic"], {"continue"}),
        (["semantic", "text"], {"continue"}),
        (["audio_first"], {"transcribe", "continue"}),
        (["text_first"], {"speak", "continue"}),
        (["audio_first", "text_first"], {"transcribe", "speak", "continue"}),
        (["speech_translation"], {"translate"}),
        (["direct_speech_translation"], {"translate"}),
        (None, {"transcribe", "speak", "continue", "translate"}),
    ],
)
def test_a_model_is_offered_for_what_its_documents_taught(model, recording, layouts, able):
    checkpoint = dataclasses.replace(model.checkpoint, provenance={**model.checkpoint.provenance, "layouts": layouts})
    trained = dataclasses.replace(model, checkpoint=checkpoint)
    assert {name for name, reason in trained.abilities.items() if reason is None} == able
    if layouts == ["direct_speech_translation"]:
        assert trained.translate(recording, "de", "en").transcript is None
    if "transcribe" not in able:
        with pytest.raises(
            InputError, match=r"cannot transcribe: it was trained on documents of layout .*, which do no"
        ):
            trained.transcribe(recording)
