"""A reader of the ids of one document; every error names a position."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32, Integer

from audio_data import InputError, Vocabulary


class DocumentReader:
    """Reads spans one after the other, from the first id to the last.

    Args:
        ids: One whole document.
        vocabulary: That it was built with.
        layout_name: For the messages.
    """

    def __init__(self, ids: Integer[np.ndarray, " ids"], vocabulary: Vocabulary, layout_name: str):
        self._ids = ids.astype(np.int32)
        self._vocabulary = vocabulary
        self._layout_name = layout_name
        self._position = 0
        self._markers = np.flatnonzero(np.isin(ids, vocabulary.special_ids))

    def expect(self, marker: int) -> None:
        """Step over a marker that must stand here.

        Raises:
            InputError: Something else stands here, or nothing.
        """
        if self._position == len(self._ids) or self._ids[self._position] != marker:
            raise self._error(self._position, f"id {marker}")
        self._position += 1

    def skip(self, marker: int) -> None:
        """Step over a marker if it stands here."""
        if self._position < len(self._ids) and self._ids[self._position] == marker:
            self._position += 1

    def at_end(self, *, with_bos_eos: bool) -> bool:
        """Whether the document ends here.

        Args:
            with_bos_eos: Whether `end_of_text` closes the document; it is stepped over.

        Raises:
            InputError: Something follows `end_of_text`.
        """
        if not with_bos_eos:
            return self._position == len(self._ids)
        if self._position < len(self._ids) and self._ids[self._position] == self._vocabulary.end_of_text:
            self._position += 1
            if self._position < len(self._ids):
                raise self._error(self._position, "the end of the document")
            return True
        return False

    def content(self) -> slice:
        """Step over everything up to the next marker, or to the end; return where it lies."""
        start = self._position
        following = np.searchsorted(self._markers, start)
        self._position = int(self._markers[following]) if following < len(self._markers) else len(self._ids)
        return slice(start, self._position)

    def num_codebooks(self, spans: Sequence[slice]) -> int:
        """Codebooks of a frame, from where codebook 0 comes round again; all of them where there is no audio.

        Args:
            spans: Where the audio of the document lies.
        """
        for where in spans:
            if where.stop > where.start:
                codebooks = (self._ids[where] - self._vocabulary.audio_base) // self._vocabulary.codebook_size
                again = np.flatnonzero(codebooks[1:] == 0)
                return int(again[0]) + 1 if again.size else len(codebooks)
        return max(1, self._vocabulary.num_codebooks)

    def text(self, where: slice) -> Int32[np.ndarray, " tokens"]:
        """Return the ids of a text span.

        Args:
            where: As `content` gave it.

        Raises:
            InputError: An id that is no text.
        """
        ids = self._ids[where]
        wrong = np.flatnonzero((ids < 0) | (ids >= self._vocabulary.num_text))
        if wrong.size:
            raise self._error(where.start + int(wrong[0]), f"a text id in 0..{self._vocabulary.num_text - 1}")
        return ids

    def audio(self, where: slice, num_codebooks: int) -> Int32[np.ndarray, "frames codebooks"]:
        """Return the codes of an audio span.

        Args:
            where: As `content` gave it.
            num_codebooks: Codebooks of a frame.

        Raises:
            InputError: An id that is no code of the codebook its place asks for, or a frame that ends early.
        """
        try:
            return self._vocabulary.codes(self._ids[where], num_codebooks)
        except InputError as error:
            raise InputError(
                f"audio from `ids[{where.start}]` on, in a document of layout `{self._layout_name}`: {error.message}"
            ) from error

    def _error(self, position: int, expected: str) -> InputError:
        got = repr(int(self._ids[position])) if position < len(self._ids) else "the end of the document"
        return InputError(
            f"`ids[{position}]` of a document of layout `{self._layout_name}` must be {expected}, got {got}"
        )
