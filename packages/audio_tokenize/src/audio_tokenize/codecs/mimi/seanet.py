"""The convolutional parts of Mimi: samples to 25 positions a second and back, block by block.

Everything is causal and time-major, and every convolution is one matrix product. A strided convolution, whose kernel is
twice its stride, is a convolution of two taps over rows of `stride` positions laid side by side; a transposed one is a
convolution of two taps that makes rows of `stride` positions. All taps are computed by one wide product over the block
and the few rows kept from the block before, and added up shifted, so that nothing is copied but those rows.

Source: SEANet (Tagliasacchi et al., 2020, arXiv 2009.02095) as in Mimi (Défossez et al., 2024, arXiv 2410.00037); sizes
and padding follow transformers' MimiModel. Written anew for blocks with carried state.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

Signal = Float32[Array, "_ _"]
Tail = Float32[Array, "_ _"]
"""Rows before a block that it still depends on."""

PIECES = 4
"""The stage of the highest rate goes through a block in so many pieces, whose intermediate results stay in the cache.

Measured on one core, a SEANet and a block of 1.28 s: the decoder takes 48 ms in one piece, 30 ms in four; the encoder
36 and 34 ms.
"""


def elu(x: Signal) -> Signal:
    """Return x, or exp(x) - 1 where negative: `expm1` takes twice as long and is no better at the scale of 1."""
    return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0.0)) - 1)


def before_end(x: Signal, num_valid: Int32[Array, ""]) -> Bool[Array, "_ 1"]:
    """Return which positions of a block belong to the signal, the first `num_valid`."""
    return (jnp.arange(len(x), dtype=jnp.int32) < num_valid)[:, None]


class CausalConv(eqx.Module):
    """A convolution over rows of positions: an output row sees its own input row and `taps - 1` rows before it.

    Attributes:
        weight: A matrix from input row to output row for each tap, the oldest first, side by side.
        bias: Of an output row; None for none.
        taps: Rows seen.
        dilation: Distance between the rows seen.
        stride: Input positions in a row: the stride.
        transposed_stride: Output positions in a row: the stride of a transposed convolution.
    """

    weight: Float32[Array, "row_in taps_row_out"]
    bias: Float32[Array, " row_out"] | None
    taps: int = eqx.field(static=True)
    dilation: int = eqx.field(static=True, default=1)
    stride: int = eqx.field(static=True, default=1)
    transposed_stride: int = eqx.field(static=True, default=1)

    def initial_tail(self) -> Tail:
        """Return the silence before a signal."""
        return jnp.zeros((self.dilation * (self.taps - 1), self.weight.shape[0]), jnp.float32)

    def __call__(self, tail: Tail, x: Signal) -> tuple[Tail, Signal]:
        """Convolve a block whose length is a multiple of `stride`; return the tail for the next one with it."""
        rows = x.reshape(-1, self.weight.shape[0])
        line = jnp.concatenate([tail, rows])
        y = self._columns(line, len(rows)) if len(self.weight) == 1 else self._wide(line, len(rows))
        y = y if self.bias is None else y + self.bias[None]
        return line[len(rows) :], y.reshape(len(rows) * self.transposed_stride, -1)

    def _wide(self, line: Signal, num_rows: int) -> Signal:
        products = jnp.split(line @ self.weight, self.taps, axis=1)
        shifted = [product[i * self.dilation :][:num_rows] for i, product in enumerate(products)]
        return sum(shifted[1:], shifted[0])

    def _columns(self, line: Signal, num_rows: int) -> Signal:
        """Gather what each output row sees, for the one input channel of samples: 28 ms a block, not 31."""
        seen = [line[i * self.dilation :][:num_rows] for i in range(self.taps)]
        return jnp.concatenate(seen, axis=1) @ self.weight.reshape(self.taps, -1)


class ResidualBlock(eqx.Module):
    """Adds to a signal what two convolutions, the first over time and the second over channels, make of it."""

    narrow: CausalConv
    widen: CausalConv

    def initial_tail(self) -> Tail:
        """Return the silence before a signal."""
        return self.narrow.initial_tail()

    def __call__(self, tail: Tail, x: Signal) -> tuple[Tail, Signal]:
        """Process a block; return the tail for the next one with it."""
        tail, hidden = self.narrow(tail, elu(x))
        _, added = self.widen(self.widen.initial_tail(), elu(hidden))
        return tail, x + added


class SeanetStage(eqx.Module):
    """What a SEANet does at one rate: residual blocks, and a change of rate after (encoder) or before them (decoder).

    Attributes:
        blocks: Residual blocks at the higher rate.
        resample: The change of rate, strided or transposed.
    """

    blocks: tuple[ResidualBlock, ...]
    resample: CausalConv

    def initial_tails(self) -> tuple[Tail, ...]:
        """Return the silence before a signal: of the blocks, then of the change of rate."""
        return tuple(layer.initial_tail() for layer in (*self.blocks, self.resample))

    def down(
        self, tails: tuple[Tail, ...], x: Signal, num_valid: Int32[Array, ""]
    ) -> tuple[tuple[Tail, ...], Signal, Int32[Array, ""]]:
        """Process a block of the encoder, of which `num_valid` positions belong to the signal.

        A stride goes on after the end with zeros; what the layers before it make of the silence must not reach it.
        """
        block_tails, x = self._through_blocks(tails[:-1], x)
        tail, x = self.resample(tails[-1], jnp.where(before_end(x, num_valid), elu(x), 0.0))
        stride = self.resample.stride
        return (*block_tails, tail), x, (num_valid + (stride - 1)) // stride

    def up(self, tails: tuple[Tail, ...], x: Signal) -> tuple[tuple[Tail, ...], Signal]:
        """Process a block of the decoder."""
        tail, x = self.resample(tails[-1], elu(x))
        block_tails, x = self._through_blocks(tails[:-1], x)
        return (*block_tails, tail), x

    def _through_blocks(self, tails: tuple[Tail, ...], x: Signal) -> tuple[list[Tail], Signal]:
        kept = []
        for block, tail in zip(self.blocks, tails, strict=True):
            tail, x = block(tail, x)
            kept.append(tail)
        return kept, x


class SeanetTails(eqx.Module):
    """What a SEANet keeps from one block to the next."""

    first: Tail
    stages: tuple[tuple[Tail, ...], ...]
    last: Tail


class _Seanet(eqx.Module):
    first: CausalConv
    stages: tuple[SeanetStage, ...]
    last: CausalConv

    def initial_tails(self) -> SeanetTails:
        """Return the silence before a signal."""
        stages = tuple(stage.initial_tails() for stage in self.stages)
        return SeanetTails(self.first.initial_tail(), stages, self.last.initial_tail())


def _in_pieces(step: Callable[[Any, Any], tuple[Any, Signal]], tails: Any, pieces: Any) -> tuple[Any, Array]:
    # `scan` hashes what it is given, and a bound method of a module would have it hash arrays.
    return jax.lax.scan(lambda carried, piece: step(carried, piece), tails, pieces)


class SeanetEncoder(_Seanet):
    """Samples to positions."""

    def __call__(
        self, tails: SeanetTails, samples: Float32[Array, " _"], num_valid: Int32[Array, ""]
    ) -> tuple[SeanetTails, Signal, Int32[Array, ""]]:
        """Encode a block.

        Args:
            tails: From the block before.
            samples: A multiple of `PIECES` positions.
            num_valid: Samples before the end of the signal.

        Returns:
            Tails for the next block, the positions, and how many of them belong to the signal.
        """
        pieces = samples.reshape(PIECES, -1)
        valid = num_valid - pieces.shape[1] * jnp.arange(PIECES, dtype=jnp.int32)
        (first, fast), x = _in_pieces(self._fast, (tails.first, tails.stages[0]), (pieces, valid))
        x = x.reshape(-1, x.shape[2])
        stride = self.stages[0].resample.stride
        num_valid = (num_valid + (stride - 1)) // stride
        kept = [fast]
        for stage, stage_tails in zip(self.stages[1:], tails.stages[1:], strict=True):
            stage_tails, x, num_valid = stage.down(stage_tails, x, num_valid)
            kept.append(stage_tails)
        last, x = self.last(tails.last, elu(x))
        return SeanetTails(first, tuple(kept), last), x, num_valid

    def _fast(
        self, tails: tuple[Tail, tuple[Tail, ...]], piece: tuple[Float32[Array, " _"], Int32[Array, ""]]
    ) -> tuple[tuple[Tail, tuple[Tail, ...]], Signal]:
        samples, num_valid = piece
        first, x = self.first(tails[0], samples[:, None])
        stage, x, _ = self.stages[0].down(tails[1], x, num_valid)
        return (first, stage), x


class SeanetDecoder(_Seanet):
    """Positions to samples."""

    def __call__(self, tails: SeanetTails, x: Signal) -> tuple[SeanetTails, Float32[Array, " _"]]:
        """Decode a block of a multiple of `PIECES` positions; return the tails for the next one with its samples."""
        first, x = self.first(tails.first, x)
        kept = []
        for stage, stage_tails in zip(self.stages[:-1], tails.stages[:-1], strict=True):
            stage_tails, x = stage.up(stage_tails, x)
            kept.append(stage_tails)
        pieces = x.reshape(PIECES, -1, x.shape[1])
        (fast, last), x = _in_pieces(self._fast, (tails.stages[-1], tails.last), pieces)
        return SeanetTails(first, (*kept, fast), last), x.reshape(-1)

    def _fast(
        self, tails: tuple[tuple[Tail, ...], Tail], piece: Signal
    ) -> tuple[tuple[tuple[Tail, ...], Tail], Signal]:
        stage, x = self.stages[-1].up(tails[0], piece)
        last, x = self.last(tails[1], elu(x))
        return (stage, last), x
