"""Markers of document strings: what they are, which id each has, and where each may stand."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int32

from audio_data import Vocabulary
from audio_tokenize.documents.transcode import Fault
from audio_tokenize.text.huggingface_text import HuggingFaceText
from audio_tokenize.text.sentencepiece_text import TextTokenizer
from audio_tokenize.vocabularies.document_tokenizer import SPECIALS, marker

State = Literal["outside every span", "inside a text span", "inside an audio span"]
OUTSIDE: State = "outside every span"
IN_TEXT: State = "inside a text span"
IN_AUDIO: State = "inside an audio span"
BEGIN, END, TEXT_START, TEXT_END, AUDIO_START, AUDIO_END = map(marker, SPECIALS)

_STEPS: dict[tuple[State, str], State] = {
    (OUTSIDE, TEXT_START): IN_TEXT,
    (IN_TEXT, TEXT_END): OUTSIDE,
    (OUTSIDE, AUDIO_START): IN_AUDIO,
    (IN_AUDIO, AUDIO_END): OUTSIDE,
}
_EDGES = frozenset(edge for _, edge in _STEPS)
_EXPECTED = {
    OUTSIDE: f"text, {TEXT_START}, {AUDIO_START}, {BEGIN} first or {END} last",
    IN_TEXT: f"text or {TEXT_END}",
    IN_AUDIO: f"audio characters or {AUDIO_END}",
}


class MarkerRun(NamedTuple):
    """Markers without anything between: where they lead, their ids, and the first that may not stand there."""

    state: State
    ids: Int32[np.ndarray, " markers"]
    fault: Fault | None


class Markers:
    """The markers of a vocabulary's document strings.

    Beside the six of every document these are the text tokenizer's own, as Llama's `<|eot_id|>`. They may stand
    wherever text may.

    Args:
        vocabulary: Has the six.
        text: The text tokenizer.

    Attributes:
        ids: By marker.
    """

    def __init__(self, vocabulary: Vocabulary, text: TextTokenizer):
        named = text.named if isinstance(text, HuggingFaceText) else ()
        self.ids = {marker(special): getattr(vocabulary, special) for special in SPECIALS}
        self.ids |= {token.name: token.id for token in named if token.id not in vocabulary.special_ids}
        self._one, self._run = marker_patterns(list(self.ids))
        # Published documents know half a dozen runs of markers.
        self.walk = lru_cache(4096)(self._walk)

    def split(self, document: str) -> list[str]:
        """Cut a document: what stands before, between and after runs of markers at even places, the runs at odd."""
        return self._run.split(document)

    def _walk(self, state: State, run: str, first: bool, last: bool) -> MarkerRun:
        """Follow a run of markers.

        Args:
            state: Where it begins.
            run: What `split` gives at an odd place.
            first: Whether nothing stands before it.
            last: Whether nothing stands after it.

        Returns:
            Where it leads. The position of a fault counts from the start of the run.
        """
        found = list(self._one.finditer(run))
        ids = np.array([self.ids[match[0]] for match in found], np.int32)
        for place, match in enumerate(found):
            following = _STEPS.get((state, match[0]))
            if following is not None:
                state = following
            elif not _may_stand(match[0], state, first and not place, last and match is found[-1]):
                message = f"expected {_EXPECTED[state]}, got {match[0]} {state}"
                return MarkerRun(state, ids, Fault("structure", match.start(), message))
        return MarkerRun(state, ids, None)


def _may_stand(name: str, state: State, first: bool, last: bool) -> bool:
    """Whether a marker that opens or closes no span may stand in that state."""
    if name in _EDGES or state == IN_AUDIO:
        return False
    if name == BEGIN:
        return first
    return name != END or last


def marker_patterns(names: Sequence[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Expressions that find markers as tokenizers do: the leftmost, and the longest that begins there.

    Args:
        names: At least one; those that are frequent first.

    Returns:
        One of them; a run of them as a group.
    """
    # Alternatives are tried in turn, hundreds of them with some tokenizers, so frequent ones come first, but for one
    # that begins a longer one. What all begin with stands before them, since `re` skips to a literal fast.
    begins = {name for name in names if any(other != name and other.startswith(name) for other in names)}
    ordered = [name for name in names if name not in begins] + sorted(begins, key=len, reverse=True)
    low, high = min(ordered), max(ordered)
    shared = next((i for i, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1]), len(low))
    one = f"{re.escape(low[:shared])}(?:{'|'.join(re.escape(name[shared:]) for name in ordered)})"
    return re.compile(one), re.compile(f"({one}(?:{one})*)")
