"""Parity with transformers' Qwen3ForCausalLM; needs torch, which is no dependency of the workspace."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import (
    Qwen3xConfig,
    RopeConfig,
    RopeScaling,
    linear_cross_entropy,
    load_model,
    save_model,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch", reason="parity needs torch: pip install torch transformers")
    transformers = pytest.importorskip(
        "transformers", reason="parity needs transformers: pip install torch transformers"
    )

pytestmark = pytest.mark.filterwarnings("ignore")

# Short original context, so that positions of a short test reach all three branches of the scaling.
LLAMA3 = RopeConfig(theta=1e4, scaling=RopeScaling(original_max_position=32))
CONFIGS = {
    "grouped untied llama3": Qwen3xConfig(
        vocab_size=97, embed=24, mlp=40, layers=3, heads=4, kv_heads=2, head_dim=8, rope=LLAMA3, max_seq_len=128
    ),
    "tied plain": Qwen3xConfig(
        vocab_size=97,
        embed=32,
        mlp=48,
        layers=2,
        heads=2,
        kv_heads=2,
        head_dim=16,
        tied=True,
        rope=RopeConfig(theta=1e4, scaling=None),
        max_seq_len=128,
    ),
}


def _theirs(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)


@pytest.fixture(params=CONFIGS)
def pair(request, tmp_path, random_model):
    ours = random_model(CONFIGS[request.param])
    save_model(tmp_path, ours)
    return ours, _theirs(tmp_path), np.random.default_rng(0).integers(0, 97, (2, 40))


def _our_loss(model, tokens):
    row = jnp.asarray(tokens, jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(row.shape[1], dtype=jnp.int32)[None], row.shape)
    hidden = model(row, jnp.ones_like(row), positions)
    flat = hidden[:, :-1].reshape(-1, model.config.embed)
    loss, _ = linear_cross_entropy(flat, model.head_matrix, row[:, 1:].reshape(-1), block_rows=16, block_columns=32)
    return jnp.mean(loss), model.logits(hidden)


def test_logits_loss_and_gradients(pair, tmp_path):
    ours, theirs, tokens = pair
    (loss, logits), gradients = jax.jit(jax.value_and_grad(_our_loss, has_aux=True))(ours, tokens)
    result = theirs(torch.tensor(tokens), labels=torch.tensor(tokens))
    result.loss.backward()
    np.testing.assert_allclose(logits, result.logits.detach().numpy(), atol=1e-4)
    assert float(loss) == pytest.approx(result.loss.item(), abs=1e-5)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(parameter.grad)
    theirs.save_pretrained(tmp_path / "gradients")
    expected = load_model(tmp_path / "gradients")
    for left, right in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-4)


def test_round_trip_through_their_format_is_exact(pair, tmp_path):
    ours, theirs, _ = pair
    theirs.save_pretrained(tmp_path / "theirs")
    returned = load_model(tmp_path / "theirs")
    assert returned.config == ours.config
    assert eqx.tree_equal(returned, ours)


def test_their_own_weights_load_here(tmp_path):
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=64,
    )
    theirs = transformers.Qwen3ForCausalLM(config).float()
    theirs.save_pretrained(tmp_path)
    tokens = np.random.default_rng(0).integers(0, 61, (2, 20))
    _, logits = _our_loss(load_model(tmp_path), tokens)
    np.testing.assert_allclose(logits, theirs(torch.tensor(tokens)).logits.detach().numpy(), atol=1e-4)


def test_greedy_generation_agrees(pair):
    from audio_model import generate

    ours, theirs, tokens = pair
    result = generate(ours, [tokens[0]], max_new_tokens=8, batch_size=1)[0]
    prompt = torch.tensor(tokens[:1])
    # Without a mask of its own, generate() would take every token 0 of the prompt for padding.
    expected = theirs.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=8,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
    )
    np.testing.assert_array_equal(result, expected[0, 40:].numpy())
