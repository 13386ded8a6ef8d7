"""The multilingual and the parallel sample corpus: the same sentences in several languages."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from lines import Line
from voices import ENGLISH_TARGET, TRANSLATION_VOICES

_HELDOUT_EVERY = 7  # of seven sentences the last is held out, in all its languages


def _sentences(path: Path) -> list[dict[str, str]]:
    return tomllib.loads(path.read_text(encoding="utf-8"))["sentence"]


def _split(number: int) -> str:
    return "heldout" if number % _HELDOUT_EVERY == _HELDOUT_EVERY - 1 else "train"


def multilingual_lines(path: Path) -> Iterator[Line]:
    """Yield every sentence in every language, said by both voices of that language."""
    for number, sentence in enumerate(_sentences(path)):
        split = _split(number)
        for language, text in sentence.items():
            for voice in TRANSLATION_VOICES[language]:
                name = f"{number:02d}-{voice.speaker}"
                yield Line(name, text, voice, 1.0, split, f"{split}_{language}", language)


def parallel_lines(path: Path) -> Iterator[Line]:
    """Yield every sentence in its source languages, linked to its spoken English translation, and that translation.

    A source utterance names its `pair`, the `target` utterance and that one's text and speaker, so that a document with
    both needs no second lookup of texts. A target utterance has only the `pair`.
    """
    for number, sentence in enumerate(_sentences(path)):
        split, pair = _split(number), f"{number:02d}"
        target = Line(
            f"en-{pair}",
            sentence["en"],
            ENGLISH_TARGET,
            1.0,
            split,
            f"{split}_en",
            "en",
            {"role": "target", "pair": pair},
        )
        yield target
        link = {"role": "source", "pair": pair, "target": target.id, "target_text": target.text}
        for language in sorted(set(sentence) - {"en"}):
            voices = TRANSLATION_VOICES[language]
            yield Line(
                f"{language}-{pair}",
                sentence[language],
                voices[number % len(voices)],
                1.0,
                split,
                f"{split}_{language}",
                language,
                link | {"target_speaker": target.voice.speaker},
            )
