"""Two initialisations of the vocabulary matrices, each in three configurations.

The study uses that of haliax, whose embeddings are so small that the epsilon of the first norm matters. The default of
new recipes gives logits of about unit deviation. This experiment compares the two at smoke scale: with an untied head,
with a tied head, and in the configuration of the quickstart, on the same speech.
"""

from dataclasses import replace

from audio_train.config import EvaluationSpec, InitSpec, Intervals, TrainRun
from audio_train.recipes.experiment import Experiment, runs_by_name
from audio_train.recipes.quickstart import RUN as QUICKSTART
from audio_train.soda.catalogue import SMALL, mixture, run_name
from audio_train.soda.grammar_loss import FULL

_STEPS = 300
_CORPUS = "yodas2/en"

_UNTIED = replace(FULL, steps=_STEPS, optimizer=replace(FULL.optimizer, cautious_mean="stacked"))
_SETTINGS = {
    "untied": _UNTIED,
    "tied": replace(_UNTIED, model=replace(FULL.model, tied=True)),
    "quickstart": replace(QUICKSTART, steps=_STEPS, data=replace(QUICKSTART.data, mixture=mixture(_CORPUS))),
}
_INTERVALS = Intervals(
    checkpoint_seconds=60.0, evaluation=EvaluationSpec((f"heldout/{_CORPUS}",), every_steps=_STEPS, num_batches=8)
)


def _run(setting: str, init: InitSpec, scheme: str) -> TrainRun:
    name = run_name("initialization", setting, scheme)
    return replace(_SETTINGS[setting], name=name, init=init, intervals=_INTERVALS)


def _runs(setting: str) -> tuple[TrainRun, ...]:
    init = _SETTINGS[setting].init
    return (
        _run(setting, replace(init, vocabulary_init="unit_logits"), "unit_logits"),
        _run(setting, replace(init, vocabulary_init="haliax"), "haliax"),
    )


EXPERIMENT = Experiment(
    name="initialization",
    question="How should the vocabulary matrices of a new recipe begin?",
    source="this project's own miniature",
    runs=runs_by_name(*(run for setting in _SETTINGS for run in _runs(setting))),
    vocabulary=SMALL,
    fixed_size=True,
    choices={
        "steps": "short: how a model begins tells most at the beginning",
        "data.mixture": "one corpus for all settings, so that the quickstart's reads no curriculum of fewer codebooks",
    },
)
