"""Every layout by name.

`speech_translation` is the template of the published `cvss-mm-method1`. That of `cvss_method2` is not published;
`direct_speech_translation` is this project's own: from speech to speech without a transcript between, with the target
language alone given. The two layouts for fine-tuning mask the prompt out of the loss. That the prompt of the published
`cvss_method1` is the source's audio, and the response all that follows, is inferred, not published.
"""

from dataclasses import replace
from typing import Literal

from audio_data import InputError
from audio_tokenize.documents.layout import Layout, Span

TextSpaces = Literal["none", "after", "around"]
"""Spaces that are encoded with a plain text: `after` it, or `around` it."""

_SPACED_TEXT: dict[TextSpaces, str] = {"none": "{text}", "after": "{text} ", "around": " {text} "}

AUDIO, TEXT = Span("audio"), Span("text")
TARGET_AUDIO, TARGET_TEXT = Span("audio", 1), Span("text", 1)
_LANGUAGE = "<language>{language}</language>"
_TRANSLATION = (AUDIO, TEXT, TARGET_TEXT, TARGET_AUDIO)

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("audio_first", "each utterance's audio, then its text: a model learns to transcribe", (AUDIO, TEXT)),
        Layout("text_first", "each utterance's text, then its audio: a model learns to speak", (TEXT, AUDIO)),
        Layout("acoustic", "audio alone, every codebook asked for", (AUDIO,)),
        Layout("semantic", "audio alone, the first codebook only", (AUDIO,), max_codebooks=1),
        Layout("text", "the text alone, without text_start and text_end", (Span("text", delimited=False),)),
        Layout("tts0", "text_first with `[0]` before each text: one speaker", (TEXT, AUDIO), "[0]{text}"),
        Layout(
            "conversational", "text_first with the speaker's index before each text", (TEXT, AUDIO), "[{speaker}]{text}"
        ),
        Layout("asr_evaluation", "audio_first without begin and end of text", (AUDIO, TEXT), with_bos_eos=False),
        Layout("tts_evaluation", "text_first without begin and end of text", (TEXT, AUDIO), with_bos_eos=False),
        Layout(
            "speech_translation",
            "source audio, source text, target text, target audio of pairs of utterances",
            _TRANSLATION,
            _LANGUAGE + "{text}",
        ),
        Layout(
            "speech_translation_sft",
            "speech_translation, with loss on what follows the source's audio",
            _TRANSLATION,
            _LANGUAGE + "{text}",
            num_prompt_spans=1,
        ),
        Layout(
            "direct_speech_translation",
            "source audio, the target's language, target audio; with loss on the target's audio",
            (AUDIO, TARGET_TEXT, TARGET_AUDIO),
            _LANGUAGE,
            num_prompt_spans=2,
        ),
    )
}


def layout(name: str) -> Layout:
    """Return the layout of that name.

    Args:
        name: A key of `LAYOUTS`.

    Raises:
        InputError: No such layout; the message lists them.
    """
    if name not in LAYOUTS:
        raise InputError(f"`layout` must be one of {', '.join(LAYOUTS)}, got {name!r}")
    return LAYOUTS[name]


def plain_text(spaces: TextSpaces) -> Layout:
    """Return the layout `text`, with spaces around each text.

    Args:
        spaces: `after` gives `begin_of_text`, text and one space, `end_of_text`; `around` one space before it too. They
            are encoded as part of the text, so that a space before a word is part of its token.

    Raises:
        InputError: No such choice; the message lists them.

    Source: Levanter `BatchTokenizer` (`data/text.py`), which writes `text + " " + end_of_text` where the tokenizer adds
        no end of text, and `begin_of_text + " " + text` where it adds no begin of text.
    """
    if spaces not in _SPACED_TEXT:
        raise InputError(f"`text_spaces` must be one of {', '.join(_SPACED_TEXT)}, got {spaces!r}")
    return replace(LAYOUTS["text"], transcript=_SPACED_TEXT[spaces])
