import dataclasses
import json
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from audio_data import InputError, from_json, read_json, to_json, write_records, write_sealed_json
from audio_tokenize.encoding.encoded import EncodedCorpus, EncodedShard, RecordReader, distinct, read_shard, write_shard
from audio_tokenize.encoding.jobs import encode_corpus
from audio_tokenize.encoding.records import EncodedUtterance, codes_uint16, decode_record, encode_record, read_records
from audio_tokenize.encoding.shard_files import Chunk, EncodedShardFiles

text = st.text(st.characters(exclude_categories=["Cs"]))
utterances = st.builds(
    EncodedUtterance,
    id=text,
    text=text,
    speaker=text,
    language=text,
    recording=text,
    split=text,
    seconds=st.floats(0, 1e6),
    frame_offset=st.integers(0, 3),
    num_frame_offsets=st.integers(1, 4),
    extra=st.dictionaries(text, st.none() | st.booleans() | st.integers() | text),
    codes=st.tuples(st.integers(0, 5), st.integers(1, 32)).flatmap(lambda shape: hnp.arrays(np.uint16, shape)),
)


def as_dict(utterance):
    return {**vars(utterance), "codes": utterance.codes.tolist()}


@given(utterances)
def test_a_record_comes_back(utterance):
    decoded = decode_record(encode_record(utterance))
    assert as_dict(decoded) == as_dict(utterance)
    assert decoded.codes.dtype == np.uint16
    assert decoded.codes.shape == utterance.codes.shape


def example(i: int, frame_offset: int = 0) -> EncodedUtterance:
    codes = np.full((3, 8), i, np.uint16)
    return EncodedUtterance(f"u{i}", "hello", "ann", "en", "r", "train", 0.2, frame_offset, 2, {}, codes)


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b"ACOD\x01\x08\0\0" + tail))
def test_any_bytes_are_a_record_or_refused(record):
    check_bytes(record)


@given(utterances, st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 7)), min_size=1, max_size=3))
def test_a_damaged_record_is_one_or_refused(utterance, flips):
    record = bytearray(encode_record(utterance))
    for place, bit in flips:
        record[place % len(record)] ^= 1 << bit
    check_bytes(bytes(record))


def check_bytes(record):
    try:
        found = decode_record(record)
    except InputError as error:
        message = error.message
        found = None
    if found is None:
        assert "record of codes" in message
        return
    # Two bytes of the record for each code, so that memory is bounded by the record.
    assert 2 * found.codes.size + 16 <= len(record)
    assert as_dict(decode_record(encode_record(found))) == as_dict(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": "1"}, r"wrong \['seconds'\]"),
        ({"frame_offset": True}, r"wrong \['frame_offset'\]"),
        ({"extra": []}, r"wrong \['extra'\]"),
        ({"id": None}, r"wrong \['id'\]"),
        ({"codes": 1}, r"wrong \['codes'\]"),
    ],
)
def test_metadata_of_other_kinds_is_refused(change, message):
    record = encode_record(example(1))
    metadata = json.dumps({**json.loads(record[16 + 48 :]), **change}).encode()
    damaged = record[:12] + len(metadata).to_bytes(4, "little") + record[16 : 16 + 48] + metadata
    with pytest.raises(InputError, match=message):
        decode_record(damaged)


def test_damaged_records_are_refused():
    record = encode_record(example(1))
    for damaged, message in [
        (record[:9], "expected at least 16 bytes, got 9"),
        (b"XXXX" + record[4:], "expected b'ACOD' of version 1, got b'XXXX'"),
        (record[:4] + b"\x02" + record[5:], "got b'ACOD' of 2"),
        (record[:-1], rf"expected {len(record)} bytes for 3 frames of 8 codes, got {len(record) - 1}"),
    ]:
        with pytest.raises(InputError, match=message):
            decode_record(damaged)


def test_a_shard_counts_what_it_holds(tmp_path: Path):
    path = tmp_path / "shard-00000.arrayrecord"
    records = [example(i, frame_offset) for i in range(3) for frame_offset in range(2)]
    counts = write_shard(path, records, [{"id": "bad", "reason": "silent"}])
    assert (counts.num_utterances, counts.num_records, counts.num_frames) == (3, 6, 18)
    assert counts.num_bytes == path.stat().st_size
    assert [as_dict(u) for u in read_shard(path, 6)] == [as_dict(u) for u in records]
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "nothing temporary stays"


def test_a_shard_says_what_computed_it_also_where_another_machine_went_on(tmp_path: Path):
    files = EncodedShardFiles(tmp_path, 0)
    here, there = {"device": "cpu", "lanes": 1}, {"device": "TPU v5e", "lanes": 16}
    for number, arithmetic in enumerate((there, there, here)):
        files.write_chunk(number, Chunk([example(number)], num_entries=1, arithmetic=arithmetic))
    counts = files.finish(Chunk([example(3)], num_entries=1, arithmetic=there), "a", 4)
    assert counts.arithmetic == (there, here)
    assert files.counts() == counts
    before = {name: value for name, value in dataclasses.asdict(counts).items() if name != "arithmetic"}
    assert from_json(EncodedShard, to_json(before), "shard") == dataclasses.replace(counts, arithmetic=())
    assert distinct([{}, here, there, dict(reversed(here.items()))]) == (here, there)


def test_damage_names_the_file(tmp_path: Path):
    path = tmp_path / "shard-00000.arrayrecord"
    write_shard(path, [example(i) for i in range(4)])
    content = path.read_bytes()
    flipped = bytes(byte ^ 0xFF if 150 <= i < 154 else byte for i, byte in enumerate(content))
    for damaged in (content[:-100], b"nonsense" * 1000, flipped):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"shard-00000\.arrayrecord` is damaged"):
            list(read_shard(path, 4))


def test_a_full_disk_is_reported_and_leaves_no_shard(tmp_path: Path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "shard-00000.arrayrecord"
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    try:
        codes = np.random.default_rng(0).integers(0, 1 << 16, (100, 8)).astype(np.uint16)
        with pytest.raises(InputError, match=r"cannot write `.*shard-00000\.arrayrecord` \(File too large\)"):
            write_shard(path, [dataclasses.replace(example(i), codes=codes) for i in range(100)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not path.exists()


def test_codes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"codes must be in 0\.\.65535, got -1\.\.5"):
        codes_uint16(np.array([[5, -1]]))


def test_what_is_no_folder_of_codes_is_refused(tmp_path: Path, corpus, codec):
    with pytest.raises(InputError, match="make them with `audio-tokenize encode`"):
        EncodedCorpus.open(tmp_path)
    encode_corpus(corpus, codec, tmp_path)
    shard = tmp_path / "shard-00000.arrayrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"shard-00000\.arrayrecord` must have \d+ bytes, got \d+"):
        EncodedCorpus.open(tmp_path)
    manifest = read_json(tmp_path / "codes.json", remedy="")
    write_sealed_json(tmp_path / "codes.json", {**manifest, "schema_version": 9})
    with pytest.raises(InputError, match=r"codes\.json`: `schema_version` must be 1, got 9; restore it, or delete"):
        EncodedCorpus.open(tmp_path)
    (tmp_path / "codes.json").unlink()
    with pytest.raises(InputError, match="it is unfinished: run the same `audio-tokenize encode` again"):
        EncodedCorpus.open(tmp_path)


def test_records_are_found_by_number(tmp_path: Path, corpus, codec):
    encode_corpus(corpus, codec, tmp_path, num_frame_offsets=2, utterances_per_shard=2)
    encoded = EncodedCorpus.open(tmp_path)
    in_order = list(encoded)
    assert len(encoded) == len(in_order) == 13
    assert [encoded[i].record_id for i in range(13)] == [u.record_id for u in in_order]
    for outside in (-1, 13):
        with pytest.raises(IndexError):
            encoded[outside]


FORMER_KEYS = {
    "frame_offset": "phase",
    "num_frame_offsets": "num_phases",
    "speed_perturbation": "speed_spread",
    "target_rms": "level",
}


def rewrite_as_before(folder: Path) -> None:
    """Gives a finished folder of codes the keys that earlier versions wrote."""

    def former(value):
        return {FORMER_KEYS.get(key, key): entry for key, entry in value.items()}

    def former_record(record: bytes) -> bytes:
        start = record.rindex(b'{"id":')
        metadata = json.dumps(former(json.loads(record[start:]))).encode()
        return record[:12] + len(metadata).to_bytes(4, "little") + record[16:start] + metadata

    manifest = former(read_json(folder / "codes.json", remedy=""))
    for shard in manifest["shards"]:
        records = list(read_records(folder / shard["name"], bytes))
        file = write_records(folder / shard["name"], map(former_record, records))
        shard |= {"num_bytes": file.num_bytes, "sha256": file.sha256}
        write_sealed_json((folder / shard["name"]).with_suffix(".json"), shard)
    write_sealed_json(folder / "codes.json", manifest)
    write_sealed_json(folder / "plan.json", former(read_json(folder / "plan.json", remedy="")))
    assert all(key in manifest for key in ("num_phases", "speed_spread", "level"))


def test_codes_with_the_former_keys_open_and_are_gone_on_with(tmp_path: Path, corpus, codec):
    asked = {"num_frame_offsets": 2, "speed_perturbation": 0.1, "target_rms": 0.1, "utterances_per_shard": 2}
    manifest = encode_corpus(corpus, codec, tmp_path, **asked)
    records = [as_dict(utterance) for utterance in EncodedCorpus.open(tmp_path)]
    rewrite_as_before(tmp_path)
    before = EncodedCorpus.open(tmp_path)
    assert [as_dict(utterance) for utterance in before] == records
    assert (before.manifest.num_frame_offsets, before.manifest.speed_perturbation) == (2, 0.1)
    assert before.manifest.target_rms == 0.1
    assert encode_corpus(corpus, codec, tmp_path, **asked) == before.manifest, "nothing is encoded again"
    for name in ("codes.json", "shard-00001.json", "shard-00001.arrayrecord"):
        (tmp_path / name).unlink()
    again = encode_corpus(corpus, codec, tmp_path, **asked)
    assert again.shards[1] == manifest.shards[1]
    assert [as_dict(utterance) for utterance in EncodedCorpus.open(tmp_path)] == records


def test_a_record_with_both_forms_of_a_key_is_refused():
    record = encode_record(example(1))
    metadata = json.dumps({**json.loads(record[16 + 48 :]), "phase": 0}).encode()
    both = record[:12] + len(metadata).to_bytes(4, "little") + record[16 : 16 + 48] + metadata
    with pytest.raises(InputError, match=r"wrong \['phase'\]"):
        decode_record(both)


def test_any_order_gives_what_lies_there(tmp_path: Path, write_codes, utterance):
    """There are more shards than are kept open."""
    utterances = [utterance(f"u{i}", f"text {i}") for i in range(41)]
    corpus = write_codes(tmp_path / "codes", utterances, utterances_per_shard=2)
    positions = np.random.default_rng(0).permutation(np.repeat(np.arange(41), 2)).tolist()
    with RecordReader(corpus) as reader:
        found = reader.read(positions)
    assert [one.text for one in found] == [f"text {position}" for position in positions]
    assert all(np.array_equal(one.codes, utterances[i].codes) for one, i in zip(found, positions, strict=True))


def test_a_damaged_shard_is_named(tmp_path: Path, write_codes, utterance):
    corpus = write_codes(tmp_path / "codes", [utterance("a"), utterance("b")], utterances_per_shard=1)
    shard = tmp_path / "codes" / "shard-00001.arrayrecord"
    shard.write_bytes(b"\0" * shard.stat().st_size)
    with RecordReader(corpus) as reader:
        assert reader.read([0])[0].id == "a"
        with pytest.raises(InputError, match=r"shard-00001.arrayrecord` is damaged .*: delete .* and encode again"):
            reader.read([1])
