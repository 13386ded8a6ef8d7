"""Published test sets in their published layouts, and small synthetic stand-ins for them."""

from audio_eval.testsets.location import TestSetCard as TestSetCard
from audio_eval.testsets.location import fingerprint_folder as fingerprint_folder
from audio_eval.testsets.location import locate as locate
from audio_eval.testsets.pairs import Pair as Pair
from audio_eval.testsets.pairs import Side as Side

__all__ = ["Pair", "Side", "TestSetCard", "fingerprint_folder", "locate"]
