"""Low-rank adapters of a model's matrices (LoRA, DoRA), merged into plain weights or written as PEFT's folder."""

import dataclasses
import math
import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from safetensors.numpy import save

from audio_model.config import Qwen3xConfig
from audio_model.errors import InputError
from audio_model.huggingface import LAYER_TENSORS, layer_tensor
from audio_model.qwen3x import Qwen3x
from audio_model.tensor_files import whole_file, write_json

TARGETS = {name.split(".")[-2]: field for field, (name, transposed) in LAYER_TENSORS.items() if transposed}
"""Field of `DecoderLayer` by PEFT's name of the matrix, such as `q_proj`."""


@dataclasses.dataclass(frozen=True)
class LowRank:
    """Which matrices have adapters, and their form; hashable, so it is a static argument.

    Attributes:
        rank: Columns of the first factor and rows of the second.
        alpha: The product of the factors is scaled by `alpha / rank`; above 0 and finite.
        targets: Names of matrices, of `TARGETS`.
        dora: Whether the norm of each output's weights is trained by itself, as the magnitude (DoRA).
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    dora: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"`rank` must be at least 1, got {self.rank!r}")
        if not 0 < self.alpha < math.inf:
            raise InputError(f"`alpha` must be above 0 and finite, got {self.alpha!r}")
        unknown = [name for name in self.targets if name not in TARGETS]
        if unknown or not self.targets or len(set(self.targets)) < len(self.targets):
            raise InputError(
                f"`targets` must name matrices, each once, of {', '.join(TARGETS)}, got "
                f"{(unknown[0] if unknown else self.targets)!r}"
            )

    @property
    def scale(self) -> float:
        """Factor of the product of the two matrices."""
        return self.alpha / self.rank

    def check(self, config: Qwen3xConfig) -> None:
        """Check that the rank is at most the width of every target.

        Raises:
            InputError: A target has fewer inputs or outputs than `rank`.
        """
        widths = {"embed": config.embed, "query_dim": config.query_dim, "kv_dim": config.kv_dim, "mlp": config.mlp}
        sides = {
            "q_proj": "query_dim",
            "k_proj": "kv_dim",
            "v_proj": "kv_dim",
            "o_proj": "query_dim",
            "gate_proj": "mlp",
            "up_proj": "mlp",
            "down_proj": "mlp",
        }
        for name in self.targets:
            width = min(config.embed, widths[sides[name]])
            if self.rank > width:
                raise InputError(f"`rank` must be at most {width}, the width of `{name}`, got {self.rank!r}")


class Adapter(eqx.Module):
    """The adapters of one matrix in all blocks, stacked along a leading axis; matrices are `[in, out]`.

    Attributes:
        a: First factor; the transpose of PEFT's `lora_A`.
        b: Second factor; the transpose of PEFT's `lora_B`.
        magnitude: Norm of each output's weights (DoRA), or None.
    """

    a: Float[Array, "layers inputs rank"]
    b: Float[Array, "layers rank outputs"]
    magnitude: Float[Array, "layers outputs"] | None


class Adapters(eqx.Module):
    """The adapters of a model.

    Attributes:
        layers: Adapters by target.
    """

    layers: dict[str, Adapter]


def initialize_adapters(model: Qwen3x, spec: LowRank, key: PRNGKeyArray) -> Adapters:
    """Make adapters that leave a model as it is.

    The first factor is uniform in `±1 / sqrt(inputs)`, the second 0, and a magnitude the norm of the weights.

    Args:
        model: The model to adapt.
        spec: Form of the adapters.
        key: Drives every draw.

    Returns:
        Float32 adapters.

    Raises:
        InputError: If the rank is above the width of a target.

    Source: `LoraLayer.reset_lora_parameters` of PEFT (Kaiming-uniform with a = sqrt(5)).
    """
    spec.check(model.config)

    def adapter(name: str, key: PRNGKeyArray) -> Adapter:
        matrix = getattr(model.layers, TARGETS[name])
        layers, inputs, outputs = matrix.shape
        bound = inputs**-0.5
        a = jax.random.uniform(key, (layers, inputs, spec.rank), jnp.float32, -bound, bound)
        magnitude = _norms(matrix.astype(jnp.float32)) if spec.dora else None
        return Adapter(a, jnp.zeros((layers, spec.rank, outputs), jnp.float32), magnitude)

    keys = jax.random.split(key, len(spec.targets))
    return Adapters({name: adapter(name, keys[i]) for i, name in enumerate(spec.targets)})


def merge(model: Qwen3x, adapters: Adapters, spec: LowRank) -> Qwen3x:
    """Add adapters to a model's weights; differentiable with respect to the adapters.

        V = W + alpha / rank * A B        W <- V, or with DoRA W <- m V / |V|

    with |V| the norm of each output's weights, which counts as constant in the gradient.

    Args:
        model: The model that was adapted.
        adapters: Its adapters.
        spec: Their form.

    Returns:
        A plain model in the dtype of `model`.

    Source: LoRA (arXiv 2106.09685); DoRA (arXiv 2402.09353), section 4.3 for the constant norm.
    """

    def merged(matrix: Array, adapter: Adapter) -> Array:
        product = jnp.matmul(adapter.a, adapter.b, precision=jax.lax.Precision.HIGHEST)
        adapted = matrix.astype(jnp.float32) + spec.scale * product
        if adapter.magnitude is not None:
            adapted = adapted * (adapter.magnitude / jax.lax.stop_gradient(_norms(adapted)))[:, None, :]
        return adapted.astype(matrix.dtype)

    fields = {TARGETS[name]: adapter for name, adapter in adapters.layers.items()}
    changed = {field: merged(getattr(model.layers, field), adapter) for field, adapter in fields.items()}
    return eqx.tree_at(lambda tree: [getattr(tree.layers, field) for field in changed], model, list(changed.values()))


def write_adapters(folder: str | os.PathLike[str], adapters: Adapters, spec: LowRank, base: str) -> None:
    """Write adapters as a folder that `PeftModel.from_pretrained` opens.

    Args:
        folder: Where to write `adapter_config.json` and `adapter_model.safetensors`; made if it does not exist.
        adapters: What to write.
        spec: Their form.
        base: Name or folder of the model that was adapted.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for target, adapter in adapters.layers.items():
        a, b = np.asarray(adapter.a), np.asarray(adapter.b)
        for layer in range(len(a)):
            name = "base_model.model." + layer_tensor(layer, TARGETS[target]).removesuffix(".weight")
            tensors[f"{name}.lora_A.weight"] = np.ascontiguousarray(a[layer].T)
            tensors[f"{name}.lora_B.weight"] = np.ascontiguousarray(b[layer].T)
            if adapter.magnitude is not None:
                tensors[f"{name}.lora_magnitude_vector"] = np.asarray(adapter.magnitude[layer])
    with whole_file(folder / "adapter_model.safetensors") as stream:
        stream.write(save(tensors, metadata={"format": "pt"}))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": spec.rank,
        "lora_alpha": spec.alpha,
        "target_modules": list(spec.targets),
        "use_dora": spec.dora,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    write_json(folder / "adapter_config.json", config)


def _norms(matrix: Float[Array, "layers inputs outputs"]) -> Float[Array, "layers outputs"]:
    return jnp.sqrt(jnp.sum(jnp.square(matrix), axis=1))
