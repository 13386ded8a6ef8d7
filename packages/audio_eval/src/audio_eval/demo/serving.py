"""Serving the page: on this machine alone unless asked otherwise, with nothing from any other host, until Ctrl-C."""

import contextlib
import importlib.util
import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from audio_data import InputError
from audio_eval.demo.answering import TAKES_PATH
from audio_eval.demo.limits import MEBIBYTE, Limits
from audio_eval.demo.session import DemoSession, open_session

if TYPE_CHECKING:
    import fastapi  # pyright: ignore[reportMissingImports]: an extra

LOOPBACK = "127.0.0.1"
_LOCAL_NAMES = (LOOPBACK, "localhost")
# Gradio's scripts and styles stand in the page, hence 'unsafe-inline' and 'unsafe-eval'; no other host is ever asked.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-ancestors 'self'; form-action 'self'; base-uri 'self'"
)
_CLOSING_SECONDS = 1


def serve_demo(
    checkpoint: str | Path,
    *,
    host: str = LOOPBACK,
    port: int = 7860,
    max_seconds: float | int = Limits.max_seconds,
    max_megabytes: float | int = Limits.max_upload_bytes // MEBIBYTE,
    codec_weights: str | None = None,
) -> None:
    """Serves a page on which a checkpoint can be talked to, until it is interrupted.

    What is recorded and made there lies in a temporary folder, which goes when the page does.

    Args:
        checkpoint: Folder of an exported model, or of a run, or a published one, see `audio_eval.load_checkpoint`.
        host: Address to listen on. The page asks for no password: any other than the loopback's opens it to whoever
            reaches that address.
        port: Port to listen on; 0 for any that is free.
        max_seconds: Longest recording.
        max_megabytes: Largest file, in MiB.
        codec_weights: Where Mimi's weights lie, if not where the checkpoint says.

    Raises:
        InputError: Gradio is not installed, the port is taken, or the checkpoint cannot be used.
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError("the demo must have Gradio, got none: `pip install 'audio-eval[demo]'`")
    import uvicorn  # pyright: ignore[reportMissingImports]: an extra

    limits = Limits(max_seconds=max_seconds, max_upload_bytes=round(max_megabytes * MEBIBYTE))
    with _listen(host, port) as listener, tempfile.TemporaryDirectory(prefix="audio-eval-demo-") as folder:
        session = open_session(checkpoint, limits=limits, codec_weights=codec_weights)
        os.environ["GRADIO_TEMP_DIR"] = folder
        app = make_app(session, host)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_CLOSING_SECONDS)
        address = f"http://{host}:{listener.getsockname()[1]}/"
        click.echo(f"Open {address} in a browser; Ctrl-C ends it.")
        # The server closes first, then hands the interrupt on.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    click.echo("The demo has ended; what was recorded and made there is gone.")


def make_app(session: DemoSession, host: str = LOOPBACK) -> "fastapi.FastAPI":
    """Makes the web application: the page, and the sounds in the making.

    Args:
        session: Who answers.
        host: Address that it is served on. On the loopback only requests that name it are answered, so that no
            other site can reach the page under a name of its own.

    Returns:
        The application.
    """
    import fastapi  # pyright: ignore[reportMissingImports]: an extra
    import gradio as gr  # pyright: ignore[reportMissingImports]: an extra
    from starlette.middleware.trustedhost import TrustedHostMiddleware  # pyright: ignore[reportMissingImports]

    from audio_eval.demo.page import STYLE, make_page, make_theme
    from audio_eval.demo.takes import TakeShelf

    app, shelf = fastapi.FastAPI(openapi_url=None), TakeShelf()

    @app.get(f"/{TAKES_PATH}/{{name}}.wav")
    def listen(name: str) -> fastapi.Response:
        take = shelf.find(name)
        if take is None:
            return fastapi.Response("there is no such sound any longer", status_code=404)
        headers = {"cache-control": "no-store"}
        return fastapi.responses.StreamingResponse(take.follow(), media_type="audio/wav", headers=headers)

    gr.mount_gradio_app(
        app,
        make_page(session, shelf),
        path="/",
        server_name=host,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=session.limits.max_upload_bytes,
        ssr_mode=False,
        theme=make_theme(),
        css_paths=[STYLE],
    )
    app.add_middleware(ContentPolicy)
    if host in _LOCAL_NAMES:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(_LOCAL_NAMES))
    return app


class ContentPolicy:
    """Tells the browser with every answer to fetch nothing from any other host."""

    def __init__(self, app: Any):
        """Stands before an ASGI application."""
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request, adding the policy to the headers of the answer."""

        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", _POLICY.encode())
                message = {**message, "headers": [*message.get("headers", ()), policy]}
            await send(message)

        await self._app(scope, receive, send_with_policy)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise InputError(
            f"`{host}:{port}` must be free to listen on, got {str(error)!r}: name another `--port`"
        ) from error
