"""Adapters against PEFT's on the same weights, and their checks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_model import InputError, LowRank, initialize_adapters, merge, save_model, write_adapters
from audio_model.huggingface import layer_tensor
from audio_model.low_rank import TARGETS
from audio_model.model_tensors import read_tensors_of

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

ALL = tuple(TARGETS)
SPECS = [LowRank(3, 6.0, ALL), LowRank(3, 6.0, ("q_proj", "v_proj", "down_proj"), dora=True)]
TOKENS = np.random.default_rng(3).integers(0, 97, (2, 12))


@pytest.fixture(params=SPECS, ids=["lora", "dora"])
def spec(request):
    return request.param


@pytest.fixture
def adapters(tiny, spec):
    """Adapters after some training: no factor is zero, and magnitudes are not the norms."""
    start = initialize_adapters(tiny, spec, jax.random.key(1))
    leaves, structure = jax.tree.flatten(start)
    rng = np.random.default_rng(2)
    return jax.tree.unflatten(
        structure, [leaf + 0.1 * jnp.asarray(rng.normal(size=leaf.shape), jnp.float32) for leaf in leaves]
    )


@pytest.fixture
def theirs(tiny, adapters, spec, tmp_path):
    """The adapted model as PEFT opens it, with trainable adapters."""
    pytest.importorskip("torch", reason="parity needs torch: uv pip install torch transformers peft")
    transformers = pytest.importorskip("transformers")
    peft = pytest.importorskip("peft")
    save_model(tmp_path / "base", tiny)
    write_adapters(tmp_path / "adapters", adapters, spec, str(tmp_path / "base"))
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base", attn_implementation="eager")
    return peft.PeftModel.from_pretrained(base, tmp_path / "adapters", is_trainable=True)


def _logits(model):
    ids = jnp.asarray(TOKENS, jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(ids.shape[1], dtype=jnp.int32), ids.shape)
    return model.logits(model(ids, jnp.ones_like(ids), positions))


def test_new_adapters_leave_the_model_as_it_is(tiny, spec):
    adapters = initialize_adapters(tiny, spec, jax.random.key(0))
    merged = merge(tiny, adapters, spec)
    for ours, old in zip(jax.tree.leaves(merged), jax.tree.leaves(tiny), strict=True):
        np.testing.assert_allclose(ours, old, rtol=1e-6)
    for adapter in adapters.layers.values():
        bound = adapter.a.shape[1] ** -0.5
        assert 0.9 * bound < np.abs(adapter.a).max() <= bound
        assert not adapter.b.any()


def test_merged_logits_are_those_of_peft(tiny, adapters, spec, theirs):
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        expected = theirs(torch.tensor(TOKENS)).logits.numpy()
    ours = np.asarray(_logits(merge(tiny, adapters, spec)))
    np.testing.assert_allclose(ours, expected, atol=2e-5)
    assert np.abs(ours - np.asarray(_logits(tiny))).max() > 0.1


def test_merged_weights_are_those_of_peft(tiny, adapters, spec, theirs):
    merged = theirs.merge_and_unload().state_dict()
    read = read_tensors_of(merge(tiny, adapters, spec))
    for name, tensor in merged.items():
        np.testing.assert_allclose(read(name), tensor.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


def test_gradients_are_those_of_torch(tiny, adapters, spec, theirs):
    torch = pytest.importorskip("torch")
    weights = np.random.default_rng(4).normal(size=(*TOKENS.shape, 97)).astype(np.float32)
    (theirs(torch.tensor(TOKENS)).logits * torch.tensor(weights)).sum().backward()
    expected = {name: leaf.grad.numpy() for name, leaf in theirs.named_parameters() if leaf.requires_grad}
    gradient = eqx.filter_jit(
        jax.grad(lambda adapters: jnp.sum(_logits(merge(tiny, adapters, spec)) * jnp.asarray(weights)))
    )(adapters)
    found = {}
    for target, adapter in gradient.layers.items():
        for layer in range(tiny.config.layers):
            name = "base_model.model." + layer_tensor(layer, TARGETS[target]).removesuffix(".weight")
            found[f"{name}.lora_A.default.weight"] = adapter.a[layer].T
            found[f"{name}.lora_B.default.weight"] = adapter.b[layer].T
            if spec.dora:
                found[f"{name}.lora_magnitude_vector.default.weight"] = adapter.magnitude[layer]
    assert sorted(found) == sorted(expected)
    for name, value in found.items():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(value / scale, expected[name] / scale, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "`rank` must be at least 1, got 0"),
        ({"alpha": 0.0}, "`alpha` must be above 0"),
        ({"targets": ("q_proj", "lm_head")}, "got 'lm_head'"),
        ({"targets": ()}, r"`targets` must name matrices, .* got \(\)"),
        ({"targets": ("q_proj", "q_proj")}, "each once"),
    ],
)
def test_wrong_specifications_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        LowRank(**change)


@pytest.mark.parametrize(("target", "width"), [("q_proj", 24), ("k_proj", 16), ("down_proj", 24)])
def test_a_rank_above_the_width_of_a_target_is_refused(tiny, target, width):
    LowRank(width, targets=(target,)).check(tiny.config)
    with pytest.raises(InputError, match=f"`rank` must be at most {width}, the width of `{target}`, got {width + 1}"):
        initialize_adapters(tiny, LowRank(width + 1, targets=(target,)), jax.random.key(0))
