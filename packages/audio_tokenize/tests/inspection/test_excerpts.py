import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from audio_data import InputError, TokenDataset
from audio_tokenize.datasets.building import build_dataset
from audio_tokenize.documents.layouts import layout
from audio_tokenize.documents.transcode import codes_to_characters
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.jobs import encode_corpus
from audio_tokenize.inspection.excerpts import read_excerpt
from audio_tokenize.vocabularies.folder import VocabularyFolder


@pytest.fixture(scope="module")
def root(tmp_path_factory, corpus, codec) -> Path:
    """The same three utterances of one recording, as everything that can be looked at."""
    root = tmp_path_factory.mktemp("sources")
    encode_corpus(corpus, codec, root / "codes")
    encoded = EncodedCorpus.open(root / "codes")
    VocabularyFolder.train([encoded], codec).save(root / "data" / "vocabulary")
    build_dataset(root / "codes", root / "data" / "vocabulary", root / "data" / "asr", grouping="recording")
    utterances = list(encoded)[:3]
    document = "".join(
        f"<|audio_start|>{codes_to_characters(u.codes.astype(int))}<|audio_end|><|text_start|>{u.text}<|text_end|>"
        for u in utterances
    )
    document = f"<|begin_of_text|>{document}<|end_of_text|>"
    (root / "one.txt").write_text(f"{document}\n", encoding="utf-8")
    (root / "two.txt").write_text(f"<|begin_of_text|>other<|end_of_text|>\n{document}\n", encoding="utf-8")
    table = pyarrow.table({"id": ["x", "y"], "text": ["<|begin_of_text|>other<|end_of_text|>", document]})
    pyarrow.parquet.write_table(table, root / "rows.parquet")
    (root / "rows.jsonl").write_text(json.dumps({"id": "x", "text": document}) + "\n", encoding="utf-8")
    folder = VocabularyFolder.load(root / "data" / "vocabulary")
    ids = TokenDataset.open(root / "data" / "asr")[0].ids
    np.save(root / "ids.npy", ids)
    (root / "ids.json").write_text(json.dumps(ids.tolist()), encoding="utf-8")
    np.save(root / "codes.npy", utterances[0].codes)
    (root / "codes.json").write_text(json.dumps(utterances[0].codes.tolist()), encoding="utf-8")
    assert len(layout("audio_first").parse(ids, folder.vocabulary)) == 3
    return root


@pytest.mark.parametrize(
    ("name", "index", "vocabulary"),
    [
        ("data/asr", 0, None),
        ("one.txt", 0, None),
        ("two.txt", 1, None),
        ("rows.parquet", 1, None),
        ("rows.jsonl", 0, None),
        ("ids.npy", 0, "data/vocabulary"),
        ("ids.json", 0, "data/vocabulary"),
    ],
)
def test_every_document_holds_the_utterances_it_was_made_of(root, name, index, vocabulary):
    excerpt = read_excerpt(root / name, index, vocabulary=vocabulary and root / vocabulary)
    utterances = list(EncodedCorpus.open(root / "codes"))[:3]
    assert excerpt.problem is None
    assert [p.text for p in excerpt.passages if p.kind == "text"] == [u.text for u in utterances]
    for passage, utterance in zip(excerpt.audio, utterances, strict=True):
        # A string says nothing of the size of a codebook: Mimi's is taken, whose codes these happen to be.
        assert passage.codes is not None
        assert np.array_equal(passage.codes, utterance.codes)


@pytest.mark.parametrize("name", ["codes", "codes.npy", "codes.json"])
def test_codes_are_no_document(root, name):
    excerpt = read_excerpt(root / name)
    (passage,) = excerpt.audio
    assert passage.start is None
    assert passage.codes is not None
    assert np.array_equal(passage.codes, next(iter(EncodedCorpus.open(root / "codes"))).codes)


def test_what_the_source_says_is_kept(root):
    assert read_excerpt(root / "codes", 2).metadata["id"] == "a2"
    assert read_excerpt(root / "data" / "asr").metadata["recording"] == "a"
    assert read_excerpt(root / "data" / "asr").codec["id"] == "tiny-v1"
    assert read_excerpt(root / "rows.parquet", 1).metadata["id"] == "y"
    assert read_excerpt(root / "ids.npy", vocabulary=root / "data" / "vocabulary").codec == {"id": "tiny-v1"}
    assert read_excerpt(root / "one.txt").codec == {}


def test_a_dataset_without_its_tokenizer_shows_ids(root, tmp_path):
    (tmp_path / "asr").symlink_to(root / "data" / "asr")
    shown = read_excerpt(tmp_path / "asr")
    ids = next(p.text for p in shown.passages if p.kind == "text")
    folder = VocabularyFolder.load(root / "data" / "vocabulary")
    assert folder.text.decode([int(i) for i in ids.split()]) == "open the red door"


def test_wrong_sources_are_refused(tmp_path: Path, root):
    (tmp_path / "y.npy").write_bytes(b"nonsense")
    np.save(tmp_path / "x.npy", np.zeros(3))
    (tmp_path / "x.json").write_text('{"ids": [1]}')
    (tmp_path / "z.json").write_text("[1,")
    (tmp_path / "x.txt").write_bytes(b"caf\xe9")
    for source, index, message in [
        (tmp_path, 0, "must be a folder of codes, a token dataset, a"),
        (tmp_path / "none", 0, "does not exist; expected a folder of codes"),
        (root / "codes", 7, r"`index` into .* must be in 0\.\.6, got 7"),
        (root / "rows.parquet", 2, r"`index` into .* must be in 0\.\.1, got 2"),
        (root / "two.txt", -1, r"`index` into .* must be in 0\.\.1, got -1"),
        (root / "ids.npy", 0, "ids, which need `vocabulary`"),
        (tmp_path / "x.npy", 0, r"must hold integers \[ids\] or \[frames, codebooks\], got float64 of shape \(3,\)"),
        (tmp_path / "y.npy", 0, "cannot be read"),
        (tmp_path / "x.json", 0, "expected a list of ids"),
        (tmp_path / "z.json", 0, "expected JSON"),
        (tmp_path / "x.txt", 0, "must be UTF-8, got invalid continuation byte at byte 3|must be UTF-8"),
    ]:
        with pytest.raises(InputError, match=message):
            read_excerpt(source, index)


def test_another_vocabulary_is_refused(root, tmp_path, codec):
    VocabularyFolder.train([EncodedCorpus.open(root / "codes")], codec, num_pieces=9).save(tmp_path / "vocabulary")
    with pytest.raises(InputError, match=r"`vocabulary` of .* must be 'compact' with fingerprint [0-9a-f]{12}, got"):
        read_excerpt(root / "data" / "asr", vocabulary=tmp_path / "vocabulary")


def npy(shape: str, descr: str = "<i4", content: bytes = bytes(8)) -> bytes:
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + content


@pytest.mark.parametrize(
    "content",
    [
        npy("(1000000000000, 8)"), npy("(10000000000000000000000000,)"), npy("(-1,)"), npy("(2"), npy("(2,)", "|O"),
        npy("(2,)", "<q9"), b"\x93NUMPY", b"", b"PK\x03\x04", b"[" * 100_000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_an_array_with_a_lying_shape_or_any_other_damage_is_named(tmp_path, content: bytes, suffix: str):
    path = tmp_path / f"codes{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"codes{suffix}"):
        read_excerpt(path, 0)
