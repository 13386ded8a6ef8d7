"""Start from the weights of a trained checkpoint: a new run with other data and another learning rate.

    uv run python examples/own_recipe.py OUT     # trains OUT/run on OUT/data
    uv run python examples/fine_tune.py OUT      # trains OUT/tuned, which starts from the weights of OUT/run

The first loss of the new run is near the last one of the old run, not near that of random weights.
"""

import sys
from dataclasses import replace
from pathlib import Path

from audio_train import InitSpec, MixtureStage, OptimizerSpec, ScheduleSpec, read_metrics, require_run, run

out = Path(sys.argv[1])
pretrained = require_run(out / "run").run
recipe = replace(
    pretrained,  # the same model and rows
    name="only-down",
    init=InitSpec(kind="checkpoint", source=pretrained.name),
    data=replace(pretrained.data, mixture=(MixtureStage(0.0, {"down": 1.0}),)),
    optimizer=OptimizerSpec("adamw", learning_rate=1e-3),
    schedule=ScheduleSpec(warmup=5, decay=None),  # 5 steps of warm-up, then a decay to zero
    steps=20,
)
# `init` is a run's folder (its newest checkpoint), one of its checkpoints (RUN/checkpoints/STEP), or, for
# InitSpec(kind="model"), a Hugging Face folder such as RUN/export.
run(recipe, out / "data", out / "tuned", init=out / "run")

before, after = ([line["loss"] for line in read_metrics(out / name / "metrics.jsonl")] for name in ("run", "tuned"))
print(f"from scratch {before[0]:.2f} -> {before[-1]:.2f}; fine-tuned {after[0]:.2f} -> {after[-1]:.2f} nats")
