"""Benchmark of training on this machine: forward, loss and backward on random tokens."""

import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Int

from audio_model.config import Qwen3xConfig
from audio_model.errors import InputError
from audio_model.initialization import initialize
from audio_model.kernels.grammar_cross_entropy import TokenSets, grammar_cross_entropy
from audio_model.kernels.linear_cross_entropy import linear_cross_entropy
from audio_model.qwen3x import Qwen3x

Loss = Literal["full", "grammar"]


def measure_step(
    config: Qwen3xConfig,
    *,
    batch: int,
    seq_len: int,
    loss: Loss = "full",
    steps: int = 5,
    dtype: DTypeLike = jnp.float32,
) -> dict[str, Any]:
    """Time loss and gradients of a freshly initialised model.

    Args:
        config: Shape of the model.
        batch: Rows of a step.
        seq_len: Tokens of a row.
        loss: "full" takes the softmax over the vocabulary; "grammar" over the target's own 2,048 ids,
            as inside a frame of audio.
        steps: Steps timed, after one that compiles.
        dtype: Of activations.

    Returns:
        A JSON-ready document: seconds to compile, median wall and processor seconds of a step, tokens
        a second, and the compiler's figure for temporary memory in bytes (None where it has none).

    Raises:
        InputError: If a count is below 1 or `loss` is unknown.
    """
    if min(batch, seq_len, steps) < 1:
        raise InputError(f"`batch`, `seq_len` and `steps` must be at least 1, got {batch!r}, {seq_len!r}, {steps!r}")
    if loss not in ("full", "grammar"):
        raise InputError(f"`loss` must be 'full' or 'grammar', got {loss!r}")
    model = initialize(config, jax.random.key(0))
    tokens = jax.random.randint(jax.random.key(1), (batch, seq_len), 0, config.vocab_size)
    started = time.perf_counter()
    program = jax.jit(_gradients, static_argnums=(2, 3)).lower(model, tokens, loss, jnp.dtype(dtype)).compile()
    jax.block_until_ready(program(model, tokens))
    memory = program.memory_analysis()
    compile_seconds = time.perf_counter() - started
    wall, processor = zip(*(_timed(program, model, tokens) for _ in range(steps)), strict=True)
    return {
        "compile_seconds": compile_seconds,
        "step_seconds": statistics.median(wall),
        "step_processor_seconds": statistics.median(processor),
        "tokens_per_second": batch * seq_len / statistics.median(wall),
        "temporary_bytes": memory.temp_size_in_bytes if memory else None,
    }


def _gradients(model: Qwen3x, tokens: Int[Array, "batch seq"], loss: Loss, dtype: jnp.dtype) -> Qwen3x:
    vocab_size = model.config.vocab_size
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
    targets = jnp.roll(tokens, -1, axis=1).reshape(-1)
    sets = TokenSets.build([[(start, min(start + 2048, vocab_size))] for start in range(0, vocab_size, 2048)])

    def mean_loss(model: Qwen3x) -> Array:
        hidden = model(tokens, jnp.ones_like(tokens), positions, dtype=dtype).reshape(-1, model.config.embed)
        if loss == "grammar":
            return jnp.mean(grammar_cross_entropy(hidden, model.head_matrix, targets, sets)[0])
        return jnp.mean(linear_cross_entropy(hidden, model.head_matrix, targets)[0])

    return eqx.filter_grad(mean_loss)(model)


def _timed(
    program: Callable[[Qwen3x, Int[Array, "batch seq"]], Qwen3x], model: Qwen3x, tokens: Int[Array, "batch seq"]
) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    jax.block_until_ready(program(model, tokens))
    return time.perf_counter() - wall, time.process_time() - processor
