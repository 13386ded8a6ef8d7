import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest
import soundfile

from audio_tokenize.codecs.base import AbstractCodec, AbstractDecoderStream, AbstractEncoderStream
from audio_tokenize.corpora import Corpus, open_corpus

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# A busy machine must not fail a property.
hypothesis.settings.register_profile("audio_tokenize", deadline=None, max_examples=40)
hypothesis.settings.load_profile("audio_tokenize")


class _TinyEncoder(AbstractEncoderStream):
    def __init__(self, codec):
        self._codec, self._rest = codec, np.zeros(0, np.float32)

    def push(self, samples):
        self._rest = np.concatenate([self._rest, samples.astype(np.float32)])
        whole = len(self._rest) // self._codec.samples_per_frame * self._codec.samples_per_frame
        done, self._rest = self._rest[:whole], self._rest[whole:]
        return self._codec.encode(done)

    def finish(self):
        return self._codec.encode(self._rest)


class _TinyDecoder(AbstractDecoderStream):
    def __init__(self, codec):
        self._codec = codec

    def push(self, codes):
        levels = (codes + 0.5) / self._codec.codebook_size * 2 - 1
        block = self._codec.samples_per_frame // codes.shape[1]
        return np.repeat(levels.reshape(-1), block).astype(np.float32)

    def finish(self):
        return np.zeros(0, np.float32)


class TinyCodec(AbstractCodec):
    """A real codec, if a poor one: a frame is 8 blocks, a code is the level of a block in 16 steps."""

    codec_id: str = "tiny-v1"
    sample_rate_hz: int = 8000
    samples_per_frame: int = 640
    num_codebooks: int = 8
    codebook_size: int = 16
    attention_window_frames: int | None = None

    def encode_batch(self, signals):
        return [self._encode(np.asarray(signal, np.float32)) for signal in signals]

    def _encode(self, samples):
        num_frames = self.num_frames(len(samples))
        padded = np.pad(samples, (0, num_frames * self.samples_per_frame - len(samples)))
        levels = padded.reshape(num_frames, self.num_codebooks, -1).mean(axis=2)
        return np.clip((levels + 1) / 2 * self.codebook_size, 0, self.codebook_size - 1).astype(np.int32)

    def encoder_stream(self):
        return _TinyEncoder(self)

    def decoder_stream(self):
        return _TinyDecoder(self)

    def codebook_vectors(self):
        levels = np.linspace(-1, 1, self.codebook_size, dtype=np.float32)
        return np.broadcast_to(levels[None, :, None], (self.num_codebooks, self.codebook_size, 1)).copy()


@pytest.fixture(scope="session")
def codec() -> TinyCodec:
    return TinyCodec()


@pytest.fixture(scope="session")
def speech(tmp_path_factory) -> Path:
    """A JSONL corpus: two recordings of three utterances and one of its own, a broken file among them."""
    folder = tmp_path_factory.mktemp("speech")
    random = np.random.default_rng(0)
    lines = []
    for recording, speaker in (("a", "ann"), ("b", "bob")):
        samples = random.uniform(-0.9, 0.9, 3 * 8000)
        soundfile.write(folder / f"{recording}.wav", np.repeat(samples[::40], 40), 8000)
        lines += [
            f'{{"id": "{recording}{i}", "audio": "{recording}.wav", "text": "open the {word} door", '
            f'"speaker": "{speaker}", "language": "en", "split": "train", "start": {start}, "end": {start + 0.73}}}'
            for i, (word, start) in enumerate((("red", 0.0), ("blue", 0.81), ("green", 2.0)))
        ]
    soundfile.write(folder / "c.wav", np.linspace(-1, 1, 5000), 8000)
    lines.append('{"id": "c", "audio": "c.wav", "text": "close it", "speaker": "eve", "split": "heldout"}')
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def corpus(speech) -> Corpus:
    return open_corpus(speech / "manifest.jsonl")
