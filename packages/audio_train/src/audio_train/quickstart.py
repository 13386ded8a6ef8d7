"""The quickstart: from recordings to a trained model and a report, as a list of commands.

`commands` returns the command lines, a pure function of the options; `main` prints each one and runs it in its own
process. Every command continues where it was stopped and does nothing if it has finished, and so does the quickstart.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from audio_data import InputError, install_command, read_json
from audio_train.command_lines import Command, find_programs, run_command

STEPS_PER_MINUTE = 280
"""Training steps per minute on two idle cores. It turns a time budget into a fixed number of steps, so that two runs
with one seed do the same work on a busy and on an idle machine."""

SAMPLE = "sample"
SYNTHESIS_VOICE = "slt"
UNSEEN_SPEAKERS = ("awb", "f4")
OWN_HOLDOUT_FRACTION = "0.1"
OWN_LEVEL = "0.07"
"""Root mean square to which recordings are scaled: that of the sample corpus, on which the codec was trained."""
OWN_ROWS = ("--set", "data.seq_len=2048", "--set", "data.batch_size=1", "--set", "model.max_seq_len=4096")
"""Rows for recordings of up to twenty seconds; the sentences of the sample corpus are two seconds long."""
PROGRAMS = ("audio-tokenize", "audio-train", "audio-eval")

Selection = tuple[str, str, tuple[str, ...]]
"""Name of a dataset, its purpose, and its build options."""


def commands(out: Path, audio: Path | None, minutes: float | None, seed: int) -> tuple[Command, ...]:
    """Return the command lines of the quickstart in order.

    Args:
        out: Work folder.
        audio: The user's own recordings, or None for the sample corpus.
        minutes: Minutes of training on two idle cores, or None for the number of steps of the recipe.
        seed: Seed of weights and data order.
    """
    codes, data = str(out / "codes"), out / "data"
    corpus = SAMPLE if audio is None else str(audio)
    run, evaluation = str(out / "run"), str(out / "evaluation")
    heldout = tuple(_heldout_selections(audio))
    settings = () if minutes is None else ("--set", f"steps={max(1, round(minutes * STEPS_PER_MINUTE))}")
    level, rows = ((), ()) if audio is None else (("--target-rms", OWN_LEVEL), OWN_ROWS)
    return (
        Command(
            "Encode speech to codes: eight per 80 ms; each utterance three times, at shifted frames and other speeds",
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
            "Learn text pieces from the transcripts; text pieces and codes are the vocabulary",
            ("audio-tokenize", "vocabulary", codes, "--out", str(data / "vocabulary"), "--pieces", "128"),
        ),
        *(
            Command(f"Build documents: {purpose}", ("audio-tokenize", "build", codes, *_build(data, name, options)))
            for name, purpose, options in (*_train_selections(audio), *heldout)
        ),
        Command(
            "Train a decoder to recognise and to synthesise speech",
            (
                *("audio-train", "run", "quickstart", "--data", str(data), "--out", run),
                *("--set", f"seed={seed}", *settings, *rows),
            ),
            makes=out / "run" / "export" / "config.json",
        ),
        Command(
            "Evaluate it on unseen sentences, with controls that should fail",
            (
                *("audio-eval", "run", run, "--data", str(data), "--out", evaluation, "--recordings", corpus),
                *("--set", "tts.temperature=0.4"),
                *(word for name, _, _ in heldout for word in ("--heldout", name)),
            ),
        ),
        Command(
            "Write the report, with audio",
            ("audio-eval", "report", evaluation, "--run", run, "--out", str(out / "report.html")),
        ),
    )


def _train_selections(audio: Path | None) -> tuple[Selection, ...]:
    """`(dataset, purpose, build options)` of the training datasets."""
    if audio is None:
        part: tuple[str, ...] = ("--split", "train")
        voice: tuple[str, ...] = (*part, "--speaker", SYNTHESIS_VOICE, "--frame-offset", "0")
    else:
        part = ("--holdout", OWN_HOLDOUT_FRACTION, "--grouping", "recording")
        voice = (*part, "--frame-offset", "0")
    first_books = ("--codebooks", "2")
    return (
        ("asr", "audio, then text", ("--layout", "audio_first", *part)),
        (
            "asr-2book",
            "the same with two codebooks, for the first steps",
            ("--layout", "audio_first", *first_books, *part),
        ),
        ("tts", "text, then audio of one voice", ("--layout", "text_first", *voice)),
        ("tts-2book", "the same with two codebooks", ("--layout", "text_first", *first_books, *voice)),
    )


def _heldout_selections(audio: Path | None) -> tuple[Selection, ...]:
    """`(dataset, purpose, build options)` of the held-out datasets; the first is the main one."""
    if audio is not None:
        options = ("--holdout", OWN_HOLDOUT_FRACTION, "--heldout", "--grouping", "recording", "--frame-offset", "0")
        return (("heldout", "held-out recordings", options),)
    voices = tuple(
        (f"heldout-{voice}", f"unseen sentences, unseen speaker {voice}", ("--split", f"heldout-{voice}"))
        for voice in UNSEEN_SPEAKERS
    )
    return (("heldout", "unseen sentences, known speakers", ("--split", "heldout")), *voices)


def _build(data: Path, name: str, options: Sequence[str]) -> tuple[str, ...]:
    return ("--vocabulary", str(data / "vocabulary"), "--out", str(data / name), *options)


def main(*, out: Path, audio: Path | None, minutes: float | None, seed: int, as_json: bool) -> None:
    """Run the quickstart.

    Args:
        out: Work folder.
        audio: The user's own recordings, or None for the sample corpus.
        minutes: Minutes of training on two idle cores, or None for the number of steps of the recipe.
        seed: Seed of weights and data order.
        as_json: Whether to print one JSON document on standard output at the end, and all other output on standard
            error.

    Raises:
        InputError: A package is not installed, or `audio` does not exist.
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
    """Warn that the machine is busy: one other busy process nearly halves the training speed."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > 0.5 * cores:
        click.secho(
            f"note: this machine is busy (load {load:.1f} on {cores} cores); training will take longer.",
            fg="yellow",
            err=True,
        )


def _outcome(out: Path, seconds: float) -> dict[str, Any]:
    """Return the final JSON document, read from the evaluation on disk."""
    summary = _read_summary(out / "report.json")
    main, *voices = summary
    scores = summary[main]
    value = _values(scores)
    return {
        "seconds": round(seconds, 1),
        "asr_wer": value["asr_wer"],
        "asr_wer_interval": _interval(scores, "asr_wer"),
        "asr_wer_mismatched_audio": value["asr_wer_mismatched_audio"],
        "asr_wer_mismatched_audio_interval": _interval(scores, "asr_wer_mismatched_audio"),
        "asr_wer_reduction_over_mismatched_audio": value["asr_wer_reduction_over_mismatched_audio"],
        "asr_wer_reduction_over_mismatched_audio_interval": _interval(
            scores, "asr_wer_reduction_over_mismatched_audio"
        ),
        "asr_wer_untrained": value["asr_wer_untrained"],
        "asr_wer_untrained_interval": _interval(scores, "asr_wer_untrained"),
        "asr_wer_unseen_speakers": {voice: _values(summary[voice])["asr_wer"] for voice in voices},
        "text_nll_with_over_without_audio": value["text_nll_with_over_without_audio"],
        "tts_wer": value.get("tts_wer"),
        "tts_wer_mismatched_text": value.get("tts_wer_mismatched_text"),
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
    """Return the final message: results, paths and next commands."""
    voices = ", ".join(f"{voice} {wer}" for voice, wer in outcome["asr_wer_unseen_speakers"].items()) or "none held out"
    reduction, interval = (outcome[f"asr_wer_reduction_over_mismatched_audio{end}"] for end in ("", "_interval"))
    certainty = "(too few utterances for an interval)" if interval is None else f"[{interval[0]}, {interval[1]}]"
    return f"""
Done in {outcome["seconds"] / 60:.1f} minutes.

  word error rate on unseen sentences   {outcome["asr_wer"]}
  ... with mismatched audio (control)   {outcome["asr_wer_mismatched_audio"]}
  ... WER reduction over mismatched     {reduction} {certainty}
  ... with untrained weights            {outcome["asr_wer_untrained"]}
  ... on unseen speakers                {voices}

  report, with audio                    {out / "report.html"}
  model (Hugging Face format)           {out / "run" / "export"}
  datasets                              {out / "data"}

Try next:
  audio-train quickstart --audio DIR --out my-run      your own recordings
  audio-train quickstart --minutes 20 --out longer     train longer
  audio-eval demo {out / "run"}                       try it in a browser (first: {install_command("gradio")})
  audio-tokenize inspect {out / "data" / "asr"}              print a document
  audio-train show quickstart --data {out / "data"}      every number of the run
  audio-train recipes                                  every named training run"""
