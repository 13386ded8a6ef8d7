from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_data import InputError
from audio_tokenize import codecs
from audio_tokenize.datasets import build_dataset
from audio_tokenize.encoded import EncodedCorpus
from audio_tokenize.jobs import encode_corpus
from audio_tokenize.playback import decode_excerpt, describe_excerpt, read_excerpt, write_wav
from audio_tokenize.vocabularies import VocabularyFolder


@pytest.fixture(scope="module")
def sources(tmp_path_factory, corpus, codec) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    encode_corpus(corpus, codec, root / "codes", codec_name="tiny")
    VocabularyFolder.train([EncodedCorpus.open(root / "codes")], codec).save(root / "data" / "vocabulary")
    build_dataset(root / "codes", root / "data" / "vocabulary", root / "data" / "asr", grouping="recording")
    np.save(root / "codes.npy", EncodedCorpus.open(root / "codes")[2].codes)
    return {"codes": root / "codes", "dataset": root / "data" / "asr", "file": root / "codes.npy"}


@pytest.fixture(autouse=True)
def _tiny_is_a_codec(monkeypatch, codec):
    monkeypatch.setattr(codecs, "load_codec", {"tiny": codec, "embedded": codec}.__getitem__)


def test_every_source_gives_the_same_sound(sources, codec):
    utterances = list(EncodedCorpus.open(sources["codes"]))
    alone = [codec.decode(u.codes.astype(np.int32)) for u in utterances]
    for excerpt, expected in (
        (read_excerpt(sources["codes"], 2), alone[2]),
        (read_excerpt(sources["file"]), alone[2]),
        (read_excerpt(sources["dataset"], 0), np.concatenate(alone[:3])),
    ):
        samples, sample_rate_hz = decode_excerpt(excerpt)
        assert sample_rate_hz == 8000
        assert np.array_equal(samples, expected)


def test_a_wav_file_holds_the_sound(tmp_path: Path):
    write_wav(tmp_path / "x.wav", np.array([0.5, -2.0, 2.0], np.float32), 24000)
    samples, sample_rate_hz = soundfile.read(tmp_path / "x.wav")
    assert sample_rate_hz == 24000
    assert samples == pytest.approx([0.5, -1, 1], abs=1e-4)
    with pytest.raises(InputError, match=r"`out` must end in `\.wav`, got 'x\.mp3'"):
        write_wav(tmp_path / "x.mp3", samples.astype(np.float32), 24000)


def test_a_description_says_what_is_heard(sources):
    description = describe_excerpt(read_excerpt(sources["dataset"], 1))
    assert description["speaker"] == "bob"
    assert [s["text"] for s in description["segments"]] == [f"open the {c} door" for c in ("red", "blue", "green")]
    assert [s["num_frames"] for s in description["segments"]] == [10, 10, 10]


def test_wrong_sources_are_refused(tmp_path: Path, sources):
    with pytest.raises(InputError, match="must be a folder of codes, a token dataset or"):
        read_excerpt(tmp_path)
    with pytest.raises(InputError, match=r"`index` into .* must be in 0\.\.6, got 7"):
        read_excerpt(sources["codes"], 7)
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"must hold integers \[frames, codebooks\], got float64 \(3,\)"):
        read_excerpt(tmp_path / "x.npy")
    (tmp_path / "y.npy").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot be read"):
        read_excerpt(tmp_path / "y.npy")


def test_codes_of_a_codec_that_has_changed_are_not_decoded(sources, monkeypatch):
    excerpt = read_excerpt(sources["codes"])
    object.__setattr__(excerpt, "codec_id", "tiny-v0")
    with pytest.raises(InputError, match="of codec 'tiny-v0', but 'tiny' now is 'tiny-v1'"):
        decode_excerpt(excerpt)
