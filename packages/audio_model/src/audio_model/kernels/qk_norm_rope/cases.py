"""Shapes of the normalised, rotated heads that tests check."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    """One shape.

    Attributes:
        reason: Why it is listed.
        batch: Rows.
        seq: Tokens a row.
        heads: Heads.
        head_dim: Width of a head.
        compiled: Whether it is a shape of a named size, for the compilers, instead of one for values.
    """

    reason: str
    batch: int
    seq: int
    heads: int
    head_dim: int
    compiled: bool = False


CASES = (
    Case("one token", 2, 1, 2, 4),
    Case("heads that do not fill the lanes, ragged tokens", 2, 37, 3, 8),
    Case("two heads share the lanes, ragged blocks", 1, 600, 4, 64),
    Case("sixteen heads share the lanes", 1, 20, 16, 8),
    Case("one head fills the lanes", 2, 40, 2, 128),
    Case("135M, four rows of a chip", 4, 4096, 8, 64, compiled=True),
    Case("0.6B and 1.7B, four rows of a chip", 4, 4096, 16, 128, compiled=True),
)
