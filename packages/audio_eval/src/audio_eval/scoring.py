"""The likelihood core: log-likelihoods of whole documents, a token at a time, by kind and by codebook.

Documents are packed into rows of a few widths, so that XLA compiles a few shapes whatever the data and little work goes
to padding; a document's numbers do not depend on its neighbours but for rounding. One forward pass gives both of the
questions one can ask of a token:

- over the full vocabulary: how likely is this id among all ids;
- within the allowed set: how likely is it among the ids that the grammar of frame-major streams allows at its place
  (one codebook, or text and specials). A model trained with the grammar loss is calibrated only within these sets.
"""

import dataclasses
import functools
from collections.abc import Container, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from audio_data import InputError, Progress, Vocabulary
from audio_eval.packing import PackedRow, batches, pack
from audio_model import Qwen3x, TokenSets, grammar_cross_entropy, linear_cross_entropy

_LOGIT_ROWS = 128
# Scored places of a batch are filled up to a multiple of this.
_PLACES_STEP = 128
# Activations of this many tokens fit the caches of a CPU: 10 to 17 % faster than four times as many.
_TOKENS_ON_CPU, _TOKENS_ELSEWHERE = 2_048, 8_192
Softmax: TypeAlias = Literal["both", "full", "allowed"]


@dataclasses.dataclass(frozen=True, eq=False)
class Likelihoods:
    """Log-likelihoods, in nats, of the tokens of one document that were predicted: all but its first, unless given.

    Attributes:
        targets: The tokens that were predicted.
        full: Log-likelihood of each over the full vocabulary.
        allowed: Log-likelihood of each within the set of ids that its place allows.
        greedy: Whether each target is the most likely id, if requested.
    """

    targets: Int32[np.ndarray, " targets"]
    full: Float32[np.ndarray, " targets"]
    allowed: Float32[np.ndarray, " targets"]
    greedy: Bool[np.ndarray, " targets"] | None = None

    def nats_by_kind(self, vocabulary: Vocabulary, *, allowed: bool) -> dict[str, tuple[float, int]]:
        """Add up negative log-likelihoods by token kind.

        Args:
            vocabulary: Says which token is of which kind.
            allowed: Within the allowed sets, or over the full vocabulary.

        Returns:
            For each of `Vocabulary.kinds`, the sum in nats and the number of tokens.
        """
        kinds = vocabulary.kind_of(self.targets)
        nats = np.bincount(kinds, -(self.allowed if allowed else self.full), minlength=len(vocabulary.kinds))
        counts = np.bincount(kinds, minlength=len(vocabulary.kinds))
        return {kind: (float(nats[i]), int(counts[i])) for i, kind in enumerate(vocabulary.kinds)}


def score_documents(
    model: Qwen3x,
    documents: Sequence[Int[np.ndarray, " _"]],
    sets: TokenSets,
    *,
    tokens_per_batch: int | None = None,
    max_widths: int = 3,
    label: str = "score",
) -> list[Likelihoods]:
    """Score documents token by token; each is a sequence of its own, positions counted from its first token.

    Args:
        model: The model; its activations are float32, as are all sums.
        documents: Token ids, each at least 2 long and no longer than the model's `max_seq_len`.
        sets: Which ids compete at a place, such as `Vocabulary.allowed_sets`; every id of every document is in one.
        tokens_per_batch: Tokens of a forward pass, padding included; None for 2,048 on a CPU and 8,192 elsewhere. It
            decides memory and speed; results change by rounding, less than 1e-5 nats a token.
        max_widths: How many row widths are compiled.
        label: Name of the progress line.

    Returns:
        Log-likelihoods of each document, in the given order.

    Raises:
        InputError: A document is too short or too long, or the model gives it a likelihood that is not finite; the
            message names its index.
    """
    scored = dict(
        scored_documents(model, documents, sets, tokens_per_batch=tokens_per_batch, max_widths=max_widths, label=label)
    )
    return [scored[index] for index in range(len(documents))]


def scored_documents(
    model: Qwen3x,
    documents: Sequence[Int[np.ndarray, " _"]],
    sets: TokenSets,
    *,
    tokens_per_batch: int | None = None,
    max_widths: int = 3,
    label: str = "score",
    known: Container[int] = (),
    given: Sequence[int] | None = None,
    greedy: bool = False,
    softmax: Softmax = "both",
) -> Iterator[tuple[int, Likelihoods]]:
    """Score documents as `score_documents` does, and yield each as soon as its batch is done.

    Args:
        model: As for `score_documents`.
        documents: As for `score_documents`.
        sets: As for `score_documents`.
        tokens_per_batch: As for `score_documents`.
        max_widths: As for `score_documents`.
        label: As for `score_documents`.
        known: Indices of documents that are not scored. Batches are those of all documents, so that the results of a
            resumed run are those of one without a stop.
        given: Tokens at the beginning of each document that are read but not predicted, at least 1: they are not
            multiplied with the output head. None for 1 everywhere.
        greedy: Whether to return for each token if it is the most likely one; needs another product with the head.
        softmax: Which of the two log-likelihoods to compute; the other one is 0 and costs nothing.

    Yields:
        Index and log-likelihoods of a document, batch by batch.

    Raises:
        InputError: As `score_documents`, before the first batch; or the model gives a likelihood that is not finite.
    """
    lengths = [len(document) for document in documents]
    longest = model.config.max_seq_len
    for index, length in enumerate(lengths):
        if not 2 <= length <= longest:
            raise InputError(f"document `{index}` must have 2 to {longest} tokens to be scored, got {length!r}")
    if not documents:
        return
    first = [1] * len(documents) if given is None else given
    planned = list(batches(pack(lengths, max_widths), tokens_per_batch or default_tokens_per_batch()))
    max_places = _max_places(planned, lengths, first)
    with Progress(label, sum(lengths), unit="tokens") as progress:
        for rows, size in planned:
            members = [index for row in rows for index in row.documents]
            if not all(index in known for index in members):
                batch = _batch(documents, first, rows, size, max_places[rows[0].width])
                full, allowed, best = map(np.asarray, _score(model, *batch, sets, greedy=greedy, softmax=softmax))
                scored = _handed_out(members, documents, first, full, allowed, best if greedy else None)
                yield from (found for found in scored if found[0] not in known)
            progress.advance(sum(lengths[index] for index in members))


def default_tokens_per_batch() -> int:
    """Return the default number of tokens of a forward pass."""
    return _TOKENS_ON_CPU if jax.default_backend() == "cpu" else _TOKENS_ELSEWHERE


def _max_places(
    planned: Sequence[tuple[Sequence[PackedRow], int]], lengths: Sequence[int], first: Sequence[int]
) -> dict[int, int]:
    """Return the number of scored places of a batch of each width: that of the fullest one, so that shapes stay few."""
    found: dict[int, int] = {}
    for rows, _ in planned:
        places = sum(lengths[index] - first[index] for row in rows for index in row.documents)
        rounded = -(-places // _PLACES_STEP) * _PLACES_STEP
        found[rows[0].width] = max(found.get(rows[0].width, 0), rounded)
    return found


class _Batch(NamedTuple):
    """Rows of packed documents, and the places whose next token is predicted, row after row."""

    tokens: Int32[np.ndarray, "batch seq"]
    segments: Int32[np.ndarray, "batch seq"]
    positions: Int32[np.ndarray, "batch seq"]
    places: Int32[np.ndarray, " places"]
    targets: Int32[np.ndarray, " places"]
    counted: Bool[np.ndarray, " places"]


def _batch(
    documents: Sequence[np.ndarray], first: Sequence[int], rows: Sequence[PackedRow], size: int, max_places: int
) -> _Batch:
    width = rows[0].width
    tokens, segments, positions = (np.zeros((size, width), np.int32) for _ in range(3))
    places, targets = (np.zeros(max_places, np.int32) for _ in range(2))
    num_places = 0
    for index, row in enumerate(rows):
        start = 0
        for segment, document in enumerate(row.documents, start=1):
            ids = documents[document]
            here = np.s_[index, start : start + len(ids)]
            tokens[here], segments[here], positions[here] = ids, segment, np.arange(len(ids))
            wanted = np.s_[num_places : num_places + len(ids) - first[document]]
            places[wanted] = index * width + start + np.arange(first[document] - 1, len(ids) - 1)
            targets[wanted] = ids[first[document] :]
            start, num_places = start + len(ids), wanted.stop
    return _Batch(tokens, segments, positions, places, targets, np.arange(max_places) < num_places)


def _handed_out(
    members: Sequence[int],
    documents: Sequence[np.ndarray],
    first: Sequence[int],
    full: Float32[np.ndarray, " places"],
    allowed: Float32[np.ndarray, " places"],
    best: Bool[np.ndarray, " places"] | None,
) -> Iterator[tuple[int, Likelihoods]]:
    start = 0
    for index in members:
        targets = np.asarray(documents[index][first[index] :], np.int32)
        here = np.s_[start : start + len(targets)]
        if not (np.isfinite(full[here]).all() and np.isfinite(allowed[here]).all()):
            raise InputError(
                f"the likelihoods of document `{index}` must be finite, got NaN or infinity: the model's weights are "
                "damaged or its training diverged; export it from an earlier checkpoint"
            )
        yield index, Likelihoods(targets, full[here], allowed[here], None if best is None else best[here])
        start = here.stop


@functools.partial(jax.jit, static_argnames=("sets", "greedy", "softmax"))
def _score(
    model: Qwen3x,
    tokens: Int[Array, "batch seq"],
    segments: Int[Array, "batch seq"],
    positions: Int[Array, "batch seq"],
    places: Int[Array, " places"],
    targets: Int[Array, " places"],
    counted: Bool[Array, " places"],
    sets: TokenSets,
    *,
    greedy: bool,
    softmax: Softmax,
) -> tuple[Float[Array, " places"], Float[Array, " places"], Bool[Array, " places"]]:
    hidden = model(tokens, segments, positions)
    hidden = jnp.take(hidden.reshape(-1, hidden.shape[-1]), places, axis=0)
    full = allowed = jnp.zeros(targets.shape, jnp.float32)
    if softmax != "allowed":
        # With no gradient to follow, a CPU does best with larger tiles of logits than training has.
        rows, columns = (_TOKENS_ON_CPU, 2_112) if jax.default_backend() == "cpu" else (1_024, None)
        full, _ = linear_cross_entropy(hidden, model.head_matrix, targets, block_rows=rows, block_columns=columns)
    if softmax != "full":
        allowed, _ = grammar_cross_entropy(hidden, model.head_matrix, targets, sets, mask=counted)
    best = _best(model, hidden) == targets if greedy else counted
    return -full, -allowed, best


def _best(model: Qwen3x, hidden: Float[Array, "rows embed"]) -> Int[Array, " rows"]:
    """Return the most likely id of each row, a few rows at a time: all logits at once would not fit in memory."""
    rows = len(hidden)
    padded = jnp.pad(hidden, ((0, -rows % _LOGIT_ROWS), (0, 0))).reshape(-1, _LOGIT_ROWS, hidden.shape[1])
    return jax.lax.map(lambda some: model.logits(some).argmax(axis=-1), padded).reshape(-1)[:rows]
