"""Published text corpora and published corpora of token strings, as data."""

from audio_tokenize.corpora.card import NOT_PINNED, CorpusCard
from audio_tokenize.corpora.speech_cards import CVSS_LANGUAGES, EMILIA_LANGUAGES, FROM_HUB, YODAS_LANGUAGES

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
