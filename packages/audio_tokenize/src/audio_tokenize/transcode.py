"""Codes, characters and ids: three spellings of the same audio.

A *code* is the index 0..2047 that a codebook gives to a frame. A *character* is how published corpora spell it inside
a string, `chr(0xE000 + 2048 * codebook + code)`. An *id* is what a model reads, `audio_base + 2048 * codebook + code`.
All three are frame-major: codebooks 0, 1, ... of the first frame, then of the next.

Characters run from U+E000 to U+11FFF, past the private use area, so Unicode normalisation and lower-casing change
hundreds of them. Never normalise a string that holds audio.

Source: the document strings of the SODA corpora (arXiv 2602.16687) and codec-bpe, whose offset this is.
"""

import numpy as np
from jaxtyping import Int, Integer

from audio_data import InputError, Vocabulary

FIRST_CHARACTER = 0xE000
CODEBOOK_SIZE = 2048


def codes_to_characters(codes: Integer[np.ndarray, "frames codebooks"], codebook_size: int = CODEBOOK_SIZE) -> str:
    """Spells codes as characters.

    Args:
        codes: Values 0 to `codebook_size - 1`.
        codebook_size: Entries of each codebook.

    Returns:
        A string of `frames * codebooks` characters, frame-major.

    Raises:
        InputError: A code is out of range; the message names its frame and codebook.
    """
    wrong = np.argwhere((codes < 0) | (codes >= codebook_size))
    if len(wrong):
        frame, codebook = wrong[0]
        value = int(codes[frame, codebook])
        raise InputError(f"`codes[{frame}, {codebook}]` must be in 0..{codebook_size - 1}, got {value!r}")
    offsets = FIRST_CHARACTER + codebook_size * np.arange(codes.shape[1], dtype=np.uint32)
    return _from_points(codes.astype(np.uint32) + offsets)


def characters_to_codes(
    characters: str, num_codebooks: int, codebook_size: int = CODEBOOK_SIZE
) -> Int[np.ndarray, "frames codebooks"]:
    """Reads codes from characters, the inverse of `codes_to_characters`.

    Args:
        characters: Audio characters only, frame-major.
        num_codebooks: Codebooks of each frame.
        codebook_size: Entries of each codebook.

    Returns:
        The codes, int32.

    Raises:
        InputError: A character of another kind or of another codebook than its place asks for, named by position;
            or a length that is no multiple of `num_codebooks`.
    """
    return _to_codes(_to_points(characters) - FIRST_CHARACTER, num_codebooks, codebook_size, characters)


def characters_to_ids(characters: str, vocabulary: Vocabulary) -> Int[np.ndarray, " ids"]:
    """Ids of audio characters in the order given; codebooks may come in any order and number.

    Args:
        characters: Audio characters only.
        vocabulary: Where the ids live.

    Returns:
        One int32 id a character.

    Raises:
        InputError: A character is not one of the vocabulary's audio characters, named by position.
    """
    indices = _to_points(characters) - FIRST_CHARACTER
    _refuse(
        (indices < 0) | (indices >= vocabulary.num_codebooks * vocabulary.codebook_size),
        characters,
        f"must be an audio character of {vocabulary.num_codebooks} codebooks of {vocabulary.codebook_size}",
    )
    return (indices + vocabulary.audio_base).astype(np.int32)


def ids_to_characters(ids: Integer[np.ndarray, " ids"], vocabulary: Vocabulary) -> str:
    """Characters of audio ids, the inverse of `characters_to_ids`.

    Args:
        ids: Audio ids only.
        vocabulary: Where the ids live.

    Returns:
        One character an id.

    Raises:
        InputError: An id is no audio id, named by position.
    """
    indices = ids.astype(np.int64) - vocabulary.audio_base
    stop = vocabulary.num_codebooks * vocabulary.codebook_size
    wrong = np.flatnonzero((indices < 0) | (indices >= stop))
    if len(wrong):
        position = int(wrong[0])
        expected = f"{vocabulary.audio_base}..{vocabulary.audio_base + stop - 1}"
        raise InputError(f"`ids[{position}]` must be an audio id in {expected}, got {int(ids[position])!r}")
    return _from_points(indices.astype(np.uint32) + np.uint32(FIRST_CHARACTER))


def _to_codes(
    indices: Int[np.ndarray, " characters"], num_codebooks: int, codebook_size: int, characters: str
) -> Int[np.ndarray, "frames codebooks"]:
    expected = np.arange(len(indices)) % num_codebooks
    _refuse(
        indices // codebook_size != expected,
        characters,
        f"must be an audio character of the codebook its place asks for ({num_codebooks} codebooks, frame-major)",
    )
    if len(indices) % num_codebooks:
        raise InputError(
            f"`characters` must hold whole frames of {num_codebooks} characters, got {len(indices)!r} of them: "
            f"the last frame has only {len(indices) % num_codebooks}"
        )
    return (indices % codebook_size).astype(np.int32).reshape(-1, num_codebooks)


def _refuse(wrong: np.ndarray, characters: str, expected: str) -> None:
    positions = np.flatnonzero(wrong)
    if len(positions):
        position = int(positions[0])
        got = f"U+{ord(characters[position]):04X}"
        raise InputError(f"`characters[{position}]` {expected}, got {got} ({len(positions)} wrong in all)")


def _to_points(characters: str) -> Int[np.ndarray, " characters"]:
    # "surrogatepass": a lone surrogate is refused by position like any other wrong character.
    return np.frombuffer(characters.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.int64)


def _from_points(points: np.ndarray) -> str:
    return points.astype("<u4").tobytes().decode("utf-32-le")
