"""The sentences of the English sample corpus: templates, unique word sequences, the held-out ones."""

import itertools
import random
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SLOT = re.compile(r"\{(\w+)\}")
_REPEATABLE = {"digit"}


@dataclass(frozen=True)
class Sentences:
    """Unique word sequences; none is in both lists."""

    train: list[str]
    heldout: list[str]


def _fill(text: str, slots: dict[str, list[str]]) -> Iterator[str]:
    names = _SLOT.findall(text)
    for words in itertools.product(*(slots[name] for name in names)):
        chosen: dict[str, list[str]] = {}
        for name, word in zip(names, words, strict=True):
            chosen.setdefault(name, []).append(word)
        if all(name in _REPEATABLE or len(set(w)) == len(w) for name, w in chosen.items()):
            remaining = iter(words)
            yield _SLOT.sub(lambda _, remaining=remaining: next(remaining), text)


def _heldout_counts(uses: list[int], total: int) -> list[int]:
    """Shares `total` out in proportion to `uses`, by largest remainder."""
    exact = [total * use / sum(uses) for use in uses]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(uses)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def english_sentences(path: Path, seed: int) -> Sentences:
    """Draws each template's sentences and holds the same share of every template out.

    Args:
        path: The TOML file with `slots`, `template` and `num_heldout`.
        seed: Decides which sentences are drawn, and their order.

    Raises:
        ValueError: If a template offers fewer sentences than it is to give, or two templates give the same one.
    """
    spec = tomllib.loads(path.read_text(encoding="utf-8"))
    templates = spec["template"]
    train: list[str] = []
    heldout: list[str] = []
    counts = _heldout_counts([template["use"] for template in templates], spec["num_heldout"])
    for template, num_heldout in zip(templates, counts, strict=True):
        sentences = sorted(set(_fill(template["text"], spec["slots"])))
        if len(sentences) < template["use"]:
            raise ValueError(f"`{template['text']}` offers {len(sentences)} sentences, {template['use']} are wanted")
        drawn = random.Random(f"{seed}/{template['text']}").sample(sentences, template["use"])
        heldout += drawn[:num_heldout]
        train += drawn[num_heldout:]
    if len(set(train + heldout)) != len(train) + len(heldout):
        raise ValueError("two templates give the same sentence")
    order = random.Random(seed)
    order.shuffle(train)
    order.shuffle(heldout)
    return Sentences(train, heldout)
