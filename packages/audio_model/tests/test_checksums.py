import hashlib
import json

import equinox as eqx
import numpy as np
import pytest
import xxhash

from audio_model import InputError, checksums, find_damage, load_model, read_checksums, save_model, write_checksums


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files of no block, of one, of exactly two and of two and a half."""
    monkeypatch.setattr(checksums, "BLOCK_BYTES", 1 << 12)
    (tmp_path / "inner").mkdir()
    rng = np.random.default_rng(0)
    for name, size in {"empty": 0, "small": 10, "inner/two": 1 << 13, "inner/more": (1 << 13) + (1 << 11)}.items():
        (tmp_path / name).write_bytes(rng.bytes(size))
    write_checksums(tmp_path)
    return tmp_path


def test_the_list_is_what_xxhash_says(folder):
    listed = read_checksums(folder)
    assert set(listed) == {"empty", "small", "inner/two", "inner/more"}
    for name, checksum in listed.items():
        content = (folder / name).read_bytes()
        blocks = [content[at : at + (1 << 12)] for at in range(0, max(1, len(content)), 1 << 12)]
        assert checksum.bytes == len(content)
        assert checksum.algorithm == "xxh3_128"
        assert list(checksum.blocks) == [xxhash.xxh3_128_hexdigest(block) for block in blocks]
    # The published hash of nothing.
    assert listed["empty"].blocks == ("99aa06d3014798d86001c324468d497f",)
    assert find_damage(folder) is None


def test_a_list_of_an_older_version_is_compared_too(folder):
    files = {}
    for name in read_checksums(folder):
        content = (folder / name).read_bytes()
        blocks = [content[at : at + (1 << 12)] for at in range(0, max(1, len(content)), 1 << 12)]
        files[name] = {"bytes": len(content), "sha256": [hashlib.sha256(block).hexdigest() for block in blocks]}
    (folder / "checksums.json").write_text(json.dumps({"block_bytes": 1 << 12, "files": files}))
    assert find_damage(folder) is None
    (folder / "small").write_bytes(bytes(10))
    assert find_damage(folder) == "`small` holds other bytes than were written, from byte 0 on"


def test_a_list_that_lacks_a_block_is_damage(folder):
    listing = json.loads((folder / "checksums.json").read_text())
    listing["files"]["inner/more"]["xxh3_128"].pop()
    del listing["files_xxh3_128"]
    (folder / "checksums.json").write_text(json.dumps(listing))
    assert find_damage(folder) == f"`inner/more` holds other bytes than were written, from byte {1 << 13} on"


@pytest.mark.parametrize("name", ["small", "inner/two", "inner/more"])
def test_every_flipped_bit_cut_and_removal_is_found(folder, name):
    path = folder / name
    content = path.read_bytes()
    for at in {0, len(content) // 2, len(content) - 1}:
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        start = at // (1 << 12) * (1 << 12)
        assert find_damage(folder) == f"`{name}` holds other bytes than were written, from byte {start} on"
    path.write_bytes(content[:-1])
    assert find_damage(folder) == f"`{name}` has {len(content) - 1} bytes, not {len(content)}"
    path.unlink()
    assert find_damage(folder) == f"`{name}` is missing"
    path.write_bytes(content)
    assert find_damage(folder) is None


def test_processes_divide_the_files(folder):
    (folder / "small").write_bytes(b"0123456789")
    found = [find_damage(folder, (index, 3)) for index in range(3)]
    assert [damage for damage in found if damage] == [find_damage(folder)]


def test_files_that_are_not_listed(folder):
    (folder / "notes.txt").write_text("mine")
    assert find_damage(folder) == "`notes.txt` was not written with it"
    assert find_damage(folder, allow_others=True) is None


def test_a_digit_of_the_list_is_damage_of_the_list(folder):
    content = (folder / "checksums.json").read_text()
    (folder / "checksums.json").write_text(content.replace("99aa06d3014798d86001c324468d497f", "9" * 32))
    assert "checksums.json` must list sizes and checksums" in (find_damage(folder) or "")


def test_every_flipped_bit_of_the_list_is_damage(folder):
    """Its keys included: a list with another key for its own checksum is not one of an older version."""
    path = folder / "checksums.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        if json_or_none(path.read_bytes()) != json.loads(whole):
            assert find_damage(folder) is not None, place


def json_or_none(content):
    try:
        return json.loads(content)
    except ValueError:
        return None


@pytest.mark.parametrize(
    "change",
    [
        {"block_bytes": 1},
        {"files": []},
        {"files": {"small": {"bytes": 10}}},
        {"files": {"small": {"bytes": True, "xxh3_128": []}}},
        {"files": {"small": {"bytes": 10, "xxh3_128": [1]}}},
    ],
)
def test_a_damaged_list_is_damage(folder, change):
    listing = json.loads((folder / "checksums.json").read_text())
    (folder / "checksums.json").write_text(json.dumps({**listing, **change}))
    assert "checksums.json` must list sizes and checksums" in (find_damage(folder) or "")
    (folder / "checksums.json").unlink()
    assert find_damage(folder) == "the list `checksums.json` is missing"


def test_a_model_that_is_not_as_it_was_written_is_refused(tiny, tmp_path):
    save_model(tmp_path, tiny)
    write_checksums(tmp_path)
    (tmp_path / "README.md").write_text("notes beside a model are no damage")
    assert eqx.tree_equal(load_model(tmp_path), tiny)
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-3] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match=r"`model\.safetensors` holds other bytes .* or, if you changed it on purpose"):
        load_model(tmp_path)
    (tmp_path / "checksums.json").unlink()
    assert not eqx.tree_equal(load_model(tmp_path), tiny)
