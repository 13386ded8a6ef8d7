"""Mimi's weights file: found, its tensors checked under their published names, and loaded as the codec.

Three layouts of names are read. The published file and transformers up to 5.22 call the parts `encoder.layers`,
`encoder_transformer`, `downsample`, `upsample`, `decoder_transformer`, `decoder.layers` and `quantizer`; the modules of
transformers' MimiModel from 5.23 on nest all but the last in `encoder` and `decoder`, as `encoder.encoder_seanet` and
so on.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from audio_data import HubRepository, InputError, is_hub_id, listed
from audio_tokenize.codecs.mimi.assembly import build
from audio_tokenize.codecs.mimi.codec import MimiCodec, WeightsOrigin
from audio_tokenize.codecs.mimi.config import MimiConfig

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"
PUBLISHED = "kyutai/mimi"
DEFAULT_CODEBOOKS = 8
DEFAULT_WINDOW_SECONDS = 10.0

# Numbers of tensors that are not there, for which zeros are made until all is known that is missing.
_MAX_ABSENT = 2**28
_PUBLISHED = {
    "encoder.encoder_seanet.layers.": "encoder.layers.",
    "encoder.encoder.layers.": "encoder.layers.",
    "encoder.encoder_transformer.": "encoder_transformer.",
    "encoder.downsample.": "downsample.",
    "decoder.upsample.": "upsample.",
    "decoder.decoder_transformer.": "decoder_transformer.",
    "decoder.decoder_seanet.layers.": "decoder.layers.",
    "decoder.decoder.layers.": "decoder.layers.",
}
_SNAPSHOT = re.compile(r"models--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)/snapshots/(?P<commit>[0-9a-f]+)$")


def published_name(name: str) -> str:
    """Return the published name of a tensor that may have the name of a later layout."""
    for prefix, published in _PUBLISHED.items():
        if name.startswith(prefix):
            return published + name.removeprefix(prefix)
    return name


class WeightsFile:
    """A file of Mimi weights, read tensor by tensor under the published names."""

    def __init__(self, path: Path):
        """Open `path`.

        Raises:
            InputError: If it is missing or no safetensors file.
        """
        self.path = path
        try:
            self._file = safe_open(path, "numpy")
        except (OSError, SafetensorError, ValueError) as error:
            raise InputError(f"expected Mimi weights in `{path}`, got {error!s}: download the file again") from error
        self._stored = {published_name(name): name for name in self._file.keys()}  # noqa: SIM118 (not a mapping)
        self._missing: list[str] = []
        self._misshapen: list[str] = []
        self._num_absent = 0

    @property
    def sha256(self) -> str:
        """SHA-256 of all tensors, in order of their published names: the same for every layout of names."""
        digest = hashlib.sha256()
        for name in sorted(self._stored):
            tensor = self._tensor(self._stored[name])
            digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
            digest.update(np.ascontiguousarray(tensor).data)
        return digest.hexdigest()

    def load_tensor(self, name: str, *shape: int) -> Float32[np.ndarray, "..."]:
        """Return a tensor as float32; zeros for one that `check` will complain of.

        Raises:
            InputError: If so much is missing that nothing as large is to be made for it.
        """
        if name not in self._stored:
            return self._absent(self._missing, name, shape)
        tensor = self._tensor(self._stored[name])
        if tensor.shape != shape:
            return self._absent(self._misshapen, f"{name} of {tensor.shape} instead of {shape}", shape)
        return tensor.astype(np.float32, copy=False)

    def _absent(self, problems: list[str], problem: str, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
        problems.append(problem)
        self._num_absent += math.prod(shape)
        if self._num_absent > _MAX_ABSENT:
            self.check()
        return np.zeros(shape, np.float32)

    def _tensor(self, name: str) -> np.ndarray:
        try:
            return self._file.get_tensor(name)
        except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"expected Mimi weights in `{self.path}`, got {error!s}: download the file again"
            ) from error

    def check(self) -> None:
        """Raise InputError if a tensor taken so far was missing or of another shape, naming the first of them."""
        for problem, names in (("no", self._missing), ("", self._misshapen)):
            if names:
                raise InputError(
                    f"expected the tensors of a Mimi in `{self.path}`, got {f'{problem} {listed(names, 4)}'.strip()}: "
                    f"download the file again, with the {CONFIG_NAME} that belongs to it"
                )


def write_random_mimi(folder: Path, config: MimiConfig, seed: int = 0) -> None:
    """Write a Mimi of random weights as `config.json` and `model.safetensors`, in the published format.

    Its codes vary with the sound and mean nothing: for tests and measurements where the published weights are not.

    Args:
        folder: Created if missing.
        config: Sizes.
        seed: Of all weights.
    """
    rng = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}

    def draw(name: str, *shape: int) -> Float32[np.ndarray, "..."]:
        tensors[name] = _draw(rng, name, shape)
        return tensors[name]

    build(draw, config, config.num_quantizers, window=None)
    for name in [name for name in tensors if name.endswith(".embed_sum")]:
        tensors[name.replace(".embed_sum", ".initialized")] = np.ones(1, np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS_NAME, {"format": "pt"})
    (folder / CONFIG_NAME).write_text(json.dumps(config.to_json(), indent=2) + "\n", encoding="utf-8")


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    """Draw a tensor such that signals neither fade nor explode and every part of the model matters."""
    if name.endswith((".scale", "norm.weight", ".cluster_usage")):
        middle = 0.3 if name.endswith(".scale") else 1.0
        return rng.uniform(0.8 * middle, 1.2 * middle, shape).astype(np.float32)
    if name.endswith(".bias"):
        return rng.uniform(-0.1, 0.1, shape).astype(np.float32)
    drawn = rng.standard_normal(shape, np.float32)
    if name.endswith(".embed_sum"):
        return drawn
    return drawn * np.float32(math.sqrt(2 / math.prod(shape[1:])))


@dataclass(frozen=True)
class Location:
    """Files of a Mimi.

    Attributes:
        weights: The weights file.
        config: The `config.json` beside it; None where there is none.
        origin: What to call to find the files again: an absolute path or a hub id.
        revision: Commit, where it is known.
    """

    weights: Path
    config: Path | None
    origin: str
    revision: str | None


def locate(weights: str, revision: str | None) -> Location:
    """Find a Mimi's files, downloading them if `weights` is a hub id.

    Args:
        weights: A folder with `model.safetensors` (and `config.json`), a `.safetensors` file, or a hub id; a folder of
            the hub's cache counts as the hub id and commit that it holds.
        revision: Branch, tag or commit of a hub id.

    Raises:
        InputError: If there is no such file or repository, or the hub cannot be reached.
    """
    path = Path(weights).expanduser()
    if path.exists() or not is_hub_id(weights) or weights.endswith(".safetensors"):
        if revision is not None and not _SNAPSHOT.search(path.as_posix()):
            raise InputError(f"expected `revision` for a hub id only, got {revision!r} with `{weights}`: leave it out")
        return _local(path)
    repository = HubRepository(weights, f"weights `{weights}`", "name it with `--weights DIR`", revision)
    found = _local(repository.fetch_files(CONFIG_NAME, WEIGHTS_NAME))
    commit = _SNAPSHOT.search(found.weights.parent.as_posix())
    return Location(found.weights, found.config, weights, commit["commit"] if commit else revision)


def _local(path: Path) -> Location:
    file = path / WEIGHTS_NAME if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"expected `weights` to be a folder with {WEIGHTS_NAME}, a .safetensors file or a hub id as {PUBLISHED}, "
            f"got {str(path)!r}, where there is no {file.name}"
        )
    config = file.with_name(CONFIG_NAME)
    folder = path if path.is_dir() else path.parent
    if snapshot := _SNAPSHOT.search(folder.absolute().as_posix()):
        origin, commit = f"{snapshot['owner']}/{snapshot['name']}", snapshot["commit"]
    else:
        origin, commit = str(path.absolute()), None
    return Location(file, config if config.is_file() else None, origin, commit)


def load_mimi(
    weights: str | None = None,
    *,
    revision: str | None = None,
    num_codebooks: int | None = None,
    attention_window_seconds: float | int | None = DEFAULT_WINDOW_SECONDS,
    codec_id: str | None = None,
    num_lanes: int | None = None,
) -> MimiCodec:
    """Load Mimi.

    Args:
        weights: A folder with `model.safetensors` (and `config.json`), a `.safetensors` file, or a hub id; None for
            "kyutai/mimi". Without a `config.json` the sizes are the published ones.
        revision: Branch, tag or commit of a hub id; None for its default branch.
        num_codebooks: Leading codebooks to use; None for 8 of the published 32.
        attention_window_seconds: How much past the attention sees: a multiple of a frame, or None for all of it.
        codec_id: Names the codes; None for "mimi" when the weights are those of "kyutai/mimi" and for "mimi-" and 12
            digits of the weights' SHA-256 otherwise.
        num_lanes: Signals side by side; None for what suits the device.

    Raises:
        InputError: If the files cannot be found, read or downloaded or are not those of a Mimi, or have too few
            codebooks.
    """
    location = locate(weights or PUBLISHED, revision)
    config = MimiConfig() if location.config is None else MimiConfig.read(location.config)
    books = _num_codebooks(num_codebooks, config, location)
    window = _window_positions(attention_window_seconds, config)
    file = WeightsFile(location.weights)
    parts = build(file.load_tensor, config, books, window)
    file.check()
    provenance = WeightsOrigin(location.origin, location.revision, file.sha256)
    named = codec_id or ("mimi" if location.origin == PUBLISHED else f"mimi-{provenance.sha256[:12]}")
    return MimiCodec(named, config, parts, provenance, num_lanes)


def _num_codebooks(wanted: int | None, config: MimiConfig, location: Location) -> int:
    if wanted is None:
        return min(DEFAULT_CODEBOOKS, config.num_quantizers)
    if not config.num_semantic_quantizers <= wanted <= config.num_quantizers:
        raise InputError(
            f"expected `num_codebooks` from {config.num_semantic_quantizers} to {config.num_quantizers}, the codebooks "
            f"of `{location.origin}`, got {wanted!r}"
        )
    return wanted


def _window_positions(seconds: float | int | None, config: MimiConfig) -> int | None:
    if seconds is None:
        return None
    frame_seconds = config.samples_per_frame / config.sampling_rate
    frames = round(seconds / frame_seconds) if math.isfinite(seconds) else 0
    if frames < 1 or not math.isclose(frames * frame_seconds, seconds):
        raise InputError(
            f"expected `attention_window_seconds` to be a multiple of {frame_seconds:g} or none, got {seconds!r}"
        )
    return frames * config.latent_stride
