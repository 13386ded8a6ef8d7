"""Files in the layouts in which the corpora of text and of document strings are published, whole and damaged."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audio_data import InputError, storage_path
from audio_tokenize.corpora.cards import card
from audio_tokenize.corpora.corpus import Skipped
from audio_tokenize.corpora.text_files import TextDocument
from audio_tokenize.corpora.texts import TextCorpus, open_text_corpus, read_text_documents

# A line separator inside a JSON string, as web text has it, and a character outside the basic plane.
TEXTS = ["One.\nTwo lines.", "Zwei\u2028Zeilen \x85 \U0001f600", "", "a" * 5000]


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def lines(records) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def nemotron(root):
    """As Common Crawl hands it out: `.jsonl.zstd` of several frames, below folders with `=`."""
    folder = root / "quality=high/kind=actual/kind2=actual"
    folder.mkdir(parents=True)
    records = [
        {"text": text, "language": "eng", "url": f"https://{i}.example", "warc_record_id": f"w{i}"}
        for i, text in enumerate(TEXTS)
    ]
    content = zstd(lines(records[:2])) + zstd(lines(records[2:]))
    (folder / "CC-MAIN-2013-20-part-00003.jsonl.zstd").write_bytes(content)
    return [f"w{i}" for i in range(4)], "eng"


def nemotron_copy(root):
    """As the copy that SODA's training read has it: `.jsonl.gz`, with `id`, and everything else in `metadata`."""
    folder = root / "quality=high/kind=actual/kind2=actual"
    folder.mkdir(parents=True)
    records = [
        {"id": f"w{i}", "text": text, "source": "nemotron", "format": "text", "metadata": {"nemotron_url": "u"}}
        for i, text in enumerate(TEXTS)
    ]
    (folder / "CC-MAIN-2013-20-part-00003.jsonl.gz").write_bytes(gzip.compress(lines(records)))
    return [f"w{i}" for i in range(4)], "en"


def dclm(root):
    """Lines without an id: they are named after file and line, and the card knows the language."""
    folder = root / "global-shard_01_of_10/local-shard_0_of_10"
    folder.mkdir(parents=True)
    records = [
        {"text": text, "url": "u", "language_id_whole_page_fasttext": {"en": 0.9}, "previous_word_count": 3}
        for text in TEXTS
    ]
    (folder / "shard_00000000_processed.jsonl.zst").write_bytes(zstd(lines(records)))
    name = "global-shard_01_of_10/local-shard_0_of_10/shard_00000000_processed.jsonl.zst"
    return [f"{name}:{i}" for i in range(1, 5)], "en"


def yodas(root):
    """Token strings: parquet with `id`, `split` and `text` below a folder that names the language."""
    (root / "de000").mkdir(parents=True)
    table = pa.table({"id": [f"v{i}_type1" for i in range(4)], "split": ["de000/00000000"] * 4, "text": TEXTS})
    pq.write_table(table, root / "de000/00000000.parquet", row_group_size=3)
    return [f"v{i}_type1" for i in range(4)], "de"


def evaluation(root):
    """The evaluation sets have `file_id`."""
    (root / "data").mkdir(parents=True)
    table = pa.table({"file_id": [f"dev-clean/84/{i}" for i in range(4)], "text": TEXTS})
    pq.write_table(table, root / "data/dev_clean_asr-00000-of-00001.parquet")
    return [f"dev-clean/84/{i}" for i in range(4)], "en"


PUBLISHED = {
    "nemotron-cc-hq-actual": nemotron,
    "dclm-baseline": dclm,
    "yodas2-mm-pretrain": yodas,
    "librispeech-mm-eval": evaluation,
}


@pytest.mark.parametrize(("name", "write"), [*PUBLISHED.items(), ("nemotron-cc-hq-actual", nemotron_copy)])
def test_every_record_of_a_published_corpus_is_read_in_order(tmp_path, name, write):
    ids, language = write(tmp_path)
    corpus = open_text_corpus(name, root=tmp_path)
    documents = [document for document in corpus if isinstance(document, TextDocument)]
    assert [document.text for document in documents] == TEXTS
    assert [document.id for document in documents] == ids
    assert {document.metadata["language"] for document in documents} == {language}
    assert list(read_text_documents(card(name), root=tmp_path)) == documents
    assert corpus.licence == card(name).licence


def test_shards_are_files_and_say_when_they_change(tmp_path):
    nemotron(tmp_path / "a")
    yodas(tmp_path / "a")
    (tmp_path / "a/notes.md").write_text("not a document")
    corpus = open_text_corpus(tmp_path / "a")
    de, cc = corpus.shards()
    assert de.name == "de000/00000000.parquet"
    assert cc.name == "quality-high/kind-actual/kind2-actual/CC-MAIN-2013-20-part-00003.jsonl.zstd"
    (file,) = cc.files
    assert cc.num_bytes == len(Path(file).read_bytes())
    assert [document.id for document in corpus.read(cc)] == ["w0", "w1", "w2", "w3"]
    before = corpus.fingerprint
    assert open_text_corpus(tmp_path / "a").fingerprint == before
    (tmp_path / "a/more.txt").write_text("One more.")
    assert open_text_corpus(tmp_path / "a").fingerprint != before


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.zst"])
def test_a_plain_text_file_is_one_document(tmp_path, suffix):
    content = "\ufeffFirst line\r\n\r\nthird\n".encode()
    pack = {".gz": gzip.compress, ".zst": zstd}.get(suffix[4:], bytes)
    (tmp_path / f"book{suffix}").write_bytes(pack(content))
    (document,) = read_text_documents(tmp_path / f"book{suffix}")
    assert isinstance(document, TextDocument)
    assert (document.id, document.text) == (f"book{suffix}", "First line\r\n\r\nthird\n")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_lines_with_a_byte_order_mark(tmp_path, encoding):
    records = [{"id": f"w{i}", "text": text} for i, text in enumerate(TEXTS)]
    content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    (tmp_path / "a.jsonl").write_text(content, encoding)
    assert [record_of(document) for document in read_text_documents(tmp_path / "a.jsonl")] == records


def record_of(document):
    assert isinstance(document, TextDocument)
    return {"id": document.id, "text": document.text}


def test_an_object_store_is_read_like_a_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIO_DATA_CACHE", str(tmp_path / "cache"))
    folder = storage_path("memory://texts")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.jsonl.zst").write_bytes(zstd(lines([{"id": 7, "text": "seven"}])))
    (document,) = read_text_documents("memory://texts")
    assert isinstance(document, TextDocument)
    assert (document.id, document.text) == ("7", "seven")


def write_damaged(tmp_path, name, content: bytes):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def parquet_bytes(table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


GOOD = lines([{"id": str(i), "text": str(i) * 1000} for i in range(2000)])
TABLE = pa.table({"id": ["a", "b"], "text": ["x", None]})
LATIN_ROW = parquet_bytes(
    pa.table({"id": ["a", "b", "c"], "text": pa.array([b"x", b"y\xe9", b"z"], pa.binary()).view(pa.string())})
)
BROKEN_ROWS = parquet_bytes(pa.table({"id": ["a"] * 9, "text": ["x" * 100_000] * 9}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.jsonl.gz", gzip.compress(GOOD)[:-20], r"cut\.jsonl\.gz:\d+`: Truncated .* get it again"),
        ("cut.jsonl.zst", zstd(GOOD)[:-9], r"cut\.jsonl\.zst:\d+`: Truncated compressed stream"),
        ("second.jsonl.zst", zstd(GOOD) + zstd(GOOD)[:30], r"second\.jsonl\.zst:\d+`: Truncated"),
        ("other.jsonl.zst", b"plain", r"other\.jsonl\.zst:1`: ZSTD decompress failed"),
        ("cut.txt.gz", gzip.compress(GOOD)[:-20], r"cut\.txt\.gz`: Truncated"),
        ("cut.parquet", parquet_bytes(TABLE)[:-20], r"cut\.parquet`, row 0 or soon after: .*magic bytes"),
        ("row.parquet", BROKEN_ROWS[:50] + b"\xff" * 50 + BROKEN_ROWS[100:], r"row\.parquet`, row 0 or soon after"),
        ("bare.parquet", parquet_bytes(pa.table({"id": ["a"]})), r"bare\.parquet`: expected a column `text`, got id"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_with_its_line_or_row(tmp_path, name, content, message):
    path = write_damaged(tmp_path, name, content)
    with pytest.raises(InputError, match=message):
        list(read_text_documents(path))


LONE = b'{"id": "h", "text": "half \\ud83d"}'
DEEP = b'{"text": "a", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}"


@pytest.mark.parametrize(
    ("name", "content", "kept", "reason"),
    [
        ("latin.txt", b"caf\xe9", [], r"latin\.txt`: byte 0xe9 at character 3, expected UTF-8; .*iconv -f LATIN1"),
        ("latin.jsonl", b'{"text": "a"}\n{"text": "\xe9"}\n{"text": "b"}', ["a", "b"], r"latin\.jsonl:2`: byte 0xe9"),
        ("half.jsonl", b'{"text": "a"}\n\n{"text": ', ["a"], r"half\.jsonl:3`: expected JSON"),
        ("list.jsonl", b'[1]\n{"text": "a"}', ["a"], r"list\.jsonl:1`: expected a JSON object, got \[1\]"),
        ("bare.jsonl", b'{"id": "a", "html": "b"}\n', [], r"bare\.jsonl:1`: expected a string in `text`, .* html, id"),
        ("nan.jsonl", b'{"text": "a", "score": NaN}\n{"text": "b"}', ["b"], r"nan\.jsonl:1`: .*NaN is no JSON number"),
        ("lone.jsonl", LONE + b'\n{"text": "b"}', ["b"], r"lone\.jsonl:1`: .*got"),
        ("deep.jsonl", DEEP + b'\n{"text": "b"}', ["b"], r"deep\.jsonl:1`: expected at most 64 nested"),
        ("null.parquet", parquet_bytes(TABLE), ["x"], r"null\.parquet`, row 1: expected a string in `text`, got None"),
        ("latin.parquet", LATIN_ROW, ["x", "z"], r"latin\.parquet`, row 1: `text` has byte 0xe9 at character 1"),
        ("utf16.txt", "hello there".encode("utf-16-be"), [], r"utf16\.txt`: .*iconv -f UTF-16BE"),
    ],
)  # fmt: skip
def test_a_record_that_is_no_document_is_skipped_and_the_others_are_read(tmp_path, name, content, kept, reason):
    found = list(read_text_documents(write_damaged(tmp_path, name, content)))
    assert [item.text for item in found if isinstance(item, TextDocument)] == kept
    (skipped,) = (item for item in found if isinstance(item, Skipped))
    assert re.search(reason, skipped.reason)


def test_a_text_file_in_utf16_with_a_byte_order_mark_is_read(tmp_path):
    (document,) = read_text_documents(write_damaged(tmp_path, "note.txt", "grüß dich".encode("utf-16")))
    assert isinstance(document, TextDocument)
    assert document.text == "grüß dich"


def read_up_to_the_damage(path):
    found = []
    try:
        found.extend(document.id for document in read_text_documents(path))
    except InputError as error:
        return found, error.message
    return found, None


def test_what_came_before_the_damage_is_read(tmp_path):
    found, message = read_up_to_the_damage(write_damaged(tmp_path, "cut.jsonl.gz", gzip.compress(GOOD)[:-20]))
    assert found == [str(i) for i in range(len(found))]
    assert 1000 < len(found) < 2000
    assert f":{len(found) + 1}`: Truncated" in message


def test_what_is_not_there_is_said_with_the_way_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"say where its files are; .* hf download potsawee/yodas2-mm-asr"):
        open_text_corpus("yodas2-mm-asr")
    with pytest.raises(InputError, match=r"expected files of corpus `dclm-baseline`.* hf download mlfoundations/dclm"):
        open_text_corpus("dclm-baseline", root=tmp_path)
    with pytest.raises(InputError, match=r"did you mean .*yodas2-mm-asr"):
        open_text_corpus("yodas2-mm-arse", root=tmp_path)
    with pytest.raises(InputError, match="must be text or documents, got speech"):
        open_text_corpus(card("librispeech"))
    with pytest.raises(InputError, match=r"expected the name of a corpus or a path that exists"):
        open_text_corpus(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"expected \.jsonl, \.parquet or \.txt files, compressed or not, got none"):
        open_text_corpus(tmp_path)
    (tmp_path / "a.csv").write_text("a")
    with pytest.raises(InputError, match=r"expected a \.jsonl, \.parquet or \.txt file, .* got 'a\.csv'"):
        open_text_corpus(tmp_path / "a.csv")
    gone = TextCorpus("gone", "unknown", tmp_path, ("b.jsonl",))
    with pytest.raises(InputError, match=r"b\.jsonl"):
        gone.shards()


def test_memory_does_not_grow_with_the_file(tmp_path):
    """600 MB of documents in a file, read by a process of its own."""
    record = {"text": "word " * 20_000}
    (tmp_path / "large.jsonl.zst").write_bytes(zstd(lines([record] * 1000)) * 6)
    program = (
        "import resource, sys\n"
        "from audio_tokenize.corpora.texts import open_text_corpus\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "corpus = open_text_corpus(sys.argv[1])\n"
        "documents = iter(corpus); next(documents); before = peak()\n"
        "print(sum(1 for _ in documents), peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "large.jsonl.zst")], capture_output=True, text=True, check=True
    )
    number, grown_mb = map(int, done.stdout.split())
    assert number == 5999
    assert grown_mb < 60
