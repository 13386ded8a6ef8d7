r"""Text tokenizers of published language models: byte-level BPE, run by the `tokenizers` library.

A byte-level BPE cuts a text into words and merges inside each word alone, so `WordMemo` encodes a word once and then
looks it up. Where words begin is the tokenizer's own affair, with one exception that is proved here: under the
regular expressions of Llama-3 and Qwen a single space between two characters that are no white space always begins a
word. Of their alternatives only `[^\r\n\p{L}\p{N}]?\p{L}+`, ` ?[^\s\p{L}\p{N}]+[\r\n]*` and `\s+` can match such a
space, each at its first character only; none looks behind; and each matches the same whether the text or a space
comes next. So a text without other white space is cut at its spaces, and every part has the ids that it has in the
whole. NFC, which Qwen's applies first, makes nothing of a space and what stands beside it.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

from tokenizers import Tokenizer

from audio_data import InputError
from audio_tokenize.text.byte_pairs import NamedToken, dump, token_bytes
from audio_tokenize.text.families import SINGLE_SPACE_BEGINS_WORD, byte_pairs_of_ranks
from audio_tokenize.text.tokenizer_files import find_tokenizer, is_ranks, read_tokenizer_json, read_tokens

MAX_TEXT_CHARACTERS = 2_000
"""Longer texts, the pages of text corpora, go to the tokenizer as they are, which works on all cores."""

MAX_WORDS = 1 << 17
"""Words kept: about 30 MB. Transcripts of one language rarely need as many; a memo that is full begins anew."""

MAX_WORD_CHARACTERS = 32
"""Longer words are not kept: they hardly come twice."""


class WordMemo:
    """The ids of texts of single-spaced words, from those of the words.

    Args:
        encode_batch: Ids of each of some texts, by a tokenizer under which a single space begins a word.
        max_words: Words to keep.
    """

    def __init__(self, encode_batch: Callable[[Sequence[str]], list[list[int]]], max_words: int = MAX_WORDS):
        self._encode_batch, self._max_words = encode_batch, max_words
        # The first word of a text, which no space precedes, has a space behind it here: no other word has one.
        self._ids: dict[str, list[int]] = {}

    def __len__(self) -> int:
        """Words kept."""
        return len(self._ids)

    def clear(self) -> None:
        """Forget every word."""
        self._ids = {}

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return what the tokenizer gives for each text, which may be of any kind."""
        cut = [_words(text) for text in texts]
        # Each in one call, so that a batch costs the tokenizer two.
        others = iter(self._encode_batch([text for text, words in zip(texts, cut, strict=True) if words is None]))
        ids = self._ids_of(set(chain.from_iterable(words for words in cut if words is not None)))
        return [
            next(others) if words is None else list(chain.from_iterable(map(ids.__getitem__, words))) for words in cut
        ]

    def _ids_of(self, words: set[str]) -> dict[str, list[int]]:
        """Ids of at least these words."""
        new = [word for word in words if word not in self._ids]
        if not new:
            return self._ids
        found = dict(zip(new, self._encode_batch([_with_space(word) for word in new]), strict=True))
        complete = {word: self._ids[word] for word in words.difference(new)} | found
        if len(self._ids) + len(new) > self._max_words:
            self.clear()
        short = (word for word in new if len(word) <= MAX_WORD_CHARACTERS)
        self._ids |= {word: found[word] for word in islice(short, self._max_words)}
        return complete


def _words(text: str) -> list[str] | None:
    """Return the words of a short text that is nothing but words with single spaces between them."""
    if len(text) > MAX_TEXT_CHARACTERS:
        return None
    words = text.split()
    if not words or " ".join(words) != text:
        return None
    words[0] += " "
    return words


def _with_space(word: str) -> str:
    return word[:-1] if word[-1] == " " else f" {word}"


class HuggingFaceText:
    """A byte-level BPE whose named tokens, such as `<|begin_of_text|>`, cannot be typed.

    They have ids, and decoding spells their names, but encoding knows no names: a text that holds one is spelled in
    text tokens, so that no transcript can forge the structure of a document. Nothing is put before or after a text.

    Decoding gives back every text where `normalizer` is None. Where it is `"NFC"`, as in Qwen's tokenizers, it gives
    the text in that form: the published ids are made of it, and so are these.
    """

    def __init__(self, tokenizer_json: bytes, num_ids: int | None = None, *, where: str = "tokenizer.json"):
        """Wrap the content of a `tokenizer.json`.

        Args:
            tokenizer_json: The whole of the file.
            num_ids: Leading ids that are text: those of the model, then named ones. Later names, such as those of
                audio, are no part of it. All ids if None.
            where: Name of the file, for messages.

        Raises:
            InputError: Not a byte-level BPE, or fewer ids than `num_ids`.
        """
        self.byte_pairs, named = read_tokenizer_json(tokenizer_json, where)
        num_tokens = len(self.byte_pairs.tokens)
        num_all = num_tokens + len(named)
        self.num_ids = num_all if num_ids is None else num_ids
        if not num_tokens <= self.num_ids <= num_all:
            raise InputError(f"`{where}` must hold {num_ids} text ids, got {num_tokens} tokens and {len(named)} names")
        self.named: tuple[NamedToken, ...] = named[: self.num_ids - num_tokens]
        self.fingerprint = f"huggingface:{self.byte_pairs.fingerprint[:12]}"
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_buffer(dump(self.byte_pairs.to_json()))
        except ValueError as error:
            raise InputError(f"`{where}` must be a byte-level BPE, got one that cannot be used ({error})") from error
        self._memo = WordMemo(self._merge) if self.byte_pairs.pattern in SINGLE_SPACE_BEGINS_WORD else None

    @classmethod
    def open(cls, source: str | Path, *, revision: str | None = None) -> "HuggingFaceText":
        """Read a tokenizer from wherever it is.

        Args:
            source: A `tokenizer.json`, a file of tiktoken ranks of a known tokenizer, a folder with one of them, a
                package that carries one, or a hub id; see `find_tokenizer`.
            revision: Of the hub id.

        Raises:
            InputError: Not found, or of another kind.
        """
        path = find_tokenizer(source, revision=revision)
        content = path.read_bytes()
        if is_ranks(content):
            pairs, named = byte_pairs_of_ranks(read_tokens(content, str(path)), str(path))
            content = dump(pairs.to_json(named))
        return cls(content, where=str(path))

    @property
    def normalizer(self) -> str | None:
        """The Unicode form that texts are brought to, `"NFC"`; None where they are left as they are."""
        return self.byte_pairs.normalizer

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; none for the empty text.

        Raises:
            InputError: `text` holds half of a surrogate pair, which is no character.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text.

        Short texts are put together from words met before, see `WordMemo`; others are encoded on all cores, or on as
        many as `RAYON_NUM_THREADS` says.

        Raises:
            InputError: A text holds half of a surrogate pair, which is no character.
        """
        try:
            return self._merge(texts) if self._memo is None else self._memo.encode_batch(texts)
        except TypeError:
            _refuse_surrogates(texts)
            raise

    def forget_words(self) -> None:
        """Empty the memo of words; ids stay what they are."""
        if self._memo is not None:
            self._memo.clear()

    def _merge(self, texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; bytes that are no UTF-8, as in a part of a character, are U+FFFD.

        Raises:
            InputError: An id is outside 0 to `num_ids - 1`.
        """
        for position, i in enumerate(ids):
            if not 0 <= i < self.num_ids:
                raise InputError(f"`ids[{position}]` must be a text id in 0..{self.num_ids - 1}, got {i!r}")
        return b"".join([self._bytes[i] for i in ids]).decode("utf-8", "replace")

    @cached_property
    def _bytes(self) -> list[bytes]:
        return token_bytes(self.byte_pairs.tokens) + [token.name.encode() for token in self.named]


def _refuse_surrogates(texts: Sequence[str]) -> None:
    for position, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"`texts[{position}]` must be Unicode text, got {text[error.start]!r} at character {error.start}: "
                "half of a surrogate pair"
            ) from error
