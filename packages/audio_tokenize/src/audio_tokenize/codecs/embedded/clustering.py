"""Residual k-means: the codebooks of the embedded codec, from feature vectors."""

import numpy as np
from jaxtyping import Float32, Int

from audio_data import InputError
from audio_tokenize.codecs.embedded.weights import restore_rows, round_rows

_BLOCK_ROWS = 4096


def nearest(
    points: Float32[np.ndarray, "points dim"], centroids: Float32[np.ndarray, "centroids dim"]
) -> Int[np.ndarray, " points"]:
    """Return the index of the nearest centroid of each point."""
    half_norms = (centroids**2).sum(axis=1) / 2
    blocks = range(0, len(points), _BLOCK_ROWS)
    return np.concatenate([(points[i : i + _BLOCK_ROWS] @ centroids.T - half_norms).argmax(axis=1) for i in blocks])


def cluster_means(
    points: Float32[np.ndarray, "points dim"], labels: Int[np.ndarray, " points"], num_clusters: int
) -> tuple[Float32[np.ndarray, "centroids dim"], Int[np.ndarray, " centroids"]]:
    """Return the mean and the number of the points of each cluster; the mean of an empty one is zero."""
    counts = np.bincount(labels, minlength=num_clusters)
    filled = counts > 0
    starts = (np.cumsum(counts) - counts)[filled]
    means = np.zeros((num_clusters, points.shape[1]), np.float32)
    means[filled] = np.add.reduceat(points[np.argsort(labels, kind="stable")], starts, axis=0)
    means /= np.maximum(counts, 1)[:, None]
    return means, counts


def kmeans(
    points: Float32[np.ndarray, "points dim"], num_clusters: int, iterations: int, rng: np.random.Generator
) -> Float32[np.ndarray, "centroids dim"]:
    """Cluster `points` by Lloyd's iterations from random distinct points.

    A cluster left without points is moved to a random point, until the last iteration. Digital silence occurs often and
    always at the same place, so starting points are drawn from the distinct ones.

    Raises:
        InputError: If there are fewer distinct points than clusters.
    """
    distinct = np.unique(points, axis=0)
    if len(distinct) < num_clusters:
        raise InputError(f"expected at least {num_clusters} distinct tokens, got {len(distinct)}: add audio")
    centroids = distinct[rng.choice(len(distinct), num_clusters, replace=False)]
    for iteration in range(iterations):
        centroids, counts = cluster_means(points, nearest(points, centroids), num_clusters)
        empty = counts == 0
        if iteration < iterations - 1 or empty.any():
            centroids[empty] = distinct[rng.choice(len(distinct), empty.sum(), replace=False)]
    return centroids


def residual_kmeans(
    points: Float32[np.ndarray, "points dim"],
    num_codebooks: int,
    codebook_size: int,
    iterations: int,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "codebooks codebook_size dim"]:
    """Fit each codebook to what the ones before it leave.

    The centroids are rounded as they will be stored before the next stage sees their residuals, so that later stages
    make up for the rounding.
    """
    residual = points.copy()
    books = []
    for _ in range(num_codebooks):
        book = restore_rows(*round_rows(kmeans(residual, codebook_size, iterations, rng)))
        residual -= book[nearest(residual, book)]
        books.append(book)
    return np.stack(books)
