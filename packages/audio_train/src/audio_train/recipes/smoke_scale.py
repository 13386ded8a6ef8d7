"""The scales of a recipe: as published, and smoke scale, which two CPU cores train in minutes.

At smoke scale a run keeps its mixture with all dataset names, its packing, optimizer, loss, shape of the schedule,
rotary base, scaling and epsilon, and the source of its first weights. These rules reduce everything else:

| what | published | smoke |
|---|---|---|
| width | `embed` | 16 for each 256, from 32 to 128 |
| heads | `heads`, `kv_heads`, `head_dim` | one of width 16 for each 16 of the width, with the same ratio of key heads |
| feed-forward | `mlp` | in the same proportion to the width |
| layers | `layers` | one for each 9, from 2 to 4 |
| row | `seq_len` | 512 tokens |
| batch | `batch_size` | 2 rows |
| steps | n | the square root of n |
| kept checkpoints, and the first step of an anneal | step k of n | the same fraction of the smaller run |
| learning rate | by a rule | 0.01; for an anneal, the peak of a linear decay that has 0.01 at its first step |
| learning rate | a number, as in fine-tuning | 0.001 |
| precision | bfloat16 | float32 |

The vocabulary is that of the data. The learning rate is fixed because the published rules are for batches of millions
of tokens. The square root keeps long runs longer than short ones.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from audio_data import InputError
from audio_model import named_size
from audio_train.config import EvaluationSpec, InitSpec, Intervals, LearningRateRule, ModelShape, NamedModel, TrainRun
from audio_train.optimization.schedules import anneal_peak
from audio_train.recipes.experiment import Experiment

Scale = Literal["published", "smoke"]

ROW_TOKENS = 512
BATCH_ROWS = 2
PRETRAINING_LEARNING_RATE = 1e-2
TUNING_LEARNING_RATE = 1e-3
HEAD_DIM = 16
HELDOUT_FOLDER = "heldout"
_INIT_FOLDER = "initial_weights"
# Its name in data that older versions made.
_OLD_INIT_FOLDER = "starts"
EVALUATION_BATCHES = 4


def at_scale(run: TrainRun, scale: Scale, find: Callable[[str], TrainRun]) -> TrainRun:
    """Scale a recipe.

    Args:
        run: The recipe as published.
        scale: `"published"` returns it unchanged.
        find: Function that finds a recipe by name; an anneal is scaled with the run that it continues.

    Raises:
        InputError: An anneal begins at a step of which the other run keeps no checkpoint.
    """
    return run if scale == "published" else _smoke(run, find)


def num_steps(run: TrainRun) -> int:
    """Return the steps of a run as published."""
    return run.steps if run.steps is not None else math.ceil((run.tokens or 0) / run.data.tokens_per_step)


def smoke_steps(run: TrainRun) -> int:
    """Return the steps of a run at smoke scale."""
    return round(math.sqrt(num_steps(run)))


def smoke_model(model: NamedModel | ModelShape) -> ModelShape:
    """Return a model at smoke scale."""
    shape = named_size(model.size) if isinstance(model, NamedModel) else model
    heads = min(max(round(shape.embed / 256), 2), 8)
    return ModelShape(
        embed=heads * HEAD_DIM,
        mlp=round(heads * HEAD_DIM * shape.mlp / shape.embed),
        layers=min(max(round(shape.layers / 9), 2), 4),
        heads=heads,
        kv_heads=_key_heads(heads, shape.heads // shape.kv_heads),
        head_dim=HEAD_DIM,
        tied=model.tied,
        rope_theta=model.rope_theta,
        rope_scaling=model.rope_scaling,
        rms_epsilon=model.rms_epsilon,
    )


def _key_heads(heads: int, queries_per_key: int) -> int:
    """Return the number of key heads for a number of query heads per key head, rounded down to a divisor of `heads`."""
    return max(n for n in range(1, heads + 1) if heads % n == 0 and n * queries_per_key <= max(heads, queries_per_key))


def _smoke(run: TrainRun, find: Callable[[str], TrainRun]) -> TrainRun:
    steps = smoke_steps(run)
    init = _smoke_checkpoint(run.init, find) if run.init.kind == "checkpoint" else run.init
    by_rule = isinstance(run.optimizer.learning_rate, LearningRateRule)
    peak = PRETRAINING_LEARNING_RATE if by_rule else TUNING_LEARNING_RATE
    return replace(
        run,
        model=smoke_model(run.model),
        data=replace(run.data, seq_len=ROW_TOKENS, batch_size=BATCH_ROWS),
        optimizer=replace(run.optimizer, learning_rate=anneal_peak(peak, first_step=init.first_step, num_steps=steps)),
        steps=steps,
        tokens=None,
        init=init,
        precision="float32",
        remat="dots",
        intervals=Intervals(
            checkpoint_seconds=60.0,
            keep_every_steps=_kept_every(run),
            evaluation=EvaluationSpec(_heldout(run), every_steps=steps, num_batches=EVALUATION_BATCHES),
        ),
    )


def _kept_every(run: TrainRun) -> int | None:
    """Return the steps between kept checkpoints at smoke scale, in proportion."""
    every = run.intervals.keep_every_steps
    return None if every is None else max(1, round(every * smoke_steps(run) / num_steps(run)))


def _smoke_checkpoint(init: InitSpec, find: Callable[[str], TrainRun]) -> InitSpec:
    """Return the checkpoint at smoke scale that replaces a published one."""
    name, step = (init.source or "").partition("@")[0], init.step
    base = find(name)
    every, kept = base.intervals.keep_every_steps, _kept_every(base)
    if step is None or every is None or kept is None or step % every:
        raise InputError(
            f"`init.source` must name a checkpoint that recipe `{name}` keeps, for smoke scale, got {init.source!r}; "
            "name a step that it keeps"
        )
    return replace(init, source=f"{name}@{step // every * kept}")


def heldout_of(corpus: str) -> str:
    """Name of the held-out dataset that belongs to a dataset of the smoke data."""
    return f"{HELDOUT_FOLDER}/{corpus}"


def _heldout(run: TrainRun) -> tuple[str, ...]:
    corpora = {corpus for stage in run.data.mixture for corpus in stage.weights}
    return tuple(map(heldout_of, sorted(corpora)))


def init_folder(run: TrainRun, experiment: Experiment, data_root: Path) -> Path | None:
    """Folder of the initial weights of a run at smoke scale, `DATA/initial_weights/NAME`; None from scratch.

    Args:
        run: The run at smoke scale.
        experiment: Experiment of its recipe.
        data_root: Folder of the datasets.

    Raises:
        InputError: The folder does not exist.
    """
    init = run.init
    if init.kind == "scratch":
        return None
    source = init.source or ""
    folder = weights_folder(data_root, experiment.smoke_weights.get(source, source.partition("@")[0]))
    path = folder / "export" if init.kind == "model" else folder / "checkpoints" / str(init.step)
    if not path.is_dir():
        command = experiment.smoke_data.format(data=data_root, name=run.name)
        raise InputError(
            f"`{run.name}` at smoke scale needs the weights `{path}`, which is no folder; "
            + (f"make them with `{command}`" if command else "give --start")
        )
    return path


def weights_folder(data_root: Path, name: str) -> Path:
    """Folder of a run that provides initial weights at smoke scale; it need not exist.

    Args:
        data_root: Folder of the datasets.
        name: Name of the weights.
    """
    folder, old = data_root / _INIT_FOLDER / name, data_root / _OLD_INIT_FOLDER / name
    return old if old.is_dir() and not folder.is_dir() else folder
