"""Residual vector quantiser over scaled principal components, decided the same way on every machine.

A float32 matrix product may round differently with the number of rows beside a frame, the thread count or the BLAS, and
a residual quantiser turns one flipped code into seven more. So float32 is only a fast first guess here: whenever the
best two centroids of any stage lie closer than float32 can tell apart, that frame is decided again in float64.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from audio_tokenize.codecs.embedded import features

COORDINATE_ERROR = 1e-4
"""Bound of a frame's float32 rounding error in coordinates, Euclidean. Measured on speech: at most 2e-5."""


@dataclass(frozen=True, eq=False)
class _Tables:
    """The quantiser's arrays in one floating-point type."""

    mean: Float[np.ndarray, " features"]
    basis: Float[np.ndarray, "features dim"]
    codebooks: Float[np.ndarray, "codebooks codebook_size dim"]
    half_norms: Float[np.ndarray, "codebooks codebook_size"]
    ambiguities: Float[np.ndarray, " codebooks"]
    """Score differences that float32 cannot be trusted to order, by stage."""

    def quantize(
        self, mels: Float[np.ndarray, "frames features"]
    ) -> tuple[Int32[np.ndarray, "frames codebooks"], Bool[np.ndarray, " frames"]]:
        """Return the codes of each frame and whether any of its stages was too close to call."""
        residual = (mels - self.mean) @ self.basis
        rows = np.arange(len(mels))
        codes = np.empty((len(mels), len(self.codebooks)), np.int32)
        ambiguous = np.zeros(len(mels), bool)
        stages = zip(self.codebooks, self.half_norms, self.ambiguities, strict=True)
        for stage, (centroids, half_norms, ambiguity) in enumerate(stages):
            scores = residual @ centroids.T
            scores -= half_norms
            best = scores.argmax(axis=1)
            top = scores[rows, best]
            scores[rows, best] = -np.inf
            ambiguous |= top - scores.max(axis=1) < ambiguity
            residual -= centroids[best]
            codes[:, stage] = best
        return codes, ambiguous


@dataclass(frozen=True, eq=False)
class ResidualQuantizer:
    """Token windows to codes and codes to log-mel features.

    Attributes:
        mean: Mean of the log-mel features.
        basis: Principal directions times eigenvalue^-0.15, features to coordinates.
        inverse: Coordinates back to features.
        codebooks: Centroids of each residual stage, in coordinates.
    """

    mean: Float32[np.ndarray, " features"]
    basis: Float32[np.ndarray, "features dim"]
    inverse: Float32[np.ndarray, "dim features"]
    codebooks: Float32[np.ndarray, "codebooks codebook_size dim"]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the arrays that decide the codes."""
        digest = hashlib.sha256()
        for array in (self.mean, self.basis, self.codebooks):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def _tables(self, dtype: type) -> _Tables:
        books = self.codebooks.astype(dtype)
        half_norms = (books**2).sum(axis=2) / 2
        ambiguities = 2 * COORDINATE_ERROR * np.sqrt(2 * half_norms.max(axis=1))
        return _Tables(self.mean.astype(dtype), self.basis.astype(dtype), books, half_norms, ambiguities)

    @cached_property
    def _single(self) -> _Tables:
        return self._tables(np.float32)

    @cached_property
    def _double(self) -> _Tables:
        return self._tables(np.float64)

    def encode(self, windows: Float[np.ndarray, "frames window"]) -> Int32[np.ndarray, "frames codebooks"]:
        """Return the codes of token windows (see `features.token_windows`); each row depends on its window alone."""
        codes, ambiguous = self._single.quantize(features.log_mel(windows))
        if ambiguous.any():
            codes[ambiguous], _ = self._double.quantize(features.log_mel(windows[ambiguous], np.float64))
        return codes

    def encode_features(self, mels: Float32[np.ndarray, "frames features"]) -> Int32[np.ndarray, "frames codebooks"]:
        """Return the codes of features, decided in float32, which is good enough for training."""
        return self._single.quantize(mels)[0]

    def coordinates(self, codes: Int[np.ndarray, "frames codebooks"]) -> Float32[np.ndarray, "frames dim"]:
        """Sum the centroids of each frame in the order of the codebooks; fewer codes a frame are the leading ones."""
        total = np.zeros((len(codes), self.codebooks.shape[2]), np.float32)
        for book, column in zip(self.codebooks, codes.T, strict=False):
            total += book[column]
        return total
