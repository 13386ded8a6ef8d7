import numpy as np
import pytest

from audio_tokenize.codecs.embedded import features
from audio_tokenize.codecs.embedded.codec import load_embedded
from audio_tokenize.codecs.embedded.quantizer import ResidualQuantizer


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    rng = np.random.default_rng(0)
    levels = np.exp(rng.uniform(-5, 0, (150, 1)))
    return (levels * rng.standard_normal((150, features.SAMPLES_PER_TOKEN))).astype(np.float32).reshape(-1)


def exhaustive(quantizer: ResidualQuantizer, mels: np.ndarray) -> np.ndarray:
    """Nearest centroids by explicit float64 differences."""
    residual = (mels - quantizer.mean.astype(np.float64)) @ quantizer.basis.astype(np.float64)
    codes = []
    for book in quantizer.codebooks.astype(np.float64):
        best = [((book - row) ** 2).sum(axis=1).argmin() for row in residual]
        residual = residual - book[best]
        codes.append(best)
    return np.stack(codes, axis=1)


def test_codes_are_the_nearest_centroids_in_float64(noise):
    quantizer = load_embedded().quantizer
    windows = features.token_windows(noise)[:40]
    np.testing.assert_array_equal(
        quantizer.encode(windows), exhaustive(quantizer, features.log_mel(windows, np.float64))
    )


def test_near_ties_are_decided_in_float64(noise):
    """Centroids so close that float32 cannot order them, and guesses by the rows beside a frame."""
    shipped = load_embedded().quantizer
    windows = features.token_windows(noise)
    centres = shipped.coordinates(shipped.encode(windows[:16]))
    jitter = np.random.default_rng(0).standard_normal((2, 64, 64)).astype(np.float32) * np.float32(3e-6)
    books = np.stack([np.repeat(centres, 4, axis=0), np.zeros((64, 64), np.float32)]) + jitter
    quantizer = ResidualQuantizer(shipped.mean, shipped.basis, shipped.inverse, books)
    codes = quantizer.encode(windows)
    np.testing.assert_array_equal(codes, exhaustive(quantizer, features.log_mel(windows, np.float64)))
    alone = np.concatenate([quantizer.encode(windows[row : row + 1]) for row in range(20)])
    np.testing.assert_array_equal(alone, codes[:20])


def test_coordinates_add_up_the_named_centroids():
    quantizer = load_embedded().quantizer
    codes = np.array([[3, 1, 4], [1, 5, 9]])
    expected = [sum(quantizer.codebooks[book, code] for book, code in enumerate(row)) for row in codes]
    np.testing.assert_allclose(quantizer.coordinates(codes), expected, rtol=1e-6)
