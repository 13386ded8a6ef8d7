"""Audio that is cut short, silent or of no format that is read, in a corpus: kept where whole, else quarantined."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_tokenize.corpora import Corpus, open_corpus
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.jobs import encode_corpus

MPEG_4 = b"\0\0\0\x1cftypisom\0\0\x02\0isomiso2mp41\0\0\0\x08free" + bytes(range(1, 200))


def _noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(8000 * seconds))


def _cut(folder: Path, suffix: str) -> Path:
    """Two seconds of which 6 of 10 bytes are there."""
    path = folder / f"cut{suffix}"
    soundfile.write(path, _noise(2.0), 8000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    return path


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".aiff"])
def test_a_whole_transcript_of_cut_audio_is_quarantined(tmp_path: Path, codec, suffix: str):
    cut = _cut(tmp_path, suffix)
    soundfile.write(tmp_path / "good.wav", _noise(1.0), 8000)
    for name in ("cut", "good"):
        (tmp_path / f"{name}.txt").write_text("all that was said")
    corpus = open_corpus(tmp_path)
    assert isinstance(corpus, Corpus)
    assert [utterance.id for utterance in corpus] == ["good"]
    [skipped] = corpus.skipped
    assert skipped.id == "cut"
    assert f"`{cut}` is a file that is cut short" in skipped.reason
    assert skipped.reason.count(str(cut)) == 1
    manifest = encode_corpus(corpus, codec, tmp_path / "codes")
    assert manifest is not None
    assert manifest.seconds == 1.0
    [entry] = map(json.loads, (tmp_path / "codes" / "quarantine.jsonl").read_text().splitlines())
    assert entry == {"id": "cut", "reason": skipped.reason}


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3"])
def test_segments_before_the_cut_are_kept(tmp_path: Path, suffix: str):
    cut = _cut(tmp_path, suffix)
    times = [(0.0, 0.4), (0.4, 0.9), (0.9, 1.6), (1.6, 2.0)]
    lines = [
        {"audio": cut.name, "text": "words", "id": f"s{i}", "start": a, "end": b} for i, (a, b) in enumerate(times)
    ]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    corpus = open_corpus(tmp_path / "manifest.jsonl")
    assert isinstance(corpus, Corpus)
    assert [utterance.id for utterance in corpus] == ["s0", "s1"]
    assert [entry.id for entry in corpus.skipped] == ["s2", "s3"]
    assert all("cut short" in entry.reason for entry in corpus.skipped)


def test_progress_and_segments_know_the_length_of_a_chain(tmp_path: Path, codec):
    for name in ("one", "two"):
        soundfile.write(tmp_path / f"{name}.ogg", _noise(1.0), 8000)
    (tmp_path / "chain.ogg").write_bytes((tmp_path / "one.ogg").read_bytes() + (tmp_path / "two.ogg").read_bytes())
    lines = [{"audio": "chain.ogg", "text": "words", "start": 1.25, "end": 1.75}, {"audio": "chain.ogg", "text": "all"}]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    corpus = open_corpus(tmp_path / "manifest.jsonl")
    assert isinstance(corpus, Corpus)
    assert [shard.seconds for shard in corpus.shards()] == [pytest.approx(2.5)]
    encode_corpus(corpus, codec, tmp_path / "codes")
    assert sorted(u.seconds for u in EncodedCorpus.open(tmp_path / "codes")) == pytest.approx([0.5, 2.0])


def test_mpeg_4_is_named_whatever_the_file_is_called(tmp_path: Path):
    soundfile.write(tmp_path / "good.wav", _noise(1.0), 8000)
    (tmp_path / "good.txt").write_text("words")
    for name in ("a.mp3", "b.m4a"):
        (tmp_path / name).write_bytes(MPEG_4)
        (tmp_path / name).with_suffix(".txt").write_text("words")
    corpus = open_corpus(tmp_path)
    assert isinstance(corpus, Corpus)
    reasons = {entry.id: entry.reason for entry in corpus.skipped}
    assert "got MPEG-4 (m4a, mp4, mov or 3gp; mostly AAC), which is not read; convert it" in reasons["a"]
    [reason] = [reason for name, reason in reasons.items() if name.startswith("b")]
    assert "b.m4a" in reason
    assert ".m4a is not read; convert it" in reason


def test_silence_and_its_transcript_are_quarantined_in_streams_too(tmp_path: Path, codec, monkeypatch):
    from audio_tokenize.encoding import shard_encoder

    monkeypatch.setattr(shard_encoder, "_BATCH_SECONDS", 1.0)
    for name, samples in (("silence", 0 * _noise(3.0)), ("speech", _noise(3.0))):
        soundfile.write(tmp_path / f"{name}.wav", samples, 8000)
        (tmp_path / f"{name}.txt").write_text("words")
    manifest = encode_corpus(open_corpus(tmp_path), codec, tmp_path / "codes")
    assert manifest is not None
    [entry] = manifest.skipped
    assert entry["id"] == "silence"
    assert "holds no sound" in entry["reason"]
