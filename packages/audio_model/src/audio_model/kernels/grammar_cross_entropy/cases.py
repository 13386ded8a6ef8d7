"""Shapes of grammar cross-entropy that tests check and benchmarks time."""

import dataclasses

from audio_model.kernels.grammar_cross_entropy.sets import TokenSets


@dataclasses.dataclass(frozen=True)
class Case:
    """One shape.

    Attributes:
        reason: Why it is listed.
        tokens: Positions.
        embed: Width of hidden states.
        vocab: Number of ids.
        sets: The sets.
        used: Indices of the sets that targets are drawn from.
        block_rows: Tokens of a tile.
        block_columns: Ids of a tile.
        timed: Whether benchmarks run it instead of tests.
    """

    reason: str
    tokens: int
    embed: int
    vocab: int
    sets: TokenSets
    used: tuple[int, ...]
    block_rows: int = 128
    block_columns: int = 2048
    timed: bool = False


def frames(base: int, num_codebooks: int, codebook_size: int, end_of_audio: int) -> TokenSets:
    """Return the sets of a vocabulary of text below `base` and codebooks from it; one id below ends the audio.

    Args:
        base: Id of code 0 of codebook 0.
        num_codebooks: Number of codebooks.
        codebook_size: Codes of each.
        end_of_audio: Id that competes with codebook 0; no text id does.

    Returns:
        Text first, then the codebooks in order.
    """
    books = [[(base + codebook_size * k, base + codebook_size * (k + 1))] for k in range(num_codebooks)]
    books[0].append((end_of_audio, end_of_audio + 1))
    text = [(0, end_of_audio), (end_of_audio + 1, base)]
    return TokenSets.build([[r for r in text if r[0] < r[1]], *books])


CASES = (
    Case("one token", 1, 4, 9, TokenSets.build([[(0, 9)]]), (0,)),
    Case("ids outside every set", 21, 8, 40, TokenSets.build([[(3, 10)], [(20, 33)]]), (0, 1), 4, 5),
    Case("frames of audio, ragged blocks and tiles", 67, 16, 8 + 3 * 16, frames(8, 3, 16, 5), (0, 1, 2, 3), 8, 6),
    Case("a set no target is in", 40, 8, 8 + 3 * 16, frames(8, 3, 16, 7), (1, 3), 16, 2048),
    Case("quickstart step", 2048, 192, 134 + 8 * 2048, frames(134, 8, 2048, 133), tuple(range(9)), timed=True),
)
