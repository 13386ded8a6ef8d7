"""Write two datasets and load a batch from a mixture of them, with audio-data alone (no JAX, no audio).

uv run python examples/load_batch.py OUT
"""

import sys
from pathlib import Path

import numpy as np

from audio_data import BatchLoader, DatasetWriter, Document, Mixture, Packing, Stage, Vocabulary, open_root

out = Path(sys.argv[1])
vocabulary = Vocabulary.compact(
    "demo", num_text_pieces=4, codec_id="none", num_codebooks=1, codebook_size=32, text_tokenizer="none"
)
rng = np.random.default_rng(0)
for name, length in (("short", 10), ("long", 40)):
    with DatasetWriter(out / name, corpus=name, vocabulary=vocabulary, provenance={}) as writer:
        for index in range(200):
            codes = vocabulary.audio_ids(rng.integers(32, size=(length, 1)))
            ids = [vocabulary.begin_of_text, *codes, vocabulary.end_of_text]
            writer.write(Document(np.array(ids), metadata={"id": f"{name}-{index}"}))

mixture = Mixture("three-to-one", (Stage(0, {"short": 3, "long": 1}),), block_size=8)  # exact in every 8 rows
loader = BatchLoader(
    open_root(out), mixture, seq_len=64, batch_size=8, seed=0, packing=Packing("best_fit", "reset", max_segments=16)
)
batch = loader.batch(0)  # the batch of step 0, a function of seed, mixture and step
print(f"tokens {batch.tokens.shape}, {int((batch.segment_ids > 0).sum())} of {batch.tokens.size} are not padding")
rows = [loader.corpora[index] for index in batch.corpus]
print(f"rows: {rows.count('short')} short, {rows.count('long')} long")
