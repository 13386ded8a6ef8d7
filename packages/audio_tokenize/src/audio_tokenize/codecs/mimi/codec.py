"""Mimi behind the common interface."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from audio_tokenize.codecs.base import AbstractCodec
from audio_tokenize.codecs.mimi.config import MimiConfig
from audio_tokenize.codecs.mimi.model import BLOCK_FRAMES, MATMUL_PRECISION, Decoder, Encoder, SplitQuantizer
from audio_tokenize.codecs.mimi.streams import (
    DecoderBatchState,
    EncoderBatchState,
    MimiDecoderStream,
    MimiEncoderStream,
    require_codes,
    require_finite,
)

ACCELERATOR_LANES = 16
"""Signals side by side on an accelerator; on a CPU, where more than one gains nothing, there is one."""


class WeightsOrigin(eqx.Module):
    """Where a codec's weights come from, as manifests record it.

    Attributes:
        weights: Folder, file or hub id.
        revision: Commit of a hub's weights; None for others.
        sha256: Of all tensors in order of their published names.
    """

    weights: str = eqx.field(static=True)
    revision: str | None = eqx.field(static=True)
    sha256: str = eqx.field(static=True)


class MimiCodec(AbstractCodec):
    """Mimi: 24 kHz speech at 12.5 frames/s, a semantic codebook and acoustic ones, 2,048 codes each.

    Signals go through blocks of 1.28 s with carried state, so memory does not grow with their length (without an
    attention window, only the keys and values of the past do), and one shape is compiled for all lengths (without a
    window, one for each doubling).

    Attributes:
        codec_id: Name of the codes.
        sample_rate_hz: 24,000 as published.
        samples_per_frame: 1,920 as published.
        num_codebooks: Leading codebooks in use.
        codebook_size: 2,048 as published.
        attention_window_frames: Frames that the attention sees, the present one included; None for all. The codes of
            frames further from the start depend on it: it is recorded beside the id.
        provenance: Of the weights.
        encoder: Samples to latents.
        decoder: Latents to samples.
        quantizer: Latents to codes and back.
        num_lanes: Signals side by side, at whatever batch size. Codes do not depend on it but for what rounding makes
            of near-ties, on which neither the number of threads nor, with one lane, the batch has any influence.
    """

    codec_id: str = eqx.field(static=True)
    sample_rate_hz: int = eqx.field(static=True)
    samples_per_frame: int = eqx.field(static=True)
    num_codebooks: int = eqx.field(static=True)
    codebook_size: int = eqx.field(static=True)
    attention_window_frames: int | None = eqx.field(static=True)
    provenance: WeightsOrigin
    encoder: Encoder
    decoder: Decoder
    quantizer: SplitQuantizer
    num_lanes: int = eqx.field(static=True)

    def __init__(
        self,
        codec_id: str,
        config: MimiConfig,
        parts: tuple[Encoder, Decoder, SplitQuantizer],
        provenance: WeightsOrigin,
        num_lanes: int | None = None,
    ):
        self.codec_id = codec_id
        self.sample_rate_hz = config.sampling_rate
        self.samples_per_frame = config.samples_per_frame
        self.encoder, self.decoder, self.quantizer = parts
        self.num_codebooks = self.quantizer.num_codebooks
        self.codebook_size = config.codebook_size
        window = self.encoder.transformer.window
        self.attention_window_frames = None if window is None else window // config.latent_stride
        self.provenance = provenance
        self.num_lanes = num_lanes or (1 if jax.default_backend() == "cpu" else ACCELERATOR_LANES)

    @property
    def name(self) -> str:
        """What the registry calls it: "mimi", whatever the weights."""
        return "mimi"

    @property
    def description(self) -> dict[str, Any]:
        """What a manifest records: the common entries, and `weights`, `revision` and `weights_sha256`."""
        origin = self.provenance
        own = {"weights": origin.weights, "revision": origin.revision, "weights_sha256": origin.sha256}
        return {**super().description, **own}

    @property
    def arithmetic(self) -> dict[str, Any]:
        """The device, the compiler, the precision of matrix products and the signals side by side."""
        return {
            "device": jax.devices()[0].device_kind,
            "machine": platform.machine(),
            "jaxlib": version("jaxlib"),
            "matmul_precision": MATMUL_PRECISION,
            "lanes": self.num_lanes,
        }

    def encode_batch(self, signals: Sequence[Float[np.ndarray, " _"]]) -> list[Int32[np.ndarray, "_ codebooks"]]:
        """Encode several signals at once.

        Args:
            signals: Mono samples at `sample_rate_hz`, nominally within -1 to 1.

        Returns:
            Codes [frames, codebooks] for each signal.

        Raises:
            InputError: If a sample is not finite.
        """
        for index, samples in enumerate(signals):
            require_finite(samples, f"signal {index}")
        encoded = [np.zeros((0, self.num_codebooks), np.int32)] * len(signals)
        for group in self._groups(signals):
            for index, codes in zip(group, self._encode_group([signals[i] for i in group]), strict=True):
                encoded[index] = codes
        return encoded

    def decode_batch(self, codes: Sequence[Int[np.ndarray, "_ codebooks"]]) -> list[Float32[np.ndarray, " _"]]:
        """Decode the codes of several signals at once.

        Args:
            codes: [frames, codebooks] each, all of the same leading codebooks.

        Returns:
            samples_per_frame x frames samples for each signal.

        Raises:
            InputError: If there are more codebooks than the codec has, or a code is outside its codebook.
        """
        for one in codes:
            require_codes(one, self)
        decoded = [np.zeros(0, np.float32)] * len(codes)
        for group in self._groups(codes):
            for index, samples in zip(group, self._decode_group([codes[i] for i in group]), strict=True):
                decoded[index] = samples
        return decoded

    def decode(self, codes: Int[np.ndarray, "frames codebooks"]) -> Float32[np.ndarray, " samples"]:
        """Decode codes [frames, codebooks] into samples_per_frame x frames samples."""
        return self.decode_batch([codes])[0]

    def _groups(self, signals: Sequence[np.ndarray]) -> list[list[int]]:
        """Put signals of similar lengths side by side: a group lasts as long as its longest."""
        order = sorted((i for i in range(len(signals)) if len(signals[i])), key=lambda i: len(signals[i]))
        return [order[start : start + self.num_lanes] for start in range(0, len(order), self.num_lanes)]

    def _encode_group(self, signals: list[Float[np.ndarray, " _"]]) -> list[Int32[np.ndarray, "_ codebooks"]]:
        lanes, size = self.encoder_batch(), BLOCK_FRAMES * self.samples_per_frame
        blocks = []
        for start in range(0, max(map(len, signals)), size):
            block = np.zeros((self.num_lanes, size), np.float32)
            num_valid = np.zeros(self.num_lanes, np.int32)
            for lane, samples in enumerate(signals):
                piece = samples[start : start + size]
                block[lane, : len(piece)], num_valid[lane] = piece, len(piece)
            blocks.append(lanes.encode(block, num_valid, keep=False))
        codes = np.concatenate(blocks, axis=1)
        return [codes[lane, : self.num_frames(len(samples))] for lane, samples in enumerate(signals)]

    def _decode_group(self, codes: list[Int[np.ndarray, "_ codebooks"]]) -> list[Float32[np.ndarray, " _"]]:
        lanes, num_books = self.decoder_batch(), codes[0].shape[1]
        blocks = []
        for start in range(0, max(map(len, codes)), BLOCK_FRAMES):
            block = np.zeros((self.num_lanes, BLOCK_FRAMES, self.num_codebooks), np.int32)
            for lane, frames in enumerate(codes):
                piece = frames[start : start + BLOCK_FRAMES]
                block[lane, : len(piece), :num_books] = piece
            blocks.append(lanes.decode(block, num_books, keep=False))
        samples = np.concatenate(blocks, axis=1)
        return [samples[lane, : len(frames) * self.samples_per_frame] for lane, frames in enumerate(codes)]

    def encoder_batch(self) -> EncoderBatchState:
        """Begin encoding a group of `num_lanes` signals."""
        return EncoderBatchState(self.encoder, self.quantizer, self.num_lanes)

    def decoder_batch(self) -> DecoderBatchState:
        """Begin decoding a group of `num_lanes` signals."""
        return DecoderBatchState(self.decoder, self.quantizer, self.num_lanes)

    def encoder_stream(self) -> MimiEncoderStream:
        """Begin encoding a signal that arrives in pieces; a frame is given out as soon as its last sample is in."""
        return MimiEncoderStream(self)

    def decoder_stream(self) -> MimiDecoderStream:
        """Begin decoding codes that arrive in pieces; the samples of a frame are given out at once."""
        return MimiDecoderStream(self)

    def codebook_vectors(self) -> Float32[np.ndarray, "codebooks codebook_size dim"]:
        """Return what each code adds to the latents, where semantic and acoustic codebooks have one measure."""
        return np.asarray(self.quantizer.vectors())
