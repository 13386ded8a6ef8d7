"""The embedded codec behind the common interface."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32
from threadpoolctl import ThreadpoolController

from audio_data import InputError, hash_file
from audio_tokenize.codecs.base import AbstractCodec, AbstractDecoderStream, AbstractEncoderStream
from audio_tokenize.codecs.embedded import features, vocoder
from audio_tokenize.codecs.embedded.decoder import Block, MelDecoder
from audio_tokenize.codecs.embedded.quantizer import ResidualQuantizer
from audio_tokenize.codecs.embedded.weights import Weights, read_weights, write_weights

SHIPPED_WEIGHTS = Path(__file__).with_name("embedded.safetensors")
SHIPPED_SHA256 = "2f466cc5aa5d03ee935f74bc7533aa868104111ec1a531fb9321645d616530d8"
_BLOCK_FRAMES = 128
"""Frames encoded at once: large enough for the matrix products, small enough for the second-level cache."""

_QUANTIZER = ("mean", "basis", "inverse", "codebooks")
_BLOCK = ("taps", "up", "down")
_libraries = ThreadpoolController()

_State = tuple[tuple[Float32[Array, "past width"], ...], vocoder.VocoderState]


def _num_threads() -> int:
    """As many as there are cores, or as the convention says that whoever shares them out sets."""
    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(limit) if limit.isdecimal() and limit != "0" else os.cpu_count() or 1


def _require_finite(samples: Float[np.ndarray, " samples"], name: str) -> None:
    if not np.isfinite(samples).all():
        raise InputError(f"expected finite `samples`, got NaN or infinity in {name}: repair the audio")


class EmbeddedCodec(AbstractCodec):
    """Mel principal components, residual k-means, a small causal network and streaming Griffin-Lim.

    Attributes:
        codec_id: Name of the codes.
        num_codebooks: Residual stages, 8.
        codebook_size: Centroids a stage, 2048.
        quantizer: What makes the codes.
        decoder: Network that corrects the features the quantiser restores.
        path: Where the weights were read; None for a codec just made.
    """

    codec_id: str
    num_codebooks: int
    codebook_size: int
    quantizer: ResidualQuantizer
    decoder: MelDecoder
    path: Path | None
    sample_rate_hz: int = features.SAMPLE_RATE_HZ
    samples_per_frame: int = features.SAMPLES_PER_TOKEN
    attention_window_frames: int | None = None

    def __init__(self, codec_id: str, quantizer: ResidualQuantizer, decoder: MelDecoder, path: Path | None = None):
        self.path = path
        self.codec_id = codec_id
        self.num_codebooks, self.codebook_size, _ = quantizer.codebooks.shape
        self.quantizer = quantizer
        self.decoder = decoder

    @property
    def name(self) -> str:
        """What `load_codec` takes: "embedded" for the weights that ship with the package, the path of any others."""
        return "embedded" if self.path in (None, SHIPPED_WEIGHTS) else str(self.path)

    def encode_batch(self, signals: Sequence[Float[np.ndarray, " _"]]) -> list[Int32[np.ndarray, "_ codebooks"]]:
        """Encode several signals at once, in blocks of frames on all cores.

        Args:
            signals: Mono samples at 24 kHz. The codes carry the level: speech is expected near an RMS of 0.07.

        Returns:
            Codes [frames, 8] for each signal.

        Raises:
            InputError: If a sample is not finite.
        """
        for index, samples in enumerate(signals):
            _require_finite(samples, f"signal {index}")
        windows = [features.token_windows(samples) for samples in signals]
        ends = np.cumsum([0, *map(len, windows)])
        starts = range(0, int(ends[-1]), _BLOCK_FRAMES)
        # The blocks share the cores; BLAS threads inside them would only fight over the same cores.
        with _libraries.limit(limits=1, user_api="blas"), ThreadPoolExecutor(_num_threads()) as pool:
            blocks = pool.map(lambda start: self._encode_block(windows, ends, start), starts)
            codes = np.concatenate([np.zeros((0, self.num_codebooks), np.int32), *blocks])
        return [codes[begin:end] for begin, end in pairwise(ends)]

    def _encode_block(
        self, windows: list[Float[np.ndarray, "_ window"]], ends: Int[np.ndarray, " ends"], start: int
    ) -> Int32[np.ndarray, "frames codebooks"]:
        """Encode the frames from `start` of all signals in a row, gathering only this block's windows."""
        stop = start + _BLOCK_FRAMES
        signals = range(int(np.searchsorted(ends, start, "right")) - 1, int(np.searchsorted(ends[:-1], stop)))
        rows = [windows[signal][max(0, start - ends[signal]) : stop - ends[signal]] for signal in signals]
        return self.quantizer.encode(np.concatenate(rows))

    def encoder_stream(self) -> "EmbeddedEncoderStream":
        """Begin encoding a signal that arrives in pieces; a frame is given out as soon as its last sample is in."""
        return EmbeddedEncoderStream(self.quantizer)

    def decoder_stream(self) -> "EmbeddedDecoderStream":
        """Begin decoding codes that arrive in pieces; samples follow one frame (80 ms) late."""
        return EmbeddedDecoderStream(self)

    def codebook_vectors(self) -> Float32[np.ndarray, "codebooks codebook_size dim"]:
        """Return the centroids in scaled principal components of the log-mel features of a token."""
        return self.quantizer.codebooks


class EmbeddedEncoderStream(AbstractEncoderStream):
    """Keeps the samples that frames to come still depend on."""

    def __init__(self, quantizer: ResidualQuantizer):
        self._quantizer = quantizer
        self._kept = np.zeros(features.CONTEXT, np.float32)

    def push(self, samples: Float[np.ndarray, " samples"]) -> Int32[np.ndarray, "frames codebooks"]:
        """Take the next samples and return the codes of the frames they complete."""
        _require_finite(samples, "a piece of a stream")
        line = np.concatenate([self._kept, samples])
        windows = features.context_windows(line)
        self._kept = line[len(windows) * features.SAMPLES_PER_TOKEN :]
        return self._quantizer.encode(windows)

    def finish(self) -> Int32[np.ndarray, "frames codebooks"]:
        """Return the codes of the last, incomplete frame: one frame or none."""
        missing = -(len(self._kept) - features.CONTEXT) % features.SAMPLES_PER_TOKEN
        return self.push(np.zeros(missing, self._kept.dtype))


@eqx.filter_jit
def _decode_frame(
    decoder: MelDecoder,
    inverse: Float32[Array, "dim features"],
    mean: Float32[Array, " features"],
    state: _State,
    coordinates: Float32[Array, "1 dim"],
) -> tuple[_State, Float32[Array, " samples"], Float32[Array, " features"]]:
    """Take one frame's coordinates, give out the samples of the frame before it and this frame's features."""
    memory, waveform = state
    memory, correction = decoder(memory, coordinates)
    mels = (coordinates @ inverse + correction)[0] + mean
    waveform, samples = vocoder.step(waveform, mels)
    return (memory, waveform), samples, mels


_vocode = jax.jit(vocoder.step)


class EmbeddedDecoderStream(AbstractDecoderStream):
    """Runs frame by frame, always the same compiled step, so that pieces cannot differ from the whole."""

    def __init__(self, codec: EmbeddedCodec):
        self._codec = codec
        self._inverse, self._mean = jnp.asarray(codec.quantizer.inverse), jnp.asarray(codec.quantizer.mean)
        self._state: _State = (codec.decoder.initial_state(), vocoder.initial_state())
        self._mels: Float32[Array, " features"] | None = None

    def push(self, codes: Int[np.ndarray, "frames codebooks"]) -> Float32[np.ndarray, " samples"]:
        """Take the next frames and return the samples of all frames but the last.

        Raises:
            InputError: If there are more codebooks than the codec has, or a code is outside its codebook.
        """
        self._check(codes)
        given = [np.zeros(0, np.float32)]
        for coordinates in self._codec.quantizer.coordinates(codes):
            first = self._mels is None
            self._state, samples, self._mels = _decode_frame(
                self._codec.decoder, self._inverse, self._mean, self._state, coordinates[None]
            )
            if not first:
                given.append(np.asarray(samples))
        return np.concatenate(given)

    def _check(self, codes: Int[np.ndarray, "frames codebooks"]) -> None:
        books, size = self._codec.num_codebooks, self._codec.codebook_size
        if not 1 <= codes.shape[1] <= books:
            raise InputError(
                f"expected `codes` of 1 to {books} codebooks, got {codes.shape[1]}: decode leading codebooks"
            )
        if codes.size and not (codes.min() >= 0 and codes.max() < size):
            raise InputError(
                f"expected `codes` of 0 to {size - 1}, got {codes.min()} to {codes.max()}: not this codec's"
            )

    def finish(self) -> Float32[np.ndarray, " samples"]:
        """Return the samples of the last frame, as if its last spectrum went on."""
        if self._mels is None:
            return np.zeros(0, np.float32)
        held = jnp.tile(self._mels[-features.NUM_MELS :], features.HOPS_PER_TOKEN)
        _, samples = _vocode(self._state[1], held)
        self._mels = None
        return np.asarray(samples)


def load_embedded(path: Path = SHIPPED_WEIGHTS) -> EmbeddedCodec:
    """Load the codec from a weights file, by default the one that ships with the package.

    Raises:
        InputError: If the file cannot be read, is damaged, or does not hold this codec's tensors.
    """
    if path == SHIPPED_WEIGHTS and (found := hash_file(path)) != SHIPPED_SHA256:
        raise InputError(
            f"expected `{path}` as it was shipped, with SHA-256 {SHIPPED_SHA256}, got {found!r}: install "
            "audio-tokenize again"
        )
    weights = read_weights(path)
    try:
        codec = codec_from_weights(weights, path)
    except KeyError as error:
        raise InputError(f"expected tensor {error} in `{path}`, got none: restore or retrain the file") from error
    if codec.quantizer.basis.shape[0] != features.NUM_FEATURES:
        shape = codec.quantizer.basis.shape
        raise InputError(
            f"expected `basis` of {features.NUM_FEATURES} rows in `{path}`, got {shape!r}: retrain the file"
        )
    return codec


def codec_from_weights(weights: Weights, path: Path | None = None) -> EmbeddedCodec:
    """Build the codec from named tensors; a missing one raises KeyError."""
    tensors = weights.tensors
    quantizer = ResidualQuantizer(*(tensors[name] for name in _QUANTIZER))
    num_blocks = sum(name.endswith(".taps") for name in tensors)
    blocks = [Block(*(jnp.asarray(tensors[f"decoder.{i}.{part}"]) for part in _BLOCK)) for i in range(num_blocks)]
    enter, leave = (jnp.asarray(tensors[f"decoder.{name}"]) for name in ("enter", "leave"))
    return EmbeddedCodec(weights.codec_id, quantizer, MelDecoder(enter, tuple(blocks), leave), path)


def save_codec(codec: EmbeddedCodec, recipe: Mapping[str, object], attribution: str, path: Path) -> None:
    """Write the codec to a weights file that `load_embedded` reads, its large matrices as int8 rows."""
    quantizer, decoder = codec.quantizer, codec.decoder
    tensors = {name: getattr(quantizer, name) for name in _QUANTIZER}
    compact = {"codebooks", "decoder.enter", "decoder.leave"}
    tensors |= {"decoder.enter": np.asarray(decoder.enter), "decoder.leave": np.asarray(decoder.leave)}
    for index, block in enumerate(decoder.blocks):
        tensors |= {f"decoder.{index}.{part}": np.asarray(getattr(block, part)) for part in _BLOCK}
        compact |= {f"decoder.{index}.up", f"decoder.{index}.down"}
    write_weights(path, Weights(codec.codec_id, recipe, attribution, tensors), frozenset(compact))
