import threading
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_tokenize.encoding.clips import Clip, Unreadable, batches_by_length, read_ahead
from audio_tokenize.waveform import load_audio


def test_clips_come_in_order_at_the_rate_asked_for(corpus):
    clips = list(read_ahead(corpus, 24000))
    assert [clip.utterance for clip in clips] == list(corpus)
    for clip, utterance in zip(clips, corpus, strict=True):
        assert isinstance(clip, Clip)
        expected = load_audio(utterance.audio, 24000, utterance.start_seconds, utterance.end_seconds)
        assert np.array_equal(clip.samples, expected)


def test_what_cannot_be_read_says_why_in_its_place(corpus, tmp_path: Path):
    gone = replace(corpus.utterances[0], audio=tmp_path / "gone.wav")
    _, second, _ = read_ahead([corpus.utterances[0], gone, corpus.utterances[1]], 8000)
    assert isinstance(second, Unreadable)
    assert "there is no such file" in second.reason


def test_a_level_is_reached_without_changing_the_shape(corpus):
    for clip, raw in zip(read_ahead(corpus, 8000, target_rms=0.07), read_ahead(corpus, 8000), strict=True):
        assert isinstance(clip, Clip)
        assert isinstance(raw, Clip)
        assert np.sqrt(np.mean(clip.samples**2)) == pytest.approx(0.07, rel=1e-4)
        assert np.corrcoef(clip.samples, raw.samples)[0, 1] == pytest.approx(1, abs=1e-6)


def test_silence_is_no_speech(tmp_path: Path, corpus):
    soundfile.write(tmp_path / "silence.wav", np.zeros(800), 8000)
    silent = replace(corpus.utterances[0], audio=tmp_path / "silence.wav", end_seconds=0.1)
    [found] = read_ahead([silent], 8000, target_rms=0.07)
    assert isinstance(found, Unreadable)
    assert "holds no sound: all samples are between 0 and 0" in found.reason


def test_reading_stays_within_its_bound_and_stops_when_closed(corpus):
    """Seconds taken from the source but not yet handed out never exceed the bound by more than an utterance."""
    taken = 0.0

    def source():
        nonlocal taken
        for utterance in corpus.utterances * 20:
            taken += utterance.seconds
            yield utterance

    clips, given = read_ahead(source(), 8000, ahead_seconds=3.0), 0.0
    for clip in islice(clips, 100):
        given += clip.utterance.seconds
        assert taken - given < 3.0 + 0.8
    clips.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-audio")]


def test_batches_hold_similar_lengths_within_the_limit():
    lengths = [int(n) for n in np.random.default_rng(0).integers(1, 100, 200)] + [5000]
    batches = list(batches_by_length(lengths, 1000))
    assert sorted(i for batch in batches for i in batch) == list(range(201))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 1000
        assert len(batch) <= 32
    padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
    assert padded < 1.2 * sum(lengths)
