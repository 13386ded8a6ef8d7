import dataclasses
import math

import equinox as eqx
import jax
import jax.extend
import jax.numpy as jnp
import pytest

from audio_model import SIZES, InputError, Qwen3xConfig, RopeConfig, RopeScaling, grid_config, initialize, named_config
from audio_model.config import LIMITS
from audio_model.kernels.attention.reference import reference_attention

# Body, tied and untied parameters of the study's table, for 144,644 token ids.
TABLE = {
    "30m": (3_248_832, 31_020_480, 58_792_128),
    "50m": (11_411_200, 48_440_064, 85_468_928),
    "75m": (23_754_192, 72_354_576, 120_954_960),
    "135m": (57_034_112, 131_091_840, 205_149_568),
    "150m": (76_045_312, 150_103_040, 224_160_768),
    "300m": (188_191_232, 299_277_824, 410_364_416),
    "0.6b-hd64": (352_383_488, 500_498_944, 648_614_400),
    "0.6b": (440_467_456, 588_582_912, 736_698_368),
    "1.7b": (1_409_410_048, 1_705_640_960, 2_001_871_872),
    "4b-hd80": (3_279_614_080, 3_649_902_720, 4_020_191_360),
    "4b": (3_633_511_936, 4_003_800_576, 4_374_089_216),
}


def test_table_covers_every_size():
    assert list(TABLE) == list(SIZES)


@pytest.mark.parametrize("size", TABLE)
def test_parameter_counts_equal_the_study(size):
    body, tied, untied = TABLE[size]
    assert named_config(size, 144_644).body_parameters == body
    assert named_config(size, 144_644, tied=True).num_parameters == tied
    assert named_config(size, 144_644, tied=False).num_parameters == untied


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", ["75m", "0.6b", "4b"])
def test_parameter_counts_equal_the_arrays(size, tied):
    config = named_config(size, 1000, tied=tied)
    shapes = eqx.filter_eval_shape(initialize, config, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == config.num_parameters


def test_warm_start_totals_of_the_study():
    # Rows of the Qwen3x tokenizer, untied: the totals its authors printed.
    assert named_config("0.6b", 168_059).num_parameters == 784_652_288
    assert named_config("1.7b", 168_059).num_parameters == 2_097_779_712


def _product_flops(jaxpr) -> int:
    """Operations of every matrix product of a jaxpr, loop bodies counted as often as they run."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * equation.outvars[0].aval.size * math.prod(left[axis] for axis in contracted)
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            total += equation.params.get("length", 1) * _product_flops(inner)
    return total


def test_forward_flops_count_the_products_of_the_model(monkeypatch):
    monkeypatch.setattr("audio_model.qwen3x.attention", reference_attention)
    config = Qwen3xConfig(vocab_size=50, embed=32, mlp=48, layers=3, heads=4, kv_heads=2, head_dim=16, remat="none")
    model = eqx.filter_eval_shape(initialize, config, jax.random.key(0))
    row = jax.ShapeDtypeStruct((1, 20), jnp.int32)
    jaxpr = jax.make_jaxpr(lambda model, row: model.logits(model(row, row, row)))(model, row)
    softmax = 3 * 20 * config.heads * config.layers
    assert _product_flops(jaxpr.jaxpr) == 20 * (config.forward_flops_per_token(20) - softmax)


def test_causal_flops_differ_by_the_hidden_half_of_the_scores():
    config = named_config("135m", 1000)
    scores = config.layers * (4 * config.query_dim + 3 * config.heads)
    assert config.forward_flops_per_token(101) - config.causal_forward_flops_per_token(101) == scores * 50


@pytest.mark.parametrize(
    ("embed", "layers", "heads"), [(256, 3, 2), (512, 6, 4), (1152, 12, 9), (2048, 20, 16), (3072, 30, 24)]
)
def test_grid_rule_equals_the_study(embed, layers, heads):
    config = grid_config(embed, 144_644)
    assert (config.layers, config.heads, config.kv_heads, config.head_dim) == (layers, heads, heads, 128)
    assert config.mlp == 4 * embed
    assert not config.tied


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kv_heads": 3}, "`kv_heads` must divide `heads` = 4"),
        ({"head_dim": 7}, "`head_dim` must be even"),
        ({"layers": 0}, "`layers` must be at least 1, got 0"),
        ({"rms_epsilon": 0.0}, "`rms_epsilon`"),
        ({"rms_epsilon": math.nan}, "`rms_epsilon`"),
        ({"rms_epsilon": math.inf}, "`rms_epsilon`"),
        ({"rms_epsilon": 1.0}, "`rms_epsilon`"),
        *(
            ({name: limit + 1}, f"`{name}` must be at most {limit:,}, got {limit + 1}")
            for name, limit in LIMITS.items()
        ),
    ],
)
def test_contradictions_are_refused(change, message):
    config = Qwen3xConfig(vocab_size=5, embed=8, mlp=8, layers=1, heads=4, kv_heads=2, head_dim=8)
    with pytest.raises(InputError, match=message):
        dataclasses.replace(config, **change)


@pytest.mark.parametrize(
    "build",
    [
        lambda: RopeConfig(theta=1.0),
        lambda: RopeConfig(theta=math.nan),
        lambda: RopeConfig(theta=math.inf),
        lambda: RopeScaling(factor=0.0),
        lambda: RopeScaling(factor=math.nan),
        lambda: RopeScaling(factor=math.inf),
        lambda: RopeScaling(original_max_position=0),
        lambda: RopeScaling(low_frequency_factor=4.0),
        lambda: RopeScaling(low_frequency_factor=math.nan),
        lambda: RopeScaling(low_frequency_factor=0.0),
        lambda: RopeScaling(high_frequency_factor=math.nan),
        lambda: RopeScaling(high_frequency_factor=math.inf),
        lambda: grid_config(200, 10),
        lambda: named_config("135m", 10).forward_flops_per_token(0),
    ],
)
def test_bad_values_are_refused(build):
    with pytest.raises(InputError, match="got"):
        build()


@pytest.mark.parametrize(("name", "key"), [("135M", "135m"), ("600m", "0.6b"), ("600M", "0.6b"), ("1.7B", "1.7b")])
def test_the_names_of_the_papers_are_sizes(name: str, key: str):
    assert named_config(name, 10) == named_config(key, 10)


def test_unknown_size_names_the_nearest():
    with pytest.raises(InputError, match=r"nearest: 1\.7b"):
        named_config("1.8b", 10)
    assert named_config("0.6B", 10) == named_config("0.6b", 10)


def test_the_limits_themselves_are_allowed():
    small = Qwen3xConfig(vocab_size=5, embed=8, mlp=8, layers=1, heads=4, kv_heads=2, head_dim=8)
    assert dataclasses.replace(small, **LIMITS).layers == LIMITS["layers"]
