"""Files of the hub, from a server on this machine that speaks its protocol."""

import base64
import http.server
import json
import sys
import threading
from typing import Literal
from urllib.parse import unquote, urlsplit

import pytest

from audio_data import HubRepository, InputError, download_command, is_hub_id

hub = pytest.importorskip("huggingface_hub", reason="the hub's client is the extra `hub`")
constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b"{}", "weights/a.bin": b"abc", "weights/b.bin": b"defgh", "README.md": b"# hello"}
# What the hub answers for a revision that a test asks for.
REFUSALS = {
    "gone": (404, "RevisionNotFound"),
    "locked": (403, "GatedRepo"),
    "private": (404, "RepoNotFound"),
    "broken": (418, "Whatever"),
}


class Hub(http.server.BaseHTTPRequestHandler):
    """The requests that listing and fetching need: about a revision, its tree, and a file."""

    fetched: list[str]
    committed: dict[str, bytes]
    created: list[dict]
    write_status = 200

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_POST(self) -> None:
        """Create a repository, say how each file is to be sent, or take a commit: what an upload needs."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        address = f"http://{self.headers['Host']}"
        answer: dict = {"url": f"{address}/owner/name"}
        if self.write_status != 200:
            self._send(self.write_status, b'{"error": "no"}', with_body=True)
            return
        if self.path == "/api/repos/create":
            self.created.append(json.loads(content))
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(content)["files"]]
            answer = {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]}
        elif "/commit/" in self.path:
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    self.committed[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            answer = {"success": True, "commitOid": COMMIT, "commitUrl": f"{address}/owner/name/commit/{COMMIT}"}
        self._send(200, json.dumps(answer).encode(), with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        revision = next((word for word in path.split("/") if word in (*REFUSALS, "v1", COMMIT)), "v1")
        name = path.partition(f"/{revision}/")[2]
        if revision in REFUSALS:
            status, code = REFUSALS[revision]
            self._send(status, b"", with_body, {"X-Error-Code": code})
        elif "/tree/" in path:
            listed = [{"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in FILES.items()]
            inside = [entry for entry in listed if not name or entry["path"].startswith(f"{name}/")]
            self._send(200, json.dumps(inside).encode(), with_body)
        elif "/revision/" in path:
            about = {"id": "owner/name", "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]}
            self._send(200, json.dumps(about).encode(), with_body)
        elif name in FILES:
            if with_body:
                self.fetched.append(name)
            self._send(200, FILES[name], with_body, {"ETag": f'"{len(FILES[name]):040x}"'})
        else:
            self._send(404, b"", with_body, {"X-Error-Code": "EntryNotFound"})

    def _send(self, status: int, content: bytes, with_body: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), "X-Repo-Commit": COMMIT, **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    handler = type("Served", (Hub,), {"fetched": [], "committed": {}, "created": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield handler
    server.shutdown()
    server.server_close()


def repository(revision: str | None = "v1", kind: Literal["model", "dataset"] = "model") -> HubRepository:
    return HubRepository("owner/name", "network `owner/name`", "give DIR as the network", revision, kind)


def test_files_are_listed_and_fetched_one_by_one_or_together(server):
    assert dict(repository().list_files(["weights"], "weights/*")) == {"weights/a.bin": 3, "weights/b.bin": 5}
    assert dict(repository().list_files([""])) == {name: len(content) for name, content in FILES.items()}
    assert server.fetched == []
    assert repository().fetch_file("weights/a.bin").read_bytes() == b"abc"
    folder = repository().fetch_files("config.json", "weights/*")
    assert folder.name == COMMIT
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {name: FILES[name] for name in ("config.json", "weights/a.bin", "weights/b.bin")}
    assert sorted(server.fetched) == ["config.json", "weights/a.bin", "weights/b.bin"]


def test_what_was_fetched_is_used_where_the_hub_cannot_be_reached(server, monkeypatch):
    file, folder = repository().fetch_file("config.json"), repository().fetch_files("config.json")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert repository().fetch_file("config.json") == file
    assert repository().fetch_files("config.json") == folder
    for fetch in (lambda: repository().fetch_file("weights/a.bin"), lambda: repository().list_files([""], "weights/*")):
        with pytest.raises(InputError, match=r"^network `owner/name`: the hub cannot be reached \(.+\); run `hf down"):
            fetch()


@pytest.mark.parametrize("kind", ["model", "dataset"])
@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("gone", r"expected revision 'gone' in owner/name, got no such branch, tag or commit; give another$"),
        ("locked", r"the repository is gated: accept its terms on \S+co/(datasets/)?owner/name, then `hf auth login`$"),
        ("private", r"expected the (model|dataset) owner/name on the hub, got none that you may read; correct the id"),
        (
            "broken",
            r"the hub cannot be reached \(.+\); run `hf download owner/name a\.bin( --repo-type dataset)? "
            r"--revision broken --local-dir DIR` where the hub can be reached, copy DIR here, and give DIR as the net",
        ),
    ],
)
def test_every_request_tells_the_same_of_a_refusal(server, revision, message, kind):
    asked = repository(revision, kind)
    for ask in (
        lambda: asked.fetch_file("a.bin"),
        lambda: asked.fetch_files("a.bin"),
        lambda: asked.list_files([""], "a.bin"),
    ):
        with pytest.raises(InputError, match=f"^network `owner/name`: {message}") as caught:
            ask()
        assert "\n" not in caught.value.message
        if revision == "locked":
            assert ("datasets/" in caught.value.message) == (kind == "dataset")


def test_a_file_that_the_repository_lacks_is_named_with_the_page_to_compare(server):
    with pytest.raises(InputError, match=r"expected c\.bin in owner/name, got nothing .*co/owner/name/tree/v1$"):
        repository().fetch_file("c.bin")


def test_an_id_that_no_repository_can_have_is_refused():
    with pytest.raises(InputError, match=r"expected a hub id OWNER/NAME, got 'a--b/c' \(.+\)$"):
        HubRepository("a--b/c", "network", "").fetch_file("config.json")


def test_a_connection_that_is_lost_says_what_to_download(monkeypatch):
    def lose(*_, **__):
        raise hub.errors.HTTPError("the connection was closed\nby the peer")

    monkeypatch.setattr(hub, "snapshot_download", lose)
    with pytest.raises(InputError, match=r"\(the connection was closed\); run `hf download owner/name --revision v1 -"):
        repository().fetch_files("*.bin")


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        InputError, match=r"uv pip install 'huggingface-hub>=[0-9.]+'`; or run `hf download owner/name a.bin -"
    ):
        repository().fetch_file("a.bin")


def test_the_clients_own_warnings_of_retries_are_left_out(caplog):
    logger = hub.logging.get_logger("huggingface_hub.utils._http")
    logger.propagate, before = True, hub.logging.get_verbosity()
    with repository().errors():
        logger.warning("retrying in 1 s")
    logger.warning("afterwards")
    assert [record.message for record in caplog.records] == ["afterwards"]
    assert hub.logging.get_verbosity() == before


@pytest.mark.parametrize(
    ("text", "is_id"),
    [("owner/name", True), ("o.w-n_er/na.me-1", True), ("../name", False), ("name", False), ("a/b/c", False)],
)
def test_a_hub_id_is_an_owner_and_a_name(text, is_id):
    assert is_hub_id(text) == is_id


def test_the_command_quotes_globs_for_a_shell():
    assert download_command("a/b", "x.bin", "y.bin", revision="v2") == (
        "hf download a/b x.bin y.bin --revision v2 --local-dir DIR"
    )
    assert download_command("a/b", "**/*.bin", "y", kind="dataset") == (
        "hf download a/b --repo-type dataset --include '**/*.bin' 'y' --local-dir DIR"
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model" / "vocabulary").mkdir(parents=True)
    (tmp_path / "model" / "README.md").write_bytes(b"# mine")
    (tmp_path / "model" / "vocabulary" / "text.model").write_bytes(bytes(range(256)))
    return tmp_path / "model"


def test_a_folder_is_uploaded_as_one_commit(server, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    address = repository().upload_folder(folder, "a model")
    assert address.endswith(f"/owner/name/commit/{COMMIT}")
    assert server.committed == {"README.md": b"# mine", "vocabulary/text.model": bytes(range(256))}
    (created,) = server.created
    assert created["name"] == "name"
    assert "private" in (created.get("visibility"), *(key for key, value in created.items() if value is True))


@pytest.mark.parametrize("status", [401, 403])
def test_an_upload_without_permission_says_how_to_log_in(server, folder, monkeypatch, status):
    monkeypatch.setattr(server, "write_status", status)
    with pytest.raises(
        InputError, match=r"the hub does not let you write there \(.*\); run `hf auth login` with a tok"
    ):
        repository().upload_folder(folder, "a model")


def test_an_upload_that_the_hub_refuses_or_that_does_not_reach_it_is_named(server, folder, monkeypatch):
    monkeypatch.setattr(server, "write_status", 418)
    with pytest.raises(
        InputError, match=r"the hub refused the upload \(.*\); run `hf upload owner/name .* --repo-type m"
    ):
        repository().upload_folder(folder, "a model")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"the hub cannot be reached \(.*\); run `hf upload owner/name "):
        repository().upload_folder(folder, "a model")
    with pytest.raises(InputError, match=r"expected a hub id OWNER/NAME, got '-x/y/z'"):
        HubRepository("-x/y/z", "model", "").upload_folder(folder, "a model")
