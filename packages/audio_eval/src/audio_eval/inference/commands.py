"""`audio-eval transcribe`, `speak`, `continue` and `translate`: a model at work on files."""

import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from audio_data import InputError, Progress

if TYPE_CHECKING:
    from audio_eval.inference.speech_model import Speech, SpeechModel

_PATH = click.Path(path_type=Path)
_MODEL = click.argument("model", type=_PATH)
_FILES = click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_PATH)
_CODEC_WEIGHTS = click.option(
    "--codec-weights", help="Location of Mimi's weights, if it differs from what the model records."
)
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace files that are there, instead of keeping them.")
_SOUND_OUT = click.option(
    "--out", required=True, type=_PATH, help="A .wav file for one output, or a folder for any number."
)
_SEED = click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**32 - 1),
    help="Seed of the sampling.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document a file on standard output.")
Result = TypeVar("Result")
# Transcripts between two writes; a kill loses at most these.
_FILES_AT_ONCE = 16


@click.command()
@_MODEL
@_FILES
@click.option("--out", type=_PATH, help="Folder for a text file per recording. [default: print the transcripts]")
@click.option(
    "--batch-size", default=8, show_default=True, type=click.IntRange(min=1), help="Recordings transcribed at a time."
)
@_OVERWRITE
@_CODEC_WEIGHTS
@_JSON
def transcribe(
    model: Path,
    files: tuple[Path, ...],
    out: Path | None,
    batch_size: int,
    overwrite: bool,
    codec_weights: str | None,
    as_json: bool,
) -> None:
    """Transcribe each FILE, a recording or a folder of recordings, with MODEL.

    A recording that is longer than the model's context is cut at its quietest moments. Transcripts that are in --out
    are kept: run the same command again to resume.
    """
    found = recordings_in(files)
    targets = {} if out is None else targets_in(out, found, ".txt")
    waiting = [file for file in found if overwrite or out is None or not _is_kept(targets[file])]
    if not waiting:
        return
    loaded = _load(model, "transcribe", codec_weights)
    left, failures = iter(waiting), _Failures(len(waiting))
    with Progress("transcribe", len(waiting), unit="files") as progress:
        while chunk := list(islice(left, _FILES_AT_ONCE)):
            read = {file: samples for file in chunk if (samples := failures.of(loaded.read_audio, file)) is not None}
            texts = loaded.transcribe_batch(list(read.values()), batch_size=batch_size) if read else []
            for file, text in zip(read, texts, strict=True):
                if not text:
                    click.echo(f"{file}: the transcript is empty: the model found no words", err=True)
                if as_json:
                    click.echo(json.dumps({"file": str(file), "transcript": text}, ensure_ascii=False))
                elif out is None:
                    click.echo(text if len(found) == 1 else f"{file}: {text}")
                if out is not None:
                    _write(targets[file], f"{text}\n".encode())
            progress.advance(len(chunk))
    failures.tell()


@click.command()
@_MODEL
@click.argument("files", metavar="[FILE]...", nargs=-1, type=_PATH)
@click.option("--text", "texts", multiple=True, help="Text to speak, repeatable, instead of files.")
@_SOUND_OUT
@click.option("--voice", type=_PATH, help="Recording of the voice to speak in.")
@click.option("--voice-text", default="", help="Transcript of that recording. [default: transcribed by the model]")
@_SEED
@_OVERWRITE
@_CODEC_WEIGHTS
@_JSON
def speak(
    model: Path,
    files: tuple[Path, ...],
    texts: tuple[str, ...],
    out: Path,
    voice: Path | None,
    voice_text: str,
    seed: int,
    overwrite: bool,
    codec_weights: str | None,
    as_json: bool,
) -> None:
    """Speak each FILE, a text in UTF-8, or each --text, with MODEL."""
    if bool(files) == bool(texts):
        raise InputError("expected files with texts, or `--text`, got both or neither: give one of them")
    numbered = {Path(f"speech-{number}" if len(texts) > 1 else "speech"): text for number, text in enumerate(texts, 1)}
    said = {file: _read_text(file) for file in files} or numbered
    _answer(
        _load_later(model, "speak", codec_weights),
        list(said),
        out,
        lambda loaded, file: loaded.speak(said[file], voice, voice_text, seed=seed),
        label="speak",
        overwrite=overwrite,
        as_json=as_json,
    )


@click.command("continue")
@_MODEL
@_FILES
@_SOUND_OUT
@click.option(
    "--seconds",
    default=3.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds of the beginning of each recording that the model continues.",
)
@_SEED
@_OVERWRITE
@_CODEC_WEIGHTS
@_JSON
def continue_speech(
    model: Path,
    files: tuple[Path, ...],
    out: Path,
    seconds: float,
    seed: int,
    overwrite: bool,
    codec_weights: str | None,
    as_json: bool,
) -> None:
    """Continue the beginning of each FILE, a recording or a folder of recordings, with MODEL.

    The output begins with the given part, as the codec reconstructs it.
    """
    _answer(
        _load_later(model, "continue", codec_weights),
        recordings_in(files),
        out,
        lambda loaded, file: loaded.continue_speech(file, seconds, seed=seed),
        label="continue",
        overwrite=overwrite,
        as_json=as_json,
    )


@click.command()
@_MODEL
@_FILES
@_SOUND_OUT
@click.option("--from", "source", required=True, metavar="LANGUAGE", help="Language of the recording, such as de.")
@click.option("--to", "target", required=True, metavar="LANGUAGE", help="Language to speak, such as en.")
@click.option(
    "--route",
    type=click.Choice(["chain", "direct"]),
    help="chain: write transcript and translation first; direct: speak at once.  [default: as the model was trained]",
)
@_SEED
@_OVERWRITE
@_CODEC_WEIGHTS
@_JSON
def translate(
    model: Path,
    files: tuple[Path, ...],
    out: Path,
    source: str,
    target: str,
    route: str | None,
    seed: int,
    overwrite: bool,
    codec_weights: str | None,
    as_json: bool,
) -> None:
    """Translate each FILE, a recording or a folder of recordings, to speech of another language, with MODEL."""
    _answer(
        _load_later(model, "translate", codec_weights),
        recordings_in(files),
        out,
        lambda loaded, file: loaded.translate(file, source, target, route=route, seed=seed),
        label="translate",
        overwrite=overwrite,
        as_json=as_json,
    )


COMMANDS = (transcribe, speak, continue_speech, translate)


def recordings_in(paths: Sequence[Path]) -> list[Path]:
    """Return files as they are, and the audio files below folders, sorted.

    Raises:
        InputError: A path does not exist, or a folder has no audio file.
    """
    from audio_tokenize.audio_files.contents import AUDIO_SUFFIXES

    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            below = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file())
            if not below:
                raise InputError(
                    f"`{path}` must hold recordings, got no file that ends in {', '.join(sorted(AUDIO_SUFFIXES))}"
                )
            found += below
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"`{path}` must be a recording or a folder of them, got no such file")
    return list(dict.fromkeys(found))


def targets_in(out: Path, files: Sequence[Path], suffix: str) -> dict[Path, Path]:
    """Return where the answer to each file goes.

    Args:
        out: A folder; or a file that ends in `suffix`, for one answer.
        files: Each with its own name, or in folders of their own names.
        suffix: Suffix of answers.

    Raises:
        InputError: One file for several answers, or two files of the same name.
    """
    if out.suffix == suffix and not out.is_dir():
        if len(files) != 1:
            raise InputError(f"`--out` must be a folder for {len(files)} answers, got the file `{out}`")
        return {files[0]: out}
    targets: dict[Path, Path] = {}
    for file in files:
        target = out / f"{file.name.removesuffix(file.suffix)}{suffix}"
        if target in targets.values():
            other = next(one for one, taken in targets.items() if taken == target)
            raise InputError(f"`{other}` and `{file}` have the same name, so that both would be `{target}`: rename one")
        targets[file] = target
    return targets


def _answer(
    load: "Callable[[], SpeechModel]",
    files: Sequence[Path],
    out: Path,
    answer: "Callable[[SpeechModel, Path], Speech]",
    *,
    label: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the speech that answers each file; answers that are there are kept."""
    targets = targets_in(out, files, ".wav")
    waiting = [file for file in files if overwrite or not _is_kept(targets[file])]
    if not waiting:
        return
    model, failures = load(), _Failures(len(waiting))
    with Progress(label, len(waiting), unit="files") as progress:
        for file in waiting:
            speech = failures.of(lambda one: answer(model, one), file)
            progress.advance(1)
            if speech is not None:
                _write(targets[file], speech.wav())
                click.echo(_described(file, targets[file], speech, as_json))
    failures.tell()


class _Failures:
    """Files that have no answer: each is reported when it fails, and all together at the end."""

    def __init__(self, num_files: int):
        self._num_files, self._messages = num_files, list[str]()

    def of(self, work: Callable[[Path], Result], file: Path) -> Result | None:
        """Return what `work` makes of a file; None if it cannot be used."""
        try:
            return work(file)
        except InputError as error:
            self._messages.append(error.message if str(file) in error.message else f"{file}: {error.message}")
            if self._num_files > 1:
                click.echo(self._messages[-1], err=True)
            return None

    def tell(self) -> None:
        """Raise an error if a file failed."""
        if self._num_files == 1 and self._messages:
            raise InputError(self._messages[0])
        if self._messages:
            raise InputError(
                f"{len(self._messages)} of {self._num_files} files have no answer; their reasons are above"
            )


def _described(file: Path, target: Path, speech: "Speech", as_json: bool) -> str:
    if as_json:
        texts = {"transcript": speech.transcript, "written": speech.written}
        facts = {"file": str(file), "out": str(target), "seconds": speech.seconds, "ended": speech.ended}
        return json.dumps({**facts, **{name: text for name, text in texts.items() if text is not None}})
    ending = "" if speech.ended else ", cut off at the maximum length"
    texts = "".join(f"; {text!r}" for text in (speech.transcript, speech.written) if text is not None)
    return f"{target}: {speech.seconds:.1f} s{ending}{texts}"


def _load_later(model: Path, ability: str, codec_weights: str | None) -> "Callable[[], SpeechModel]":
    return lambda: _load(model, ability, codec_weights)


def _load(model: Path, ability: str, codec_weights: str | None) -> "SpeechModel":
    from audio_eval.inference.speech_model import load

    loaded = load(model, codec_weights=codec_weights)
    loaded.require(ability)
    return loaded


def _is_kept(target: Path) -> bool:
    if not target.exists():
        return False
    click.echo(f"{target} is there and kept; --overwrite replaces it", err=True)
    return True


def _write(target: Path, content: bytes) -> None:
    from audio_data import disk_errors, write_bytes

    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, content)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError(f"`{file}` must be a text to speak, got {error.strerror}: correct the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"`{file}` must be a text in UTF-8, got other bytes at {error.start}: convert it") from error
