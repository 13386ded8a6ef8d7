"""What a codec keeps of recordings, by transcribers and codecs whose errors are known."""

from collections.abc import Sequence

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from audio_eval import CodecCheck, Estimate, Unavailable, check_codec, find_speaker_encoder, find_transcriber
from audio_eval.cli import main
from audio_eval.codec_check import voice_gap
from audio_tokenize import AbstractCodec, CodecSpec, load_audio, load_codec, open_corpus

NONE = Unavailable("none here")


class Loudness:
    """Writes one word a tenth of a second: `loud` or `quiet`."""

    language, model_id = "en", "loudness"

    def transcribe(self, clips: Sequence[np.ndarray], sample_rate_hz: int) -> list[str]:
        size = sample_rate_hz // 10
        whole = (clip[: len(clip) // size * size].reshape(-1, size) for clip in clips)
        return [" ".join("loud" if np.abs(part).max() > 0.05 else "quiet" for part in parts) for parts in whole]


class Levels(AbstractCodec):
    """A codec of 256 levels, one for each of the eight samples of a frame, that keeps a share of the amplitude."""

    share: float
    codec_id: str = "levels"
    sample_rate_hz: int = 24_000
    samples_per_frame: int = 8
    num_codebooks: int = 8
    codebook_size: int = 256
    attention_window_frames: int | None = None

    def encode_batch(self, signals):
        padded = (np.pad(signal, (0, -len(signal) % 8)).reshape(-1, 8) for signal in signals)
        return [np.round(self.share * frames * 127 + 128).astype(np.int32) for frames in padded]

    def encoder_stream(self):
        raise NotImplementedError

    def decoder_stream(self):
        raise NotImplementedError

    def codebook_vectors(self):
        return np.zeros((8, 256, 1), np.float32)

    def decode(self, codes):
        return ((codes.reshape(-1) - 128) / 127).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """Four recordings of a second, loud in their first half, with a transcript that says so."""
    half = np.sin(np.arange(12_000) * 0.1)
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", np.concatenate([half * 0.5, half * 0.01]), 24_000)
        (tmp_path / f"{number}.txt").write_text("loud " * 5 + "quiet " * 5)
    return tmp_path


@pytest.mark.parametrize(("share", "wer", "verdict"), [(1.0, 0.0, "kept"), (0.01, 0.5, "garbled")])
def test_words_that_the_codec_loses_are_counted(folder, share: float, wer: float, verdict: str):
    found = check_codec(open_corpus(folder), Levels(share=share), Loudness(), NONE, normalizer="soda")
    assert found.wer_original is not None
    assert found.wer_reconstructed is not None
    assert (found.wer_original.value, found.wer_reconstructed.value) == (0.0, pytest.approx(wer))
    assert (found.verdict(), found.verdict(0.6)) == (verdict, "kept")
    assert (found.num_utterances, found.seconds) == (4, pytest.approx(4.0))
    for path in folder.glob("*.txt"):
        path.unlink()
    untold = check_codec(open_corpus(folder), Levels(share=share), Loudness(), NONE, normalizer="soda")
    assert untold.wer_original is None
    assert untold.wer_reconstructed is not None
    assert untold.wer_reconstructed.value == pytest.approx(wer)


def test_nothing_is_concluded_from_a_transcriber_that_does_not_understand(folder):
    for path in folder.glob("*.txt"):
        path.write_text("other words " * 5)
    found = check_codec(open_corpus(folder), Levels(share=0.01), Loudness(), NONE, normalizer="soda")
    assert found.verdict() == "unknown"
    without = check_codec(open_corpus(folder), Levels(share=0.01), NONE, NONE)
    assert (without.verdict(), without.transcriber, without.similarity) == ("unknown", "none here", None)
    assert "none here" in "\n".join(without.lines())


def test_two_voices_under_one_name_are_told_apart():
    encoder = find_speaker_encoder()
    assert not isinstance(encoder, Unavailable)
    voices = {}
    for speaker in ("slt", "rms", "kal16"):
        chosen = open_corpus("sample").select(split="train", speaker=speaker).utterances[:12]
        clips = [load_audio(u.audio, 16_000, u.start_seconds, u.end_seconds) for u in chosen]
        voices[speaker] = np.stack(encoder.embed(clips, 16_000))
    assert all(voice_gap(one) < 0.3 for one in voices.values())
    for one, other in (("slt", "rms"), ("slt", "kal16"), ("rms", "kal16")):
        assert voice_gap(np.concatenate([voices[one], voices[other][:5]])) > 0.3


def test_the_command_warns_of_two_voices_and_ends_where_words_are_lost(tmp_path, monkeypatch):
    for speaker in ("slt", "rms"):
        for utterance in open_corpus("sample").select(split="heldout", speaker=speaker).utterances[:8]:
            samples = load_audio(utterance.audio, 24_000, utterance.start_seconds, utterance.end_seconds)
            soundfile.write(tmp_path / f"{utterance.id}.wav", samples, 24_000)
            (tmp_path / f"{utterance.id}.txt").write_text(utterance.text)
    words = ["check-codec", str(tmp_path), "--transcriber", "embedded", "--utterances", "16"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "verdict: kept" in result.output
    assert "speaker 'unknown' sound like two voices" in result.output
    codec, transcriber = load_codec(CodecSpec("embedded")), find_transcriber("embedded")
    found = check_codec(open_corpus(tmp_path), codec, transcriber, NONE, num_utterances=16)
    assert found.wer_reconstructed is not None
    assert f"{found.wer_reconstructed.value:.3f} on reconstructions" in result.output

    def garbled(self: CodecCheck, max_increase: float = 0.25) -> str:
        del self, max_increase
        return "garbled"

    monkeypatch.setattr(CodecCheck, "verdict", garbled)
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "codec 'embedded' garbles these recordings" in result.output


def test_the_json_has_the_verdict():
    found = CodecCheck(1, 2.0, "t", True, Estimate(0.1, None, None, 1), Estimate(0.2, None, None, 1), None, ())
    assert found.to_json()["verdict"] == "kept"
    assert found.to_json()["wer_original"]["value"] == 0.1
