"""Published speech corpora, as data."""

from audio_tokenize.corpora.card import CorpusCard

FROM_HUB = "huggingface-hub (`pip install 'audio-tokenize[hub]'`) or the files in a folder"
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
