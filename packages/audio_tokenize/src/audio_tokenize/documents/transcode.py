"""Codes, characters and ids, three forms of the same audio, and the faults of a document string.

A *code* is the index 0..2047 that a codebook gives to a frame. A *character* is how published corpora spell it inside
a string, `chr(0xE000 + 2048 * codebook + code)`. An *id* is what a model reads, `audio_base + 2048 * codebook + code`.
All three are frame-major: codebooks 0, 1, ... of the first frame, then of the next. Codes become ids in
`audio_data.Vocabulary.audio_ids`.

Characters run from U+E000 to U+11FFF, past the private use area, so Unicode normalisation and lower-casing change
hundreds of them. Never normalise a string that holds audio. They also meet characters of ordinary text, the full-width
comma U+FF0C among them: a string alone does not say which is meant, the span it stands in does.

Source: the document strings of the SODA corpora (arXiv 2602.16687) and codec-bpe, whose offset this is.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int32, Integer, UInt32

from audio_data import InputError, Vocabulary

FIRST_CHARACTER = 0xE000
CODEBOOK_SIZE = 2048


def codes_to_characters(codes: Integer[np.ndarray, "frames codebooks"], codebook_size: int = CODEBOOK_SIZE) -> str:
    """Return the characters of codes.

    Args:
        codes: Values 0 to `codebook_size - 1`.
        codebook_size: Entries of each codebook.

    Returns:
        A string of `frames * codebooks` characters, frame-major.

    Raises:
        InputError: A code is out of range; the message names its frame and codebook.
    """
    if codes.size and not (codes.min() >= 0 and codes.max() < codebook_size):
        frame, codebook = np.argwhere((codes < 0) | (codes >= codebook_size))[0]
        value = int(codes[frame, codebook])
        raise InputError(f"`codes[{frame}, {codebook}]` must be in 0..{codebook_size - 1}, got {value!r}")
    return _from_points(codes.astype(np.uint32) + np.uint32(FIRST_CHARACTER) + _bases(codes.shape[1], codebook_size))


def characters_to_codes(
    characters: str, num_codebooks: int, codebook_size: int = CODEBOOK_SIZE
) -> Int32[np.ndarray, "frames codebooks"]:
    """Read codes from characters, the inverse of `codes_to_characters`.

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
    indices = audio_indices(characters)
    wrong = misplaced(indices, num_codebooks, codebook_size)
    _refuse(
        wrong,
        characters,
        f"must be an audio character of the codebook its place asks for ({num_codebooks} codebooks, frame-major)",
    )
    if len(indices) % num_codebooks:
        raise InputError(
            f"`characters` must hold whole frames of {num_codebooks} characters, got {len(indices)!r} of them: "
            f"the last frame has only {len(indices) % num_codebooks}"
        )
    return (indices.reshape(-1, num_codebooks) - _bases(num_codebooks, codebook_size)).view(np.int32)


def characters_to_ids(characters: str, vocabulary: Vocabulary) -> Int32[np.ndarray, " ids"]:
    """Ids of audio characters in the order given; codebooks may come in any order and number.

    Args:
        characters: Audio characters only.
        vocabulary: Where the ids live.

    Returns:
        One int32 id a character.

    Raises:
        InputError: A character is not one of the vocabulary's audio characters, named by position.
    """
    indices = audio_indices(characters)
    _refuse(
        indices >= vocabulary.num_codebooks * vocabulary.codebook_size,
        characters,
        f"must be an audio character of {vocabulary.num_codebooks} codebooks of {vocabulary.codebook_size}",
    )
    return (indices + np.uint32(vocabulary.audio_base)).view(np.int32)


def ids_to_characters(ids: Integer[np.ndarray, " ids"], vocabulary: Vocabulary) -> str:
    """Return the characters of audio ids, the inverse of `characters_to_ids`.

    Args:
        ids: Audio ids only.
        vocabulary: Where the ids live.

    Returns:
        One character an id.

    Raises:
        InputError: An id is no audio id, named by position.
    """
    start = vocabulary.audio_base
    stop = start + vocabulary.num_codebooks * vocabulary.codebook_size
    if ids.size and not (ids.min() >= start and ids.max() < stop):
        position = int(np.argmax((ids < start) | (ids >= stop)))
        raise InputError(f"`ids[{position}]` must be an audio id in {start}..{stop - 1}, got {int(ids[position])!r}")
    return _from_points(ids.astype(np.uint32) + np.uint32(FIRST_CHARACTER) - np.uint32(start))


def audio_indices(characters: str) -> UInt32[np.ndarray, " characters"]:
    """Each character as `codebook_size * codebook + code`; what lies before U+E000 wraps round to huge values.

    Args:
        characters: Any string. A lone surrogate is a character like any other here.

    Returns:
        One uint32 a character: below `num_codebooks * codebook_size` exactly for audio characters.
    """
    points = np.frombuffer(characters.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return points.astype(np.uint32, copy=False) - np.uint32(FIRST_CHARACTER)


def misplaced(
    indices: UInt32[np.ndarray, " characters"], num_codebooks: int, codebook_size: int
) -> Bool[np.ndarray, " characters"]:
    """Where a frame-major stream has a character of another codebook than its place asks for.

    Args:
        indices: As `audio_indices` gives them, from the first of a frame on.
        num_codebooks: Codebooks of each frame.
        codebook_size: Entries of each codebook.
    """
    whole = len(indices) - len(indices) % num_codebooks
    bases = _bases(num_codebooks, codebook_size)
    # Unsigned: an index below its base wraps round, so one comparison sees both sides.
    frames = (indices[:whole].reshape(-1, num_codebooks) - bases) >= np.uint32(codebook_size)
    rest = (indices[whole:] - bases[: len(indices) - whole]) >= np.uint32(codebook_size)
    return np.concatenate([frames.reshape(-1), rest]) if len(rest) else frames.reshape(-1)


def _bases(num_codebooks: int, codebook_size: int) -> UInt32[np.ndarray, " codebooks"]:
    return np.arange(0, num_codebooks * codebook_size, codebook_size, dtype=np.uint32)


def _refuse(wrong: Bool[np.ndarray, " characters"], characters: str, expected: str) -> None:
    if wrong.any():
        positions = np.flatnonzero(wrong)
        position = int(positions[0])
        got = f"U+{ord(characters[position]):04X}"
        raise InputError(f"`characters[{position}]` {expected}, got {got} ({len(positions)} wrong in all)")


def _from_points(points: np.ndarray) -> str:
    return points.astype("<u4", copy=False).tobytes().decode("utf-32-le")


@dataclass(frozen=True)
class Fault:
    """Why a document string is no document.

    Attributes:
        kind: `structure`, `frames` or `characters`: what counts of dropped documents call it.
        position: The first wrong character, counted from the start of the string.
        message: What was expected there and what was found.
    """

    kind: Literal["structure", "frames", "characters"]
    position: int
    message: str


def codebooks_of(indices: UInt32[np.ndarray, " characters"], vocabulary: Vocabulary) -> int:
    """Codebooks of the first frame: how far it is from one code of codebook 0 to the next.

    Args:
        indices: Audio from the first of a frame on, each code as `codebook_size * codebook + code`.
        vocabulary: Its sizes.
    """
    again = np.flatnonzero(indices[1 : vocabulary.num_codebooks + 1] < vocabulary.codebook_size)
    return int(again[0]) + 1 if len(again) else min(max(len(indices), 1), vocabulary.num_codebooks)


def find_in_frames(document: str, start: int, stop: int, num_codebooks: int, vocabulary: Vocabulary) -> Fault | None:
    """Return the first character of a span of audio that is not the one its place asks for.

    Args:
        document: The document.
        start: Where the audio of the span begins.
        stop: Where it ends.
        num_codebooks: Codebooks of each frame.
        vocabulary: Its sizes.
    """
    wrong = np.flatnonzero(misplaced(audio_indices(document[start:stop]), num_codebooks, vocabulary.codebook_size))
    if len(wrong):
        position, codebook = start + int(wrong[0]), int(wrong[0]) % num_codebooks
        expected = f"an audio character of codebook {codebook} in frames of {num_codebooks}"
        return Fault("frames", position, f"expected {expected}, got U+{ord(document[position]):04X}")
    if (stop - start) % num_codebooks:
        got = f"{stop - start} characters of audio from character {start} on"
        return Fault("frames", stop, f"expected whole frames of {num_codebooks} characters, got {got}")
    return None


def find_surrogate(document: str) -> Fault | None:
    """Return the first half of a surrogate pair without the other half, which is no character.

    Args:
        document: Any string.
    """
    try:
        document.encode()
    except UnicodeEncodeError as error:
        got = f"U+{ord(document[error.start]):04X}, half a pair"
        return Fault("characters", error.start, f"expected a Unicode character, got {got}")
    return None
