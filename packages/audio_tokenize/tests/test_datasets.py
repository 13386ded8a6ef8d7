import json
from pathlib import Path

import numpy as np
import pytest

from audio_data import InputError, TokenDataset, open_root
from audio_tokenize.corpora import open_corpus
from audio_tokenize.datasets import Selection, build_dataset
from audio_tokenize.documents import layout
from audio_tokenize.encoded import EncodedCorpus
from audio_tokenize.jobs import encode_corpus
from audio_tokenize.vocabularies import VocabularyFolder


@pytest.fixture(scope="module")
def codes(tmp_path_factory, corpus, codec) -> Path:
    folder = tmp_path_factory.mktemp("codes")
    encode_corpus(corpus, codec, folder, codec_name="tiny", num_phases=2, utterances_per_shard=2)
    return folder


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory, codes, codec) -> Path:
    folder = tmp_path_factory.mktemp("data") / "vocabulary"
    VocabularyFolder.train([EncodedCorpus.open(codes)], codec, num_pieces=64).save(folder)
    return folder


@pytest.mark.parametrize("num_codebooks", [8, 2])
@pytest.mark.parametrize("name", ["audio_first", "text_first", "semantic"])
def test_documents_parse_back_to_what_was_encoded(tmp_path: Path, codes, vocabulary, name, num_codebooks):
    build_dataset(codes, vocabulary, tmp_path / "asr", layout=name, num_codebooks=num_codebooks)
    folder = VocabularyFolder.load(tmp_path / "vocabulary")
    dataset, encoded = TokenDataset.open(tmp_path / "asr"), list(EncodedCorpus.open(codes))
    assert len(dataset) == len(encoded) == 13
    kept = 1 if name == "semantic" else num_codebooks
    for i, utterance in enumerate(encoded):
        document = dataset[i]
        [segment] = layout(name).parse(document.ids, folder.vocabulary)
        assert np.array_equal(segment.codes, utterance.codes[:, :kept])
        assert folder.text.decode(segment.text_ids.tolist()) == ("" if name == "semantic" else utterance.text)
        assert document.metadata == {
            "id": utterance.record_id,
            "base_id": utterance.id,
            "text": utterance.text,
            "speaker": utterance.speaker,
            "language": utterance.language,
            "seconds": utterance.seconds,
            "layout": name,
            "split": utterance.split,
            "recording": utterance.recording,
            "phase": utterance.phase,
            "num_codebooks": kept,
        }
    assert dataset.manifest.codec["id"] == "tiny-v1"
    assert dataset.manifest.codec["attention_window_frames"] is None


def test_a_recording_is_one_document_a_phase_in_time_order(tmp_path: Path, codes, vocabulary):
    build_dataset(codes, vocabulary, tmp_path / "asr", grouping="recording", selection=Selection(splits=("train",)))
    dataset = TokenDataset.open(tmp_path / "asr")
    assert [d.metadata["id"] for d in dataset] == [f"{d.metadata['base_id']}+{d.metadata['phase']}of2" for d in dataset]
    assert len(dataset) == 4
    for document in dataset:
        assert document.metadata["text"] == "open the red door open the blue door open the green door"
        segments = layout("audio_first").parse(document.ids, dataset.manifest.vocabulary)
        assert len(segments) == 3
    encoded = {(u.id, u.phase): u.codes for u in EncodedCorpus.open(codes)}
    second = layout("audio_first").parse(dataset[1].ids, dataset.manifest.vocabulary)
    assert all(np.array_equal(s.codes, encoded[f"a{i}", 1]) for i, s in enumerate(second))


@pytest.mark.parametrize(
    ("selection", "ids"),
    [
        (Selection(speakers=("bob",), phases=(0,)), ["b0+0of2", "b1+0of2", "b2+0of2"]),
        (Selection(splits=("heldout",)), ["c"]),
        (Selection(languages=("en",), speakers=("ann",), phases=(1,)), ["a0+1of2", "a1+1of2", "a2+1of2"]),
    ],
)
def test_a_selection_takes_what_it_says(tmp_path: Path, codes, vocabulary, selection, ids):
    build_dataset(codes, vocabulary, tmp_path / "some", selection=selection)
    assert [d.metadata["id"] for d in TokenDataset.open(tmp_path / "some")] == ids


def test_the_holdout_splits_utterances_and_keeps_their_phases_together(tmp_path: Path, codes, vocabulary):
    parts = {}
    for heldout in (False, True):
        for name in ("audio_first", "text_first"):
            out = tmp_path / f"{name}-{heldout}"
            selection = Selection(holdout_fraction=0.5, heldout=heldout)
            build_dataset(codes, vocabulary, out, layout=name, selection=selection)
            parts[name, heldout] = {d.metadata["base_id"] for d in TokenDataset.open(out)}
    assert parts["audio_first", True] == parts["text_first", True]
    assert parts["audio_first", True].isdisjoint(parts["audio_first", False])
    assert parts["audio_first", True] | parts["audio_first", False] == {"a0", "a1", "a2", "b0", "b1", "b2", "c"}


def test_datasets_of_one_folder_share_its_vocabulary(tmp_path: Path, codes, vocabulary, codec):
    build_dataset(codes, vocabulary, tmp_path / "asr")
    build_dataset(codes, tmp_path / "vocabulary", tmp_path / "tts", layout="text_first")
    assert set(open_root(tmp_path)) == {"asr", "tts"}
    other = VocabularyFolder.train([EncodedCorpus.open(codes)], codec, num_pieces=8)
    other.save(tmp_path / "elsewhere" / "vocabulary")
    with pytest.raises(InputError, match="already holds another vocabulary"):
        build_dataset(codes, tmp_path / "elsewhere" / "vocabulary", tmp_path / "third")


def test_building_again_does_nothing_and_another_choice_is_refused(tmp_path: Path, codes, vocabulary):
    first = build_dataset(codes, vocabulary, tmp_path / "asr")
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert build_dataset(codes, vocabulary, tmp_path / "asr") == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times
    with pytest.raises(InputError, match=r"exists; .*overwrite"):
        build_dataset(codes, vocabulary, tmp_path / "asr", num_codebooks=2)
    again = build_dataset(codes, vocabulary, tmp_path / "asr", num_codebooks=2, overwrite=True)
    assert again.num_tokens < first.num_tokens


def test_what_cannot_be_built_is_refused(tmp_path: Path, codes, vocabulary):
    with pytest.raises(InputError, match=r"no utterance .* fits .*; it has .*speaker: ann, bob, eve"):
        build_dataset(codes, vocabulary, tmp_path / "x", selection=Selection(speakers=("zoe",)))
    tiny = Selection(speakers=("eve",), holdout_fraction=1e-9, heldout=True)
    with pytest.raises(InputError, match=r"sets none apart of the 1 utterances .*: the corpus is too short for it"):
        build_dataset(codes, vocabulary, tmp_path / "x", selection=tiny)
    build_dataset(codes, vocabulary, tmp_path / "x", selection=Selection(speakers=("ann",)))
    with pytest.raises(InputError, match=r"`codebooks` must be in 1\.\.8, .* got 9"):
        build_dataset(codes, vocabulary, tmp_path / "y", num_codebooks=9)
    with pytest.raises(InputError, match="`layout` must be one of"):
        build_dataset(codes, vocabulary, tmp_path / "y", layout="none")
    with pytest.raises(InputError, match=r"`holdout` must be a fraction in \[0, 1\), got 1.0"):
        Selection(holdout_fraction=1.0)
    with pytest.raises(InputError, match="give `holdout` a fraction above 0"):
        Selection(heldout=True)


@pytest.fixture(scope="module")
def parallel(tmp_path_factory, speech, codec) -> Path:
    """Recording a is spoken again by recording b, except for its last utterance."""
    folder = tmp_path_factory.mktemp("parallel")
    entries = [json.loads(line) for line in (speech / "manifest.jsonl").read_text().splitlines()]
    for entry in entries:
        entry["audio"] = str(speech / entry["audio"])
        if entry["id"] in ("a0", "a1"):
            entry |= {"language": "de", "target": "b" + entry["id"][1]}
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, entries)))
    encode_corpus(open_corpus(folder), codec, folder / "codes", codec_name="tiny")
    return folder / "codes"


def test_pairs_of_parallel_utterances_become_translation_documents(tmp_path: Path, parallel, vocabulary):
    options = {"layout": "speech_translation", "grouping": "pair", "selection": Selection(languages=("de",))}
    build_dataset(parallel, vocabulary, tmp_path / "s2st", **options)
    folder, dataset = VocabularyFolder.load(vocabulary), TokenDataset.open(tmp_path / "s2st")
    encoded = {u.id: u for u in EncodedCorpus.open(parallel)}
    assert [d.metadata["base_id"] for d in dataset] == ["a0", "a1"]
    source, target = layout("speech_translation").parse(dataset[1].ids, folder.vocabulary)
    assert folder.text.decode(source.text_ids.tolist()) == "<language>de</language>open the blue door"
    assert folder.text.decode(target.text_ids.tolist()) == "<language>en</language>open the blue door"
    assert np.array_equal(source.codes, encoded["a1"].codes)
    assert np.array_equal(target.codes, encoded["b1"].codes)
    with pytest.raises(InputError, match="`grouping` of layout `speech_translation` must be 'pair'"):
        build_dataset(parallel, vocabulary, tmp_path / "x", layout="speech_translation")
    with pytest.raises(InputError, match="no utterance"):
        build_dataset(parallel, vocabulary, tmp_path / "x", grouping="pair", selection=Selection(languages=("en",)))


def test_a_conversation_counts_its_speakers_by_first_appearance(tmp_path: Path, parallel, vocabulary):
    build_dataset(parallel, vocabulary, tmp_path / "talk", layout="conversational", grouping="pair")
    folder = VocabularyFolder.load(vocabulary)
    segments = layout("conversational").parse(TokenDataset.open(tmp_path / "talk")[0].ids, folder.vocabulary)
    texts = [folder.text.decode(s.text_ids.tolist()) for s in segments]
    assert texts == ["[0]open the red door", "[1]open the red door"]
