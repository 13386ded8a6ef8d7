"""The shipped speech through the shipped codec, by the commands that a person types."""

from pathlib import Path

import numpy as np
import soundfile
from click.testing import CliRunner

from audio_data import TokenDataset
from audio_tokenize import EncodedCorpus, open_corpus
from audio_tokenize.cli import main
from audio_tokenize.waveform import load_audio


def run(*arguments: object) -> None:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def loudness(samples: np.ndarray) -> np.ndarray:
    """Log energy of every 40 ms."""
    whole = samples[: len(samples) // 960 * 960].reshape(-1, 960)
    return np.log(np.square(whole).mean(axis=1) + 1e-6)


def test_the_sample_is_encoded_laid_out_and_heard(tmp_path: Path):
    codes, data = tmp_path / "codes", tmp_path / "data"
    run("encode", "sample-multilingual", "--split", "heldout", "--out", codes)
    run("vocabulary", codes, "--out", data / "vocabulary", "--pieces", 200)
    run("build", codes, "--vocabulary", data / "vocabulary", "--out", data / "tts", "--layout", "text_first")
    heldout = open_corpus("sample-multilingual").select(split="heldout")
    dataset, encoded = TokenDataset.open(data / "tts"), EncodedCorpus.open(codes)
    assert len(dataset) == len(heldout) == encoded.manifest.num_records
    assert {d.metadata["language"] for d in dataset} == set(heldout.languages)
    assert encoded.manifest.num_frames == sum(-(-round(u.seconds * 24000) // 1920) for u in heldout)
    for index in (0, len(heldout) - 1):
        run("decode", data / "tts", "--index", index, "--out", tmp_path / "heard.wav")
        heard, sample_rate_hz = soundfile.read(tmp_path / "heard.wav", dtype="float32")
        utterance = heldout.utterances[index]
        said = load_audio(utterance.audio, 24000, utterance.start_seconds, utterance.end_seconds)
        assert sample_rate_hz == 24000
        assert len(heard) == -(-len(said) // 1920) * 1920
        before = loudness(said)
        assert np.corrcoef(before, loudness(heard)[: len(before)])[0, 1] > 0.8
