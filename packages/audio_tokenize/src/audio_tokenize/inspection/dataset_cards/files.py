"""A card in the form that its file's name asks for."""

import json

from audio_data import InputError, StoragePath, storage_path, write_output
from audio_tokenize.inspection.dataset_cards.markdown import card_markdown
from audio_tokenize.inspection.dataset_cards.page import card_page
from audio_tokenize.inspection.statistics import CorpusStatistics

_MARKS = {
    ".html": b'content="audio-tokenize"',
    ".md": b"tags: [audio, speech, discrete-audio-tokens]",
    ".json": b'"num_utterances": ',
}
"""What every card of a form contains; a file without it is someone else's."""

_FORMS = {
    ".html": card_page,
    ".md": card_markdown,
    ".json": lambda statistics: json.dumps(statistics.to_json(), indent=2, ensure_ascii=False) + "\n",
}


def write_card(statistics: CorpusStatistics, out: str | StoragePath) -> None:
    """Writes a card, whole or not at all.

    Args:
        statistics: What was counted.
        out: `.html`, a page with figures that needs no network; `.md`, a README with its facts as a dataset hub reads
            them; or `.json`, every count.

    Raises:
        InputError: Another ending, another file is there, or the disk refuses.
    """
    out = storage_path(out)
    if out.suffix not in _FORMS:
        raise InputError(f"`out` must end in {', '.join(_FORMS)}, got {out.name!r}")
    # "replace": a lone surrogate, which JSON allows in a transcript's metadata, has no UTF-8.
    write_output(out, _FORMS[out.suffix](statistics).encode("utf-8", "replace"), _MARKS[out.suffix])
