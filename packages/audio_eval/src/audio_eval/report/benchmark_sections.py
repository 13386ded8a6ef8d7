"""Sections of the page about published test sets: pairs, answers, and speech in given voices."""

from collections.abc import Sequence
from pathlib import Path

from audio_data.markup import Markup, join, tag
from audio_eval.evaluation import TaskResult
from audio_eval.report.figures import ScoreBar, bar_chart
from audio_eval.report.sections import clip, section, sound
from audio_eval.report.tables import item_table, number, score_table
from audio_eval.report.transcripts import align, legend, marked_hypothesis, marked_reference
from audio_eval.scores import Item, Score

_NUM_PAIRS, _NUM_ANSWERS, _NUM_CLIPS = 12, 30, 12
_TITLES = {
    "swuggy": "sWUGGY: words against non-words",
    "sblimp": "sBLIMP: sentences against ungrammatical ones",
    "salmon": "SALMon: consistent against inconsistent speech",
    "twuggy": "tWUGGY: sWUGGY as text",
    "tblimp": "tBLIMP: sBLIMP as text",
    "story_cloze": "Spoken StoryCloze",
    "topic_story_cloze": "Topic StoryCloze",
    "text_story_cloze": "StoryCloze as text",
    "librispeech": "LibriSpeech: recognition",
    "s2tt": "CoVoST 2: speech to text in another language",
    "s2st": "CoVoST 2: speech to speech in another language",
    "seed_tts": "Seed-TTS: texts in given voices",
    "continuation": "LibriSpeech: continuation of speech",
}


def title_of(task: str) -> str:
    """Return the heading of a task's section."""
    return _TITLES.get(task, task)


def benchmark(result: TaskResult, folder: Path) -> Markup:
    """Return the scores of a task on a published test set, and the items they are computed from."""
    shown: Markup | None = None
    if any("log_likelihood" in item.detail for item in result.items):
        shown = _pairs(result)
    elif any(isinstance(item.detail.get("audio"), dict) for item in result.items):
        normalizer = str(result.settings.get("normalizer", "whisper_english"))
        clips = [clip(item, normalizer, folder) for item in result.items[:_NUM_CLIPS]]
        shown = join(tag("h3", "Listen"), clips)
    elif any("answer" in item.detail for item in result.items):
        shown = _answers(result, folder)
    main = [score for score in result.scores if score.measure.meaning]
    return section(result.task, title_of(result.task), score_table(main), shown, _problems(result.items))


def _pairs(result: TaskResult) -> Markup:
    parts = [score for score in result.scores if ".accuracy." in score.name or "_accuracy." in score.name]
    return join(_by_part(parts), _worst(result.items))


def _by_part(scores: Sequence[Score]) -> Markup | None:
    bars = [
        ScoreBar(score.name.partition("_accuracy.")[2].replace("_", " "), score.value, score.low, score.high)
        for score in scores
        if score.value is not None
    ]
    if not bars:
        return None
    return join(tag("h3", "By part (0.5 by chance)"), bar_chart([("accuracy", bars)], y_label="accuracy"))


def _worst(items: Sequence[Item]) -> Markup | None:
    written = [item for item in items if len(item.detail.get("texts", {})) == 2 and "margin" in item.terms]
    if not written:
        return None
    worst = sorted(written, key=lambda item: item.terms["margin"][0])[:_NUM_PAIRS]
    rows = [
        (
            *(tag("bdi", str(item.detail["texts"][side])) for side in ("positive", "negative")),
            number(item.terms["margin"][0]),
        )
        for item in worst
    ]
    table = item_table(("Right", "Wrong", "Nats a token in favour of the right one"), rows)
    note = f"The {len(worst)} of {len(items):,} pairs with the lowest margin."
    return join(tag("h3", "Pairs"), table, tag("p", note, class_="small muted"))


def _answers(result: TaskResult, folder: Path) -> Markup:
    normalizer = str(result.settings.get("normalizer", "marks"))
    rows = []
    for item in result.items[:_NUM_ANSWERS]:
        errors = align(str(item.detail["reference"]), str(item.detail["answer"]), normalizer)
        audio = item.detail.get("audio")
        played = sound(folder / str(audio), "input of the model") if audio else None
        known = join(marked_reference(errors), tag("span", item.id, class_="measure"), played)
        rows.append((known, marked_hypothesis(errors)))
    table = item_table(("Reference and recording", "Answer"), rows)
    note = f"{len(rows)} of {len(result.items):,} items, by normaliser {normalizer}."
    return join(legend(), table, tag("p", note, class_="small muted"))


def _problems(items: Sequence[Item]) -> Markup | None:
    found = [item for item in items if "problem" in item.detail]
    if not found:
        return None
    lines = [tag("li", tag("code", item.id), f": {item.detail['problem']}") for item in found[:_NUM_PAIRS]]
    said = f"{len(found):,} of {len(items):,} items could not be read or do not fit, and count as wrong"
    return tag("details", tag("summary", said), tag("ul", lines))
