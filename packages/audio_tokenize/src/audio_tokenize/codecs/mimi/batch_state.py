"""State of a batch of signals that are encoded or decoded block by block; batches and streams share it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int32

from audio_tokenize.codecs.mimi.model import (
    BLOCK_FRAMES,
    Decoder,
    Encoder,
    State,
    batched,
    decode_block,
    encode_block,
    with_capacity,
)
from audio_tokenize.codecs.mimi.quantizer import SplitQuantizer


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
