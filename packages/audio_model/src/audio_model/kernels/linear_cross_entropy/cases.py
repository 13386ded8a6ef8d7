"""Shapes of linear cross-entropy that tests check and benchmarks time."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    """One shape.

    Attributes:
        reason: Why it is listed.
        tokens: Positions.
        embed: Width of hidden states.
        vocab: Number of ids.
        block_rows: Tokens of a tile.
        block_columns: Ids of a tile.
        timed: Whether benchmarks run it instead of tests.
    """

    reason: str
    tokens: int
    embed: int
    vocab: int
    block_rows: int = 512
    block_columns: int = 2048
    timed: bool = False


CASES = (
    Case("one token", 1, 4, 7),
    Case("everything smaller than a tile", 13, 8, 30),
    Case("ragged rows and columns", 37, 16, 101, block_rows=8, block_columns=32),
    Case("exact tiles", 32, 16, 96, block_rows=16, block_columns=32),
    Case("quickstart step", 2048, 192, 16_518, timed=True),
    Case("small model, Llama-3's vocabulary and eight Mimi codebooks", 1024, 256, 144_644, timed=True),
)
