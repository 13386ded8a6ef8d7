"""Byte-level byte-pair encoding, from any of its file formats.

A text is cut into words by a regular expression, a word is spelled in bytes, and pairs are merged in a fixed order. Two
kinds of files hold that: `tokenizer.json`, which lists tokens and merges, and tiktoken's *ranks*, which lists tokens
only, each one's id being its rank. What a ranks file leaves out is the order of the merges, recovered here from the
ranks, and the regular expression, which the reader must know.

Source: Sennrich, Haddow and Birch, 2016, over bytes as in GPT-2; the formats are those of `tokenizers` and tiktoken.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

# Every byte has a printable character of its own, so that tokens of any bytes can be written in JSON: a byte that is
# printable in Latin-1 is itself, the others are the characters from U+0100 on, in order.
_PRINTABLE = frozenset([*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)])
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_CHARACTERS = {byte: 0x100 + _OTHERS.index(byte) if byte in _OTHERS else byte for byte in range(256)}
_BYTES = {character: byte for byte, character in _CHARACTERS.items()}

BYTE_CHARACTERS = frozenset(chr(character) for character in _BYTES)


def printable_tokens(tokens: Iterable[bytes]) -> list[str]:
    """Return the bytes of each token as printable characters, one each."""
    return [token.decode("latin-1").translate(_CHARACTERS) for token in tokens]


def token_bytes(tokens: Iterable[str]) -> list[bytes]:
    """Return the inverse of `printable_tokens`."""
    return [token.translate(_BYTES).encode("latin-1") for token in tokens]


@dataclass(frozen=True)
class NamedToken:
    """A token beside those of the text, found by its name in a document and never in a text.

    Attributes:
        id: Its id.
        name: How documents write it, e.g. `<|text_start|>`.
        special: Whether decoders may leave it out on request.
    """

    id: int
    name: str
    special: bool = True

    def to_json(self) -> dict[str, Any]:
        """As `tokenizer.json` lists it: looked for in the string as it stands, before anything is normalised."""
        return {
            "id": self.id,
            "content": self.name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": self.special,
        }


@dataclass(frozen=True, eq=False)
class BytePairs:
    """All that decides the ids of a text.

    Attributes:
        tokens: Token of each id, as `printable_tokens` writes it.
        merges: Pairs of such tokens with a space between, in the order in which they are merged.
        pattern: Regular expression whose matches are the words; what lies between them is a word too.
        normalizer: `"NFC"` where a text is brought to that form first, as Qwen's is; None where it is left as it is.
        ignore_merges: Whether a word that is a token is that token, whatever the merges make of it, as in Llama 3.
    """

    tokens: tuple[str, ...]
    merges: tuple[str, ...]
    pattern: str
    normalizer: str | None
    ignore_merges: bool

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all fields; the same from any file that holds the same."""
        digest = hashlib.sha256()
        # No token holds a line break or a space, so that the parts cannot run into each other.
        for part in ("\n".join(self.tokens), "\n".join(self.merges), self.normalizer, self.ignore_merges, self.pattern):
            digest.update(f"{part}\n\n".encode())
        return digest.hexdigest()

    def to_json(
        self, named: Sequence[NamedToken] = (), post_processor: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the content of a `tokenizer.json`.

        Args:
            named: Tokens beside those of the text, by rising id.
            post_processor: What is done to the ids of a document at the end; nothing if None.
        """
        split = {
            "type": "Split",
            "pattern": {"Regex": self.pattern},
            "behavior": "Isolated",
            "invert": False,
        }
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [token.to_json() for token in named],
            "normalizer": {"type": self.normalizer} if self.normalizer else None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
            "post_processor": post_processor,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": self.ignore_merges,
                "vocab": {token: i for i, token in enumerate(self.tokens)},
                "merges": list(self.merges),
            },
        }


def token_digest(tokens: Iterable[str]) -> str:
    """SHA-256 of the tokens in the order of their ids."""
    return hashlib.sha256("\n".join(tokens).encode()).hexdigest()


def merges_of_every_split(tokens: Sequence[str]) -> tuple[str, ...]:
    """Return the merges of a ranks file: every way to make a token of two others, by rank of token, then of parts.

    Source: the order in which transformers converts tiktoken files, Llama 3's among them.
    """
    ranks = {token: rank for rank, token in enumerate(tokens)}
    merges = []
    for token in tokens:
        parts = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        found = [(ranks[left], ranks[right]) for left, right in parts if left in ranks and right in ranks]
        merges += [f"{tokens[left]} {tokens[right]}" for left, right in sorted(found)]
    return tuple(merges)


def merges_of_own_split(tokens: Sequence[str]) -> tuple[str, ...]:
    """Return the merges of a ranks file: for each token the two parts into which the tokens before it merge it.

    Source: the merges that GPT-2's and Qwen's files list.
    """
    ranks = {token: rank for rank, token in enumerate(tokens)}
    merges = []
    for token in tokens:
        parts = list(token)
        while len(parts) > 2:
            found = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
            first = found.index(min(found))
            parts[first : first + 2] = [tokens[found[first]]]
        if len(parts) == 2:
            merges.append(" ".join(parts))
    return tuple(merges)


def dump(content: Mapping[str, Any]) -> bytes:
    """JSON as the folder's files hold it: readable characters, no spaces where there are millions of items."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
