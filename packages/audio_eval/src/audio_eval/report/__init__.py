"""A report of an evaluation: one self-contained page, and the same numbers as JSON and Markdown."""

import importlib.resources
import json
from pathlib import Path

from audio_data import InputError, check_output, sole_file_writer, write_output
from audio_data.charts import chart_style
from audio_data.markup import Markup, join, page, style_sheet, tag
from audio_eval.evaluation import SCHEMA_VERSION, Evaluation, read_evaluation
from audio_eval.report import benchmark_sections, sections
from audio_eval.report.comparison import comparison, main_comparisons
from audio_eval.report.tables import cards, markdown
from audio_eval.report.training import Training, read_training

__all__ = ["make_report"]

# The page may load nothing, so that no text in it can send a request.
_HEADING = "Evaluation of "
# Every file of a report contains this; a file of the same name without it is not overwritten.
_MARKS = {"html": "Made by audio-eval ", "json": f'"title": "{_HEADING}', "markdown": f"# {_HEADING}"}
_INSIDE_RUNS = ("export", "exports", "checkpoints")
_USUAL_NAMES = ("run", "runs", "model", "out")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


def make_report(
    evaluation: str | Path, out: str | Path, *, run: str | Path | None = None, base: str | Path | None = None
) -> dict[str, str]:
    """Write a report.

    Args:
        evaluation: Folder of an evaluation.
        out: The page to write, ending in `.html`; `.json` and `.md` files of the same name are written beside it.
        run: Folder of the training run, for the course of its loss.
        base: Folder of an evaluation of the model before, on the same held-out data, to compare with.

    Returns:
        Paths of what was written, by kind: "html", "json", "markdown".

    Raises:
        InputError: There is no evaluation, the run has no metrics, one of them is damaged, `out` does not end in
            `.html`, a file that is no report has one of the three names, or another process is writing them.
    """
    page = Path(out)
    if page.suffix != ".html":
        raise InputError(f"`out` must end in .html, got {page.name!r}")
    found = read_evaluation(Path(evaluation))
    training = read_training(Path(run)) if run is not None else None
    before = read_evaluation(Path(base)) if base is not None else None
    title = _title(found, Path(run) if run is not None else None)
    paths = {"html": page, "json": page.with_suffix(".json"), "markdown": page.with_suffix(".md")}
    contents = {
        "html": render(title, found, training, before),
        "json": json.dumps(_json(title, found, training, before), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "markdown": markdown(title, found),
    }
    with sole_file_writer(page):
        for kind, path in paths.items():
            check_output(path, _MARKS[kind].encode())
        # The page is written last: if it is new, so are the others.
        for kind in reversed(paths):
            write_output(paths[kind], contents[kind].encode(), _MARKS[kind].encode())
    return {kind: str(path) for kind, path in paths.items()}


def render(title: str, evaluation: Evaluation, training: Training | None, base: Evaluation | None = None) -> str:
    """Return the page as one HTML document that needs no other file."""
    parts = _parts(evaluation, training)
    if base is not None:
        parts = [("comparison", "Before and after", comparison(base, evaluation)), *parts]
    style = importlib.resources.files("audio_eval.report").joinpath("style.css").read_text(encoding="utf-8")
    head = [
        tag("meta", attributes={"http-equiv": "Content-Security-Policy"}, content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        style_sheet(chart_style() + style),
    ]
    links = [tag("a", name, href=f"#{anchor}") for anchor, name, _ in parts]
    body = [
        tag(
            "header",
            tag("div", tag("h1", title), tag("p", _subtitle(evaluation), class_="muted wide"), cards(evaluation)),
        ),
        tag("nav", tag("div", links)),
        tag("main", [part for _, _, part in parts], tag("footer", _footer(evaluation))),
    ]
    return page(head, body)


def _parts(evaluation: Evaluation, training: Training | None) -> list[tuple[str, str, Markup]]:
    asr, tts, nll = (evaluation.result(task) for task in ("asr", "tts", "nll"))
    parts: list[tuple[str, str, Markup]] = []
    if asr is not None:
        parts.append(("recognition", "Recognition", sections.recognition(asr, evaluation.folder)))
    if tts is not None:
        parts.append(("synthesis", "Synthesis", sections.synthesis(tts, evaluation.folder)))
    if nll is not None:
        parts.append(("likelihood", "Likelihood", sections.likelihood(nll)))
    for result in evaluation.results:
        if result.task not in ("asr", "tts", "nll"):
            part = benchmark_sections.benchmark(result, evaluation.folder)
            parts.append((result.task, benchmark_sections.title_of(result.task).partition(":")[0], part))
    if training is not None and training.steps:
        parts.append(("training", "Training", sections.training_section(training)))
    parts.append(("provenance", "Provenance", sections.provenance(evaluation)))
    return parts


def _title(evaluation: Evaluation, run: Path | None) -> str:
    return _HEADING + _run_name((run or Path(evaluation.provenance["checkpoint"])).resolve())


def _run_name(path: Path) -> str:
    """Return the name of a run's folder, or of the model's; with its parent's where many folders have that name."""
    while path.name.isdigit() or path.name in _INSIDE_RUNS:
        path = path.parent
    return f"{path.parent.name}/{path.name}" if path.name in _USUAL_NAMES else path.name


def _subtitle(evaluation: Evaluation) -> str:
    provenance = evaluation.provenance
    training = provenance.get("training", {})
    parts = [f"recipe {training['run']}"] if training.get("run") else []
    parts.append(f"{provenance['num_parameters'] / 1e6:,.1f} M parameters")
    if tokens := training.get("tokens"):
        parts.append(f"{tokens / 1e6:,.2f} M training tokens")
    if provenance["datasets"]:
        parts.append(f"held out: {', '.join(provenance['datasets'])}")
    parts.append("95 % intervals by bootstrap over items")
    return " · ".join(parts)


def _footer(evaluation: Evaluation) -> Markup:
    version = evaluation.provenance.get("versions", {}).get("audio-eval", "")
    return join(f"Made by audio-eval {version} from ", tag("code", str(evaluation.folder)), ".")


def _json(title: str, evaluation: Evaluation, training: Training | None, base: Evaluation | None) -> dict[str, object]:
    compared = {} if base is None else {"comparison": [one.to_json() for one in main_comparisons(base, evaluation)]}
    return {
        **compared,
        "schema_version": SCHEMA_VERSION,
        "title": title,
        "provenance": dict(evaluation.provenance),
        "summary": evaluation.summary(),
        "scores": [score.to_json() for score in evaluation.scores],
        "training": training.to_json() if training is not None else None,
    }
