"""The quickstart: from recordings to a trained model and a report, as the commands a user would type.

Nothing here computes. `commands` is the list of command lines, a pure function of the options; `main` prints each one
and runs it in a process of its own, so that what is shown is what happens. Every command goes on where it was stopped
and does nothing where it has finished, therefore so does the whole.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from audio_data import InputError, read_json
from audio_train.command_lines import Command, find_programs, run_command

STEPS_PER_MINUTE = 280
"""Training steps that two idle cores take in a minute; a time budget becomes a number of steps by it, so that two runs
with one seed do the same work whatever else the machine does."""

SAMPLE = "sample"
SYNTHESIS_VOICE = "slt"
UNHEARD_VOICES = ("awb", "f4")
OWN_HOLDOUT_FRACTION = "0.1"
OWN_LEVEL = "0.07"
"""Root mean square that recordings are brought to: the sample corpus' own, at which the codec was trained."""
OWN_ROWS = ("--set", "data.seq_len=2048", "--set", "data.batch_size=1", "--set", "model.max_seq_len=4096")
"""Rows long enough for a recording of twenty seconds; the sample corpus' sentences take two."""
PROGRAMS = ("audio-tokenize", "audio-train", "audio-eval")

Selection = tuple[str, str, tuple[str, ...]]
"""Name of a dataset, what it is for, and its build options."""


def commands(out: Path, audio: Path | None, minutes: float | None, seed: int) -> tuple[Command, ...]:
    """The command lines of the quickstart in order.

    Args:
        out: work folder.
        audio: the user's own recordings, or None for the sample corpus.
        minutes: minutes of training on two idle cores, or None for the recipe's own number of steps.
        seed: of weights and data order.
    """
    codes, data = str(out / "codes"), out / "data"
    corpus = SAMPLE if audio is None else str(audio)
    run, evaluation = str(out / "run"), str(out / "evaluation")
    heldout = tuple(_heldout_selections(audio))
    settings = () if minutes is None else ("--set", f"steps={max(1, round(minutes * STEPS_PER_MINUTE))}")
    level, rows = ((), ()) if audio is None else (("--target-rms", OWN_LEVEL), OWN_ROWS)
    return (
        Command(
            "Speech to codes: eight numbers for every 80 ms, each utterance three times, shifted and at other speeds",
            (
                "audio-tokenize",
                "encode",
                corpus,
                "--out",
                codes,
                "--frame-offsets",
                "3",
                "--speed-perturbation",
                "0.2",
                *level,
            ),
        ),
        Command(
            "Transcripts to text pieces; with the codes they make the vocabulary",
            ("audio-tokenize", "vocabulary", codes, "--out", str(data / "vocabulary"), "--pieces", "128"),
        ),
        *(
            Command(f"Documents: {purpose}", ("audio-tokenize", "build", codes, *_build(data, name, options)))
            for name, purpose, options in (*_train_selections(audio), *heldout)
        ),
        Command(
            "Train a decoder to hear and to speak",
            (
                *("audio-train", "run", "quickstart", "--data", str(data), "--out", run),
                *("--set", f"seed={seed}", *settings, *rows),
            ),
            makes=out / "run" / "export" / "config.json",
        ),
        Command(
            "Score it on sentences it never met, beside controls that must fail",
            (
                *("audio-eval", "run", run, "--data", str(data), "--out", evaluation, "--recordings", corpus),
                *("--set", "tts.temperature=0.4"),
                *(word for name, _, _ in heldout for word in ("--heldout", name)),
            ),
        ),
        Command(
            "A page to look at and to listen to",
            ("audio-eval", "report", evaluation, "--run", run, "--out", str(out / "report.html")),
        ),
    )


def _train_selections(audio: Path | None) -> tuple[Selection, ...]:
    """`(dataset, purpose, build options)` of what is trained on."""
    if audio is None:
        part: tuple[str, ...] = ("--split", "train")
        voice: tuple[str, ...] = (*part, "--speaker", SYNTHESIS_VOICE, "--frame-offset", "0")
    else:
        part = ("--holdout", OWN_HOLDOUT_FRACTION, "--grouping", "recording")
        voice = (*part, "--frame-offset", "0")
    first_books = ("--codebooks", "2")
    return (
        ("asr", "sound, then text", ("--layout", "audio_first", *part)),
        ("asr-2book", "the same with two codebooks, to begin with", ("--layout", "audio_first", *first_books, *part)),
        ("tts", "text, then the sound of one voice", ("--layout", "text_first", *voice)),
        ("tts-2book", "the same with two codebooks", ("--layout", "text_first", *first_books, *voice)),
    )


def _heldout_selections(audio: Path | None) -> tuple[Selection, ...]:
    """`(dataset, purpose, build options)` of what is only scored; the first is the main one."""
    if audio is not None:
        options = ("--holdout", OWN_HOLDOUT_FRACTION, "--heldout", "--grouping", "recording", "--frame-offset", "0")
        return (("heldout", "recordings set apart", options),)
    voices = tuple(
        (f"heldout-{voice}", f"unseen sentences, unheard voice {voice}", ("--split", f"heldout-{voice}"))
        for voice in UNHEARD_VOICES
    )
    return (("heldout", "unseen sentences, known voices", ("--split", "heldout")), *voices)


def _build(data: Path, name: str, options: Sequence[str]) -> tuple[str, ...]:
    return ("--vocabulary", str(data / "vocabulary"), "--out", str(data / name), *options)


def main(*, out: Path, audio: Path | None, minutes: float | None, seed: int, as_json: bool) -> None:
    """Run the quickstart.

    Args:
        out: work folder.
        audio: the user's own recordings, or None for the sample corpus.
        minutes: minutes of training on two idle cores, or None for the recipe's own number of steps.
        seed: of weights and data order.
        as_json: print one JSON document on standard output at the end; all else goes to standard error.

    Raises:
        InputError: a package whose command is needed is not installed, or `audio` is no folder or file.
    """
    if audio is not None and not audio.exists():
        raise InputError(
            f"`--audio` must be a folder of recordings or a manifest, got {str(audio)!r}: it does not exist"
        )
    programs = find_programs(PROGRAMS)
    log = sys.stderr if as_json else sys.stdout
    _warn_if_loaded()
    start = time.monotonic()
    chain = commands(out, audio, minutes, seed)
    for number, command in enumerate(chain, 1):
        click.secho(f"\n[{number}/{len(chain)}] {command.purpose}", bold=True, file=log)
        click.secho(f"$ {command}", fg="cyan", file=log)
        run_command(command, programs[command.words[0]], to_stderr=as_json, name="quickstart")
    seconds = time.monotonic() - start
    outcome = _outcome(out, seconds)
    click.echo(_closing(out, outcome), file=log)
    if as_json:
        click.echo(json.dumps(outcome))


def _warn_if_loaded() -> None:
    """Say at the start that the machine is busy: one other busy process costs the training nearly half its speed."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > 0.5 * cores:
        click.secho(
            f"note: this machine is already busy (load {load:.1f} on {cores} cores); expect it to take longer.",
            fg="yellow",
            err=True,
        )


def _outcome(out: Path, seconds: float) -> dict[str, Any]:
    """The closing JSON line, read from the evaluation on disk."""
    summary = _read_summary(out / "report.json")
    main, *voices = summary
    scores = summary[main]
    value = _values(scores)
    return {
        "seconds": round(seconds, 1),
        "asr_wer": value["asr_wer"],
        "asr_wer_interval": _interval(scores, "asr_wer"),
        "asr_wer_other_utterance": value["asr_wer_other_utterance"],
        "asr_wer_other_utterance_interval": _interval(scores, "asr_wer_other_utterance"),
        "asr_wer_gain_over_other_utterance": value["asr_wer_gain_over_other_utterance"],
        "asr_wer_gain_over_other_utterance_interval": _interval(scores, "asr_wer_gain_over_other_utterance"),
        "asr_wer_untrained": value["asr_wer_untrained"],
        "asr_wer_untrained_interval": _interval(scores, "asr_wer_untrained"),
        "asr_wer_unheard_voices": {voice: _values(summary[voice])["asr_wer"] for voice in voices},
        "text_nll_heard_over_unheard": value["text_nll_heard_over_unheard"],
        "tts_wer": value.get("tts_wer"),
        "tts_wer_other_texts": value.get("tts_wer_other_texts"),
        "nll": {
            name.split("nll_", 1)[1]: value[name]
            for name in value
            if name.startswith("audio_first.nll_") and name.count(".") == 1
        },
        "report": str(out / "report.html"),
        "checkpoint": str(out / "run" / "export"),
    }


def _read_summary(path: Path) -> Mapping[str, Mapping[str, Any]]:
    return read_json(path, remedy="run the same command again")["summary"]


def _values(scores: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: None if score["value"] is None else round(score["value"], 4) for name, score in scores.items()}


def _interval(scores: Mapping[str, Any], name: str) -> list[float] | None:
    score = scores[name]
    return None if score["low"] is None else [round(score["low"], 4), round(score["high"], 4)]


def _closing(out: Path, outcome: Mapping[str, Any]) -> str:
    """Where everything lies and what to try next."""
    voices = ", ".join(f"{voice} {wer}" for voice, wer in outcome["asr_wer_unheard_voices"].items()) or "none set apart"
    gain = outcome["asr_wer_gain_over_other_utterance_interval"]
    return f"""
Done in {outcome["seconds"] / 60:.1f} minutes.

  word error rate on unseen sentences   {outcome["asr_wer"]}
  ... given another utterance's audio   {outcome["asr_wer_other_utterance"]}
  ... so much the right audio saves     {outcome["asr_wer_gain_over_other_utterance"]} ({gain[0]} to {gain[1]})
  ... with untrained weights            {outcome["asr_wer_untrained"]}
  ... in unheard voices                 {voices}

  report to look at and listen to       {out / "report.html"}
  the model (Hugging Face format)       {out / "run" / "export"}
  tokens                                {out / "data"}

Try next:
  audio-train quickstart --audio DIR --out my-run      your own recordings
  audio-train quickstart --minutes 20 --out longer     it keeps learning
  audio-eval demo {out / "run"}                       talk to it in a browser (`pip install 'audio-eval[demo]'`)
  audio-tokenize inspect {out / "data" / "asr"}              what a document looks like
  audio-train show quickstart --data {out / "data"}      every number of the run
  audio-train recipes                                  every named training run"""
