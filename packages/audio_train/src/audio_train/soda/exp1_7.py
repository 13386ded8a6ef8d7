"""The content of documents: the semantic codebook, all codebooks, or audio and transcript."""

from audio_train.config import LearningRateRule, NamedModel
from audio_train.recipes.experiment import Experiment, runs_by_name
from audio_train.soda.catalogue import MARIN_MIMI, PRETRAINING_CHOICES, pretraining, run_name, windows

# Corpus by what its documents hold.
_CORPORA = {
    "semantic": "yodas2-semantic/en",
    "semantic-acoustic": "yodas2-acoustic/en",
    "interleaved": "yodas2/en",
}
_RUNS = {
    content: pretraining(
        run_name("exp1.7", content),
        NamedModel("1.7b", tied=True),
        windows(corpus, batch_size=128),
        LearningRateRule("sqrt_width", 0.002),
        tokens=30e9,
    )
    for content, corpus in _CORPORA.items()
}

EXPERIMENT = Experiment(
    name="exp1.7",
    question="What do semantic codes, acoustic codes and transcripts each buy at equal compute?",
    source="Marin `experiments/audio/exp1699_ablate_tokens.py` (Exp 1.7)",
    runs=runs_by_name(*_RUNS.values()),
    reported={
        _RUNS["semantic"].name: "best on sBLIMP and sWUGGY",
        _RUNS["semantic-acoustic"].name: "SALMon above 69; lower sBLIMP and sWUGGY",
        _RUNS["interleaved"].name: "recognition (WER about 22), synthesis and text tasks, at little acoustic harm",
    },
    vocabulary=MARIN_MIMI,
    choices={
        **PRETRAINING_CHOICES,
        "tokens": "equal tokens, not equal hours: the semantic stream holds eight times the audio",
        "optimizer.learning_rate": "this script multiplies by the root of width/1024, where the production runs divide",
    },
)
