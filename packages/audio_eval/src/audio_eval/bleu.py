"""BLEU as sacrebleu computes it, from sums over items, so that the bootstrap can resample it like any other score."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

MAX_ORDER = 4
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
# mteval-v13a separates these everywhere; periods and commas only next to a character that is no digit.
_SYMBOLS = re.compile(r"([ -&(-+/:-@\[-`{-~])")
_AFTER_NO_DIGIT = re.compile(r"([^0-9])([.,])")
_BEFORE_NO_DIGIT = re.compile(r"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(r"([0-9])(-)")
# sacrebleu's ranges as they act: its two beyond U+FFFF are written with four digits too few, and so stand for
# U+2001..U+2A6D and U+2F81..U+2FA1 (in the ones below); kana are in none of them.
_CHINESE = re.compile(
    "([\u2001-\u2a6d\u2e80-\u2fdf\u2ff0-\u303f\u3100-\u312f\u31a0-\u31bf\u31c0-\u31ef\u3200-\u33ff\u3400-\u4db5\u4e00-\u9fbb"
    "\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\ufe10-\ufe1f\ufe30-\ufe4f\uff00-\uffef])"
)


def tokenize_13a(text: str) -> list[str]:
    """Split text as mteval-v13a does, sacrebleu's default.

    >>> tokenize_13a("It costs 1,000.50 dollars, right?")
    ['It', 'costs', '1,000.50', 'dollars', ',', 'right', '?']
    """
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        text = text.replace(entity, character)
    return _separate(f" {text} ")


def tokenize_zh(text: str) -> list[str]:
    """Split Chinese characters from each other and the rest at punctuation, as sacrebleu's `zh` does.

    Kana are no Chinese characters: use `char` for Japanese.

    >>> tokenize_zh("我们花了1,000元。")
    ['我', '们', '花', '了', '1,000', '元', '。']
    """
    return _separate(_CHINESE.sub(r" \1 ", text.strip()))


def _separate(text: str) -> list[str]:
    text = _SYMBOLS.sub(r" \1 ", text)
    text = _AFTER_NO_DIGIT.sub(r"\1 \2 ", text)
    text = _BEFORE_NO_DIGIT.sub(r" \1 \2", text)
    return _DASH_AFTER_DIGIT.sub(r"\1 \2 ", text).split()


def tokenize_char(text: str) -> list[str]:
    """Split text into its characters, spaces left out."""
    return [character for character in text if not character.isspace()]


TOKENIZERS: Mapping[str, Callable[[str], list[str]]] = {
    "13a": tokenize_13a,
    "zh": tokenize_zh,
    "char": tokenize_char,
}


def bleu_counts(reference: str, hypothesis: str, tokenizer: str = "13a") -> list[float]:
    """Count the matches of BLEU in one pair.

    Args:
        reference: The one reference.
        hypothesis: Text to score.
        tokenizer: Key of `TOKENIZERS`.

    Returns:
        Matches and number of n-grams of each order 1 to 4, then the lengths of hypothesis and reference in tokens.
    """
    right, said = (TOKENIZERS[tokenizer](text) for text in (reference, hypothesis))
    counts: list[float] = []
    for order in range(1, MAX_ORDER + 1):
        ours, theirs = _n_grams(said, order), _n_grams(right, order)
        counts += [float(sum((ours & theirs).values())), float(sum(ours.values()))]
    return [*counts, float(len(said)), float(len(right))]


def _n_grams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1))


def bleu(sums: Float[np.ndarray, "... columns"]) -> Float[np.ndarray, "..."]:
    """Map sums of `bleu_counts` to BLEU, 0 to 100.

    An order without a match counts 1 / (2^k total), k = 1 for the first such order, as sacrebleu smooths by default; a
    corpus without any word match has 0.

    Source: Papineni et al., BLEU (2002); Post, A call for clarity in reporting BLEU scores (2018).
    """
    return _bleu(np.asarray(sums, np.float64), effective=False)


def sentence_bleu(reference: str, hypothesis: str, tokenizer: str = "13a") -> float:
    """BLEU of one pair, 0 to 100, over the orders that the hypothesis is long enough for."""
    return float(_bleu(np.array(bleu_counts(reference, hypothesis, tokenizer)), effective=True))


def _bleu(sums: Float[np.ndarray, "... columns"], *, effective: bool) -> Float[np.ndarray, "..."]:
    matches, totals = sums[..., 0 : 2 * MAX_ORDER : 2], sums[..., 1 : 2 * MAX_ORDER : 2]
    said, right = sums[..., -2], sums[..., -1]
    unmatched = (matches == 0) & (totals > 0)
    smoothed = np.where(unmatched, 0.5 ** np.cumsum(unmatched, axis=-1), matches)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(totals > 0, np.log(smoothed / totals), 0.0 if effective else -np.inf)
        orders = (totals > 0).sum(axis=-1) if effective else MAX_ORDER
        precision = np.exp(logs.sum(axis=-1) / np.maximum(orders, 1))
        brevity = np.where(said < right, np.exp(1 - right / said), 1.0)
    found = np.where((said > 0) & (matches[..., 0] > 0), 100 * brevity * precision, 0.0)
    return np.asarray(found)
