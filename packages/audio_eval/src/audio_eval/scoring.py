"""The likelihood core: log-likelihoods of whole documents, a token at a time, by kind and by codebook.

Documents are scored in batches of a few lengths, so that XLA compiles a few shapes whatever the data; a document's
numbers do not depend on its neighbours. One forward pass gives both of the questions one can ask of a token:

- over the full vocabulary: how likely is this id among all ids;
- within the allowed set: how likely is it among the ids that the grammar of frame-major streams allows at its place
  (one codebook, or text and specials). A model trained with the grammar loss is calibrated only within these sets.
"""

import dataclasses
import functools
from collections.abc import Container, Iterator, Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32

from audio_data import InputError, Progress, Vocabulary
from audio_model import Qwen3x, TokenSets, grammar_cross_entropy, linear_cross_entropy

# Lengths are rounded up to a multiple of this, which leaves the choice of bucket lengths only a few candidates.
_LENGTH_STEP = 32
_LOGIT_ROWS = 128
Softmax: TypeAlias = Literal["both", "full", "allowed"]


@dataclasses.dataclass(frozen=True, eq=False)
class Likelihoods:
    """Log-likelihoods, in nats, of every token of one document but its first.

    Attributes:
        targets: The tokens that were predicted.
        full: Log-likelihood of each over the full vocabulary.
        allowed: Log-likelihood of each within the set of ids that its place allows.
        greedy: Whether each is the likeliest of all ids, where that was asked for.
    """

    targets: Int32[np.ndarray, " targets"]
    full: Float32[np.ndarray, " targets"]
    allowed: Float32[np.ndarray, " targets"]
    greedy: Bool[np.ndarray, " targets"] | None = None

    def nats_by_kind(self, vocabulary: Vocabulary, *, allowed: bool) -> dict[str, tuple[float, int]]:
        """Adds up negative log-likelihoods by token kind.

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


def bucket_lengths(lengths: Sequence[int], max_buckets: int) -> list[int]:
    """Chooses the row lengths into which documents are padded, at the least total padding.

    Args:
        lengths: Lengths of the documents, at least one.
        max_buckets: How many different row lengths there may be, at least 1.

    Returns:
        At most `max_buckets` lengths in ascending order, multiples of 32, the last no shorter than the longest
        document.
    """
    rounded = np.array([-(-length // _LENGTH_STEP) * _LENGTH_STEP for length in lengths])
    candidates, counts = np.unique(rounded, return_counts=True)
    cumulative = np.concatenate([[0], np.cumsum(counts)])

    @functools.cache
    def cheapest(stop: int, buckets: int) -> tuple[int, tuple[int, ...]]:
        """Least number of padded tokens of the candidates before `stop`, and the lengths that give it."""
        if stop == 0:
            return 0, ()
        if buckets == 0:
            return np.iinfo(np.int64).max, ()
        options = []
        for start in range(stop):
            cost, chosen = cheapest(start, buckets - 1)
            if cost < np.iinfo(np.int64).max:
                tokens = int((cumulative[stop] - cumulative[start]) * candidates[stop - 1])
                options.append((cost + tokens, (*chosen, int(candidates[stop - 1]))))
        return min(options)

    return list(cheapest(len(candidates), max_buckets)[1])


def score_documents(
    model: Qwen3x,
    documents: Sequence[Int[np.ndarray, " _"]],
    sets: TokenSets,
    *,
    tokens_per_batch: int = 8_192,
    max_buckets: int = 2,
    label: str = "score",
) -> list[Likelihoods]:
    """Scores documents token by token; each is a sequence of its own, positions counted from its first token.

    Args:
        model: The model; its activations are float32, as are all sums.
        documents: Token ids, each at least 2 long and no longer than the model's `max_seq_len`.
        sets: Which ids compete at a place, such as `Vocabulary.allowed_sets`; every id of every document lies in one.
        tokens_per_batch: Tokens of a forward pass, padding included; it decides memory and speed, not results.
        max_buckets: How many row lengths are compiled.
        label: Name of the progress line.

    Returns:
        Log-likelihoods of each document, in the given order.

    Raises:
        InputError: A document is too short or too long; the message names its index.
    """
    scored = dict(
        scored_documents(
            model, documents, sets, tokens_per_batch=tokens_per_batch, max_buckets=max_buckets, label=label
        )
    )
    return [scored[index] for index in range(len(documents))]


def scored_documents(
    model: Qwen3x,
    documents: Sequence[Int[np.ndarray, " _"]],
    sets: TokenSets,
    *,
    tokens_per_batch: int = 8_192,
    max_buckets: int = 2,
    label: str = "score",
    known: Container[int] = (),
    greedy: bool = False,
    softmax: Softmax = "both",
) -> Iterator[tuple[int, Likelihoods]]:
    """Scores documents as `score_documents` does, and hands each out as soon as its batch is done.

    Args:
        model: As for `score_documents`.
        documents: As for `score_documents`.
        sets: As for `score_documents`.
        tokens_per_batch: As for `score_documents`.
        max_buckets: As for `score_documents`.
        label: As for `score_documents`.
        known: Indices of documents that need no score. Batches are those of all documents, so that what is left is
            computed as it would have been without a stop between.
        greedy: Whether to say of each token if it is the likeliest, at the price of another product with the head.
        softmax: Which of the two log-likelihoods are wanted; the other one is left at 0, and costs nothing.

    Yields:
        Index and log-likelihoods of a document, batch by batch.

    Raises:
        InputError: As `score_documents`, before the first batch.
    """
    lengths = [len(document) for document in documents]
    longest = model.config.max_seq_len
    for index, length in enumerate(lengths):
        if not 2 <= length <= longest:
            raise InputError(f"document `{index}` must have 2 to {longest} tokens to be scored, got {length!r}")
    if not documents:
        return
    with Progress(label, sum(lengths), unit="tokens") as progress:
        for members, width, rows in _batches(lengths, tokens_per_batch, max_buckets):
            if not all(index in known for index in members):
                yield from _score_batch(model, documents, members, width, rows, sets, greedy=greedy, softmax=softmax)
            progress.advance(sum(lengths[index] for index in members))


def _score_batch(
    model: Qwen3x,
    documents: Sequence[Int[np.ndarray, " _"]],
    members: Sequence[int],
    width: int,
    rows: int,
    sets: TokenSets,
    *,
    greedy: bool,
    softmax: Softmax,
) -> Iterator[tuple[int, Likelihoods]]:
    tokens = np.zeros((rows, width), np.int32)
    real = np.zeros((rows, width), bool)
    for row, index in enumerate(members):
        tokens[row, : len(documents[index])] = documents[index]
        real[row, : len(documents[index])] = True
    full, allowed, best = (
        np.asarray(part) for part in _score(model, tokens, real, sets, greedy=greedy, softmax=softmax)
    )
    for row, index in enumerate(members):
        length = len(documents[index])
        here = np.s_[row, : length - 1]
        yield index, Likelihoods(tokens[row, 1:length], full[here], allowed[here], best[here] if greedy else None)


def _batches(lengths: Sequence[int], tokens_per_batch: int, max_buckets: int) -> Iterator[tuple[list[int], int, int]]:
    """Yields the documents of a batch, its row length and its number of rows; the last batch is filled with padding."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    shorter = 0
    for width in bucket_lengths(lengths, max_buckets):
        members = [index for index in order if shorter < lengths[index] <= width]
        rows = min(max(1, tokens_per_batch // width), len(members))
        for start in range(0, len(members), rows):
            yield members[start : start + rows], width, rows
        shorter = width


@functools.partial(jax.jit, static_argnames=("sets", "greedy", "softmax"))
def _score(
    model: Qwen3x,
    tokens: Int[Array, "batch seq"],
    real: Bool[Array, "batch seq"],
    sets: TokenSets,
    *,
    greedy: bool,
    softmax: Softmax,
) -> tuple[Float[Array, "batch targets"], Float[Array, "batch targets"], Bool[Array, "batch targets"]]:
    batch, seq = tokens.shape
    positions = jnp.broadcast_to(jnp.arange(seq, dtype=jnp.int32), (batch, seq))
    hidden = model(tokens, real.astype(jnp.int32), positions)[:, :-1].reshape(batch * (seq - 1), -1)
    targets, mask = tokens[:, 1:].reshape(-1), real[:, 1:].reshape(-1)
    full = allowed = jnp.zeros(targets.shape, jnp.float32)
    if softmax != "allowed":
        full, _ = linear_cross_entropy(hidden, model.head_matrix, targets)
    if softmax != "full":
        allowed, _ = grammar_cross_entropy(hidden, model.head_matrix, targets, sets, mask=mask)
    best = _best(model, hidden) == targets if greedy else mask
    return -full.reshape(batch, seq - 1), -allowed.reshape(batch, seq - 1), best.reshape(batch, seq - 1)


def _best(model: Qwen3x, hidden: Float[Array, "rows embed"]) -> Int[Array, " rows"]:
    """The likeliest id of each row, a few rows at a time: all logits at once would not fit a large vocabulary."""
    rows = len(hidden)
    padded = jnp.pad(hidden, ((0, -rows % _LOGIT_ROWS), (0, 0))).reshape(-1, _LOGIT_ROWS, hidden.shape[1])
    return jax.lax.map(lambda some: model.logits(some).argmax(axis=-1), padded).reshape(-1)[:rows]
