from pathlib import Path

import numpy as np
import pytest

from audio_data import InputError
from audio_tokenize.encoding.record_reader import RecordReader


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
