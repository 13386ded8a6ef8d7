"""Recordings cut at their pauses: known speech between known silence."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_data import InputError
from audio_tokenize import load_audio, open_corpus
from audio_tokenize.corpora import Skipped, Utterance
from audio_tokenize.corpora.voice_activity import SpeechSegments, speech_spans

pytest.importorskip("webrtcvad")
RATE_HZ = 24_000
FRAME_SECONDS = 0.03


def noise(seconds: float) -> np.ndarray:
    """Very quiet, as a room is between two sentences."""
    return 1e-4 * np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> tuple[Path, list[tuple[float, float]]]:
    """A recording of three sentences with pauses of 3 s between them, and when each begins and ends."""
    folder = tmp_path_factory.mktemp("talk")
    sentences = [
        load_audio(u.audio, RATE_HZ, u.start_seconds, u.end_seconds)
        for u in open_corpus("sample").select(split="heldout").utterances[:3]
    ]
    parts, spans, place = [noise(3)], [], 3.0
    for sentence in sentences:
        spans.append((place, place + len(sentence) / RATE_HZ))
        parts += [sentence, noise(3)]
        place = spans[-1][1] + 3.0
    soundfile.write(folder / "talk.wav", np.concatenate(parts), RATE_HZ)
    return folder, spans


def utterances(corpus) -> list[Utterance]:
    return [item for shard in corpus.shards() for item in corpus.read(shard) if isinstance(item, Utterance)]


def test_the_segments_are_the_sentences(recording):
    folder, spans = recording
    found = utterances(SpeechSegments(open_corpus(folder), 20.0))
    assert len(found) == len(spans)
    for utterance, (start, end) in zip(found, spans, strict=True):
        assert utterance.start_seconds == pytest.approx(start, abs=0.5)
        assert utterance.end_seconds == pytest.approx(end, abs=0.6)
        assert utterance.seconds == pytest.approx(utterance.end_seconds - utterance.start_seconds)
        assert (utterance.recording, utterance.text) == ("talk", "")
        assert utterance.id == f"talk@{utterance.start_seconds:.2f}-{utterance.end_seconds:.2f}"


def test_transcribed_audio_stays_whole_and_silence_is_named(recording, tmp_path: Path):
    folder, _ = recording
    for name in ("said", "quiet"):
        soundfile.write(tmp_path / f"{name}.wav", noise(4), RATE_HZ)
    (tmp_path / "said.wav").write_bytes((folder / "talk.wav").read_bytes())
    (tmp_path / "said.txt").write_text("three sentences")
    corpus = SpeechSegments(open_corpus(tmp_path), 20.0)
    quiet, said = [item for shard in corpus.shards() for item in corpus.read(shard)]
    assert isinstance(quiet, Skipped)
    assert "found no speech" in quiet.reason
    assert isinstance(said, Utterance)
    assert (said.id, said.end_seconds) == ("said", None)


def test_another_length_is_another_corpus_and_a_worker_may_read_it(recording):
    folder, _ = recording
    corpus = SpeechSegments(open_corpus(folder), 20.0)
    (shard,) = corpus.shards()
    assert shard.fingerprint not in {s.fingerprint for s in SpeechSegments(corpus.corpus, 10.0).shards()}
    assert list(pickle.loads(pickle.dumps(corpus)).read(shard)) == list(corpus.read(shard))
    assert corpus.input_files(shard) == (folder / "talk.wav",)
    with pytest.raises(InputError, match="list the shards again"):
        list(SpeechSegments(corpus.corpus, 10.0).read(shard))


@pytest.mark.parametrize("max_seconds", [0.5, float("nan")])
def test_a_length_that_is_none_is_refused(recording, max_seconds: float):
    with pytest.raises(InputError, match="at least 1"):
        SpeechSegments(open_corpus(recording[0]), max_seconds)


@pytest.mark.parametrize("seed", range(5))
def test_spans_are_in_order_within_the_limit_and_cover_the_speech(seed: int):
    rng = np.random.default_rng(seed)
    runs = rng.geometric(1 / 60, 40)
    speech = np.concatenate([np.full(run, bool(i % 2)) for i, run in enumerate(runs)])
    spans = speech_spans(speech, 8.0)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    assert all(0.3 <= end - start <= 8.0 for start, end in spans)
    assert edges[-1] <= len(speech) * FRAME_SECONDS
    covered = np.zeros(len(speech), bool)
    for start, end in spans:
        covered[round(start / FRAME_SECONDS) : round(end / FRAME_SECONDS)] = True
    # A run of speech of a second and more is not lost.
    place = 0
    for i, run in enumerate(runs):
        if i % 2 and run * FRAME_SECONDS >= 1:
            assert covered[place : place + run].mean() > 0.9
        place += run


def test_speech_without_a_pause_is_cut_at_its_weakest_place():
    speech = np.ones(1000, bool)
    speech[300:304] = False
    (first, second, *_) = speech_spans(speech, 12.0)
    assert first[1] == second[0] == pytest.approx(302 * FRAME_SECONDS, abs=6 * FRAME_SECONDS)
