"""Every published corpus by name."""

import difflib
from collections.abc import Iterable

from audio_data import InputError
from audio_tokenize.corpora.card import CorpusCard
from audio_tokenize.corpora.document_cards import DOCUMENT_CARDS, TEXT_CARDS
from audio_tokenize.corpora.speech_cards import SPEECH_CARDS

CARDS: tuple[CorpusCard, ...] = (*SPEECH_CARDS, *TEXT_CARDS, *DOCUMENT_CARDS)


def card(name: str) -> CorpusCard:
    """The card of that name.

    Raises:
        InputError: If there is none; names the nearest.
    """
    found = {card.name: card for card in CARDS}
    if name not in found:
        raise InputError(f"corpus {name!r}: expected a published corpus; {nearest(name, found)}")
    return found[name]


def nearest(name: str, names: Iterable[str]) -> str:
    """Says which of the names were perhaps meant, or all of them."""
    names = sorted(names)
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    close += [other for other in names if name.lower() in other and other not in close]
    return f"did you mean {' or '.join(close)}?" if name and close else f"there are {', '.join(names)}"
