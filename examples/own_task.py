"""An evaluation task of one's own: does the context of an utterance make its later audio easier to predict?

    uv run python examples/own_task.py OUT
    uv run audio-eval run RUN --data DATA --heldout NAME --tasks examples/own_task.py:ContextGain --out SCORES

The first command evaluates an untrained model on random codes, where context cannot help; the second one of yours.
"""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np

from audio_data import DatasetWriter, Document, Vocabulary
from audio_eval import Context, Item, Journal, Measure, Task, TaskOutput, evaluate, score_documents, score_items
from audio_model import Qwen3xConfig, TokenSets, initialize, save_model
from audio_tokenize import Segment, SentencePieceText, VocabularyFolder, layout


@dataclasses.dataclass(frozen=True)
class ContextGain(Task):
    """Compare the audio loss of the second half of each document with that of the first half."""

    name: str = "context_gain"
    order: str = "audio_first"  # a setting: --set context_gain.order=text_first

    def run(self, context: Context, journal: Journal) -> TaskOutput:
        """Score the documents of every dataset."""
        vocabulary, items = context.checkpoint.vocabulary, []
        sets = TokenSets.build(vocabulary.allowed_sets)
        for name, group in context.documents.items():
            ids = [layout(self.order).build(one.segments, vocabulary) for one in group]
            for one, found in zip(group, score_documents(context.checkpoint.model, ids, sets), strict=True):
                audio = vocabulary.kind_of(found.targets) >= vocabulary.kinds.index("codebook_0")
                early, late = np.array_split(-found.allowed[audio], 2)  # nats per token
                terms = {"early": (float(early.sum()), len(early)), "late": (float(late.sum()), len(late))}
                items.append(Item(one.id, name, terms, detail={}))
        measure = Measure(self.name, "fraction", "lower", ("late", "early"), "quotient", meaning="late over early loss")
        scores = [score for name in context.datasets for score in score_items(self.name, name, [measure], items)]
        return TaskOutput(tuple(scores), tuple(items), facts={})


if __name__ == "__main__":
    out, rng = Path(sys.argv[1]), np.random.default_rng(0)
    text = SentencePieceText.train(["one two three four", "five six seven eight nine"], 24)
    vocabulary = Vocabulary.compact("toy", text.num_ids, "toy-codec", 2, 16, text.fingerprint)
    with DatasetWriter(out / "data" / "toy", corpus="toy", vocabulary=vocabulary, provenance={}) as writer:
        for index in range(20):
            segment = Segment(np.array(text.encode("one two"), np.int32), rng.integers(16, size=(8, 2), dtype=np.int32))
            writer.write(Document(layout("audio_first").build([segment], vocabulary), metadata={"id": str(index)}))
    config = Qwen3xConfig(vocab_size=vocabulary.size, embed=16, mlp=32, layers=1, heads=1, kv_heads=1, head_dim=16)
    save_model(out / "model", initialize(config, jax.random.key(0)))
    VocabularyFolder(vocabulary, text, np.zeros((2, 16, 4), np.float32)).save(out / "model" / "vocabulary")
    found = evaluate(out / "model", out / "data", ["toy"], [ContextGain()], out / "scores", transcriber="none")
    print(f"late over early loss {found.scores[0].value:.3f} [{found.scores[0].low:.3f}, {found.scores[0].high:.3f}]")
