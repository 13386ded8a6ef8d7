"""Small vocabularies and datasets that the tests of this package share."""

import os
from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest

from audio_data import DatasetWriter, Document, StoragePath, TokenDataset, Vocabulary

# A busy machine must not fail a property.
hypothesis.settings.register_profile("audio_data", deadline=None)
hypothesis.settings.load_profile("audio_data")


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary.compact("small", 100, "test-codec", num_codebooks=4, codebook_size=16, text_tokenizer="none")


@pytest.fixture(scope="session")
def study_vocabulary() -> Vocabulary:
    return Vocabulary(
        name="marin-mimi",
        num_text=128_256,
        begin_of_text=128_000,
        end_of_text=128_001,
        text_start=128_256,
        text_end=128_257,
        audio_start=128_258,
        audio_end=128_259,
        audio_base=128_260,
        num_codebooks=8,
        codebook_size=2048,
        codec_id="mimi",
        text_tokenizer="llama3",
    )


@pytest.fixture(scope="session")
def make_documents(vocabulary):
    """Documents of given lengths with random ids; the last id of each ends the text."""

    def make(lengths, *, seed=0, masked=False, name="doc"):
        rng = np.random.default_rng(seed)
        documents = []
        for i, length in enumerate(lengths):
            ids = rng.integers(0, vocabulary.size, length).astype(np.int32)
            ids[ids == vocabulary.end_of_text] = 0
            ids[-1:] = vocabulary.end_of_text
            mask = rng.random(length) < 0.5 if masked else None
            documents.append(Document(ids, mask, {"id": f"{name}-{i}", "seconds": 0.5}))
        return documents

    return make


@pytest.fixture(scope="session")
def write_dataset(vocabulary):
    """Writes documents as a dataset and opens it."""

    def write(path: StoragePath, documents, **options) -> TokenDataset:
        settings = {"corpus": path.name, "vocabulary": vocabulary, "provenance": {"made": "by a test"}, **options}
        with DatasetWriter(path, **settings) as writer:
            for document in documents:
                writer.write(document)
        return TokenDataset.open(path)

    return write


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server on this machine; the environment leads clients to it."""
    pytest.importorskip("s3fs", reason="the client of S3 is the extra `s3`")
    server_of = pytest.importorskip("moto.server", reason="the test server of S3 is moto[server]")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield os.environ["AWS_ENDPOINT_URL"]
    server.stop()


@pytest.fixture
def s3_folder(s3_server, request) -> str:
    """The URL of an empty folder of a bucket."""
    import s3fs

    bucket = f"bucket-{abs(hash(request.node.nodeid))}"
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}/data"
