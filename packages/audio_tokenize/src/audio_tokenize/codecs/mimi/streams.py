"""Mimi on signals that arrive in pieces, and the state of a batch, which whole signals and streams share.

A block that has begun is computed again, from the state before it, whenever a frame more of it is there: the work of a
block a frame, which one core does in little more than half of the frame's 80 ms, for results equal to the last bit.
"""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from audio_data import InputError
from audio_tokenize.codecs.base import AbstractDecoderStream, AbstractEncoderStream
from audio_tokenize.codecs.mimi.model import (
    BLOCK_FRAMES,
    Decoder,
    Encoder,
    SplitQuantizer,
    State,
    batched,
    decode_block,
    encode_block,
    with_capacity,
)

if TYPE_CHECKING:
    from audio_tokenize.codecs.mimi.codec import MimiCodec


class _BatchState:
    """Position and state of a group of signals that advance in step, one signal a lane.

    The capacity of the key-value caches follows from the position alone, so that a signal meets the same computations
    whatever lies beside it.
    """

    def __init__(self, model: Encoder | Decoder, positions_per_frame: int, num_lanes: int):
        self._model = model
        self._block_positions = BLOCK_FRAMES * positions_per_frame
        self._position = 0
        self._state = batched(model.initial_state(self._capacity()), num_lanes)

    def _capacity(self) -> int:
        return self._model.transformer.capacity(self._block_positions, self._position + self._block_positions)

    def _ready(self, keep: bool) -> State:
        """Return the state for the next block, a copy if it is to be kept."""
        if self._state.caches[0].keys.shape[2] < self._capacity():
            self._state = with_capacity(self._state, self._capacity())
        return jax.tree.map(jnp.copy, self._state) if keep else self._state

    def _done(self, state: State, keep: bool) -> None:
        if not keep:
            self._state = state
            self._position += self._block_positions


class EncoderBatchState(_BatchState):
    """Encodes a group of signals."""

    def __init__(self, encoder: Encoder, quantizer: SplitQuantizer, num_lanes: int):
        super().__init__(encoder, encoder.downsample.stride, num_lanes)
        self._models = (encoder, quantizer)

    def encode(
        self, blocks: Float32[np.ndarray, "lanes samples"], num_valid: Int32[np.ndarray, " lanes"], *, keep: bool
    ) -> Int32[np.ndarray, "lanes frames codebooks"]:
        """Encode a block of each lane, of which the first `num_valid` samples belong to the signal.

        Args:
            blocks: Samples; zeros after the end.
            num_valid: Of each lane.
            keep: Whether to stay before this block, which will come again with more samples.
        """
        position = np.int32(self._position)
        state, _, codes = encode_block(self._models, self._ready(keep), position, blocks, num_valid)
        self._done(state, keep)
        return np.asarray(codes)


class DecoderBatchState(_BatchState):
    """Decodes a group of signals."""

    def __init__(self, decoder: Decoder, quantizer: SplitQuantizer, num_lanes: int):
        super().__init__(decoder, decoder.upsample.shape[1], num_lanes)
        self._models = (decoder, quantizer)

    def decode(
        self, blocks: Int32[np.ndarray, "lanes frames codebooks"], num_books: int, *, keep: bool
    ) -> Float32[np.ndarray, "lanes samples"]:
        """Decode a block of each lane from its first `num_books` codebooks.

        Args:
            blocks: Codes; any after the end.
            num_books: Codebooks that mean something.
            keep: Whether to stay before this block, which will come again with more frames.
        """
        position = np.int32(self._position)
        state, samples = decode_block(self._models, self._ready(keep), position, blocks, np.int32(num_books))
        self._done(state, keep)
        return np.asarray(samples)


def require_finite(samples: Float[np.ndarray, " samples"], name: str) -> None:
    """Raise InputError naming `name` if a sample is NaN or infinite."""
    if not np.isfinite(samples).all():
        raise InputError(f"expected finite `samples`, got NaN or infinity in {name}: repair the audio")


def require_codes(codes: Int[np.ndarray, "frames codebooks"], codec: "MimiCodec") -> None:
    """Raise InputError if there are more codebooks than the codec has, or a code outside its codebook."""
    books, size = codec.num_codebooks, codec.codebook_size
    if not 1 <= codes.shape[1] <= books:
        raise InputError(f"expected `codes` of 1 to {books} codebooks, got {codes.shape[1]}: decode leading codebooks")
    if codes.size and not (codes.min() >= 0 and codes.max() < size):
        raise InputError(f"expected `codes` of 0 to {size - 1}, got {codes.min()} to {codes.max()}: not this codec's")


class MimiEncoderStream(AbstractEncoderStream):
    """Keeps the state before the present block and the samples of it so far."""

    def __init__(self, codec: "MimiCodec"):
        self._codec = codec
        self._begin()

    def _begin(self) -> None:
        self._lanes = self._codec.encoder_batch()
        self._pending = np.zeros(0, np.float32)
        self._num_given = 0

    def push(self, samples: Float[np.ndarray, " samples"]) -> Int32[np.ndarray, "frames codebooks"]:
        """Take the next samples and return the codes of the frames they complete.

        Raises:
            InputError: If a sample is not finite.
        """
        require_finite(samples, "a piece of a stream")
        self._pending = np.concatenate([self._pending, samples.astype(np.float32)])
        size = BLOCK_FRAMES * self._codec.samples_per_frame
        given = [np.zeros((0, self._codec.num_codebooks), np.int32)]
        while len(self._pending) >= size:
            given.append(self._encode(size, keep=False))
            self._pending, self._num_given = self._pending[size:], 0
        if (whole := len(self._pending) // self._codec.samples_per_frame) > self._num_given:
            given.append(self._encode(whole * self._codec.samples_per_frame, keep=True))
            self._num_given = whole
        return np.concatenate(given)

    def _encode(self, num_samples: int, *, keep: bool) -> Int32[np.ndarray, "frames codebooks"]:
        """Return the codes of the present block's first samples, but for the frames that were given."""
        block = np.zeros((self._codec.num_lanes, BLOCK_FRAMES * self._codec.samples_per_frame), np.float32)
        num_valid = np.zeros(self._codec.num_lanes, np.int32)
        block[0, :num_samples], num_valid[0] = self._pending[:num_samples], num_samples
        codes = self._lanes.encode(block, num_valid, keep=keep)
        return codes[0, self._num_given : self._codec.num_frames(num_samples)]

    def finish(self) -> Int32[np.ndarray, "frames codebooks"]:
        """Return the codes of the last, incomplete frame, one or none; the stream is then as new."""
        rest = np.zeros((0, self._codec.num_codebooks), np.int32)
        if len(self._pending) > self._num_given * self._codec.samples_per_frame:
            rest = self._encode(len(self._pending), keep=False)
        self._begin()
        return rest


class MimiDecoderStream(AbstractDecoderStream):
    """Keeps the state before the present block and the frames of it so far."""

    def __init__(self, codec: "MimiCodec"):
        self._codec = codec
        self._begin()

    def _begin(self) -> None:
        self._lanes = self._codec.decoder_batch()
        self._pending: Int32[np.ndarray, "frames codebooks"] | None = None
        self._num_given = 0

    def push(self, codes: Int[np.ndarray, "frames codebooks"]) -> Float32[np.ndarray, " samples"]:
        """Take the next frames and return their samples.

        Raises:
            InputError: If there are more codebooks than the codec has or others than before, or a code is outside its
                codebook.
        """
        require_codes(codes, self._codec)
        frames = codes.astype(np.int32)
        if self._pending is None:
            self._pending = frames[:0]
        if frames.shape[1] != self._pending.shape[1]:
            books = self._pending.shape[1]
            raise InputError(f"expected `codes` of {books} codebooks, as before, got {frames.shape[1]}: begin anew")
        self._pending = np.concatenate([self._pending, frames])
        given = [np.zeros(0, np.float32)]
        while len(self._pending) >= BLOCK_FRAMES:
            given.append(self._decode(self._pending[:BLOCK_FRAMES], keep=False))
            self._pending, self._num_given = self._pending[BLOCK_FRAMES:], 0
        if len(self._pending) > self._num_given:
            given.append(self._decode(self._pending, keep=True))
            self._num_given = len(self._pending)
        return np.concatenate(given)

    def _decode(self, frames: Int32[np.ndarray, "frames codebooks"], *, keep: bool) -> Float32[np.ndarray, " samples"]:
        """Return the samples of the present block's first frames, but for those of the frames that were given."""
        num_frames, num_books = frames.shape
        block = np.zeros((self._codec.num_lanes, BLOCK_FRAMES, self._codec.num_codebooks), np.int32)
        block[0, :num_frames, :num_books] = frames
        samples = self._lanes.decode(block, num_books, keep=keep)
        per_frame = self._codec.samples_per_frame
        return samples[0, self._num_given * per_frame : num_frames * per_frame]

    def finish(self) -> Float32[np.ndarray, " samples"]:
        """Return no samples, since none wait for frames to come; the stream is then as new."""
        self._begin()
        return np.zeros(0, np.float32)
