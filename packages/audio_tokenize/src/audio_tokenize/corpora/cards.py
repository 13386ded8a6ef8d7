"""Every published corpus by name."""

from audio_data import InputError, nearest
from audio_tokenize.corpora.card import CorpusCard
from audio_tokenize.corpora.document_cards import DOCUMENT_CARDS, TEXT_CARDS
from audio_tokenize.corpora.speech_cards import SPEECH_CARDS

CARDS: tuple[CorpusCard, ...] = (*SPEECH_CARDS, *TEXT_CARDS, *DOCUMENT_CARDS)


def card(name: str) -> CorpusCard:
    """Return the card of that name.

    Raises:
        InputError: If there is none; names the nearest.
    """
    found = {card.name: card for card in CARDS}
    if name not in found:
        raise InputError(f"corpus {name!r}: expected a published corpus; {nearest(name, found)}")
    return found[name]
