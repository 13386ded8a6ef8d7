"""The Hugging Face Qwen3 format: its configuration keys and tensor names, both ways."""

import sys
from collections.abc import Iterator
from typing import Any

from audio_model.config import Qwen3xConfig, RopeConfig, RopeScaling
from audio_model.errors import InputError

LAYER_TENSORS: dict[str, tuple[str, bool]] = {
    "attention_norm": ("input_layernorm.weight", False),
    "query": ("self_attn.q_proj.weight", True),
    "key": ("self_attn.k_proj.weight", True),
    "value": ("self_attn.v_proj.weight", True),
    "query_norm": ("self_attn.q_norm.weight", False),
    "key_norm": ("self_attn.k_norm.weight", False),
    "output": ("self_attn.o_proj.weight", True),
    "mlp_norm": ("post_attention_layernorm.weight", False),
    "gate": ("mlp.gate_proj.weight", True),
    "up": ("mlp.up_proj.weight", True),
    "down": ("mlp.down_proj.weight", True),
}
"""For each array of a block: its name there, and whether it is stored transposed (`[out, in]`)."""

_COUNTS = {
    "vocab_size": "vocab_size",
    "embed": "hidden_size",
    "mlp": "intermediate_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "max_seq_len": "max_position_embeddings",
}
_PLAIN = {
    "attention_bias": False,
    "use_sliding_window": False,
    "hidden_act": "silu",
    "partial_rotary_factor": 1.0,
    "quantization_config": None,
}

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
HEAD = "lm_head.weight"


def layer_tensor(layer: int, field: str) -> str:
    """Name of one block's array in a Qwen3 state dict, such as `model.layers.3.mlp.up_proj.weight`."""
    return f"model.layers.{layer}.{LAYER_TENSORS[field][0]}"


def tensor_shapes(config: Qwen3xConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor that weights of this configuration consist of.

    Args:
        config: Shape of the model.

    Yields:
        Hugging Face names with shapes as stored there; a tied model has no head.
    """
    embed, mlp, query, kv = config.embed, config.mlp, config.query_dim, config.kv_dim
    shapes = {
        "attention_norm": (embed,),
        "query": (query, embed),
        "key": (kv, embed),
        "value": (kv, embed),
        "query_norm": (config.head_dim,),
        "key_norm": (config.head_dim,),
        "output": (embed, query),
        "mlp_norm": (embed,),
        "gate": (mlp, embed),
        "up": (mlp, embed),
        "down": (embed, mlp),
    }
    yield EMBEDDING, (config.vocab_size, embed)
    for layer in range(config.layers):
        for field, shape in shapes.items():
            yield layer_tensor(layer, field), shape
    yield FINAL_NORM, (embed,)
    if not config.tied:
        yield HEAD, (config.vocab_size, embed)


def to_huggingface(config: Qwen3xConfig, dtype: str) -> dict[str, Any]:
    """Return the `config.json` of a `Qwen3ForCausalLM` folder.

    Args:
        config: Shape of the model.
        dtype: Type of the saved tensors, "float32" or "bfloat16".

    Returns:
        JSON-ready keys, rotary settings in the long-standing `rope_theta` and `rope_scaling` form.
    """
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_seq_len,
        "rms_norm_eps": config.rms_epsilon,
        "tie_word_embeddings": config.tied,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "rope_theta": config.rope.theta,
        "rope_scaling": _scaling_to_huggingface(config.rope.scaling),
        "torch_dtype": dtype,
    }


def from_huggingface(document: dict[str, Any], source: str) -> Qwen3xConfig:
    """Return the configuration that a `config.json` describes.

    Args:
        document: Its parsed content, with `rope_scaling` or the newer `rope_parameters`.
        source: Its path, for error messages.

    Returns:
        The configuration.

    Raises:
        InputError: If a key is missing, or if the model is not a plain Qwen3 decoder.
    """
    if document.get("model_type") != "qwen3":
        raise InputError(f"`model_type` in {source} must be 'qwen3', got {document.get('model_type')!r:.80}")
    for key, plain in _PLAIN.items():
        if document.get(key, plain) != plain:
            raise InputError(
                f"`{key}` in {source} must be {plain!r}, as Qwen3x has no other, got {document[key]!r:.80}"
            )
    kinds = document.get("layer_types")
    if kinds is not None and not (isinstance(kinds, list) and all(kind == "full_attention" for kind in kinds)):
        raise InputError(f"`layer_types` in {source} must all be 'full_attention', got {kinds!r:.80}")
    counts = {field: _number(document, key, source, whole=True) for field, key in _COUNTS.items()}
    tied = _value(document, "tie_word_embeddings", source)
    if not isinstance(tied, bool):
        raise InputError(f"`tie_word_embeddings` in {source} must be true or false, got {tied!r:.80}")
    try:
        return Qwen3xConfig(
            **counts,
            tied=tied,
            rope=_rope_from_huggingface(document, source),
            rms_epsilon=float(_number(document, "rms_norm_eps", source)),
        )
    except InputError as error:
        raise InputError(f"{source} contradicts itself: {error.message}") from error


def _scaling_to_huggingface(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    return {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low_frequency_factor,
        "high_freq_factor": scaling.high_frequency_factor,
        "original_max_position_embeddings": scaling.original_max_position,
    }


def _rope_from_huggingface(document: dict[str, Any], source: str) -> RopeConfig:
    name = "rope_scaling" if document.get("rope_parameters") is None else "rope_parameters"
    scaling = {} if document.get(name) is None else document[name]
    if not isinstance(scaling, dict):
        raise InputError(f"`{name}` in {source} must be an object or null, got {scaling!r:.80}")
    if scaling.get("partial_rotary_factor", 1.0) != 1.0:
        raise InputError(
            f"`partial_rotary_factor` in {source} must be 1.0, got {scaling['partial_rotary_factor']!r:.80}"
        )
    theta = float(_number(scaling if "rope_theta" in scaling else document, "rope_theta", source))
    # Old configurations call the kind `type`.
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    nameless = sorted(set(scaling) - {"rope_theta", "partial_rotary_factor"})
    if nameless and "rope_type" not in scaling and "type" not in scaling:
        raise InputError(f"`{name}` in {source} must name its `rope_type`, got only {', '.join(nameless)!r:.80}")
    if kind == "default":
        return RopeConfig(theta=theta, scaling=None)
    if kind != "llama3":
        raise InputError(f"`rope_type` in {source} must be 'llama3' or 'default', got {kind!r:.80}")
    return RopeConfig(
        theta=theta,
        scaling=RopeScaling(
            factor=float(_number(scaling, "factor", source)),
            low_frequency_factor=float(_number(scaling, "low_freq_factor", source)),
            high_frequency_factor=float(_number(scaling, "high_freq_factor", source)),
            original_max_position=_number(scaling, "original_max_position_embeddings", source, whole=True),
        ),
    )


def _value(document: dict[str, Any], key: str, source: str) -> Any:
    if key not in document:
        raise InputError(f"{source} lacks the key `{key}`")
    return document[key]


def _number(document: dict[str, Any], key: str, source: str, *, whole: bool = False) -> Any:
    value = _value(document, key, source)
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise InputError(f"`{key}` in {source} must be a {'whole ' if whole else ''}number, got {value!r:.80}")
    if not abs(value) <= sys.float_info.max:
        raise InputError(f"`{key}` in {source} must be finite, got {value!r:.40}")
    return value
