"""From the place of a Mimi's files, a folder, a file or a repository of the Hugging Face hub, to the codec."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from audio_data import HubRepository, InputError, is_hub_id
from audio_tokenize.codecs.mimi.assembly import build
from audio_tokenize.codecs.mimi.codec import MimiCodec, Provenance
from audio_tokenize.codecs.mimi.config import MimiConfig
from audio_tokenize.codecs.mimi.weights import CONFIG_NAME, WEIGHTS_NAME, WeightsFile

PUBLISHED = "kyutai/mimi"
_SNAPSHOT = re.compile(r"models--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)/snapshots/(?P<commit>[0-9a-f]+)$")
DEFAULT_CODEBOOKS = 8
DEFAULT_WINDOW_SECONDS = 10.0


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
    provenance = Provenance(location.origin, location.revision, file.sha256)
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
