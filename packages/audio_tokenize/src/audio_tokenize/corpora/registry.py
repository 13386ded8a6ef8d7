"""The shipped corpora as data, and how a name or a path becomes a corpus."""

from dataclasses import dataclass
from pathlib import Path

from audio_data import InputError
from audio_tokenize.corpora.entries import assemble
from audio_tokenize.corpora.folder import read_folder
from audio_tokenize.corpora.ljspeech import read_ljspeech
from audio_tokenize.corpora.manifest import read_manifest
from audio_tokenize.corpora.utterance import Corpus

_DATA = Path(__file__).parent / "data"
_MANIFEST = "manifest.jsonl"
_TABLE = "metadata.csv"
_SYNTHETIC = "Apache-2.0 (texts written for this project; audio synthesised with flite and espeak-ng)"


@dataclass(frozen=True)
class ShippedCorpus:
    """A corpus inside this package.

    Attributes:
        name: What `open_corpus` calls it.
        folder: Folder below `corpora/data` with recordings and `manifest.jsonl`.
        description: One line.
        licence: Terms of the audio and the texts.
    """

    name: str
    folder: str
    description: str
    licence: str = _SYNTHETIC


SHIPPED = (
    ShippedCorpus(
        "sample",
        "english",
        "2.5 hours of short English commands, 73 words, six synthetic voices and two held-out ones",
    ),
    ShippedCorpus(
        "sample-multilingual",
        "multilingual",
        "one to two minutes each of Arabic, German, English, Spanish, French, Hindi, Thai and Mandarin",
    ),
    ShippedCorpus(
        "sample-parallel",
        "parallel",
        "the same sentences in German, Spanish and French, each with its English translation, spoken",
    ),
)


def _open_shipped(card: ShippedCorpus) -> Corpus:
    manifest = _DATA / card.folder / _MANIFEST
    return assemble(card.name, manifest, read_manifest(manifest), card.licence)


def _name(path: Path) -> str:
    """Names a corpus after its folder, or after its file where that has a name of its own."""
    resolved = path.resolve()
    if resolved.is_dir():
        return resolved.name
    return resolved.parent.name if resolved.name in (_MANIFEST, _TABLE) else resolved.stem


def _open_path(path: Path) -> Corpus:
    """Chooses the reader by what is there."""
    name = _name(path)
    if path.is_dir():
        if (path / _TABLE).is_file():
            return assemble(name, path, read_ljspeech(path / _TABLE))
        if (path / _MANIFEST).is_file():
            return assemble(name, path, read_manifest(path / _MANIFEST))
        return assemble(name, path, read_folder(path))
    if path.suffix == ".csv":
        return assemble(name, path, read_ljspeech(path))
    if path.suffix == ".jsonl":
        return assemble(name, path, read_manifest(path))
    raise InputError(
        f"`{path}`: expected a folder of audio, an LJSpeech metadata.csv or a .jsonl manifest, "
        f"got a {path.suffix!r} file"
    )


def open_corpus(name_or_path: str | Path) -> Corpus:
    """Opens a shipped corpus by its name, or speech on disk by its path.

    A path is a folder with `metadata.csv` (LJSpeech) or `manifest.jsonl`, a folder of audio files with a `.txt` beside
    each, or such a table or manifest itself. Only texts and the headers of audio files are read.

    Args:
        name_or_path: `sample`, `sample-multilingual`, `sample-parallel`, or a path. A `Path`, or a string with a
            separator, is never taken for a name.

    Raises:
        InputError: If there is no such name or path, its texts or table are malformed, or no usable utterance is left.
    """
    for card in SHIPPED:
        if name_or_path == card.name:
            return _open_shipped(card)
    path = Path(name_or_path)
    if not path.exists():
        names = ", ".join(card.name for card in SHIPPED)
        raise InputError(f"corpus `{name_or_path}`: expected a path that exists or one of {names}; got neither")
    return _open_path(path)
