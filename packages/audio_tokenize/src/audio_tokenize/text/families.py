"""Families of text tokenizers: the facts that a file of ranks does not state.

The tokens themselves come from a file that the user has; a digest says whether they are the right ones. How a text is
cut into words and which merges come first is fixed here, so that any file with the right tokens gives the same ids.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from audio_data import InputError
from audio_tokenize.text.byte_pairs import (
    BytePairs,
    NamedToken,
    merges_of_every_split,
    merges_of_own_split,
    token_digest,
)

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class TextFamily:
    """A published text tokenizer.

    Attributes:
        name: For people.
        num_tokens: Tokens of its BPE.
        digest: `token_digest` of them.
        pattern: See `BytePairs`.
        normalizer: See `BytePairs`.
        ignore_merges: See `BytePairs`.
        merges: How its merges follow from its tokens.
        names: Names of the ids after the tokens, each with whether it is special.
        sources: Where its tokens are found, for messages.
    """

    name: str
    num_tokens: int
    digest: str
    pattern: str
    normalizer: str | None
    ignore_merges: bool
    merges: Callable[[Sequence[str]], tuple[str, ...]]
    names: tuple[tuple[str, bool], ...]
    sources: str

    @property
    def named(self) -> tuple[NamedToken, ...]:
        """The tokens beside those of the BPE."""
        return tuple(NamedToken(i, *name) for i, name in enumerate(self.names, self.num_tokens))

    @property
    def num_ids(self) -> int:
        """Tokens and names."""
        return self.num_tokens + len(self.names)

    def byte_pairs(self, tokens: Sequence[str], where: str) -> BytePairs:
        """Return the family's BPE over tokens that were read from a file.

        Args:
            tokens: In the order of their ids.
            where: Name of the file, for messages.

        Raises:
            InputError: They are not the family's.
        """
        if len(tokens) != self.num_tokens or token_digest(tokens) != self.digest:
            raise InputError(
                f"`{where}` must hold the {self.num_tokens} tokens of {self.name}, got {len(tokens)} tokens"
                f"{' of another tokenizer' if len(tokens) == self.num_tokens else ''}: "
                f"they are in {self.sources}"
            )
        return BytePairs(tuple(tokens), self.merges(tokens), self.pattern, self.normalizer, self.ignore_merges)


def _llama3_names() -> tuple[tuple[str, bool], ...]:
    known = {
        0: "begin_of_text",
        1: "end_of_text",
        6: "start_header_id",
        7: "end_header_id",
        9: "eot_id",
    }
    reserved = (f"reserved_special_token_{i}" for i in range(256 - len(known)))
    return tuple((f"<|{known.get(i) or next(reserved)}|>", True) for i in range(256))


# fmt: off
_QWEN3_SPECIAL = (
    "endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start", "box_end",
    "quad_start", "quad_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad",
)
_QWEN3_MARKUP = (
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>",
)
# fmt: on

LLAMA3 = TextFamily(
    name="Llama-3",
    num_tokens=128_000,
    digest="8dd8b994f25dc533e90df9906b38f5729193ae5b07a383cb23058e0e0960dc10",
    pattern=rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}",
    normalizer=None,
    ignore_merges=True,
    merges=merges_of_every_split,
    names=_llama3_names(),
    sources="the package `llama-models`, or `tokenizer.json` of a Llama-3 or Marin model",
)
QWEN3 = TextFamily(
    name="Qwen3",
    num_tokens=151_643,
    digest="36c3749fd3c87e2402f612459b45ae4e6ce5488a3ecde47a8a3ea3ed3d5dda5a",
    pattern=rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}",
    normalizer="NFC",
    ignore_merges=False,
    merges=merges_of_own_split,
    names=(*((f"<|{name}|>", True) for name in _QWEN3_SPECIAL), *((name, False) for name in _QWEN3_MARKUP)),
    sources="the package `dashscope`, or `tokenizer.json` of a Qwen2, Qwen2.5 or Qwen3 model",
)
FAMILIES = (LLAMA3, QWEN3)

SINGLE_SPACE_BEGINS_WORD = frozenset(family.pattern for family in FAMILIES)
"""Patterns for which `WordMemo` is proved; a pattern that is not among them may be so too."""


def byte_pairs_of_ranks(tokens: Sequence[str], where: str) -> tuple[BytePairs, tuple[NamedToken, ...]]:
    """Return the BPE and the names of a family, known by its tokens.

    Args:
        tokens: What a file of ranks holds.
        where: Name of the file, for messages.

    Raises:
        InputError: Tokens of no known family: ranks alone do not say how a text is cut into words.
    """
    digest = token_digest(tokens)
    for family in FAMILIES:
        if family.digest == digest:
            return family.byte_pairs(tokens, where), family.named
    raise InputError(
        f"`{where}` must hold the ranks of {' or '.join(family.name for family in FAMILIES)}, got {len(tokens)} "
        "others, which do not say how a text is cut into words: give the model's `tokenizer.json`"
    )
