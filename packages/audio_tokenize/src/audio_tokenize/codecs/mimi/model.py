"""The split residual quantiser of Mimi, and its encoder and decoder over blocks with carried state.

The semantic codebook quantises the latents on its own; the acoustic ones quantise, in another projection of the same
latents, what those before them leave.

Only `encode_block` and `decode_block` are compiled. Whatever is encoded or decoded goes through blocks of one length
from the start of its signal, several signals side by side in lanes that never mix, in one compiled function of one
shape. So a result does not depend on how a signal arrives, on what is encoded beside it or on how long it goes on: on a
CPU not even in the last bit. Accelerators meet the same shapes, but nobody promises that two of their lanes round
alike.

Source: residual vector quantisation (Zeghidour et al., 2021, arXiv 2107.03312), split as in Mimi (Défossez et al.,
2024, arXiv 2410.00037). Behaviour follows transformers' MimiModel.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from audio_tokenize.codecs.mimi.seanet import CausalConv, SeanetDecoder, SeanetEncoder, SeanetTails, Tail, before_end
from audio_tokenize.codecs.mimi.transformer import KVCache, Transformer


class ResidualQuantizer(eqx.Module):
    """Codebooks one after another in a projection of the latents.

    Attributes:
        input_proj: From latents to the space of the codebooks.
        output_proj: Back to latents.
        codebooks: Vectors of the codes.
        half_norms: Half of each vector's squared length.
    """

    input_proj: Float32[Array, "width dim"]
    output_proj: Float32[Array, "dim width"]
    codebooks: tuple[Float32[Array, "codebook_size dim"], ...]
    half_norms: tuple[Float32[Array, " codebook_size"], ...]

    def __init__(
        self,
        input_proj: Float32[Array, "width dim"],
        output_proj: Float32[Array, "dim width"],
        codebooks: tuple[Float32[Array, "codebook_size dim"], ...],
    ):
        self.input_proj, self.output_proj, self.codebooks = input_proj, output_proj, codebooks
        self.half_norms = tuple((book**2).sum(axis=1) / 2 for book in codebooks)

    def encode(self, latents: Float32[Array, "frames width"]) -> Int32[Array, "frames codebooks"]:
        """Return the nearest code of each codebook to what the ones before leave."""
        residual = latents @ self.input_proj
        codes = []
        for book, half_norms in zip(self.codebooks, self.half_norms, strict=True):
            # |r - e|^2 / 2 less |r|^2 / 2, which no choice of e changes
            nearest = (half_norms[None] - residual @ book.T).argmin(axis=1).astype(jnp.int32)
            residual = residual - book[nearest]
            codes.append(nearest)
        return jnp.stack(codes, axis=1)

    def decode(
        self, codes: Int32[Array, "frames codebooks"], num_books: Int32[Array, ""]
    ) -> Float32[Array, "frames width"]:
        """Return the latents that the codes of the first `num_books` codebooks mean."""
        total = jnp.zeros((len(codes), self.input_proj.shape[1]), jnp.float32)
        for index, book in enumerate(self.codebooks):
            total = total + jnp.where(index < num_books, book[codes[:, index]], 0.0)
        return total @ self.output_proj


class SplitQuantizer(eqx.Module):
    """The semantic and the acoustic codebooks; `acoustic` is None where only semantic ones are in use."""

    semantic: ResidualQuantizer
    acoustic: ResidualQuantizer | None

    @property
    def num_codebooks(self) -> int:
        """Codebooks of both."""
        return len(self.semantic.codebooks) + (0 if self.acoustic is None else len(self.acoustic.codebooks))

    def encode(self, latents: Float32[Array, "frames width"]) -> Int32[Array, "frames codebooks"]:
        """Return codes, semantic ones first."""
        codes = self.semantic.encode(latents)
        return codes if self.acoustic is None else jnp.concatenate([codes, self.acoustic.encode(latents)], axis=1)

    def decode(
        self, codes: Int32[Array, "frames codebooks"], num_books: Int32[Array, ""]
    ) -> Float32[Array, "frames width"]:
        """Return the latents that the codes of the first `num_books` codebooks mean."""
        split = len(self.semantic.codebooks)
        latents = self.semantic.decode(codes[:, :split], num_books)
        return latents if self.acoustic is None else latents + self.acoustic.decode(codes[:, split:], num_books - split)

    def vectors(self) -> Float32[Array, "codebooks codebook_size width"]:
        """Return what each code adds to the latents."""
        parts = [self.semantic] if self.acoustic is None else [self.semantic, self.acoustic]
        return jnp.stack([book @ part.output_proj for part in parts for book in part.codebooks])


MATMUL_PRECISION = "highest"
"""Float32 products: an accelerator would else round them to bfloat16 or TF32, and turn many codes."""

BLOCK_FRAMES = 16
"""Frames in a block: long enough for matrix products to outweigh the reading of the weights, short enough for the cache
and for little padding at the end of a clip. Measured on one core at full size: encoding is fastest at 16."""


class State(eqx.Module):
    """What the encoder or the decoder keeps from one block to the next.

    Attributes:
        tails: Of the convolutions.
        caches: Keys and values of the transformer's layers.
        resample_tail: Of the change between positions and frames.
    """

    tails: SeanetTails
    caches: tuple[KVCache, ...]
    resample_tail: Tail


class Encoder(eqx.Module):
    """Samples to latents.

    Attributes:
        seanet: Samples to positions.
        transformer: Over positions.
        downsample: Positions to frames.
    """

    seanet: SeanetEncoder
    transformer: Transformer
    downsample: CausalConv

    def initial_state(self, capacity: int) -> State:
        """Return the silence before a signal, for key-value caches of `capacity` slots."""
        caches = self.transformer.initial_caches(capacity)
        return State(self.seanet.initial_tails(), caches, self.downsample.initial_tail())

    def __call__(
        self, state: State, position: Int32[Array, ""], samples: Float32[Array, " _"], num_valid: Int32[Array, ""]
    ) -> tuple[State, Float32[Array, "_ width"]]:
        """Encode a block.

        Args:
            state: From the block before.
            position: Of the block's first position.
            samples: A whole number of frames.
            num_valid: Samples before the end of the signal.

        Returns:
            State for the next block, and latents [frames, width].
        """
        tails, x, num_valid = self.seanet(state.tails, samples, num_valid)
        caches, x = self.transformer(state.caches, position, x)
        # The change of rate goes on before the first and after the last position with what is there.
        x = jnp.where(before_end(x, num_valid), x, x[jnp.maximum(num_valid - 1, 0)][None])
        before = jnp.where(position == 0, jnp.tile(x[:1], (1, self.downsample.stride)), state.resample_tail)
        resample_tail, latents = self.downsample(before, x)
        return State(tails, caches, resample_tail), latents


class Decoder(eqx.Module):
    """Latents to samples.

    Attributes:
        upsample: For each frame before and each frame itself, its weight in each of its positions, channel by channel.
        transformer: Over positions.
        seanet: Positions to samples.
    """

    upsample: Float32[Array, "2 stride width"]
    transformer: Transformer
    seanet: SeanetDecoder

    def initial_state(self, capacity: int) -> State:
        """Return the silence before a signal, for key-value caches of `capacity` slots."""
        caches = self.transformer.initial_caches(capacity)
        return State(self.seanet.initial_tails(), caches, jnp.zeros((1, self.upsample.shape[2]), jnp.float32))

    def __call__(
        self, state: State, position: Int32[Array, ""], latents: Float32[Array, "_ width"]
    ) -> tuple[State, Float32[Array, " _"]]:
        """Decode a block of latents; return the state for the next one with its samples."""
        line = jnp.concatenate([state.resample_tail, latents])[:, None]
        x = line[:-1] * self.upsample[:1] + line[1:] * self.upsample[1:]
        caches, x = self.transformer(state.caches, position, x.reshape(-1, latents.shape[1]))
        tails, samples = self.seanet(state.tails, x)
        return State(tails, caches, latents[-1:]), samples


def batched(state: State, num_lanes: int) -> State:
    """Repeat a state for each signal of a batch."""
    return jax.tree.map(lambda leaf: jnp.tile(leaf, (num_lanes,) + (1,) * leaf.ndim), state)


def with_capacity(state: State, capacity: int) -> State:
    """Lengthen the key-value caches of a batched state to `capacity` slots; they must not have wrapped round."""
    missing = capacity - state.caches[0].keys.shape[2]
    longer = jax.tree.map(lambda leaf: jnp.pad(leaf, ((0, 0), (0, 0), (0, missing), (0, 0))), state.caches)
    return eqx.tree_at(lambda s: s.caches, state, longer)


@partial(jax.jit, donate_argnames="state")
def encode_block(
    models: tuple[Encoder, SplitQuantizer],
    state: State,
    position: Int32[Array, ""],
    samples: Float32[Array, "lanes _"],
    num_valid: Int32[Array, " lanes"],
) -> tuple[State, Float32[Array, "lanes frames width"], Int32[Array, "lanes frames codebooks"]]:
    """Encode one block of each lane to latents and their codes; see `Encoder`. The state given is used up."""
    encoder, quantizer = models
    with jax.default_matmul_precision(MATMUL_PRECISION):
        state, latents = jax.vmap(encoder, in_axes=(0, None, 0, 0))(state, position, samples, num_valid)
        return state, latents, jax.vmap(quantizer.encode)(latents)


@partial(jax.jit, donate_argnames="state")
def decode_block(
    models: tuple[Decoder, SplitQuantizer],
    state: State,
    position: Int32[Array, ""],
    codes: Int32[Array, "lanes frames codebooks"],
    num_books: Int32[Array, ""],
) -> tuple[State, Float32[Array, "lanes samples"]]:
    """Decode one block of each lane from its first `num_books` codebooks; see `Decoder`. The state given is used up."""
    decoder, quantizer = models
    with jax.default_matmul_precision(MATMUL_PRECISION):
        latents = jax.vmap(quantizer.decode, in_axes=(0, None))(codes, num_books)
        return jax.vmap(decoder, in_axes=(0, None, 0))(state, position, latents)
