"""Shapes of attention that tests check and benchmarks time."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    """One shape.

    Attributes:
        reason: Why it is listed.
        batch: Rows.
        seq: Tokens a row.
        heads: Query heads.
        kv_heads: Key heads.
        head_dim: Width of a head.
        timed: Whether benchmarks run it instead of tests.
    """

    reason: str
    batch: int
    seq: int
    heads: int
    kv_heads: int
    head_dim: int
    timed: bool = False


CASES = (
    Case("one token, as a prompt may have", 2, 1, 2, 1, 4),
    Case("shorter than a block, odd", 2, 37, 4, 2, 8),
    Case("several blocks with a ragged end", 1, 300, 2, 2, 16),
    Case("grouped heads over whole blocks", 2, 256, 6, 2, 8),
    Case("more tokens than eight blocks of 128", 1, 1100, 1, 1, 4),
    Case("quickstart row", 4, 512, 3, 3, 64, timed=True),
)
