"""Recordings that are replaced in place: codes of others never pass for theirs."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_data import InputError
from audio_tokenize.corpora import AbstractCorpus, open_corpus
from audio_tokenize.encoding.encoded import INPUTS_NAME, EncodedCorpus
from audio_tokenize.encoding.jobs import encode_corpus


def _record(path: Path, seed: int, seconds: float = 1.0) -> None:
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.9, 0.9, round(8000 * seconds)), 8000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "speech"
    folder.mkdir()
    for i in range(4):
        _record(folder / f"r{i}.wav", i)
        (folder / f"r{i}.txt").write_text(f"words {i}")
    return folder


def _replace(path: Path, *, keep_time: bool = False) -> None:
    """Puts another recording of equal size in the place of one."""
    before = path.stat()
    _record(path, 99)
    assert path.stat().st_size == before.st_size
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))


def test_a_replaced_recording_is_not_already_encoded(folder, codec, tmp_path):
    first = encode_corpus(open_corpus(folder), codec, tmp_path / "codes")
    assert encode_corpus(open_corpus(folder), codec, tmp_path / "codes") == first
    _replace(folder / "r2.wav")
    with pytest.raises(InputError, match=r"got others of the same names and sizes in shard '00000000-256'"):
        encode_corpus(open_corpus(folder), codec, tmp_path / "codes")


def test_a_time_stamp_that_was_kept_is_looked_behind_on_demand(folder, codec, tmp_path):
    encode_corpus(open_corpus(folder), codec, tmp_path / "codes")
    encode_corpus(open_corpus(folder), codec, tmp_path / "codes", verify_inputs=True)
    _replace(folder / "r2.wav", keep_time=True)
    with pytest.raises(InputError, match="got others of the same names and sizes"):
        encode_corpus(open_corpus(folder), codec, tmp_path / "codes", verify_inputs=True)


def test_a_copied_corpus_goes_on(folder, codec, tmp_path):
    encode_corpus(open_corpus(folder), codec, tmp_path / "codes", utterances_per_shard=2, shard=(0, 2))
    (tmp_path / "copied").mkdir()
    copy = tmp_path / "copied" / "speech"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    manifest = encode_corpus(open_corpus(copy), codec, tmp_path / "codes", utterances_per_shard=2)
    assert manifest is not None
    assert manifest.num_utterances == 4


def test_a_shard_in_the_making_is_made_of_what_is_there_now(folder, codec, tmp_path, monkeypatch):
    from audio_tokenize.encoding import clips
    from audio_tokenize.waveform import load_audio

    def stop_at_the_last(source, *arguments):
        if source.name == "r3.wav":
            raise KeyboardInterrupt
        return load_audio(source, *arguments)

    monkeypatch.setattr(clips, "load_audio", stop_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        encode_corpus(open_corpus(folder), codec, tmp_path / "codes", seconds_per_chunk=0.1)
    monkeypatch.undo()
    assert list((tmp_path / "codes").glob("*.part-*"))
    _replace(folder / "r0.wav")
    encode_corpus(open_corpus(folder), codec, tmp_path / "codes")
    encode_corpus(open_corpus(folder), codec, tmp_path / "anew")
    found, wanted = (list(EncodedCorpus.open(tmp_path / name)) for name in ("codes", "anew"))
    assert [u.codes.tolist() for u in found] == [u.codes.tolist() for u in wanted]


def test_folders_of_earlier_versions_go_on(folder, codec, tmp_path):
    first = encode_corpus(open_corpus(folder), codec, tmp_path / "codes")
    (tmp_path / "codes" / INPUTS_NAME).unlink()
    assert encode_corpus(open_corpus(folder), codec, tmp_path / "codes") == first
    _replace(folder / "r1.wav")
    with pytest.raises(InputError, match="got others of the same names and sizes"):
        encode_corpus(open_corpus(folder), codec, tmp_path / "codes")


@pytest.mark.parametrize(
    "content", ["", "{", '{"00000000-256": 3}', '{"00000000-256": {"modified": "", "content": 1}}']
)
def test_a_damaged_record_says_what_to_do(folder, codec, tmp_path, content):
    encode_corpus(open_corpus(folder), codec, tmp_path / "codes")
    (tmp_path / "codes" / INPUTS_NAME).write_text(content)
    with pytest.raises(InputError, match=rf"{INPUTS_NAME}.*: delete|{INPUTS_NAME}.*delete `.*{INPUTS_NAME}`"):
        encode_corpus(open_corpus(folder), codec, tmp_path / "codes")


def test_a_change_anywhere_in_a_short_recording_shows(folder, codec, tmp_path):
    """Of files up to 256 KiB every byte is in the sample."""
    encode_corpus(open_corpus(folder), codec, tmp_path / "codes")
    content = bytearray((folder / "r3.wav").read_bytes())
    content[9_001] ^= 1
    (folder / "r3.wav").write_bytes(content)
    with pytest.raises(InputError, match="got others of the same names and sizes"):
        encode_corpus(open_corpus(folder), codec, tmp_path / "codes", verify_inputs=True)


def test_published_tables_are_looked_at_as_files(folder, tmp_path):
    """A table of equal size in the place of another is one of the files of its shard."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = [{"bytes": (folder / f"r{i}.wav").read_bytes(), "path": None} for i in range(2)]
    (tmp_path / "tables").mkdir()
    pq.write_table(pa.table({"audio": cells, "text": ["a", "b"]}), tmp_path / "tables" / "0.parquet")
    corpus: AbstractCorpus = open_corpus(tmp_path / "tables")
    [shard] = corpus.shards()
    assert corpus.input_files(shard) == (tmp_path / "tables" / "0.parquet",)
