"""Text tokenizers: the interface, and a small SentencePiece model that can be trained in a second.

A tokenizer of this module is lossless: `decode(encode(text)) == text` for any text, since characters it never saw
are spelled in bytes and nothing is normalised. The one exception is U+2581, which SentencePiece itself uses for the
space: it comes back as a space.

SentencePiece finds its candidate pieces in the list of *different* words, so that a word becomes a piece only if it is
part of another word. That suits large vocabularies; with a hundred pieces for a hundred words it spells most of them
letter by letter (measured: 14 pieces a sentence of 5.4 words). Here the candidates are all words and all their parts,
counted as often as they are spoken, and pruning keeps those that explain most: 5.4 pieces on the same sentences.
Scores are rounded and a few candidates left out so that the `tokenizers` library cuts texts alike, see `Unigram`.
"""

import hashlib
import io
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Protocol, runtime_checkable

import sentencepiece

from audio_data import InputError, StoragePath, disk_errors, read_bytes, write_bytes
from audio_tokenize.text.sentencepiece_model import (
    SPACE,
    Unigram,
    can_be_learned,
    round_score,
    with_scores,
    without_training_option,
)

_NUM_RESERVED = 257
_MAX_PIECE_CHARACTERS = 16
_MAX_LINE_BYTES = 1 << 20


def train_model(lines: Iterable[str], num_pieces: int) -> bytes:
    """Learn a unigram model with byte fallback; the same lines give the same bytes.

    Args:
        lines: Transcripts.
        num_pieces: Learned pieces at most, beside the unknown piece and 256 bytes.

    Returns:
        The content of a SentencePiece model file.

    Raises:
        InputError: No text, or `num_pieces` below 8.
    """
    if num_pieces < 8:
        raise InputError(f"`num_pieces` must be at least 8, got {num_pieces!r}")
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise InputError("no transcript holds any text, so there are no text pieces to learn: check the corpus")
    lines = _without_rare_characters(lines, num_pieces // 2)
    model = io.BytesIO()
    with (
        disk_errors(Path(tempfile.gettempdir())),
        tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as seeds,
    ):
        seeds.writelines(f"{piece}\t{count}\n" for piece, count in _candidates(lines))
        seeds.flush()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=_NUM_RESERVED + num_pieces,
            hard_vocab_limit=False,
            character_coverage=1.0,
            seed_sentencepieces_file=seeds.name,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            max_sentence_length=_MAX_LINE_BYTES,
            num_threads=1,
            minloglevel=2,
        )
        # SentencePiece records where the seed file was, which would make the model of the same text differ every time.
        trained = without_training_option(model.getvalue(), seeds.name.encode())
    return with_scores(trained, round_score)


def _candidates(lines: Iterable[str]) -> list[tuple[str, int]]:
    """Every word and every part of a word, most characters explained first."""
    words = Counter(SPACE + word for line in lines for word in line.split(" ") if word)
    parts: Counter[str] = Counter()
    for word, count in words.items():
        for start in range(len(word)):
            for stop in range(start + 1, min(len(word), start + _MAX_PIECE_CHARACTERS) + 1):
                parts[word[start:stop]] += count
    return sorted(
        ((part, count) for part, count in parts.items() if part.isprintable() and can_be_learned(part)),
        key=lambda item: (-item[1] * len(item[0]), item[0]),
    )


def _without_rare_characters(lines: list[str], max_characters: int) -> list[str]:
    """Lines with all but the most frequent characters made spaces; encoding spells the others in bytes."""
    counts = Counter("".join(lines))
    del counts[" "]
    rare = sorted(counts, key=lambda character: (-counts[character], character))[max_characters - 1 :]
    return [line.translate(dict.fromkeys(map(ord, rare), " ")) for line in lines]


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
        """Learn pieces from `lines`; the same lines give the same model, byte for byte.

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
