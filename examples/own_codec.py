"""A codec of your own in one file: the mean and the loudness of every 10 ms, in 64 steps each.

uv run audio-tokenize encode sample --codec examples/own_codec.py:MeanAndLoudness --out codes
uv run audio-tokenize decode codes --out decoded.wav
"""

import numpy as np

from audio_tokenize import AbstractCodec, AbstractDecoderStream, AbstractEncoderStream

FRAME, STEPS = 80, 64


class Encoder(AbstractEncoderStream):
    def __init__(self, codec):
        self.codec, self.waiting = codec, np.zeros(0, np.float32)

    def push(self, samples):
        signal = np.concatenate([self.waiting, samples])
        whole = len(signal) // FRAME * FRAME
        self.waiting = signal[whole:]
        return self.codec.encode(signal[:whole])

    def finish(self):
        return self.codec.encode(self.waiting)  # the last frame is padded with silence


class Decoder(AbstractDecoderStream):
    def push(self, codes):
        means = (codes[:, 0] + 0.5) / STEPS * 2 - 1
        return np.repeat(means, FRAME).astype(np.float32)

    def finish(self):
        return np.zeros(0, np.float32)  # nothing waits: a frame needs no later one


class MeanAndLoudness(AbstractCodec):
    codec_id: str = "mean-and-loudness-v1"  # change it whenever equal codes come to mean other sounds
    sample_rate_hz: int = 8000
    samples_per_frame: int = FRAME
    num_codebooks: int = 2
    codebook_size: int = STEPS
    attention_window_frames: int | None = None

    def encode_batch(self, signals):
        frames = [np.pad(signal, (0, -len(signal) % FRAME)).reshape(-1, FRAME) for signal in signals]
        values = [np.stack([(f.mean(axis=1) + 1) / 2, np.abs(f).max(axis=1)], axis=1) for f in frames]
        return [np.clip(value * STEPS, 0, STEPS - 1).astype(np.int32) for value in values]

    def encoder_stream(self):
        return Encoder(self)

    def decoder_stream(self):
        return Decoder()

    def codebook_vectors(self):  # similar sounds lie close together; models may start their embeddings from these
        return np.tile(np.linspace(-1, 1, STEPS, dtype=np.float32)[None, :, None], (2, 1, 1))
