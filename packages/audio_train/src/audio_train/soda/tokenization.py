"""Tokenization recipes: how the datasets of every mixture are made with `audio-tokenize`.

A recipe names the corpus, the codec's settings and the published dataset whose layouts and grouping it has; `commands`
are the command lines. A test compares the recipes with the presets of `audio_tokenize`.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from audio_data import InputError, nearest

VocabularyName = Literal["marin-mimi", "qwen3x-mimi"]
TEXT_TOKENIZERS: dict[VocabularyName, str] = {
    "marin-mimi": "marin-community/marin-tokenizer",
    "qwen3x-mimi": "potsawee/qwen3x-tokenizer",
}
"""The text tokenizer of each published vocabulary, as `audio_tokenize` names it."""

BOTH_ORDERS = ("text_first", "audio_first")
CHOICES = {
    "begin_of_text": "two before each speech document in the Marin vocabulary, whose tokenizer prepends one to that of "
    "the string (qwen3x.ipynb prints both; Levanter's BatchTokenizer encodes with special tokens); one with Qwen3x, "
    "whose tokenizer prepends none, and in fine-tuning, where a chat template writes it. Layouts without begin and end "
    "of text (`asr_evaluation`) have one fewer: the prepended one, or none",
    "text_spaces": "none in speech documents; in texts a space before end of text, with Qwen3x also one after begin "
    "of text: where the "
    'tokenizer adds neither itself, Levanter\'s BatchTokenizer writes them with `" "` between',
}
"""Reasons for the values of a tokenization, by field."""

MARIN_DOCUMENTS = (
    "speech documents begin with two begin-of-text ids and texts end in a space of their own, as the study's "
    "tokenizations made them (qwen3x.ipynb; Levanter's BatchTokenizer): `audio-train soda tokenization`"
)
QWEN3X_DOCUMENTS = (
    "documents begin with one begin-of-text id and texts stand between two spaces, as the study's tokenizations with "
    "Qwen3x made them (Levanter's BatchTokenizer): `audio-train soda tokenization`"
)
CHAT_DOCUMENTS = "documents begin with one begin-of-text id, which the chat template writes"
"""Reasons for the form of documents, for the choices of experiments."""

YODAS_LANGUAGES = ("en", "th", "ar", "de", "es", "fr", "hi", "zh")
EMILIA_LANGUAGES = ("en", "zh", "de", "fr", "ja", "ko")


@dataclass(frozen=True)
class CodecSettings:
    """Settings of the codec.

    Attributes:
        name: Name of the codec.
        num_codebooks: Number of codebooks, from the first.
        max_clip_seconds: Maximum length of a clip; longer utterances are encoded in parts. None for no maximum.
        attention_window_seconds: Length of the codec's attention window; None for the whole clip, which the study very
            probably used.
    """

    name: str = "mimi"
    num_codebooks: int = 8
    max_clip_seconds: int | None = None
    attention_window_seconds: int | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The options of `audio-tokenize encode`."""
        window = "none" if self.attention_window_seconds is None else str(self.attention_window_seconds)
        clip = () if self.max_clip_seconds is None else ("--max-clip-seconds", str(self.max_clip_seconds))
        codebooks = ("--codebooks", str(self.num_codebooks))
        return ("--codec", self.name, *codebooks, "--attention-window", window, *clip)


@dataclass(frozen=True)
class Tokenization:
    """One published dataset of the study, and the commands that reproduce it.

    Attributes:
        name: Name of the recipe.
        dataset: Name of the published dataset: a preset of `audio_tokenize`, which layouts, grouping and transcript
            repeat; of a text corpus, its own.
        corpus: Name of the corpus in `audio_tokenize`.
        produces: Corpora of the study's mixtures that are made, each of one language or split.
        layouts: Layouts of the documents; each group of utterances has one document per layout.
        grouping: Rule by which utterances form a document.
        transcript: Normalisation of transcripts.
        repository: Repository of the document strings, or of the text.
        revision: Commit that the study pins, or None.
        codec: Settings of the codec; None for text.
        vocabulary: Name of the vocabulary.
        begin_of_text: Number of begin-of-text ids before each document, see `CHOICES`.
        text_spaces: Spaces around each text, see `CHOICES`.
        source: Script of the study.
    """

    name: str
    dataset: str
    corpus: str
    produces: tuple[str, ...]
    layouts: tuple[str, ...]
    grouping: str
    transcript: str
    repository: str
    revision: str | None
    source: str
    codec: CodecSettings | None = CodecSettings()
    vocabulary: VocabularyName = "marin-mimi"
    begin_of_text: Literal["single", "double"] = "double"
    text_spaces: Literal["none", "after", "around"] = "none"

    @property
    def commands(self) -> tuple[str, ...]:
        """Command lines, from the files of the corpus to datasets in `DATA`."""
        return tuple(shlex.join(words) for words in self._words())

    @property
    def document_words(self) -> tuple[str, ...]:
        """Options of `audio-tokenize build` for begin-of-text ids and spaces, without its defaults."""
        begin = () if self.begin_of_text == "single" else ("--begin-of-text", self.begin_of_text)
        spaces = () if self.text_spaces == "none" else ("--text-spaces", self.text_spaces)
        return (*begin, *spaces)

    def _words(self) -> Iterator[tuple[str, ...]]:
        tokenizer = ("--tokenizer", TEXT_TOKENIZERS[self.vocabulary])
        yield ("audio-tokenize", "vocabulary", "--kind", self.vocabulary, *tokenizer, "--out", "DATA/vocabulary")
        source = ("--vocabulary", "DATA/vocabulary", "--out")
        if self.codec is None:
            root = ("--layout", *self.layouts, "--root", "FILES")
            words = ("audio-tokenize", "build", self.corpus, *root, *self.document_words)
            yield (*words, *source, f"DATA/{self.produces[0]}")
            return
        codes = f"CODES/{self.corpus}"
        yield ("audio-tokenize", "encode", self.corpus, "--root", "FILES", "--out", codes, *self.codec.words)
        for corpus in self.produces:
            language = corpus.rpartition("/")[2]
            chosen = ("--language", language) if language in {*YODAS_LANGUAGES, *EMILIA_LANGUAGES} else ()
            words = ("audio-tokenize", "build", codes, "--preset", self.dataset, *self.document_words)
            yield (*words, *chosen, *source, f"DATA/{corpus}")


_YODAS = Tokenization(
    name="tokenize-yodas2",
    dataset="yodas2-mm-pretrain",
    corpus="yodas2",
    produces=tuple(f"yodas2/{language}" for language in YODAS_LANGUAGES),
    layouts=BOTH_ORDERS,
    grouping="recording",
    transcript="verbatim",
    repository="potsawee/yodas2-mm-pretrain",
    revision="8eda080a5fd6dfc070dd306c1e6446ab7c5b5f17",
    source="tokenize_yodas.py",
    codec=CodecSettings(max_clip_seconds=60),
)
_EMILIA = Tokenization(
    name="tokenize-emilia",
    dataset="emilia-mm-pretrain",
    corpus="emilia",
    produces=tuple(f"emilia/{language}" for language in EMILIA_LANGUAGES),
    layouts=BOTH_ORDERS,
    grouping="prefix",
    transcript="leading-space",
    repository="potsawee/emilia-mm-pretrain",
    revision="e41392e668b273145344fda2f737cd75a6ebb558",
    source="tokenize_emilia.py",
)
_EMILIA_FIX = replace(
    _EMILIA,
    name="tokenize-emilia-fix",
    dataset="emilia-mm-pretrain-fix",
    produces=("emilia-fix/en",),
    transcript="one-space",
    repository="potsawee/emilia-mm-pretrain-fix",
    revision="bf009b3b14d29e7fe4d3967900b79d652473e786",
)
_MLS = replace(
    _EMILIA,
    name="tokenize-mls",
    dataset="mls-en-mm-pretrain",
    corpus="mls-en",
    produces=("mls/en",),
    grouping="gap",
    transcript="stripped",
    repository="potsawee/mls-en-mm-pretrain",
    revision="69f96d72f6a46df18a3f91b72e3e0b42ff771460",
    source="tokenize_mls_en.py",
)
_SINGLE_UTTERANCES = replace(_EMILIA, grouping="utterance", transcript="verbatim", source="tokenize_finetune.py")
_CVSS = replace(
    _EMILIA,
    name="tokenize-cvss",
    dataset="cvss-mm-method1",
    corpus="cvss-t",
    produces=("cvss/method1",),
    layouts=("speech_translation",),
    grouping="pair",
    transcript="verbatim",
    repository="potsawee/cvss-mm-method1",
    revision="90ca2216540ca74d97f49b68a2cc83b76cf3e296",
    source="tokenize_finetune.py",
)
_NEMOTRON = replace(
    _EMILIA,
    name="tokenize-nemotron",
    dataset="nemotron-cc-hq-actual",
    corpus="nemotron-cc-hq-actual",
    produces=("nemotron_cc/hq_actual",),
    layouts=("text",),
    grouping="utterance",
    transcript="verbatim",
    repository="https://data.commoncrawl.org/contrib/Nemotron/Nemotron-CC",
    revision=None,
    source="tokenize_nemotron.py",
    codec=None,
    begin_of_text="single",
    text_spaces="after",
)


def _yodas_variant(what: str, layout: str, revision: str) -> Tokenization:
    return replace(
        _YODAS,
        name=f"tokenize-yodas2-{what}",
        dataset=f"yodas2-mm-{what}",
        produces=(f"yodas2-{what}/en",),
        layouts=(layout,),
        repository=f"potsawee/yodas2-mm-{what}",
        revision=revision,
    )


def _emilia_yodas(recipe: Tokenization) -> Tokenization:
    """Return the videos of YODAS that went through the Emilia pipeline, prepared and published with Emilia."""
    return replace(
        recipe,
        name=recipe.name.replace("emilia", "emilia-yodas"),
        corpus="emilia-yodas",
        produces=tuple(corpus.replace("emilia", "emilia-yodas") for corpus in recipe.produces),
    )


def _single_utterances(what: str, dataset: str, corpus: str, produces: str, revision: str) -> Tokenization:
    return replace(
        _SINGLE_UTTERANCES,
        name=f"tokenize-{what}",
        dataset=dataset,
        corpus=corpus,
        produces=(produces,),
        repository=f"potsawee/{dataset}",
        revision=revision,
    )


def _evaluation(subset: str, task: str) -> Tokenization:
    name = f"{subset.replace('-', '_')}_{task}"
    return replace(
        _SINGLE_UTTERANCES,
        name=f"tokenize-librispeech-{subset}",
        dataset=f"librispeech-mm-eval/{name}",
        corpus="librispeech",
        produces=(f"heldout/librispeech/{subset}",),
        layouts=(f"{task}_evaluation",),
        transcript="lower-case",
        repository="soda-research/librispeech-mm-eval",
        revision=None,
        source="the paper's held-out losses; no script of the source trains with it",
    )


def _cvss_sft(method: str, layout: str, revision: str) -> Tokenization:
    return replace(
        _CVSS,
        name=f"tokenize-cvss-sft-{method}",
        dataset=f"cvss_{method}",
        produces=(f"cvss-sft/{method}",),
        layouts=(layout,),
        repository=f"rma9248/cvss_{method}",
        revision=revision,
        source="tokenize_sft_cvss.py",
        begin_of_text="single",
    )


_MARIN = (
    _YODAS,
    _yodas_variant("asr", "audio_first", "ab549c2f0b27a767ec6fb59f66dd5f8932d1fb40"),
    _yodas_variant("acoustic", "acoustic", "a92603918d6e858ffa4e6ad7581199828f63c286"),
    _yodas_variant("semantic", "semantic", "9912c02b9804c525e88c4cdd77cd5674d117f11f"),
    _EMILIA,
    _emilia_yodas(_EMILIA),
    _EMILIA_FIX,
    _emilia_yodas(_EMILIA_FIX),
    replace(
        _EMILIA,
        name="tokenize-emilia-conversational",
        dataset="emilia-mm-conversational",
        corpus="emilia-yodas",
        produces=("emilia-conversational/en",),
        layouts=("conversational",),
        transcript="stripped",
        repository="potsawee/emilia-mm-conversational",
        revision="d459c985b7f354e9d17e1fc4aa19423a0f081612",
    ),
    _MLS,
    replace(
        _MLS,
        name="tokenize-mls-tts0",
        dataset="mls-en-mm-tts0",
        produces=("mls-tts0/en",),
        layouts=("tts0",),
        repository="potsawee/mls-en-mm-tts0",
        revision="66768dda6f495fd731ad2c79ee00363e2d81ddaf",
    ),
    _NEMOTRON,
    replace(
        _NEMOTRON,
        name="tokenize-dclm",
        dataset="dclm-baseline",
        corpus="dclm-baseline",
        produces=("dclm_baseline",),
        repository="mlfoundations/dclm-baseline-1.0",
        source="exp1978_unimodal_mix.py",
    ),
    _single_utterances(
        "peoples-speech",
        "peoples-speech-mm-pretrain",
        "peoples-speech-clean",
        "peoples-speech/clean",
        "b3cdef3771a994bb09f38a14c42354f480c1f0ac",
    ),
    _single_utterances(
        "commonvoice17",
        "commonvoice17-mm-pretrain",
        "common-voice-17-en",
        "commonvoice17/en",
        "c30dfc4fb604fa9bdc90db470ce510e0ec2fa4a4",
    ),
    replace(
        _single_utterances(
            "librispeech",
            "librispeech-mm-pretrain",
            "librispeech",
            "librispeech/train",
            "f9a47e5e725ae3298bb4e8f1e8979d068044e3ab",
        ),
        transcript="lower-case",
    ),
    _single_utterances(
        "libritts-r",
        "libritts-r-mm-pretrain",
        "libritts-r",
        "libritts-r/train",
        "ca8b1c7022f3783ec41e11f5a96ac448dc36d2a2",
    ),
    _evaluation("dev-clean", "asr"),
    _CVSS,
    _cvss_sft("method1", "speech_translation_sft", "fc5e8f53dbb6aa870e3a8cd0153706b4247eb786"),
    _cvss_sft("method2", "direct_speech_translation", "6c24a365d28fe1abd87979fd32c998042e9ee454"),
)


def _qwen3x(recipe: Tokenization) -> Tokenization:
    return replace(
        recipe,
        name=f"{recipe.name}-qwen3x",
        vocabulary="qwen3x-mimi",
        source="tokenize_qwen3x_audio.py",
        begin_of_text="single",
        text_spaces="none" if recipe.text_spaces == "none" else "around",
    )


TOKENIZATIONS = {recipe.name: recipe for recipe in (*_MARIN, *map(_qwen3x, _MARIN))}
"""Every tokenization of the study, in the vocabulary of cold starts and in that of warm starts."""


def find_tokenization(name: str) -> Tokenization:
    """Find a tokenization by name.

    Raises:
        InputError: The tokenization does not exist; the message has the nearest names.
    """
    if name not in TOKENIZATIONS:
        raise InputError(f"there is no tokenization `{name}`; {nearest(name, TOKENIZATIONS)}")
    return TOKENIZATIONS[name]


def produced_by(corpus: str) -> Tokenization:
    """Find the tokenization that makes a dataset of a mixture, in the vocabulary of cold starts.

    Raises:
        InputError: No tokenization makes it; the message has the nearest names.
    """
    by_corpus = {made: recipe for recipe in _MARIN for made in recipe.produces}
    if corpus not in by_corpus:
        raise InputError(f"no tokenization makes corpus `{corpus}`; {nearest(corpus, by_corpus)}")
    return by_corpus[corpus]
