"""Parity with what transformers wrote and computed, recorded once: two tiny models, their logits, loss and gradients.

`python packages/audio_model/tests/test_recorded_references.py` records them anew; that needs torch and transformers.
`test_huggingface.py` compares with the library itself.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from audio_model import RopeConfig, RopeScaling, linear_cross_entropy, load_config, load_model

FOLDER = Path(__file__).parent / "golden" / "transformers"
ROPES = {
    "qwen3": RopeConfig(theta=1e6, scaling=None),
    "llama3-scaling": RopeConfig(theta=1e4, scaling=RopeScaling(original_max_position=32)),
}


def record() -> None:
    import torch  # pyright: ignore[reportMissingImports]: no dependency of the project
    import transformers  # pyright: ignore[reportMissingImports]: no dependency of the project

    scaling = {
        "rope_type": "llama3",
        "rope_theta": 1e4,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    ropes = {"qwen3": {"rope_type": "default", "rope_theta": 1e6}, "llama3-scaling": scaling}
    for name, rope in ropes.items():
        torch.manual_seed(0)
        config = transformers.Qwen3Config(
            vocab_size=31,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=64,
            rms_norm_eps=1e-6 if name == "qwen3" else 1e-5,
            rope_parameters=rope,
            tie_word_embeddings=name == "qwen3",
        )
        model = transformers.Qwen3ForCausalLM._from_config(config, attn_implementation="eager").float()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        model.save_pretrained(FOLDER / name)
        tokens = torch.tensor(np.random.default_rng(0).integers(0, 31, (2, 40)))
        result = model(tokens, labels=tokens)
        result.loss.backward()
        found = {"tokens": tokens, "logits": result.logits.detach(), "loss": result.loss.detach()[None]}
        save_file({key: value.numpy() for key, value in found.items()}, FOLDER / name / "computed.safetensors")
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.copy_(parameter.grad)
        model.save_pretrained(FOLDER / name / "gradients")


def loss_and_logits(model, tokens):
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32)[None], tokens.shape)
    hidden = model(tokens, jnp.ones_like(tokens), positions)
    flat, targets = hidden[:, :-1].reshape(-1, model.config.embed), tokens[:, 1:].reshape(-1)
    loss, _ = linear_cross_entropy(flat, model.head_matrix, targets, block_rows=16, block_columns=32)
    return jnp.mean(loss), model.logits(hidden)


@pytest.mark.parametrize("name", ROPES)
def test_logits_loss_and_gradients_are_those_recorded(name: str):
    folder = FOLDER / name
    assert load_config(folder).rope == ROPES[name]
    expected = load_file(folder / "computed.safetensors")
    compute = jax.jit(jax.value_and_grad(loss_and_logits, has_aux=True))
    (loss, logits), gradients = compute(load_model(folder), jnp.asarray(expected["tokens"], jnp.int32))
    np.testing.assert_allclose(logits, expected["logits"], atol=1e-4)
    assert float(loss) == pytest.approx(float(expected["loss"][0]), abs=1e-5)
    theirs = load_model(folder / "gradients")
    for ours, other in zip(jax.tree.leaves(gradients), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-4)


if __name__ == "__main__":
    record()
