"""Every layout by name.

`speech_translation` is what the study calls method 1 of its translation data. Of its method 2 no template is published;
`direct_speech_translation` is this project's own: from speech to speech with no transcript between, told only which
language to speak. The two layouts that end in fine-tuning mask the instruction out of the loss. That the instruction of
the study's fine-tuning data is the source's audio, and the response all that follows, is inferred from what is said of
it, not published.
"""

from audio_data import InputError
from audio_tokenize.documents.layout import Layout, Span

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
        Layout("text", "the text alone, without text_start and text_end", (Span("text", marked=False),)),
        Layout("tts0", "text_first with `[0]` before each text: one speaker", (TEXT, AUDIO), "[0]{text}"),
        Layout(
            "conversational", "text_first with the speaker's index before each text", (TEXT, AUDIO), "[{speaker}]{text}"
        ),
        Layout("asr_evaluation", "audio_first without begin and end of text", (AUDIO, TEXT), bounded=False),
        Layout("tts_evaluation", "text_first without begin and end of text", (TEXT, AUDIO), bounded=False),
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
            num_instruction_spans=1,
        ),
        Layout(
            "direct_speech_translation",
            "source audio, the target's language, target audio; with loss on the target's audio",
            (AUDIO, TARGET_TEXT, TARGET_AUDIO),
            _LANGUAGE,
            num_instruction_spans=2,
        ),
    )
}


def layout(name: str) -> Layout:
    """The layout of that name.

    Args:
        name: A key of `LAYOUTS`.

    Raises:
        InputError: No such layout; the message lists them.
    """
    if name not in LAYOUTS:
        raise InputError(f"`layout` must be one of {', '.join(LAYOUTS)}, got {name!r}")
    return LAYOUTS[name]
