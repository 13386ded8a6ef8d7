"""Mimi's weights file: tensors under their published names, checked.

Three layouts of names are read. The published file and transformers up to 5.22 call the parts `encoder.layers`,
`encoder_transformer`, `downsample`, `upsample`, `decoder_transformer`, `decoder.layers` and `quantizer`; the modules of
transformers' MimiModel from 5.23 on nest all but the last in `encoder` and `decoder`, as `encoder.encoder_seanet` and
so on.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from audio_data import InputError
from audio_tokenize.codecs.mimi.assembly import build
from audio_tokenize.codecs.mimi.config import MimiConfig

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"

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
                listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
                raise InputError(
                    f"expected the tensors of a Mimi in `{self.path}`, got {f'{problem} {listed}'.strip()}: "
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
