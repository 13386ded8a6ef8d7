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
    SpecialIds,
    extend,
    linear_cross_entropy,
    load_config,
    load_model,
    save_model,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch", reason="parity needs torch: pip install torch transformers")
    transformers = pytest.importorskip(
        "transformers", reason="parity needs transformers: pip install torch transformers"
    )

tokenizers = pytest.importorskip("tokenizers")

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


def _compare(ours, theirs, tokens, tmp_path):
    """Logits, loss and every gradient of one model here and there."""
    (loss, logits), gradients = jax.jit(jax.value_and_grad(_our_loss, has_aux=True))(ours, tokens)
    result = theirs(torch.tensor(tokens), labels=torch.tensor(tokens))
    result.loss.backward()
    np.testing.assert_allclose(logits, result.logits.detach().numpy(), atol=1e-4)
    assert float(loss) == pytest.approx(result.loss.item(), abs=1e-5)
    with torch.no_grad():
        for parameter in theirs.parameters():
            assert parameter.grad is not None
            parameter.copy_(parameter.grad)
    theirs.save_pretrained(tmp_path / "gradients")
    expected = load_model(tmp_path / "gradients")
    for left, right in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-4)


def test_logits_loss_and_gradients(pair, tmp_path):
    ours, theirs, tokens = pair
    _compare(ours, theirs, tokens, tmp_path)


@pytest.mark.parametrize("shard", ["1GB", "5KB"])
def test_round_trip_through_their_format_is_exact(pair, tmp_path, shard):
    ours, theirs, _ = pair
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size=shard)
    returned = load_model(tmp_path / "theirs")
    assert returned.config == ours.config
    assert eqx.tree_equal(returned, ours)
    # And in files: what is written of it is, byte for byte, what was written first.
    save_model(tmp_path / "again", returned)
    first, again = ((folder / "model.safetensors").read_bytes() for folder in (tmp_path, tmp_path / "again"))
    assert first == again


@pytest.fixture
def qwen3(tmp_path):
    """A folder that they wrote, of the shape of Qwen3's base models: tied, another rotary base and epsilon."""
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
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        bos_token_id=50,
        eos_token_id=50,
    )
    model = transformers.Qwen3ForCausalLM(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "qwen3")
    return tmp_path / "qwen3", model


def test_their_own_weights_load_here(qwen3, tmp_path):
    folder, theirs = qwen3
    config = load_config(folder)
    assert (config.rope, config.rms_epsilon, config.tied) == (RopeConfig(theta=1e6, scaling=None), 1e-6, True)
    _compare(load_model(folder), theirs, np.random.default_rng(0).integers(0, 61, (2, 20)), tmp_path)


def test_an_extended_model_says_of_old_ids_what_it_said(qwen3, tmp_path):
    """A warm start keeps the rotary embedding and epsilon of its source, as they too read them."""
    folder, theirs = qwen3
    extend(folder, tmp_path / "extended", vocab_size=90, num_copied=50)
    extended = _theirs(tmp_path / "extended")
    tokens = torch.tensor(np.random.default_rng(0).integers(0, 50, (2, 20)))
    with torch.no_grad():
        before, after = theirs(tokens).logits, extended(tokens).logits
    np.testing.assert_allclose(after[..., :50], before[..., :50], atol=1e-5)
    assert after.shape[-1] == 90
    assert extended.config.eos_token_id == 50


@pytest.fixture
def vocabulary(tmp_path):
    """A tokenizer of whole words with the markers of documents."""
    words = {"one": 0, "two": 1, "<|begin_of_text|>": 2, "<|end_of_text|>": 3, "<|pad|>": 4}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="one"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    roles = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "pad_token": "<|pad|>"}
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)
    fast.save_pretrained(tmp_path / "words")
    return tmp_path / "words"


@pytest.mark.parametrize("max_shard_bytes", [10**9, 4000])
def test_a_saved_folder_is_all_they_need(tiny, vocabulary, tmp_path, max_shard_bytes):
    save_model(tmp_path / "model", tiny, vocabulary=vocabulary, max_shard_bytes=max_shard_bytes)
    assert (tmp_path / "model/model.safetensors.index.json").exists() == (max_shard_bytes == 4000)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    ids = tokenizer("<|begin_of_text|> one two two", add_special_tokens=False, return_tensors="pt").input_ids
    assert ids.tolist() == [[2, 0, 1, 1]]
    theirs = _theirs(tmp_path / "model")
    for config in (theirs.config, theirs.generation_config):
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (2, 3, 4)
    _, logits = _our_loss(tiny, np.asarray(ids))
    np.testing.assert_allclose(logits, theirs(ids).logits.detach().numpy(), atol=1e-4)
    new = theirs.generate(ids, max_new_tokens=3, do_sample=False)
    assert new.shape[1] <= 7


def test_their_default_type_is_the_stored_one(tiny, tmp_path):
    save_model(tmp_path, tiny, dtype="bfloat16")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert theirs.dtype == torch.bfloat16
    theirs.save_pretrained(tmp_path / "theirs")
    assert eqx.tree_equal(load_model(tmp_path / "theirs"), load_model(tmp_path))


@pytest.mark.parametrize(("padding", "learns"), [(3, True), (9, False)])
def test_a_padding_id_that_ends_texts_still_learns(tiny, tmp_path, padding, learns):
    """They give the row of a model's `pad_token_id` no gradient, which must not befall the end of text."""
    save_model(tmp_path, tiny, special_ids=SpecialIds(begin=2, end=3, padding=padding))
    theirs, tokens = _theirs(tmp_path), torch.tensor([[2, 7, 3, 2, 9, 3, 8, 3]])
    theirs(tokens, labels=tokens).loss.backward()
    assert theirs.model.embed_tokens.weight.grad[padding].any() == learns


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
