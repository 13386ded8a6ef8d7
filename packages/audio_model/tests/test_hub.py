"""The hub is a server of this machine: nothing leaves it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import equinox as eqx
import pytest

from audio_model import InputError, convert, load_model, save_model
from audio_model.hub import find_model

constants = pytest.importorskip("huggingface_hub.constants", reason="needs its package: uv pip install huggingface-hub")

REPOSITORY, COMMIT = "owner/small-base", "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as fetching a model asks for; `folder` holds the files."""

    protocol_version = "HTTP/1.1"
    folder: Path
    asked: list[str]

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def log_message(self, format, *args):
        pass

    def _answer(self, *, body):
        type(self).asked.append(self.path)
        path = self.path.split("?")[0]
        files = sorted(self.folder.iterdir())
        status, content, headers = 200, b"{}", {"Content-Type": "application/json"}
        if path in (f"/api/models/{REPOSITORY}/revision/{name}" for name in ("main", "v1", COMMIT)):
            siblings = [{"rfilename": file.name} for file in files]
            content = json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}).encode()
        elif path == f"/api/models/{REPOSITORY}/tree/{COMMIT}":
            tree = [
                {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": f"{i:040x}"}
                for i, f in enumerate(files)
            ]
            content = json.dumps(tree).encode()
        elif path.startswith(f"/{REPOSITORY}/resolve/{COMMIT}/"):
            content = (self.folder / path.rsplit("/", 1)[1]).read_bytes()
            headers = {"ETag": f'"{len(content):040x}"', "X-Repo-Commit": COMMIT}
        else:
            status, headers = 404, {"X-Error-Code": "RepoNotFound"}
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def _use_hub(monkeypatch, port, cache):
    endpoint = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


@pytest.fixture
def server(tiny, tmp_path, monkeypatch):
    save_model(tmp_path / "served", tiny)
    (tmp_path / "served/pytorch_model.bin").write_bytes(b"a pickle")
    handler = type("Served", (Hub,), {"folder": tmp_path / "served", "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    _use_hub(monkeypatch, server.server_port, tmp_path / "cache")
    yield handler
    server.shutdown()
    server.server_close()


def test_weights_come_only_when_asked_for(tiny, server, tmp_path):
    with pytest.raises(
        InputError, match=r"ask for them with --download .* `hf download owner/small-base --revision v1"
    ):
        find_model(REPOSITORY, revision="v1")
    assert server.asked == []
    document = convert(REPOSITORY, tmp_path / "out", revision="v1", download=True)
    assert (document["source"], document["revision"]) == (REPOSITORY, COMMIT)
    assert eqx.tree_equal(load_model(tmp_path / "out"), tiny)
    assert json.loads((tmp_path / "out/provenance.json").read_text()) == {"source": REPOSITORY, "revision": COMMIT}
    assert not any("pytorch_model" in path for path in server.asked)


def test_what_was_fetched_is_found_without_the_hub(server):
    fetched = find_model(REPOSITORY, download=True)
    server.asked.clear()
    assert find_model(REPOSITORY) == fetched
    assert server.asked == []


def test_a_model_the_hub_does_not_have(server):
    with pytest.raises(
        InputError, match=r"`owner/other` could not be had from the hub \(404 .*Not Found.*\): run .* --local-dir"
    ):
        find_model("owner/other", download=True)


def test_offline_it_says_what_to_fetch_and_where_to_put_it(monkeypatch, tmp_path):
    _use_hub(monkeypatch, 9, tmp_path)
    with pytest.raises(InputError, match=r"could not be had from the hub .*: run `hf download .* copy FOLDER here"):
        find_model(REPOSITORY, download=True)


def test_what_is_neither_folder_nor_id_is_refused(tmp_path):
    with pytest.raises(InputError, match="must be a folder or a hub id OWNER/NAME"):
        find_model(tmp_path / "nothing")
    with pytest.raises(InputError, match="`revision` belongs to a hub id, got 'v1'"):
        find_model(tmp_path, revision="v1")
    (tmp_path / "model.pt").write_bytes(b"a pickle")
    with pytest.raises(InputError, match=r"pickled weights \(model\.pt\), which would run code"):
        find_model(tmp_path / "model.pt")
