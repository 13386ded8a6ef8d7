"""The interface every codec has: waveforms to discrete codes and back, whole, in batches or as a stream."""

import abc
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float, Float32, Int

Samples = Float32[np.ndarray, " samples"]
Codes = Int[np.ndarray, "frames codebooks"]


class AbstractEncoderStream(abc.ABC):
    """Encodes a signal that arrives in pieces; the codes of all pieces together equal those of the whole signal."""

    @abc.abstractmethod
    def push(self, samples: Float[np.ndarray, " samples"]) -> Codes:
        """Take the next samples, any number of them, and return the codes of the frames they complete."""

    @abc.abstractmethod
    def finish(self) -> Codes:
        """Return the codes of the last, incomplete frame, padded with silence: one frame or none."""


class AbstractDecoderStream(abc.ABC):
    """Decodes codes that arrive in pieces; the samples of all pieces together equal those of the whole."""

    @abc.abstractmethod
    def push(self, codes: Codes) -> Samples:
        """Take the next frames, any number of them, and return the samples that can no longer change."""

    @abc.abstractmethod
    def finish(self) -> Samples:
        """Return the samples that were still waiting for frames to come."""


class AbstractCodec(eqx.Module):
    """A codec of fixed frame rate with residual codebooks of one size, causal and exact.

    n samples make ceil(n / samples_per_frame) frames, the last one padded with silence. The codes of a frame depend on
    no later sample, nor on whether a signal is encoded whole, in pieces or beside others: on a CPU to the bit. An
    accelerator may round otherwise beside other signals, and another device or library may anywhere, which can turn the
    code of a near-tie; `arithmetic` says what such codes depend on.
    """

    codec_id: eqx.AbstractVar[str]
    """Names the codes: data sets and checkpoints record it, and under equal ids equal codes mean equal sounds.

    Which codes a signal gets may depend on more: a codec whose attention can see less or more of the past has one id
    for all windows, since any of them decodes the others' codes, and `description` records the window beside it.
    """
    sample_rate_hz: eqx.AbstractVar[int]
    samples_per_frame: eqx.AbstractVar[int]
    num_codebooks: eqx.AbstractVar[int]
    codebook_size: eqx.AbstractVar[int]
    attention_window_frames: eqx.AbstractVar[int | None]
    """How many frames the codec's attention sees, the present one included; None for all or for no attention."""

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return self.sample_rate_hz / self.samples_per_frame

    @property
    def name(self) -> str:
        """What `CodecSpec.name` is to be; the id of a codec that the registry does not know."""
        return self.codec_id

    @property
    def description(self) -> dict[str, Any]:
        """What a manifest records as `codec`: `CodecSpec.from_description` makes of it what loads this codec again."""
        return {
            "name": self.name,
            "id": self.codec_id,
            "num_codebooks": self.num_codebooks,
            "codebook_size": self.codebook_size,
            "sample_rate_hz": self.sample_rate_hz,
            "frame_rate_hz": self.frame_rate_hz,
            "attention_window_frames": self.attention_window_frames,
        }

    @property
    def arithmetic(self) -> dict[str, Any]:
        """What near-ties among the codes made here depend on, recorded with each shard; empty if on nothing."""
        return {}

    def num_frames(self, num_samples: int) -> int:
        """Return how many frames `num_samples` samples make."""
        return -(-num_samples // self.samples_per_frame)

    @abc.abstractmethod
    def encode_batch(self, signals: Sequence[Float[np.ndarray, " _"]]) -> list[Int[np.ndarray, "_ codebooks"]]:
        """Encode several signals of any lengths at once; each result equals that of `encode`.

        Args:
            signals: Mono samples at `sample_rate_hz`, nominally within -1 to 1.

        Returns:
            Integer codes [frames, codebooks] for each signal.
        """

    def encode(self, samples: Float[np.ndarray, " samples"]) -> Codes:
        """Encode one signal of mono samples at `sample_rate_hz` into codes [frames, codebooks]."""
        return self.encode_batch([samples])[0]

    def decode(self, codes: Codes) -> Samples:
        """Decode codes [frames, codebooks] into samples_per_frame x frames samples."""
        stream = self.decoder_stream()
        return np.concatenate([stream.push(codes), stream.finish()])

    def decode_batch(self, codes: Sequence[Int[np.ndarray, "_ codebooks"]]) -> list[Float32[np.ndarray, " _"]]:
        """Decode the codes of several signals; each result equals that of `decode`."""
        return [self.decode(one) for one in codes]

    @abc.abstractmethod
    def encoder_stream(self) -> AbstractEncoderStream:
        """Begin encoding a signal that arrives in pieces."""

    @abc.abstractmethod
    def decoder_stream(self) -> AbstractDecoderStream:
        """Begin decoding codes that arrive in pieces."""

    @abc.abstractmethod
    def codebook_vectors(self) -> Float32[np.ndarray, "codebooks codebook_size dim"]:
        """Return each code's vector in a space where distance is acoustic similarity, to start embeddings from."""
