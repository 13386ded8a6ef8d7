import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_data import InputError, sole_file_writer
from audio_eval import make_report
from audio_eval.evaluation import TaskResult, write_evaluation
from audio_eval.report.training import curves, read_training
from audio_eval.scores import Item, Measure, score_items

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=document.title='taken'>\x00\u202e"


@pytest.fixture(scope="module")
def report(evaluation, export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(export, folder / "copy" / "toy-1" / "export")
    paths = make_report(evaluation.folder, folder / "report.html", run=folder / "copy" / "toy-1" / "export")
    return {kind: Path(path) for kind, path in paths.items()}


@pytest.fixture(scope="module")
def page(report):
    return report["html"].read_text(encoding="utf-8")


@pytest.fixture
def hostile_page(evaluation, tmp_path):
    """A report whose every transcript, speaker and id tries to become markup."""
    results = []
    for result in evaluation.results:
        items = [replace(item, detail={**item.detail, "speaker": HOSTILE}) for item in result.items]
        if result.task == "asr":
            said = {
                "reference": HOSTILE,
                "hypotheses": {"asr_wer": f"a {HOSTILE}", "asr_wer_mismatched_audio": HOSTILE},
            }
            items = [Item(item.id, item.dataset, item.terms, {**item.detail, **said}) for item in items]
        results.append(replace(result, items=tuple(items)))
    provenance = {**evaluation.provenance, "training": {"run": HOSTILE}}
    write_evaluation(replace(evaluation, folder=tmp_path, provenance=provenance, results=tuple(results)))
    shutil.copytree(evaluation.folder / "audio", tmp_path / "audio")
    make_report(tmp_path, tmp_path / "report.html")
    return tmp_path / "report.html"


def rendered(page, tmp_path, *options):
    """The page's document after a real browser has loaded it."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    flags += ["--disable-component-update", "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [CHROMIUM, *flags, *options, "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_page_holds_the_scores_the_sounds_and_the_course_of_training(page, evaluation):
    (wer,) = (s for s in evaluation.scores if (s.name, s.dataset) == ("asr_wer", "heldout"))
    assert f"<b>{wer.value:.3f}</b>" in page
    assert page.count("<audio ") == 12 + 6 + 2 * 5
    assert page.count('<img src="data:image/png') == 2 * 5
    for anchor in ("recognition", "synthesis", "likelihood", "training", "provenance"):
        assert f'<section id="{anchor}">' in page
        assert f'href="#{anchor}"' in page
    assert ">asr + tts</text>" in page
    assert "<title>Evaluation of toy-1</title>" in page
    assert ">recipe toy-run · " in page


def test_page_needs_nothing_from_outside(page):
    addresses = re.findall(r"(?:src|href)=\"([^\"]*)\"", page)
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "url(" not in page
    assert "@import" not in page
    assert "<script" not in page


def test_json_and_markdown_hold_the_same_scores(report, evaluation):
    content = json.loads(report["json"].read_text(encoding="utf-8"))
    assert content["scores"] == json.loads(json.dumps([score.to_json() for score in evaluation.scores]))
    assert content["training"]["steps"] == 39
    assert content["training"]["median_tokens_per_second"] == 900.0
    lines = report["markdown"].read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|") and not line.startswith(("| ---", "| score"))]
    assert len(rows) == len(evaluation.scores)


def test_hostile_text_stays_text(hostile_page):
    page = hostile_page.read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "\x00" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: install it with `apt-get install chromium`")
def test_browser_shows_everything_and_runs_nothing(hostile_page, tmp_path):
    document = rendered(hostile_page, tmp_path)
    assert "<title>taken</title>" not in document
    assert document.count("<audio ") == 12 + 6 + 2 * 5
    assert document.count("</section>") == 4
    assert document.rstrip().endswith("</html>")


MEASURE = """
<iframe src="report.html" style="width: {width}px; height: 4000px; border: 0"></iframe>
<script>onload = () => {{
  const page = document.querySelector("iframe").contentDocument;
  const boxes = (selector) => [...page.querySelectorAll(selector)].map((found) => found.getClientRects());
  const right = (found) => Math.max(0, ...found.map((rects) => rects[0].right));
  document.title = "measured " + JSON.stringify({{
    width: page.documentElement.scrollWidth,
    players: boxes("audio").length,
    end_of_players: right(boxes("audio")),
    end_of_names: right(boxes("th code, h1, h2, h3, .name")),
    broken_names: boxes("th code").filter((rects) => rects.length > 1).length,
    text: Math.min(...[...page.querySelectorAll("svg text")].map((text) => text.getBoundingClientRect().height)),
  }});
}}</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: install it with `apt-get install chromium`")
@pytest.mark.parametrize("width", [1280, 390])
def test_players_stay_in_view_and_names_can_be_read(report, tmp_path, width):
    shutil.copy(report["html"], tmp_path)
    (tmp_path / "frame.html").write_text(MEASURE.format(width=width))
    document = rendered(tmp_path / "frame.html", tmp_path, "--allow-file-access-from-files", "--window-size=1300,4100")
    found = re.search(r"<title>measured (.*?)</title>", document)
    assert found is not None
    measured = json.loads(found[1].replace("&quot;", '"'))
    assert measured["width"] <= width
    assert measured["players"] == 12 + 6 + 2 * 5
    assert measured["end_of_players"] <= width
    assert measured["end_of_names"] <= width
    assert measured["broken_names"] == 0
    assert measured["text"] > 8  # pixels, of the names and numbers in figures


@pytest.mark.parametrize(
    ("checkpoint", "title"),
    [
        ("voices/mine-3/export", "mine-3"),
        ("voices/mine-3", "mine-3"),
        ("voices/mine-3/exports/400", "mine-3"),
        ("quickstart/run/export", "quickstart/run"),
        ("models/soda-600m", "soda-600m"),
    ],
)
def test_a_report_is_titled_after_its_run(evaluation, tmp_path, checkpoint, title):
    provenance = {**evaluation.provenance, "checkpoint": str(tmp_path / checkpoint)}
    write_evaluation(replace(evaluation, folder=tmp_path, provenance=provenance, results=()))
    page = Path(make_report(tmp_path, tmp_path / "report.html")["html"]).read_text(encoding="utf-8")
    assert f"<title>Evaluation of {title}</title>" in page


def test_evaluation_without_audio_or_training_still_makes_a_page(evaluation, tmp_path):
    write_evaluation(replace(evaluation, folder=tmp_path, results=evaluation.results[:2]))
    page = Path(make_report(tmp_path, tmp_path / "report.html")["html"]).read_text(encoding="utf-8")
    assert "<audio " not in page
    assert "is missing" in page
    assert 'id="training"' not in page


def test_course_of_training(export):
    training = read_training(export)
    assert len(training.steps) == 39
    assert [record["step"] for record in training.evaluations] == [10, 20, 30]
    assert training.stages == [(0.0, "early"), (20.0, "asr + tts")]
    assert len(curves(training)) == 5


def test_long_courses_are_averaged_to_few_points(tmp_path):
    lines = [json.dumps({"step": step, "loss": float(step % 2), "nll": {"text": 1.0}}) for step in range(1, 5_001)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    figure = curves(read_training(tmp_path))[1]
    assert figure.count("L") < 250


def test_mistakes_are_named(evaluation, tmp_path):
    with pytest.raises(InputError, match=r"`out` must end in \.html, got 'report\.pdf'"):
        make_report(evaluation.folder, tmp_path / "report.pdf")
    with pytest.raises(InputError, match=r"got no `metrics\.jsonl`"):
        make_report(evaluation.folder, tmp_path / "report.html", run=tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nbroken\n{"step": 2}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl`: line 2: expected JSON"):
        make_report(evaluation.folder, tmp_path / "report.html", run=tmp_path)


def test_a_page_has_one_writer_at_a_time(evaluation, tmp_path):
    page = tmp_path / "report.html"
    with sole_file_writer(page), pytest.raises(InputError, match=r"another process is writing `.*report\.html`"):
        make_report(evaluation.folder, page)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["notes.html", "notes.json", "notes.md"])
def test_a_file_that_is_no_report_is_not_replaced(evaluation, tmp_path, name):
    (tmp_path / name).write_text("my own")
    with pytest.raises(InputError, match=r"exists and was not written by this command"):
        make_report(evaluation.folder, tmp_path / "notes.html")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "my own")]


def test_a_report_is_replaced_by_a_newer_one(evaluation, tmp_path):
    written = make_report(evaluation.folder, tmp_path / "report.html")
    before = {path: Path(path).read_bytes() for path in written.values()}
    assert make_report(evaluation.folder, tmp_path / "report.html") == written
    assert {path: Path(path).read_bytes() for path in written.values()} == before


def test_published_test_sets_have_their_parts_and_hostile_words_stay_words(evaluation, tmp_path):
    pair = {"part": "voices", "texts": {"positive": HOSTILE, "negative": "b"}, "log_likelihood": {}}
    terms = {"accuracy": (1.0, 1.0), "accuracy.voices": (1.0, 1.0), "margin": (0.25, 1.0)}
    pairs = [Item("p1", "swuggy", terms, pair), Item("p2", "swuggy", {"accuracy": (0.0, 1.0)}, {"problem": HOSTILE})]
    answer = {"reference": "a b", "answer": f"a {HOSTILE}", "transcript": "a b"}
    answers = [Item("u1", "librispeech", {"wer": (1.0, 2.0)}, answer)]
    results = []
    for task, items, measure in (
        ("swuggy", pairs, Measure("swuggy_accuracy", "fraction", "higher", ("accuracy",), meaning="pairs")),
        ("librispeech", answers, Measure("librispeech_wer", "errors/word", "lower", ("wer",), meaning="rate")),
    ):
        parts = [Measure("swuggy_accuracy.voices", "fraction", "higher", ("accuracy.voices",))]
        scores = score_items(task, task, [measure, *parts], items)
        settings = {"normalizer": "whisper_english"}
        results.append(TaskResult(task, "f", settings, 1.0, tuple(scores), tuple(items)))
    provenance = {**evaluation.provenance, "datasets": {}, "main_dataset": None}
    write_evaluation(replace(evaluation, folder=tmp_path, provenance=provenance, results=tuple(results)))
    paths = make_report(tmp_path, tmp_path / "report.html")
    page = Path(paths["html"]).read_text(encoding="utf-8")
    assert '<section id="swuggy">' in page
    assert '<section id="librispeech">' in page
    assert "1 of 2 items could not be read or do not fit, and count as wrong" in page
    assert "By part (0.5 by chance)" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "held out" not in page
    assert "swuggy\\_accuracy.voices" in Path(paths["markdown"]).read_text(encoding="utf-8")


def test_a_report_beside_another_evaluation_has_the_paired_differences_and_both_sounds(evaluation, tmp_path):
    """The other one is this one with an error more in every word error rate, and other speech."""
    results = []
    for result in evaluation.results:
        items = tuple(
            replace(
                item,
                terms={
                    name: (term[0] + 1, *term[1:]) if name.endswith("_wer") else term
                    for name, term in item.terms.items()
                },
            )
            for item in result.items
        )
        results.append(replace(result, items=items))
    shutil.copytree(evaluation.folder / "audio", tmp_path / "audio")
    for path in (tmp_path / "audio").rglob("*.wav"):
        soundfile.write(path, np.full(2_400, 0.25), 24_000)
    write_evaluation(replace(evaluation, folder=tmp_path, results=tuple(results)))
    paths = make_report(evaluation.folder, tmp_path / "report.html", base=tmp_path)
    page = Path(paths["html"]).read_text()
    found = json.loads(Path(paths["json"]).read_text())["comparison"]
    wer = [one for one in found if one["name"] == "asr_wer"]
    assert {one["dataset"] for one in wer} == {"heldout", "voice"}
    assert all(one["difference"] < 0 and one["second"] < one["first"] for one in wer)
    listened = page[page.index("Before and after</h2>") : page.index("Recognition</h2>")]
    assert listened.count("Generated by the model before<") == listened.count("Generated by the model<") > 0
    with pytest.raises(InputError, match=r"holds no `evaluation.json`"):
        make_report(evaluation.folder, tmp_path / "other.html", base=tmp_path / "none")
