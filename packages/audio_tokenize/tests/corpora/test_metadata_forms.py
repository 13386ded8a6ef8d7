"""The forms in which people have transcripts: names, headers, encodings and times of other projects."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_tokenize.corpora import Corpus, open_corpus

WORDS = ["first words", "second words"]


def write_audio(path: Path, seconds: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, round(8000 * seconds)), 8000)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in range(2):
        write_audio(tmp_path / f"wavs/c0{number}.wav")
    return tmp_path


HEADERS = {
    "f5": "audio_file|text\nwavs/c00.wav|first words\nwavs/c01.wav|second words\n",
    "xtts": "audio_file|text|speaker_name\nwavs/c00.wav|first words|anna\nwavs/c01.wav|second words|anna\n",
    "with suffix": "c00.wav|first words\nc01.wav|second words\n",
    "with path": "wavs/c00.wav|first words\nwavs/c01.wav|second words\n",
    "lj": "c00|1st words|first words\nc01|2nd words|second words\n",
    "lj with header": "id|transcription|normalized_text\nc00|first words|a\nc01|second words|b\n",
    "comma": 'audio_file,text\nwavs/c00.wav,first words\nwavs/c01.wav,"second words"\n',
    "semicolon": "file_name;transcription\nwavs/c00.wav;first words\nwavs/c01.wav;second words\n",
    "hugging face": "file_name,transcription,speaker_id\nwavs/c00.wav,first words,7\nwavs/c01.wav,second words,7\n",
    "deepspeech": "wav_filename,wav_filesize,transcript\nwavs/c00.wav,9,first words\nwavs/c01.wav,9,second words\n",
    "byte order mark": "\ufeffaudio_file|text\r\nwavs/c00.wav|first words\r\nwavs/c01.wav|second words\r\n",
}


@pytest.mark.parametrize("table", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_that_people_have_are_read(folder, table: str, encoding: str):
    (folder / "metadata.csv").write_bytes(table.removeprefix("\ufeff" if encoding == "utf-16" else "").encode(encoding))
    corpus = open_corpus(folder)
    assert isinstance(corpus, Corpus)
    assert corpus.skipped == ()
    assert [utterance.text for utterance in corpus] == WORDS
    assert [Path(str(utterance.audio)).name for utterance in corpus] == ["c00.wav", "c01.wav"]
    if "speaker" in table:
        assert corpus.speakers in (("anna",), ("7",))


def test_a_tab_separated_common_voice_table_is_read(folder):
    table = 'client_id\tpath\tsentence\tlocale\nx\tc00.wav\tsay "no"\ten\nx\tc01.wav\tyes\ten\n'
    (folder / "metadata.tsv").write_text(table, encoding="utf-8")
    assert [(u.text, u.speaker, u.language) for u in open_corpus(folder)] == [
        ('say "no"', "x", "en"),
        ("yes", "x", "en"),
    ]


@pytest.mark.parametrize("name", ["metadata.jsonl", "manifest.jsonl"])
@pytest.mark.parametrize("keys", [("file_name", "transcription"), ("audio_filepath", "text"), ("audio", "sentence")])
def test_manifests_of_other_projects_are_read(folder, name: str, keys: tuple[str, str]):
    lines = [json.dumps({keys[0]: f"wavs/c0{i}.wav", keys[1]: text, "tag": i}) for i, text in enumerate(WORDS)]
    (folder / name).write_text("\n".join(lines), encoding="utf-8")
    corpus = open_corpus(folder)
    assert [(u.text, u.extra) for u in corpus] == [(text, {"tag": i}) for i, text in enumerate(WORDS)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "wavs/c01.m4a|second words",
            r"\.m4a is not read; convert it, for example with `ffmpeg -i c01\.m4a c01\.flac`",
        ),
        ("wavs/c09.wav|second words", "there is no wavs/c09.wav"),
        ("c01.wav,second words", "begin the table with a line of names such as `audio_file|text|speaker_name`"),
    ],
)
def test_a_line_that_cannot_be_used_says_what_to_do(folder, line: str, reason: str):
    (folder / "metadata.csv").write_text(f"c00.wav|first words\n{line}\n", encoding="utf-8")
    corpus = open_corpus(folder)
    assert isinstance(corpus, Corpus)
    (skipped,) = corpus.skipped
    assert skipped.id == "metadata.csv:2"
    assert reason.replace("\\", "") in skipped.reason


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_a_transcript_of_another_encoding_is_read_or_named_rightly(tmp_path, encoding: str):
    write_audio(tmp_path / "a.wav")
    write_audio(tmp_path / "b.wav").with_suffix(".txt").write_text("fine", encoding="utf-8")
    (tmp_path / "a.txt").write_bytes("hello there".encode(encoding))
    corpus = open_corpus(tmp_path)
    assert isinstance(corpus, Corpus)
    if encoding in ("utf-16-le", "utf-16-be"):  # without a byte order mark
        assert [utterance.text for utterance in corpus] == ["fine"]
        assert f"iconv -f {encoding.upper().replace('-LE', 'LE').replace('-BE', 'BE')} -t" in corpus.skipped[0].reason
    else:
        assert [utterance.text for utterance in corpus] == ["hello there", "fine"]


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"caf\xe9", "if the file is Latin-1, convert it with `iconv -f LATIN1 -t UTF-8`"),
        ("für das ".encode() + b"caf\xe9", "the rest is UTF-8, so repair this place by hand"),
        ("hello".encode("utf-16")[:-1], "expected UTF-16-LE as its byte order mark says"),
    ],
)
def test_advice_on_an_encoding_does_no_harm(tmp_path, content: bytes, advice: str):
    write_audio(tmp_path / "a.wav").with_suffix(".txt").write_bytes(content)
    write_audio(tmp_path / "b.wav").with_suffix(".txt").write_text("fine", encoding="utf-8")
    corpus = open_corpus(tmp_path)
    assert isinstance(corpus, Corpus)
    (skipped,) = corpus.skipped
    assert advice in skipped.reason


def spans(folder: Path, lines: list[dict], name: str = "speech.jsonl") -> tuple[list[tuple], dict[str, str]]:
    content = "\n".join(map(json.dumps, lines)).encode()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    corpus = open_corpus(folder / name)
    assert isinstance(corpus, Corpus)
    found = [(u.text, round(u.start_seconds, 3), u.end_seconds and round(u.end_seconds, 3)) for u in corpus]
    return found, {skipped.id: skipped.reason for skipped in corpus.skipped}


def test_offset_and_duration_say_where_an_utterance_lies(folder):
    lines = [
        {"audio": "wavs/c00.wav", "text": "a", "duration": 0.4, "offset": 0.2},
        {"audio_filepath": "wavs/c01.wav", "text": "b", "duration": 0.4, "offset": 0.6},
    ]
    assert spans(folder, lines) == ([("a", 0.2, 0.6), ("b", 0.6, 1.0)], {})


FINE = {"audio": "wavs/c01.wav", "text": "fine"}


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ({"offset": 0.6, "duration": 0.9}, "ends after the 1.00 s"),
        ({"duration": 1.6}, "has 1.00 s of the 1.60 s that are stated"),
        ({"duration": 0.4}, "has 1.00 s, more than the 0.40 s that are stated; give `start` and `end`"),
        ({"start": 0.1, "end": 0.6, "duration": 0.9}, "expected `end` at `start` + `duration`"),
        ({"start": 0.1, "offset": 0.2}, "expected `start` or `offset`, got both"),
        ({"duration": 0}, "expected `duration` above 0 s"),
        ({"duration": -1}, "`duration` in seconds"),
        ({"start": 10**400, "end": None}, "`start` in seconds"),
        ({"start_ms": 200, "end_ms": 600}, "`start_ms` is not read"),
        ({"frame_offset": 1600, "num_frames": 800}, "`frame_offset` is not read"),
        ({"begin": 0.2, "stop": 0.5}, "`begin` is not read"),
        ({"segment_start_time": "0.2"}, "`segment_start_time` is not read"),
        ({"t": float("inf")}, "Infinity is no JSON number"),
        ({"snr": [1.0, {"x": float("nan")}]}, "NaN is no JSON number"),
    ],
)
def test_times_that_cannot_be_meant_are_named_and_the_rest_is_read(folder, times: dict, reason: str):
    found, skipped = spans(folder, [{"audio": "wavs/c00.wav", "text": "x", "id": "odd", **times}, FINE])
    assert found == [("fine", 0.0, None)]
    assert reason in skipped["odd"]


@pytest.mark.parametrize("times", [{"duration": 1.2}, {"offset": None, "duration": "1.0"}, {"start": 0}, {"tag": 1e9}])
def test_a_stated_length_that_fits_the_file_leaves_it_whole(folder, times: dict):
    found, skipped = spans(folder, [{"audio": "wavs/c00.wav", "text": "x", **times}])
    assert found == [("x", 0.0, None)]
    assert skipped == {}


def test_times_in_an_original_recording_are_facts_and_no_times_in_the_file(folder):
    found, _ = spans(folder, [{**FINE, "begin_seconds": 17.0, "end_seconds": 18.0}])
    assert found == [("fine", 0.0, None)]


def test_utterances_that_overlap_or_meet_have_ids_of_their_own(folder):
    lines = [
        {"audio": "wavs/c00.wav", "text": "one", "speaker": "A", "start": 0.5, "end": 0.9},
        {"audio": "wavs/c00.wav", "text": "two", "speaker": "B", "start": 0.5, "end": 1.0},
        {"audio": "wavs/c00.wav", "text": "three", "speaker": "A", "start": 0.5, "end": 1.0},
        {"audio": "wavs/c00.wav", "text": "four", "start": 0.0, "end": 0.5},
    ]
    assert {text for text, _, _ in spans(folder, lines)[0]} == {"one", "two", "three", "four"}
    assert len({utterance.id for utterance in open_corpus(folder / "speech.jsonl")}) == 4


def test_the_second_record_of_an_id_is_skipped_and_named(folder):
    lines = [{"audio": "wavs/c00.wav", "text": "one", "id": "a"}, {"audio": "wavs/c01.wav", "text": "two", "id": "a"}]
    found, skipped = spans(folder, lines, "speech.jsonl.gz")
    assert found == [("one", 0.0, None)]
    assert "occurred before; give each utterance an id of its own" in skipped["a"]
    assert "speech.jsonl.gz:2" in skipped["a"]


def test_a_lone_surrogate_costs_its_record_alone(folder):
    (folder / "surr.jsonl").write_text(
        '{"audio":"wavs/c00.wav","text":"hi \\ud83d there","id":"a"}\n{"audio":"wavs/c00.wav","text":"fine","id":"b"}\n'
    )
    corpus = open_corpus(folder / "surr.jsonl")
    assert isinstance(corpus, Corpus)
    assert [utterance.id for utterance in corpus] == ["b"]
    assert [skipped.id for skipped in corpus.skipped] == ["a"]
