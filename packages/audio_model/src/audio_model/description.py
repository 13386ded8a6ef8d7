"""Description of a configuration: parameters, FLOPs, memory and shapes."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from audio_model.config import SIZES, Qwen3xConfig, named_config
from audio_model.initialization import initialize
from audio_model.memory import memory
from audio_model.sharding import parameter_axes


def describe(
    config: Qwen3xConfig, *, seq_len: int, batch: int | None = None, dtype: DTypeLike = jnp.bfloat16
) -> dict[str, Any]:
    """Count parameters, operations and memory of a model that is never built, and list its shapes.

    Args:
        config: Shape of the model.
        seq_len: Tokens of a row, for operations and memory.
        batch: Rows of a step, for memory; None leaves the memory out.
        dtype: Of activations, for memory.

    Returns:
        A JSON-ready document: `config`, `parameters` (total; without one vocabulary matrix, which is
        what the names of sizes count; without any), `forward_flops_per_token` under both conventions,
        `memory` as `memory()` counts it, and every array with its shape and logical axes.

    Raises:
        InputError: If `batch` or `seq_len` is below 1.
    """
    shapes = eqx.filter_eval_shape(initialize, config, jax.random.key(0))
    axes = jax.tree.leaves(parameter_axes(config), is_leaf=lambda leaf: isinstance(leaf, tuple))
    arrays = {
        jax.tree_util.keystr(path, simple=True, separator="."): {"shape": list(leaf.shape), "axes": list(names)}
        for (path, leaf), names in zip(jax.tree_util.tree_leaves_with_path(shapes), axes, strict=True)
    }
    return {
        "config": dataclasses.asdict(config),
        "parameters": {
            "total": config.num_parameters,
            "without_one_embedding": config.num_parameters - config.embedding_parameters,
            "without_embeddings": config.body_parameters,
        },
        "forward_flops_per_token": {
            "seq_len": seq_len,
            "full_attention": config.forward_flops_per_token(seq_len),
            "causal": config.causal_forward_flops_per_token(seq_len),
        },
        **({} if batch is None else {"memory": memory(config, batch=batch, seq_len=seq_len, dtype=dtype)}),
        "arrays": arrays,
    }


def table_of_sizes(vocab_size: int) -> list[dict[str, Any]]:
    """One row for each named size: its shape, and its parameters tied and untied.

    Args:
        vocab_size: Number of token ids.

    Returns:
        JSON-ready rows in ascending order.
    """
    rows = []
    for name, shape in SIZES.items():
        tied, untied = (named_config(name, vocab_size, tied=tied) for tied in (True, False))
        rows.append(
            {
                "size": name,
                **dataclasses.asdict(shape),
                "without_embeddings": tied.body_parameters,
                "tied": tied.num_parameters,
                "untied": untied.num_parameters,
            }
        )
    return rows


def format_table(rows: list[dict[str, Any]]) -> str:
    """Rows of `table_of_sizes` as aligned columns.

    Args:
        rows: The rows.

    Returns:
        One line for the names of the columns and one for each row.
    """
    columns = list(rows[0])
    cells = [columns] + [[f"{row[c]:,}" if isinstance(row[c], int) else row[c] for c in columns] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)


def format_description(document: dict[str, Any]) -> str:
    """Format what `describe` returns, for people.

    Args:
        document: The description.

    Returns:
        One line for each figure and each array.
    """
    flops, memory_of = document["forward_flops_per_token"], document.get("memory", {})
    lines = [f"{name:<28} {value}" for name, value in document["config"].items()]
    lines += [f"parameters, {_words(name):<24} {value:,}" for name, value in document["parameters"].items()]
    for name in ("full_attention", "causal"):
        lines.append(
            f"{f'forward FLOPs a token, {_words(name)}':<38} {flops[name]:,.0f} (rows of {flops['seq_len']:,})"
        )
    for name in [name for name in memory_of if name.endswith("_bytes")]:
        rows = f"({memory_of['batch']} rows of {memory_of['seq_len']:,}, {memory_of['dtype']})"
        lines.append(f"{'memory, ' + _words(name.removesuffix('_bytes')):<38} {memory_of[name] / 1e9:,.3f} GB {rows}")
    for name, array in document["arrays"].items():
        shape = " x ".join(f"{axis} {size:,}" for axis, size in zip(array["axes"], array["shape"], strict=True))
        lines.append(f"{name:<28} {shape}")
    return "\n".join(lines)


def _words(name: str) -> str:
    return name.replace("_", " ")
