"""The parts of the page, each from one task's result; a part whose task was not run is left out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from audio_data import InputError
from audio_eval.evaluation import Evaluation, TaskResult
from audio_eval.metrics import WordErrors
from audio_eval.report.figures import Bar, bar_chart
from audio_eval.report.markup import Child, Markup, join, tag
from audio_eval.report.media import player, spectrogram
from audio_eval.report.tables import definitions, score_table
from audio_eval.report.training import Training, curves
from audio_eval.report.transcripts import (
    align,
    confusions,
    legend,
    marked_hypothesis,
    marked_reference,
    totals,
)
from audio_eval.scores import Item, Score
from audio_eval.tasks.nll import CONTROLLED
from audio_tokenize import audio_info, load_audio

_ORDER_TITLES = {"audio_first": "audio, then text", "text_first": "text, then audio", "stored": "as stored"}
# A damaged header may state any rate, and the picture's frames grow with it.
_RATES_HZ = range(1_000, 200_000)
_ABOUT_READING = (
    "Whether the model reads shows in audio_nll_own_over_other_text, not in audio_nll_read_over_unread. An utterance's "
    "audio takes hundreds of bits a second, of which its text tells a few dozen, so both stay close to 1; and the two "
    "orders of the latter differ in more than the text: a model that learned to speak in one voice finds the other "
    "voices less likely after a text than before it, and the quotient rises to 1 or above while its speech follows the "
    "text. The control keeps order, voice and audio, and changes the text alone."
)
_NUM_LISTENED = 12
_NUM_TRANSCRIPTS = 30
_NUM_CONFUSIONS = 12
_TAKES = (
    ("generated", "Spoken by the model"),
    ("reconstructed", "Recording through the codec"),
    ("original", "Recording"),
)


def section(anchor: str, title: str, *content: Child) -> Markup:
    """A part of the page, reachable by its anchor."""
    return tag("section", tag("h2", title), content, id=anchor)


def recognition(result: TaskResult, folder: Path) -> Markup:
    """Word error rates, what was mistaken for what, and transcripts beside what was said."""
    normalizer = str(result.settings["normalizer"])
    aligned = {item.id + item.dataset: _aligned(item, normalizer) for item in result.items}
    main = result.items[0].dataset if result.items else ""
    return section(
        "recognition",
        "Recognition",
        tag("p", "The model hears an utterance and continues with its text, one token at a time."),
        score_table(result.scores, strips=True),
        _error_summary([aligned[item.id + item.dataset] for item in result.items if item.dataset == main], main),
        tag("h3", "Transcripts"),
        legend(),
        _transcript_table(result.items, aligned, normalizer, folder),
    )


def _aligned(item: Item, normalizer: str) -> WordErrors:
    return align(str(item.detail["reference"]), str(item.detail["hypotheses"]["asr_wer"]), normalizer)


def _error_summary(aligned: Sequence[WordErrors], dataset: str) -> Markup | None:
    sums = totals(aligned)
    if not sums["words"]:
        return None
    shares = ", ".join(
        f"{sums[kind]:,} {kind} ({sums[kind] / sums['words']:.1%})"
        for kind in ("substitutions", "deletions", "insertions")
    )
    said = tag("p", f"On {dataset}, {sums['words']:,} words: {shares}.", class_="small muted")
    pairs = confusions(aligned)[:_NUM_CONFUSIONS]
    if not pairs:
        return said
    chips = [
        join(tag("span", tag("mark", right), " → ", tag("mark", wrong), f" {times}\u00d7", class_="chip"), " ")
        for right, wrong, times in pairs
    ]
    return join(tag("h3", "Most frequent confusions"), tag("p", chips, class_="words key small"), said)


def _transcript_table(
    items: Sequence[Item], aligned: Mapping[str, WordErrors], normalizer: str, folder: Path
) -> Markup:
    head = [tag("th", name, scope="col") for name in ("Said", "Heard", "With another utterance's audio", "")]
    shown = _per_dataset(items, _NUM_TRANSCRIPTS)
    rows = []
    for item in shown:
        errors = aligned[item.id + item.dataset]
        other = item.detail["hypotheses"].get("asr_wer_other_utterance")
        control = (
            marked_hypothesis(align(str(item.detail["reference"]), str(other), normalizer))
            if other is not None
            else "\u2013"
        )
        audio = item.detail.get("audio")
        voice = tag("span", f"{item.dataset} · {item.detail.get('speaker', '')}", class_="measure")
        rows.append(
            tag(
                "tr",
                tag("td", marked_reference(errors), voice, class_="words"),
                tag("td", marked_hypothesis(errors), class_="words"),
                tag("td", control, class_="words muted"),
                tag("td", sound(folder / str(audio), "what the model heard") if audio else None),
            )
        )
    note = f"{len(shown)} of {len(items):,} utterances; all of them are in items/asr.jsonl."
    table = tag("table", tag("thead", tag("tr", head)), tag("tbody", rows))
    return join(tag("div", table, class_="scroll"), tag("p", note, class_="small muted"))


def _per_dataset(items: Sequence[Item], total: int) -> list[Item]:
    datasets = list(dict.fromkeys(item.dataset for item in items))
    share = max(1, total // max(1, len(datasets)))
    return [item for name in datasets for item in [i for i in items if i.dataset == name][:share]]


def synthesis(result: TaskResult, folder: Path) -> Markup:
    """Scores of generated speech, and the speech itself beside the recording's codes and the recording."""
    normalizer = str(result.settings["normalizer"])
    judge = result.settings.get("judge")
    reason = next((score.reason for score in result.scores if score.reason), None)
    said = f"Transcripts are by {judge}; its own errors on recordings are part of every rate." if judge else reason
    num_shown = min(_NUM_LISTENED, len(result.items))
    note = f"{num_shown} of {len(result.items)} texts; all sounds are in the evaluation's folder."
    return section(
        "synthesis",
        "Synthesis",
        tag(
            "p",
            "The model reads a text and continues with audio tokens, whole frames, which the codec turns to sound.",
        ),
        tag("p", said, class_="notice small") if said else None,
        score_table(result.scores),
        tag("h3", "Listen"),
        [clip(item, normalizer, folder) for item in result.items[:_NUM_LISTENED]],
        tag("p", note, class_="small muted"),
    )


def clip(item: Item, normalizer: str, folder: Path) -> Markup:
    """All takes of one text beside each other, with what a judge heard in them."""
    audio = {kind: folder / str(path) for kind, path in item.detail["audio"].items()}
    seconds = {kind: len(found[0]) / found[1] for kind, file in audio.items() if (found := _samples(file)) is not None}
    longest = max(seconds.values(), default=0.0)
    takes = []
    for kind, title in _TAKES:
        if kind in audio:
            share = seconds.get(kind, 0.0) / longest if longest else 0.0
            heard = _heard(item, kind, normalizer)
            takes.append(
                tag("div", tag("div", title, class_="name"), sound(audio[kind], title, share), heard, class_="take")
            )
    return tag(
        "div",
        tag("div", str(item.detail["reference"]), class_="said"),
        tag("div", takes, class_="takes"),
        class_="clip",
    )


def _heard(item: Item, kind: str, normalizer: str) -> Markup | None:
    transcript = item.detail.get("transcripts", {}).get(kind)
    if transcript is None:
        return None
    marked = marked_hypothesis(align(str(item.detail["reference"]), transcript, normalizer))
    return tag("div", tag("span", "heard: ", class_="muted"), marked, class_="words small")


def sound(file: Path, label: str, share: float | None = None) -> Markup:
    """A player, with a picture over `share` of the width where one is given: takes of a text keep one scale of time."""
    found = _samples(file)
    if found is None:
        state = "holds no sound that can be read" if file.exists() else "is missing"
        return tag("span", f"{file.name} {state}", class_="muted small")
    samples, sample_rate_hz = found
    if share is None:
        return player(samples, sample_rate_hz, label)
    image = spectrogram(samples, sample_rate_hz, f"spectrogram: {label}")
    picture = tag("div", tag("div", image, style=f"width: {share:.1%}"), class_="picture")
    return join(picture, player(samples, sample_rate_hz, label))


def _samples(file: Path) -> tuple[Float[np.ndarray, " samples"], int] | None:
    """Mono samples and their rate in Hz; None where there is no sound that can be read."""
    try:
        info = audio_info(file)
        if info.num_channels != 1 or info.sample_rate_hz not in _RATES_HZ:
            return None
        return load_audio(file, info.sample_rate_hz), info.sample_rate_hz
    except InputError:
        return None


def likelihood(result: TaskResult) -> Markup:
    """Losses by codebook as a figure, all of them as tables."""
    softmax = str(result.settings["softmax"])
    other = "full" if softmax == "allowed" else "allowed"
    meaning = {"allowed": "among the ids that the grammar allows at their place", "full": "among all ids"}
    main = [score for score in result.scores if not score.name.endswith(f".{other}")]
    return section(
        "likelihood",
        "Likelihood",
        tag("p", f"How well each held-out token is predicted {meaning[softmax]}, in nats a token."),
        tag("p", _ABOUT_READING, class_="small") if any(score.name in CONTROLLED for score in main) else None,
        _codebook_figure(main),
        score_table([score for score in main if score.measure.meaning]),
        _folded("By kind of token", score_table([score for score in main if not score.measure.meaning])),
        _folded(f"The same {meaning[other]}", score_table([s for s in result.scores if s.name.endswith(f".{other}")])),
    )


def _codebook_figure(scores: Sequence[Score]) -> Markup | None:
    datasets = list(dict.fromkeys(score.dataset for score in scores))
    groups = []
    for order, title in _ORDER_TITLES.items():
        prefix = f"{order}.nll_"
        bars = [
            Bar(score.name.removeprefix(prefix).replace("codebook_", "codebook "), score.value, score.low, score.high)
            for score in scores
            if score.dataset == datasets[0] and score.value is not None and _is_text_or_codebook(score.name, prefix)
        ]
        if bars:
            groups.append((title, bars))
    if not groups:
        return None
    chart = bar_chart(groups, y_label="nats/token")
    return join(tag("h3", f"Loss by codebook on {datasets[0]}"), chart)


def _is_text_or_codebook(name: str, prefix: str) -> bool:
    kind = name.removeprefix(prefix)
    return name.startswith(prefix) and (kind == "text" or kind.removeprefix("codebook_").isdigit())


def _folded(title: str, content: Markup) -> Markup:
    return tag("details", tag("summary", title), content)


def training_section(training: Training) -> Markup:
    """The course of training."""
    facts = training.to_json()
    said = f"{facts['steps']:,} steps, {facts['tokens']:,} tokens." if facts.get("tokens") else None
    first, *others = curves(training)
    return section(
        "training", "Training", tag("p", said) if said else None, first, tag("div", others, class_="figures")
    )


def provenance(evaluation: Evaluation) -> Markup:
    """Everything needed to measure the same again."""
    tasks = [
        join(
            tag("h3", f"Settings of {result.task} ({result.seconds:,.1f} s)"),
            definitions(result.settings.items(), _plain),
        )
        for result in evaluation.results
    ]
    return section(
        "provenance",
        "Settings and provenance",
        definitions(evaluation.provenance.items(), _plain),
        _folded("Settings of each task", join(tasks)),
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
