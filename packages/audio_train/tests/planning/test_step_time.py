"""The estimated time of a step, part by part, against sums written out here."""

import json
from dataclasses import replace

import pytest

from audio_train import LossSpec, MeshConfig, plan_run
from audio_train.hardware import ACCELERATORS
from audio_train.planning.plan import Compiled
from audio_train.planning.step_time import BlockCost, step_time
from audio_train.recipes.targets import named_run

V5P, PEAK = ACCELERATORS["v5p"], 459e12
TOKENS, SEQ = 512 * 4096 / 128, 4096
# What libtpu says of a block of the 4B model, 2,560 wide with 32 heads of 128, in 4 rows of 4,096.
BLOCK = BlockCost(tokens=16_384, flops=9.939e12, seconds=28.794e-3)


@pytest.fixture(scope="module")
def four_billion():
    return named_run("exp2.1-4b", None, ("remat=dots",), "published").resolved


def test_the_parts_of_a_step_of_the_4b_run(four_billion):
    time = step_time(four_billion, MeshConfig(data=1, fsdp=128), V5P, BLOCK)
    assert time is not None
    # A quarter more time for products at 80 % of the peak.
    assert time.blocks == pytest.approx(36 * (28.794e-3 + 0.25 * 9.939e12 / PEAK), rel=1e-6)
    scores_and_values = 4 * 32 * 128 * (SEQ + 1) / 2
    assert time.attention == pytest.approx(36 * TOKENS * 3.5 * 9 / 8 * scores_and_values / (0.8 * PEAK), rel=1e-6)
    assert time.head == pytest.approx(TOKENS * 8 * 2560 * 144_644 / (0.8 * PEAK), rel=1e-6)
    assert time.update == pytest.approx(10 * 4 * 4_374_089_216 / 128 / 2765e9, rel=1e-6)
    # Two bytes a weight: blocks fetched twice and their gradients sent, embedding and head fetched and sent.
    matrices = 4_374_089_216 - 2560 - 36 * (2 * 2560 + 2 * 128)
    ends = 2 * 2560 * 144_644
    assert time.exchange == pytest.approx(2 * (3 * (matrices - ends) + 2 * ends) * 127 / 128 / 600e9, rel=1e-6)
    assert time.seconds == time.blocks + time.attention + time.head + time.update
    flops = 3 * TOKENS * four_billion.model.forward_flops_per_token(SEQ)
    assert time.mfu["full_attention"] == pytest.approx(flops / PEAK / time.seconds, rel=1e-9)
    assert time.mfu["causal_attention"] < time.mfu["full_attention"]


def test_a_step_waits_for_an_exchange_that_takes_longer(four_billion):
    slow = replace(V5P, exchange_bandwidth=1e9)
    time = step_time(four_billion, MeshConfig(data=1, fsdp=128), slow, BLOCK)
    assert time is not None
    assert time.seconds == time.exchange > time.blocks + time.attention


def test_attention_takes_longer_with_narrow_heads_and_where_it_is_computed_again(four_billion):
    def attention(**changes) -> float:
        resolved = replace(four_billion, model=replace(four_billion.model, **changes))
        time = step_time(resolved, MeshConfig(data=1, fsdp=128), V5P, BLOCK)
        assert time is not None
        return time.attention

    assert attention(heads=64, head_dim=64) == pytest.approx(2 * attention())
    assert attention(remat="full") == pytest.approx(attention() * 4.5 / 3.5)


def test_nothing_is_said_of_what_the_estimate_does_not_know(four_billion):
    assert step_time(four_billion, MeshConfig(data=1, fsdp=64, tensor=2), V5P, BLOCK) is None
    grammar = replace(four_billion, run=replace(four_billion.run, loss=LossSpec("grammar")))
    assert step_time(grammar, MeshConfig(data=1, fsdp=128), V5P, BLOCK) is None


def test_a_plan_takes_the_estimate_unless_told_another_share(four_billion):
    plain = plan_run(four_billion, "v5p-256")
    compiled = replace(plain, compiled=Compiled(True, block=BLOCK))
    assert plain.mfu == 0.4
    assert plain.to_json()["estimated_step"] is None
    shown = json.loads(json.dumps(compiled.to_json()))
    assert shown["mfu"] == shown["estimated_step"]["mfu"]["causal_attention"]
    assert shown["estimated_seconds_per_step"] == pytest.approx(shown["estimated_step"]["seconds"])
    assert any("estimated MFU" in line and "three forward passes" in line for line in compiled.lines())
    told = replace(plan_run(four_billion, "v5p-256", mfu=0.5), compiled=compiled.compiled)
    assert told.mfu == 0.5
