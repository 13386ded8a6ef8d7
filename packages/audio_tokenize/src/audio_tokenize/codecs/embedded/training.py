"""Train the embedded codec: principal components, residual k-means, then the decoder network on frozen codes.

`audio-tokenize train-codec` calls `train_codec`. The shipped weights are this module's defaults on the data that
`codec_data/prepare.py` makes.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import soxr
from jaxtyping import Array, Float32, Int

from audio_data import InputError, Progress
from audio_tokenize.audio_files.contents import AUDIO_SUFFIXES
from audio_tokenize.codecs.embedded import features
from audio_tokenize.codecs.embedded.codec import EmbeddedCodec, load_embedded, save_codec
from audio_tokenize.codecs.embedded.decoder import MelDecoder
from audio_tokenize.codecs.embedded.quantizer import ResidualQuantizer
from audio_tokenize.codecs.embedded.weights import restore_rows, round_rows
from audio_tokenize.waveform import load_audio

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


_GAIN_SECONDS = 4.0
_BLOCK = 256


@dataclass(frozen=True)
class CodecRecipe:
    """Everything that decides the weights besides the audio.

    Attributes:
        codec_id: Name of the codes the new codec makes; empty names it after a hash of what decides its codes.
        attribution: Whose recordings it is trained on, kept in the weights file.
        seed: Seed of every random choice.
        rms: Level every file is brought to before `gain_nats` is applied.
        gain_nats: Half width of the uniform random gain, natural log of amplitude, drawn anew every 4 s.
        speeds: Each file is heard at each of these speeds by resampling, as if other voices spoke.
        num_components: Principal components kept of the 800 log-mel features of a token.
        eigenvalue_power: Components are scaled by eigenvalue^-power: 0 minimises the squared log-mel error.
        num_codebooks: Residual stages.
        codebook_size: Centroids a stage.
        kmeans_tokens: At most this many tokens, drawn at random, are clustered.
        kmeans_iterations: Lloyd iterations a stage.
        decoder_width: Channels of the decoder network.
        decoder_hidden: Channels inside its perceptrons.
        decoder_blocks: Number of its blocks.
        decoder_steps: Optimiser steps.
        decoder_batch: Clips a step.
        decoder_frames: Frames a clip.
        learning_rate: Peak of the cosine schedule.
    """

    codec_id: str = ""
    attribution: str = ""
    seed: int = 0
    rms: float = 0.07
    gain_nats: float = 0.9
    speeds: tuple[float, ...] = (1.0, 0.78, 0.88, 1.13, 1.28)
    num_components: int = 64
    eigenvalue_power: float = 0.15
    num_codebooks: int = 8
    codebook_size: int = 2048
    kmeans_tokens: int = 500_000
    kmeans_iterations: int = 12
    decoder_width: int = 256
    decoder_hidden: int = 512
    decoder_blocks: int = 4
    decoder_steps: int = 4_000
    decoder_batch: int = 16
    decoder_frames: int = 32
    learning_rate: float = 1.5e-3


def training_features(
    recipe: CodecRecipe, data: Path, rng: np.random.Generator
) -> Float32[np.ndarray, "frames features"]:
    """Return the log-mel features of every file below `data` at every speed, from a random phase, at random gains.

    Raises:
        InputError: If there is no audio below `data`, or some of it cannot be read.
    """
    paths = sorted(path for path in data.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not paths:
        raise InputError(f"expected audio ({', '.join(AUDIO_SUFFIXES)}) below `{data}`, got none")
    clips = []
    with Progress("features", len(paths) * len(recipe.speeds), "clips") as progress:
        for path in paths:
            samples = load_audio(path, features.SAMPLE_RATE_HZ)
            for speed in recipe.speeds:
                varied = soxr.resample(samples, features.SAMPLE_RATE_HZ, features.SAMPLE_RATE_HZ / speed)
                varied = varied[rng.integers(features.SAMPLES_PER_TOKEN) :]
                clips += _log_mels(vary_level(varied, recipe, rng))
                progress.advance()
    return np.concatenate(clips) if clips else np.zeros((0, features.NUM_FEATURES), np.float32)


def vary_level(
    samples: Float32[np.ndarray, " samples"], recipe: CodecRecipe, rng: np.random.Generator
) -> Float32[np.ndarray, " samples"]:
    """Bring samples to the recipe's level, then to a random gain every 4 s, as speakers and microphones vary it."""
    level = recipe.rms / np.sqrt(np.mean(samples**2) + 1e-12) if len(samples) else 1.0
    length = int(_GAIN_SECONDS * features.SAMPLE_RATE_HZ)
    gains = np.exp(rng.uniform(-recipe.gain_nats, recipe.gain_nats, len(samples) // length + 1))
    return (samples * level * np.repeat(gains, length)[: len(samples)]).astype(np.float32)


def _log_mels(samples: Float32[np.ndarray, " samples"]) -> list[Float32[np.ndarray, "_ features"]]:
    windows = features.token_windows(samples)
    return [features.log_mel(windows[start : start + _BLOCK]) for start in range(0, len(windows), _BLOCK)]


def fit_quantizer(
    recipe: CodecRecipe, mels: Float32[np.ndarray, "frames features"], rng: np.random.Generator
) -> ResidualQuantizer:
    """Fit principal components and the residual codebooks.

    Raises:
        InputError: If there are fewer distinct tokens than centroids in a codebook.
    """
    if len(mels) < recipe.codebook_size:
        raise InputError(f"expected at least {recipe.codebook_size} distinct tokens, got {len(mels)}: add audio")
    num_drawn = min(len(mels), recipe.kmeans_tokens)
    mels = mels[rng.choice(len(mels), num_drawn, replace=False)] if num_drawn < len(mels) else mels.copy()
    mean = mels.mean(axis=0, dtype=np.float64).astype(np.float32)
    mels -= mean
    eigenvalues, directions = np.linalg.eigh((mels.T @ mels).astype(np.float64) / len(mels))
    kept = slice(None, -recipe.num_components - 1, -1)
    scale = np.maximum(eigenvalues[kept], 1e-9) ** -recipe.eigenvalue_power
    basis = (directions[:, kept] * scale).astype(np.float32)
    inverse = (directions[:, kept] / scale).T.astype(np.float32)
    books = residual_kmeans(mels @ basis, recipe.num_codebooks, recipe.codebook_size, recipe.kmeans_iterations, rng)
    return ResidualQuantizer(mean, basis, inverse, books)


def fit_decoder(
    recipe: CodecRecipe, quantizer: ResidualQuantizer, mels: Float32[np.ndarray, "frames features"]
) -> MelDecoder:
    """Train the decoder network to correct the features that the frozen codes restore.

    Loss: mean |error| + 0.5 error^2 + 0.3 |error of the change from hop to hop| of the log-mel features.
    """
    rng = np.random.default_rng(recipe.seed)
    starts = range(0, len(mels), _BLOCK)
    coded = np.concatenate(
        [quantizer.coordinates(quantizer.encode_features(mels[start : start + _BLOCK])) for start in starts]
    )
    decoder = MelDecoder.initialize(
        recipe.num_components,
        mels.shape[1],
        recipe.decoder_width,
        recipe.decoder_hidden,
        recipe.decoder_blocks,
        jax.random.key(recipe.seed),
    )
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, recipe.learning_rate, recipe.decoder_steps // 20, recipe.decoder_steps
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.98, weight_decay=0.01))
    state = optimizer.init(eqx.filter(decoder, eqx.is_array))

    @eqx.filter_jit(donate="all")
    def update(
        decoder: MelDecoder, state: optax.OptState, coordinates: Array, wanted: Array
    ) -> tuple[MelDecoder, optax.OptState, Array]:
        loss, gradients = eqx.filter_value_and_grad(_decoder_loss)(decoder, coordinates, wanted)
        # optax raises a Python float to an integer array's power, which strict promotion forbids.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradients, state, eqx.filter(decoder, eqx.is_array))
        return eqx.apply_updates(decoder, updates), state, loss

    length = min(recipe.decoder_frames, len(mels))
    with Progress("decoder", recipe.decoder_steps, "steps") as progress:
        for _ in range(recipe.decoder_steps):
            starts = rng.integers(0, len(mels) - length + 1, recipe.decoder_batch)
            rows = starts[:, None] + np.arange(length)
            wanted = mels[rows] - (coded[rows] @ quantizer.inverse + quantizer.mean)
            decoder, state, loss = update(decoder, state, jnp.asarray(coded[rows]), jnp.asarray(wanted))
            progress.advance(loss=float(loss))
    return decoder


def _decoder_loss(
    decoder: MelDecoder,
    coordinates: Float32[Array, "batch frames dim"],
    wanted: Float32[Array, "batch frames features"],
) -> Float32[Array, ""]:
    _, correction = jax.vmap(lambda line: decoder(decoder.initial_state(), line))(coordinates)
    error = (correction - wanted).reshape(len(wanted), -1, features.NUM_MELS)
    change = jnp.diff(error, axis=1)
    return jnp.mean(jnp.abs(error)) + 0.5 * jnp.mean(error**2) + 0.3 * jnp.mean(jnp.abs(change))


def train_codec(recipe: CodecRecipe, data: Path, out: Path) -> EmbeddedCodec:
    """Train a codec on every audio file below `data` and write its weights file.

    The same recipe and data on the same machine give the same codes.

    Args:
        recipe: What to train.
        data: Folder with .wav, .flac, .ogg, .opus or .mp3 files at any depth.
        out: Weights file to write, `.safetensors`.

    Returns:
        The codec as written, that is with its matrices rounded to int8 rows.

    Raises:
        InputError: If there is no audio below `data`, or too little of it for the codebooks.
    """
    rng = np.random.default_rng(recipe.seed)
    mels = training_features(recipe, data, rng)
    quantizer = fit_quantizer(recipe, mels, rng)
    decoder = fit_decoder(recipe, quantizer, mels)
    codec_id = recipe.codec_id or f"embedded-{quantizer.fingerprint[:12]}"
    save_codec(EmbeddedCodec(codec_id, quantizer, decoder), asdict(recipe), recipe.attribution, out)
    return load_embedded(out)
