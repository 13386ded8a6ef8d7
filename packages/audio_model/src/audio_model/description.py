"""What a configuration amounts to, as numbers a person can read."""

import dataclasses
from typing import Any

import equinox as eqx
import jax

from audio_model.config import SIZES, Qwen3xConfig, named_config
from audio_model.initialization import initialize
from audio_model.sharding import parameter_axes


def describe(config: Qwen3xConfig, *, seq_len: int) -> dict[str, Any]:
    """Counts, operations and shapes of a model that is never built.

    Args:
        config: Shape of the model.
        seq_len: Tokens of a row, for the operations.

    Returns:
        A JSON-ready document: `config`, `parameters` (total; without one vocabulary matrix, which is
        what the study's names count; without any), `forward_flops_per_token` under both conventions,
        and every array with its shape and logical axes.
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
