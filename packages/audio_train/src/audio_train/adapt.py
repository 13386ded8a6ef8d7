"""Adapt a trained model to one's own recordings: `audio-train adapt`, as a chain of command lines.

Each command is printed, runs in its own process, continues where it was stopped and does nothing if it has finished; so
does the chain. Held-out utterances are of two kinds that share none: `heldout` for the scores of the report, and
`heldout-dev`, by which the step of the model is chosen.
"""

import json
import math
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from audio_data import InputError, TokenDataset, read_json
from audio_model import load_config
from audio_train.command_lines import Command, find_programs, run_command
from audio_train.run_folder.folder import saved_run

PROGRAMS = ("audio-tokenize", "audio-train", "audio-eval")
RECIPE = "adapt"
FEWEST_UTTERANCES = 20
"""Fewer give no held-out utterances to speak of."""
PATIENCE = 2
"""Training stops after this many rounds in a row without a better score."""
_FEWEST_SPEAKERS = 4
_HOLDOUT, _DEV = "0.1", "0.2"
_ROW_TOKENS = 2048
_ROW_MULTIPLE = 64
_CODEC_LEVEL = "0.07"
# Tokens a character from which a tokenizer spells letters or bytes.
_SPELLED = 0.8
# Documents of each held-out dataset, for the scores and for the choice of a step.
_FINAL_ITEMS, _ROUND_ITEMS = 100, 32


@dataclass(frozen=True)
class Task:
    """What to adapt to.

    Attributes:
        layouts: Layout of each training dataset, by its name.
        grouping: Which utterances form a document.
        tasks: Tasks of `audio-eval run` that measure it.
        scores: Scores by generation, lower is better; the mean of those that were measured chooses the step.
    """

    layouts: Mapping[str, str]
    tasks: str
    grouping: str = "utterance"
    scores: tuple[str, ...] = ()


TASKS: Mapping[str, Task] = {
    "asr": Task({"own-asr": "audio_first"}, "nll,asr", scores=("asr_wer",)),
    "tts": Task({"own-tts": "text_first"}, "nll,tts", scores=("tts_wer",)),
    "both": Task({"own-asr": "audio_first", "own-tts": "text_first"}, "nll,asr,tts", scores=("asr_wer", "tts_wer")),
    "continuation": Task({"own-audio": "acoustic"}, "nll"),
    "translation": Task({"own-translation": "speech_translation"}, "nll", grouping="pair"),
}


@dataclass(frozen=True)
class Adaptation:
    """What `audio-train adapt` was asked for.

    Attributes:
        model: A run, an export, or a Hugging Face folder.
        audio: Folder or manifest of the recordings.
        out: Work folder.
        task: Key of `TASKS`.
        steps: Longest training.
        rounds: How many times the model is evaluated while it trains.
        language: Language of recordings that do not state it; None keeps what they say.
        transcriber: As `audio-eval run --transcriber`.
        rehearse: Folder of the datasets of the model, of which a share is trained on too; None for none.
        rehearsal_share: That share of the rows.
        settings: Further `--set` of the training run.
        seed: Seed of the data order and of sampling.
    """

    model: Path
    audio: Path
    out: Path
    task: str = "both"
    steps: int = 600
    rounds: int = 3
    language: str | None = None
    transcriber: str = "auto"
    rehearse: Path | None = None
    rehearsal_share: float = 0.2
    settings: tuple[str, ...] = ()
    seed: int = 0

    @property
    def codes(self) -> Path:
        """Folder of the codes."""
        return self.out / "codes"

    @property
    def data(self) -> Path:
        """Folder of the datasets."""
        return self.out / "data"

    @property
    def run(self) -> Path:
        """Folder of the training run."""
        return self.out / "run"


@dataclass(frozen=True)
class BaseModel:
    """What the chain needs to know of the model.

    Attributes:
        folder: Folder of its weights.
        codec: `--codec` of its audio tokens.
        loss: `--set` of the loss that it was trained with.
        max_seq_len: Its context, in tokens.
    """

    folder: Path
    codec: str
    loss: tuple[str, ...]
    max_seq_len: int


def read_base(path: Path) -> BaseModel:
    """Read what the chain needs to know of a model.

    Args:
        path: A run, an export, or a Hugging Face folder with `vocabulary/`.

    Raises:
        InputError: There is no model or no vocabulary; says what to fetch, and where to put it.
    """
    folder = path / "export" if (path / "export" / "config.json").is_file() else path
    if not (folder / "config.json").is_file():
        raise InputError(
            f"`--from` must be a run, an export or a model folder, got {str(path)!r}, which has no config.json; "
            "download a model with `hf download OWNER/NAME --local-dir MODEL` and give `--from MODEL`"
        )
    if not (folder / "vocabulary" / "vocabulary.json").is_file():
        raise InputError(
            f"`{folder}` has no vocabulary/, which says what its ids mean; "
            "for Llama 3 text with Mimi (144,644 ids) make it with "
            f"`audio-tokenize vocabulary --kind marin-mimi --tokenizer {folder} --out {folder / 'vocabulary'}`"
        )
    remedy = "export the model again with `audio-train export`"
    vocabulary = read_json(folder / "vocabulary" / "vocabulary.json", remedy=remedy)
    provenance = folder / "provenance.json"
    recorded = read_json(provenance, remedy=remedy) if provenance.is_file() else {}
    codec = (recorded.get("codec") or {}).get("name") or str(vocabulary.get("codec_id", "")).partition("-")[0]
    trained = saved_run(folder.parent) if folder.name == "export" else None
    weights = {} if trained is None else dict(trained.run.loss.kind_weights)
    loss = (f"loss.kind={recorded.get('loss') or 'full'}",)
    if weights:
        loss += (f"loss.kind_weights={json.dumps(weights)}",)
    return BaseModel(folder, codec, loss, load_config(folder).max_seq_len)


def encode_commands(wanted: Adaptation, base: BaseModel) -> tuple[Command, ...]:
    """Commands that check the codec on the recordings and encode them."""
    language = () if wanted.language is None else ("--language", wanted.language)
    level = ("--target-rms", _CODEC_LEVEL) if base.codec == "embedded" else ()
    return (
        Command(
            "Check that the codec keeps what the recordings say",
            (
                *("audio-eval", "check-codec", str(wanted.audio), "--codec", base.codec),
                *("--transcriber", wanted.transcriber),
            ),
        ),
        Command(
            "Encode the recordings with the model's codec; each three times, at shifted frames and other speeds",
            (
                *("audio-tokenize", "encode", str(wanted.audio), "--codec", base.codec, "--out", str(wanted.codes)),
                *("--frame-offsets", "3", "--speed-perturbation", "0.1", *level, *language),
            ),
        ),
    )


def build_commands(wanted: Adaptation, base: BaseModel, speakers: Sequence[str]) -> tuple[Command, ...]:
    """Commands that build the training and the held-out datasets.

    Args:
        wanted: What was asked for.
        base: The model.
        speakers: Speakers of the recordings, most audio first; of four and more the last one is held out.
    """
    task = TASKS[wanted.task]
    kept = speakers[:-1] if len(speakers) >= _FEWEST_SPEAKERS else ()
    chosen = tuple(word for name in kept for word in ("--speaker", name))
    layout = "audio_first" if "asr" in task.tasks or "tts" in task.tasks else next(iter(task.layouts.values()))
    apart = ("--layout", layout, "--grouping", task.grouping, "--frame-offset", "0")
    made = [
        *(
            (name, f"to train on, {layout_}", ("--layout", layout_, "--grouping", task.grouping, "--holdout", _DEV))
            for name, layout_ in task.layouts.items()
        ),
        ("heldout-dev", "to choose the step by", (*apart, "--holdout", _DEV, "--holdout-after", _HOLDOUT, "--heldout")),
        ("heldout", "for the scores", (*apart, "--holdout", _HOLDOUT, "--heldout")),
    ]
    commands = [
        _build(wanted, base, name, purpose, (*words, *_one_phase(words), *chosen)) for name, purpose, words in made
    ]
    if kept:
        commands.append(
            _build(wanted, base, "heldout-speaker", "a held-out speaker", (*apart, "--speaker", speakers[-1]))
        )
    return tuple(commands)


def _one_phase(words: Sequence[str]) -> tuple[str, ...]:
    """Return the option that keeps one frame offset, for documents whose audio is to be spoken."""
    return ("--frame-offset", "0") if "text_first" in words else ()


def _build(wanted: Adaptation, base: BaseModel, name: str, purpose: str, words: Sequence[str]) -> Command:
    vocabulary = str(base.folder / "vocabulary")
    return Command(
        f"Build documents: {purpose}",
        (
            *("audio-tokenize", "build", str(wanted.codes), "--vocabulary", vocabulary),
            *("--out", str(wanted.data / name), *words),
        ),
    )


def train_command(
    wanted: Adaptation, base: BaseModel, mixture: Mapping[str, float], longest: int, until: int
) -> Command:
    """Command that trains up to a step.

    Args:
        wanted: What was asked for.
        base: The model.
        mixture: Weight of each dataset.
        longest: Tokens of the longest document of the recordings.
        until: Step to stop at; the last one completes the run.
    """
    rows = min(-(-longest // _ROW_MULTIPLE) * _ROW_MULTIPLE, base.max_seq_len)
    settings = (f"data.seq_len={rows}", f"data.batch_size={max(1, -(-_ROW_TOKENS // rows))}", f"steps={wanted.steps}")
    # Each dataset has its share in every block of rows, so that the smallest has a row of its own.
    settings += (f"data.mixture_block={max(64, math.ceil(sum(mixture.values()) / min(mixture.values())))}",)
    weights = ",".join(f"{name}={weight:g}" for name, weight in mixture.items())
    stop = () if until >= wanted.steps else ("--until", str(until))
    return Command(
        f"Train to step {until} of {wanted.steps}",
        (
            *("audio-train", "run", RECIPE, "--start", str(wanted.model), "--data", str(wanted.data)),
            # The step is chosen by generation, so that losses on held-out data are not needed.
            *("--out", str(wanted.run), "--mixture", weights, "--no-validation"),
            *(word for one in (*settings, *base.loss, f"seed={wanted.seed}") for word in ("--set", one)),
            *(word for one in wanted.settings for word in ("--set", one)),
            *stop,
        ),
    )


def evaluate_command(
    wanted: Adaptation, model: Path, out: Path, heldout: Sequence[str], purpose: str, limit: int
) -> Command:
    """Command that evaluates a model on held-out datasets."""
    names = tuple(word for name in heldout for word in ("--heldout", name))
    return Command(
        purpose,
        (
            *("audio-eval", "run", str(model), "--data", str(wanted.data), "--out", str(out), *names),
            *("--tasks", TASKS[wanted.task].tasks, "--transcriber", wanted.transcriber),
            *("--recordings", str(wanted.audio), "--seed", str(wanted.seed), "--limit", str(limit)),
        ),
    )


@dataclass
class Rounds:
    """Scores of the model while it trained, by step.

    Attributes:
        patience: Rounds without a better score after which training stops.
        scores: Mean error by step, in order; None where nothing was measured by generation.
    """

    patience: int = PATIENCE
    scores: dict[int, float | None] = field(default_factory=dict)

    @property
    def best(self) -> int:
        """Step of the lowest error, the first of equals; the last step where nothing was measured."""
        measured = {step: score for step, score in self.scores.items() if score is not None}
        return min(measured, key=lambda step: measured[step]) if measured else max(self.scores)

    @property
    def is_over(self) -> bool:
        """Whether the last rounds were no better than the best one."""
        steps = list(self.scores)
        return len(steps) - 1 - steps.index(self.best) >= self.patience


def main(wanted: Adaptation, *, as_json: bool = False) -> dict[str, Any]:
    """Run the chain.

    Args:
        wanted: What was asked for.
        as_json: Whether to print everything on standard error.

    Returns:
        Where the model and the report are, and the scores of base and adapted model.

    Raises:
        InputError: The model, the recordings or the datasets cannot be used.
    """
    if not wanted.audio.exists():
        raise InputError(f"`--audio` must be a folder of recordings or a manifest, got {str(wanted.audio)!r}")
    base, programs = read_base(wanted.model), find_programs(PROGRAMS)

    def do(command: Command) -> None:
        click.secho(f"\n{command.purpose}", bold=True, err=as_json)
        click.secho(f"$ {command}", fg="cyan", err=as_json)
        run_command(command, programs[command.words[0]], to_stderr=as_json, name="adapt")

    for command in encode_commands(wanted, base):
        do(command)
    speakers = _speakers(wanted, programs["audio-tokenize"])
    for command in build_commands(wanted, base, speakers):
        do(command)
    if line := text_cost(_statistics(wanted.data / next(iter(TASKS[wanted.task].layouts)), programs["audio-tokenize"])):
        click.echo(line, err=as_json)
    mixture, old = _mixture(wanted)
    heldout = [name for name in ("heldout", "heldout-speaker") if (wanted.data / name).exists()] + old
    before, after = wanted.out / "base", wanted.out / "adapted"
    do(evaluate_command(wanted, base.folder, before, heldout, "Evaluate the model before", _FINAL_ITEMS))
    rounds = _train(wanted, base, mixture, do)
    model = _round_folder(wanted, rounds.best)
    do(
        evaluate_command(
            wanted, model, after, heldout, f"Evaluate the adapted model, of step {rounds.best}", _FINAL_ITEMS
        )
    )
    report = wanted.out / "report.html"
    do(
        Command(
            "Write the report: the adapted model beside the one before, with audio",
            (
                *("audio-eval", "report", str(after), "--base", str(before), "--run", str(wanted.run)),
                *("--out", str(report)),
            ),
        )
    )
    return {
        "model": str(model),
        "step": rounds.best,
        "errors_by_step": rounds.scores,
        "report": str(report),
        "base": _scores(before),
        "adapted": _scores(after),
    }


def closing(outcome: Mapping[str, Any]) -> str:
    """Return the final message: errors before and after, paths, and the next commands."""
    names = [name for task in TASKS.values() for name in task.scores]
    lines = ["", f"Adapted; the model is that of step {outcome['step']}.", ""]
    for dataset, after in outcome["adapted"].items():
        for name in dict.fromkeys(names):
            if after.get(name) is not None:
                before = outcome["base"].get(dataset, {}).get(name)
                was = "not measured" if before is None else f"{before:.3f}"
                lines.append(f"  {dataset:<24} {name:<10} {was} -> {after[name]:.3f}")
    model = outcome["model"]
    return "\n".join(
        [
            *lines,
            "",
            f"  report, with audio        {outcome['report']}",
            f"  model                     {model}",
            "",
            "Try next:",
            f"  audio-eval transcribe {model} FILE.wav",
            f"  audio-eval speak {model} 'some text' --out spoken.wav",
        ]
    )


def _train(wanted: Adaptation, base: BaseModel, mixture: Mapping[str, float], do: Callable[[Command], None]) -> Rounds:
    """Train in rounds, evaluate each, and stop where the errors no longer fall."""
    longest = max(_longest(wanted.data / name) for name in TASKS[wanted.task].layouts)
    steps = sorted({max(1, round(wanted.steps * n / wanted.rounds)) for n in range(1, wanted.rounds + 1)})
    rounds = Rounds()
    for step in steps:
        folder = _round_folder(wanted, step)
        do(train_command(wanted, base, mixture, longest, step))
        if step != wanted.steps and not folder.exists():
            words = ("audio-train", "export", str(wanted.run), "--step", str(step), "--out", str(folder))
            do(Command(f"Export step {step}", words))
        scores = wanted.out / "rounds" / f"{step}-scores"
        do(evaluate_command(wanted, folder, scores, ["heldout-dev"], f"Evaluate step {step}", _ROUND_ITEMS))
        found = _scores(scores).get("heldout-dev", {})
        measured = [value for name in TASKS[wanted.task].scores if (value := found.get(name)) is not None]
        rounds.scores[step] = float(np.mean(measured)) if measured else None
        if rounds.is_over and step != steps[-1]:
            click.echo(f"stopped at step {step}: the errors of step {rounds.best} were lower", err=True)
            break
    return rounds


def _round_folder(wanted: Adaptation, step: int) -> Path:
    return wanted.run / "export" if step == wanted.steps else wanted.out / "rounds" / str(step)


def _mixture(wanted: Adaptation) -> tuple[dict[str, float], list[str]]:
    """Return the weight of each dataset, and the held-out datasets of the model's own data."""
    own = list(TASKS[wanted.task].layouts)
    if wanted.rehearse is None:
        return dict.fromkeys(own, 1.0 / len(own)), []
    tokens, old = dict[str, int](), list[str]()
    for folder in sorted(path.parent for path in wanted.rehearse.glob("*/manifest.json")):
        link = wanted.data / (
            f"heldout-base-{folder.name}" if folder.name.startswith("heldout") else f"base-{folder.name}"
        )
        if not link.exists():
            link.symlink_to(folder.resolve(), target_is_directory=True)
        if link.name.startswith("heldout"):
            old.append(link.name)
        else:
            tokens[link.name] = TokenDataset.open(folder).manifest.num_tokens
    if not tokens:
        raise InputError(f"`--rehearse` must be a folder of datasets to train on, got {str(wanted.rehearse)!r}")
    share = wanted.rehearsal_share
    mixture = dict.fromkeys(own, (1 - share) / len(own))
    return mixture | {name: share * count / sum(tokens.values()) for name, count in tokens.items()}, old


def _longest(dataset: Path) -> int:
    return int(np.diff(TokenDataset.open(dataset).token_offsets).max())


def _speakers(wanted: Adaptation, program: str) -> list[str]:
    """Return the speakers, most audio first; refuse recordings that are too few to hold any out."""
    codes = read_json(wanted.codes / "codes.json", remedy="encode again")
    usable = codes["num_utterances"]
    if wanted.task in ("asr", "tts", "both"):
        usable -= sum(shard.get("num_without_transcript", 0) for shard in codes["shards"])
    if usable < FEWEST_UTTERANCES:
        raise InputError(
            f"`{wanted.audio}` must have at least {FEWEST_UTTERANCES} utterances for task {wanted.task}, of which some "
            f"are held out, got {usable}; record more, or cut long recordings into utterances"
        )
    tally = _statistics(wanted.codes, program)["speakers"]
    # Of very many speakers only the largest are listed: then none is held out.
    return [entry["name"] for entry in tally["largest"]] if tally["num_values"] == len(tally["largest"]) else []


def _statistics(source: Path, program: str) -> dict[str, Any]:
    """Return what `audio-tokenize statistics` counts in codes or in a dataset."""
    words = [program, "statistics", str(source), "--json"]
    counted = subprocess.run(words, capture_output=True, text=True)
    if counted.returncode:
        raise InputError(f"`{shlex.join(words)}` failed: {counted.stderr.strip().splitlines()[-1]}")
    return json.loads(counted.stdout)


def text_cost(statistics: Mapping[str, Any]) -> str | None:
    """Say how many tokens the model's tokenizer needs for the transcripts; None where there are none.

    A tokenizer that spells a language in bytes needs a token and more for each character, so that the model has to
    learn to spell before it learns words.

    Args:
        statistics: JSON of `audio-tokenize statistics` of a dataset.
    """
    tokens, words, characters = (
        statistics["tokens_by_kind"].get("text", 0),
        statistics["num_words"],
        statistics["num_characters"],
    )
    if not (tokens and words and characters):
        return None
    line = f"text: {tokens / words:.2f} tokens a word, {tokens / characters:.2f} a character"
    if tokens / characters < _SPELLED:
        return line
    return (
        f"{line}; the model's tokenizer spells this language, so that it needs much more data: for another language a "
        "model whose tokenizer knows it is a better start"
    )


def _scores(folder: Path) -> dict[str, dict[str, float | None]]:
    """Return the scores of an evaluation by dataset and name."""
    found: dict[str, dict[str, float | None]] = {}
    for task in read_json(folder / "evaluation.json", remedy="evaluate again")["tasks"].values():
        for score in task["scores"]:
            found.setdefault(score["dataset"], {})[score["name"]] = score["value"]
    return found
