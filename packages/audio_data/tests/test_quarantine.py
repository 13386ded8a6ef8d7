import dataclasses
import json

import numpy as np
import pytest

from audio_data import (
    BatchLoader,
    DatasetWriter,
    InputError,
    Mixture,
    Packing,
    Quarantine,
    TokenDataset,
    open_root,
    quarantine_damage,
    verify_dataset,
    write_sealed_json,
)
from audio_data.json_files import SEAL
from audio_data.quarantine import parse_budget

LENGTHS = [30, 11, 0, 45, 12, 3, 26, 9]


@pytest.fixture
def folder(tmp_path, make_documents, write_dataset):
    return write_dataset(tmp_path / "a", make_documents(LENGTHS), documents_per_shard=3, tokens_per_record=16).path


def damage(folder, shard, mark=0):
    """Flips one bit of a record of a shard: the `mark`-th by number."""
    file = folder / f"shard-{shard:05d}.arrayrecord"
    content = bytearray(file.read_bytes())
    position = -1
    for _ in range(mark + 1):
        position = content.index(b"ATOK", position + 1)
    content[position + 17] ^= 4
    file.write_bytes(bytes(content))


@pytest.mark.parametrize(("text", "budget"), [("0", 0), ("12", 12), ("0.5%", 0.005), ("100%", 1.0)])
def test_budgets_are_numbers_or_shares(text, budget):
    assert parse_budget(text) == budget
    assert type(parse_budget(text)) is type(budget)


@pytest.mark.parametrize("text", ["-1", "0.5", "101%", "-1%", "many", "nan%"])
def test_other_budgets_are_refused(text):
    with pytest.raises(InputError, match="budget: expected"):
        parse_budget(text)


def test_a_quarantine_is_off_unless_told_otherwise():
    with pytest.raises(InputError, match=r"^it is broken$"):
        Quarantine(None).add("x", "it is broken")


def test_a_share_is_of_all_documents():
    quarantine = Quarantine(0.25)
    for name in "ab":
        quarantine.add(name, f"{name} is broken")
    quarantine.check(8)
    with pytest.raises(InputError, match="at most 1 unusable documents, got 2, first a is broken; b is broken"):
        quarantine.check(7)


@pytest.mark.parametrize("crash_at", [None, 4])
def test_a_writer_counts_and_lists_what_was_left_out(tmp_path, vocabulary, make_documents, crash_at):
    def write(path, crash_at):
        quarantine = Quarantine(0.5)
        settings = {"corpus": "x", "vocabulary": vocabulary, "provenance": {}, "documents_per_shard": 2}
        with DatasetWriter(path, **settings, quarantine=quarantine) as writer:
            for i, document in enumerate(make_documents(LENGTHS)):
                if i == crash_at:
                    raise KeyboardInterrupt
                if i % 3 == 1:
                    quarantine.add(f"document {i}", "odd")
                else:
                    writer.write(document)

    write(tmp_path / "whole", None)
    if crash_at:
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "resumed", crash_at)
    write(tmp_path / "resumed", None)
    assert TokenDataset.open(tmp_path / "whole").manifest.num_quarantined == 3
    listed = [json.loads(line) for line in (tmp_path / "whole" / "quarantine.jsonl").read_text().splitlines()]
    assert listed == [{"document": f"document {i}", "reason": "odd"} for i in (1, 4, 7)]
    contents = [{f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in ("whole", "resumed")]
    assert contents[0] == contents[1]


def test_a_writer_over_budget_makes_no_dataset(tmp_path, vocabulary, make_documents):
    quarantine = Quarantine(0.1)
    writer = DatasetWriter(
        tmp_path, corpus="x", vocabulary=vocabulary, provenance={}, quarantine=quarantine
    ).__enter__()
    writer.write(make_documents([3])[0])
    quarantine.add("y", "broken")
    with pytest.raises(InputError, match="at most 0 unusable documents, got 1"):
        writer.__exit__(None, None, None)
    with pytest.raises(InputError, match="unfinished"):
        TokenDataset.open(tmp_path)


def test_damage_is_listed_by_document_and_the_list_goes_when_it_is_repaired(folder):
    file = folder / "shard-00001.arrayrecord"
    whole = file.read_bytes()
    damage(folder, 1, mark=1)
    found, beyond = quarantine_damage(folder, 1)
    assert list(found.documents) == [3]
    assert "shard-00001.arrayrecord`, record 1 (document 0 of the shard)" in found.documents[3]
    assert beyond == []
    assert list(TokenDataset.open(folder, max_quarantined=1).quarantined) == [3]
    assert list(TokenDataset.open(folder).quarantined) == []
    with pytest.raises(InputError, match="at most 0 unusable documents, got 1"):
        TokenDataset.open(folder, max_quarantined=0)
    file.write_bytes(whole)
    assert quarantine_damage(folder, 0)[0].documents == {}
    assert not (folder / "damaged.json").exists()
    assert verify_dataset(folder) == []


def test_more_damage_than_the_budget_is_no_list(folder):
    damage(folder, 0)
    damage(folder, 1)
    with pytest.raises(InputError, match="at most 1 unusable documents, got 2"):
        quarantine_damage(folder, 1)
    assert not (folder / "damaged.json").exists()


def test_a_missing_shard_can_be_left_out_but_not_its_index(folder):
    (folder / "shard-00002.arrayrecord").unlink()
    assert list(quarantine_damage(folder, 2)[0].documents) == [6, 7]
    assert len(TokenDataset.open(folder, max_quarantined=0.25)) == len(LENGTHS)
    with pytest.raises(InputError, match="is missing, though the manifest lists it"):
        TokenDataset.open(folder)
    (folder / "shard-00001.offsets.npy").unlink()
    damaged, beyond = quarantine_damage(folder, 2)
    assert list(damaged.documents) == [6, 7]
    assert "shard-00001.offsets.npy` cannot be read" in beyond[0]


def test_a_list_of_another_dataset_goes_or_is_refused(folder, make_documents, write_dataset):
    damage(folder, 0)
    quarantine_damage(folder, 1)
    before = (folder / "damaged.json").read_bytes()
    write_dataset(folder, make_documents([5] * len(LENGTHS)), overwrite=True)
    assert not (folder / "damaged.json").exists()
    (folder / "damaged.json").write_bytes(before)
    with pytest.raises(InputError, match="the dataset was rebuilt since"):
        TokenDataset.open(folder, max_quarantined=1)
    (folder / "damaged.json").write_text("{")
    with pytest.raises(InputError, match=r"damaged\.json`: expected JSON .*; run `audio-data verify"):
        TokenDataset.open(folder, max_quarantined=1)


@pytest.mark.parametrize("number", ["8", "-1", "first", "\u0661", "\u00b2", ""])
def test_a_list_names_documents_by_their_numbers(folder, number):
    """Eight documents; digits of other scripts are no numbers here."""
    damage(folder, 0)
    quarantine_damage(folder, 1)
    file = folder / "damaged.json"
    listing = json.loads(file.read_text())
    listing.pop(SEAL)
    write_sealed_json(file, listing | {"documents": listing["documents"] | {number: "broken"}})
    with pytest.raises(InputError, match=r"`documents`: expected numbers below 8, got"):
        TokenDataset.open(folder, max_quarantined=1.0)


@pytest.mark.parametrize(
    "packing", [Packing(), Packing("best_fit", "reset"), Packing("next_fit")], ids=lambda packing: packing.kind
)
def test_rows_of_damaged_documents_are_padding_and_all_others_what_they_were(folder, packing):
    def load(**options):
        settings = {"seq_len": 24, "batch_size": 4, "seed": 5, "packing": packing}
        return BatchLoader(open_root(folder.parent, **options), Mixture.constant("m", {"a": 1}), **settings)

    steps = range(4)
    sound = load()
    before, origins = [sound.batch(step) for step in steps], [sound.describe(step) for step in steps]
    assert sound.quarantined_rows == {"a": 0}
    damage(folder, 1, mark=1)
    quarantine_damage(folder, 1)
    loader = load(max_quarantined=1)
    lost = {origin.index for step in steps for origin in origins[step] if "doc-3" in origin.documents}
    assert loader.quarantined_rows == {"a": len(lost)}
    assert lost
    for step in steps:
        after = loader.batch(step)
        for row, origin in enumerate(origins[step]):
            if origin.index in lost:
                assert not any(getattr(after, name)[row].any() for name in ("tokens", "segment_ids", "loss_mask"))
                assert "3" in loader.describe(step)[row].documents
            else:
                assert loader.describe(step)[row] == origin
                for field in dataclasses.fields(after):
                    assert np.array_equal(getattr(after, field.name)[row], getattr(before[step], field.name)[row])
    with pytest.raises(InputError, match=r"record 1 \(document 0 of the shard\) cannot be read"):
        [load().batch(step) for step in steps]
