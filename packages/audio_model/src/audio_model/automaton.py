"""Token grammars as finite automata over classes of token ids."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Int, Int32

from audio_model.errors import InputError

FORBIDDEN = -1
"""Entry of `TokenAutomaton.next_state` where a class may not follow."""


@dataclasses.dataclass(frozen=True, eq=False)
class TokenAutomaton:
    """Which token may follow, as a deterministic automaton whose letters are classes of token ids.

    Lengths are counted by unrolling states, so minimum, maximum and termination hold exactly. A state
    from which nothing may follow ends the sequence.

    Attributes:
        class_of_token: Class of every token id, in [0, classes).
        next_state: State after a token of each class, or -1 where that class is forbidden.
        initial_state: State before the first generated token; the prompt is not read.
    """

    class_of_token: Int32[np.ndarray, " vocab"]
    next_state: Int32[np.ndarray, "states classes"]
    initial_state: int = 0

    def __post_init__(self) -> None:
        states, classes = self.next_state.shape
        if self.class_of_token.size == 0 or not (0 <= self.class_of_token.min() <= self.class_of_token.max() < classes):
            raise InputError(f"`class_of_token` must hold classes in [0, {classes}) for at least one token")
        if self.next_state.min() < FORBIDDEN or self.next_state.max() >= states:
            raise InputError(f"`next_state` must hold states in [0, {states}) or {FORBIDDEN}")
        if not 0 <= self.initial_state < states:
            raise InputError(f"`initial_state` must lie in [0, {states}), got {self.initial_state!r}")
        unused = np.setdiff1d(np.flatnonzero((self.next_state >= 0).any(axis=0)), self.class_of_token)
        if unused.size:
            raise InputError(
                f"`next_state` allows the classes {unused.tolist()}, which no token of `class_of_token` has"
            )

    @property
    def vocab_size(self) -> int:
        """Number of token ids of the automaton."""
        return self.class_of_token.size

    @staticmethod
    def cycles(
        vocab_size: int, slots: Sequence[Iterable[tuple[int, int]]], end: int, *, minimum: int = 0, maximum: int
    ) -> "TokenAutomaton":
        """`minimum` to `maximum` rounds through the slots, then the end token.

        Frames of audio are cycles through one slot a codebook; plain text is a cycle of one slot.

        Args:
            vocab_size: Number of token ids.
            slots: For each place of a round, the id ranges `(start, stop)` allowed there.
            end: The id that ends the sequence, allowed only between rounds.
            minimum: Rounds before `end` is allowed.
            maximum: Rounds after which only `end` is allowed.

        Returns:
            An automaton of `maximum * len(slots) + 2` states.

        Raises:
            InputError: If a slot is empty or leaves the vocabulary, if slots partly overlap, or if
                `minimum` exceeds `maximum`.
        """
        if not 0 <= minimum <= maximum or maximum < 1:
            raise InputError(
                f"`minimum` and `maximum` must satisfy 0 <= minimum <= maximum, got {minimum!r}, {maximum!r}"
            )
        allowed = _slot_masks(vocab_size, slots, end)
        # Ids with the same pattern of slots are one class; the pattern itself tells where it may stand.
        patterns, class_of_token = np.unique(allowed, axis=1, return_inverse=True)
        period = len(slots)
        length = maximum * period
        next_state = np.full((length + 2, patterns.shape[1]), FORBIDDEN, np.int32)
        for state in range(length):
            next_state[state, patterns[state % period]] = state + 1
        boundaries = np.arange(minimum, maximum + 1) * period
        next_state[np.ix_(boundaries, patterns[period])] = length + 1
        return TokenAutomaton(class_of_token.reshape(-1).astype(np.int32), next_state)

    def allowed(self, state: int) -> Bool[np.ndarray, " vocab"]:
        """Which token ids may follow in a state.

        Args:
            state: Index of a state.

        Returns:
            True for every id that may follow; all False where the sequence has ended.
        """
        return self.next_state[state, self.class_of_token] >= 0

    def read(self, tokens: Int[np.ndarray, " tokens"]) -> int:
        """Return the state after a sequence.

        Args:
            tokens: Token ids, read from the initial state.

        Returns:
            The state reached.

        Raises:
            InputError: If a token may not follow; its position is named.
        """
        state = self.initial_state
        for position, token in enumerate(tokens.tolist()):
            following = int(self.next_state[state, self.class_of_token[token]])
            if following < 0:
                raise InputError(f"token {token} at position {position} of `tokens` may not follow in state {state}")
            state = following
        return state


def _slot_masks(vocab_size: int, slots: Sequence[Iterable[tuple[int, int]]], end: int) -> np.ndarray:
    masks = np.zeros((len(slots) + 1, vocab_size), bool)
    for mask, ranges in zip(masks, slots, strict=False):
        for start, stop in ranges:
            if not 0 <= start < stop <= vocab_size:
                raise InputError(
                    f"a range of `slots` must satisfy 0 <= start < stop <= {vocab_size}, got {(start, stop)!r}"
                )
            mask[start:stop] = True
    if not len(slots) or not masks[:-1].any(axis=1).all():
        raise InputError(f"`slots` must hold at least one slot and every slot at least one range, got {slots!r}")
    if not 0 <= end < vocab_size:
        raise InputError(f"`end` must lie in [0, {vocab_size}), got {end!r}")
    if masks[:-1, end].any():
        raise InputError(f"`end` must lie outside every slot, got {end!r}")
    masks[-1, end] = True
    return masks
