"""Encoders of texts and document strings: ids and metadata."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Int32

from audio_data import Document, InputError, Vocabulary
from audio_tokenize.corpora.corpus import Skipped
from audio_tokenize.corpora.text_files import TextDocument
from audio_tokenize.documents.layout import BeginOfText, Layout, check_beginning
from audio_tokenize.documents.layouts import TextSpaces, plain_text
from audio_tokenize.documents.strings import CutDocument, DocumentTranscoder
from audio_tokenize.documents.transcode import codebooks_of
from audio_tokenize.vocabularies.folder import VocabularyFolder

TextForm = Literal["text", "document"]

_SPAN = re.compile(r"<\|(audio|text)_start\|>(\[\d+\]|<language>)?")


class Prepared(NamedTuple):
    """A record that can be encoded, before its text is."""

    record: TextDocument
    cut: CutDocument | None = None


@runtime_checkable
class TextEncoder(Protocol):
    """How the records of a corpus become documents.

    Attributes:
        counts: Records, and those that were dropped by the reason.
        dropped: Name and reason of each that was dropped since the list was last emptied.
    """

    counts: Counter[str]
    dropped: list[tuple[str, str]]

    def prepare(self, records: Sequence[TextDocument | Skipped]) -> list[Prepared]:
        """Those that can be encoded; the others are dropped, or refused."""
        ...

    def encode(self, prepared: Sequence[Prepared]) -> list[Document]:
        """Return a document of each."""
        ...


def text_encoder(
    form: TextForm,
    folder: VocabularyFolder,
    *,
    begin_of_text: BeginOfText = "single",
    text_spaces: TextSpaces = "none",
    lenient: bool = False,
    num_codebooks: int | None = None,
    frame_rate_hz: int | float = 12.5,
) -> TextEncoder:
    """Return what makes documents of records of that form.

    Args:
        form: `text` for plain texts, `document` for document strings.
        folder: The vocabulary and its text tokenizer.
        begin_of_text: Of document strings, see `DocumentTranscoder`.
        text_spaces: Of plain texts, see `layouts.plain_text`.
        lenient: Drop and count what cannot be encoded, instead of raising.
        num_codebooks: Codebooks of every frame of document strings.
        frame_rate_hz: Frames a second of the codec.

    Raises:
        InputError: An argument is out of range.
    """
    if form not in get_args(TextForm):
        raise InputError(f"`form` must be one of {', '.join(get_args(TextForm))}, got {form!r}")
    if not frame_rate_hz > 0:
        raise InputError(f"`frame_rate_hz` must be above 0, got {frame_rate_hz!r}")
    text = plain_text(text_spaces)
    if form == "document":
        if text_spaces != "none":
            raise InputError(f"`text_spaces` is of plain texts, got {text_spaces!r} for documents: leave it out")
        transcoder = DocumentTranscoder(
            folder, begin_of_text=begin_of_text, lenient=lenient, num_codebooks=num_codebooks
        )
        return _DocumentStrings(folder, transcoder, lenient, frame_rate_hz)
    check_beginning(begin_of_text, has_plain_text=True)
    return _PlainTexts(folder, text, lenient)


def base_id(document_id: str) -> str:
    """Return what the renderings of an utterance, a recording or a chapter share, read off a published id.

    The two orders are `X_type1` and `X_type2` and share `X`. The pairs of LibriTTS-R, `A#B`, overlap from pair to pair,
    so those of a chapter share its `speaker_chapter`. Any other id stands for itself.

    Args:
        document_id: As published.
    """
    head, _, order = document_id.rpartition("_type")
    if head and order.isdigit():
        return head
    chapters = {"_".join(half.split("_")[:2]) for half in document_id.split("#")}
    return chapters.pop() if document_id.count("#") == 1 and len(chapters) == 1 else document_id


def recognize_layout(document: str, num_codebooks: int) -> str | None:
    """Name of the layout that a document string has, `None` if it is none of those known.

    Args:
        document: A document without fault.
        num_codebooks: Of its frames.
    """
    spans = _SPAN.findall(document)
    kinds = "".join(kind[0] for kind, _ in spans)
    prefixes = {prefix for kind, prefix in spans if kind == "text"}
    if not kinds:
        return "text"
    if not document.startswith("<|begin_of_text|>"):
        return {"at": "asr_evaluation", "ta": "tts_evaluation"}.get(kinds)
    if _repeats(kinds, "a"):
        return "semantic" if num_codebooks == 1 else "acoustic"
    if _repeats(kinds, "atta") and prefixes == {"<language>"}:
        return "speech_translation"
    if _repeats(kinds, "at") and prefixes == {""}:
        return "audio_first"
    return _text_first(prefixes) if _repeats(kinds, "ta") else None


def _text_first(prefixes: set[str]) -> str | None:
    if prefixes == {""}:
        return "text_first"
    if prefixes == {"[0]"}:
        return "tts0"
    return "conversational" if all(prefix.startswith("[") for prefix in prefixes) else None


def _repeats(kinds: str, pattern: str) -> bool:
    return kinds == pattern * (len(kinds) // len(pattern))


class _PlainTexts:
    """Plain texts between `begin_of_text` and `end_of_text`."""

    def __init__(self, folder: VocabularyFolder, layout: Layout, lenient: bool):
        self.counts: Counter[str] = Counter()
        self.dropped: list[tuple[str, str]] = []
        self._folder, self._layout, self._lenient = folder, layout, lenient

    def prepare(self, records: Sequence[TextDocument | Skipped]) -> list[Prepared]:
        kept = _with_text(records, self._lenient, self.counts, self.dropped)
        self.counts["documents"] += len(kept)
        return [Prepared(record) for record in kept if self._is_sound(record)]

    def encode(self, prepared: Sequence[Prepared]) -> list[Document]:
        begin, end = self._folder.vocabulary.begin_of_text, self._folder.vocabulary.end_of_text
        found = self._folder.text.encode_batch([self._layout.render(record.text) for record, _ in prepared])
        return [
            Document(np.array([begin, *ids, end], np.int32), metadata=_metadata(record, "text", 0.0))
            for (record, _), ids in zip(prepared, found, strict=True)
        ]

    def _is_sound(self, record: TextDocument) -> bool:
        try:
            record.text.encode()
        except UnicodeEncodeError as error:
            got = f"U+{ord(record.text[error.start]):04X}, half a pair"
            message = f"character {error.start}: expected a Unicode character, got {got}"
            if not self._lenient:
                raise _refusal(record, message) from error
            self.counts["dropped_characters"] += 1
            self.dropped.append((record.id, message))
            return False
        return True


class _DocumentStrings:
    """Published document strings."""

    def __init__(
        self, folder: VocabularyFolder, transcoder: DocumentTranscoder, lenient: bool, frame_rate_hz: int | float
    ):
        self.counts, self.dropped = transcoder.counts, transcoder.dropped
        self._vocabulary, self._transcoder = folder.vocabulary, transcoder
        self._lenient, self._frame_rate_hz = lenient, frame_rate_hz

    def prepare(self, records: Sequence[TextDocument | Skipped]) -> list[Prepared]:
        kept = _with_text(records, self._lenient, self.counts, self.dropped)
        found = self._transcoder.cut_batch([record.text for record in kept], [record.id for record in kept])
        return [Prepared(record, cut) for record, cut in zip(kept, found, strict=True) if cut is not None]

    def encode(self, prepared: Sequence[Prepared]) -> list[Document]:
        found = self._transcoder.join_batch([cut for _, cut in prepared if cut is not None])
        return [self._document(record, ids) for (record, _), ids in zip(prepared, found, strict=True)]

    def _document(self, record: TextDocument, ids: Int32[np.ndarray, " ids"]) -> Document:
        num_frames, num_codebooks = count_frames(ids, self._vocabulary)
        layout = recognize_layout(record.text, num_codebooks)
        metadata = _metadata(record, layout, num_frames / self._frame_rate_hz)
        return Document(ids, metadata=metadata | ({"num_codebooks": num_codebooks} if num_frames else {}))


def count_frames(ids: Int32[np.ndarray, " ids"], vocabulary: Vocabulary) -> tuple[int, int]:
    """Frames of a document's audio, and the codebooks of each; both 0 for a document without audio.

    Args:
        ids: A document without fault.
        vocabulary: That it was made with.
    """
    starts, ends = (np.flatnonzero(ids == edge) for edge in (vocabulary.audio_start, vocabulary.audio_end))
    num_codes = int((ends - starts - 1).sum())
    if not num_codes:
        return 0, 0
    first = int(np.flatnonzero(ends - starts > 1)[0])
    codes = ids[starts[first] + 1 : ends[first]] - vocabulary.audio_base
    num_codebooks = codebooks_of(codes.astype(np.uint32), vocabulary)
    return num_codes // num_codebooks, num_codebooks


def _metadata(record: TextDocument, layout: str | None, seconds: float) -> dict[str, Any]:
    known = {"layout": layout, "language": record.metadata.get("language") or record.metadata.get("lang")}
    return {
        "id": record.id,
        "base_id": base_id(record.id),
        **{name: value for name, value in known.items() if isinstance(value, str)},
        "seconds": seconds,
    }


def _with_text(
    records: Sequence[TextDocument | Skipped], lenient: bool, counts: Counter[str], dropped: list[tuple[str, str]]
) -> list[TextDocument]:
    """Return the records that could be read and are not empty; the others are dropped and counted, or refused."""
    kept = []
    for record in records:
        if isinstance(record, TextDocument) and record.text:
            kept.append(record)
            continue
        reason = record.reason if isinstance(record, Skipped) else "expected text, got none"
        if not lenient:
            raise _refusal(record, reason)
        counts["documents"] += 1
        counts["dropped_unreadable" if isinstance(record, Skipped) else "dropped_empty"] += 1
        dropped.append((record.id, reason))
    return kept


def _refusal(record: TextDocument | Skipped, message: str) -> InputError:
    return InputError(f"document `{record.id}`: {message}; repair it, or drop such documents with `lenient`")
