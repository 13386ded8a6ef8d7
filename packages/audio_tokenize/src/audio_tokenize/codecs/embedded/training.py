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
import soundfile
import soxr
from jaxtyping import Array, Float32

from audio_data import InputError, Progress

from . import features
from .clustering import residual_kmeans
from .codec import EmbeddedCodec, load_embedded, save_codec
from .decoder import MelDecoder
from .quantizer import ResidualQuantizer

_AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3"})
_GAIN_SECONDS = 4.0


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
) -> list[Float32[np.ndarray, "_ features"]]:
    """Return the log-mel features of every file below `data` at every speed, from a random phase, at random gains.

    Raises:
        InputError: If there is no audio below `data`.
    """
    paths = sorted(path for path in data.rglob("*") if path.suffix.lower() in _AUDIO_SUFFIXES)
    if not paths:
        raise InputError(f"expected audio ({', '.join(sorted(_AUDIO_SUFFIXES))}) below `{data}`, got none")
    clips = []
    with Progress("features", len(paths) * len(recipe.speeds), "clips") as progress:
        for path in paths:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            for speed in recipe.speeds:
                varied = soxr.resample(samples.mean(axis=1), rate, features.SAMPLE_RATE_HZ / speed)
                varied = varied[rng.integers(features.SAMPLES_PER_TOKEN) :]
                clips.append(_log_mel(vary_level(varied, recipe, rng)))
                progress.advance()
    return clips


def vary_level(
    samples: Float32[np.ndarray, " samples"], recipe: CodecRecipe, rng: np.random.Generator
) -> Float32[np.ndarray, " samples"]:
    """Bring samples to the recipe's level, then to a random gain every 4 s, as speakers and microphones vary it."""
    level = recipe.rms / np.sqrt(np.mean(samples**2) + 1e-12)
    length = int(_GAIN_SECONDS * features.SAMPLE_RATE_HZ)
    gains = np.exp(rng.uniform(-recipe.gain_nats, recipe.gain_nats, len(samples) // length + 1))
    return (samples * level * np.repeat(gains, length)[: len(samples)]).astype(np.float32)


def _log_mel(samples: Float32[np.ndarray, " samples"]) -> Float32[np.ndarray, "frames features"]:
    windows = features.token_windows(samples)
    return np.concatenate([features.log_mel(windows[start : start + 256]) for start in range(0, len(windows), 256)])


def fit_quantizer(
    recipe: CodecRecipe, clips: list[Float32[np.ndarray, "_ features"]], rng: np.random.Generator
) -> ResidualQuantizer:
    """Fit principal components and the residual codebooks."""
    mels = np.concatenate(clips)
    if len(mels) > recipe.kmeans_tokens:
        mels = mels[rng.choice(len(mels), recipe.kmeans_tokens, replace=False)]
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
    recipe: CodecRecipe,
    quantizer: ResidualQuantizer,
    clips: list[Float32[np.ndarray, "_ features"]],
) -> MelDecoder:
    """Train the decoder network to correct the features that the frozen codes restore.

    Loss: mean |error| + 0.5 error^2 + 0.3 |error of the change from hop to hop| of the log-mel features.
    """
    rng = np.random.default_rng(recipe.seed)
    mels = np.concatenate(clips)
    coded = np.concatenate([_coded(quantizer, clip) for clip in clips])
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

    last_start = len(mels) - recipe.decoder_frames
    with Progress("decoder", recipe.decoder_steps, "steps") as progress:
        for _ in range(recipe.decoder_steps):
            starts = rng.integers(0, last_start + 1, recipe.decoder_batch)
            rows = starts[:, None] + np.arange(recipe.decoder_frames)
            wanted = mels[rows] - (coded[rows] @ quantizer.inverse + quantizer.mean)
            decoder, state, loss = update(decoder, state, jnp.asarray(coded[rows]), jnp.asarray(wanted))
            progress.advance(loss=float(loss))
    return decoder


def _coded(
    quantizer: ResidualQuantizer, mels: Float32[np.ndarray, "frames features"]
) -> Float32[np.ndarray, "frames dim"]:
    blocks = range(0, len(mels), 256)
    return np.concatenate([quantizer.coordinates(quantizer.encode_features(mels[i : i + 256])) for i in blocks])


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
        data: Folder with .wav, .flac, .ogg or .mp3 files at any depth.
        out: Weights file to write, `.safetensors`.

    Returns:
        The codec as written, that is with its matrices rounded to int8 rows.

    Raises:
        InputError: If there is no audio below `data`, or too little of it for the codebooks.
    """
    rng = np.random.default_rng(recipe.seed)
    clips = training_features(recipe, data, rng)
    quantizer = fit_quantizer(recipe, clips, rng)
    decoder = fit_decoder(recipe, quantizer, clips)
    codec_id = recipe.codec_id or f"embedded-{quantizer.fingerprint[:12]}"
    save_codec(EmbeddedCodec(codec_id, quantizer, decoder), asdict(recipe), recipe.attribution, out)
    return load_embedded(out)
