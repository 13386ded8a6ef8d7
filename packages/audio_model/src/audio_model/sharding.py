"""Logical axes of every parameter, for a trainer's mesh rules."""

import equinox as eqx
import jax

from audio_model.config import Qwen3xConfig
from audio_model.initialization import initialize
from audio_model.qwen3x import Qwen3x

LogicalAxes = tuple[str, ...]
"""One name for each axis of a parameter, of `layers vocab embed heads kv_heads head_dim mlp`."""

_AXES: dict[str, LogicalAxes] = {
    "embedding": ("vocab", "embed"),
    "head": ("vocab", "embed"),
    "final_norm": ("embed",),
    "attention_norm": ("layers", "embed"),
    "query": ("layers", "embed", "heads"),
    "key": ("layers", "embed", "kv_heads"),
    "value": ("layers", "embed", "kv_heads"),
    "query_norm": ("layers", "head_dim"),
    "key_norm": ("layers", "head_dim"),
    "output": ("layers", "heads", "embed"),
    "mlp_norm": ("layers", "embed"),
    "gate": ("layers", "embed", "mlp"),
    "up": ("layers", "embed", "mlp"),
    "down": ("layers", "mlp", "embed"),
}


def parameter_axes(config: Qwen3xConfig) -> Qwen3x:
    """Return a model whose every array is replaced by the names of its axes.

    The attention matrices' merged axis of `heads * head_dim` features is called `heads` (or
    `kv_heads`): cutting it into a number of parts that divides the heads keeps every head whole.

    Args:
        config: Shape of the model; only whether it is tied matters.

    Returns:
        A `Qwen3x` with a `LogicalAxes` where a real one has an array. To map over it, treat tuples as
        leaves: `jax.tree.map(rule, axes, is_leaf=lambda x: isinstance(x, tuple))`.
    """
    shapes = eqx.filter_eval_shape(initialize, config, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(lambda path, _: _AXES[path[-1].name], shapes)
