"""The server of the page: on this machine by default, without content from other hosts, until Ctrl-C."""

import asyncio
import contextlib
import importlib.util
import math
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from audio_data import InputError, install_extra_command
from audio_eval.demo.ending import ended_by_signals, run_server
from audio_eval.demo.limits import Limits
from audio_eval.demo.session import DemoSession

if TYPE_CHECKING:
    import fastapi  # pyright: ignore[reportMissingImports]: an extra

LOOPBACK = "127.0.0.1"
# Maximum time from the signal to the end.
_LONGEST_CLOSING_SECONDS = 5.0
_MAX_SWEEP_SECONDS = 30.0


def serve_demo(
    checkpoint: str | Path,
    *,
    host: str = LOOPBACK,
    port: int = 7860,
    limits: Limits | None = None,
    codec_weights: str | None = None,
) -> None:
    """Serve a page on which a checkpoint can be talked to, until SIGINT or SIGTERM.

    Recordings and answers are stored in a temporary folder, which is deleted at the end.

    Args:
        checkpoint: Folder of an exported model, or of a run, or a published one, see `audio_eval.load_checkpoint`.
        host: Address to listen on. The page asks for no password: any other than the loopback's opens it to whoever
            reaches that address.
        port: Port to listen on; 0 for any that is free.
        limits: How much one request may hold, and how much is kept.
        codec_weights: Location of Mimi's weights, if it differs from what the checkpoint records.

    Raises:
        InputError: Gradio is not installed, the port is taken, or the checkpoint cannot be used.
    """
    if importlib.util.find_spec("gradio") is None:
        raise InputError(f"the demo must have Gradio, got none: `{install_extra_command('audio-eval', 'demo')}`")
    with (
        _listen(host, port) as listener,
        tempfile.TemporaryDirectory(prefix="audio-eval-demo-") as folder,
        ended_by_signals(_LONGEST_CLOSING_SECONDS, lambda: shutil.rmtree(folder, ignore_errors=True)),
    ):
        session = DemoSession.load(checkpoint, limits=limits, codec_weights=codec_weights)
        app = make_app(session, Path(folder), host)
        address = f"http://{host}:{listener.getsockname()[1]}/"
        click.echo(f"Open {address} in a browser; Ctrl-C ends it.")
        with contextlib.suppress(KeyboardInterrupt):
            run_server(app, listener)
    click.echo("The demo has ended; what was recorded and made there is gone.")


def make_app(session: DemoSession, folder: Path, host: str = LOOPBACK) -> "fastapi.FastAPI":
    """Make the web application: the page, its files, and the sounds in the making, behind the gate.

    Args:
        session: Who answers.
        folder: An empty folder for its files.
        host: Address that it is served on, see `Gate`.

    Returns:
        The application.
    """
    # Read when Gradio is imported. The store is in this folder, since Gradio copies files from elsewhere.
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    import fastapi  # pyright: ignore[reportMissingImports]: an extra
    import gradio as gr  # pyright: ignore[reportMissingImports]: an extra

    from audio_eval.demo.files import RecordingStore, SessionFiles
    from audio_eval.demo.gate import Gate
    from audio_eval.demo.page import STYLE, input_kinds, make_page, make_theme
    from audio_eval.demo.transfers import make_routes

    files, recordings = SessionFiles(folder, session.limits), RecordingStore()

    @contextlib.asynccontextmanager
    async def sweep(app: fastapi.FastAPI) -> AsyncGenerator[None, None]:
        async def expire() -> None:
            while True:
                await asyncio.sleep(min(_MAX_SWEEP_SECONDS, session.limits.max_stored_seconds / 4))
                files.expire()

        task = asyncio.create_task(expire())
        yield
        task.cancel()

    app = fastapi.FastAPI(openapi_url=None, lifespan=sweep)
    app.include_router(make_routes(files, recordings, session.limits))
    page = make_page(session, recordings, files)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=host,
        app_kwargs={"openapi_url": None},
        allowed_paths=[],
        enable_monitoring=False,
        footer_links=[],
        mcp_server=False,
        run_history=False,
        show_error=False,
        max_file_size=math.ceil(session.limits.max_upload_bytes),
        ssr_mode=False,
        theme=make_theme(),
        css_paths=[STYLE],
    )
    app.add_middleware(Gate, host=host, files=files, inputs=input_kinds(page))
    return app


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise InputError(
            f"`{host}:{port}` must be free to listen on, got {str(error)!r}: name another `--port`"
        ) from error
