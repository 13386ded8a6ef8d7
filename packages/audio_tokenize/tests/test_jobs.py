import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_data import InputError
from audio_tokenize.corpora import Corpus, Skipped, open_corpus
from audio_tokenize.encoded import EncodedCorpus
from audio_tokenize.jobs import encode_corpus
from audio_tokenize.storage import sole_writer
from audio_tokenize.waveform import load_audio


def test_codes_are_those_of_each_utterance_alone(tmp_path: Path, corpus, codec):
    """Independent of batches, windows and shards: the codec applied by hand, one clip at a time."""
    manifest = encode_corpus(corpus, codec, tmp_path, codec_name="tiny", num_phases=3, utterances_per_shard=2)
    encoded = {(u.id, u.phase): u for u in EncodedCorpus.open(tmp_path)}
    assert len(encoded) == manifest.num_records == 6 * 3 + 1
    for utterance in corpus:
        samples = load_audio(utterance.audio, 8000, utterance.start_seconds, utterance.end_seconds)
        for phase in range(3 if utterance.split == "train" else 1):
            shifted = np.concatenate([np.zeros(640 * phase // 3, np.float32), samples])
            got = encoded[utterance.id, phase]
            assert np.array_equal(got.codes, codec.encode(shifted))
            assert got.seconds == pytest.approx(utterance.seconds, abs=1e-3)
            assert (got.text, got.speaker, got.split) == (utterance.text, utterance.speaker, utterance.split)
    assert manifest.num_utterances == 7
    assert manifest.num_frames == sum(len(u.codes) for u in encoded.values())
    assert manifest.codec == {
        "name": "tiny",
        "id": "tiny-v1",
        "num_codebooks": 8,
        "codebook_size": 16,
        "sample_rate_hz": 8000,
        "frame_rate_hz": 12.5,
        "attention_window_frames": None,
    }


def test_records_keep_the_order_of_the_corpus(tmp_path: Path, corpus, codec):
    encode_corpus(corpus, codec, tmp_path, num_phases=2)
    order = [(u.id, u.phase) for u in EncodedCorpus.open(tmp_path)]
    assert order == [(u.id, p) for u in corpus for p in range(2 if u.split == "train" else 1)]


def test_a_finished_job_is_left_alone(tmp_path: Path, corpus, codec):
    first = encode_corpus(corpus, codec, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("[!.]*")}
    assert encode_corpus(corpus, codec, tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("[!.]*")} == times


KILLED_AGAIN_AND_AGAIN = """
import os, pathlib, runpy, signal, sys

conftest, speech, out = sys.argv[1:]
from audio_tokenize.corpora import open_corpus
from audio_tokenize.jobs import encode_corpus

codec, corpus = runpy.run_path(conftest)["TinyCodec"](), open_corpus(pathlib.Path(speech) / "manifest.jsonl")
replace = os.replace


def die_at(number, after):
    def renaming(*names):
        nonlocal number
        number -= 1
        if number or after:
            replace(*names)
        if not number:
            os.kill(os.getpid(), signal.SIGKILL)
    return renaming


num_killed = 0
while num_killed < 50:
    child = os.fork()
    if not child:
        # At the first, second or third file of the run, before or after it gets its name, in turn.
        os.replace = die_at(1 + num_killed // 2 % 3, after=num_killed % 2)
        encode_corpus(corpus, codec, out, num_phases=2, utterances_per_shard=1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        break
    num_killed += 1
print(num_killed, status)
"""


def test_killed_at_any_file_it_is_as_if_never_killed(tmp_path: Path, speech, corpus, codec):
    command = [sys.executable, "-W", "ignore", "-c", KILLED_AGAIN_AND_AGAIN]
    killed = subprocess.run(
        [*command, str(Path(__file__).with_name("conftest.py")), str(speech), str(tmp_path / "killed")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    num_killed, status = map(int, killed.stdout.split())
    assert num_killed >= 10, killed.stderr
    assert status == 0, killed.stderr
    encode_corpus(corpus, codec, tmp_path / "whole", num_phases=2, utterances_per_shard=1)
    contents = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("killed", "whole")]
    assert contents[0] == contents[1]


def test_later_phases_are_played_at_other_speeds(tmp_path: Path, corpus, codec):
    """The first phase is the recording itself; the length of the others follows from a speed inside the spread."""
    encode_corpus(corpus, codec, tmp_path / "plain", num_phases=3)
    encode_corpus(corpus, codec, tmp_path / "varied", num_phases=3, speed_spread=0.2)
    plain, varied = (list(EncodedCorpus.open(tmp_path / name)) for name in ("plain", "varied"))
    speeds = [before.seconds / after.seconds for before, after in zip(plain, varied, strict=True) if before.phase]
    assert all(np.array_equal(a.codes, b.codes) for a, b in zip(plain, varied, strict=True) if a.phase == 0)
    assert all(0.8 <= speed <= 1.2 for speed in speeds)
    assert len({round(speed, 6) for speed in speeds}) == len(speeds)
    for utterance in varied:
        shift_seconds = utterance.phase / 3 / codec.frame_rate_hz
        expected_frames = (utterance.seconds + shift_seconds) * codec.frame_rate_hz
        assert 0 <= len(utterance.codes) - expected_frames < 1.01


def test_another_plan_is_refused_by_what_differs(tmp_path: Path, corpus, codec):
    encode_corpus(corpus, codec, tmp_path)
    with pytest.raises(InputError, match="was begun with `num_phases` 1, now it is 3: choose another folder"):
        encode_corpus(corpus, codec, tmp_path, num_phases=3)
    changed = replace(corpus, utterances=(replace(corpus.utterances[0], text="another"), *corpus.utterances[1:]))
    with pytest.raises(InputError, match="was begun with `corpus_fingerprint`"):
        encode_corpus(changed, codec, tmp_path)
    with sole_writer(tmp_path), pytest.raises(InputError, match="another process is writing"):
        encode_corpus(corpus, codec, tmp_path)


def test_what_cannot_be_read_is_listed_and_the_rest_is_encoded(tmp_path: Path, speech, corpus, codec):
    (tmp_path / "bad.wav").write_bytes(b"RIFF nonsense")
    bad = replace(corpus.utterances[1], id="bad", audio=tmp_path / "bad.wav")
    mixed = replace(corpus, utterances=(*corpus.utterances, bad), skipped=(Skipped("mute", "no text"),))
    manifest = encode_corpus(mixed, codec, tmp_path / "codes")
    assert manifest.num_records == 7
    assert [entry["id"] for entry in manifest.skipped] == ["mute", "bad"]
    assert "readable audio" in manifest.skipped[1]["reason"]
    with pytest.raises(InputError, match=r"no utterance of corpus .* could be encoded \(1 skipped; the first, `bad`"):
        encode_corpus(replace(corpus, utterances=(bad,)), codec, tmp_path / "none")


def test_wrong_arguments_are_refused(tmp_path: Path, corpus, codec):
    with pytest.raises(InputError, match=r"`split` of corpus .* must be one of heldout, train, got 'test'"):
        encode_corpus(corpus, codec, tmp_path, splits=["test"])
    with pytest.raises(InputError, match="`num_phases` must be at least 1, got 0"):
        encode_corpus(corpus, codec, tmp_path, num_phases=0)
    with pytest.raises(InputError, match=r"`level` must be a root mean square between 0 and 1, got 7\.0"):
        encode_corpus(corpus, codec, tmp_path, level=7.0)
    with pytest.raises(InputError, match=r"`speed_spread` must be in \[0, 0\.5\), got 0\.6"):
        encode_corpus(corpus, codec, tmp_path, speed_spread=0.6)
    with pytest.raises(InputError, match="has no utterance"):
        encode_corpus(Corpus("empty", "none", ()), codec, tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is begun for a wrong argument"


def test_one_split_alone(tmp_path: Path, corpus, codec):
    manifest = encode_corpus(corpus, codec, tmp_path, splits=["heldout"], num_phases=3)
    assert [u.id for u in EncodedCorpus.open(tmp_path)] == ["c"]
    assert json.loads((tmp_path / "codes.json").read_text())["seconds"] == manifest.seconds == 5000 / 8000


def test_a_corpus_may_move(tmp_path: Path, speech, codec):
    """The plan knows audio files by name and size, not by the folder they lie in."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "x.wav", np.zeros(800), 8000)
        (tmp_path / name / "x.txt").write_text("hello")
    first = encode_corpus(open_corpus(tmp_path / "here"), codec, tmp_path / "codes")
    moved = replace(open_corpus(tmp_path / "there"), name="here")
    assert encode_corpus(moved, codec, tmp_path / "codes") == first
