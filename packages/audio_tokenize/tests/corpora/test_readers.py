"""Every form in which people keep speech, through one suite, and what each does with malformed input."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_data import InputError
from audio_tokenize.corpora import Corpus, open_corpus

TEXTS = {"one": "open the door", "two": "schließ das Fenster", "three": "市场早上开门"}


def _audio(path: Path, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(8_000 * seconds)), 8_000)
    return path


def _folder(root: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        _audio(root / f"{name}.wav").with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
    return root


def _ljspeech(root: Path, texts: dict[str, str]) -> Path:
    for name in texts:
        _audio(root / "wavs" / f"{name}.wav")
    lines = [f"{name}|{text.upper()}|{text}\n" for name, text in texts.items()]
    (root / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return root


def _manifest(root: Path, texts: dict[str, str]) -> Path:
    lines = [{"audio": f"audio/{name}.wav", "text": text, "id": name} for name, text in texts.items()]
    for line in lines:
        _audio(root / line["audio"])
    return _write_manifest(root, lines)


def _write_manifest(root: Path, lines: list[dict]) -> Path:
    path = root / "speech.jsonl"
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    return path


Make = Callable[[Path, dict[str, str]], Path]
every_form = pytest.mark.parametrize("make", [_folder, _ljspeech, _manifest])


@every_form
def test_texts_and_audio_come_together(tmp_path, make: Make):
    corpus = open_corpus(make(tmp_path, TEXTS))
    assert isinstance(corpus, Corpus)
    assert {utterance.id: utterance.text for utterance in corpus} == TEXTS
    assert all(Path(str(utterance.audio)).stem == utterance.id for utterance in corpus)
    assert corpus.skipped == ()
    assert corpus.seconds == pytest.approx(1.5)
    assert corpus.splits == ("train",)


@every_form
def test_order_does_not_depend_on_the_file_system(tmp_path, make: Make):
    corpora = [
        open_corpus(make(tmp_path / str(i), dict(order)))
        for i, order in enumerate([TEXTS.items(), reversed(TEXTS.items())])
    ]
    assert [u.id for u in corpora[0]] == [u.id for u in corpora[1]] == ["one", "three", "two"]


@every_form
def test_unreadable_audio_is_skipped_with_its_reason(tmp_path, make: Make):
    path = make(tmp_path, TEXTS)
    next(tmp_path.rglob("two.wav")).write_bytes(b"not audio")
    corpus = open_corpus(path)
    assert isinstance(corpus, Corpus)
    assert [utterance.id for utterance in corpus] == ["one", "three"]
    assert [skipped.id for skipped in corpus.skipped] == ["two"]
    assert "two.wav" in corpus.skipped[0].reason


@every_form
def test_empty_text_is_skipped(tmp_path, make: Make):
    corpus = open_corpus(make(tmp_path, {**TEXTS, "two": "  "}))
    assert isinstance(corpus, Corpus)
    assert [skipped.id for skipped in corpus.skipped] == ["two"]
    assert "empty" in corpus.skipped[0].reason


@every_form
def test_missing_audio_is_skipped(tmp_path, make: Make):
    path = make(tmp_path, TEXTS)
    next(tmp_path.rglob("two.wav")).unlink()
    corpus = open_corpus(path)
    assert isinstance(corpus, Corpus)
    assert len(corpus) == 2
    assert len(corpus.skipped) == 1


@every_form
def test_nothing_left_is_an_error_that_names_a_reason(tmp_path, make: Make):
    path = make(tmp_path, TEXTS)
    for audio in tmp_path.rglob("*.wav"):
        audio.write_bytes(b"")
    with pytest.raises(InputError, match=r"0 of 3.*empty"):
        open_corpus(path)


@every_form
def test_text_that_is_not_utf8_costs_its_utterance(tmp_path, make: Make):
    path = make(tmp_path, TEXTS)
    wanted = "two.txt" if make is _folder else "*.csv" if make is _ljspeech else "*.jsonl"
    other = next(tmp_path.rglob(wanted))
    other.write_bytes(other.read_bytes().replace(TEXTS["two"].encode(), TEXTS["two"].encode("latin-1")))
    corpus = open_corpus(path)
    assert isinstance(corpus, Corpus)
    assert [utterance.id for utterance in corpus] == ["one", "three"]
    (skipped,) = corpus.skipped
    assert skipped.id == "two"
    assert "0xdf" in skipped.reason
    assert "iconv -f LATIN1 -t UTF-8" in skipped.reason
    assert ("two.wav" if make is _folder else f"{other.name}:2") in skipped.reason


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_folder_takes_every_audio_format(tmp_path, suffix):
    _audio(tmp_path / f"a.{suffix}").with_suffix(".txt").write_text("hello", encoding="utf-8")
    corpus = open_corpus(tmp_path)
    assert isinstance(corpus, Corpus)
    assert corpus.utterances[0].seconds == pytest.approx(0.5, abs=0.01)


def test_folder_reads_subfolders_as_speakers_and_joins_lines(tmp_path):
    _audio(tmp_path / "ann" / "a.WAV").with_suffix(".txt").write_text("\ufeffopen\nthe  door\n", encoding="utf-8")
    _audio(tmp_path / ".trash" / "b.wav")
    (utterance,) = open_corpus(tmp_path)
    assert (utterance.id, utterance.speaker, utterance.text) == ("ann/a", "ann", "open the door")


def test_a_folder_keeps_audio_without_text_and_names_text_without_audio(tmp_path):
    _folder(tmp_path, TEXTS)
    (tmp_path / "two.txt").rename(tmp_path / "tow.txt")
    corpus = open_corpus(tmp_path)
    assert isinstance(corpus, Corpus)
    assert [skipped.id for skipped in corpus.skipped] == ["tow.txt"]
    assert {u.id: u.text for u in corpus}["two"] == ""
    assert {u.text for u in corpus if u.id != "two"} == {text for name, text in TEXTS.items() if name != "two"}


def test_folder_without_audio_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(InputError, match=r"expected audio files.*got none"):
        open_corpus(tmp_path)


def test_folder_skips_the_second_of_two_files_of_one_name(tmp_path):
    _folder(tmp_path, TEXTS)
    _audio(tmp_path / "one.flac")
    corpus = open_corpus(tmp_path)
    assert isinstance(corpus, Corpus)
    (skipped,) = corpus.skipped
    assert skipped.id == "one"
    assert "one.wav" in skipped.reason
    assert "occurred before" in skipped.reason


def test_ljspeech_prefers_the_normalised_text_and_takes_two_columns(tmp_path):
    _ljspeech(tmp_path, TEXTS)
    (tmp_path / "metadata.csv").write_text('one|No. 1|number one\ntwo|say "no"\nthree|3|\n', encoding="utf-8")
    assert {u.id: u.text for u in open_corpus(tmp_path)} == {"one": "number one", "two": 'say "no"', "three": "3"}


@pytest.mark.parametrize("line", ["one", "one,open the door", "one|a|b|c", "|open the door"])
def test_ljspeech_names_the_line_with_wrong_columns(tmp_path, line):
    _ljspeech(tmp_path, TEXTS)
    (tmp_path / "metadata.csv").write_text(f"two|fine\n{line}\n", encoding="utf-8")
    corpus = open_corpus(tmp_path)
    assert isinstance(corpus, Corpus)
    assert [utterance.text for utterance in corpus] == ["fine"]
    (skipped,) = corpus.skipped
    assert skipped.id == "metadata.csv:2"
    assert re.search(r"metadata\.csv:2.*columns", skipped.reason)


def test_manifest_keeps_the_utterances_of_a_recording_in_time_order(tmp_path):
    _audio(tmp_path / "talk.wav", 3.0)
    _audio(tmp_path / "alone.wav")
    times = [(2.0, 3.0), (0.0, 1.0), (1.0, 2.0)]
    lines = [{"audio": "talk.wav", "text": f"at {start}", "start": start, "end": end} for start, end in times]
    corpus = open_corpus(_write_manifest(tmp_path, [*lines, {"audio": "alone.wav", "text": "alone"}]))
    assert [(u.recording, u.start_seconds, u.end_seconds) for u in corpus] == [
        ("alone", 0.0, None), ("talk", 0.0, 1.0), ("talk", 1.0, 2.0), ("talk", 2.0, 3.0),
    ]  # fmt: skip
    assert len({u.id for u in corpus}) == 4


def test_manifest_keeps_what_it_says(tmp_path):
    _audio(tmp_path / "a.wav")
    said = {"id": "x", "speaker": "ann", "language": "de", "split": "heldout", "recording": "r"}
    path = _write_manifest(tmp_path, [{"audio": "a.wav", "text": "ja", **said, "pair": "7", "tags": ["a"]}])
    (utterance,) = open_corpus(path)
    assert {name: getattr(utterance, name) for name in said} == said
    assert utterance.extra == {"pair": "7", "tags": ["a"]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "expected JSON"),
        ('["a"]', "JSON object"),
        ('{"text": "no audio"}', "add.*audio"),
        ('{"mp3": "a.wav", "sentence": "x"}', "got 'mp3', 'sentence'; add `audio`"),
        ('{"audio": "a.wav", "text": 3}', "`text`.*string"),
        ('{"audio": "a.wav", "text": "x", "start": "soon"}', "`start`.*seconds"),
        ('{"audio": "a.wav", "text": "x", "start": -1}', "`start`"),
        ('{"audio": "a.wav", "text": "x", "end": NaN}', "NaN is no JSON number"),
        ('{"audio": "a.wav", "text": "x", "start": 0.4, "end": 0.2}', "`start` before `end`"),
    ],
)
def test_manifest_names_the_malformed_line(tmp_path, line, message):
    _audio(tmp_path / "a.wav")
    path = tmp_path / "speech.jsonl"
    path.write_text('{"audio": "a.wav", "text": "fine"}\n\n' + line + "\n", encoding="utf-8")
    corpus = open_corpus(path)
    assert isinstance(corpus, Corpus)
    assert [utterance.text for utterance in corpus] == ["fine"]
    (skipped,) = corpus.skipped
    assert skipped.id == "speech.jsonl:3"
    assert re.search(rf"speech\.jsonl:3.*{message}", skipped.reason)


@pytest.mark.parametrize(("start", "end"), [(0.2, 0.2), (0.2, 0.9), (0.5, None), (0.7, 0.8)])
def test_manifest_skips_times_without_audio(tmp_path, start, end):
    _audio(tmp_path / "a.wav", 0.5)
    lines = [{"audio": "a.wav", "text": "fine"}, {"audio": "a.wav", "text": "x", "start": start, "end": end}]
    corpus = open_corpus(_write_manifest(tmp_path, lines))
    assert isinstance(corpus, Corpus)
    assert len(corpus) == len(corpus.skipped) == 1


def test_manifest_allows_an_end_that_was_rounded_up(tmp_path):
    _audio(tmp_path / "a.wav", 0.496)
    (utterance,) = open_corpus(_write_manifest(tmp_path, [{"audio": "a.wav", "text": "x", "start": 0.1, "end": 0.5}]))
    assert utterance.seconds == pytest.approx(0.396)


def test_an_empty_table_is_refused(tmp_path):
    (tmp_path / "speech.jsonl").write_text("\n\n", encoding="utf-8")
    with pytest.raises(InputError, match="at least 1 line"):
        open_corpus(tmp_path / "speech.jsonl")
