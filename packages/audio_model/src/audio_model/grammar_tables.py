"""A token automaton as device arrays, and the few rows of the head that each of its states needs."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32

from audio_model.automaton import TokenAutomaton

_MOST_STRAYS = 8
_SMALLEST_SAVING = 4
"""A window is worth its own path if it is at most a quarter of the vocabulary."""


class GrammarTables(eqx.Module):
    """What decoding needs of an automaton.

    A state is *narrow* when what it allows is one window of neighbouring ids, as the 2,048 codes of a codebook, and a
    few strays, as the end of audio: then only those rows of the head need be read.

    Attributes:
        masks: Allowed ids; states that allow the same share a row.
        row_of_state: Row of `masks` of every state.
        next_state: State after a token of each class, -1 where it is forbidden.
        class_of_token: Class of every id.
        initial_state: State before the first token.
        window_start: First id of each state's window, -1 where the state is wide.
        strays: Allowed ids outside the window, filled up with -1.
        window: Ids of a window; 0 where no state is narrow.
        is_narrow: Whether every state is narrow, so that the whole head is never read.
    """

    masks: Bool[Array, "rows vocab"]
    row_of_state: Int32[Array, " states"]
    next_state: Int32[Array, "states classes"]
    class_of_token: Int32[Array, " vocab"]
    initial_state: Int32[Array, ""]
    window_start: Int32[Array, " states"]
    strays: Int32[Array, "states strays"]
    window: int = eqx.field(static=True)
    is_narrow: bool = eqx.field(static=True)

    @staticmethod
    def of(automaton: TokenAutomaton) -> "GrammarTables":
        """Make the tables of an automaton."""
        patterns, row_of_state = np.unique(automaton.next_state >= 0, axis=0, return_inverse=True)
        masks, row_of_state = patterns[:, automaton.class_of_token], row_of_state.reshape(-1)
        window, starts, strays = _windows(masks)
        return GrammarTables(
            masks=jnp.asarray(masks),
            row_of_state=jnp.asarray(row_of_state, jnp.int32),
            next_state=jnp.asarray(automaton.next_state),
            class_of_token=jnp.asarray(automaton.class_of_token),
            initial_state=jnp.asarray(automaton.initial_state, jnp.int32),
            window_start=jnp.asarray(starts[row_of_state]),
            strays=jnp.asarray(strays[row_of_state]),
            window=window,
            is_narrow=window > 0 and bool((starts >= 0).all()),
        )


def _windows(masks: Bool[np.ndarray, "rows vocab"]) -> tuple[int, np.ndarray, np.ndarray]:
    """Find the common width of all windows, and for each row of `masks` its window's start and the ids outside."""
    vocab = masks.shape[1]
    runs = np.array([_longest_run(mask) for mask in masks])
    widths = runs[:, 1] - runs[:, 0]
    narrow = (masks.sum(axis=1) - widths <= _MOST_STRAYS) & (_SMALLEST_SAVING * widths <= vocab)
    window = int(widths[narrow].max(initial=0))
    # A window at the end of the vocabulary begins earlier; the mask hides what it holds too much.
    starts = np.where(narrow, np.minimum(runs[:, 0], vocab - window), -1).astype(np.int32)
    # A window is at least as wide as the row's own run: an id beside the run may lie inside, and is no stray then.
    outside = {
        row: np.setdiff1d(np.flatnonzero(masks[row]), np.arange(starts[row], starts[row] + window))
        for row in np.flatnonzero(narrow)
    }
    strays = np.full((len(masks), max([1, *map(len, outside.values())])), -1, np.int32)
    for row, ids in outside.items():
        strays[row, : len(ids)] = ids
    return window, starts, strays


def _longest_run(mask: Bool[np.ndarray, " vocab"]) -> tuple[int, int]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))).reshape(-1, 2)
    if not len(edges):
        return 0, 0
    start, stop = edges[np.argmax(edges[:, 1] - edges[:, 0])]
    return int(start), int(stop)
