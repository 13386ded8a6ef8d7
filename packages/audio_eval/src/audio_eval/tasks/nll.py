"""Held-out likelihood: nats a token by kind and codebook, in both orders of the same utterances or as stored."""

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32

from audio_data import Vocabulary
from audio_eval.heldout import HeldoutDocument, check_vocabulary
from audio_eval.journal import Journal
from audio_eval.scores import Item, Measure, score_items
from audio_eval.scoring import Likelihoods, scored_documents
from audio_eval.tasks.base import Context, Task, TaskOutput
from audio_model import TokenSets
from audio_tokenize import Segment, layout

ORDERS, STORED = ("audio_first", "text_first"), "stored"
READINGS = ("both_orders", STORED)
WITH_AUDIO, WITHOUT_AUDIO = "audio_first.nll_text", "text_first.nll_text"
MISMATCHED_TEXT = "text_first_mismatched_text"
MATCHED_AUDIO_NLL, MISMATCHED_AUDIO_NLL = "text_first.nll_audio", f"{MISMATCHED_TEXT}.nll_audio"
CONTROLLED: tuple[str, ...] = ("audio_nll_matched_over_mismatched_text", "audio_bits_saved_by_text")
_NO_MISMATCHED_TEXT = "no two documents have different texts: there is no control"
_BITS_PER_NAT = 1 / math.log(2)
# Step in the journal: another name whenever names of terms change, so that old items are not mixed with new ones.
_STEP = "likelihoods"


@dataclasses.dataclass(frozen=True)
class NllTask(Task):
    """Negative log-likelihood of held-out documents.

    Every document is scored as `audio_first` and as `text_first`. The same text tokens are thus scored once with the
    audio as context and once without; the quotient of the two losses measures the use of the audio.

    The use of the text is harder to measure. The audio of an utterance has hundreds of bits per second, of which its
    text determines a few dozen, so every quotient of audio losses is close to 1. The two orders also differ in more
    than the text: a model trained on synthesis in one voice gives other voices a low likelihood after a text. Each
    document of the main dataset is therefore also scored as `text_first` with the text of another document (control),
    and the difference is reported in bits.

    Attributes:
        documents: "both_orders", or "stored" for documents of any form as stored in the dataset: text alone,
            audio alone, several languages, the evaluation documents of SODA (arXiv 2602.16687). Tokens
            outside the loss mask do not count.
        softmax: Ids that compete in the main scores: "allowed" by the grammar at each place, "full" for all ids, or
            "as_trained" for the one that the model was trained with. The other one is reported too.
        tokens_per_batch: Tokens of a forward pass, padding included; None for 2,048 on a CPU and 8,192 elsewhere.
    """

    name: str = "nll"
    documents: str = "both_orders"
    softmax: str = "as_trained"
    tokens_per_batch: int | None = None

    def check(self, context: Context) -> None:
        """Refuse an unknown choice of documents or ids."""
        self.check_choice("documents", READINGS)
        self._allowed(grammar_loss=context.checkpoint.grammar_loss)

    def run(self, context: Context, journal: Journal) -> TaskOutput:
        """Score all documents of all datasets."""
        model, vocabulary = context.checkpoint.model, context.checkpoint.vocabulary
        allowed = self._allowed(grammar_loss=context.checkpoint.grammar_loss)
        orders = ORDERS if self.documents == "both_orders" else (STORED,)
        documents = list(_in_both_orders(context) if orders == ORDERS else _as_stored(context))
        fitting = [one for one in documents if 2 <= one.length <= model.config.max_seq_len]
        items = self._items(context, fitting, journal, allowed=allowed)
        measures = list(_measures(vocabulary, orders, allowed=allowed))
        too_long = f"no document fits into the model's context of {model.config.max_seq_len} tokens"
        reasons = {measure.name: too_long for measure in measures if measure.meaning}
        scores = []
        for name in context.datasets:
            missing = dict.fromkeys(CONTROLLED, _NO_MISMATCHED_TEXT) if name == context.main_dataset else {}
            missing = missing if any(one.dataset == name for one in fitting) else reasons
            scores += score_items(self.name, name, measures, items, missing)
        facts = {"softmax": _suffix(allowed), "num_too_long": len(documents) - len(fitting)}
        return TaskOutput(tuple(scores), tuple(items), facts)

    def _items(
        self,
        context: Context,
        documents: Sequence["_Document"],
        journal: Journal,
        *,
        allowed: bool,
    ) -> list[Item]:
        vocabulary = context.checkpoint.vocabulary
        found = {key: Item.from_json(record) for key, record in journal.known(_STEP).items()}
        keys = [f"{document.dataset}/{document.id}" for document in documents]
        scored: dict[str, dict[str, Likelihoods]] = {}
        parts_of = [(place, order) for place, document in enumerate(documents) for order in document.ids]
        for index, likelihoods in scored_documents(
            context.checkpoint.model,
            [documents[place].ids[order] for place, order in parts_of],
            TokenSets.build(vocabulary.allowed_sets),
            tokens_per_batch=self.tokens_per_batch,
            label="nll",
            known={index for index, (place, _) in enumerate(parts_of) if keys[place] in found},
        ):
            place, order = parts_of[index]
            parts = scored.setdefault(keys[place], {})
            parts[order] = _counted(likelihoods, documents[place].counted)
            if len(parts) == len(documents[place].ids):
                found[keys[place]] = _item(documents[place], scored.pop(keys[place]), vocabulary, allowed)
                journal.record(_STEP, {keys[place]: found[keys[place]].to_json()})
        return [found[key] for key in keys]

    def _allowed(self, *, grammar_loss: bool) -> bool:
        choices = {"allowed": True, "full": False, "as_trained": grammar_loss}
        self.check_choice("softmax", choices)
        return choices[self.softmax]


@dataclasses.dataclass(frozen=True, eq=False)
class _Document:
    """What is scored of one document: its ids in each order, and which of them count, None for all."""

    id: str
    dataset: str
    metadata: Mapping[str, Any]
    ids: Mapping[str, Int32[np.ndarray, " _"]]
    counted: Bool[np.ndarray, " _"] | None = None

    @property
    def length(self) -> int:
        """Tokens of the longest order."""
        return max(len(ids) for ids in self.ids.values())


def _in_both_orders(context: Context) -> Iterator[_Document]:
    vocabulary, longest = context.checkpoint.vocabulary, context.checkpoint.model.config.max_seq_len
    for name, group in context.documents.items():
        for place, document in enumerate(group):
            ids = {order: layout(order).build(document.segments, vocabulary) for order in ORDERS}
            if name == context.main_dataset:
                whole = context.whole[name]
                others = (_with_text_of(document, other) for other in (*whole[place + 1 :], *whole[:place]))
                built = (layout("text_first").build(segments, vocabulary) for segments in others if segments)
                if (control := next((found for found in built if len(found) <= longest), None)) is not None:
                    ids[MISMATCHED_TEXT] = control
            yield _Document(document.id, document.dataset, document.metadata, ids)


def _with_text_of(document: HeldoutDocument, other: HeldoutDocument) -> list[Segment]:
    """Return the utterances of a document with the texts of another one; none where a text is the same."""
    texts = [other.segments[index % len(other.segments)].text_ids for index in range(len(document.segments))]
    if any(np.array_equal(text, segment.text_ids) for text, segment in zip(texts, document.segments, strict=True)):
        return []
    return [Segment(text, segment.codes) for text, segment in zip(texts, document.segments, strict=True)]


def _as_stored(context: Context) -> Iterator[_Document]:
    """Yield documents by their number, so that only those within the limit are read."""
    for name, dataset in context.datasets.items():
        check_vocabulary(name, dataset, context.checkpoint.vocabulary)
        sample = sorted(range(len(dataset)), key=lambda index: hashlib.sha256(str(index).encode()).digest())
        for index in sample[: context.limit]:
            found = dataset[index]
            yield _Document(str(index), name, found.metadata, {STORED: found.ids}, found.loss_mask)


def _counted(likelihoods: Likelihoods, mask: Bool[np.ndarray, " _"] | None) -> Likelihoods:
    """Return the likelihoods of the tokens inside the mask."""
    if mask is None:
        return likelihoods
    kept = mask[1:]
    return Likelihoods(likelihoods.targets[kept], likelihoods.full[kept], likelihoods.allowed[kept])


def _suffix(allowed: bool) -> str:
    return "allowed" if allowed else "full"


def _item(document: _Document, scored: Mapping[str, Likelihoods], vocabulary: Vocabulary, allowed: bool) -> Item:
    terms: dict[str, tuple[float, float]] = {}
    for order, likelihoods in scored.items():
        main = _with_sums(likelihoods.nats_by_kind(vocabulary, allowed=allowed))
        if order != STORED:
            terms |= {f"{order}.nats_{kind}": (main[kind][0], 1.0) for kind in ("text", "audio")}
        if order == MISMATCHED_TEXT:
            terms[MISMATCHED_AUDIO_NLL] = main["audio"]
            continue
        other = _with_sums(likelihoods.nats_by_kind(vocabulary, allowed=not allowed))
        terms |= {f"{order}.nll_{kind}": sums for kind, sums in main.items()}
        terms |= {f"{order}.nll_{kind}.{_suffix(not allowed)}": sums for kind, sums in other.items()}
        if (seconds := float(document.metadata.get("seconds", 0.0))) and "audio" in main:
            terms[f"{order}.audio_nats_per_second"] = (main["audio"][0], seconds)
    return Item(document.id, document.dataset, terms, {"speaker": document.metadata.get("speaker", "")})


def _with_sums(by_kind: Mapping[str, tuple[float, int]]) -> dict[str, tuple[float, float]]:
    """Add all codebooks together, and those after the first; leave out kinds without a token."""
    codebooks = [by_kind[kind] for kind in by_kind if kind.startswith("codebook_")]
    sums = {**by_kind, "audio": _add(codebooks), "codebooks_after_0": _add(codebooks[1:])}
    return {kind: (nats, float(count)) for kind, (nats, count) in sums.items() if count}


def _add(parts: Sequence[tuple[float, int]]) -> tuple[float, int]:
    return sum(nats for nats, _ in parts), sum(count for _, count in parts)


def _measures(vocabulary: Vocabulary, orders: Sequence[str], *, allowed: bool) -> Iterator[Measure]:
    if orders == ORDERS:
        yield from _quotients()
    kinds = (*vocabulary.kinds, "audio", "codebooks_after_0")
    for order in orders:
        for kind in kinds:
            yield _nats(order, kind, "")
        for what, unit, term in (
            ("text_token", "bits/token", "nll_text"),
            ("audio_second", "bits/s", "audio_nats_per_second"),
        ):
            # In both orders the quotients are what the reader looks for first.
            meaning = f"bits per {what.replace('_', ' ')}" if order == STORED else ""
            terms = (f"{order}.{term}",)
            yield Measure(f"{order}.bits_per_{what}", unit, "lower", terms, scale=_BITS_PER_NAT, meaning=meaning)
    for order in orders:
        for kind in kinds:
            yield _nats(order, kind, f".{_suffix(not allowed)}")


def _quotients() -> Iterator[Measure]:
    yield Measure(
        "text_nll_with_over_without_audio",
        "fraction",
        "lower",
        (WITH_AUDIO, WITHOUT_AUDIO),
        "quotient",
        meaning="text NLL with the audio as context over the NLL without it: 1 for a model that ignores audio",
    )
    yield Measure(
        "audio_nll_with_over_without_text",
        "fraction",
        "lower",
        ("text_first.nll_audio", "audio_first.nll_audio"),
        "quotient",
        meaning="audio NLL with the text as context over the NLL without it; the orders differ in more than the "
        "text: see the control below",
    )
    yield Measure(
        CONTROLLED[0],
        "fraction",
        "lower",
        (MATCHED_AUDIO_NLL, MISMATCHED_AUDIO_NLL),
        "quotient",
        meaning="audio NLL after the matched text over the NLL after a mismatched one (control): 1 for a model that "
        "ignores text",
    )
    yield Measure(
        CONTROLLED[1],
        "bits/document",
        "higher",
        (f"{MISMATCHED_TEXT}.nats_audio", "text_first.nats_audio"),
        "difference",
        scale=_BITS_PER_NAT,
        meaning="audio bits saved by the matched text over a mismatched one (control): 0 for a model that ignores text",
    )
    yield Measure(
        "text_bits_saved_by_audio",
        "bits/document",
        "higher",
        ("text_first.nats_text", "audio_first.nats_text"),
        "difference",
        scale=_BITS_PER_NAT,
        meaning="text bits saved by the audio: an estimate of the audio bits that the text can save",
    )


def _nats(order: str, kind: str, suffix: str) -> Measure:
    name = f"{order}.nll_{kind}{suffix}"
    return Measure(name, "nats/token", "lower", (name,))
