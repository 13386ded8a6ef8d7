"""Dataset cards: what a corpus or dataset holds, as a page for people and as a README for a hub."""

from audio_tokenize.inspection.dataset_cards.files import write_card
from audio_tokenize.inspection.dataset_cards.plain import card_text

__all__ = ["card_text", "write_card"]
