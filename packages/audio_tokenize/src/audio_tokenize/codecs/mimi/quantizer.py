"""Mimi's split residual quantiser: latents to codes and back.

The semantic codebook quantises the latents on its own; the acoustic ones quantise, in another projection of the same
latents, what those before them leave.

Source: residual vector quantisation (Zeghidour et al., 2021, arXiv 2107.03312), split as in Mimi (Défossez et al.,
2024, arXiv 2410.00037). Behaviour follows transformers' MimiModel.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32


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
