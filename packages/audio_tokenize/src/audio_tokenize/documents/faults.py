"""What can be wrong with a document string, and where."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt32

from audio_data import Vocabulary
from audio_tokenize.documents.transcode import audio_indices, misplaced


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
