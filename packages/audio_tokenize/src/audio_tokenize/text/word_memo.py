r"""Ids of words met before, so that a transcript costs look-ups instead of merges.

A byte-level BPE cuts a text into words and merges inside each word alone, so a word that was encoded once need not be
encoded again. Where words begin is the tokenizer's own affair, with one exception that is proved here: under the
regular expressions of Llama-3 and Qwen a single space between two characters that are no white space always begins a
word. Of their alternatives only `[^\r\n\p{L}\p{N}]?\p{L}+`, ` ?[^\s\p{L}\p{N}]+[\r\n]*` and `\s+` can match such a
space, each at its first character only; none looks behind; and each matches the same whether the text or a space
comes next. So a text without other white space is cut at its spaces, and every part has the ids that it has in the
whole. NFC, which Qwen's applies first, makes nothing of a space and what stands beside it.
"""

from collections.abc import Callable, Sequence
from itertools import chain, islice

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
        """Forgets every word."""
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
