"""Side files of an evaluation, damaged in every way: one line with the file, or the content as it was."""

import csv
import io
import json
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_data import InputError, from_json
from audio_eval import Evaluation, Item, Measure, TaskResult, read_evaluation
from audio_eval.checkpoint import _provenance
from audio_eval.evaluation import write_evaluation
from audio_eval.journal import Journal
from audio_eval.report.sections import sound, training_section
from audio_eval.report.training import read_training
from audio_eval.scores import score_items
from audio_eval.testsets.pairs import SBLIMP, read_story_cloze, read_zerospeech
from audio_eval.testsets.speech import read_covost2, read_librispeech, read_seed_tts

# What a value of another kind looks like: of each type, too large, too deep, not text, not a number.
WRONG = [None, True, -1, 10**400, 0.5, "x", [], {}, [[1]], {"a": [None]}, json.loads("[" * 70 + "]" * 70), "\udc80"]


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """The content cut, zeroed, bit-flipped, overwritten, doubled, not UTF-8, or nested beyond measure."""
    place = draw(st.integers(0, max(0, len(content) - 1)))
    kind = draw(
        st.sampled_from(["cut", "flip", "zero", "bytes", "twice", "latin", "deep", "empty", "nothing but zeros"])
    )
    if kind == "cut":
        return content[:place]
    if kind == "flip":
        return content[:place] + bytes([content[place] ^ 1 << draw(st.integers(0, 7))]) + content[place + 1 :]
    if kind == "zero":
        size = draw(st.integers(1, 512))
        return content[:place] + bytes(len(content[place : place + size])) + content[place + size :]
    if kind == "bytes":
        new = draw(st.binary(min_size=1, max_size=20))
        return content[:place] + new + content[place + len(new) :]
    if kind == "twice":
        return content + content[place:]
    if kind == "latin":
        return content[:place] + "é".encode("latin-1") + content[place:]
    if kind == "deep":
        return content[:place] + b"[" * 5_000 + content[place:]
    return b"" if kind == "empty" else bytes(len(content))


@st.composite
def wrongly_typed(draw, value):
    """Decoded JSON with one value somewhere in it replaced by one of another kind, left out, or under another name."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 4)):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = draw(st.sampled_from(keys))
        changed = dict(value) if isinstance(value, dict) else list(value)
        how = draw(st.sampled_from(["inside", "inside", "inside", "gone", "renamed"]))
        if how == "inside":
            changed[key] = draw(wrongly_typed(value[key]))
        else:
            found = changed.pop(key)
            if how == "renamed" and isinstance(changed, dict):
                changed[f"{key}_"] = found
        return changed
    return draw(st.sampled_from(WRONG))


fuzzed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def reading(read, path):
    """What a reader gives, or None for one line about the file."""
    try:
        return read()
    except InputError as error:
        message = error.message
    assert str(path) in message
    assert "\n" not in message
    return None


MEASURES = (
    Measure("asr_wer", "errors/word", "lower", ("asr_wer",), meaning="how wrong"),
    Measure("gain", "errors/word", "higher", ("other", "asr_wer"), "difference"),
)
ITEMS = tuple(
    Item(name, "heldout", {"asr_wer": (1.0, words), "other": (words, words)}, {"reference": "é", "hypotheses": ["x"]})
    for name, words in (("a", 3.0), ("b", 0.5))
)
SETTINGS = {"normalizer": "marks", "limit": None}
PROVENANCE = {"checkpoint": "/x", "num_parameters": 5, "datasets": {"heldout": "0" * 64}, "training": {"tokens": 7}}


@pytest.fixture
def folder(tmp_path):
    result = TaskResult("asr", "f", SETTINGS, 0.5, tuple(score_items("asr", "heldout", MEASURES, ITEMS)), ITEMS)
    write_evaluation(Evaluation(tmp_path, PROVENANCE, (result,)))
    return tmp_path


@pytest.mark.parametrize("name", ["evaluation.json", "items/asr.jsonl"])
@fuzzed
@given(data=st.data())
def test_a_damaged_evaluation_is_never_believed(folder, name, data):
    path, whole, content = folder / name, read_evaluation(folder), (folder / name).read_bytes()
    path.write_bytes(data.draw(damaged(content)))
    assert reading(lambda: read_evaluation(folder), path) in (None, whole)
    path.write_bytes(content)


@fuzzed
@given(data=st.data())
def test_a_summary_of_other_types_is_refused_or_read(folder, data):
    path = folder / "evaluation.json"
    whole = path.read_bytes()
    # Without a checksum, as in the first version of the format.
    content = {key: value for key, value in json.loads(whole).items() if key != "sha256"} | {"schema_version": 1}
    path.write_text(json.dumps(data.draw(wrongly_typed(content))))
    reading(lambda: read_evaluation(folder), folder)
    path.write_bytes(whole)


@fuzzed
@given(data=st.data())
def test_an_item_of_other_types_is_refused_or_read(data):
    record = data.draw(wrongly_typed(ITEMS[0].to_json()))
    found = reading(lambda: Item.from_json(from_json(dict[str, Any], record, "item")), "item")
    assert found is None or found.to_json() == record


RESULTS = {"encode": {"a": [8, "AAEC"], "b": [8, "BBBB"]}, "score": {"a": {"mean": -0.25}, "é": {"mean": 1e-9}}}


@fuzzed
@given(data=st.data())
def test_no_damaged_line_of_a_journal_is_used(tmp_path, data):
    path = tmp_path / "items" / "x.partial.jsonl"
    path.unlink(missing_ok=True)
    journal = Journal(path, "f")
    for step, results in RESULTS.items():
        journal.record(step, results)
    journal.close()
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    again = Journal(path, "f")
    for step, results in RESULTS.items():
        assert again.known(step).items() <= results.items()
        again.record(step, {key: value for key, value in results.items() if key not in again.known(step)})
    again.close()
    assert {step: dict(Journal(path, "f").known(step)) for step in RESULTS} == RESULTS


METRICS = [
    {"step": 1, "loss": 3.5, "nll": {"text": 2.0, "codebook_0": None}, "learning_rate": 1e-3, "tokens": 100},
    {"step": 1, "evaluation": {"nll": {"text": 2.5, "codebook_0": 4.0}, "loss": 3.0}},
    {"step": 2, "loss": None, "nll": {"text": 1.5}, "tokens_per_second": 9.5, "tokens": 200, "other": [1]},
]
RESOLVED = {"derived": {"mixture": [{"start_step": 0, "weights": {"a": 1.0, "b": 0}}], "steps": 2}, "model": {}}


@pytest.fixture
def run(tmp_path):
    def written(metrics=METRICS, resolved=RESOLVED):
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in metrics))
        (tmp_path / "resolved.json").write_text(json.dumps(resolved))
        return tmp_path

    return written


@fuzzed
@given(data=st.data(), name=st.sampled_from(["metrics.jsonl", "resolved.json"]), typed=st.booleans())
def test_damaged_metrics_are_refused_or_drawn(run, data, name, typed):
    path = run() / name
    if not typed:
        path.write_bytes(data.draw(damaged(path.read_bytes())))
    elif name == "metrics.jsonl":
        changed = data.draw(wrongly_typed(METRICS))
        run(metrics=changed if isinstance(changed, list) else [changed])
    else:
        run(resolved=data.draw(wrongly_typed(RESOLVED)))
    found = reading(lambda: read_training(path.parent), path)
    if found is not None and found.steps:
        training_section(found)


@fuzzed
@given(data=st.data(), typed=st.booleans())
def test_a_damaged_provenance_is_refused_or_read(tmp_path, data, typed):
    content = {"loss": "grammar", "run": "x", "tokens": 5, "codec": {"name": "toy"}, "git": None}
    path = tmp_path / "provenance.json"
    changed = json.dumps(data.draw(wrongly_typed(content)) if typed else content).encode()
    path.write_bytes(changed if typed else data.draw(damaged(changed)))
    found = reading(lambda: _provenance(tmp_path), path)
    assert found is None or isinstance(found, dict)
    for name, kind in (("loss", str), ("run", str), ("tokens", int), ("codec", dict)):
        assert found is None or found.get(name) is None or type(found[name]) is kind


def gold_csv():
    rows = [
        (1, "a_1", "ann", 1, "cat"),
        (1, "a_0", "ann", 0, "tac"),
        (2, "b_1", "ann", 1, "dog"),
        (2, "b_0", "", 0, ""),
    ]
    stream = io.StringIO()
    csv.writer(stream).writerows([("id", "filename", "voice", "correct", "word"), *rows])
    return stream.getvalue().encode()


def roc_csv():
    names = ["InputStoryid", *(f"InputSentence{n}" for n in range(1, 5))]
    names += ["RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2", "AnswerRightEnding"]
    return (",".join(names) + "\nx,A.,B.,C.,D.,E.,F.,2\ny,A.,B.,C.,D.,E.,F.,1\n").encode()


def table(**columns):
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()


def spoken_table():
    return table(audio=[{"bytes": b"x", "path": "a"}] * 3, sentence=["a", "b", "ä"], translation=["c", "d", None])


TEST_SETS = {
    "gold.csv": (gold_csv, lambda folder: read_zerospeech(folder, SBLIMP)),
    "stories.csv": (roc_csv, lambda folder: read_story_cloze(folder, spoken=False)),
    "test-clean/1/1/1-1.trans.txt": (
        lambda: b"1-1-0000 A CAT\n1-1-0001 A DOG\n",
        lambda folder: read_librispeech(folder, "test-clean"),
    ),
    "meta.lst": ("i|a cat|p.wav|a dog\nj|a cat|p.wav|a cow|w.wav\n".encode, read_seed_tts),
    "de_en/test-0.parquet": (spoken_table, lambda folder: read_covost2(folder, "de_en", "test")),
    "pairs.parquet": (
        lambda: table(id=["1", "2"], positive=["a.wav", "b.wav"], negative=["c.wav", "d.wav"]),
        lambda folder: read_zerospeech(folder, SBLIMP),
    ),
}


@pytest.mark.parametrize("name", TEST_SETS)
@fuzzed
@given(data=st.data())
def test_damaged_files_of_test_sets_are_refused_or_read(tmp_path, name, data):
    make, read = TEST_SETS[name]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(data.draw(damaged(make())))
    reading(lambda: read(tmp_path), tmp_path)


@fuzzed
@given(data=st.data())
def test_a_damaged_sound_is_named_in_the_report(tmp_path, data):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([0.1, -0.1] * 400), 24_000, subtype="PCM_16")
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    assert "<audio" in (shown := sound(path, "take", 0.5)) or "a.wav" in shown


@pytest.mark.parametrize("num_bytes", [0, 44, 1_000])
def test_a_sound_that_is_cut_short_is_not_played_as_if_it_were_whole(tmp_path, num_bytes):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([0.1, -0.1] * 400), 24_000, subtype="PCM_16")
    assert "<audio" in sound(path, "take", 0.5)
    path.write_bytes(path.read_bytes()[:num_bytes])
    assert "a.wav holds no sound that can be read" in sound(path, "take", 0.5)
