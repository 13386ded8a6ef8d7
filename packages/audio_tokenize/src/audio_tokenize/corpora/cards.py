"""Every published corpus by name, as data: speech, texts and token strings."""

from audio_data import InputError, install_extra_command, nearest
from audio_tokenize.corpora.card import NOT_PINNED, CorpusCard

FROM_HUB = f"huggingface-hub (`{install_extra_command('audio-data', 'hub')}`) or the files in a folder"
_YODAS_FOLDERS = (
    *("en00[0-7]", "en1[0-2][0-9]", "th?00", "ar000", "de000", "de10[0-2]", "es000", "es10[0-8]"),
    *("fr000", "fr10[0-3]", "hi?00", "zh000"),
)
YODAS_LANGUAGES = ("en", "th", "ar", "de", "es", "fr", "hi", "zh")
EMILIA_LANGUAGES = ("en", "zh", "de", "fr", "ja", "ko")
CVSS_LANGUAGES = (
    *("ar", "ca", "cy", "de", "es", "et", "fa", "fr", "id", "it", "ja"),
    *("lv", "mn", "nl", "pt", "ru", "sl", "sv", "ta", "tr", "zh"),
)
_EMILIA_NEEDS = f"{FROM_HUB}; gated: accept its terms on the hub, then `hf auth login`"
_EMILIA_HOURS = "hours of each language by the README of amphion/Emilia-Dataset"
_EMILIA_NOTES = (
    "its transcripts begin with a space; `one-space` takes it away, as `emilia-mm-pretrain-fix` does, "
    "`verbatim` keeps it, as the released SODA models were trained"
)

SPEECH_CARDS = (
    CorpusCard(
        name="yodas2",
        kind="speech",
        description="captioned YouTube videos, whole, in 8 of over 100 languages; 38 of its English shards",
        repository="espnet/yodas2",
        files=tuple(f"data/{folder}/{file}" for folder in _YODAS_FOLDERS for file in ("audio/*.tar.gz", "text/*.json")),
        reader="yodas",
        licence="CC-BY-3.0",
        languages=YODAS_LANGUAGES,
        source="YODAS (arXiv 2406.00899), over 500,000 h in all; shards, English hours: SODA (arXiv 2602.16687)",
        needs=f"{FROM_HUB}; a shard is up to 1 GB",
        language_hours=(("en", 165_000),),
        transcripts="verbatim",
        language_pattern=r"data/([a-z]{2})\d{3}/",
        notes="captions over 60 s were encoded in pieces for `yodas2-mm-pretrain` (`encode --max-clip-seconds 60`)",
    ),
    CorpusCard(
        name="emilia",
        kind="speech",
        description="podcasts and talks in the wild, cut, labelled by speaker and transcribed by machine",
        repository="amphion/Emilia-Dataset",
        files=("Emilia/*/*.tar",),
        reader="emilia",
        licence="CC-BY-NC-4.0",
        languages=EMILIA_LANGUAGES,
        source=f"Emilia (arXiv 2407.05361); {_EMILIA_HOURS}",
        needs=_EMILIA_NEEDS,
        hours=101_000,
        language_hours=(("en", 46_800), ("zh", 49_900), ("de", 1_600), ("fr", 1_400), ("ja", 1_700), ("ko", 200)),
        transcripts="one-space",
        language_pattern=r"Emilia/([A-Z]{2})/",
        notes=_EMILIA_NOTES,
    ),
    CorpusCard(
        name="emilia-yodas",
        kind="speech",
        description="videos of YODAS through the Emilia pipeline",
        repository="amphion/Emilia-Dataset",
        files=("Emilia-YODAS/*/*.tar",),
        reader="emilia",
        licence="CC-BY-4.0",
        languages=EMILIA_LANGUAGES,
        source=f"Emilia, extended (arXiv 2501.15907); {_EMILIA_HOURS}",
        needs=_EMILIA_NEEDS,
        hours=113_900,
        language_hours=(("en", 92_200), ("zh", 300), ("de", 5_600), ("fr", 7_400), ("ja", 1_100), ("ko", 7_300)),
        transcripts="one-space",
        language_pattern=r"Emilia-YODAS/([A-Z]{2})/",
        notes=_EMILIA_NOTES,
    ),
    CorpusCard(
        name="mls-en",
        kind="speech",
        description="read English audiobooks of LibriVox; transcripts without capitals and punctuation",
        repository="parler-tts/mls_eng",
        files=("data/*.parquet",),
        reader="mls",
        licence="CC-BY-4.0",
        languages=("en",),
        source="MLS (arXiv 2012.03411); the files by the card of parler-tts/mls_eng: 1,416 of train",
        needs=FROM_HUB,
        hours=45_000,
        transcripts="stripped",
    ),
    CorpusCard(
        name="librispeech",
        kind="speech",
        description="read English audiobooks, 2,484 readers; transcripts in capitals",
        repository="https://www.openslr.org/12",
        files=("**/*.trans.txt", "**/*-clean*.tar.gz", "**/*-other*.tar.gz"),
        reader="librispeech",
        licence="CC-BY-4.0",
        languages=("en",),
        source="LibriSpeech (Panayotov et al., ICASSP 2015); hours of its train subsets by openslr.org/12",
        needs="the .tar.gz of each subset from openslr.org/12, packed or unpacked; no login",
        hours=960,
        transcripts="lower-case",
        notes="unpacked, each reader's folder is a shard; packed, each subset is one",
    ),
    CorpusCard(
        name="libritts-r",
        kind="speech",
        description="LibriTTS with restored sound, cleaned again: read English audiobooks for synthesis, 24 kHz",
        repository="parler-tts/libritts_r_filtered",
        files=("clean/*.parquet", "other/*.parquet"),
        reader="libritts-r",
        licence="CC-BY-4.0",
        languages=("en",),
        source="LibriTTS-R (arXiv 2305.18802); hours of LibriTTS, before the filter, by its paper (arXiv 1904.02882)",
        needs=FROM_HUB,
        hours=585,
        notes="text is `text_normalized`; `libritts-r-mm-tts0` has it without outer quotation marks: `unquoted`",
    ),
    CorpusCard(
        name="common-voice-17-en",
        kind="speech",
        description="single sentences read by volunteers, the validated ones, English",
        repository="fixie-ai/common_voice_17_0",
        files=("en/validated-*.parquet", "en/validated/*.parquet"),
        reader="common-voice",
        licence="CC0-1.0",
        languages=("en",),
        source=(
            "Common Voice (arXiv 1912.06670); `validated`, 138 files, by github.com/potsawee/tokenize-audio; hours of "
            "validated English by cv-corpus-17.0-2024-03-15.json of common-voice/cv-dataset"
        ),
        needs=f"{FROM_HUB}; later revisions of the repository moved the files into folders",
        hours=2_615,
    ),
    CorpusCard(
        name="peoples-speech-clean",
        kind="speech",
        description="English recordings under free licences, of meetings, interviews and talks; the clean subsets",
        repository="MLCommons/peoples_speech",
        files=("clean/*.parquet", "clean_sa/*.parquet"),
        reader="peoples-speech",
        licence="CC-BY-4.0 (clean), CC-BY-SA-4.0 (clean_sa)",
        languages=("en",),
        source="The People's Speech (arXiv 2111.09344); clean and clean_sa as in github.com/potsawee/tokenize-audio",
        needs=FROM_HUB,
        notes="hours of these subsets are not published: `audio-tokenize plan peoples-speech-clean --hours H`",
    ),
    CorpusCard(
        name="cvss-t",
        kind="speech",
        description="sentences of Common Voice in 21 languages with spoken English translations in the speaker's voice",
        repository="https://github.com/google-research-datasets/cvss",
        files=("**/cvss_*_en_v1.0/*.tsv", "**/validated.tsv"),
        reader="cvss",
        licence="CC-BY-4.0 (translations), CC0-1.0 (Common Voice)",
        languages=CVSS_LANGUAGES,
        source="CVSS (arXiv 2201.03713); hours of both sides by the README of github.com/google-research-datasets/cvss",
        needs=(
            "cvss_t_XX_en_v1.0.tar.gz from the README of the repository and Common Voice 4 of language XX from "
            "commonvoice.mozilla.org (login), both unpacked: DIR/cvss_t_XX_en_v1.0/train.tsv, DIR/XX/validated.tsv"
        ),
        hours=1_900,
        transcripts="stripped",
        language_pattern=r"cvss_[ct]_([a-z]{2})_en",
        notes=(
            "`cvss-mm-method1` was made of rma9248/converted_cvss: codes already, in columns id, original_text, "
            "original_audio_str, translated_text, translated_audio_str; how those were made is not published"
        ),
    ),
)


_AS_SOURCES = "as its sources"
_PARQUET = ("**/*.parquet",)
_PINNED = "pinned in experiments/audio of github.com/marin-community/marin"

TEXT_CARDS = (
    CorpusCard(
        name="nemotron-cc-hq-actual",
        kind="text",
        description="Nemotron-CC, high quality, actual pages (not synthetic): web text in English",
        repository="https://data.commoncrawl.org/contrib/Nemotron/Nemotron-CC",
        files=("**/quality=high/kind=actual/**/*.jsonl.zstd", "**/quality=high/kind=actual/**/*.jsonl.gz"),
        reader="jsonl",
        licence="Common Crawl terms of use",
        languages=("en",),
        source="Nemotron-CC (arXiv 2412.02595); the split is that of SODA (arXiv 2602.16687)",
        needs="the files that data-jsonl.paths.gz of the repository lists below quality=high/kind=actual; no login",
        id_field="warc_record_id",
        notes="published as .jsonl.zstd; copies in .jsonl.gz are read too",
    ),
    CorpusCard(
        name="dclm-baseline",
        kind="text",
        description="DCLM-baseline 1.0: filtered web text in English, 3.8 trillion tokens",
        repository="mlfoundations/dclm-baseline-1.0",
        files=("global-shard_*/local-shard_*/*.jsonl.zst",),
        reader="jsonl",
        licence="CC-BY-4.0",
        languages=("en",),
        source="DataComp-LM (arXiv 2406.11794); size by the card of mlfoundations/dclm-baseline-1.0",
        needs=FROM_HUB,
        num_tokens=3_800_000_000_000,
        id_field="",
        notes="its lines have no id; num_tokens is of its publisher's text tokenizer",
    ),
)


def _documents(
    repository: str,
    description: str,
    revision: str | None,
    program: str | None,
    languages: tuple[str, ...] = ("en",),
    files: tuple[str, ...] = _PARQUET,
    num_tokens: int | None = None,
    num_bytes: int | None = None,
    needs: str = FROM_HUB,
    reader: str = "documents",
    language_pattern: str | None = None,
    notes: str = "",
) -> CorpusCard:
    """Return a published token corpus: parquet with `id` and `text`, each text a whole document."""
    return CorpusCard(
        name=repository.partition("/")[2].replace("_", "-"),
        kind="documents",
        description=description,
        repository=repository,
        files=files,
        reader=reader,
        licence=_AS_SOURCES,
        languages=languages,
        source="SODA (arXiv 2602.16687), "
        + ("program not published" if program is None else f"made by github.com/potsawee/tokenize-audio {program}"),
        needs=needs,
        num_tokens=num_tokens,
        num_bytes=num_bytes,
        language_pattern=language_pattern,
        notes=notes,
        revision=revision or "main",
        revision_note=NOT_PINNED if revision is None else _PINNED,
    )


DOCUMENT_CARDS = (
    _documents(
        "potsawee/yodas2-mm-pretrain",
        "YODAS2, a document a video, in both orders",
        "8eda080a5fd6dfc070dd306c1e6446ab7c5b5f17",
        "pretraining-data/prepare_pretraining_data.py",
        YODAS_LANGUAGES,
        num_tokens=131_000_000_000,
        language_pattern=r"(?:^|/)([a-z]{2})(?:\d{3})?(?=/)",
        notes="num_tokens is of English; all 32 codebooks, before layout, are in potsawee/yodas2-mm (JSON)",
    ),
    _documents(
        "potsawee/yodas2-mm-asr",
        "YODAS2 English, audio first only",
        "ab549c2f0b27a767ec6fb59f66dd5f8932d1fb40",
        "yodas2-mimi/build_yodas2_mm_asr.py",
        num_tokens=65_000_000_000,
    ),
    _documents(
        "potsawee/yodas2-mm-acoustic",
        "YODAS2 English without text, 8 codebooks",
        "a92603918d6e858ffa4e6ad7581199828f63c286",
        "yodas2-mimi/build_yodas2_mm_acoustic.py",
    ),
    _documents(
        "potsawee/yodas2-mm-semantic",
        "YODAS2 English without text, codebook 0 alone",
        "9912c02b9804c525e88c4cdd77cd5674d117f11f",
        "yodas2-mimi/build_yodas2_mm_semantic.py",
    ),
    _documents(
        "potsawee/emilia-mm-pretrain",
        "Emilia and Emilia-YODAS, a document a speaker, in both orders, with the stray space",
        "e41392e668b273145344fda2f737cd75a6ebb558",
        "emilia-mimi/process_shard.py",
        EMILIA_LANGUAGES,
        ("Emilia/*/*.parquet", "Emilia-YODAS/*/*.parquet"),
        num_tokens=110_000_000_000,
        language_pattern=r"Emilia(?:-YODAS)?/([A-Z]{2})/",
        notes="num_tokens is of English: Emilia 37 billion, Emilia-YODAS 73 billion; the released models saw this one",
    ),
    _documents(
        "potsawee/emilia-mm-pretrain-fix",
        "the same without the stray space",
        "bf009b3b14d29e7fe4d3967900b79d652473e786",
        "emilia-mimi/process_shard_fix.py",
        EMILIA_LANGUAGES,
        ("Emilia/*/*.parquet", "Emilia-YODAS/*/*.parquet"),
        num_tokens=110_000_000_000,
        language_pattern=r"Emilia(?:-YODAS)?/([A-Z]{2})/",
        notes="num_tokens is of English: Emilia 37 billion, Emilia-YODAS 73 billion",
    ),
    _documents(
        "potsawee/emilia-mm-conversational",
        "Emilia-YODAS English, text first, speakers numbered in the order of their appearance",
        "d459c985b7f354e9d17e1fc4aa19423a0f081612",
        "emilia-mimi/process_shard_conversational.py",
        num_bytes=114_000_000_000,
    ),
    _documents(
        "potsawee/mls-en-mm-pretrain",
        "MLS English, a document a stretch without a gap over 0.2 s, in both orders",
        "69f96d72f6a46df18a3f91b72e3e0b42ff771460",
        "mls-en-mimi-pretrain/stage2/merge_and_upload.py",
        num_tokens=35_000_000_000,
    ),
    _documents(
        "potsawee/mls-en-mm-tts0",
        "MLS English, text first, [0] before each text",
        "66768dda6f495fd731ad2c79ee00363e2d81ddaf",
        "mls-en-mimi-pretrain/build_mls_en_mm_tts0.py",
        num_bytes=51_000_000_000,
    ),
    _documents(
        "potsawee/peoples-speech-mm-pretrain",
        "People's Speech clean, a document an utterance, in both orders",
        "b3cdef3771a994bb09f38a14c42354f480c1f0ac",
        "peoples-speech-mimi/process_peoples_speech.py",
    ),
    _documents(
        "potsawee/commonvoice17-mm-pretrain",
        "Common Voice 17 English, a document an utterance, in both orders",
        "c30dfc4fb604fa9bdc90db470ce510e0ec2fa4a4",
        "common-voice-mimi/process_common_voice.py",
    ),
    _documents(
        "potsawee/librispeech-mm-pretrain",
        "LibriSpeech train, a document an utterance, in both orders, lower case",
        "f9a47e5e725ae3298bb4e8f1e8979d068044e3ab",
        "librispeech-mimi/process_librispeech_train.py",
        notes="the program that made it names the column of ids `file_id`",
    ),
    _documents(
        "potsawee/libritts-r-mm-pretrain",
        "LibriTTS-R, a document an utterance, in both orders",
        "ca8b1c7022f3783ec41e11f5a96ac448dc36d2a2",
        "libritts-r-mimi/process_libritts_r.py",
    ),
    _documents(
        "potsawee/cvss-mm-method1",
        "CVSS: source audio, source text, English text, English audio",
        "90ca2216540ca74d97f49b68a2cc83b76cf3e296",
        "cvss-mimi/combine_cvss_mimi.py",
        CVSS_LANGUAGES,
        num_tokens=700_000_000,
    ),
    _documents(
        "rma9248/cvss_method1",
        "the same cut into instruction and response for fine-tuning",
        "fc5e8f53dbb6aa870e3a8cd0153706b4247eb786",
        None,
        CVSS_LANGUAGES,
        num_tokens=750_000_000,
        reader="instructions",
        notes="columns instruction and response instead of text; what they hold exactly is not published",
    ),
    _documents(
        "rma9248/cvss_method2",
        "another form of CVSS for fine-tuning",
        "6c24a365d28fe1abd87979fd32c998042e9ee454",
        None,
        CVSS_LANGUAGES,
        reader="instructions",
        notes="columns instruction and response instead of text; its template is not published",
    ),
    _documents(
        "soda-research/librispeech-mm-eval",
        "LibriSpeech dev and test, an utterance each, once audio first (_asr) and once text first (_tts)",
        None,
        "librispeech-mimi/process_librispeech_dev-test.py",
        needs=f"{FROM_HUB}; gated: accept its terms on the hub, then `hf auth login`",
    ),
)


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
