"""The gate before the page: checks the path, origin, session and files of every request.

Gradio serves about seventy routes, and its own check of paths is off in a mounted application. Only what the page
itself asks for passes here; calls are parsed, checked against the inputs of what they call, and written anew.
"""

import asyncio
import hashlib
import ipaddress
import json
import re
import secrets
import socket
import urllib.parse
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, MutableHeaders  # pyright: ignore[reportMissingImports]: an extra
from starlette.exceptions import HTTPException  # pyright: ignore[reportMissingImports]: an extra
from starlette.requests import ClientDisconnect, Request  # pyright: ignore[reportMissingImports]: an extra
from starlette.responses import JSONResponse  # pyright: ignore[reportMissingImports]: an extra

from audio_eval.demo.files import SessionFiles

JOIN_PATH, RUN_PATH, EVENTS_PATH = "/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/queue/data"
UPLOAD_PATH, PROGRESS_PATH, FILE_PATH = "/gradio_api/upload", "/gradio_api/upload_progress", "/gradio_api/file="
SESSION_COOKIE = "audio_eval_demo"
# Names begin with a letter, a digit or a line, so that no part of a path can be `..`.
_PAGE = re.compile(r"/|/(theme\.css|manifest\.json|favicon\.ico)|/(assets|static)(/\w[\w.-]*)+", re.ASCII)
_OWN = re.compile(rf"/recordings/[\w-]+\.wav|{PROGRESS_PATH}|{FILE_PATH}/.+", re.ASCII)
_SESSION = re.compile(r"[A-Za-z0-9_-]{43}")
_PAGE_HASH = re.compile(r"[A-Za-z0-9]{1,64}")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?")
_MAX_CALL_BYTES, _MAX_CALL_SECONDS = 65_536, 30.0
# Beyond it a float holds no odd integer; NaN and infinities are not below it either.
_LARGEST = 2**53
# Gradio's scripts and styles are inline, hence 'unsafe-inline' and 'unsafe-eval'; no other host is allowed.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; frame-ancestors 'self'; form-action 'self'; base-uri 'self'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Gate:
    """An ASGI application that answers or refuses requests before Gradio does.

    A browser is given a random cookie with the page. Files belong to the browser whose cookie they came with.
    """

    def __init__(self, app: Any, *, host: str, files: SessionFiles, inputs: Mapping[int, Sequence[type]]):
        """Put the gate before an ASGI application.

        Args:
            app: The application.
            host: Address that it is served on. On the loopback a request must name the loopback; elsewhere it must
                name an address or this machine, so that no other site can reach the page under a name of its own.
            files: What was stored.
            inputs: For each function that may be called, what each of its inputs is: `Path`, `str`, `bool` or `float`.
        """
        self._app, self._files, self._inputs = app, files, inputs
        self._loopback_only = is_loopback(host)
        names = () if self._loopback_only else (host, socket.gethostname(), socket.getfqdn())
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer or refuse a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cookie = None

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if cookie:
                    headers.append("set-cookie", f"{SESSION_COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax")
            await send(message)

        try:
            self._require_here(scope)
            if scope["path"] == "/" and session_of(Request(scope)) is None:
                cookie = secrets.token_urlsafe(32)
            scope, receive = await self._admit(scope, receive)
        except HTTPException as refusal:
            answer = JSONResponse({"detail": refusal.detail}, refusal.status_code)
            await answer(scope, receive, send_with_headers)
            return
        except ClientDisconnect:
            return
        await self._app(scope, receive, send_with_headers)

    def _require_here(self, scope: Any) -> None:
        """Refuse requests from a page of another site, or to another site."""
        headers = Headers(scope=scope)
        hosts = [host.lower() for host in headers.getlist("host")]
        if len(hosts) != 1 or not self._is_here(hosts[0]):
            raise _refuse(
                HTTPStatus.FORBIDDEN, f"`Host` must be this machine, got {hosts}: open the page by its address"
            )
        for origin in headers.getlist("origin"):
            if origin.lower() not in (f"http://{hosts[0]}", f"https://{hosts[0]}"):
                raise _refuse(HTTPStatus.FORBIDDEN, f"`Origin` must be the page itself, got {origin!r}")
        navigates = scope["method"] == "GET" and scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"
        site = headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin") and not navigates:
            raise _refuse(HTTPStatus.FORBIDDEN, f"`Sec-Fetch-Site` must be the page itself, got {site!r}")

    def _is_here(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["v6"] or match["name"]
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return address.is_loopback or not self._loopback_only

    async def _admit(self, scope: Any, receive: Any) -> tuple[Any, Any]:
        """Return the request as the application is to see it."""
        method, path = scope["method"], scope["path"]
        reads, query = method in ("GET", "HEAD"), b""
        if reads and _PAGE.fullmatch(path):
            pass
        elif (method == "GET" and _OWN.fullmatch(path)) or (method == "POST" and path == UPLOAD_PATH):
            require_session(Request(scope))
        elif method == "POST" and path in (JOIN_PATH, RUN_PATH):
            call = self._call(await _read_body(scope, receive), require_session(Request(scope)))
            return _with(scope, b"", call), _once(call, receive)
        elif method == "GET" and path == EVENTS_PATH:
            hashes = urllib.parse.parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])
            query = b"session_hash=" + _page_hash(hashes[-1], require_session(Request(scope))).encode()
        else:
            raise _refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        return _with(scope, query), receive

    def _call(self, content: bytes, session: str) -> bytes:
        """Return a call with the inputs of its function only; files must be stored for the session."""
        try:
            call = json.loads(content, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise _refuse(HTTPStatus.BAD_REQUEST, "the call must be JSON") from error
        if not isinstance(call, dict):
            raise _refuse(HTTPStatus.BAD_REQUEST, "the call must be an object")
        number, data, trigger = call.get("fn_index"), call.get("data"), call.get("trigger_id")
        kinds = self._inputs.get(number) if type(number) is int else None
        if kinds is None or not isinstance(data, list) or len(data) != len(kinds):
            raise _refuse(HTTPStatus.BAD_REQUEST, "`fn_index` and `data` must be a function of the page and its inputs")
        if not (trigger is None or type(trigger) is int):
            raise _refuse(HTTPStatus.BAD_REQUEST, "`trigger_id` must be an integer")
        checked = [self._value(one, kind, session) for one, kind in zip(data, kinds, strict=True)]
        page = _page_hash(call.get("session_hash"), session)
        return json.dumps({"data": checked, "fn_index": number, "trigger_id": trigger, "session_hash": page}).encode()

    def _value(self, value: Any, kind: type, session: str) -> Any:
        if kind is Path:
            return None if value is None else self._file(value, session)
        if kind is str and (value is None or isinstance(value, str)):
            # A lone surrogate cannot be encoded as UTF-8, so every tokenizer refuses it.
            return (value or "").encode(errors="replace").decode()
        if kind is bool and isinstance(value, bool):
            return value
        if kind is float and (value is None or (type(value) in (int, float) and abs(value) <= _LARGEST)):
            return value
        raise _refuse(
            HTTPStatus.BAD_REQUEST, f"each of `data` must have the type of its field, got {type(value).__name__}"
        )

    def _file(self, value: Any, session: str) -> Any:
        path = value.get("path") if isinstance(value, dict) else None
        found = self._files.find(session, path) if isinstance(path, str) else None
        if found is None:
            message = "`recording` must be a file that was uploaded on this page and is still kept, got another"
            raise _refuse(HTTPStatus.FORBIDDEN, f"{message}: record or upload it again")
        return {"path": str(found), "orig_name": found.name, "meta": {"_type": "gradio.FileData"}}


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def session_of(request: Any) -> str | None:
    """Return the session of a request, None without a valid cookie."""
    cookie = request.cookies.get(SESSION_COOKIE, "")
    return cookie if _SESSION.fullmatch(cookie) else None


def require_session(request: Any) -> str:
    """Return the session of a request; raise HTTPException without a valid cookie."""
    session = session_of(request)
    if session is None:
        raise _refuse(HTTPStatus.FORBIDDEN, "the request must carry the cookie of the page: reload the page")
    return session


def bounded(receive: Any, num_bytes: int, seconds: float) -> Any:
    """Limit the body of a request.

    Args:
        receive: Gives its parts.
        num_bytes: Maximum bytes of all parts.
        seconds: Longest time from now to the last part.

    Returns:
        A receiver of its parts that raises HTTPException where they exceed the size or the time.
    """
    deadline, left = asyncio.get_running_loop().time() + seconds, num_bytes

    async def receive_bounded() -> Any:
        nonlocal left
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            raise _refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request must arrive within {seconds:g} s") from error
        left -= len(message.get("body", b""))
        if left < 0:
            raise _refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request must have at most {num_bytes} bytes")
        return message

    return receive_bounded


async def _read_body(scope: Any, receive: Any) -> bytes:
    request = Request(scope, bounded(receive, _MAX_CALL_BYTES, _MAX_CALL_SECONDS))
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "`Content-Type` must be application/json")
    return await request.body()


def _page_hash(value: Any, session: str) -> str:
    """Return the id of a page (a session of Gradio), derived from the cookie, so that no other browser knows it."""
    if not isinstance(value, str) or not _PAGE_HASH.fullmatch(value):
        raise _refuse(HTTPStatus.BAD_REQUEST, "`session_hash` must be letters and digits")
    return hashlib.sha256(f"{session}:{value}".encode()).hexdigest()


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _refuse(status: HTTPStatus, detail: str) -> HTTPException:
    return HTTPException(status, detail)


def _with(scope: Any, query: bytes, body: bytes | None = None) -> Any:
    """Return the request with another query and body, without the headers of a proxy."""
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if not name.startswith((b"x-forwarded-", b"x-gradio-", b"forwarded"))
        and not (body is not None and name in (b"content-length", b"transfer-encoding"))
    ]
    if body is not None:
        headers.append((b"content-length", str(len(body)).encode()))
    return {**scope, "headers": headers, "query_string": query}


def _once(body: bytes, receive: Any) -> Any:
    """Yield a body, then the message that the client has disconnected."""
    given = False

    async def receive_again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
