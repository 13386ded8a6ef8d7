"""Train on any stream of integers: the trainer learns the vocabulary from the dataset, not from audio.

    uv run python examples/any_integers.py OUT

The "speech" here is a counting game: each document counts upwards in the codes of one codebook from a random start, so
its next token is known and the loss can fall to almost nothing.
"""

import sys
from pathlib import Path

import numpy as np

from audio_data import DatasetWriter, Document, Vocabulary
from audio_train import (
    DataSpec,
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
    "counting", num_text_pieces=4, codec_id="none", num_codebooks=1, codebook_size=32, text_tokenizer="none"
)

rng = np.random.default_rng(0)
with DatasetWriter(out / "data" / "counting", corpus="counting", vocabulary=vocabulary, provenance={}) as writer:
    for index in range(300):
        codes = (rng.integers(32) + np.arange(20)) % 32
        ids = [vocabulary.begin_of_text, *vocabulary.audio_ids(codes[:, None]), vocabulary.end_of_text]
        writer.write(Document(np.array(ids), metadata={"id": f"count-{index}"}))

recipe = TrainRun(
    name="counting",
    model=ModelShape(embed=32, mlp=64, layers=2, heads=2, kv_heads=1, head_dim=16),
    data=DataSpec((MixtureStage(0.0, {"counting": 1.0}),), seq_len=64, batch_size=8, packing="best_fit"),
    optimizer=OptimizerSpec("cautious_adamc", learning_rate=1e-2),
    schedule=ScheduleSpec(warmup=0.1, decay=0.2),
    steps=150,
)
outcome = run(recipe, out / "data", out / "run")

losses = [line["nll"]["codebook_0"] for line in read_metrics(out / "run" / "metrics.jsonl")]
print(f"{outcome.step} steps, codebook loss {losses[0]:.2f} -> {losses[-1]:.2f} nats (ln 32 = {np.log(32):.2f})")
