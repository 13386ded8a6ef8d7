import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from upath import UPath

from audio_data import InputError, TokenDataset, open_root
from audio_tokenize.corpora import open_corpus
from audio_tokenize.datasets.building import build_dataset
from audio_tokenize.datasets.groupings import Selection
from audio_tokenize.documents.layouts import layout
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.jobs import encode_corpus
from audio_tokenize.vocabularies.folder import VocabularyFolder


@pytest.fixture(scope="module")
def codes(tmp_path_factory, corpus, codec) -> Path:
    folder = tmp_path_factory.mktemp("codes")
    encode_corpus(corpus, codec, folder, codec_name="tiny", num_frame_offsets=2, utterances_per_shard=2)
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
            "frame_offset": utterance.frame_offset,
            "num_codebooks": kept,
        }
    assert dataset.manifest.codec["id"] == "tiny-v1"
    assert dataset.manifest.codec["attention_window_frames"] is None


def test_a_recording_is_one_document_a_phase_in_time_order(tmp_path: Path, codes, vocabulary):
    build_dataset(codes, vocabulary, tmp_path / "asr", grouping="recording", selection=Selection(splits=("train",)))
    dataset = TokenDataset.open(tmp_path / "asr")
    assert [d.metadata["id"] for d in dataset] == [
        f"{d.metadata['base_id']}+{d.metadata['frame_offset']}of2" for d in dataset
    ]
    assert len(dataset) == 4
    for document in dataset:
        assert document.metadata["text"] == "open the red door open the blue door open the green door"
        segments = layout("audio_first").parse(document.ids, dataset.manifest.vocabulary)
        assert len(segments) == 3
    encoded = {(u.id, u.frame_offset): u.codes for u in EncodedCorpus.open(codes)}
    second = layout("audio_first").parse(dataset[1].ids, dataset.manifest.vocabulary)
    assert all(np.array_equal(s.codes, encoded[f"a{i}", 1]) for i, s in enumerate(second))


@pytest.mark.parametrize(
    ("selection", "ids"),
    [
        (Selection(speakers=("bob",), frame_offsets=(0,)), ["b0+0of2", "b1+0of2", "b2+0of2"]),
        (Selection(splits=("heldout",)), ["c"]),
        (Selection(languages=("en",), speakers=("ann",), frame_offsets=(1,)), ["a0+1of2", "a1+1of2", "a2+1of2"]),
    ],
)
def test_a_selection_takes_what_it_says(tmp_path: Path, codes, vocabulary, selection, ids):
    build_dataset(codes, vocabulary, tmp_path / "some", selection=selection)
    assert [d.metadata["id"] for d in TokenDataset.open(tmp_path / "some")] == ids


def test_the_held_out_documents_divide_into_two_parts(tmp_path: Path, codes, vocabulary):
    found = []
    for fraction, after in ((0.7, 0.0), (0.3, 0.0), (0.7, 0.3)):
        selection = Selection(holdout_fraction=fraction, heldout=True, holdout_after=after)
        assert ("holdout_after" in selection.to_json()) == bool(after)
        out = tmp_path / f"{fraction}-{after}"
        build_dataset(codes, vocabulary, out, selection=selection)
        found.append({d.metadata["base_id"] for d in TokenDataset.open(out)})
    whole, first, second = found
    assert first
    assert second
    assert first | second == whole
    assert not first & second
    for heldout, after in ((False, 0.3), (True, 0.7), (True, -0.1)):
        with pytest.raises(InputError, match="divides the part that `heldout` takes"):
            Selection(holdout_fraction=0.7, heldout=heldout, holdout_after=after)


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
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert build_dataset(codes, vocabulary, tmp_path / "asr") == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == times
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
    with pytest.raises(InputError, match="`grouping` of layout `text` must be 'utterance'"):
        build_dataset(parallel, vocabulary, tmp_path / "x", layout="text", grouping="pair")
    with pytest.raises(InputError, match="no utterance"):
        build_dataset(parallel, vocabulary, tmp_path / "x", grouping="pair", selection=Selection(languages=("en",)))


def test_a_conversation_counts_its_speakers_by_first_appearance(tmp_path: Path, parallel, vocabulary):
    build_dataset(parallel, vocabulary, tmp_path / "talk", layout="conversational", grouping="pair")
    folder = VocabularyFolder.load(vocabulary)
    segments = layout("conversational").parse(TokenDataset.open(tmp_path / "talk")[0].ids, folder.vocabulary)
    texts = [folder.text.decode(s.text_ids.tolist()) for s in segments]
    assert texts == ["[0]open the red door", "[1]open the red door"]


def test_both_orders_of_a_group_share_their_base_id(tmp_path: Path, codes, vocabulary):
    orders = ("text_first", "audio_first")
    build_dataset(codes, vocabulary, tmp_path / "both", layout=orders, grouping="recording")
    dataset = TokenDataset.open(tmp_path / "both")
    alone = {}
    for order in orders:
        build_dataset(codes, vocabulary, tmp_path / order, layout=order, grouping="recording")
        for document in TokenDataset.open(tmp_path / order):
            alone[order, document.metadata["id"]] = document.ids.tolist()
    assert len(dataset) == len(alone) == 10
    for document in dataset:
        identity, _, order = document.metadata["id"].rpartition(":")
        assert order == document.metadata["layout"]
        assert document.ids.tolist() == alone.pop((order, identity))
    bases = [document.metadata["base_id"] for document in dataset]
    assert bases[0::2] == bases[1::2]
    with pytest.raises(InputError, match="`layout` text_first is given more than once"):
        build_dataset(codes, vocabulary, tmp_path / "x", layout=("text_first", "text_first"))


def test_provenance_says_how_a_dataset_was_made(tmp_path: Path, codes, vocabulary):
    selection = Selection(splits=("train",), holdout_fraction=0.5)
    named = build_dataset(codes, vocabulary, tmp_path / "named", preset="librispeech-mm-pretrain", selection=selection)
    rendered = build_dataset(
        codes,
        vocabulary,
        tmp_path / "rendered",
        layout=["text_first", "audio_first"],
        transcript="lower-case",
        selection=selection,
    )
    assert named.provenance == rendered.provenance
    assert named.fingerprint == rendered.fingerprint
    made = dict(named.provenance)
    encoded = EncodedCorpus.open(codes).manifest
    assert made.pop("codes") == {
        "corpus": encoded.corpus,
        "licence": encoded.licence,
        "fingerprint": encoded.fingerprint,
    }
    assert made.pop("command") == "audio-tokenize build"
    assert made.pop("selection")["holdout_fraction"] == 0.5
    assert made == {
        "layouts": ["text_first", "audio_first"],
        "grouping": "utterance",
        "transcript": "lower-case",
        "num_codebooks": 8,
        "language_names": [],
        "begin_of_text": "single",
        "text_spaces": "none",
        "lenient": False,
        "num_dropped": 0,
    }
    with pytest.raises(InputError, match=r"`preset` 'yodas2-mm-asr' sets `grouping`, got \['pair'\] beside it"):
        build_dataset(codes, vocabulary, tmp_path / "x", preset="yodas2-mm-asr", grouping="pair")


@pytest.mark.parametrize(
    ("bad", "options", "message"),
    [
        ({"text": " "}, {}, r"utterance `bad` must have a transcript, got ' ' \(`transcript` verbatim\)"),
        ({"text": "''"}, {"transcript": "unquoted"}, r"utterance `bad` must have a transcript, got \"''\""),
        ({"num_frames": 0}, {"layout": "acoustic"}, "utterance `bad` must have audio, got 0 frames"),
    ],
)
def test_an_unusable_utterance_is_named_or_left_out(
    tmp_path: Path, write_codes, utterance, mimi_vocabulary, bad, options, message
):
    utterances = [utterance("a"), utterance("bad", **bad), utterance("c")]
    write_codes(tmp_path / "codes", utterances)
    with pytest.raises(InputError, match=message):
        build_dataset(tmp_path / "codes", mimi_vocabulary, tmp_path / "x", **options)
    build_dataset(tmp_path / "codes", mimi_vocabulary, tmp_path / "kept", lenient=True, **options)
    kept = TokenDataset.open(tmp_path / "kept")
    assert [document.metadata["id"] for document in kept] == ["a", "c"]
    assert kept.manifest.provenance["num_dropped"] == 1


def test_a_code_out_of_range_is_named(tmp_path: Path, write_codes, utterance, mimi_vocabulary):
    bad = utterance("bad")
    bad.codes[1, 3] = 2048
    write_codes(tmp_path / "codes", [utterance("a"), bad])
    with pytest.raises(InputError, match=r"utterance `bad` must have codes 0\.\.2047, got 2048"):
        build_dataset(tmp_path / "codes", mimi_vocabulary, tmp_path / "x", layout="acoustic")


def test_what_lacks_a_part_drops_out_of_a_recording_but_a_pair_is_dropped_whole(
    tmp_path: Path, write_codes, utterance, mimi_vocabulary
):
    utterances = [utterance(f"{i}", text, recording="r", extra={"chapter": "1"}) for i, text in enumerate("ab de")]
    write_codes(tmp_path / "codes", utterances)
    made = {}
    for grouping in ("recording", "consecutive_pairs"):
        options = {"grouping": grouping, "lenient": True}
        build_dataset(tmp_path / "codes", mimi_vocabulary, tmp_path / grouping, **options)
        made[grouping] = [document.metadata["text"] for document in TokenDataset.open(tmp_path / grouping)]
    assert made == {"recording": ["a b d e"], "consecutive_pairs": ["a b", "d e"]}


KILLED_WHILE_WRITING = """
import os, signal, sys
from audio_data import DatasetWriter
from audio_tokenize import build_dataset

codes, vocabulary, out, after = sys.argv[1:]
write, written = DatasetWriter.write, []

def write_or_die(self, document):
    if len(written) == int(after):
        os.kill(os.getpid(), signal.SIGKILL)
    written.append(document)
    write(self, document)

DatasetWriter.write = write_or_die
build_dataset(codes, vocabulary, out, preset="emilia-mm-pretrain", documents_per_shard=3)
print(len(written))
"""


def test_a_killed_build_goes_on_and_ends_the_same(tmp_path: Path, write_codes, utterance, mimi_vocabulary):
    codes = write_codes(tmp_path / "codes", [utterance(f"EN_S{i % 5}_W{i}") for i in range(20)]).path

    def build(out: Path, after: int) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-c", KILLED_WHILE_WRITING, codes, mimi_vocabulary, out, after]
        return subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, check=False)

    for after in (4, 5):
        assert build(tmp_path / "killed", after).returncode == -signal.SIGKILL
        with pytest.raises(InputError):
            TokenDataset.open(tmp_path / "killed")
    last = build(tmp_path / "killed", 1000)
    assert last.returncode == 0, last.stderr
    # Ten documents; three were whole after the first kill, six after the second.
    assert int(last.stdout) == 4
    whole = build_dataset(
        codes, mimi_vocabulary, tmp_path / "whole", preset="emilia-mm-pretrain", documents_per_shard=3
    )
    assert TokenDataset.open(tmp_path / "killed").manifest.fingerprint == whole.fingerprint


def test_codes_vocabulary_and_dataset_may_lie_on_an_object_store(
    tmp_path: Path, monkeypatch, write_codes, utterance, mimi_vocabulary
):
    monkeypatch.setenv("AUDIO_DATA_CACHE", str(tmp_path / "cache"))
    codes = write_codes(tmp_path / "codes", [utterance(f"EN_S{i % 2}_W{i}") for i in range(5)]).path
    store = UPath(f"memory://{tmp_path.name}")
    for folder, name in ((codes, "codes"), (mimi_vocabulary, "data/vocabulary")):
        for file in folder.iterdir():
            (store / name / file.name).write_bytes(file.read_bytes())
    options: dict[str, Any] = {"preset": "emilia-mm-pretrain"}
    there = build_dataset(str(store / "codes"), str(store / "data/vocabulary"), str(store / "data/built"), **options)
    here = build_dataset(codes, mimi_vocabulary, tmp_path / "built", **options)
    assert there.fingerprint == here.fingerprint
    assert TokenDataset.open(str(store / "data/built"))[1] == TokenDataset.open(tmp_path / "built")[1]
