"""Train a recipe of your own: your model, data, optimizer and length, with audio_train.run.

    uv run python examples/own_recipe.py OUT

OUT/data holds two small datasets of synthetic codes, OUT/run the trained run.
"""

import sys
from pathlib import Path

import numpy as np

from audio_data import DatasetWriter, Document, Vocabulary
from audio_train import (
    DataSpec,
    Intervals,
    MixtureStage,
    ModelShape,
    OptimizerSpec,
    ScheduleSpec,
    TrainRun,
    read_metrics,
    run,
)

out = Path(sys.argv[1])
vocabulary = Vocabulary.compact(
    "demo", num_text_pieces=4, codec_id="none", num_codebooks=1, codebook_size=32, text_tokenizer="none"
)
rng = np.random.default_rng(0)
for name, direction in (("up", 1), ("down", -1)):  # the codes of a document count up, or down
    with DatasetWriter(out / "data" / name, corpus=name, vocabulary=vocabulary, provenance={}) as writer:
        for index in range(200):
            codes = vocabulary.audio_ids((rng.integers(32) + direction * np.arange(20))[:, None] % 32)
            ids = [vocabulary.begin_of_text, *codes, vocabulary.end_of_text]
            writer.write(Document(np.array(ids), metadata={"id": f"{name}-{index}"}))

recipe = TrainRun(
    name="up-then-both",
    model=ModelShape(embed=32, mlp=64, layers=2, heads=2, kv_heads=1, head_dim=16),
    data=DataSpec(
        # The first half of the steps reads `up` only, the second half both datasets equally.
        mixture=(MixtureStage(0.0, {"up": 1.0}), MixtureStage(0.5, {"up": 1.0, "down": 1.0})),
        seq_len=64,
        batch_size=8,
        packing="best_fit",
    ),
    optimizer=OptimizerSpec("adamw", learning_rate=1e-2, weight_decay=0.1),
    schedule=ScheduleSpec(warmup=0.1, decay=0.3),
    steps=100,
    intervals=Intervals(checkpoint_steps=50),
)
result = run(recipe, out / "data", out / "run")

losses = [line["loss"] for line in read_metrics(out / "run" / "metrics.jsonl")]
print(f"{result.step} steps, loss {losses[0]:.2f} -> {losses[-1]:.2f}; the model is in {out / 'run' / 'export'}")
