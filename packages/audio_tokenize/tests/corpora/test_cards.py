"""What the cards say, against published facts, typed here once more."""

import re

import pytest

from audio_data import InputError
from audio_tokenize.corpora import CARDS, card, open_corpus
from audio_tokenize.corpora.entries import transcript_rule
from audio_tokenize.corpora.published import matches

REVISIONS = {
    "potsawee/yodas2-mm-pretrain": "8eda080a5fd6dfc070dd306c1e6446ab7c5b5f17",
    "potsawee/yodas2-mm-asr": "ab549c2f0b27a767ec6fb59f66dd5f8932d1fb40",
    "potsawee/yodas2-mm-acoustic": "a92603918d6e858ffa4e6ad7581199828f63c286",
    "potsawee/yodas2-mm-semantic": "9912c02b9804c525e88c4cdd77cd5674d117f11f",
    "potsawee/emilia-mm-pretrain": "e41392e668b273145344fda2f737cd75a6ebb558",
    "potsawee/emilia-mm-pretrain-fix": "bf009b3b14d29e7fe4d3967900b79d652473e786",
    "potsawee/emilia-mm-conversational": "d459c985b7f354e9d17e1fc4aa19423a0f081612",
    "potsawee/mls-en-mm-pretrain": "69f96d72f6a46df18a3f91b72e3e0b42ff771460",
    "potsawee/mls-en-mm-tts0": "66768dda6f495fd731ad2c79ee00363e2d81ddaf",
    "potsawee/peoples-speech-mm-pretrain": "b3cdef3771a994bb09f38a14c42354f480c1f0ac",
    "potsawee/commonvoice17-mm-pretrain": "c30dfc4fb604fa9bdc90db470ce510e0ec2fa4a4",
    "potsawee/librispeech-mm-pretrain": "f9a47e5e725ae3298bb4e8f1e8979d068044e3ab",
    "potsawee/libritts-r-mm-pretrain": "ca8b1c7022f3783ec41e11f5a96ac448dc36d2a2",
    "potsawee/cvss-mm-method1": "90ca2216540ca74d97f49b68a2cc83b76cf3e296",
    "rma9248/cvss_method1": "fc5e8f53dbb6aa870e3a8cd0153706b4247eb786",
    "rma9248/cvss_method2": "6c24a365d28fe1abd87979fd32c998042e9ee454",
}
SOURCES = {
    "yodas2": "espnet/yodas2",
    "emilia": "amphion/Emilia-Dataset",
    "emilia-yodas": "amphion/Emilia-Dataset",
    "mls-en": "parler-tts/mls_eng",
    "libritts-r": "parler-tts/libritts_r_filtered",
    "common-voice-17-en": "fixie-ai/common_voice_17_0",
    "peoples-speech-clean": "MLCommons/peoples_speech",
    "dclm-baseline": "mlfoundations/dclm-baseline-1.0",
}
BILLIONS = {"yodas2-mm-pretrain": 131, "emilia-mm-pretrain": 37 + 73, "mls-en-mm-pretrain": 35, "yodas2-mm-asr": 65}


def test_published_token_corpora_are_pinned():
    documents = {card.repository: card.revision for card in CARDS if card.kind == "documents"}
    assert {name: documents.get(name) for name in REVISIONS} == REVISIONS
    assert set(documents) - set(REVISIONS) == {"soda-research/librispeech-mm-eval"}


def test_every_card_cites_what_anyone_can_look_up():
    cited = re.compile(r"arXiv \d{4}\.\d{5}\b|ICASSP \d{4}")
    assert [card.name for card in CARDS if not cited.search(card.source)] == []


def test_what_is_not_pinned_says_so():
    unpinned = {card.name for card in CARDS if card.revision == "main"}
    assert {card.name for card in CARDS if card.revision_note == "not pinned; the newest is read"} == unpinned
    assert {card.name for card in CARDS if card.kind in ("speech", "text")} <= unpinned


def test_sources_sizes_and_languages_are_the_published_ones():
    assert {name: card(name).repository for name in SOURCES} == SOURCES
    assert {name: card(name).num_tokens for name in BILLIONS} == {name: n * 10**9 for name, n in BILLIONS.items()}
    assert (card("mls-en").hours, card("emilia").hours) == (45_000, 101_000)
    assert (card("yodas2").hours_of("en"), card("yodas2").hours_of("th"), card("yodas2").hours) == (165_000, None, None)
    assert card("mls-en-mm-tts0").num_bytes == 51 * 10**9
    assert card("emilia-mm-conversational").num_bytes == 114 * 10**9
    assert set(card("yodas2").languages) == {"en", "th", "ar", "de", "es", "fr", "hi", "zh"}
    assert set(card("emilia-yodas").languages) == {"en", "zh", "de", "fr", "ja", "ko"}
    # As published, without the regions of sv-SE and zh-CN.
    assert " ".join(card("cvss-t").languages) == "ar ca cy de es et fa fr id it ja lv mn nl pt ru sl sv ta tr zh"


# Of the mixture of all languages of Emilia that SODA was trained on: Emilia, then Emilia-YODAS.
EMILIA_WEIGHTS = {
    ("emilia", "en"): 0.217169374,
    ("emilia", "zh"): 0.231554524,
    ("emilia", "de"): 0.007424594,
    ("emilia", "fr"): 0.00649652,
    ("emilia", "ja"): 0.007888631,
    ("emilia", "ko"): 0.000928074,
    ("emilia-yodas", "en"): 0.427842227,
    ("emilia-yodas", "zh"): 0.001392111,
    ("emilia-yodas", "de"): 0.025986079,
    ("emilia-yodas", "fr"): 0.034338747,
    ("emilia-yodas", "ja"): 0.005104408,
    ("emilia-yodas", "ko"): 0.03387471,
}


def test_hours_of_emilia_are_in_the_proportion_of_the_weights_that_were_published():
    hours = {(name, language): card(name).hours_of(language) or 0 for name, language in EMILIA_WEIGHTS}
    total = sum(hours.values())
    assert {key: count / total for key, count in hours.items()} == pytest.approx(EMILIA_WEIGHTS, abs=1e-6)
    assert card("emilia-yodas").hours == sum(hours["emilia-yodas", lang] for lang in card("emilia-yodas").languages)
    # SODA used about 140,000 hours of English of both.
    assert round(hours["emilia", "en"] + hours["emilia-yodas", "en"], -4) == 140_000


def test_hours_of_a_language_are_those_of_its_own():
    assert card("mls-en").hours_of("en") == card("mls-en").hours_of(None) == 45_000
    assert card("cvss-t").hours_of("de") is None
    for one in CARDS:
        assert {language for language, _ in one.language_hours} <= set(one.languages), one.name


def test_yodas_is_read_from_the_38_english_folders_that_were_tokenized_and_no_other():
    yodas = card("yodas2")
    folders = [f"en{number:03d}" for number in range(200)]
    read = [name for name in folders if matches(f"data/{name}/audio/00000000.tar.gz", yodas.files)]
    assert read == [f"en00{i}" for i in range(8)] + [f"en{i}" for i in range(100, 130)]
    assert len(read) == 38
    assert matches("data/en129/text/00000061.json", yodas.files)
    assert not matches("data/en000/duration/00000000.txt", yodas.files)
    assert not matches("data/id000/audio/00000000.tar.gz", yodas.files)
    assert yodas.language_of("data/de102/audio/00000113.tar.gz") == "de"


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("librispeech", "CHAPTER ONE", "chapter one"),
        ("libritts-r", '"He said."', '"He said."'),
        ("common-voice-17-en", "Hello. ", "Hello. "),
        ("mls-en", " a line\n", "a line"),
        ("emilia", "  Herzlich ", " Herzlich"),
        ("emilia-yodas", " so", "so"),
        ("yodas2", "♪ la\nla", "♪ la\nla"),
    ],
)
def test_transcripts_become_what_the_published_datasets_hold(name: str, given: str, text: str):
    assert transcript_rule(card(name).transcripts)(given) == text


def test_pairs_of_libritts_r_lose_their_quotation_marks():
    assert transcript_rule("unquoted")('  "\'Tis so," ') == "Tis so,"


def test_a_split_is_found_in_a_published_name():
    names = {
        "data/train-00000-of-01416.parquet": "train",
        "data/dev-00000-of-00001.parquet": "dev",
        "clean/validation-00000-of-00005.parquet": "dev",
        "en/validated-00087-of-00138.parquet": "train",
        "other/test.other-00000-of-00010.parquet": "test",
        "LibriSpeech/dev-other/116/288045/116-288045.trans.txt": "dev",
        "Emilia/EN/EN-B000000.tar": None,
    }
    assert {name: card("mls-en").split_of(name) for name in names} == names


def test_an_unknown_corpus_names_the_nearest():
    with pytest.raises(InputError, match=r"'emila'.*did you mean emilia"):
        card("emila")
    with pytest.raises(InputError, match=r"did you mean yodas2"):
        open_corpus("yodas")
    with pytest.raises(InputError, match=r"did you mean librispeech"):
        open_corpus("LibriSpeach", root="/nowhere")


def test_an_unknown_language_names_the_nearest_or_all():
    with pytest.raises(InputError, match=r"`language` of corpus `emilia`.*got 'jp'.*ja"):
        open_corpus("emilia", language="jp")


def test_an_unknown_transcript_rule_lists_them():
    with pytest.raises(InputError, match=r"verbatim, stripped.*got 'upper'"):
        open_corpus("emilia", transcripts="upper")


@pytest.mark.parametrize("name", ["nemotron-cc-hq-actual", "yodas2-mm-pretrain"])
def test_text_needs_no_codec(name: str):
    with pytest.raises(InputError, match=r"got (text|documents).*audio-tokenize build"):
        open_corpus(name)


def test_what_is_not_on_the_hub_says_where_it_is_and_where_to_put_it():
    with pytest.raises(InputError, match=r"openslr\.org/12.*librispeech --root DIR"):
        open_corpus("librispeech").shards()


def test_a_folder_without_the_corpus_says_how_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"expected files of corpus `mls-en`.*hf download parler-tts/mls_eng"):
        open_corpus("mls-en", root=tmp_path).shards()
