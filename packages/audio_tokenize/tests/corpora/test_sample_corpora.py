"""The shipped corpora keep what they promise: splits, voices, durations, size, and the program that makes them."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from audio_tokenize.corpora import SHIPPED, Corpus, open_corpus
from audio_tokenize.waveform import audio_info, load_audio

PROGRAM = Path(__file__).parents[2] / "sample_corpus"
TRAIN_SPEAKERS = {"slt", "rms", "kal16", "en-us", "en-us-f3", "en-us-m3"}
HELDOUT_SPEAKERS = {"heldout-awb": "awb", "heldout-f4": "en-gb-f4"}


@pytest.fixture(scope="module")
def english() -> Corpus:
    return open_corpus("sample")


@pytest.fixture(scope="module", params=[card.name for card in SHIPPED])
def shipped(request) -> Corpus:
    opened = open_corpus(request.param)
    assert isinstance(opened, Corpus)
    return opened


def test_no_held_out_word_sequence_is_trained_on(shipped):
    texts = defaultdict(set)
    for utterance in shipped:
        texts["train" if utterance.split == "train" else "heldout"].add((utterance.language, utterance.text))
    assert texts["train"]
    assert texts["heldout"]
    assert not texts["train"] & texts["heldout"]


def test_utterances_of_a_recording_do_not_overlap_and_lie_within_it(shipped):
    end_of = defaultdict(float)
    for utterance in shipped:
        assert utterance.start_seconds >= end_of[utterance.audio] + 0.09
        end_of[utterance.audio] = utterance.end_seconds
    for path, end in end_of.items():
        assert end == pytest.approx(audio_info(path).seconds - 0.1, abs=0.02)


def test_a_recording_holds_one_split(shipped):
    splits = defaultdict(set)
    for utterance in shipped:
        splits[utterance.recording].add(utterance.split)
    assert all(len(names) == 1 for names in splits.values())


def test_segments_hold_speech_at_one_loudness_between_silences(shipped):
    for utterance in shipped.utterances[:: len(shipped) // 8]:
        start, end = utterance.start_seconds, utterance.end_seconds
        speech = load_audio(utterance.audio, 24_000, start, end)
        before = load_audio(utterance.audio, 24_000, start - 0.06, start)
        assert np.sqrt(np.mean(speech**2)) == pytest.approx(0.07, rel=0.15)
        assert np.sqrt(np.mean(before**2)) < 0.004


def test_english_holds_whole_voices_out(english):
    speakers = defaultdict(set)
    for utterance in english:
        speakers[utterance.split].add(utterance.speaker)
    assert speakers == {
        "train": TRAIN_SPEAKERS,
        "heldout": TRAIN_SPEAKERS,
        **{split: {speaker} for split, speaker in HELDOUT_SPEAKERS.items()},
    }


def test_english_is_the_size_it_says(english):
    train = english.select(split="train")
    assert Counter(u.split for u in english) == {"train": 4_800, "heldout": 200, "heldout-awb": 100, "heldout-f4": 100}
    assert len({u.text for u in train}) == 2_400
    assert 60 <= len({word for u in english for word in u.text.split()}) <= 100
    assert 2.0 <= english.seconds / 3_600 <= 3.0
    assert 0.35 <= len(train.select(speaker="slt")) / len(train) <= 0.45


def test_english_held_out_words_were_all_heard_in_training(english):
    words = defaultdict(set)
    for utterance in english:
        words[utterance.split == "train"].update(utterance.text.split())
    assert words[False] <= words[True]


def test_multilingual_has_a_minute_of_every_language():
    corpus = open_corpus("sample-multilingual")
    assert corpus.languages == ("ar", "de", "en", "es", "fr", "hi", "th", "zh")
    for language in corpus.languages:
        assert 60 <= corpus.select(language=language).seconds <= 150


def test_parallel_sources_lead_to_their_translation():
    corpus = open_corpus("sample-parallel")
    by_id = {utterance.id: utterance for utterance in corpus}
    sources = [utterance for utterance in corpus if utterance.extra["role"] == "source"]
    assert {utterance.language for utterance in sources} == {"de", "es", "fr"}
    for source in sources:
        target = by_id[source.extra["target"]]
        assert (target.text, target.speaker) == (source.extra["target_text"], source.extra["target_speaker"])
        assert (target.language, target.split, target.extra["pair"]) == ("en", source.split, source.extra["pair"])


def test_shipped_data_is_small():
    folder = Path(str(open_corpus("sample").utterances[0].audio)).parents[1]
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    assert sum(sizes) <= 16_000_000
    assert max(sizes) <= 8_000_000


_SAY = """
import json, sys
sys.path.insert(0, sys.argv[1])
import synthesize
lines = {name: [line.fields() for line in make()] for name, make in synthesize.CORPORA.items()}
print(json.dumps(lines))
"""


def test_the_program_says_what_the_manifests_say():
    done = subprocess.run([sys.executable, "-c", _SAY, str(PROGRAM)], check=True, capture_output=True, text=True)
    lines = json.loads(done.stdout)
    for card in SHIPPED:
        shipped = {
            u.id: {
                "id": u.id,
                "text": u.text,
                "speaker": u.speaker,
                "language": u.language,
                "split": u.split,
                **u.extra,
            }
            for u in open_corpus(card.name)
        }
        assert shipped == {line["id"]: line for line in lines[card.folder]}


@pytest.mark.skipif(not shutil.which("flite"), reason="needs Debian's flite")
def test_the_program_makes_the_shipped_sound(monkeypatch, english):
    spec = importlib.util.spec_from_file_location("sample_corpus_voices", PROGRAM / "voices.py")
    assert spec is not None
    assert spec.loader is not None
    voices = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, voices)
    spec.loader.exec_module(voices)
    utterance = english.select(speaker="slt").utterances[0]
    made = voices.speak(voices.TRAIN_VOICES[0], utterance.text, 1.0)
    shipped = load_audio(utterance.audio, 24_000, utterance.start_seconds, utterance.end_seconds)
    assert len(made) == len(shipped)
    assert np.corrcoef(made[1:], shipped[:-1])[0, 1] > 0.95
