"""The vocabulary beside the weights: tokenizer files, and the ids at which texts begin and end."""

import dataclasses
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audio_model.errors import InputError
from audio_model.json_files import is_count, read_json
from audio_model.tensor_files import whole_file, write_json

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
"""What `transformers.AutoTokenizer` reads."""

GENERATION_CONFIG = "generation_config.json"
VOCABULARY = "vocabulary.json"
VOCABULARY_FOLDER = "vocabulary"

_MORE_TOKENIZER_FILES = ("tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json", "chat_template.jinja")
_SPECIALS = ("begin_of_text", "end_of_text", "text_start", "text_end", "audio_start", "audio_end")
_ROLES = {"begin": "bos_token", "end": "eos_token", "padding": "pad_token"}


@dataclasses.dataclass(frozen=True)
class SpecialIds:
    """The token ids that generation by other programs needs to know.

    Attributes:
        begin: Id before a text, or None.
        end: Id or ids that end a text, or None.
        padding: Id that fills up a batch, or None.
        source: File or folder that the ids come from, for error messages, or None.
    """

    begin: int | None = None
    end: int | tuple[int, ...] | None = None
    padding: int | None = None
    source: Path | None = dataclasses.field(default=None, compare=False)

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids that end a text."""
        if self.end is None:
            return ()
        return self.end if isinstance(self.end, tuple) else (self.end,)

    def check(self, vocab_size: int) -> None:
        """Refuse ids that a model has no row for.

        Args:
            vocab_size: Rows of its embedding.

        Raises:
            InputError: If an id is not in [0, vocab_size).
        """
        for role, ids in (("begin", (self.begin,)), ("end", self.ends), ("padding", (self.padding,))):
            for i in ids:
                if i is not None and not 0 <= i < vocab_size:
                    where = "" if self.source is None else f" of `{self.source}`"
                    raise InputError(
                        f"`{role}` of the special ids{where} must lie in 0..{vocab_size - 1}, got {i!r}; "
                        "give the vocabulary that belongs to the model"
                    )

    def to_json(self) -> dict[str, Any]:
        """Return the ids as `generation_config.json` has them; those that are None are left out."""
        end = list(self.end) if isinstance(self.end, tuple) else self.end
        ids = {"bos_token_id": self.begin, "eos_token_id": end, "pad_token_id": self.padding}
        return {name: value for name, value in ids.items() if value is not None}

    def to_model_json(self) -> dict[str, Any]:
        """Return the ids as `config.json` has them.

        A padding id that also begins or ends texts is left out: `transformers` gives the embedding row
        of a model's padding id no gradient, so training would never change that row.
        """
        document = self.to_json()
        if self.padding in (self.begin, *self.ends):
            document.pop("pad_token_id", None)
        return document


def special_ids_of_vocabulary(folder: str | os.PathLike[str]) -> SpecialIds:
    """Read the special ids of a vocabulary.

    Args:
        folder: A folder with `tokenizer.json` and `tokenizer_config.json`, or with `vocabulary.json`.

    Returns:
        What the first of these says; None for what it does not say.

    Raises:
        InputError: If a file is not what its name says.
    """
    path = Path(folder)
    if all((path / name).is_file() for name in TOKENIZER_FILES[:2]):
        return _of_tokenizer(path)
    file = path / VOCABULARY
    document = read_json(file) if file.is_file() else {}
    begin, end = (_id_or_none(document, name, file) for name in ("begin_of_text", "end_of_text"))
    return SpecialIds(begin=begin, end=end, source=file)


def special_ids_of_model(folder: str | os.PathLike[str]) -> SpecialIds:
    """Read the special ids of a model's folder.

    Args:
        folder: A folder with `generation_config.json` or `config.json`; the first goes before the second.

    Returns:
        The ids; None for those that neither tells.

    Raises:
        InputError: If a file is not what its name says.
    """
    begin = end = padding = None
    for file in (Path(folder) / name for name in ("config.json", GENERATION_CONFIG)):
        document = read_json(file) if file.is_file() else {}
        new_begin, new_padding = (_id_or_none(document, name, file) for name in ("bos_token_id", "pad_token_id"))
        new_end = document.get("eos_token_id")
        if isinstance(new_end, list) and all(map(is_count, new_end)):
            new_end = tuple(new_end)
        else:
            new_end = _id_or_none(document, "eos_token_id", file)
        begin = begin if new_begin is None else new_begin
        end = end if new_end is None else new_end
        padding = padding if new_padding is None else new_padding
    return SpecialIds(begin, end, padding, source=Path(folder))


def count_ids(folder: str | os.PathLike[str]) -> int | None:
    """How many embedding rows a vocabulary needs: its largest id plus one.

    Args:
        folder: A folder with `vocabulary.json` or `tokenizer.json`.

    Returns:
        The count, or None if it has neither.

    Raises:
        InputError: If a file is not what its name says.
    """
    path = Path(folder)
    if (path / VOCABULARY).is_file():
        return _ids_of_vocabulary(read_json(path / VOCABULARY), path / VOCABULARY)
    if (path / TOKENIZER_FILES[0]).is_file():
        return max(_tokens(path / TOKENIZER_FILES[0]).values(), default=-1) + 1
    return None


def check_vocabulary(folder: str | os.PathLike[str], vocab_size: int) -> None:
    """Refuse a vocabulary that does not belong to a model.

    Args:
        folder: The vocabulary.
        vocab_size: Rows of the model's embedding; more than the vocabulary's ids are padding.

    Raises:
        InputError: If the folder holds none, or one with more ids than rows.
    """
    count = count_ids(folder)
    if count is None:
        raise InputError(f"`{folder}` must hold {VOCABULARY} or {TOKENIZER_FILES[0]}; it holds neither")
    if count > vocab_size:
        raise InputError(
            f"the vocabulary in `{folder}` needs {count:,} embedding rows, but the weights have {vocab_size:,}: "
            "give the vocabulary they were trained with, or `audio-model extend` them first"
        )


def copy_vocabulary(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Copy tokenizer files beside weights, and a whole vocabulary folder as `vocabulary/`.

    Args:
        source: The vocabulary; without `vocabulary.json` only its tokenizer files are copied.
        target: The model's folder.
    """
    source, target = Path(source), Path(target)
    names = copied_names(source)
    if any(name.startswith(f"{VOCABULARY_FOLDER}/") for name in names):
        (target / VOCABULARY_FOLDER).mkdir(exist_ok=True)
    for name in names:
        with whole_file(target / name) as stream, open(source / Path(name).name, "rb") as content:
            shutil.copyfileobj(content, stream)


def copied_names(source: str | os.PathLike[str] | None) -> list[str]:
    """Return the files that `copy_vocabulary` writes, by their paths below the model's folder.

    Args:
        source: The vocabulary, or None.
    """
    if source is None:
        return []
    source = Path(source)
    names = [name for name in TOKENIZER_FILES + _MORE_TOKENIZER_FILES if (source / name).is_file()]
    if (source / VOCABULARY).is_file():
        names += [f"{VOCABULARY_FOLDER}/{file.name}" for file in sorted(source.iterdir()) if file.is_file()]
    return names


def write_generation_config(folder: str | os.PathLike[str], ids: SpecialIds) -> None:
    """Write `generation_config.json`.

    Args:
        folder: The model's folder.
        ids: What it says.
    """
    write_json(Path(folder) / GENERATION_CONFIG, ids.to_json())


def _of_tokenizer(folder: Path) -> SpecialIds:
    ids, file = _tokens(folder / TOKENIZER_FILES[0]), folder / TOKENIZER_FILES[1]
    config = read_json(file)

    def find(role: str) -> int | None:
        token = config.get(role)
        name = token.get("content") if isinstance(token, dict) else token
        if token is not None and not isinstance(name, str):
            raise InputError(
                f"`{role}` of `{file}` must be a token or null, got {token!r:.80}: fetch the tokenizer again"
            )
        return ids.get(name)

    return SpecialIds(**{field: find(role) for field, role in _ROLES.items()}, source=file)


def _tokens(file: Path) -> dict[str | None, int]:
    """Id of every token of a `tokenizer.json`, by name."""
    tokenizer = read_json(file)
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens")
    pieces = model.get("vocab") if isinstance(model, dict) else None
    added = [] if added is None else added
    if isinstance(pieces, list) and all(
        isinstance(piece, list) and piece and isinstance(piece[0], str) for piece in pieces
    ):
        # A Unigram model: pieces with their scores, the id is the place.
        pieces = {piece[0]: i for i, piece in enumerate(pieces)}
    if not isinstance(pieces, dict) or not all(map(is_count, pieces.values())):
        raise _no_tokenizer(file, "`model.vocab` must give the id of every token", pieces)
    if not isinstance(added, list):
        raise _no_tokenizer(file, "`added_tokens` must be a list", added)
    for token in added:
        if not isinstance(token, dict) or not isinstance(token.get("content"), str) or not is_count(token.get("id")):
            raise _no_tokenizer(file, "each of `added_tokens` must have `content` and `id`", token)
    return pieces | {token["content"]: token["id"] for token in added}


def _no_tokenizer(file: Path, expected: str, got: object) -> InputError:
    return InputError(
        f"`{file}` must be a tokenizer of the tokenizers library: {expected}, got {got!r:.80}; fetch it again"
    )


def _id_or_none(document: Mapping[str, Any], name: str, file: Path) -> int | None:
    value = document.get(name)
    if value is not None and not is_count(value):
        raise InputError(
            f"`{name}` of `{file}` must be a token id of at least 0, or null, got {value!r:.80}: correct the file"
        )
    return value


def _ids_of_vocabulary(document: Mapping[str, Any], file: Path) -> int:
    names = ("num_text", *_SPECIALS, "audio_base", "num_codebooks", "codebook_size")
    if wrong := [name for name in names if not is_count(document.get(name))]:
        raise InputError(
            f"`{file}` must be a vocabulary of audio-data; it lacks a whole number of at least 0 for "
            f"{', '.join(wrong)}: make the vocabulary again"
        )
    audio = document["audio_base"] + document["num_codebooks"] * document["codebook_size"]
    return max(document["num_text"], max(document[name] for name in _SPECIALS) + 1, audio)
