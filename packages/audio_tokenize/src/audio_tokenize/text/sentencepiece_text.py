"""Text tokenizers: the interface, and a small SentencePiece model that can be trained in a second.

A tokenizer of this module is lossless: `decode(encode(text)) == text` for any text, since characters it never saw
are spelled in bytes and nothing is normalised. The one exception is U+2581, which SentencePiece itself uses for the
space: it comes back as a space.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Protocol, runtime_checkable

import sentencepiece

from audio_data import InputError, StoragePath, read_bytes, write_bytes
from audio_tokenize.text.sentencepiece_training import train_model
from audio_tokenize.text.unigram import Unigram

FILE_NAME = "text.model"


@runtime_checkable
class TextTokenizer(Protocol):
    """What documents need of a text tokenizer. Ids are 0 to `num_ids - 1`."""

    @property
    def num_ids(self) -> int:
        """Number of ids."""
        ...

    @property
    def fingerprint(self) -> str:
        """Kind and content, as `kind:hash`; equal exactly when the ids are."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of `text`. Markers that are typed inside a text stay text."""
        ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`."""
        ...


class SentencePieceText:
    """A SentencePiece model: unknown (never produced), 256 bytes, then the learned pieces.

    Source: SentencePiece (Kudo and Richardson, 2018) with the unigram model (Kudo, 2018) and byte fallback.
    """

    def __init__(self, model: bytes):
        """Wrap the bytes of a SentencePiece model file."""
        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    @classmethod
    def train(cls, lines: Iterable[str], num_pieces: int = 128) -> "SentencePieceText":
        """Learns pieces from `lines`; the same lines give the same model, byte for byte.

        The most frequent words of a small domain become single pieces.

        Args:
            lines: Transcripts.
            num_pieces: Learned pieces at most, beside the 256 bytes. Characters take at most half of them, the rarer
                ones are spelled in bytes; a small corpus may fill fewer.

        Returns:
            The trained tokenizer, of at most `257 + num_pieces` ids.

        Raises:
            InputError: No text, or `num_pieces` below 8.
        """
        return cls(train_model(lines, num_pieces))

    @classmethod
    def load(cls, path: StoragePath) -> "SentencePieceText":
        """Read a model file, or `text.model` in a folder.

        Args:
            path: The file or its folder.

        Raises:
            InputError: No such file, or not a SentencePiece model with byte fallback.
        """
        path = path / FILE_NAME if path.is_dir() else path
        if not path.is_file():
            raise InputError(f"no SentencePiece model at `{path}`: make one with `audio-tokenize vocabulary`")
        return cls.read(read_bytes(path), str(path))

    @classmethod
    def read(cls, model: bytes, path: str) -> "SentencePieceText":
        """Read the content of a model file.

        Args:
            model: The whole of it.
            path: Its name, for messages.

        Raises:
            InputError: Not a SentencePiece model with byte fallback.
        """
        try:
            tokenizer = cls(model)
        except RuntimeError as error:
            raise InputError(
                f"`{path}` is no SentencePiece model: make one with `audio-tokenize vocabulary`"
            ) from error
        if not tokenizer._processor.is_byte(tokenizer._processor.piece_to_id("<0x00>")):
            raise InputError(
                f"`{path}` has no byte fallback, so it cannot spell every text: train it with byte_fallback"
            )
        return tokenizer

    def save(self, folder: StoragePath) -> StoragePath:
        """Write `text.model` into `folder`, whole or not at all.

        Args:
            folder: An existing folder.

        Returns:
            The file's path.
        """
        path = folder / FILE_NAME
        write_bytes(path, self.model)
        return path

    @property
    def num_ids(self) -> int:
        """Number of ids."""
        return self._processor.get_piece_size()

    @property
    def fingerprint(self) -> str:
        """`sentencepiece:` and the first 12 digits of the model file's SHA-256."""
        return f"sentencepiece:{hashlib.sha256(self.model).hexdigest()[:12]}"

    @cached_property
    def unigram(self) -> Unigram:
        """The model as `tokenizers` knows it, where it cuts texts alike."""
        return Unigram.read(self.model)

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; none for the empty text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, faster than one by one."""
        longest = self.unigram.max_exact_characters
        if all(len(text) <= longest for text in texts):
            return self._processor.encode(list(texts))
        return [list(chain.from_iterable(self._processor.encode(list(_parts(text, longest))))) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`.

        Raises:
            InputError: An id is outside 0 to `num_ids - 1`.
        """
        ids = [int(i) for i in ids]
        for position, i in enumerate(ids):
            if not 0 <= i < self.num_ids:
                raise InputError(f"`ids[{position}]` must be a text id in 0..{self.num_ids - 1}, got {i!r}")
        return self._processor.decode(ids)


def _parts(text: str, longest: int | float) -> Iterator[str]:
    """Parts of at most `longest` characters, where the text has spaces, whose ids make up those of the text.

    No piece goes on over a space, so that a text can be cut there. The space itself is left out, since SentencePiece
    puts one before each part that is not empty.
    """
    start = 0
    while len(text) - start > longest:
        stop = text.rfind(" ", start + 1, min(start + int(longest) + 1, len(text) - 1))
        if stop < 0:
            stop = text.find(" ", start + int(longest) + 1, len(text) - 1)
        if stop < 0:
            break
        yield text[start:stop]
        start = stop + 1
    yield text[start:]
