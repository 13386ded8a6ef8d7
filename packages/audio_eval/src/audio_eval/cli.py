"""The command line: `audio-eval run | report | compare | ...`."""

import json
import sys
from pathlib import Path

import click

from audio_data import complete_names
from audio_eval.inference.commands import COMMANDS

# For completion only: to import the tasks takes seconds.
TASK_NAMES = (
    *("nll", "asr", "tts", "swuggy", "sblimp", "salmon", "twuggy", "tblimp", "story_cloze", "topic_story_cloze"),
    *("text_story_cloze", "librispeech", "s2tt", "seed_tts", "s2st", "continuation"),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="audio-eval")
def main() -> None:
    """Evaluate discrete audio language models: likelihoods, recognition, synthesis, reports with audio."""


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the held-out datasets of nll, asr and tts.")
@click.option(
    "--heldout",
    multiple=True,
    metavar="NAME",
    help="Held-out dataset below DATA, repeatable. Controls, and generated speech, are measured on the first only.",
)
@click.option(
    "--tasks",
    default="nll,asr,tts",
    show_default=True,
    metavar="TASK,...",
    help="Tasks to run: registered names, FILE.py:NAME or MODULE:NAME, separated by commas.",
    shell_complete=complete_names(*TASK_NAMES, separator=","),
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Maximum number of documents of each dataset, drawn at random by their ids.",
)
@click.option(
    "--test-sets",
    type=click.Path(path_type=Path),
    help="Folder with the published test sets, each in a folder of its name; --set TASK.data=... overrides it.",
)
@click.option(
    "--compat",
    type=click.Choice(["none", "soda"]),
    help="soda: compute scores as the published evaluation scripts of SODA do. [default: none]",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the evaluation.")
@click.option(
    "--transcriber",
    default="auto",
    show_default=True,
    help="Transcriber of generated speech: auto, embedded (73 words), none, or whisper:MODEL (a CTranslate2 folder, a "
    "size, or a hub id; MODEL@de for German instead of English).",
)
@click.option(
    "--speaker-encoder",
    default="embedded",
    show_default=True,
    help="Speaker encoder for voice similarity: embedded, none, wavlm, or wavlm:MODEL (a folder or a hub id).",
)
@click.option("--codec-weights", help="Location of Mimi's weights, if it differs from what the checkpoint records.")
@click.option(
    "--recordings",
    multiple=True,
    metavar="CORPUS",
    help="Corpus with the original recordings, by name or path, repeatable: to measure the transcriber's own errors.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of sampling and of untrained weights.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="TASK.SETTING=VALUE",
    help="Change a setting of a task, such as tts.temperature=0; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
def run(
    checkpoint: Path,
    data: Path | None,
    heldout: tuple[str, ...],
    tasks: str,
    limit: int | None,
    test_sets: Path | None,
    compat: str | None,
    out: Path,
    transcriber: str,
    speaker_encoder: str,
    codec_weights: str | None,
    recordings: tuple[str, ...],
    seed: int,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Evaluate CHECKPOINT, an exported model or the folder of a run, on held-out data and published test sets.

    Finished tasks and items are kept: run the same command again to resume.
    """
    from audio_data import split_setting
    from audio_eval.report.tables import number
    from audio_eval.run import evaluate
    from audio_eval.tasks import make_tasks

    names = [name.strip() for name in tasks.split(",") if name.strip()]
    overrides = dict(split_setting(setting, "TASK.SETTING=VALUE, such as tts.temperature=0") for setting in settings)
    chosen = make_tasks(names, overrides, test_sets=test_sets, compat=compat)
    evaluation = evaluate(
        checkpoint,
        data,
        heldout,
        chosen,
        out,
        transcriber=transcriber,
        speaker_encoder=speaker_encoder,
        codec_weights=codec_weights,
        limit=limit,
        recordings=recordings,
        seed=seed,
    )
    if as_json:
        _print_json({"out": str(out), "provenance": evaluation.provenance, "summary": evaluation.summary()})
        return
    for score in evaluation.scores:
        if score.measure.meaning:
            interval = (
                "" if score.low is None else f"  ({number(score.low)} to {number(score.high)}, n {score.num_items:,})"
            )
            value = number(score.value) if score.reason is None else f"not measured: {score.reason}"
            click.echo(f"{score.dataset:<16} {score.name:<36} {value}{interval}")
    click.echo(f"Everything is in {out}; make a page of it with: audio-eval report {out} --out report.html")


@main.command()
@click.argument("name", shell_complete=complete_names("all", "audio_eval.testsets.generated:STAND_INS"))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--items", default=20, show_default=True, type=click.IntRange(min=1), help="Number of pairs or utterances."
)
def testset(name: str, out: Path, items: int) -> None:
    """Write a small stand-in for test set NAME, or for `all`, below OUT: sample recordings in the published layout."""
    from audio_eval.testsets.generated import STAND_INS, write_stand_in

    for one in STAND_INS if name == "all" else [name]:
        write_stand_in(one, out / one, items)
        click.echo(f"{out / one}")


@main.command("check-codec")
@click.argument("corpus")
@click.option(
    "--codec", default="embedded", show_default=True, help="Codec: embedded, mimi, a weights file or FILE.py:NAME."
)
@click.option("--codec-weights", help="Location of Mimi's weights.")
@click.option("--transcriber", default="auto", show_default=True, help="Transcriber, in any form that `run` takes.")
@click.option(
    "--utterances", default=24, show_default=True, type=click.IntRange(min=1), help="Number of utterances to compare."
)
@click.option(
    "--max-increase",
    default=0.25,
    show_default=True,
    help="Largest accepted increase of the word error rate; above it the command exits with 2.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
def check_codec(
    corpus: str,
    codec: str,
    codec_weights: str | None,
    transcriber: str,
    utterances: int,
    max_increase: float,
    as_json: bool,
) -> None:
    """Check that a codec keeps the words of CORPUS: compare transcripts of recordings and of their reconstructions.

    It also warns of a speaker whose recordings are of two voices.
    """
    from audio_data import InputError
    from audio_eval import codec_check
    from audio_eval.speech_models import Unavailable, find_speaker_encoder, find_transcriber
    from audio_tokenize import CodecSpec, load_codec, open_corpus

    found = find_transcriber(transcriber)
    if isinstance(found, Unavailable) and transcriber not in ("auto", "none"):
        raise InputError(f"`transcriber` must be one that is available, got {transcriber!r}: {found.reason}")
    checked = codec_check.check_codec(
        open_corpus(corpus),
        load_codec(CodecSpec(codec, weights=codec_weights)),
        found,
        find_speaker_encoder(),
        num_utterances=utterances,
    )
    if as_json:
        _print_json(checked.to_json())
    else:
        click.echo("\n".join(checked.lines()))
    for speaker in checked.mixed_speakers:
        click.echo(
            f"warning: the recordings of speaker {speaker!r} sound like two voices; name the speakers apart, "
            "for example by a folder for each",
            err=True,
        )
    if checked.verdict(max_increase) == "garbled":
        raise InputError(
            f"codec {codec!r} garbles these recordings: the word error rate rises by more than {max_increase:g}; use "
            "cleaner recordings or another codec, or raise --max-increase"
        )


@main.command()
@click.argument("evaluation", type=click.Path(path_type=Path))
@click.option(
    "--run", "run_folder", type=click.Path(path_type=Path), help="Folder of the training run, to show its loss."
)
@click.option(
    "--base",
    type=click.Path(path_type=Path),
    help="Evaluation to compare with: of another model on the same data, such as the one before training.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="HTML page to write, ending in .html.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
def report(evaluation: Path, run_folder: Path | None, base: Path | None, out: Path, as_json: bool) -> None:
    """Write a report of EVALUATION: one self-contained HTML page, with JSON and Markdown beside it."""
    from audio_eval.report import make_report

    paths = make_report(evaluation, out, run=run_folder, base=base)
    if as_json:
        _print_json(paths)
    else:
        click.echo(
            f"Open {paths['html']} in a browser; the same numbers are in {paths['json']} and {paths['markdown']}."
        )


@main.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
def compare(first: Path, second: Path, as_json: bool) -> None:
    """Compare two evaluations item by item: SECOND minus FIRST, with intervals over the items both scored."""
    from audio_eval.evaluation import compare as compare_evaluations
    from audio_eval.evaluation import read_evaluation

    comparisons = compare_evaluations(read_evaluation(first), read_evaluation(second))
    if as_json:
        _print_json([comparison.to_json() for comparison in comparisons])
        return
    for comparison in comparisons:
        click.echo(str(comparison))


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; any other than the default lets other machines in.",
)
@click.option(
    "--port",
    default=7860,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port to listen on; 0 for any free one.",
)
@click.option("--max-seconds", default=30.0, show_default=True, help="Longest recording, in seconds.")
@click.option("--max-megabytes", default=16.0, show_default=True, help="Largest upload, in MiB.")
@click.option(
    "--max-stored-megabytes", default=512.0, show_default=True, help="Largest total size of kept files, in MiB."
)
@click.option("--keep-minutes", default=60.0, show_default=True, help="Age at which a file is deleted, in minutes.")
@click.option("--codec-weights", help="Location of Mimi's weights, if it differs from what the checkpoint records.")
def demo(
    checkpoint: Path,
    host: str,
    port: int,
    max_seconds: float,
    max_megabytes: float,
    max_stored_megabytes: float,
    keep_minutes: float,
    codec_weights: str | None,
) -> None:
    """Serve a page to talk to CHECKPOINT: transcribe, speak, continue and translate speech.

    Needs the extra `demo`. It listens on this machine alone, and Ctrl-C or SIGTERM ends it.
    """
    from audio_eval.demo import Limits, serve_demo

    limits = Limits(
        max_seconds=max_seconds,
        max_upload_bytes=max_megabytes * 2**20,
        max_stored_bytes=max_stored_megabytes * 2**20,
        max_stored_seconds=keep_minutes * 60,
    )
    serve_demo(checkpoint, host=host, port=port, limits=limits, codec_weights=codec_weights)


for _command in COMMANDS:
    main.add_command(_command)


def _print_json(document: object) -> None:
    json.dump(document, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")
