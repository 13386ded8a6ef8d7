"""Routes for uploads, downloads and sound, in place of Gradio's routes of the same paths."""

import mimetypes
from http import HTTPStatus

from fastapi import APIRouter, HTTPException, Request, Response  # pyright: ignore[reportMissingImports]: an extra
from fastapi.responses import (  # pyright: ignore[reportMissingImports]: an extra
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    StreamingResponse,
)
from starlette.datastructures import UploadFile  # pyright: ignore[reportMissingImports]: an extra
from starlette.requests import ClientDisconnect  # pyright: ignore[reportMissingImports]: an extra

from audio_data import InputError
from audio_eval.demo.answering import RECORDINGS_PATH
from audio_eval.demo.files import RecordingStore, SessionFiles
from audio_eval.demo.gate import FILE_PATH, PROGRESS_PATH, UPLOAD_PATH, bounded, require_session
from audio_eval.demo.limits import MEBIBYTE, Limits

# Around the one file of an upload.
_MULTIPART_BYTES = 65_536
_NO_STORE = {"cache-control": "no-store"}


def make_routes(files: SessionFiles, recordings: RecordingStore, limits: Limits) -> APIRouter:
    """Make the routes; the gate precedes them, so that every request has a session.

    Args:
        files: What is stored.
        recordings: Recordings of generated speech.
        limits: How much an upload may hold.
    """
    router = APIRouter()

    @router.get(f"/{RECORDINGS_PATH}/{{name}}.wav")
    def listen(request: Request, name: str) -> Response:
        recording = recordings.find(require_session(request), name)
        if recording is None:
            return PlainTextResponse("there is no such sound any longer", HTTPStatus.NOT_FOUND)
        return StreamingResponse(recording.follow(), media_type="audio/wav", headers=_NO_STORE)

    @router.get(FILE_PATH + "{path:path}")
    def give(request: Request, path: str) -> Response:
        found = files.find(require_session(request), path)
        if found is None:
            return PlainTextResponse("there is no such file any longer", HTTPStatus.NOT_FOUND)
        kind = mimetypes.guess_type(found.name)[0] or ""
        # Never a type that a browser would run.
        kind = kind if kind.startswith(("audio/", "video/")) else "application/octet-stream"
        return FileResponse(found, media_type=kind, filename=found.name, headers=_NO_STORE)

    @router.get(PROGRESS_PATH)
    def tell_progress() -> Response:
        # The page requests the progress of its upload; the response of the upload itself is enough.
        return Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")

    @router.post(UPLOAD_PATH)
    async def upload(request: Request) -> Response:
        length = request.headers.get("content-length")
        if length is None:
            return PlainTextResponse("`Content-Length` must be given", HTTPStatus.LENGTH_REQUIRED)
        num_bytes, max_bytes = int(length), limits.max_upload_bytes
        if num_bytes > max_bytes + _MULTIPART_BYTES:
            return _too_large(f"a file must have at most {max_bytes / MEBIBYTE:.3g} MiB: cut it")
        arriving = Request(request.scope, bounded(request.receive, num_bytes, limits.max_upload_seconds))
        try:
            try:
                with files.reserve(min(num_bytes, max_bytes)):
                    content, name = await _read_file(arriving)
            except InputError:
                # A browser reads an answer only after it has sent everything.
                async for _ in arriving.stream():
                    pass
                raise
            path = files.store(require_session(request), name, content)
        except InputError as error:
            return _too_large(error.message)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        return JSONResponse([str(path)])

    return router


async def _read_file(request: Request) -> tuple[bytes, str]:
    """Return the content of the only file of a form, and its name."""
    async with request.form(max_files=1, max_fields=0) as form:
        for value in form.values():
            if isinstance(value, UploadFile):
                return await value.read(), value.filename or ""
    raise HTTPException(HTTPStatus.BAD_REQUEST, "an upload must hold a file")


def _too_large(message: str) -> Response:
    return PlainTextResponse(message, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
