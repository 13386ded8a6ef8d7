"""Held-out likelihood: nats a token by kind and codebook, in both document orders of the same utterances."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from audio_data import InputError, Vocabulary
from audio_eval.heldout import HeldoutDocument
from audio_eval.journal import Journal
from audio_eval.scores import Item, Measure, score_items
from audio_eval.scoring import Likelihoods, scored_documents
from audio_eval.tasks.base import Context, Findings, Task
from audio_model import TokenSets
from audio_tokenize import layout

ORDERS = ("audio_first", "text_first")
HEARD, UNHEARD = "audio_first.nll_text", "text_first.nll_text"
_BITS_PER_NAT = 1 / math.log(2)


@dataclasses.dataclass(frozen=True)
class NllTask(Task):
    """Negative log-likelihood of held-out documents.

    Every document is scored as `audio_first` and as `text_first`, so its text is scored once with the audio heard and
    once without, on the very same tokens: their quotient says how much the model listens.

    Attributes:
        softmax: Which ids compete in the main scores: "allowed" by the grammar at each place, "full" for all ids, or
            "as_trained" for whichever of the two the model was trained with. The other one stands beside it.
        tokens_per_batch: Tokens of a forward pass, padding included.
    """

    name: ClassVar[str] = "nll"
    softmax: str = "as_trained"
    tokens_per_batch: int = 8_192

    def run(self, context: Context, journal: Journal) -> Findings:
        """Scores all documents of all data sets in both orders."""
        model, vocabulary = context.checkpoint.model, context.checkpoint.vocabulary
        allowed = self._allowed(grammar_loss=context.checkpoint.grammar_loss)
        documents = [document for group in context.documents.values() for document in group]
        fitting = [document for document in documents if _length(document, vocabulary) <= model.config.max_seq_len]
        items = self._items(context, fitting, journal, allowed=allowed)
        measures = list(_measures(vocabulary, allowed=allowed))
        too_long = f"no document fits into the model's context of {model.config.max_seq_len} tokens"
        missing = {measure.name: too_long for measure in measures if measure.meaning}
        scores = [s for name in context.datasets for s in score_items(self.name, name, measures, items, missing)]
        facts = {"softmax": _suffix(allowed), "num_too_long": len(documents) - len(fitting)}
        return Findings(tuple(scores), tuple(items), facts)

    def _items(
        self, context: Context, documents: Sequence[HeldoutDocument], journal: Journal, *, allowed: bool
    ) -> list[Item]:
        vocabulary = context.checkpoint.vocabulary
        found = {key: Item.from_json(record) for key, record in journal.known("score").items()}
        keys = [f"{document.dataset}/{document.id}" for document in documents]
        scored: dict[str, dict[str, Likelihoods]] = {}
        for index, likelihoods in scored_documents(
            context.checkpoint.model,
            [layout(order).build(document.segments, vocabulary) for document in documents for order in ORDERS],
            TokenSets.build(vocabulary.allowed_sets),
            tokens_per_batch=self.tokens_per_batch,
            label="nll",
            known={len(ORDERS) * i + j for i, key in enumerate(keys) if key in found for j in range(len(ORDERS))},
        ):
            place, order = divmod(index, len(ORDERS))
            parts = scored.setdefault(keys[place], {})
            parts[ORDERS[order]] = likelihoods
            if len(parts) == len(ORDERS):
                found[keys[place]] = _item(documents[place], scored.pop(keys[place]), vocabulary, allowed)
                journal.record("score", {keys[place]: found[keys[place]].to_json()})
        return [found[key] for key in keys]

    def _allowed(self, *, grammar_loss: bool) -> bool:
        choices = {"allowed": True, "full": False, "as_trained": grammar_loss}
        if self.softmax not in choices:
            raise InputError(f"`nll.softmax` must be one of {', '.join(choices)}, got {self.softmax!r}")
        return choices[self.softmax]


def _length(document: HeldoutDocument, vocabulary: Vocabulary) -> int:
    return len(layout(ORDERS[0]).build(document.segments, vocabulary))


def _suffix(allowed: bool) -> str:
    return "allowed" if allowed else "full"


def _item(document: HeldoutDocument, scored: Mapping[str, Likelihoods], vocabulary: Vocabulary, allowed: bool) -> Item:
    terms: dict[str, tuple[float, float]] = {}
    for order, likelihoods in scored.items():
        main = _with_sums(likelihoods.nats_by_kind(vocabulary, allowed=allowed))
        other = _with_sums(likelihoods.nats_by_kind(vocabulary, allowed=not allowed))
        terms |= {f"{order}.nll_{kind}": sums for kind, sums in main.items()}
        terms |= {f"{order}.nll_{kind}.{_suffix(not allowed)}": sums for kind, sums in other.items()}
        if document.seconds and "audio" in main:
            terms[f"{order}.audio_nats_per_second"] = (main["audio"][0], document.seconds)
    return Item(document.id, document.dataset, terms, {"speaker": document.metadata.get("speaker", "")})


def _with_sums(by_kind: Mapping[str, tuple[float, int]]) -> dict[str, tuple[float, float]]:
    """Adds all codebooks together, and those after the first; leaves out kinds without a token."""
    codebooks = [by_kind[kind] for kind in by_kind if kind.startswith("codebook_")]
    sums = {**by_kind, "audio": _add(codebooks), "codebooks_after_0": _add(codebooks[1:])}
    return {kind: (nats, float(count)) for kind, (nats, count) in sums.items() if count}


def _add(parts: Sequence[tuple[float, int]]) -> tuple[float, int]:
    return sum(nats for nats, _ in parts), sum(count for _, count in parts)


def _measures(vocabulary: Vocabulary, *, allowed: bool) -> Iterator[Measure]:
    yield Measure(
        "text_nll_heard_over_unheard",
        "fraction",
        "lower",
        (HEARD, UNHEARD),
        "quotient",
        meaning="text NLL with the audio heard over that without: 1 for a model that does not listen",
    )
    yield Measure(
        "audio_nll_read_over_unread",
        "fraction",
        "lower",
        ("text_first.nll_audio", "audio_first.nll_audio"),
        "quotient",
        meaning="audio NLL with the text known over that without: 1 for a model that does not read",
    )
    kinds = (*vocabulary.kinds, "audio", "codebooks_after_0")
    for order in ORDERS:
        for kind in kinds:
            yield _nats(order, kind, "")
        text, audio = f"{order}.nll_text", f"{order}.audio_nats_per_second"
        yield Measure(f"{order}.bits_per_text_token", "bits/token", "lower", (text,), scale=_BITS_PER_NAT)
        yield Measure(f"{order}.bits_per_audio_second", "bits/s", "lower", (audio,), scale=_BITS_PER_NAT)
    for order in ORDERS:
        for kind in kinds:
            yield _nats(order, kind, f".{_suffix(not allowed)}")


def _nats(order: str, kind: str, suffix: str) -> Measure:
    name = f"{order}.nll_{kind}{suffix}"
    return Measure(name, "nats/token", "lower", (name,))
