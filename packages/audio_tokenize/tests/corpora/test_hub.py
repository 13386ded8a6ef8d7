"""A corpus on the hub, against a hub of our own on this machine, and what is said where there is none."""

import http.server
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from audio_data import InputError
from audio_tokenize.corpora import open_corpus
from audio_tokenize.corpora.published import matches

REPOSITORY = "MLCommons/peoples_speech"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _table() -> bytes:
    audio, table = io.BytesIO(), io.BytesIO()
    soundfile.write(audio, np.zeros(8_000), 8_000, format="FLAC")
    row = {
        "id": "one.flac",
        "audio": {"bytes": audio.getvalue(), "path": "one.flac"},
        "duration_ms": 1000,
        "text": "yes",
    }
    pq.write_table(pa.Table.from_pylist([row]), table)
    return table.getvalue()


FILES = {
    "README.md": b"# hello",
    "clean/train-00000-of-00002.parquet": _table(),
    "clean/train-00001-of-00002.parquet": b"not fetched, so never opened",
    "dirty/train-00000-of-00001.parquet": b"of another subset",
}


class _Hub(http.server.BaseHTTPRequestHandler):
    """The two requests of the hub's protocol that a dataset needs: the tree of a revision, and a file."""

    fetched: list[str]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        tree, file = f"/api/datasets/{REPOSITORY}/tree/main/", f"/datasets/{REPOSITORY}/resolve/main/"
        if path.startswith(tree):
            folder = path.removeprefix(tree)
            found = [name for name in FILES if name.startswith(f"{folder}/")]
            listed = [{"type": "file", "path": n, "size": len(FILES[n]), "oid": "0" * 40} for n in found]
            self._send(200, json.dumps(listed).encode(), with_body)
        elif path.removeprefix(file) in FILES:
            if with_body:
                self.fetched.append(path.removeprefix(file))
            self._send(200, FILES[path.removeprefix(file)], with_body)
        else:
            self._send(404, b"", with_body, {"X-Error-Code": "RevisionNotFound"})

    def _send(self, status: int, content: bytes, with_body: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        known = {"Content-Length": str(len(content)), "ETag": f'"{len(content)}"', "X-Repo-Commit": COMMIT}
        for name, value in (known | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def hub():
    """Address of a hub with one dataset, and the files that were fetched from it."""
    handler = type("Hub", (_Hub,), {"fetched": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.fetched
    server.shutdown()
    server.server_close()


_READ = """
import json, sys
from audio_data import InputError
from audio_tokenize.corpora import open_corpus
for revision in sys.argv[1:]:
    try:
        corpus = open_corpus("peoples-speech-clean", revision=revision)
        shards = corpus.shards()
        listed = [(shard.name, shard.num_bytes) for shard in shards]
        print(json.dumps([listed, [(u.id, u.text, u.seconds) for u in corpus.read(shards[0])]]))
    except InputError as error:
        print(json.dumps(error.message))
"""


def _read(cache: Path, *revisions: str, **variables: str) -> list:
    """What another process reads or is told, since the hub's address is a matter of its environment."""
    environment = os.environ | {"HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"} | variables
    command = [sys.executable, "-c", _READ, *revisions]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_shards_are_listed_first_and_fetched_one_at_a_time(tmp_path, hub):
    address, fetched = hub
    (listed, read), refused = _read(tmp_path, "main", "gone", HF_ENDPOINT=address)
    assert listed == [[name.removesuffix(".parquet"), len(FILES[name])] for name in FILES if name.startswith("clean")]
    assert read == [["one.flac", "yes", 1.0]]
    assert fetched == ["clean/train-00000-of-00002.parquet"]
    assert "corpus `peoples-speech-clean`: expected revision 'gone' in MLCommons/peoples_speech, got no such" in refused


def test_without_a_network_it_says_what_to_download_and_where_to_put_it(tmp_path):
    (said,) = _read(tmp_path, "main", HF_HUB_OFFLINE="1")
    assert "the hub cannot be reached" in said
    assert (
        "hf download MLCommons/peoples_speech --repo-type dataset --revision main --include 'clean/*.parquet'" in said
    )
    assert "peoples-speech-clean --root DIR" in said


def test_without_the_hubs_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'audio-data\[hub\]'"):
        open_corpus("mls-en").shards()


@pytest.mark.parametrize(
    ("glob", "name", "fits"),
    [
        ("data/*.parquet", "data/a.parquet", True),
        ("data/*.parquet", "data/b/a.parquet", False),
        ("**/*.parquet", "a.parquet", True),
        ("**/*.parquet", "x/y/a.parquet", True),
        ("**/*.parquet", "x/y/a.parquet.tmp", False),
        ("data/en1[0-2][0-9]/*", "data/en129/a", True),
        ("data/en1[0-2][0-9]/*", "data/en130/a", False),
        ("data/th?00/*", "data/th100/a", True),
        ("a.b/*", "axb/c", False),
    ],
)
def test_globs_mean_on_the_hub_what_they_mean_on_disk(tmp_path, glob: str, name: str, fits: bool):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert matches(name, (glob,)) == fits
    assert (tmp_path / name in tmp_path.glob(glob)) == fits
