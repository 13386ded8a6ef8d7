"""Who says which sentence of the English sample corpus, at which speed, in which split."""

import random
from collections.abc import Iterator

from lines import Line
from texts import Sentences
from voices import HELDOUT_VOICES, TRAIN_VOICES, Voice

_RENDITIONS = 2  # every training sentence is said by this many different voices


def _line(number: str, text: str, voice: Voice, split: str, source: random.Random) -> Line:
    speed = round(source.uniform(*voice.speeds), 2)
    return Line(f"en-{number}-{voice.speaker}", text, voice, speed, split, recording=f"{split}_{voice.speaker}")


def _draw_voices(source: random.Random, num: int) -> list[Voice]:
    """Draws different voices so that, over many draws, each gets about its weight's share of the renditions.

    The first voice has the weight 0.4, so with two renditions it speaks 80 % of the sentences; the rest are drawn
    from the others in proportion.
    """
    first, *others = TRAIN_VOICES
    chosen = [first] if source.random() < first.weight * num else []
    while len(chosen) < num:
        voice = source.choices(others, [other.weight for other in others])[0]
        if voice not in chosen:
            chosen.append(voice)
    return chosen


def english_lines(sentences: Sentences, seed: int) -> Iterator[Line]:
    """Yield the training renditions, the held-out texts by known voices, and by each unknown voice its half."""
    source = random.Random(f"{seed}/voices")
    for i, text in enumerate(sentences.train):
        for voice in _draw_voices(source, _RENDITIONS):
            yield _line(f"{i:04d}", text, voice, "train", source)
    for i, text in enumerate(sentences.heldout):
        yield _line(f"h{i:03d}", text, _draw_voices(source, 1)[0], "heldout", source)
        unknown = HELDOUT_VOICES[i % len(HELDOUT_VOICES)]
        split = f"heldout-{unknown.speaker.rsplit('-')[-1]}"
        yield _line(f"h{i:03d}", text, unknown, split, source)
