"""Small files that unpack to a great deal, read by a process whose memory is limited: named, and the rest is read."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from audio_tokenize.corpora.record_rules import MAX_AUDIO_BYTES, MAX_TEXT_BYTES

MIB = 1 << 20
LIMIT_MIB = 250  # of address space beyond what the imports take; a bomb unpacks to more
BOMB_MIB = 300

READER = """
import json, resource, sys
import pyarrow as pa
from audio_data import InputError
from audio_tokenize.corpora import Skipped, open_corpus
from audio_tokenize.corpora.readers import READERS
from audio_tokenize.corpora.texts import open_text_corpus

pa.set_memory_pool(pa.system_memory_pool())
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def items(kind, path):
    if kind == "text":
        return iter(open_text_corpus(path))
    corpus = open_corpus(path) if kind == "own" else open_corpus(kind, root=path)
    return (item for shard in corpus.shards() for item in corpus.read(shard))


def outcome(kind, path):
    read, skipped = 0, []
    try:
        for item in items(kind, path):
            read += not isinstance(item, Skipped)
            skipped += [item.reason] if isinstance(item, Skipped) else []
    except InputError as error:
        return {"refused": error.message}
    return {"read": read, "skipped": skipped}


print(json.dumps([outcome(*bomb) for bomb in json.loads(sys.argv[2])]))
"""


def read_limited(bombs: list[tuple[str, str]], limit_mib: int) -> list[dict]:
    command = [sys.executable, "-c", READER, str(limit_mib * MIB), json.dumps(bombs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def gzip_bomb(before: bytes, num_mib: int, after: bytes) -> bytes:
    """A gzip file of `before`, so many MiB of the letter a, and `after`; the letters are compressed once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"a" * MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    tail = packer.compress(after) + packer.flush()
    checksum, size = zlib.crc32(before), len(before) + num_mib * MIB + len(after)
    for _ in range(num_mib):
        checksum = zlib.crc32(b"a" * MIB, checksum)
    checksum = zlib.crc32(after, checksum)
    trailer = checksum.to_bytes(4, "little") + (size % (1 << 32)).to_bytes(4, "little")
    return gzip.compress(b"")[:10] + head + block * num_mib + tail + trailer


def sound() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(0).uniform(-0.5, 0.5, 4000), 8000, format="WAV")
    return buffer.getvalue()


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def member(name: str, content: bytes) -> bytes:
    return header(name, len(content)) + content + bytes(-len(content) % 512)


GOOD = member("good.wav", sound()) + member("good.txt", b"fine")
END = bytes(1024)


def manifest(folder: Path) -> Path:
    (folder / "a.wav").write_bytes(sound())
    fine = b'{"audio": "a.wav", "text": "fine"}\n'
    path = folder / "speech.jsonl.gz"
    path.write_bytes(gzip_bomb(b'{"audio": "b.wav", "text": "', BOMB_MIB, b'"}\n' + fine))
    return path


def table(folder: Path) -> Path:
    (folder / "a.wav").write_bytes(sound())
    path = folder / "metadata.csv"
    path.write_bytes(b"a|fine\nb|" + b"x" * (MAX_TEXT_BYTES + 1) + b"\n")
    return path


def transcript(folder: Path) -> Path:
    for name, text in (("a", b"fine"), ("b", b"x" * (MAX_TEXT_BYTES + 1))):
        (folder / f"{name}.wav").write_bytes(sound())
        (folder / f"{name}.txt").write_bytes(text)
    return folder


def side_file(folder: Path) -> Path:
    path = folder / "speech.tar.gz"
    bomb = header("big.txt", BOMB_MIB * MIB)
    path.write_bytes(gzip_bomb(member("big.wav", sound()) + bomb, BOMB_MIB, GOOD + END))
    return path


def sparse_audio(folder: Path) -> Path:
    """A sparse member of 4 TiB without a byte of content, as GNU tar writes it."""
    info = tarfile.TarInfo("huge.wav")
    info.size, info.type = 0, tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = bytes(24)
    block[483:495] = b"\x80" + (4 << 40).to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    path = folder / "speech.tar"
    path.write_bytes(bytes(block) + member("huge.txt", b"x") + GOOD + END)
    return path


def extended_header(folder: Path) -> Path:
    path = folder / "speech.tar.gz"
    path.write_bytes(gzip_bomb(GOOD + header("x", BOMB_MIB * MIB, tarfile.XHDTYPE), BOMB_MIB, END))
    return path


def parquet_rows(folder: Path) -> Path:
    """A dictionary page of one text of 1 MiB below a million rows: its metadata says nothing of what they come to."""
    path = folder / "rows.parquet"
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(4000, np.int32)), pa.array(["x" * MIB]))
    pq.write_table(pa.table({"text": column}), path)
    return path


def parquet_list(folder: Path) -> Path:
    """One row that lists a text of 1 MiB four thousand times; the file holds it once."""
    path = folder / "list.parquet"
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(4000, np.int32)), pa.array(["x" * MIB]))
    lists = pa.ListArray.from_arrays(pa.array([0, 4000], pa.int32()), texts)
    pq.write_table(pa.table({"text": lists, "audio": [b"RIFF"]}), path)
    return path


def parquet_page(folder: Path) -> Path:
    path = folder / "page.parquet"
    pq.write_table(pa.table({"text": ["x" * (BOMB_MIB * MIB)]}), path, compression="zstd", use_dictionary=False)
    return path


def document_line(folder: Path) -> Path:
    path = folder / "texts.jsonl.gz"
    path.write_bytes(gzip_bomb(b'{"text": "fine"}\n{"text": "', BOMB_MIB, b'"}\n{"text": "fine"}\n'))
    return path


def plain_text(folder: Path) -> Path:
    path = folder / "book.txt.gz"
    path.write_bytes(gzip_bomb(b"", BOMB_MIB, b""))
    return path


def nested_line(folder: Path) -> Path:
    path = folder / "texts.jsonl"
    path.write_bytes(b'{"text": "fine"}\n' + b"[" * (40 * MIB) + b'\n{"text": "fine"}\n')
    return path


def captions(folder: Path) -> Path:
    data = folder / "data/en000"
    (data / "audio").mkdir(parents=True)
    (data / "text").mkdir()
    with tarfile.open(data / "audio/00000000.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("v.wav"))
    (data / "text/00000000.json").write_bytes(b"[" + b" " * (300 * MIB) + b"]")
    return folder


def chapters(folder: Path) -> Path:
    place = "LibriSpeech/train-clean-100/103/1240/"
    name = "103-1240-0000"
    parts = [member(f"{place}{name}.flac", sound()), member(f"{place}103-1240.trans.txt", f"{name} FINE\n".encode())]
    bomb = header(f"{place}103-1240-0001.flac", MAX_AUDIO_BYTES + 1)
    # What is too large is not read but has to be passed over, so the archive ends inside it.
    (folder / "train-clean-100.tar.gz").write_bytes(b"".join(parts) + bomb)
    return folder


Bomb = tuple[str, Callable[[Path], Path], dict]
BOMBS: dict[str, Bomb] = {
    "line of a manifest": ("own", manifest, {"read": 1, "skipped": ["speech.jsonl.gz:1`: 314,572,"]}),
    "line of a table": ("own", table, {"read": 1, "skipped": ["metadata.csv:2`: 16,777,"]}),
    "transcript": ("own", transcript, {"read": 1, "skipped": ["b.txt`: expected at most 16,777,216 bytes of text"]}),
    "text in an archive": ("own", side_file, {"read": 1, "skipped": ["member `big.txt`: 314,572,800 bytes"]}),
    "sparse audio": ("own", sparse_audio, {"read": 1, "skipped": ["member `huge.wav`: 4,398,046,511,104 bytes"]}),
    "extended header": ("own", extended_header, {"refused": "an extended header of 314,572,800 bytes"}),
    "texts in a list": ("own", parquet_list, {"refused": "got 4,194,"}),
    "nested line": ("text", nested_line, {"read": 2, "skipped": ["expected at most 64 nested"]}),
}
# These are written in seconds, or need more than 256 MiB to be read up to their limit.
LARGE_BOMBS: dict[str, Bomb] = {
    "chapter": ("librispeech", chapters, {"refused": "cut short or damaged"}),
    "line of a document": ("text", document_line, {"read": 2, "skipped": ["texts.jsonl.gz:2`: 314,572,"]}),
    "page of a table": ("text", parquet_page, {"refused": "got 314,57"}),
    "rows of a dictionary": ("text", parquet_rows, {"read": 4000, "skipped": []}),
    "plain text": ("text", plain_text, {"read": 0, "skipped": ["expected one document of at most 67,108,864 bytes"]}),
    "captions": ("yodas2", captions, {"refused": "expected at most 268,435,456 bytes of text"}),
}


def check(folder: Path, bombs: dict[str, Bomb], limit_mib: int) -> None:
    paths = []
    for number, (kind, write, _) in enumerate(bombs.values()):
        (folder / str(number)).mkdir()
        paths.append((kind, str(write(folder / str(number)))))
    for (name, (_, _, expected)), found in zip(bombs.items(), read_limited(paths, limit_mib), strict=True):
        assert found.keys() == expected.keys(), (name, found)
        if "refused" in expected:
            assert expected["refused"] in found["refused"], name
            continue
        assert found["read"] == expected["read"], (name, found)
        assert len(found["skipped"]) == len(expected["skipped"]), (name, found)
        assert all(part in reason for part, reason in zip(expected["skipped"], found["skipped"], strict=True)), found


def test_what_unpacks_to_a_great_deal_is_named_and_the_rest_is_read(tmp_path):
    check(tmp_path, BOMBS, LIMIT_MIB)


@pytest.mark.slow
def test_large_tables_and_texts_are_named_within_their_limits(tmp_path):
    check(tmp_path, LARGE_BOMBS, 700)
