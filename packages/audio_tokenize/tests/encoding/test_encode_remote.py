"""Codes in an object store: the same as on a disk, and resumable there."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from audio_data import InputError, make_folder, storage_path
from audio_tokenize.codecs.base import AbstractCodec
from audio_tokenize.corpora import Corpus, open_corpus
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.jobs import encode_corpus
from audio_tokenize.encoding.shard_files import Chunk, EncodedShardFiles
from audio_tokenize.inspection.excerpts import read_excerpt


@pytest.fixture(params=["memory", "s3"])
def store(request, tmp_path: Path, monkeypatch) -> str:
    """The URL of an empty folder; downloads go to a cache of the test's own."""
    monkeypatch.setenv("AUDIO_DATA_CACHE", str(tmp_path / "cache"))
    if request.param == "memory":
        return f"memory://{uuid.uuid4()}/codes"
    return request.getfixturevalue("s3_folder")


@pytest.fixture(scope="session")
def s3_server():
    """An S3 server on this machine."""
    pytest.importorskip("s3fs", reason="the client of S3 is the extra `s3`")
    server_of = pytest.importorskip("moto.server", reason="the test server of S3 is moto[server]")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_folder(s3_server, monkeypatch) -> str:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = f"bucket-{uuid.uuid4()}"
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}/codes"


class Stopped(AbstractCodec):
    """A codec that stops the job after some clips."""

    codec: AbstractCodec
    left: list[int]
    codec_id: str = "tiny-v1"
    sample_rate_hz: int = 8000
    samples_per_frame: int = 640
    num_codebooks: int = 8
    codebook_size: int = 16
    attention_window_frames: int | None = None

    def encode_batch(self, signals):
        self.left[0] -= 1
        if self.left[0] < 0:
            raise KeyboardInterrupt
        return self.codec.encode_batch(signals)

    def encoder_stream(self):
        return self.codec.encoder_stream()

    def decoder_stream(self):
        return self.codec.decoder_stream()

    def codebook_vectors(self):
        return self.codec.codebook_vectors()


def test_a_store_holds_what_a_disk_would(store, tmp_path: Path, corpus: Corpus, codec):
    options = {"num_frame_offsets": 2, "utterances_per_shard": 4, "seconds_per_chunk": 0.1, "codec_name": "tiny"}
    stopped: Any = Stopped  # pyright takes the annotations of `AbstractCodec` for fields
    with pytest.raises(KeyboardInterrupt):
        encode_corpus(corpus, stopped(codec, [3]), store, **options)
    assert any("part-" in path.name for path in storage_path(store).iterdir()), "what was done is in the store"
    with pytest.raises(InputError, match="it is unfinished: run the same"):
        EncodedCorpus.open(store)
    manifest = encode_corpus(corpus, codec, store, **options)
    assert encode_corpus(corpus, codec, tmp_path / "disk", **options) == manifest
    opened = EncodedCorpus.open(store)
    assert [u.record_id for u in opened] == [u.record_id for u in EncodedCorpus.open(tmp_path / "disk")]
    assert opened[5].codes.tolist() == EncodedCorpus.open(tmp_path / "disk")[5].codes.tolist()
    assert {path.name: path.read_bytes() for path in storage_path(store).iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "disk").iterdir()
    }
    assert encode_corpus(corpus, codec, store, **options) == manifest


def test_two_jobs_at_one_shard_of_a_store_lose_nothing(store, tmp_path: Path, corpus: Corpus, codec):
    """A store has no locks: a job that another one overtakes must not take what is left of the parts for the shard."""
    folder = storage_path(store)
    files = EncodedShardFiles(folder, 0)
    encode_corpus(corpus, codec, tmp_path / "alone", utterances_per_shard=100)
    records = list(EncodedCorpus.open(tmp_path / "alone"))
    make_folder(folder)
    files.write_chunk(0, Chunk(records[:1], num_entries=1))
    files.remove_chunks()  # What a job does that ended meanwhile.
    with pytest.raises(InputError, match="must hold 2 entries of `a`, got 1: another process works on this shard"):
        files.finish(Chunk(records[1:2], num_entries=1), "a", 2)
    assert not files.is_done()
    whole = files.finish(Chunk(records, num_entries=len(records)), "a", len(records))
    assert files.finish(Chunk(records[1:2], num_entries=1), "a", 2) == whole


def test_a_store_that_cannot_be_reached_is_one_line(monkeypatch):
    s3fs = pytest.importorskip("s3fs", reason="the client of S3 is the extra `s3`")
    # Nobody listens on this port. Clients are remembered, with the place they were made for.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "MAX_ATTEMPTS"):
        monkeypatch.setenv(f"AWS_{name}", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        for touch in (
            lambda: open_corpus("yodas2", root="s3://bucket/data").shards(),
            lambda: open_corpus("parquet", root="s3://bucket/data"),
            lambda: read_excerpt("s3://bucket/data"),
        ):
            with pytest.raises(InputError, match=r"cannot read `s3://bucket/data` \(Could not connect.*check the cred"):
                touch()
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
