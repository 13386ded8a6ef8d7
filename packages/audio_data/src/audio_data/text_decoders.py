"""Text ids as text, for people who look into a dataset, where the files of its tokenizer lie beside it."""

from collections.abc import Callable
from itertools import islice

import numpy as np
from jaxtyping import Int

from audio_data.errors import InputError
from audio_data.installation import install_extra_command
from audio_data.storage import AnyPath, StoragePath, fetch, storage_path

TextDecoder = Callable[[Int[np.ndarray, " seq"]], str]

FOLDER_NAME = "vocabulary"
_NUM_PARENTS = 3


def find_tokenizer(dataset: AnyPath) -> StoragePath | None:
    """Return the tokenizer in a folder `vocabulary` beside a dataset or above it; None if there is none.

    Args:
        dataset: Folder of the dataset.
    """
    folder = storage_path(dataset)
    folder = folder.absolute()
    for parent in islice((folder, *folder.parents), _NUM_PARENTS):
        for name in _DECODERS:
            if (parent / FOLDER_NAME / name).is_file():
                return parent / FOLDER_NAME / name
    return None


def open_text_decoder(path: AnyPath) -> TextDecoder:
    """Return a function from text ids to their text.

    Args:
        path: A `tokenizer.json` of the tokenizers library, or a SentencePiece `.model`, here or on an object store.

    Raises:
        InputError: The file is neither or broken, or the library that reads it is not installed.
    """
    path = storage_path(path)
    open_file = _DECODERS.get(path.name) or _DECODERS["text.model" if path.suffix == ".model" else "tokenizer.json"]
    try:
        return open_file(str(fetch(path)))
    except ImportError as error:
        advice = install_extra_command("audio-data", "text")
        raise InputError(f"tokenizer `{path}` needs {error.name}: `{advice}`") from error


def _open_tokenizers(file: str) -> TextDecoder:
    from tokenizers import Tokenizer

    with open(file, "rb") as content:
        data = content.read()
    try:
        tokenizer = Tokenizer.from_buffer(data)
    except ValueError as error:
        raise InputError(f"tokenizer `{file}`: expected a tokenizer.json ({error}); check the path") from error
    return lambda ids: tokenizer.decode(ids.tolist(), skip_special_tokens=False)


def _open_sentencepiece(file: str) -> TextDecoder:
    from sentencepiece import SentencePieceProcessor

    try:
        processor = SentencePieceProcessor(model_file=file)
    except (OSError, RuntimeError) as error:
        raise InputError(f"tokenizer `{file}`: expected a SentencePiece model ({error}); check the path") from error
    return lambda ids: processor.decode(ids.tolist())


_DECODERS = {"tokenizer.json": _open_tokenizers, "text.model": _open_sentencepiece}
