"""Prices of runs against closed forms, against arrays that were really made, and the slices they are given for."""

import json
import math
from dataclasses import replace
from pathlib import Path
from subprocess import TimeoutExpired

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from audio_data import InputError
from audio_train import MeshConfig, ResolvedRun, plan_run
from audio_train.cli import main
from audio_train.hardware import parse_slice
from audio_train.planning.plan import Compiled, bytes_per_device, with_compiled
from audio_train.sharding.mesh import make_mesh
from audio_train.state import abstract_state, random_state


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.environ", dict(**__import__("os").environ))
    return lambda *words: CliRunner().invoke(main, ["plan", *words], catch_exceptions=False)


@pytest.mark.parametrize(
    ("name", "num_devices", "topology"),
    [
        ("v5p-8", 4, "v5p:2x2x1"),
        ("v5p-32", 16, "v5p:2x2x4"),
        ("v5p-128", 64, "v5p:4x4x4"),
        ("v5p-256", 128, "v5p:4x4x8"),
        ("v5e-16", 16, "v5e:4x4"),
        ("v6e-8", 8, "v6e:2x4"),
    ],
)
def test_slices_are_named_by_cores_or_by_chips(name: str, num_devices: int, topology: str):
    where = parse_slice(name)
    assert (where.num_devices, where.topology) == (num_devices, topology)


@pytest.mark.parametrize(
    ("name", "message"),
    [("v9-8", "of v4, v5e, v5p"), ("v5p", "such as v5p-128"), ("v5p-7", "a number of cores, 2 per chip")],
)
def test_a_slice_that_does_not_exist_is_refused(name: str, message: str):
    with pytest.raises(InputError, match=message):
        parse_slice(name)


def test_weights_and_moments_take_what_their_arrays_take(varied):
    resolved = varied(model=replace(varied().run.model, kv_heads=2))
    mesh_config = MeshConfig(data=1, fsdp=4, tensor=2)
    state = random_state(resolved, abstract_state(resolved, make_mesh(mesh_config), mesh_config), None)
    device = jax.devices()[0]

    def held(tree) -> int:
        shards = [shard for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards]
        return sum(shard.data.nbytes for shard in shards if shard.device == device)

    priced = bytes_per_device(resolved, mesh_config)
    assert (priced["parameters"], priced["moments"]) == (held(state.model), held(state.optimizer))


def test_what_remat_keeps_is_what_the_backward_pass_reads(varied):
    """ "full" keeps a block's input; more is kept in the order of the policies' names, and microbatches share it."""
    by_policy = [
        bytes_per_device(varied(remat=remat), MeshConfig(data=2))["activations"]
        for remat in ("offload", "full", "dots", "none")
    ]
    run = varied().run
    assert by_policy[1] == 4 * run.model.layers * run.model.embed * (run.data.batch_size // 2) * run.data.seq_len
    assert by_policy == sorted(by_policy)
    parts = bytes_per_device(varied(remat="full"), MeshConfig(data=2, microbatches=4))["activations"]
    assert parts == by_policy[1] / 4


def test_working_memory_is_that_of_one_block_or_of_both_ends(varied):
    """What a block computes again grows as less is kept; with few tokens the fetched embedding and head count."""
    alone = [
        bytes_per_device(varied(remat=remat), MeshConfig(data=2))["working"]
        for remat in ("none", "dots", "full", "offload")
    ]
    assert alone == sorted(alone)
    assert alone[3] == 2 * alone[0]  # as much again as there are gradients
    resolved = varied(remat="full")
    model, tokens = resolved.model, resolved.run.data.batch_size // 2 * resolved.run.data.seq_len
    assert alone[3] - alone[2] == 4 * model.embed * tokens  # the block's input, which "full" keeps
    wide = replace(resolved, model=replace(model, vocab_size=50_000))
    cut = MeshConfig(data=1, fsdp=8)
    assert bytes_per_device(wide, cut)["working"] == 4 * 4 * 50_000 * model.embed
    deep = replace(resolved, model=replace(model, mlp=10_000))
    more = bytes_per_device(deep, cut)["working"] - 12 * deep.model.layer_parameters
    read = 4 * model.embed + 3 * model.query_dim + 3 * model.kv_dim + 4 * 10_000
    assert more == 4 * 32 * (2 * read - model.embed)


def test_the_4b_run_on_a_v5p_256(invoke):
    shown = json.loads(invoke("exp2.1-4b", "--slice", "v5p-256", "--no-compile", "--json").stdout)
    assert (shown["num_steps"], shown["num_tokens"]) == (238_419, 238_419 * 512 * 4096)
    assert shown["peak_learning_rate"] == pytest.approx(0.0026833, rel=1e-4)
    assert shown["num_parameters"] == 4_374_089_216
    assert (shown["num_devices"], shown["mesh"]["fsdp"]) == (128, 128)
    # 27.65 GFLOP a token and step: what the study's table has for causal attention, counted three times forward.
    assert shown["training_flops"]["causal_attention"] / shown["num_tokens"] == pytest.approx(27.65e9, rel=2e-3)
    flops_per_step = shown["training_flops"]["causal_attention"] / shown["num_steps"]
    assert shown["estimated_seconds_per_step"] == pytest.approx(flops_per_step / (0.4 * 128 * 459e12), rel=1e-6)
    state = shown["estimated_bytes_per_device"]
    assert state["parameters"] + state["moments"] == pytest.approx(12 * 4_374_089_216 / 128, rel=0.01)
    assert shown["fits"]
    assert "238,419" in invoke("exp2.1-4b", "--slice", "v5p-256", "--no-compile").stdout


def test_a_run_that_cannot_fit_is_refused(invoke):
    words = ("exp2.1-4b", "--slice", "v5e-1", "--no-compile", "--set", "remat=none", "--set", "data.batch_size=8")
    result = invoke(*words)
    assert result.exit_code == 2
    assert "does not fit on v5e-1" in result.stderr
    assert "--microbatches" in result.stderr


def test_a_mesh_that_does_not_divide_is_refused(toy: ResolvedRun):
    with pytest.raises(InputError, match="must divide the 64 devices of v5p-128"):
        plan_run(toy, "v5p-128", mesh="fsdp=48")
    with pytest.raises(InputError, match="`batch_size` is a multiple of the 64 devices"):
        plan_run(toy, "v5p-128", mesh="data=64")


def test_the_compiler_has_the_last_word(toy: ResolvedRun):
    estimate = plan_run(toy, "v5p-8")
    refused = replace(estimate, compiled=Compiled(fits=False, message="RESOURCE_EXHAUSTED: 120G of 95G"))
    with pytest.raises(InputError, match=r"does not fit on v5p-8 .*120G of 95G"):
        refused.require_fit()
    measured = replace(estimate, compiled=Compiled(True, argument_bytes=2.0, temporary_bytes=3.0))
    assert measured.total_bytes == 5.0


def test_without_a_compiler_the_estimate_stands(toy: ResolvedRun, monkeypatch: pytest.MonkeyPatch):
    assert "only TPU slices are compiled, not h100" in with_compiled(plan_run(toy, "h100-8")).remark
    monkeypatch.setattr("audio_train.planning.plan.util.find_spec", lambda name: None)
    assert "pip install libtpu" in with_compiled(plan_run(toy, "v5p-8")).remark

    def slow(*words, **options):
        raise TimeoutExpired(words, 1.0)

    monkeypatch.setattr("audio_train.planning.plan.util.find_spec", lambda name: object())
    monkeypatch.setattr("audio_train.planning.plan.subprocess.run", slow)
    assert "took more than 1 s" in with_compiled(plan_run(toy, "v5p-8"), timeout_seconds=1.0).remark


@pytest.mark.slow
@pytest.mark.parametrize("microbatches", [1, 2])
def test_the_real_step_compiles_for_a_slice(toy: ResolvedRun, microbatches: int):
    """Needs libtpu; the bytes of state and batch are then the compiler's own."""
    pytest.importorskip("libtpu")
    model = replace(toy.model, embed=256, mlp=512, heads=2, kv_heads=2, head_dim=128, remat="dots")
    shape = replace(toy.run.model, embed=256, mlp=512, heads=2, kv_heads=2, head_dim=128)
    data = replace(toy.run.data, seq_len=512, batch_size=8)
    resolved = replace(toy, run=replace(toy.run, model=shape, data=data, precision="bfloat16"), model=model)
    estimate = with_compiled(plan_run(resolved, "v5p-8", microbatches=microbatches))
    assert estimate.compiled is not None
    assert estimate.compiled.fits
    state = estimate.bytes_per_device["parameters"] + estimate.bytes_per_device["moments"]
    batch = math.prod((2, 512)) * (3 * 4 + 1)
    np.testing.assert_allclose(estimate.compiled.argument_bytes, state + batch, rtol=0.05)
    block = estimate.compiled.block
    assert block is not None
    # Three forward passes of the block's products; a vocabulary of next to nothing adds little.
    np.testing.assert_allclose(block.flops, 3 * 2 * resolved.model.layer_parameters * block.tokens, rtol=0.03)
    assert block.seconds > block.flops / 459e12


def test_a_plan_with_data_says_what_rows_would_cut(invoke, data_root: Path):
    settings = [
        "--set",
        'data.mixture=[{"start_fraction":0,"weights":{"long":1}}]',
        "--set",
        "intervals.evaluation=null",
    ]
    options = ["quickstart", "--slice", "h100-8", "--no-compile", "--data", str(data_root), "--set", "data.seq_len=16"]
    said = invoke(*options, *settings, "--set", "data.batch_size=8")
    assert said.exit_code == 0, said.stderr
    assert "dataset `long`: 40 of 40 documents are longer than a row of 16 tokens" in said.stderr
