"""Each published dataset against the strings of its template, written out as its own program wrote them."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from audio_data import InputError, TokenDataset
from audio_tokenize.corpora.cards import SPEECH_CARDS
from audio_tokenize.datasets.building import build_dataset
from audio_tokenize.datasets.presets import DATASET_PRESETS, dataset_preset
from audio_tokenize.documents.strings import DocumentTranscoder
from audio_tokenize.vocabularies.folder import VocabularyFolder

BEGIN, END = "<|begin_of_text|>", "<|end_of_text|>"


def audio(one) -> str:
    """Characters of its codes between markers."""
    characters = (chr(0xE000 + 2048 * k + int(code)) for frame in one.codes for k, code in enumerate(frame))
    return f"<|audio_start|>{''.join(characters)}<|audio_end|>"


def text(transcript: str) -> str:
    return f"<|text_start|>{transcript}<|text_end|>"


def both(groups, transcript) -> list[str]:
    """Type 1 and type 2 of each group."""
    documents = []
    for group in groups:
        type1 = "".join(text(transcript(one.text)) + audio(one) for one in group)
        type2 = "".join(audio(one) + text(transcript(one.text)) for one in group)
        documents += [BEGIN + type1 + END, BEGIN + type2 + END]
    return documents


def unchanged(transcript: str) -> str:
    return transcript


def videos(us):
    return [us[0:3], us[3:5]]


def clips(us):
    """By file name without its last field, sorted by it."""
    stems = sorted({one.id.rsplit("_", 1)[0] for one in us})
    return [sorted((one for one in us if one.id.startswith(stem)), key=lambda one: one.id) for stem in stems]


def stretches(us):
    """One book, cut by hand: 0-1, 1.1-2, then a pause, 4-5, 5-6; and a file of its own."""
    return [[us[4], us[0]], [us[2], us[1]], [us[3]]]


def chapter_pairs(us):
    return [(us[0], us[2]), (us[2], us[3]), (us[1], us[4])]


def conversation(us):
    documents = []
    for clip in clips(us):
        speakers, content = {}, ""
        for one in clip:
            index = speakers.setdefault(one.speaker, len(speakers))
            content += text(f"[{index}]{one.text.strip()}") + audio(one)
        documents.append(BEGIN + content + END)
    return documents


def first_codebook(document: str) -> str:
    spans = re.findall(r"<\|audio_start\|>(.*?)<\|audio_end\|>", document, re.DOTALL)
    return BEGIN + "".join(f"<|audio_start|>{span[0::8]}<|audio_end|>" for span in spans) + END


def without_text(document: str) -> str:
    return re.sub(r"<\|text_start\|>.*?<\|text_end\|>", "", document)


def tts0(document: str) -> str:
    return document.replace("<|text_start|>", "<|text_start|>[0]")


def unquoted(transcript: str) -> str:
    return transcript.strip().strip('"').strip("'")


def tts0_pair(pair) -> str:
    return BEGIN + "".join(text("[0]" + unquoted(one.text)) + audio(one) for one in pair) + END


def fixed(document: str) -> str:
    return document.replace("<|text_start|> ", "<|text_start|>").replace(" <|text_end|>", "<|text_end|>")


def evaluation(us, task: str) -> list[str]:
    parts = [(audio(one), text(one.text.lower())) for one in us]
    return [a + t if task == "asr" else t + a for a, t in parts]


def translations(us):
    return [(us[0], us[2]), (us[3], us[1])]


def method1(us) -> list[str]:
    return [
        BEGIN
        + audio(source)
        + text(f"<language>{'zh-CN' if source.language == 'zh' else source.language}</language>{source.text}")
        + text(f"<language>en</language>{target.text}")
        + audio(target)
        + END
        for source, target in translations(us)
    ]


def method2(us) -> list[str]:
    return [
        BEGIN + audio(source) + text("<language>en</language>") + audio(target) + END
        for source, target in translations(us)
    ]


EXPECTED = {
    "yodas2-mm-pretrain": lambda us: both(videos(us), unchanged),
    "yodas2-mm-asr": lambda us: both(videos(us), unchanged)[1::2],
    "yodas2-mm-acoustic": lambda us: [without_text(document) for document in both(videos(us), unchanged)[1::2]],
    "yodas2-mm-semantic": lambda us: [first_codebook(document) for document in both(videos(us), unchanged)[1::2]],
    "emilia-mm-pretrain": lambda us: both(clips(us), unchanged),
    "emilia-mm-pretrain-fix": lambda us: [fixed(document) for document in both(clips(us), unchanged)],
    "emilia-mm-conversational": conversation,
    "mls-en-mm-pretrain": lambda us: both(stretches(us), str.strip),
    "mls-en-mm-tts0": lambda us: [tts0(document) for document in both(stretches(us), str.strip)[0::2]],
    "libritts-r-mm-tts0": lambda us: [tts0_pair(pair) for pair in chapter_pairs(us)],
    "libritts-r-mm-pretrain": lambda us: both([[one] for one in us], unchanged),
    "librispeech-mm-pretrain": lambda us: both([[one] for one in us], str.lower),
    "commonvoice17-mm-pretrain": lambda us: both([[one] for one in us], unchanged),
    "peoples-speech-mm-pretrain": lambda us: both([[one] for one in us], unchanged),
    **{
        f"librispeech-mm-eval/{split}_{task}": lambda us, split=split, task=task: evaluation(
            [one for one in us if one.extra["subset"] == split.replace("_", "-")], task
        )
        for split in ("dev_clean", "dev_other", "test_clean", "test_other")
        for task in ("asr", "tts")
    },
    "cvss-mm-method1": method1,
    "cvss_method1": method1,
    "cvss_method2": method2,
}


@pytest.fixture(scope="module")
def utterances(utterance):
    """Five utterances that are, at once, of a video, a clip, a book, a chapter, a split and a translation."""
    texts = [' "Yes," he said. ', "  two spaces and a 'word'", " Größe 12  ", "'\"PLAIN\"'", " it's as it is"]
    clip = ["EN_B00000_S00001_W000001", "EN_B00000_S00000_W000002", "EN_B00000_S00001_W000000"]
    clip += ["EN_B00000_S00000_W000000", "EN_B00000_S00001_W000002"]
    times = [(1.1, 2.0), (5.0, 6.0), (4.0, 5.0), (0.0, 9.0), (0.0, 1.0)]
    targets = [clip[2], None, None, clip[1], None]
    return [
        utterance(
            clip[i],
            texts[i],
            num_frames=1 + i,
            speaker="ann" if i in (0, 2, 3) else "bob",
            language={0: "de", 3: "zh"}.get(i, "en"),
            recording="video-a" if i < 3 else "video-b",
            split="dev",
            extra={
                "subset": ("dev-clean", "dev-other", "test-clean", "test-other", "dev-clean")[i],
                "book": "1",
                "chapter": "7",
                "original_path": "b.mp3" if i == 3 else "a.mp3",
                "begin_seconds": times[i][0],
                "end_seconds": times[i][1],
                **({"target": targets[i]} if targets[i] else {}),
            },
        )
        for i in range(5)
    ]


def as_in(dataset, utterances):
    """What differs between the corpora: MLS groups by speaker, transcripts of Emilia begin with a space, and those of
    LibriSpeech have nothing to strip."""
    if dataset.splits == ("train",):
        utterances = [replace(one, split="train") for one in utterances]
    if dataset.corpora == ("mls-en",):
        return [replace(one, speaker="7") for one in utterances]
    if "emilia" in dataset.corpora:
        return [replace(one, text=" " + one.text.removeprefix(" ")) for one in utterances]
    if dataset.corpora == ("librispeech",):
        return [replace(one, text=one.text.strip().upper()) for one in utterances]
    return utterances


@pytest.fixture
def codes(tmp_path, write_codes):
    """Writes the codes that a dataset is made of."""

    def write(utterances) -> Path:
        return write_codes(tmp_path / "codes", utterances, utterances_per_shard=2).path

    return write


def ids_of(document: str, folder: VocabularyFolder) -> list[int]:
    """Markers by name, audio character by character, each text as a whole."""
    ids: list[int] = []
    for part in filter(None, re.split(r"(<\|\w+\|>|[\ue000-\U00011fff])", document)):
        if part.startswith("<|"):
            ids.append(getattr(folder.vocabulary, part[2:-2]))
        elif ord(part[0]) >= 0xE000:
            ids.append(folder.vocabulary.audio_base + ord(part) - 0xE000)
        else:
            ids += folder.text.encode(part)
    return ids


def test_every_published_dataset_has_its_strings_and_its_corpora_here():
    assert set(EXPECTED) == set(DATASET_PRESETS)
    known = {card.name for card in SPEECH_CARDS}
    assert {corpus for dataset in DATASET_PRESETS.values() for corpus in dataset.corpora} == known


@pytest.mark.parametrize("name", DATASET_PRESETS)
def test_documents_are_those_of_the_published_dataset(tmp_path: Path, codes, utterances, mimi_vocabulary, name):
    said = as_in(DATASET_PRESETS[name], utterances)
    build_dataset(codes(said), mimi_vocabulary, tmp_path / "built", preset=name)
    dataset, folder = TokenDataset.open(tmp_path / "built"), VocabularyFolder.load(tmp_path / "vocabulary")
    built = [dataset[i] for i in range(len(dataset))]
    expected = [ids_of(document, folder) for document in EXPECTED[name](said)]
    assert sorted(document.ids.tolist() for document in built) == sorted(expected)
    assert len({document.metadata["id"] for document in built}) == len(built)
    if len(DATASET_PRESETS[name].rules.layouts) == 2:
        bases = [document.metadata["base_id"] for document in built]
        assert bases[0::2] == bases[1::2]
        assert [document.metadata["layout"] for document in built[:2]] == ["text_first", "audio_first"]


@pytest.mark.parametrize("name", ["yodas2-mm-pretrain", "librispeech-mm-eval/dev_clean_asr", "cvss_method1"])
def test_a_second_begin_of_text_is_what_a_tokenizer_prepends_to_the_string(
    tmp_path: Path, codes, utterances, mimi_vocabulary, name
):
    said = as_in(DATASET_PRESETS[name], utterances)
    build_dataset(codes(said), mimi_vocabulary, tmp_path / "built", preset=name, begin_of_text="double")
    dataset, folder = TokenDataset.open(tmp_path / "built"), VocabularyFolder.load(tmp_path / "vocabulary")
    expected = [DocumentTranscoder(folder, begin_of_text="double").encode(s).tolist() for s in EXPECTED[name](said)]
    documents = [dataset[i] for i in range(len(dataset))]
    assert sorted(document.ids.tolist() for document in documents) == sorted(expected)
    for document in documents:
        mask = document.loss_mask
        assert mask is None or not mask[: int(np.flatnonzero(document.ids == folder.vocabulary.audio_end)[0]) + 1].any()
    assert dataset.manifest.provenance["begin_of_text"] == "double"


def test_the_stray_space_is_put_back_where_it_was_not_read(tmp_path: Path, write_codes, utterances, mimi_vocabulary):
    built = []
    for name, space in (("read", " "), ("not-read", "")):
        said = [replace(one, text=space + one.text.strip()) for one in utterances]
        write_codes(tmp_path / "codes" / name, said)
        build_dataset(tmp_path / "codes" / name, mimi_vocabulary, tmp_path / name, preset="emilia-mm-pretrain")
        built.append([document.ids.tolist() for document in TokenDataset.open(tmp_path / name)])
    assert built[0] == built[1]


@pytest.mark.parametrize("name", ["cvss_method1", "cvss_method2"])
def test_fine_tuning_is_taught_the_response_only(tmp_path: Path, codes, utterances, mimi_vocabulary, name):
    build_dataset(codes(utterances), mimi_vocabulary, tmp_path / "built", preset=name)
    dataset = TokenDataset.open(tmp_path / "built")
    for i in range(len(dataset)):
        document, vocabulary = dataset[i], dataset.manifest.vocabulary
        ends = np.flatnonzero(document.ids == vocabulary.audio_end)
        first_taught = ends[0] + 1
        if name == "cvss_method2":
            first_taught = np.flatnonzero(document.ids == vocabulary.text_end)[0] + 1
        assert document.loss_mask.tolist() == [j >= first_taught for j in range(len(document.ids))]


def test_a_wrong_name_is_refused():
    with pytest.raises(InputError, match=r"`preset` must be one of yodas2-mm-pretrain, .*, got 'yodas'"):
        dataset_preset("yodas")
