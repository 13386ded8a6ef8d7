"""Memory that a model needs, counted from its traced program: nothing is built or compiled."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Int

from audio_model.config import Qwen3xConfig
from audio_model.errors import InputError
from audio_model.initialization import initialize
from audio_model.kernels.linear_cross_entropy import linear_cross_entropy
from audio_model.qwen3x import Qwen3x

_WEIGHT_BYTES = 4


def memory(config: Qwen3xConfig, *, batch: int, seq_len: int, dtype: DTypeLike = jnp.bfloat16) -> dict[str, Any]:
    """Bytes that training and generating take at a batch, over all devices together.

    Training holds float32 parameters, their gradients and Adam's two moments, and whatever the forward
    pass keeps for the backward pass under the configuration's `remat`: exactly the arrays that JAX's
    transformation leaves over, as traced on this machine. Not counted is what lives only inside a
    block, a loss tile or the optimizer. Generating holds parameters and a cache of keys and values.

    Args:
        config: Shape of the model.
        batch: Rows of a step.
        seq_len: Tokens of a row.
        dtype: Of activations and cache.

    Returns:
        A JSON-ready document: `batch`, `seq_len`, `dtype`, `parameters_bytes`, `gradients_bytes`,
        `optimizer_bytes`, `kept_for_backward_bytes`, `training_bytes` (their sum), `kept_on_host_bytes`
        (with `remat="offload"`), `cache_bytes` and `generation_bytes`.

    Raises:
        InputError: If `batch` or `seq_len` is below 1.
    """
    if min(batch, seq_len) < 1:
        raise InputError(f"`batch` and `seq_len` must be at least 1, got {batch!r} and {seq_len!r}")
    weights = _WEIGHT_BYTES * config.num_parameters
    kept, on_host = kept_for_backward_bytes(config, batch=batch, seq_len=seq_len, dtype=dtype)
    cache = 2 * config.layers * batch * seq_len * config.kv_dim * jnp.dtype(dtype).itemsize
    return {
        "batch": batch,
        "seq_len": seq_len,
        "dtype": jnp.dtype(dtype).name,
        "parameters_bytes": weights,
        "gradients_bytes": weights,
        "optimizer_bytes": 2 * weights,
        "kept_for_backward_bytes": kept,
        "training_bytes": 4 * weights + kept,
        "kept_on_host_bytes": on_host,
        "cache_bytes": cache,
        "generation_bytes": weights + cache,
    }


def kept_for_backward_bytes(config: Qwen3xConfig, *, batch: int, seq_len: int, dtype: DTypeLike) -> tuple[int, int]:
    """Bytes of the arrays, parameters aside, that the forward pass leaves for the backward pass.

    Args:
        config: Shape of the model.
        batch: Rows of a step.
        seq_len: Tokens of a row.
        dtype: Of activations.

    Returns:
        Bytes on the devices, and bytes that `remat="offload"` moves to the host.
    """
    model = eqx.filter_eval_shape(initialize, config, jax.random.key(0))
    tokens = jax.ShapeDtypeStruct((batch, seq_len), jnp.int32)
    program = jax.make_jaxpr(lambda model, tokens: _kept(model, tokens, dtype))(model, tokens).jaxpr
    # What is handed through unchanged, parameters and tokens, is there anyway.
    kept: dict[int, Any] = {id(result): result.aval for result in program.outvars if result not in program.invars}
    sizes = [(array.memory_space, int(array.size) * array.dtype.itemsize) for array in kept.values()]
    on_host = sum(size for space, size in sizes if space == jax.memory.Space.Host)
    return sum(size for _, size in sizes) - on_host, on_host


def _kept(model: Qwen3x, tokens: Int[Array, "batch seq"], dtype: DTypeLike) -> list[Array]:
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32)[None], tokens.shape)

    def mean_loss(model: Qwen3x) -> Array:
        hidden = model(tokens, jnp.ones_like(tokens), positions, dtype=dtype).reshape(-1, model.config.embed)
        return jnp.mean(linear_cross_entropy(hidden, model.head_matrix, tokens.reshape(-1))[0])

    _, backward = jax.vjp(mean_loss, model)
    return jax.tree.leaves(backward)
