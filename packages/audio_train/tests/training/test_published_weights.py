"""Starts from a folder as Qwen3 models are published, whose weights were trained with another rotary base and epsilon.

The losses are those that `transformers` computes of the same files, under either function.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from audio_data import BatchLoader, InputError, TokenBatch, open_root
from audio_train import (
    InitSpec,
    Intervals,
    LossSpec,
    MeshConfig,
    ModelShape,
    OptimizerSpec,
    ResolvedRun,
    read_metrics,
    resolve,
    run,
)
from audio_train.overrides import override
from audio_train.training.initialization import resolve_init

ALONE = MeshConfig(data=1)
SHAPE = ModelShape(embed=16, mlp=32, layers=2, heads=2, kv_heads=1, head_dim=8, tied=False, max_seq_len=64)
OWN = replace(SHAPE, rope_theta=1e6, rope_scaling="none", rms_epsilon=1e-6)
PUBLISHED = InitSpec(kind="model", source="qwen3x")
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, vocabulary) -> Path:
    """The files and keys of Qwen3-0.6B-Base on the hub, but for the tokenizer's; weights in bfloat16."""
    folder = tmp_path_factory.mktemp("hub") / "qwen3x-tiny-base"
    folder.mkdir()
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "head_dim": 8,
        "hidden_act": "silu",
        "hidden_size": 16,
        "initializer_range": 0.02,
        "intermediate_size": 32,
        "max_position_embeddings": 32768,
        "max_window_layers": 2,
        "model_type": "qwen3",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": vocabulary.size,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "max_new_tokens": 2048}))
    rng = np.random.default_rng(0)
    # Weights so large that positions matter, inputs so small that the epsilon does.
    scale = {"model.embed_tokens.weight": 1e-3}
    tensors = {
        name: (np.ones(shape) if len(shape) == 1 else rng.normal(size=shape) * scale.get(name, 0.5))
        for name, shape in _shapes(vocabulary.size)
    }
    save_file(
        {name: tensor.astype(jnp.bfloat16) for name, tensor in tensors.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return folder


def _shapes(vocab_size: int) -> list[tuple[str, tuple[int, ...]]]:
    layer = {
        "self_attn.q_proj": (16, 16),
        "self_attn.k_proj": (8, 16),
        "self_attn.v_proj": (8, 16),
        "self_attn.o_proj": (16, 16),
        "self_attn.q_norm": (8,),
        "self_attn.k_norm": (8,),
        "mlp.gate_proj": (32, 16),
        "mlp.up_proj": (32, 16),
        "mlp.down_proj": (16, 32),
        "input_layernorm": (16,),
        "post_attention_layernorm": (16,),
    }
    layers = [(f"model.layers.{n}.{name}.weight", shape) for n in (0, 1) for name, shape in layer.items()]
    vocabulary = [(name, (vocab_size, 16)) for name in ("model.embed_tokens.weight", "lm_head.weight")]
    return [*vocabulary, ("model.norm.weight", (16,)), *layers]


@pytest.fixture
def starting(varied):
    """A run from published weights with the loss of every next token, nothing else of it being asked about here."""

    def made(model: ModelShape, **init: Any) -> ResolvedRun:
        return varied(
            model=model,
            init=replace(PUBLISHED, **init),
            loss=LossSpec(),
            optimizer=OptimizerSpec("adamw", 1e-3),
            intervals=Intervals(checkpoint_seconds=None),
            steps=1,
        )

    return made


def first_batch(resolved: ResolvedRun, data_root: Path) -> TokenBatch:
    data = resolved.run.data
    return BatchLoader(
        open_root(data_root),
        resolved.mixture,
        seq_len=data.seq_len,
        batch_size=data.batch_size,
        seed=resolved.run.seed,
        packing=resolved.packing,
    ).batch(0)


def transformers_loss(folder: Path, batch: TokenBatch, changes: Mapping[str, Any]) -> float:
    """Mean over the next tokens of each document by itself."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = transformers.AutoConfig.from_pretrained(folder)
    for name, value in changes.items():
        setattr(config, name, value)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).eval()
    total, count = 0.0, 0
    for tokens, segments in zip(batch.tokens, batch.segment_ids, strict=True):
        for segment in range(1, segments.max() + 1):
            ids = torch.tensor(tokens[segments == segment][None], dtype=torch.long)
            with torch.no_grad():
                logits = model(ids).logits[0, :-1]
            total += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
            count += ids.shape[1] - 1
    return total / count


def first_loss(resolved: ResolvedRun, data_root: Path, folder: Path, weights: Path) -> float:
    run(resolved, data_root, folder, mesh_config=ALONE, init=weights)
    return next(iter(read_metrics(folder / "metrics.jsonl")))["loss"]


def test_the_run_s_function_or_the_weights_as_the_run_says(
    starting, published: Path, data_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """As the study's warm starts, under the run's; and as their twins, under the weights' own."""
    under_run, under_weights = starting(SHAPE, rope_and_epsilon_of="run"), starting(OWN, rope_and_epsilon_of="weights")
    batch = first_batch(under_run, data_root)
    ours = first_loss(under_run, data_root, tmp_path / "run", published)
    said = capfd.readouterr().err
    theirs = first_loss(under_weights, data_root, tmp_path / "weights", published)
    changed = {"rope_parameters": {**LLAMA3, "rope_theta": 5e5}, "rms_norm_eps": 1e-5}
    np.testing.assert_allclose(ours, transformers_loss(published, batch, changed), rtol=2e-6)
    np.testing.assert_allclose(theirs, transformers_loss(published, batch, {}), rtol=2e-6)
    assert abs(ours - theirs) > 0.01
    settings = "model.rope_theta=1000000.0, model.rope_scaling=none, model.rms_epsilon=1e-06"
    assert f"were trained with {settings} and are used with the run's model.rope_theta=500000.0, model.rope" in said
    assert "were trained with" not in capfd.readouterr().err
    launches = [json.loads((tmp_path / name / "launches.jsonl").read_text()) for name in ("run", "weights")]
    assert launches[0]["init"]["replaced"] == {
        "model.rope_theta": 1e6,
        "model.rope_scaling": "none",
        "model.rms_epsilon": 1e-6,
    }
    assert "replaced" not in launches[1]["init"]
    exported = [json.loads((tmp_path / name / "export" / "config.json").read_text()) for name in ("run", "weights")]
    assert [(c["rope_theta"], c["rope_scaling"] is None, c["rms_norm_eps"]) for c in exported] == [
        (5e5, False, 1e-5),
        (1e6, True, 1e-6),
    ]


@pytest.mark.parametrize("whose", [None, "weights"])
def test_another_function_is_refused_with_both_ways_out(whose: str | None, starting, published: Path):
    resolved = starting(SHAPE, rope_and_epsilon_of=whose)
    with pytest.raises(
        InputError, match=r"trained with other values than run `toy` has: model\.rope_theta 1000000"
    ) as met:
        resolve_init(resolved, published)
    assert "\n" not in met.value.message
    settings = re.findall(r"--set (\S+?)[,.]?(?=\s|$)", met.value.message)
    assert settings[0] == "init.rope_and_epsilon_of=run"
    assert len(settings) == 4
    for changes in (settings[:1], settings[1:]):
        assert resolve_init(resolve(override(resolved.run, *changes), resolved.vocabulary), published) is not None
    for change in settings[1:]:
        with pytest.raises(InputError, match="trained with other values"):
            resolve_init(resolve(override(resolved.run, change), resolved.vocabulary), published)


def test_a_scaling_that_no_run_states_can_only_give_way(starting, published: Path, tmp_path: Path):
    config = json.loads((published / "config.json").read_text()) | {"rope_scaling": {**LLAMA3, "factor": 32.0}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"factor=32.0.*\. Use the run's .*init\.rope_and_epsilon_of=run\.$"):
        resolve_init(starting(OWN), tmp_path)
    weights = resolve_init(starting(OWN, rope_and_epsilon_of="run"), tmp_path)
    assert weights is not None
    assert list(weights.replaced) == ["model.rope_scaling"]
