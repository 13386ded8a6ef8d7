import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_data import InputError, exclusive
from audio_tokenize.corpora import AbstractCorpus, Corpus, CorpusShard, Skipped, open_corpus
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.jobs import encode_corpus, seconds_or_none, shard_of_jobs, summary
from audio_tokenize.waveform import load_audio


def test_codes_are_those_of_each_utterance_alone(tmp_path: Path, corpus, codec):
    """Independent of batches, windows and shards: the codec applied by hand, one clip at a time."""
    manifest = encode_corpus(corpus, codec, tmp_path, codec_name="tiny", num_frame_offsets=3, utterances_per_shard=2)
    encoded = {(u.id, u.frame_offset): u for u in EncodedCorpus.open(tmp_path)}
    assert len(encoded) == manifest.num_records == 6 * 3 + 1
    for utterance in corpus:
        samples = load_audio(utterance.audio, 8000, utterance.start_seconds, utterance.end_seconds)
        for frame_offset in range(3 if utterance.split == "train" else 1):
            shifted = np.concatenate([np.zeros(640 * frame_offset // 3, np.float32), samples])
            got = encoded[utterance.id, frame_offset]
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
    encode_corpus(corpus, codec, tmp_path, num_frame_offsets=2)
    order = [(u.id, u.frame_offset) for u in EncodedCorpus.open(tmp_path)]
    assert order == [(u.id, p) for u in corpus for p in range(2 if u.split == "train" else 1)]


def test_a_finished_job_is_left_alone(tmp_path: Path, corpus, codec):
    first = encode_corpus(corpus, codec, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("[!.]*")}
    assert encode_corpus(corpus, codec, tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("[!.]*")} == times


def test_later_phases_are_played_at_other_speeds(tmp_path: Path, corpus, codec):
    """The first copy is the recording itself; the length of the others follows from a speed inside the range."""
    encode_corpus(corpus, codec, tmp_path / "plain", num_frame_offsets=3)
    encode_corpus(corpus, codec, tmp_path / "varied", num_frame_offsets=3, speed_perturbation=0.2)
    plain, varied = (list(EncodedCorpus.open(tmp_path / name)) for name in ("plain", "varied"))
    speeds = [
        before.seconds / after.seconds for before, after in zip(plain, varied, strict=True) if before.frame_offset
    ]
    assert all(np.array_equal(a.codes, b.codes) for a, b in zip(plain, varied, strict=True) if a.frame_offset == 0)
    assert all(0.8 <= speed <= 1.2 for speed in speeds)
    assert len({round(speed, 6) for speed in speeds}) == len(speeds)
    for utterance in varied:
        shift_seconds = utterance.frame_offset / 3 / codec.frame_rate_hz
        expected_frames = (utterance.seconds + shift_seconds) * codec.frame_rate_hz
        assert 0 <= len(utterance.codes) - expected_frames < 1.01


@pytest.mark.parametrize("name", ["codes.json", "inputs.json", "quarantine.jsonl", "shard-00000.arrayrecord"])
def test_files_of_a_user_survive(tmp_path: Path, corpus, codec, name: str):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=rf"holds `{name}` but no plan\.json, so that it is no folder of codes: move"):
        encode_corpus(corpus, codec, tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"notes.txt": "mine", name: "mine"}


def test_another_plan_is_refused_by_what_differs(tmp_path: Path, corpus, codec):
    encode_corpus(corpus, codec, tmp_path)
    with pytest.raises(InputError, match="was begun with `num_frame_offsets` 1, now it is 3: choose another folder"):
        encode_corpus(corpus, codec, tmp_path, num_frame_offsets=3)
    changed = replace(corpus, utterances=(replace(corpus.utterances[0], text="another"), *corpus.utterances[1:]))
    with pytest.raises(
        InputError, match=r"was begun with shard '00000000-256' of fingerprint '.{12}', now it is '.{12}'"
    ):
        encode_corpus(changed, codec, tmp_path)
    with pytest.raises(InputError, match="was begun with 1 `shards`, now it is 4"):
        encode_corpus(corpus, codec, tmp_path, utterances_per_shard=2)
    other = type(codec)(codec_id="tiny-v2")
    with pytest.raises(InputError, match=r"was begun with `codec\.id` 'tiny-v1', now it is 'tiny-v2'"):
        encode_corpus(corpus, other, tmp_path)


def test_a_shard_that_is_not_done_may_still_change(tmp_path: Path, corpus, codec):
    """A file that was cut short is replaced, and the work goes on: what was done of its shard is forgotten."""
    encode_corpus(corpus, codec, tmp_path / "codes", utterances_per_shard=4, shard=(0, 2))
    replaced = replace(corpus.utterances[-1], text="replaced")
    changed = replace(corpus, utterances=(*corpus.utterances[:-1], replaced))
    encode_corpus(changed, codec, tmp_path / "codes", utterances_per_shard=4)
    assert [u.text for u in EncodedCorpus.open(tmp_path / "codes")] == [u.text for u in changed]


def test_a_shard_in_other_hands_is_left_to_them(tmp_path: Path, corpus, codec):
    encode_corpus(corpus, codec, tmp_path, utterances_per_shard=2, shard=(0, 4))
    with (
        exclusive(tmp_path / ".shard-00002.lock"),
        pytest.raises(InputError, match=r"another process is writing 1 shards in .*`00000004-2`"),
    ):
        encode_corpus(corpus, codec, tmp_path, utterances_per_shard=2)
    assert not (tmp_path / "shard-00002.json").exists()
    assert (tmp_path / "shard-00003.json").exists(), "the others are done all the same"
    assert encode_corpus(corpus, codec, tmp_path, utterances_per_shard=2).num_utterances == 7


class Published(AbstractCorpus):
    """A corpus in shards of which one can be damaged; counts what is read of it."""

    def __init__(self, utterances, damaged: bool = False):
        self.name, self.licence = "published", "none"
        self.damaged, self._utterances = damaged, utterances
        self.num_read = 0

    def shards(self):
        return (CorpusShard("part/0", "damaged" if self.damaged else "whole"), CorpusShard("part/1", "whole"))

    def read(self, shard):
        first = shard.name == "part/0"
        for i, utterance in enumerate(self._utterances[: len(self._utterances) // 2] if first else self._utterances):
            if first and self.damaged and i == 2:
                raise InputError("`0.tar`: expected a whole archive, got one cut short: download it again")
            self.num_read += 1
            yield Skipped("mute", "no text") if i == 1 else replace(utterance, id=f"{shard.name}/{utterance.id}")


def test_a_damaged_shard_costs_no_other(tmp_path: Path, corpus, codec):
    with pytest.raises(
        InputError, match=r"1 of 2 shards of corpus `published` cannot be read \(`part/0`: `0\.tar`: ex"
    ):
        encode_corpus(Published(corpus.utterances, damaged=True), codec, tmp_path, seconds_per_chunk=0.1)
    assert (tmp_path / "shard-00001.json").exists()
    repaired = Published(corpus.utterances)
    manifest = encode_corpus(repaired, codec, tmp_path)
    assert [shard.source for shard in manifest.shards] == ["part/0", "part/1"]
    assert manifest.num_utterances == 2 + 6
    assert repaired.num_read == 3, "the other shard was not read again"


def test_one_split_of_a_published_corpus(tmp_path: Path, corpus, codec):
    manifest = encode_corpus(Published(corpus.utterances), codec, tmp_path, splits=["heldout"])
    assert [u.id for u in EncodedCorpus.open(tmp_path)] == ["part/1/c"]
    assert manifest.shards[0].num_records == 0


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
    with pytest.raises(InputError, match="`num_frame_offsets` must be at least 1, got 0"):
        encode_corpus(corpus, codec, tmp_path, num_frame_offsets=0)
    with pytest.raises(InputError, match=r"`target_rms` must be a root mean square between 0 and 1, got 7\.0"):
        encode_corpus(corpus, codec, tmp_path, target_rms=7.0)
    with pytest.raises(InputError, match=r"`speed_perturbation` must be in \[0, 0\.5\), got 0\.6"):
        encode_corpus(corpus, codec, tmp_path, speed_perturbation=0.6)
    with pytest.raises(InputError, match="has no utterance"):
        encode_corpus(Corpus("empty", "none", ()), codec, tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is begun for a wrong argument"


def test_one_split_alone(tmp_path: Path, corpus, codec):
    manifest = encode_corpus(corpus, codec, tmp_path, splits=["heldout"], num_frame_offsets=3)
    assert [u.id for u in EncodedCorpus.open(tmp_path)] == ["c"]
    assert json.loads((tmp_path / "codes.json").read_text())["seconds"] == manifest.seconds == 5000 / 8000


def test_a_corpus_may_move(tmp_path: Path, speech, codec):
    """The plan knows audio files by name and size, not by the folder they lie in."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "x.wav", np.linspace(-0.5, 0.5, 800), 8000)
        (tmp_path / name / "x.txt").write_text("hello")
    first = encode_corpus(open_corpus(tmp_path / "here"), codec, tmp_path / "codes")
    there = open_corpus(tmp_path / "there")
    assert isinstance(there, Corpus)
    moved = replace(there, name="here")
    assert encode_corpus(moved, codec, tmp_path / "codes") == first


def test_more_in_quarantine_than_allowed_stops_and_goes_on(tmp_path: Path, corpus, codec):
    (tmp_path / "bad.wav").write_bytes(b"RIFF nonsense")
    bad = [replace(u, id=f"bad-{u.id}", audio=tmp_path / "bad.wav") for u in corpus.utterances[:3]]
    mixed = replace(corpus, utterances=(*corpus.utterances, *bad), skipped=(Skipped("mute", "no text"),))
    out = tmp_path / "codes"
    with pytest.raises(
        InputError, match=r"at most 3 utterances .* got 4 of 11 \(`mute`: no text; `bad-a0`: .*readable audio.*`bad-a1`"
    ):
        encode_corpus(mixed, codec, out, max_quarantined=3)
    listed = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    assert [entry["id"] for entry in listed] == ["mute", "bad-a0", "bad-a1", "bad-a2"]
    manifest = encode_corpus(mixed, codec, out, max_quarantined=4)
    listed = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    assert listed == list(manifest.skipped)
    assert manifest is not None
    first, *reasons = summary(manifest)
    assert first.endswith("4 skipped")
    assert reasons[0].startswith("  skipped 3: …: expected readable audio")
    assert reasons[1] == "  skipped 1: no text"


def test_values_mean_what_they_look_like():
    assert (shard_of_jobs("3/8"), shard_of_jobs(None)) == ((3, 8), None)
    assert (seconds_or_none("10"), seconds_or_none("none")) == (10.0, None)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (shard_of_jobs, "8", "`--shard` must be I/N, e.g. 0/8 for the first of eight jobs, got '8'"),
        (shard_of_jobs, "-1/8", "got '-1/8'"),
        (seconds_or_none, "", "must be seconds or none, e.g. 10, got ''"),
    ],
)
def test_what_they_cannot_be_is_refused(read, text, message):
    with pytest.raises(InputError) as refused:
        read(text)
    assert message in refused.value.message
