"""A checkpoint to evaluate: a model with its vocabulary and its text tokenizer."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audio_data import InputError, Vocabulary, file_errors, from_json, hash_file, read_json
from audio_model import Qwen3x, load_model
from audio_tokenize import TextTokenizer, VocabularyFolder

_EXPORT = "export"
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_VOCABULARY = "vocabulary"
# Which published vocabulary a model without a vocabulary folder has, by its number of ids.
_REMEDY = "export the model again with `audio-train export`, or restore the file from a copy"
# Fields of a provenance that are read; a trainer may record further ones of any type.
_READ = {
    "loss": str | None,
    "run": str | None,
    "tokens": int | None,
    "codec": Mapping[str, Any] | None,
    "layouts": list[str] | None,
    "groupings": list[str] | None,
}
_PUBLISHED = {144_644: "marin-mimi", 168_059: "qwen3x-mimi"}


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model ready to be evaluated.

    Attributes:
        folder: Folder of the weights.
        model: The model.
        vocabulary: What its ids mean.
        text: Its text tokenizer.
        provenance: What the run that made it recorded: run, step, data, codec.
        weights_sha256: SHA-256 of the weights.
    """

    folder: Path
    model: Qwen3x
    vocabulary: Vocabulary
    text: TextTokenizer
    provenance: Mapping[str, Any]
    weights_sha256: str

    @property
    def grammar_loss(self) -> bool:
        """Whether it was trained within the allowed sets, so that only those are calibrated."""
        return self.provenance.get("loss") == "grammar"

    @property
    def layouts(self) -> frozenset[str] | None:
        """Layouts of the documents that it was trained on; None if they are not recorded."""
        found = self.provenance.get("layouts")
        return None if found is None else frozenset(found)

    @property
    def has_single_utterances(self) -> bool:
        """Whether each document that it was trained on holds one utterance, as far as recorded."""
        return self.provenance.get("groupings") == ["utterance"]


def find_export(path: Path) -> Path:
    """Return the folder of the weights: the path itself, or the export inside a run's folder.

    Raises:
        InputError: There is neither.
    """
    for folder in (path, path / _EXPORT):
        if (folder / _WEIGHTS).is_file() or (folder / _INDEX).is_file():
            return folder
    raise InputError(
        f"`{path}` must be an exported model or the folder of a finished run, got no `{_WEIGHTS}` in it or in its "
        f"`{_EXPORT}`: write one with `audio-train export`"
    )


def load_checkpoint(path: Path) -> Checkpoint:
    """Load an exported model, that of a run, or a published one.

    Args:
        path: Folder with `model.safetensors` and `vocabulary/`, or a run's folder with `export/`; or a Hugging Face
            folder of a published SODA model (arXiv 2602.16687), whose size (144,644 or 168,059 ids) tells its
            vocabulary, made from its `tokenizer.json`.

    Raises:
        InputError: A part is missing, or model and vocabulary do not belong together.
    """
    folder = find_export(path)
    meaning = _meaning(folder)
    model = load_model(folder)
    if model.config.vocab_size < meaning.vocabulary.size:
        raise InputError(
            f"`{folder}` must have at least {meaning.vocabulary.size} embedding rows for its vocabulary, "
            f"got {model.config.vocab_size!r}: it was exported with another vocabulary"
        )
    return Checkpoint(folder, model, meaning.vocabulary, meaning.text, _provenance(folder), _digest(folder))


def _meaning(folder: Path) -> VocabularyFolder:
    """Return the vocabulary of the folder, or the published one that fits the model's size."""
    config, tokenizer = folder / "config.json", folder / "tokenizer.json"
    if not (folder / _VOCABULARY).is_dir() and config.is_file() and tokenizer.is_file():
        size = read_json(config, remedy=_REMEDY).get("vocab_size")
        if size not in _PUBLISHED:
            sizes = " or ".join(f"{size:,}" for size in _PUBLISHED)
            raise InputError(
                f"`{folder}` must have a `{_VOCABULARY}/`, or {sizes} ids as the published SODA models, got {size!r} "
                "ids: make one with `audio-tokenize vocabulary`"
            )
        return VocabularyFolder.published(_PUBLISHED[size], tokenizer)
    return VocabularyFolder.load(folder / _VOCABULARY)


def _digest(folder: Path) -> str:
    """SHA-256 of the weights; of several files, that over the digests of each in the order of their names."""
    files = [folder / _WEIGHTS] if (folder / _WEIGHTS).is_file() else sorted(folder.glob("*.safetensors"))
    digests = []
    for file in files:
        digests.append(hash_file(file))
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _provenance(folder: Path) -> dict[str, Any]:
    path = folder / "provenance.json"
    if not path.exists():
        return {}
    content = read_json(path, remedy=_REMEDY)
    with file_errors(path, _REMEDY):
        for name, annotation in _READ.items():
            from_json(annotation, content.get(name), f"provenance.{name}")
    return content
