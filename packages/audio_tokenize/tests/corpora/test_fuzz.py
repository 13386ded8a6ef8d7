"""Readers on bytes that nobody planned: the result is records, records that were skipped, or an `InputError`."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from audio_data import InputError
from audio_tokenize.corpora import Skipped, Utterance, open_corpus
from audio_tokenize.corpora.texts import open_text_corpus

# A longer search: FUZZ_EXAMPLES=10000 uv run pytest packages/audio_tokenize/tests/corpora/test_fuzz.py
lenient = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=int(os.environ.get("FUZZ_EXAMPLES", 40))
)


def sound() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(0).uniform(-0.5, 0.5, 800), 8000, format="WAV")
    return buffer.getvalue()


SOUND = sound()


def outcome(path: Path, name: str | None = None) -> list[Utterance | Skipped] | str:
    """What is read, all of which can be written down, or the one line that says why nothing is."""
    try:
        corpus = open_corpus(path) if name is None else open_corpus(name, root=path)
        found = [item for shard in corpus.shards() for item in corpus.read(shard)]
    except InputError as error:
        return error.message.encode().decode()
    for item in found:
        assert isinstance(item, Utterance | Skipped)
        facts = [item.id, item.reason] if isinstance(item, Skipped) else [item.id, item.text, dict(item.extra)]
        assert json.dumps(facts, ensure_ascii=False, allow_nan=False).encode()
    return found


def text_outcome(path: Path) -> str | None:
    try:
        for item in open_text_corpus(path):
            assert item.id.encode()
            assert (item.reason if isinstance(item, Skipped) else item.text).encode()
    except InputError as error:
        return error.message.encode().decode()
    return None


# Keys that readers know, with anything behind them.
KEYS = st.sampled_from(
    ["audio", "text", "id", "start", "end", "offset", "duration", "speaker", "recording", "split", "path", "file_name"]
)
NUMBERS = st.one_of(st.floats(), st.integers(), st.sampled_from([10**400, -1, 0, 1e308]))
CHARACTERS = st.text(st.characters(exclude_categories=()), max_size=12)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, CHARACTERS, st.just("a.wav"), st.just("hello"))
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CHARACTERS, inner, max_size=3), max_leaves=6
)
RECORDS = st.dictionaries(KEYS | CHARACTERS, VALUES, max_size=8)
GOOD = {"audio": "a.wav", "text": "hello", "id": "a good one"}


@st.composite
def damaged(draw: st.DrawFn, content: bytes, first: int = 0) -> bytes:
    """The content with a few bytes changed, taken out or put in, from a place on."""
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(min(first, len(content)), len(content)))
        removed, added = draw(st.integers(0, 8)), draw(st.binary(max_size=8))
        content = content[:place] + added + content[place + removed :]
    return content


@lenient
@given(record=RECORDS)
@example(record={**GOOD, "id": "", "speaker": "\ud800"})
@example(record={**GOOD, "id": "b", "audio": {"path": "\0"}, "start": 10**400})
@example(record={**GOOD, "id": "b", "audio": "/", "extra": {"\udcff": float("inf")}})
def test_any_record_of_a_manifest_leaves_the_others(tmp_path, record: dict):
    (tmp_path / "a.wav").write_bytes(SOUND)
    lines = [json.dumps(record), json.dumps(GOOD)]
    (tmp_path / "speech.jsonl").write_text("\n".join(lines))
    found = outcome(tmp_path / "speech.jsonl")
    assert isinstance(found, list)
    assert len(found) == 2
    assert record.get("id") == GOOD["id"] or any(
        isinstance(item, Utterance) and item.id == GOOD["id"] for item in found
    )


@lenient
@given(line=st.binary(max_size=40).filter(lambda line: b"\n" not in line))
@example(line=b"\xff\xfe{")
@example(line=b'{"audio": "a.wav", "text": ' + b"[" * 100_000)
@example(line=b'{"x": ' + b"9" * 5000 + b"}")
def test_any_line_of_a_manifest_leaves_the_others(tmp_path, line: bytes):
    (tmp_path / "a.wav").write_bytes(SOUND)
    (tmp_path / "speech.jsonl").write_bytes(json.dumps(GOOD).encode() + b"\n" + line)
    found = outcome(tmp_path / "speech.jsonl")
    if isinstance(found, str):
        assert "zero bytes" in found
    else:
        assert isinstance(found[0], Utterance) or isinstance(found[-1], Utterance)


TABLE = b"audio_file,text,start\na.wav,hello,0\na.wav,there,0.05\n"


@lenient
@given(content=damaged(TABLE) | st.binary(max_size=60))
@example(content=b'audio_file,text\n"a.wav,hello\n')
@example(content=b"audio_file,text\na.wav,a\0b\n")
def test_any_table(tmp_path, content: bytes):
    (tmp_path / "a.wav").write_bytes(SOUND)
    (tmp_path / "metadata.csv").write_bytes(content)
    outcome(tmp_path)


@lenient
@given(content=st.binary(max_size=40))
@example(content=b"\xff\xfe\x00")
@example(content=b"\xff\xfe\x00\xd8")
def test_any_transcript(tmp_path, content: bytes):
    for name, text in (("a", b"fine"), ("b", content)):
        (tmp_path / f"{name}.wav").write_bytes(SOUND)
        (tmp_path / f"{name}.txt").write_bytes(text)
    found = outcome(tmp_path)
    assert isinstance(found, list)
    assert len(found) == 2


def tar(members: dict[str, bytes], form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


MEMBERS = {
    "x" * 60 + "/" + "y" * 60 + ".wav": SOUND,
    "x" * 60 + "/" + "y" * 60 + ".json": b'{"text": "hello"}',
    "b.txt": b"there",
    "b.wav": SOUND,
}
ARCHIVES = [tar(MEMBERS, form) for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)]


@lenient
@given(content=st.sampled_from(ARCHIVES).flatmap(damaged))
@example(content=b"")
@example(content=bytes(512))
def test_any_archive(tmp_path, content: bytes):
    (tmp_path / "speech.tar").write_bytes(content)
    outcome(tmp_path / "speech.tar")


def with_checksum(block: bytes) -> bytes:
    """A header whose checksum is right, so that what else is wrong with it is looked at."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:512])
    return block[:148] + f"{total:06o}\0 ".encode() + block[156:]


@lenient
@given(
    kind=st.sampled_from(sorted(b"01234567xgLKSX")),
    fields=damaged(ARCHIVES[1][:512]).map(lambda block: block[:512].ljust(512, b"\0")),
    body=st.binary(max_size=600),
)
@example(kind=ord("S"), fields=ARCHIVES[1][:512], body=b"")
@example(kind=ord("x"), fields=ARCHIVES[1][:124] + b"00000000022\0" + ARCHIVES[1][136:512], body=b"18 GNU.sparse.ma=\n")
@example(kind=ord("x"), fields=ARCHIVES[1][:124] + b"\xff" * 12 + ARCHIVES[1][136:512], body=b"")
def test_any_header_of_an_archive(tmp_path, kind: int, fields: bytes, body: bytes):
    header = with_checksum(fields[:156] + bytes([kind]) + fields[157:])
    (tmp_path / "speech.tar").write_bytes(header + body + bytes(-len(body) % 512) + ARCHIVES[0])
    outcome(tmp_path / "speech.tar")


@lenient
@given(record=RECORDS)
def test_any_json_in_an_archive_leaves_the_others(tmp_path, record: dict):
    members = {"a.wav": SOUND, "a.json": json.dumps(record).encode(), "b.wav": SOUND, "b.json": b'{"text": "fine"}'}
    (tmp_path / "speech.tar").write_bytes(tar(members, tarfile.PAX_FORMAT))
    found = outcome(tmp_path / "speech.tar")
    assert isinstance(found, list)
    assert len(found) == 2
    assert record.get("id") == "b" or any(isinstance(item, Utterance) and item.id == "b" for item in found)


CAPTIONS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["audio_id", "text", "v-0-00000000-00000010"]) | CHARACTERS, inner, max_size=3
        )
    ),
    max_leaves=8,
)


@lenient
@given(captions=CAPTIONS | st.lists(CAPTIONS, max_size=3))
@example(captions=[{"audio_id": "v", "text": ["a"]}])
@example(captions=[{"audio_id": "v", "text": {"v-1-" + "9" * 5000 + "-2": "a"}}])
def test_any_captions(tmp_path, captions: object):
    data = tmp_path / "data/en000"
    for folder in ("audio", "text"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    (data / "audio/00000000.tar.gz").write_bytes(tar({"v.wav": SOUND}, tarfile.PAX_FORMAT))
    (data / "text/00000000.json").write_text(json.dumps(captions))
    outcome(tmp_path, "yodas2")


@lenient
@given(transcripts=st.binary(max_size=60), table=st.binary(max_size=60))
@example(transcripts=b"103-1240-0000 A\n103-1240-0000 B", table=b"path\tsentence\n\tx\n")
def test_any_transcripts_of_librispeech_and_cvss(tmp_path, transcripts: bytes, table: bytes):
    place = tmp_path / "LibriSpeech/train-clean-100/103/1240"
    place.mkdir(parents=True, exist_ok=True)
    (place / "103-1240-0000.flac").write_bytes(SOUND)
    (place / "103-1240.trans.txt").write_bytes(transcripts)
    assert isinstance(outcome(tmp_path, "librispeech"), list)
    for folder in ("cvss_t_de_en_v1.0", "de"):
        (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / "cvss_t_de_en_v1.0/train.tsv").write_bytes(transcripts)
    (tmp_path / "de/validated.tsv").write_bytes(table)
    outcome(tmp_path, "cvss-t")


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


ROWS = parquet(
    pa.table({"audio": [{"bytes": SOUND, "path": "a.wav"}] * 3, "text": ["a", "b", None], "duration": [0.1, None, 0.1]})
)


@lenient
@given(content=damaged(ROWS) | damaged(ROWS, len(ROWS) - 900))
def test_any_table_of_parquet(tmp_path, content: bytes):
    (tmp_path / "speech.parquet").write_bytes(content)
    outcome(tmp_path / "speech.parquet")
    (tmp_path / "texts").mkdir(exist_ok=True)
    (tmp_path / "texts/a.parquet").write_bytes(content)
    text_outcome(tmp_path / "texts")


ODD_COLUMNS = {
    "timestamps that Python has not": pa.array([2**60, 1, None], pa.timestamp("ms")),
    "durations": pa.array([2**62, 1, None], pa.duration("s")),
    "dates": pa.array([2**30, 1, None], pa.date32()),
    "bytes": pa.array([b"\xff", b"a", None], pa.binary()),
    "text that is not UTF-8": pa.array([b"\xff", b"a", None], pa.binary()).view(pa.string()),
    "a dictionary": pa.array(["a", "b", "a"]).dictionary_encode(),
    "lists": pa.array([["a"], None, []]),
    "numbers that are not finite": pa.array([float("nan"), float("inf"), 1.0]),
    "nothing": pa.nulls(3),
}


@pytest.mark.parametrize("column", ["text", "id", "speaker", "duration", "start", "begin_seconds", "chapter", "audio"])
@pytest.mark.parametrize("values", ODD_COLUMNS.values(), ids=ODD_COLUMNS)
def test_any_kind_of_column(tmp_path, column: str, values: pa.Array):
    audio = pa.array([{"bytes": SOUND, "path": "a.wav"}] * 3)
    columns = {"audio": audio, "text": pa.array(["a", "b", "c"]), column: values}
    pq.write_table(pa.table(columns), tmp_path / "speech.parquet", store_schema=False)
    found = outcome(tmp_path / "speech.parquet")
    assert isinstance(found, str) or len(found) == 3
    (tmp_path / "speech.parquet").rename(tmp_path / "texts.parquet")
    text_outcome(tmp_path / "texts.parquet")


@lenient
@given(
    record=RECORDS, line=st.binary(max_size=30), suffix=st.sampled_from([".jsonl", ".txt", ".jsonl.gz", ".jsonl.zst"])
)
def test_any_text_file(tmp_path, record: dict, line: bytes, suffix: str):
    for old in tmp_path.iterdir():
        old.unlink()
    content = json.dumps(record).encode() + b"\n" + line + b'\n{"text": "fine"}\n'
    (tmp_path / f"texts{suffix}").write_bytes(content)
    text_outcome(tmp_path)
