"""Published datasets of speech tokens by name: the corpora each was made of and the rules of its documents.

`audio-tokenize build CODES --preset NAME` builds a dataset by these rules from any codes. Where a dataset is published,
and by which program it was made, is on its card (`corpora.cards`).

Source: SODA (arXiv 2602.16687) and github.com/potsawee/tokenize-audio. The template of `cvss_method2` is not
published; the one here is this project's own.
"""

from dataclasses import dataclass

from audio_data import InputError
from audio_tokenize.documents.layout import BeginOfText
from audio_tokenize.documents.layouts import TextSpaces

BOTH_ORDERS = ("text_first", "audio_first")
_EVALUATION_SUBSETS = ("dev-clean", "dev-other", "test-clean", "test-other")
_EMILIA = ("emilia", "emilia-yodas")
_TRAIN = ("train",)
# Common Voice's own names of two languages, as the published CVSS documents have them.
_COMMON_VOICE_LANGUAGES = (("sv", "sv-SE"), ("zh", "zh-CN"))


@dataclass(frozen=True)
class DocumentRules:
    """How utterances become documents.

    Attributes:
        layouts: Names in `layouts.LAYOUTS`; every group is laid out in each.
        grouping: Name in `groupings.GROUPINGS`.
        transcript: Name in `corpora.TRANSCRIPT_RULES`: what is done to a transcript before it is tokenized.
        num_codebooks: Leading codebooks to keep.
        language_names: What a language is called in documents, as `(code, name)`, where that is not its code.
        begin_of_text: `double` puts one more before each document.
        text_spaces: Spaces around each text of layout `text`, see `layouts.plain_text`.
    """

    layouts: tuple[str, ...] = ("audio_first",)
    grouping: str = "utterance"
    transcript: str = "verbatim"
    num_codebooks: int = 8
    language_names: tuple[tuple[str, str], ...] = ()
    begin_of_text: BeginOfText = "single"
    text_spaces: TextSpaces = "none"


@dataclass(frozen=True)
class DatasetPreset:
    """A published dataset and how to make one like it.

    Attributes:
        name: As it is published.
        corpora: What was encoded; more than one where they were prepared alike and published together.
        rules: How its documents were made.
        splits: Splits of the corpus, or parts of them, that it holds; all if empty.
        note: What must be known beside.
    """

    name: str
    corpora: tuple[str, ...]
    rules: DocumentRules
    splits: tuple[str, ...] = ()
    note: str = ""


def _librispeech_evaluation() -> tuple[DatasetPreset, ...]:
    """Return a dataset for each subset and task; the published ones are the splits of `librispeech-mm-eval`."""
    return tuple(
        DatasetPreset(
            f"librispeech-mm-eval/{subset.replace('-', '_')}_{task}",
            ("librispeech",),
            DocumentRules((f"{task}_evaluation",), transcript="lower-case"),
            splits=(subset,),
        )
        for subset in _EVALUATION_SUBSETS
        for task in ("asr", "tts")
    )


DATASET_PRESETS: dict[str, DatasetPreset] = {
    dataset.name: dataset
    for dataset in (
        DatasetPreset("yodas2-mm-pretrain", ("yodas2",), DocumentRules(BOTH_ORDERS, "recording")),
        DatasetPreset("yodas2-mm-asr", ("yodas2",), DocumentRules(("audio_first",), "recording")),
        DatasetPreset(
            "yodas2-mm-acoustic",
            ("yodas2",),
            DocumentRules(("acoustic",), "recording"),
            note="the published one was cut out of finished strings and may have kept transcripts with a newline",
        ),
        DatasetPreset("yodas2-mm-semantic", ("yodas2",), DocumentRules(("semantic",), "recording")),
        DatasetPreset(
            "emilia-mm-pretrain",
            _EMILIA,
            DocumentRules(BOTH_ORDERS, "prefix", "leading-space"),
            note="with the stray space that transcripts begin with; the released models were trained on it. A space at "
            "the end is there only if the codes were encoded with `verbatim` transcripts",
        ),
        DatasetPreset("emilia-mm-pretrain-fix", _EMILIA, DocumentRules(BOTH_ORDERS, "prefix", "one-space")),
        DatasetPreset("emilia-mm-conversational", _EMILIA, DocumentRules(("conversational",), "prefix", "stripped")),
        DatasetPreset("mls-en-mm-pretrain", ("mls-en",), DocumentRules(BOTH_ORDERS, "gap", "stripped"), _TRAIN),
        DatasetPreset("mls-en-mm-tts0", ("mls-en",), DocumentRules(("tts0",), "gap", "stripped"), _TRAIN),
        DatasetPreset(
            "libritts-r-mm-tts0",
            ("libritts-r",),
            DocumentRules(("tts0",), "consecutive_pairs", "unquoted"),
            _TRAIN,
            note="the published one pairs within a file of the corpus; chapters that go on in the next are joined here",
        ),
        DatasetPreset("libritts-r-mm-pretrain", ("libritts-r",), DocumentRules(BOTH_ORDERS), _TRAIN),
        DatasetPreset(
            "librispeech-mm-pretrain", ("librispeech",), DocumentRules(BOTH_ORDERS, transcript="lower-case"), _TRAIN
        ),
        DatasetPreset("commonvoice17-mm-pretrain", ("common-voice-17-en",), DocumentRules(BOTH_ORDERS)),
        DatasetPreset("peoples-speech-mm-pretrain", ("peoples-speech-clean",), DocumentRules(BOTH_ORDERS)),
        *_librispeech_evaluation(),
        DatasetPreset(
            "cvss-mm-method1",
            ("cvss-t",),
            DocumentRules(("speech_translation",), "pair", language_names=_COMMON_VOICE_LANGUAGES),
        ),
        DatasetPreset(
            "cvss_method1",
            ("cvss-t",),
            DocumentRules(("speech_translation_sft",), "pair", language_names=_COMMON_VOICE_LANGUAGES),
            note="that the source's audio is the instruction and the rest the response is inferred, not published",
        ),
        DatasetPreset(
            "cvss_method2",
            ("cvss-t",),
            DocumentRules(("direct_speech_translation",), "pair", language_names=_COMMON_VOICE_LANGUAGES),
            note="its template is not published; this one is this project's own",
        ),
    )
}


def dataset_preset(name: str) -> DatasetPreset:
    """Return the preset of that name.

    Args:
        name: A key of `DATASET_PRESETS`.

    Raises:
        InputError: No such preset; the message lists them.
    """
    if name not in DATASET_PRESETS:
        raise InputError(f"`preset` must be one of {', '.join(DATASET_PRESETS)}, got {name!r}")
    return DATASET_PRESETS[name]
