import dataclasses
import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_data import (
    BatchLoader,
    Document,
    Holdout,
    InputError,
    Mixture,
    Packing,
    TokenDataset,
    holdout,
    open_root,
    quarantine_damage,
    verify_dataset,
)
from audio_data.holdouts import holdout_key

FRACTION = 0.3
SIDES = (Holdout(FRACTION), Holdout(FRACTION, heldout=True))


def both_orders(num_utterances, seed=0):
    """Two documents of every utterance, far apart, with some empty and some long ones among them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 60, (2, num_utterances))
    return [
        Document(rng.integers(0, 100, lengths[order, i]), None, {"id": f"u{i}:{order}", "base_id": f"u{i}"})
        for order in range(2)
        for i in range(num_utterances)
    ]


@pytest.fixture(scope="module")
def documents():
    return both_orders(40)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, documents, write_dataset):
    return write_dataset(tmp_path_factory.mktemp("data") / "a", documents, documents_per_shard=7, tokens_per_record=16)


@pytest.mark.parametrize("fraction", [0, 0.002, 0.25, 1])
def test_holdout_takes_its_share(fraction):
    taken = np.mean([holdout(f"utterance-{i}", fraction) for i in range(20_000)])
    assert abs(taken - fraction) <= 4 * np.sqrt(max(fraction * (1 - fraction), 1e-9) / 20_000)


def test_holdout_is_the_same_in_every_version_and_grows_with_its_fraction():
    held = [i for i in range(50) if holdout(str(i), 0.1)]
    assert held == [9, 12, 17, 22, 33, 41, 48]
    assert set(held) <= {i for i in range(50) if holdout(str(i), 0.3)}
    with pytest.raises(InputError, match="`fraction`"):
        holdout("a", 1.5)


@given(st.lists(st.text(max_size=6), max_size=20), st.floats(1e-9, 1 - 1e-9))
def test_a_choice_by_keys_is_the_one_by_names(names, fraction):
    keys = np.array([holdout_key(name) for name in names], np.uint64)
    for heldout in (False, True):
        chosen = Holdout(fraction, heldout).choose(keys)
        assert chosen.tolist() == [holdout(name, fraction) == heldout for name in names]
        documents = [Document(np.arange(1), None, {"base_id": name}) for name in names]
        assert chosen.tolist() == [Holdout(fraction, heldout).keeps(document) for document in documents]


def test_the_two_sides_share_nothing_and_miss_nothing(dataset, documents):
    views = [TokenDataset.open(dataset.path, holdout=side) for side in SIDES]
    names = [{document.metadata["id"] for document in view} for view in views]
    assert names[0]
    assert names[1]
    assert names[0].isdisjoint(names[1])
    assert names[0] | names[1] == {document.metadata["id"] for document in documents}
    assert sum(view.num_tokens for view in views) == dataset.num_tokens
    bases = [{name.partition(":")[0] for name in side} for side in names]
    assert bases[0].isdisjoint(bases[1])
    assert len({dataset.fingerprint, *(view.fingerprint for view in views)}) == 3


@pytest.mark.parametrize("side", SIDES, ids=["train", "heldout"])
def test_a_side_reads_as_a_dataset_of_its_documents_would(dataset, documents, side):
    view = TokenDataset.open(dataset.path, holdout=side)
    kept = [d for d in documents if holdout(d.metadata["base_id"], FRACTION) == side.heldout]
    assert list(view) == kept
    assert [view.metadata(i) for i in range(len(view))] == [d.metadata for d in kept]
    stream = np.concatenate([d.ids for d in kept])
    assert view.num_tokens == stream.size
    assert view.token_offsets.tolist() == np.cumsum([0, *map(len, kept)]).tolist()
    rng = np.random.default_rng(1)
    for start, stop in np.sort(rng.integers(0, stream.size + 1, (30, 2))).tolist():
        assert np.array_equal(view.read_tokens(start, stop), stream[start:stop])


@pytest.mark.parametrize(
    "packing", [Packing(), Packing("best_fit", "reset"), Packing("next_fit")], ids=lambda packing: packing.kind
)
def test_batches_of_one_side_hold_no_utterance_of_the_other(dataset, packing):
    seen = []
    for side in SIDES:
        datasets = open_root(dataset.path.parent, holdout=side)
        loader = BatchLoader(
            datasets, Mixture.constant("m", {"a": 1}), seq_len=24, batch_size=4, seed=5, packing=packing
        )
        names = [name for step in range(20) for origin in loader.describe(step) for name in origin.documents]
        seen.append({name.partition(":")[0] for name in names})
    assert seen[0].isdisjoint(seen[1])
    assert all(holdout(base_id, FRACTION) for base_id in seen[1])
    assert not any(holdout(base_id, FRACTION) for base_id in seen[0])


def test_another_dataset_of_the_same_utterances_falls_the_same_way(tmp_path, dataset, write_dataset):
    other = write_dataset(tmp_path / "b", both_orders(40, seed=9)[::-1], documents_per_shard=11)
    for side in SIDES:
        found = [TokenDataset.open(each.path, holdout=side) for each in (dataset, other)]
        assert len({frozenset(d.metadata["id"] for d in view) for view in found}) == 1


def test_documents_are_called_by_their_id_where_they_have_no_other_name(tmp_path, make_documents, write_dataset):
    documents = make_documents([3] * 20)
    path = write_dataset(tmp_path / "a", documents).path
    heldout = [d for d in documents if holdout(d.metadata["id"], FRACTION)]
    assert list(TokenDataset.open(path, holdout=SIDES[1])) == heldout


def test_documents_without_a_name_cannot_be_held_out(tmp_path, make_documents, write_dataset):
    nameless = Document(np.arange(3), None, {"text": "x"})
    path = write_dataset(tmp_path / "a", [*make_documents([3]), nameless]).path
    assert verify_dataset(path) == []
    with pytest.raises(InputError, match=r"shard-00000\.holdout\.npy` are missing.*neither `base_id` nor `id`"):
        TokenDataset.open(path, holdout=SIDES[0])
    with pytest.raises(InputError, match=r"`base_id` or `id`, by whose hash.*got \['text'\]; add one of them"):
        SIDES[0].keeps(nameless)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_share_is_a_share(fraction):
    with pytest.raises(InputError, match="`holdout`: expected a share of the utterances above 0 and below 1"):
        Holdout(fraction)


def test_keys_that_are_not_those_of_the_documents_are_found(tmp_path, make_documents, write_dataset):
    path = write_dataset(tmp_path / "a", make_documents([3, 4, 5])).path
    file = path / "shard-00000.holdout.npy"
    keys = np.load(file)
    keys[1] += 1
    np.save(file, keys)
    for change in ("keys", "gone"):
        with pytest.raises(InputError, match=r"holdout\.npy` cannot be read|cannot read `.*holdout\.npy`"):
            TokenDataset.open(path, holdout=SIDES[0])
        assert "holdout.npy` cannot be read" in verify_dataset(path)[0], change
        file.unlink(missing_ok=True)


def test_keys_of_an_older_version_are_compared_with_the_documents(tmp_path, make_documents, write_dataset):
    dataset = write_dataset(tmp_path / "a", make_documents([3, 4, 5]))
    path, file = dataset.path, dataset.path / "shard-00000.holdout.npy"
    older = dataclasses.replace(dataset.manifest.shards[0], holdout_sha256="")
    dataclasses.replace(dataset.manifest, shards=(older,)).write(path / "manifest.json")
    keys = np.load(file)
    keys[1] += 1
    np.save(file, keys)
    (problem,) = verify_dataset(path)
    assert "that of document 1 of the shard, 'doc-1', is another than its hash" in problem
    np.save(file, keys[:2])
    assert "holdout.npy`: expected 3 uint64, got uint64 of shape (2,)" in verify_dataset(path)[0]
    np.save(file, np.zeros(200))
    assert "expected 3 numbers, got 1,728 bytes" in verify_dataset(path)[0]
    file.write_bytes(b"")
    with pytest.raises(InputError, match=r"holdout\.npy` cannot be read"):
        TokenDataset.open(path, holdout=SIDES[0])


def test_damage_is_left_out_of_the_side_in_which_it_lies(tmp_path, documents, write_dataset):
    path = write_dataset(tmp_path / "a", documents, documents_per_shard=7).path
    file = path / "shard-00002.arrayrecord"
    content = bytearray(file.read_bytes())
    content[content.index(b"ATOK") + 17] ^= 1
    file.write_bytes(bytes(content))
    (lost,) = quarantine_damage(path, 1)[0].documents
    base_id = documents[lost].metadata["base_id"]
    sides = [TokenDataset.open(path, holdout=side, max_quarantined=1) for side in SIDES]
    hit, spared = reversed(sides) if holdout(base_id, FRACTION) else sides
    assert spared.quarantined.tolist() == []
    kept = [d for d in documents if holdout(d.metadata["base_id"], FRACTION) == hit.holdout.heldout]
    assert [kept[i] for i in hit.quarantined] == [documents[lost]]


@pytest.mark.parametrize("side", [None, *SIDES])
def test_a_dataset_goes_to_another_process(dataset, side):
    opened = TokenDataset.open(dataset.path, holdout=side)
    assert list(pickle.loads(pickle.dumps(opened))) == list(opened)


def test_a_side_is_written_down(tmp_path):
    assert json.loads(json.dumps(SIDES[1].to_json())) == {"fraction": FRACTION, "heldout": True}
