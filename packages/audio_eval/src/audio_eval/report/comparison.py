"""An evaluation beside another one of the same held-out data: paired differences, and the speech of both."""

from audio_data.markup import Markup, tag
from audio_eval.evaluation import Evaluation, compare
from audio_eval.report.sections import clip, section
from audio_eval.report.tables import comparison_table
from audio_eval.scores import Comparison

_NUM_LISTENED = 8
# Scores of no model, or of one that is the same in both.
_CONTROLS = ("_mismatched_audio", "_mismatched_text", "_untrained", "_original", "_reconstructed")


def main_comparisons(base: Evaluation, evaluation: Evaluation) -> list[Comparison]:
    """Return the differences of the scores that have a meaning of their own, those by generation before likelihoods.

    Args:
        base: The evaluation of the model before.
        evaluation: That of the model now.
    """
    found = [
        one for one in compare(base, evaluation) if one.measure.meaning and not one.measure.name.endswith(_CONTROLS)
    ]
    return sorted(found, key=lambda one: "nll" in one.measure.name or "bits" in one.measure.name)


def comparison(base: Evaluation, evaluation: Evaluation) -> Markup:
    """Return the differences as a table, and clips of texts that both models spoke.

    Args:
        base: The evaluation of the model before.
        evaluation: That of the model now.
    """
    tts, before = evaluation.result("tts"), base.result("tts")
    clips: list[Markup] = []
    if tts is not None and before is not None:
        others = {item.id: item for item in before.items}
        normalizer = str(tts.settings["normalizer"])
        clips = [
            clip(item, normalizer, evaluation.folder, base=(others[item.id], base.folder))
            for item in tts.items
            if item.id in others
        ][:_NUM_LISTENED]
    return section(
        "comparison",
        "Before and after",
        tag("p", "Both models on the same items. The interval is that of the difference, over items."),
        comparison_table(main_comparisons(base, evaluation)),
        tag("h3", "Listen") if clips else None,
        clips,
    )
