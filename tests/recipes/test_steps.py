"""The training step of every distinct model of the study is traced and lowered at full size, without its memory.

`uv run pytest --dist load tests/recipes/test_golden.py tests/recipes/test_steps.py` resolves and checks every recipe,
in 15 s on two idle cores, which share the models then.
"""

import dataclasses
import gc
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from audio_data import Vocabulary
from audio_train import MeshConfig, ResolvedRun, experiments, resolve
from audio_train.sharding.mesh import make_mesh
from audio_train.state import abstract_state
from audio_train.training.step import Batch, objective
from audio_train.training.trainer import jit_functions

COMPACT = Vocabulary.compact("compact", 384, "embedded-v1", num_codebooks=8, codebook_size=2048, text_tokenizer="x")


def distinct_steps() -> dict[str, ResolvedRun]:
    """One run for each model, update rule and loss that needs a step program of its own, with one row a batch.

    No shape of a model depends on the batch.
    """
    found: dict[str, ResolvedRun] = {}
    for study in (study for study in experiments().values() if not study.fixed_size):
        for name, recipe in study.runs.items():
            run = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, batch_size=1))
            resolved = resolve(run, study.vocabulary_of(name) or COMPACT)
            found.setdefault(repr((resolved.model, run.optimizer.name, run.loss)), resolved)
    return {resolved.run.name: resolved for resolved in found.values()}


STEPS = distinct_steps()


@pytest.fixture(scope="module", autouse=True)
def no_collection() -> Iterator[None]:
    """Tracing makes objects by the million, and looking through them again and again is two fifths of its time."""
    gc.disable()
    yield
    gc.enable()


def is_width_between(name: str) -> bool:
    """Whether a run of the isoFLOP grid has neither its narrowest nor its widest model: only widths differ there."""
    return name.startswith("exp1.6-") and not name.endswith(("-d256", "-d3072"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if is_width_between(name) else name for name in STEPS]
)
def test_the_step_of_every_distinct_model_is_traced_and_lowered(name: str):
    resolved, one = STEPS[name], MeshConfig(data=1)
    mesh = make_mesh(one)
    state = abstract_state(resolved, mesh, one)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.model)) == resolved.model.num_parameters
    row = (1, resolved.run.data.seq_len)
    shapes: list[Any] = [jax.ShapeDtypeStruct(row, dtype) for dtype in (jnp.int32, jnp.int32, jnp.int32, jnp.bool_)]
    batch = Batch(*shapes)
    program = jit_functions(resolved, mesh, one, state)
    lowered = program.train.lower(state, batch, objective(resolved), resolved.learning_rate, None)
    after, _ = lowered.out_info
    assert jax.tree.map(lambda leaf: leaf.shape, after.model) == jax.tree.map(lambda leaf: leaf.shape, state.model)
