"""Long utterances: the same codes as in one go, in pieces where that is asked for, and in little memory."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audio_data import InputError
from audio_tokenize.corpora import Corpus, Skipped, Utterance
from audio_tokenize.encoding import shard_encoder
from audio_tokenize.encoding.clips import batches_by_length, read_ahead
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.jobs import encode_corpus
from audio_tokenize.waveform import audio_pieces, load_audio


def clips_of(entries: Iterable[Utterance | Skipped | None], *arguments, **options) -> Iterator[Any]:
    """Clips of entries whose places are their numbers."""
    for number, (place, clip) in enumerate(read_ahead(enumerate(entries), *arguments, **options)):
        assert place == number
        yield clip


def test_clips_come_in_order_at_the_rate_asked_for(corpus):
    clips = list(clips_of(corpus, 24000))
    assert [clip.utterance for clip in clips] == list(corpus)
    for clip, utterance in zip(clips, corpus, strict=True):
        expected = load_audio(utterance.audio, 24000, utterance.start_seconds, utterance.end_seconds)
        assert np.array_equal(clip.samples, expected)


def test_what_cannot_be_read_says_why_in_its_place(corpus, tmp_path: Path):
    gone = replace(corpus.utterances[0], audio=tmp_path / "gone.wav")
    skipped = Skipped("odd", "no transcript")
    entries = [corpus.utterances[0], gone, skipped, None, corpus.utterances[1]]
    first, second, third, nothing, last = clips_of(entries, 8000, long_seconds=corpus.utterances[0].seconds)
    assert second.samples is None
    assert "there is no such file" in second.unusable
    assert (third.id, third.utterance, third.unusable) == ("odd", None, "no transcript")
    assert nothing is None
    assert [clip.is_long for clip in (first, second, third)] == [False] * 3
    assert last.is_long == (corpus.utterances[1].seconds > corpus.utterances[0].seconds)


def test_a_level_is_reached_without_changing_the_shape(corpus):
    for clip, raw in zip(clips_of(corpus, 8000, target_rms=0.07), clips_of(corpus, 8000), strict=True):
        assert np.sqrt(np.mean(clip.samples**2)) == pytest.approx(0.07, rel=1e-4)
        assert np.corrcoef(clip.samples, raw.samples)[0, 1] == pytest.approx(1, abs=1e-6)


def test_silence_is_no_speech(tmp_path: Path, corpus):
    soundfile.write(tmp_path / "silence.wav", np.zeros(800), 8000)
    silent = replace(corpus.utterances[0], audio=tmp_path / "silence.wav", end_seconds=0.1)
    [found] = clips_of([silent], 8000, target_rms=0.07)
    assert found.samples is None
    assert "holds no sound: all samples are between 0 and 0" in found.unusable


def test_reading_stays_within_its_bound_and_stops_when_closed(corpus):
    """Seconds taken from the source but not yet handed out never exceed the bound by more than an utterance."""
    taken = 0.0

    def source():
        nonlocal taken
        for utterance in corpus.utterances * 20:
            taken += utterance.seconds
            yield None, utterance

    clips, given = read_ahead(source(), 8000, ahead_seconds=3.0), 0.0
    for _, clip in islice(clips, 100):
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


CONFTEST = str(Path(__file__).parents[1] / "conftest.py")


@pytest.fixture(scope="module")
def lecture(tmp_path_factory) -> Corpus:
    """Three utterances of one recording at another rate than the codec's: 9 s, 23.4567 s, and one to the end."""
    folder = tmp_path_factory.mktemp("lecture")
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (40 * 11025, 2))
    soundfile.write(folder / "lecture.flac", np.repeat(samples[::50], 50, axis=0), 11025)
    cuts = [(0.0, 9.0), (9.0, 32.4567), (32.4567, None)]
    utterances = [
        Utterance(f"u{i}", "words", folder / "lecture.flac", "lecture", (end or 40.0) - start, start, end)
        for i, (start, end) in enumerate(cuts)
    ]
    return Corpus("lecture", "none", tuple(utterances))


@pytest.mark.parametrize("piece_seconds", [0.37, 10.0, 100.0])
def test_pieces_are_the_whole(lecture, piece_seconds):
    for utterance in lecture:
        place = (utterance.audio, 8000, utterance.start_seconds, utterance.end_seconds)
        pieces = list(audio_pieces(*place, piece_seconds=piece_seconds))
        assert np.array_equal(np.concatenate(pieces), load_audio(*place))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_frame_offsets": 3, "speed_perturbation": 0.2},
        {"max_clip_seconds": 6.0},
        {"max_clip_seconds": 6, "num_frame_offsets": 2},
    ],
)
def test_a_stream_gives_the_codes_of_the_whole(lecture, codec, tmp_path: Path, monkeypatch, options):
    encode_corpus(lecture, codec, tmp_path / "whole", **options)
    for name, seconds in (("_BATCH_SECONDS", 5.0), ("_WINDOW_SECONDS", 5.0), ("_BLOCK_SECONDS", 1.7)):
        monkeypatch.setattr(shard_encoder, name, seconds)
    encode_corpus(lecture, codec, tmp_path / "stream", **options)
    whole, stream = (list(EncodedCorpus.open(tmp_path / name)) for name in ("whole", "stream"))
    assert [vars(u) | {"codes": u.codes.tolist()} for u in stream] == [
        vars(u) | {"codes": u.codes.tolist()} for u in whole
    ]


def test_a_stream_has_the_level_asked_for(lecture, codec, tmp_path: Path, monkeypatch):
    """Codes of the tiny codec are levels: they agree but for rounding."""
    encode_corpus(lecture, codec, tmp_path / "whole", target_rms=0.3)
    monkeypatch.setattr(shard_encoder, "_BATCH_SECONDS", 5.0)
    encode_corpus(lecture, codec, tmp_path / "stream", target_rms=0.3)
    for a, b in zip(EncodedCorpus.open(tmp_path / "whole"), EncodedCorpus.open(tmp_path / "stream"), strict=True):
        assert np.abs(a.codes.astype(int) - b.codes).max() <= 1
        assert (a.codes == b.codes).mean() > 0.999


def test_long_utterances_are_cut_and_stay_one(lecture, codec, tmp_path: Path):
    """As for `yodas2-mm-pretrain`: pieces are encoded apart, each to whole frames, and their codes joined."""
    manifest = encode_corpus(lecture, codec, tmp_path, max_clip_seconds=6.05)
    for encoded, utterance in zip(EncodedCorpus.open(tmp_path), lecture, strict=True):
        samples = load_audio(utterance.audio, 8000, utterance.start_seconds, utterance.end_seconds)
        pieces = [samples[start : start + 48400] for start in range(0, len(samples), 48400)]
        assert np.array_equal(encoded.codes, np.concatenate([codec.encode(piece) for piece in pieces]))
        assert encoded.seconds == pytest.approx(utterance.seconds, abs=1e-3)
    assert manifest.max_clip_seconds == 6.05
    with pytest.raises(InputError, match=r"`max_clip_seconds` 6\.05, now it is None"):
        encode_corpus(lecture, codec, tmp_path)
    with pytest.raises(InputError, match=r"`max_clip_seconds` must be at least 1, e\.g\. 60, got 0\.0"):
        encode_corpus(lecture, codec, tmp_path, max_clip_seconds=0)


def test_a_long_recording_that_is_cut_short_is_quarantined(lecture, codec, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(shard_encoder, "_BATCH_SECONDS", 5.0)
    whole = lecture.utterances[0].audio.read_bytes()
    (tmp_path / "short.flac").write_bytes(whole[: len(whole) // 2])
    short = [replace(u, audio=tmp_path / "short.flac") for u in lecture.utterances]
    manifest = encode_corpus(replace(lecture, utterances=tuple(short)), codec, tmp_path / "codes")
    assert [entry["id"] for entry in manifest.skipped] == ["u1", "u2"]


PEAK_MEMORY = """
import resource, runpy, sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

conftest, out = sys.argv[1], Path(sys.argv[2])
from audio_tokenize.corpora import AbstractCorpus, CorpusShard, Utterance
from audio_tokenize.encoding.jobs import encode_corpus

codec = runpy.run_path(conftest)["TinyCodec"]()


class Repeated(AbstractCorpus):
    name, licence = "repeated", "none"

    def __init__(self, path, seconds, number):
        self.path, self.seconds, self.number = path, seconds, number

    def shards(self):
        return (CorpusShard("all", "x"),)

    def read(self, shard):
        for i in range(self.number):
            yield Utterance(f"u{i}", "words", self.path, "r", self.seconds)


def peak_after(name, seconds, number):
    path = out / f"{name}.wav"
    with soundfile.SoundFile(path, "w", 8000, 1) as file:
        minute = np.random.default_rng(0).uniform(-1, 1, 60 * 8000).astype(np.float32)
        for start in range(0, seconds, 60):
            file.write(minute[: (seconds - start) * 8000])
    encode_corpus(Repeated(path, float(seconds), number), codec, out / name)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


print(peak_after("few", 60, 12), peak_after("many", 60, 120), peak_after("long", 3 * 3600, 1))
"""


def test_memory_grows_neither_with_the_corpus_nor_with_a_clip(tmp_path: Path):
    """MiB at most for 12 minutes of speech, then for two hours, then for one clip of three, of 330 MiB as samples."""
    command = [sys.executable, "-W", "ignore", "-c", PEAK_MEMORY, CONFTEST, str(tmp_path)]
    # What the allocator keeps for threads that have ended is not what is asked here.
    environment = os.environ | {"MALLOC_ARENA_MAX": "1"}
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert not run.returncode, run.stderr
    few, many, long = map(float, run.stdout.split())
    assert many - few < 40
    assert long - few < 40
    assert [u.id for u in EncodedCorpus.open(tmp_path / "many")] == [f"u{i}" for i in range(120)]
