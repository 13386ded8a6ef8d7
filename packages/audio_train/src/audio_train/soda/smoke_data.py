"""Make a small synthetic dataset for every dataset name of a mixture, from the sample recordings.

Each dataset has the layouts, transcripts and grouping of its tokenization recipe; a grouping for which the samples lack
metadata is replaced by `recording`. Datasets have different voices. Each has a held-out dataset `heldout/<name>` with
other sentences. Everything is made with commands of `audio-tokenize` and `audio-train`:

    ROOT/codes/<sample>          codes of the sample recordings
    ROOT/vocabulary              one vocabulary, learned from the transcripts
    ROOT/<corpus>                a dataset
    ROOT/heldout/<corpus>        its held-out dataset
    ROOT/initial_weights/<name>  a run that provides initial weights of other runs

Existing results are kept.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import click

from audio_data import InputError, to_json
from audio_train.command_lines import Command, find_programs, run_command
from audio_train.config import InitSpec, TrainRun
from audio_train.recipes import find_recipe, find_runs
from audio_train.recipes.smoke_scale import heldout_of, smoke_model, weights_folder
from audio_train.soda.checkpoints import CHECKPOINTS, PublishedCheckpoint
from audio_train.soda.tokenization import Tokenization, produced_by

SAMPLES = ("sample", "sample-multilingual", "sample-parallel")
SAMPLE_LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "th", "zh")
STATED_GROUPINGS = ("utterance", "recording", "pair")
TEXT_PIECES = 128

# Voices of the English sample; other corpora have all of them.
VOICES = {
    "emilia": ("slt", "en-us-f3"),
    "emilia-yodas": ("rms", "en-us-m3"),
    "mls-en": ("kal16",),
    "peoples-speech-clean": ("en-us",),
    "common-voice-17-en": ("en-us-m3",),
    "librispeech": ("rms",),
    "libritts-r": ("slt",),
}
TEXT_RECIPE = "exp1.4-text-100"
"""Recipe that replaces a published text model, with the shape of that model."""


def corpora_of(names: Iterable[str]) -> list[str]:
    """Every dataset that recipes read, in alphabetical order.

    Args:
        names: Names of recipes, or of experiments for all of their recipes.
    """
    runs = [run for name in names for run in find_runs(name)]
    return sorted({corpus for run in runs for stage in run.data.mixture for corpus in stage.weights})


def data_commands(root: Path, corpora: Iterable[str]) -> Iterator[Command]:
    """Command lines that make datasets, without those that are finished.

    Args:
        root: Folder of the smoke data.
        corpora: Names of the datasets.

    Raises:
        InputError: No sample has the language of a dataset, or no tokenization makes it.
    """
    recipes = {corpus: produced_by(corpus) for corpus in corpora}
    sources = {corpus: _sample_of(corpus, recipe) for corpus, recipe in recipes.items()}
    codes, vocabulary = root / "codes", root / "vocabulary"
    # All samples, even those not needed, so that the vocabulary is always the same.
    for sample in SAMPLES:
        if not (codes / sample / "codes.json").exists():
            yield Command(f"Codes of {sample}", ("audio-tokenize", "encode", sample, "--out", str(codes / sample)))
    if not (vocabulary / "vocabulary.json").exists():
        words = (*(str(codes / sample) for sample in SAMPLES), "--out", str(vocabulary), "--pieces", str(TEXT_PIECES))
        yield Command("One vocabulary for all", ("audio-tokenize", "vocabulary", *words))
    for corpus, recipe in recipes.items():
        for name, split in ((corpus, "train"), (heldout_of(corpus), "heldout")):
            if not (root / name / "manifest.json").exists():
                options = ("--vocabulary", str(vocabulary), "--out", str(root / name), "--split", split)
                words = (str(codes / sources[corpus]), *options, *_document_words(corpus, recipe))
                yield Command(f"Documents of {name}", ("audio-tokenize", "build", *words))


def _sample_of(corpus: str, recipe: Tokenization) -> str:
    """Sample corpus that replaces a corpus."""
    if recipe.grouping == "pair":
        return "sample-parallel"
    language = _language(corpus)
    if language == "en":
        return "sample"
    if language not in SAMPLE_LANGUAGES:
        raise InputError(f"corpus `{corpus}` must be in one of {', '.join(SAMPLE_LANGUAGES)}, got {language!r}.")
    return "sample-multilingual"


def _language(corpus: str) -> str:
    last = corpus.rpartition("/")[2]
    return last if len(last) == 2 else "en"


def _document_words(corpus: str, recipe: Tokenization) -> tuple[str, ...]:
    """Layouts, grouping and selection of utterances, as options of `audio-tokenize build`."""
    grouping = recipe.grouping if recipe.grouping in STATED_GROUPINGS else "recording"
    chosen = () if recipe.grouping == "pair" else ("--language", _language(corpus))
    return (
        *(word for layout in recipe.layouts for word in ("--layout", layout)),
        *("--grouping", grouping, "--transcript", recipe.transcript),
        *chosen,
        *(word for voice in VOICES.get(recipe.corpus, ()) for word in ("--speaker", voice)),
    )


def weights_commands(root: Path, run: TrainRun) -> Iterator[Command]:
    """Command lines that train the initial weights of a run at smoke scale, and the initial weights of those."""
    if run.init.kind == "scratch":
        return
    name, recipe, settings = _maker(run.init)
    yield from weights_commands(root, find_recipe(recipe)[1])
    out = weights_folder(root, name)
    model = out / "export" / "config.json"
    if not model.exists():
        words = ("run", recipe, "--scale", "smoke", "--data", str(root), "--out", str(out), *settings)
        yield Command(f"Initial weights: {name}", ("audio-train", *words), makes=model)


def _maker(init: InitSpec) -> tuple[str, str, tuple[str, ...]]:
    """Folder of initial weights, recipe that trains them, and its settings."""
    if init.kind == "checkpoint":
        return base_of(init), base_of(init), ()
    checkpoint = _checkpoint(init)
    if checkpoint.recipe is not None:
        return checkpoint.recipe, checkpoint.recipe, ()
    model = json.dumps(to_json(smoke_model(checkpoint.model)))
    return checkpoint.name, TEXT_RECIPE, ("--set", f"model={model}")


def base_of(init: InitSpec) -> str:
    """Recipe from whose checkpoint a run starts; "" if it starts from none."""
    return (init.source or "").partition("@")[0] if init.kind == "checkpoint" else ""


def _checkpoint(init: InitSpec) -> PublishedCheckpoint:
    named = (init.source, init.revision)
    return next(known for known in CHECKPOINTS.values() if (known.repository, known.revision) == named)


def generate(root: Path, names: Iterable[str], *, at_hand: Collection[str] = (), to_stderr: bool = False) -> int:
    """Make the data and initial weights that recipes need at smoke scale.

    Args:
        root: Folder of the smoke data.
        names: Names of recipes or experiments.
        at_hand: Recipes whose checkpoints exist or will exist elsewhere, so they are not trained here.
        to_stderr: Whether to send all messages to standard error.

    Returns:
        Number of commands run.

    Raises:
        InputError: A name is unknown, or a package is not installed.
    """
    names = list(names)
    corpora = corpora_of([*names, *_makers(names)])
    programs = find_programs(("audio-tokenize", "audio-train"))
    num_commands = 0
    for command in data_commands(root, corpora):
        num_commands += _run(command, programs, to_stderr)
    for run in (run for name in names for run in find_runs(name) if base_of(run.init) not in at_hand):
        for command in weights_commands(root, run):
            num_commands += _run(command, programs, to_stderr)
    return num_commands


def _makers(names: Iterable[str]) -> set[str]:
    """Recipes that train the first weights of others."""
    found: set[str] = set()
    pending = [run for name in names for run in find_runs(name)]
    while pending:
        init = pending.pop().init
        if init.kind != "scratch" and (recipe := _maker(init)[1]) not in found:
            found.add(recipe)
            pending.append(find_recipe(recipe)[1])
    return found


def _run(command: Command, programs: dict[str, str], to_stderr: bool) -> int:
    click.secho(f"{command.purpose}\n$ {command}", fg="cyan", err=to_stderr)
    run_command(command, programs[command.words[0]], to_stderr=to_stderr, name="make-smoke-data")
    return 1
