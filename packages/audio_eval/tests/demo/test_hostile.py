"""A hostile client against the real server: no file but its own session's, no room beyond the limits, no hang."""

import dataclasses
import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

import pytest

from audio_eval.demo.limits import MEBIBYTE

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="needs Gradio: `uv pip install gradio`"
)
PATIENCE_SECONDS = 120
SECRET = b"the owner's secret"
TRANSCRIBE, STOP, SPEAK = 0, 1, 2
PAGE_HASH = "abcdefg1"
BOUNDARY = "limit"
SMALL = """
import sys
from audio_eval.demo import Limits, serve_demo
serve_demo(sys.argv[1], port=0, limits=Limits(
    max_upload_bytes=2**20, max_upload_seconds=3, max_stored_bytes=3 * 2**20, max_stored_seconds=6))
"""


@dataclasses.dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Client:
    """Asks for anything; `open_page` makes it a browser with a session."""

    def __init__(self, address):
        self.host = address.removeprefix("http://").rstrip("/")
        self.cookie = None

    def connect(self):
        return http.client.HTTPConnection(self.host, timeout=PATIENCE_SECONDS)

    def ask(self, method, path, body=b"", **headers):
        connection = self.connect()
        try:
            self.begin(connection, method, path, {"content-length": str(len(body))} if body else {}, headers)
            connection.send(body)
            return finish(connection)
        finally:
            connection.close()

    def begin(self, connection, method, path, *headers):
        headers = {name.replace("_", "-"): value for some in headers for name, value in some.items()}
        headers = {"host": self.host, **({"cookie": self.cookie} if self.cookie else {}), **headers}
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()

    def open_page(self):
        answer = self.ask("GET", "/")
        assert answer.status == 200
        self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return self

    def upload(self, content, name="speech.wav", **headers):
        body, kind = multipart(content, name)
        return self.ask("POST", "/gradio_api/upload", body, content_type=kind, **headers)

    def call(self, function, data, page=PAGE_HASH, path="/gradio_api/queue/join", **headers):
        body = json.dumps({"data": data, "fn_index": function, "trigger_id": None, "session_hash": page}).encode()
        return self.ask("POST", path, body, **{"content_type": "application/json", **headers})

    def transcribe(self, path, **more):
        return self.call(TRANSCRIBE, [{"path": path, "meta": {"_type": "gradio.FileData"}, **more}])

    def give(self, path):
        return self.ask("GET", "/gradio_api/file=" + urllib.parse.quote(path))

    def events(self, page=PAGE_HASH):
        """What the server says of the page's calls, until the first is done."""
        connection = self.connect()
        self.begin(connection, "GET", f"/gradio_api/queue/data?session_hash={page}")
        answer, events = connection.getresponse(), []
        for line in answer:
            if line.startswith(b"data: "):
                events.append(json.loads(line[6:]))
                if events[-1]["msg"] in ("process_completed", "unexpected_error"):
                    break
        connection.close()
        return events


def multipart(content, name):
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}"


def two_files():
    body, _ = multipart(b"x", "a.wav")
    return body.removesuffix(b"--\r\n") + b"\r\n" + body


def finish(connection):
    answer = connection.getresponse()
    return Answer(answer.status, answer.headers, answer.read())


@pytest.fixture
def client(address):
    return Client(address).open_page()


@pytest.fixture
def stored(client, recording):
    """The path of a recording that the client uploaded."""
    (path,) = json.loads(client.upload(recording.read_bytes()).body)
    return path


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.wav"
    path.write_bytes(SECRET)
    return path


@pytest.fixture(scope="module")
def small(speaker, start_server, tmp_path_factory):
    """A server of small limits: 1 MiB and 3 seconds an upload, 3 MiB together, for 6 seconds."""
    server = start_server(tmp_path_factory.mktemp("small"), SMALL, speaker)
    yield server
    server.close()


def files_of(server):
    return [path for path in server.folder.rglob("*") if path.is_file()]


def test_what_a_browser_uploads_is_heard_and_given_back_to_it_alone(client, server, stored, recording):
    assert client.give(stored).body == recording.read_bytes()
    assert client.transcribe(stored).status == 200
    events = client.events()
    assert events[-1]["success"], events[-1]
    assert "Done in" in events[-1]["output"]["data"][1]
    other = Client(server.address).open_page()
    assert other.cookie != client.cookie
    assert other.give(stored).status == 404
    assert other.transcribe(stored).status == 403
    assert Client(server.address).give(stored).status == 403


PATHS = {
    "absolute": lambda secret, stored: str(secret),
    "device": lambda secret, stored: "/dev/zero",
    "pipe": lambda secret, stored: str(make_pipe(secret)),
    "link": lambda secret, stored: str(make_link(secret)),
    "traversal": lambda secret, stored: f"{stored}/../../../{os.path.relpath(secret, os.path.dirname(stored))}",
    "relative": lambda secret, stored: os.path.relpath(secret),
    "same file": lambda secret, stored: os.path.join(os.path.dirname(stored), ".", os.path.basename(stored)),
    "folder": lambda secret, stored: os.path.dirname(stored),
    "file url": lambda secret, stored: f"file://{secret}",
    "web": lambda secret, stored: "http://127.0.0.1:9/",
    "gradio": lambda secret, stored: f"/gradio_api/file={secret}",
    "proc": lambda secret, stored: "/proc/self/environ",
    "nothing": lambda secret, stored: "",
    "zero": lambda secret, stored: f"{stored}\0",
    "long": lambda secret, stored: "/a" * 8_000,
}


def make_pipe(secret):
    os.mkfifo(secret.with_name("pipe.wav"))
    return secret.with_name("pipe.wav")


def make_link(secret):
    secret.with_name("link.wav").symlink_to(secret)
    return secret.with_name("link.wav")


@pytest.mark.parametrize("kind", PATHS)
def test_a_path_that_was_not_uploaded_is_refused(client, server, stored, secret, kind):
    before, path = files_of(server), PATHS[kind](secret, stored)
    for answer in (client.transcribe(path), client.transcribe(path, url=f"/gradio_api/file={stored}")):
        assert answer.status == 403
        assert json.loads(answer.body)["detail"].endswith("record or upload it again")
    for path_of_file in (path, f"./{path}", f"/{path}"):
        answer = client.give(path_of_file)
        assert answer.status in (403, 404), answer
        assert SECRET not in answer.body
    assert files_of(server) == before


def test_what_stands_beside_an_uploaded_path_is_not_looked_at(client, stored, secret):
    more = {"url": f"file://{secret}", "orig_name": "/etc/passwd", "is_stream": True, "size": -1}
    assert client.transcribe(stored, **more, mime_type="image/svg+xml").status == 200
    assert client.events()[-1]["success"]


BAD_CALLS = {
    "text for a file": (TRANSCRIBE, ["/etc/passwd"]),
    "list for a file": (TRANSCRIBE, [[{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]]),
    "file for a text": (SPEAK, [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, False, None, "", 0]),
    "number for a text": (SPEAK, [1, False, None, "", 0]),
    "text for a number": (SPEAK, ["a", False, None, "", "0"]),
    "not a number": (SPEAK, ["a", False, None, "", float("nan")]),
    "infinite": (SPEAK, ["a", False, None, "", float("inf")]),
    "large": (SPEAK, ["a", False, None, "", 10**40]),
    "too few": (SPEAK, ["a"]),
    "too many": (TRANSCRIBE, [None, None]),
    "no such function": (99, []),
    "function by name": ("answer", []),
    "no list": (TRANSCRIBE, {"0": None}),
}


@pytest.mark.parametrize("kind", BAD_CALLS)
def test_a_call_of_other_inputs_is_refused(client, kind):
    answer = client.call(*BAD_CALLS[kind])
    assert answer.status == (
        403 if kind == "text for a file" else 400 if "list" not in kind or kind == "no list" else 403
    )


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"[" * 60_000, 400),
        (b'{"data": [], "fn_index": 1, "session_hash": "../x"}', 400),
        (b'{"data": [], "fn_index": 1, "session_hash": null}', 400),
        (b'{"data": [], "fn_index": ' + b"9" * 5_000 + b"}", 400),
        (b" " * 70_000, 413),
    ],
)
def test_a_damaged_call_is_refused(client, body, status):
    answer = client.ask("POST", "/gradio_api/queue/join", body, content_type="application/json")
    assert answer.status == status


def test_the_queue_is_not_gone_round(client):
    assert client.call(SPEAK, ["a", False, None, "", 0], path="/gradio_api/run/predict").status == 404
    assert client.call(STOP, [], path="/gradio_api/run/predict").status == 200


@pytest.mark.long
def test_answers_of_another_page_cannot_be_read(small):
    client, other = Client(small.address).open_page(), Client(small.address).open_page()
    assert client.call(SPEAK, [" ", False, None, "", 0], page="mine").status == 200
    (event,) = other.events("mine")
    assert (event["msg"], event["session_not_found"]) == ("unexpected_error", True)
    assert Client(small.address).ask("GET", "/gradio_api/queue/data?session_hash=mine").status == 403
    assert client.events("mine")[-1]["success"]


FOREIGN = {
    "other site": {"origin": "https://evil.example"},
    "other port": {"origin": "http://127.0.0.1:1"},
    "other name": {"origin": "http://127.0.0.1.evil.example"},
    "no origin": {"origin": "null"},
    "cross-site": {"sec_fetch_site": "cross-site"},
    "same site": {"sec_fetch_site": "same-site"},
    "foreign host": {"host": "evil.example"},
    "foreign host and port": {"host": "evil.example:7860"},
    "rebound": {"host": "evil.example", "origin": "http://evil.example"},
    "address of the net": {"host": "192.0.2.1"},
    "user": {"host": "127.0.0.1@evil.example"},
    "no host": {"host": ""},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_origins_are_refused(client, server, stored, kind):
    before, headers = files_of(server), FOREIGN[kind]
    answers = [
        client.upload(b"x", **headers),
        client.call(SPEAK, ["a", False, None, "", 0], **headers),
        client.call(STOP, [], path="/gradio_api/run/predict", **headers),
        client.ask("GET", "/gradio_api/file=" + stored, **headers),
        client.ask("OPTIONS", "/gradio_api/upload", access_control_request_method="POST", **headers),
        client.ask("GET", "/", **headers),
    ]
    assert [answer.status for answer in answers] == [403] * len(answers)
    assert not any("access-control-allow-origin" in answer.headers for answer in answers)
    assert not any("set-cookie" in answer.headers for answer in answers)
    assert files_of(server) == before


def test_a_link_from_elsewhere_opens_the_page_and_the_page_calls(client):
    assert client.ask("GET", "/", sec_fetch_site="cross-site", sec_fetch_mode="navigate").status == 200
    own = {"origin": f"http://{client.host}", "sec_fetch_site": "same-origin"}
    assert client.upload(b"x", **own).status == 200
    assert client.ask("GET", "/", host="localhost:1234").status == 200


def test_a_proxy_is_not_believed(client):
    told = {"x_forwarded_host": "evil.example", "x_gradio_server": "http://evil.example", "x_forwarded_proto": "https"}
    for path in ("/", "/manifest.json"):
        assert b"evil.example" not in client.ask("GET", path, **told).body


def test_without_the_cookie_of_the_page_nothing_is_taken(address):
    for cookie in (
        None,
        "audio_eval_demo=",
        "audio_eval_demo=me",
        "audio_eval_demo=" + "a" * 44,
        "session=" + "a" * 43,
    ):
        client = Client(address)
        client.cookie = cookie
        assert client.upload(b"x").status == 403
        assert client.call(SPEAK, ["a", False, None, "", 0]).status == 403
        assert client.call(STOP, [], path="/gradio_api/run/predict").status == 403


def test_the_cookie_is_kept_from_scripts_and_other_sites(address):
    answer = Client(address).ask("GET", "/")
    assert re.fullmatch(r"audio_eval_demo=[\w-]{43}; Path=/; HttpOnly; SameSite=Lax", answer.headers["set-cookie"])
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert not re.search(r"https?:|\*", answer.headers["content-security-policy"])
    assert answer.headers["x-content-type-options"] == "nosniff"
    for way in ("transcribe", "speak", "continue", "translate"):
        assert f"{way}-start".encode() in answer.body


# In a process of its own, since importing Gradio leaves event loops open.
ROUTES = """
import json, fastapi, gradio
app = fastapi.FastAPI()
gradio.mount_gradio_app(app, gradio.Blocks(), path="/", ssr_mode=False)
waiting, found = list(app.routes), set()
while waiting:
    route = waiting.pop()
    # Newer versions of FastAPI keep the routes of an included router there.
    waiting += getattr(getattr(route, "original_router", route), "routes", [])
    found |= {(method, route.path) for method in getattr(route, "methods", None) or ()}
print(json.dumps(sorted(found)))
"""


def routes():
    """All routes that Gradio mounts, with their methods."""
    return json.loads(subprocess.run([sys.executable, "-c", ROUTES], capture_output=True, check=True).stdout)


ANSWERED = {"/", "/theme.css", "/manifest.json", "/favicon.ico"}


@pytest.mark.long
def test_no_other_route_of_gradio_answers_gives_or_writes_anything(client, server, stored, secret):
    before, found = files_of(server), routes()
    assert len(found) > 70
    values = [str(secret), str(secret)[1:], f"../../../..{secret}", "/dev/zero", f"{stored}/../..{secret}"]
    file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    body = {"data": [file], "fn_index": TRANSCRIBE, "session_hash": PAGE_HASH, "event_id": "1", "component_id": 1}
    body |= {"fn_name": "download", "prompt": str(secret), "code": "x", "username": "x", "password": "x"}
    query = urllib.parse.urlencode({name: str(secret) for name in ("deep_link", "session_hash", "upload_id", "page")})
    passed = set()
    for method, route in found:
        for value in values if "{" in route else [""]:
            path = urllib.parse.quote(re.sub(r"\{[^}]*\}", lambda match, value=value: value, route))
            headers = {"content_type": "application/json"} if method not in ("GET", "HEAD") else {}
            answer = client.ask(method, f"{path}?{query}", json.dumps(body).encode() if headers else b"", **headers)
            assert SECRET not in answer.body, (method, path)
            if answer.status < 400:
                passed.add((method, path))
    expected = {(method, path) for method, path in found if path in ANSWERED and method in ("GET", "HEAD")}
    assert passed - {("GET", "/gradio_api/upload_progress")} == expected
    assert files_of(server) == before


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/gradio_api/openapi.json", "/gradio_api/info"])
def test_the_interface_is_not_described(client, path):
    assert client.ask("GET", path).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../../../../../../../../../etc/passwd",
        "/assets/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/routes.py",
        "/assets//etc/passwd",
        "/static/..\\..\\routes.py",
        "//etc/passwd",
        "/recordings/..%2f..%2fsecret.wav",
        "/recordings/unknown.wav",
    ],
)
def test_no_path_leads_out_of_the_page(client, path):
    assert client.ask("GET", path).status == 404


@pytest.mark.parametrize(
    "name",
    ["../../evil.wav", "/etc/evil.wav", "..", "a\\..\\evil.wav", "<img src=x>.html", "e%22%0d%0aX-A: b.svg", ".bashrc"],
)
def test_names_of_uploads_lead_nowhere_and_run_nothing(client, server, name):
    answer = client.upload(b"<script>alert(1)</script>", name)
    (path,) = json.loads(answer.body)
    (temporary,) = server.folder.iterdir()
    assert os.path.dirname(os.path.dirname(path)) == str(temporary)
    given = client.give(path)
    assert given.status == 200
    assert given.headers["content-type"] in ("application/octet-stream", "audio/x-wav", "audio/wav")
    assert given.headers["content-disposition"].startswith("attachment")
    assert given.headers["x-content-type-options"] == "nosniff"
    assert "x-a" not in given.headers


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"x", "text/plain", 400),
        (b"x", "multipart/form-data", 400),
        (b"x", f"multipart/form-data; boundary={BOUNDARY}", 400),
        (b"path=/etc/passwd", "application/x-www-form-urlencoded", 400),
        (two_files(), f"multipart/form-data; boundary={BOUNDARY}", 400),
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n--{BOUNDARY}--\r\n'.encode(),
            f"multipart/form-data; boundary={BOUNDARY}",
            400,
        ),
    ],
)
def test_what_is_no_upload_of_one_file_is_refused(client, server, body, kind, status):
    before = files_of(server)
    assert client.ask("POST", "/gradio_api/upload", body, content_type=kind).status == status
    assert files_of(server) == before


def test_a_large_upload_is_refused_before_it_is_sent(small):
    client = Client(small.address).open_page()
    connection = client.connect()
    client.begin(connection, "POST", "/gradio_api/upload", {"content-length": str(100 * MEBIBYTE)})
    answer = finish(connection)
    connection.close()
    assert (answer.status, answer.body) == (413, b"a file must have at most 1 MiB: cut it")
    assert client.upload(bytes(MEBIBYTE + 1)).status == 413
    connection = client.connect()
    client.begin(connection, "POST", "/gradio_api/upload", {"transfer-encoding": "chunked"})
    assert finish(connection).status == 411
    connection.close()


def test_an_upload_that_is_longer_than_it_says_is_refused(small):
    client, (body, kind) = Client(small.address).open_page(), multipart(bytes(MEBIBYTE // 2), "a.wav")
    connection, before = client.connect(), files_of(small)
    headers = {"content-type": kind, "content-length": "10", "transfer-encoding": "chunked"}
    client.begin(connection, "POST", "/gradio_api/upload", headers)
    connection.send(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
    assert finish(connection).status in (400, 413)
    connection.close()
    assert set(files_of(small)) <= set(before)


def test_a_slow_upload_is_given_up_and_holds_nobody_up(small):
    client = Client(small.address).open_page()
    connections, (body, kind) = [client.connect() for _ in range(20)], multipart(bytes(5_000), "a.wav")
    headers = {"content-length": str(len(body)), "content-type": kind}
    for connection in connections:
        client.begin(connection, "POST", "/gradio_api/upload", headers)
        connection.send(body[:-1])
    assert client.ask("GET", "/theme.css").status == 200
    for connection in connections:
        assert finish(connection).status == 408
        connection.close()


def test_a_client_that_goes_away_leaves_nothing(small):
    client, (body, kind) = Client(small.address).open_page(), multipart(bytes(MEBIBYTE - 1_000), "a.wav")
    for _ in range(10):
        connection = client.connect()
        headers = {"content-length": str(len(body)), "content-type": kind}
        client.begin(connection, "POST", "/gradio_api/upload", headers)
        connection.send(body[:-100])
        connection.close()
    # ContextBudget for three: what was cut off holds none of it.
    wait_until(lambda: client.upload(bytes(1_000)).status == 200)
    assert all(path.stat().st_size == 1_000 for path in files_of(small) if path.name == "speech.wav")


@pytest.mark.long
def test_all_uploads_together_are_bounded_and_go_with_their_age(small):
    wait_until(lambda: files_of(small) == [])
    clients = [Client(small.address).open_page() for _ in range(2)]
    taken = []
    while (answer := clients[len(taken) % 2].upload(bytes(MEBIBYTE))).status == 200:
        taken += json.loads(answer.body)
        assert sum(path.stat().st_size for path in files_of(small)) <= 3 * MEBIBYTE
        assert len(taken) < 1_000
    assert answer.status == 413
    assert re.fullmatch(
        rb"all files must have at most 3 MiB together, got 4: try again in \d s, when the oldest is deleted",
        answer.body,
    )
    owner = clients[(len(taken) - 1) % 2]
    wait_until(lambda: owner.give(taken[-1]).status == 404)
    assert owner.transcribe(taken[-1]).status == 403
    wait_until(lambda: files_of(small) == [])
    assert owner.upload(bytes(MEBIBYTE)).status == 200


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)


def test_many_connections_that_say_nothing_are_refused_and_then_forgotten(small):
    host, port = small.address.removeprefix("http://").rstrip("/").split(":")
    connections = [socket.create_connection((host, int(port)), PATIENCE_SECONDS) for _ in range(300)]
    try:
        assert Client(small.address).ask("GET", "/theme.css").status == 503
    finally:
        for connection in connections:
            connection.close()
    wait_until(lambda: Client(small.address).ask("GET", "/theme.css").status == 200)


def test_sigterm_ends_it_while_requests_hang(small):
    client = Client(small.address).open_page()
    upload, events = client.connect(), client.connect()
    kind = multipart(b"", "a.wav")[1]
    client.begin(upload, "POST", "/gradio_api/upload", {"content-length": "5000", "content-type": kind})
    assert client.call(SPEAK, ["the red cat", False, None, "", 0]).status == 200
    client.begin(events, "GET", f"/gradio_api/queue/data?session_hash={PAGE_HASH}")
    assert events.getresponse().status == 200
    (temporary,) = small.folder.iterdir()
    assert temporary.is_dir()
    status, _ = small.end(signal.SIGTERM)
    assert status == 0
    assert list(small.folder.iterdir()) == []
    for connection in (upload, events):
        connection.close()
