"""Two transcripts beside each other, with every word error marked."""

from collections import Counter
from collections.abc import Iterable, Mapping

from audio_data.markup import Markup, join, tag
from audio_eval.metrics import Alignment, WordErrors, word_errors
from audio_eval.normalizers import NORMALIZERS


def align(reference: str, hypothesis: str, normalizer: str) -> WordErrors:
    """Align two raw transcripts under a named normaliser."""
    normalize = NORMALIZERS[normalizer]
    return word_errors(normalize(reference), normalize(hypothesis))


def marked_reference(errors: WordErrors) -> Markup:
    """Return the reference with the words that were not recognised marked."""
    return _marked(
        (chunk.reference, {"delete": "del", "substitute": "mark"}.get(chunk.operation), " ".join(chunk.hypothesis))
        for chunk in errors.alignment
    )


def marked_hypothesis(errors: WordErrors) -> Markup:
    """Return the hypothesis with wrong and surplus words marked."""
    if not any(chunk.hypothesis for chunk in errors.alignment):
        return tag("span", "(nothing)", class_="muted")
    return _marked(
        (chunk.hypothesis, {"insert": "ins", "substitute": "mark"}.get(chunk.operation), " ".join(chunk.reference))
        for chunk in errors.alignment
    )


def _marked(stretches: Iterable[tuple[tuple[str, ...], str | None, str]]) -> Markup:
    parts = []
    for words, element, counterpart in stretches:
        if words:
            said = " ".join(words)
            parts.append(tag(element, said, title=counterpart or None) if element else join(said))
    spaced = [join(" " if index else None, part) for index, part in enumerate(parts)]
    return tag("bdi", spaced)


def legend() -> Markup:
    """Explain the marks."""
    signs = [tag("mark", "another word"), " ", tag("del", "missing"), " ", tag("ins", "too many")]
    return tag("p", signs, class_="key small muted")


def confusions(aligned: Iterable[WordErrors]) -> list[tuple[str, str, int]]:
    """Count which word was taken for which, most frequent first: `(reference, hypothesis, times)`."""
    counts: Counter[tuple[str, str]] = Counter()
    for errors in aligned:
        for chunk in errors.alignment:
            counts.update(_word_pairs(chunk))
    return [(*pair, times) for pair, times in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))]


def _word_pairs(chunk: Alignment) -> list[tuple[str, str]]:
    # A substituted stretch has as many words on both sides, so its words pair up in order.
    return list(zip(chunk.reference, chunk.hypothesis, strict=True)) if chunk.operation == "substitute" else []


def totals(aligned: Iterable[WordErrors]) -> Mapping[str, int]:
    """Add up errors by kind, and reference words."""
    sums = Counter({"substitutions": 0, "deletions": 0, "insertions": 0, "words": 0})
    for errors in aligned:
        sums["substitutions"] += errors.num_substitutions
        sums["deletions"] += errors.num_deletions
        sums["insertions"] += errors.num_insertions
        sums["words"] += errors.num_words
    return sums
