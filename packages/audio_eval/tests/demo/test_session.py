import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audio_data import InputError
from audio_eval.decoding import audio_automaton, text_automaton
from audio_eval.demo import DemoSession, Limits
from audio_eval.inference.speech_model import max_continuation_frames
from audio_model import Sampling, stream
from audio_tokenize import Segment, layout, load_audio

RATE_HZ = 24_000
NO_TEXT = np.zeros(0, np.int32)
NO_CODES = np.zeros((0, 8), np.int32)


def sound(updates):
    return np.concatenate([update.samples for update in updates])


def codes_of(session, recording):
    return np.asarray(session.codec.encode(load_audio(recording, RATE_HZ)), np.int32)


def ids_of(session, text):
    return np.array(session.checkpoint.text.encode(text), np.int32)


def spoken(session, prompt, sampling):
    """Codes that the model says after a prompt, in one piece."""
    vocabulary, model = session.checkpoint.vocabulary, session.checkpoint.model
    max_frames = max_continuation_frames(session.budget, prompt, session.limits.max_frames)
    grammar = audio_automaton(vocabulary, min_frames=4, max_frames=max_frames, vocab_size=model.config.vocab_size)
    return vocabulary.codes(in_one_piece(model, prompt, 8 * max_frames + 1, sampling, grammar, vocabulary.audio_end))


def written(session, prompt, sampling):
    """Text that the model writes after a prompt, in one piece."""
    vocabulary, model, max_frames = session.checkpoint.vocabulary, session.checkpoint.model, session.budget.text_tokens
    grammar = text_automaton(vocabulary, max_tokens=max_frames, vocab_size=model.config.vocab_size)
    return in_one_piece(model, prompt, max_frames + 1, sampling, grammar, vocabulary.text_end)


def in_one_piece(model, prompt, max_frames, sampling, grammar, end):
    rules = {"max_new_tokens": max_frames, "sampling": sampling, "automaton": grammar, "stop_ids": (end,)}
    (tokens,) = stream(model, prompt, tokens_per_piece=max_frames, **rules)
    assert tokens[-1] == end
    return tokens[:-1]


def test_a_transcript_grows_to_what_the_model_writes_at_once(session, recording):
    updates = list(session.stream_transcript(recording))
    prompt = layout("audio_first").prompt(
        [Segment(NO_TEXT, codes_of(session, recording))], session.checkpoint.vocabulary
    )
    expected = written(session, prompt, Sampling())
    assert updates[-1].transcript == session.checkpoint.text.decode(expected.tolist()).strip()
    assert [update.ended for update in updates[:-1]] == [False] * (len(updates) - 1)
    assert updates[-1].ended == (len(expected) < session.budget.text_tokens)
    assert len(updates) > 2
    assert not sound(updates).size


def test_pieces_of_speech_are_the_speech(session):
    updates = list(session.stream_speech("the red cat", seed=3))
    prompt = layout("text_first").prompt(
        [Segment(ids_of(session, "the red cat"), NO_CODES)], session.checkpoint.vocabulary
    )
    expected = spoken(session, prompt, Sampling(temperature=0.7, top_k=20, seed=3))
    np.testing.assert_array_equal(sound(updates), session.codec.decode(expected))
    assert max(update.samples.size for update in updates) <= 3 * 1_920
    assert not np.array_equal(sound(session.stream_speech("the red cat", seed=4))[:9_600], sound(updates)[:9_600])


@pytest.mark.parametrize("told", ["the blue bird", ""])
def test_a_voice_is_an_utterance_before(session, recording, told):
    updates = list(session.stream_speech("the red cat", recording, told, seed=1))
    words = told or [update.transcript for update in updates if update.transcript is not None][-1]
    segments = [
        Segment(ids_of(session, words), codes_of(session, recording)),
        Segment(ids_of(session, "the red cat"), NO_CODES),
    ]
    prompt = layout("text_first").prompt(segments, session.checkpoint.vocabulary)
    expected = spoken(session, prompt, Sampling(temperature=0.9, top_p=0.8, seed=1))
    np.testing.assert_array_equal(sound(updates), session.codec.decode(expected))


def test_a_continuation_goes_on_from_the_seconds_given(session, recording):
    updates = list(session.stream_continuation(recording, 0.4, seed=2))
    given = codes_of(session, recording)[:5]
    vocabulary = session.checkpoint.vocabulary
    prompt = np.array([vocabulary.begin_of_text, vocabulary.audio_start, *vocabulary.audio_ids(given)], np.int32)
    more = spoken(session, prompt, Sampling(temperature=1.0, top_p=0.9, seed=2))
    np.testing.assert_array_equal(sound(updates), session.codec.decode(np.concatenate([given, more])))


def test_a_translation_through_both_texts_is_a_document_of_its_layout(session, recording):
    updates = list(session.stream_translation(recording, "de", "English", route="chain", seed=6))
    vocabulary, sampling = session.checkpoint.vocabulary, Sampling(temperature=0.9, top_p=0.8, seed=6)
    tags = [ids_of(session, f"<language>{name}</language>") for name in ("de", "English")]
    source = Segment(NO_TEXT, codes_of(session, recording))
    start = np.concatenate([layout("audio_first").prompt([source], vocabulary), tags[0]])
    transcript = written(session, start, sampling)
    start = np.concatenate([start, transcript, [vocabulary.text_end, vocabulary.text_start], tags[1]]).astype(np.int32)
    translation = written(session, start, sampling)
    pair = [
        Segment(np.concatenate([tags[0], transcript]), source.codes),
        Segment(np.concatenate([tags[1], translation]), NO_CODES),
    ]
    expected = spoken(session, layout("speech_translation").prompt(pair, vocabulary), sampling)
    np.testing.assert_array_equal(sound(updates), session.codec.decode(expected))
    spell = session.checkpoint.text.decode
    assert [u.transcript for u in updates if u.transcript is not None][-1] == spell(transcript.tolist()).strip()
    assert [u.written for u in updates if u.written is not None][-1] == spell(translation.tolist()).strip()


def test_a_direct_translation_is_told_the_language_alone(session, recording):
    updates = list(session.stream_translation(recording, "de", "en", route="direct", seed=6))
    pair = [
        Segment(NO_TEXT, codes_of(session, recording)),
        Segment(ids_of(session, "<language>en</language>"), NO_CODES),
    ]
    prompt = layout("direct_speech_translation").prompt(pair, session.checkpoint.vocabulary)
    expected = spoken(session, prompt, Sampling(temperature=0.9, top_p=0.8, seed=6))
    np.testing.assert_array_equal(sound(updates), session.codec.decode(expected))
    assert {update.transcript for update in updates} == {None}


def test_a_recording_of_any_rate_and_channels_is_heard(session, recording, tmp_path):
    samples, _ = soundfile.read(recording)
    stereo = tmp_path / "stereo.flac"
    soundfile.write(stereo, np.stack([samples, samples], axis=1)[::2], RATE_HZ // 2)
    assert list(session.stream_transcript(stereo))[-1].transcript is not None


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_named(session, recording, seed):
    for answer in (
        session.stream_speech("the red cat", seed=seed),
        session.stream_continuation(recording, seed=seed),
        session.stream_translation(recording, "de", "en", seed=seed),
    ):
        with pytest.raises(InputError, match=rf"`seed` must lie in \[0, 4294967296\), got {seed}"):
            next(answer)


def write_silence(path: Path, seconds: float) -> Path:
    soundfile.write(path, np.zeros(round(seconds * 8_000)), 8_000)
    return path


def test_what_is_too_much_is_told_with_numbers(session, tmp_path, recording):
    long, longer = write_silence(tmp_path / "long.flac", 5.0), write_silence(tmp_path / "longer.flac", 31.0)
    with pytest.raises(InputError, match=r"`longer\.flac` must be at most 30 s long, got 31\.0 s"):
        next(session.stream_transcript(longer))
    # 63 frames of 8 tokens and four markers, where 512 - 17 are free.
    with pytest.raises(InputError, match=r"leave 17 of the model's 512 tokens .* got 508 tokens: give 0\.1 s less"):
        next(session.stream_transcript(long))
    with pytest.raises(InputError, match="must have 1 to 1000 characters, got 1001"):
        next(session.stream_speech("a" * 1_001))
    with pytest.raises(InputError, match="must have 1 to 1000 characters, got 0"):
        next(session.stream_speech("  "))
    with pytest.raises(InputError, match="leave 33 of the model's 512 tokens for speech to follow"):
        next(session.stream_continuation(long, 5.0))
    with pytest.raises(InputError, match=r"`source` must name a language in letters, .* got '<b>'"):
        next(session.stream_translation(recording, "<b>", "en"))
    with pytest.raises(InputError, match="`route` must be one of chain, direct, got 'bridge'"):
        next(session.stream_translation(recording, "de", "en", route="bridge"))


def test_a_large_file_is_refused_unread_and_a_long_one_undecoded(speaker, tmp_path, monkeypatch):
    session = DemoSession.load(speaker, limits=Limits(max_seconds=60, max_upload_bytes=30_000))
    large = tmp_path / "large.wav"
    large.write_bytes(b"\0" * 30_001)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    with pytest.raises(InputError, match=r"`large\.wav` must be a file of at most 0\.0286 MiB"):
        next(session.stream_transcript(large))
    monkeypatch.undo()
    hour = write_silence(tmp_path / "hour.flac", 3_600)
    assert hour.stat().st_size < 200_000
    session = DemoSession.load(speaker)
    monkeypatch.setattr("audio_eval.demo.limits.load_audio", lambda *given: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match=r"got 3600\.0 s"):
        next(session.stream_transcript(hour))


def test_a_short_file_of_many_samples_is_refused_undecoded(session, tmp_path, monkeypatch):
    path = tmp_path / "dense.flac"
    soundfile.write(path, np.zeros((655_350 * 3, 8), np.int16), 655_350)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr("audio_eval.demo.limits.load_audio", lambda *given: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match=r"at most 11,520,000 samples in all channels, got 15,728,400: lower its rate"):
        next(session.stream_transcript(path))


@pytest.mark.parametrize("content", [b"", b"RIFF", b"<html>"])
def test_what_is_no_audio_is_told_by_its_name_alone(session, tmp_path, content):
    path = tmp_path / "note.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^`note\.wav`: expected readable audio"):
        next(session.stream_transcript(path))


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
def test_what_is_no_regular_file_is_not_opened(session, tmp_path, kind):
    path = {"device": Path("/dev/zero"), "folder": tmp_path, "pipe": tmp_path / "pipe.wav"}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(InputError, match="got no such file"):
        next(session.stream_transcript(path))


def test_a_recording_that_is_gone_is_asked_for_again(session, tmp_path):
    with pytest.raises(InputError, match=r"^`gone\.wav` must be there, .*: record or upload it again"):
        next(session.stream_transcript(tmp_path / "gone.wav"))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
def test_limits_leave_something_and_are_limits(name):
    wrong = [0, -1] if isinstance(getattr(Limits, name), int) else [0.0, float("nan"), float("inf")]
    for value in wrong:
        limits: dict[str, Any] = {name: value}
        with pytest.raises(InputError, match=rf"`{name}` must be above 0 and finite, got {value}"):
            Limits(**limits)
