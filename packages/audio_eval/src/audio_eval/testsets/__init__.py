"""Published test sets in the layouts they are published in, and small generated twins of them."""

from audio_eval.testsets.location import TestSetCard as TestSetCard
from audio_eval.testsets.location import fingerprint_folder as fingerprint_folder
from audio_eval.testsets.location import locate as locate
from audio_eval.testsets.pairs import Pair as Pair
from audio_eval.testsets.pairs import Side as Side

__all__ = ["Pair", "Side", "TestSetCard", "fingerprint_folder", "locate"]
