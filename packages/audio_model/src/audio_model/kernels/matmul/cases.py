"""Shapes of matrix products that tests check and benchmarks time."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    """One shape.

    Attributes:
        reason: Why it is listed.
        batch: Leading axes of the left side.
        inputs: Width of the left side.
        outputs: Width of the right side.
        timed: Whether benchmarks run it instead of tests.
    """

    reason: str
    batch: tuple[int, ...]
    inputs: int
    outputs: int
    timed: bool = False


CASES = (
    Case("one row, which is padded in bfloat16", (1, 1), 8, 12),
    Case("two batch axes", (3, 5), 8, 12),
    Case("one axis", (7,), 4, 3),
    Case("quickstart step", (4, 512), 192, 768, timed=True),
)
