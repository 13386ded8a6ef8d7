"""Document layouts: how utterances become one sequence of ids, and how they are read back.

A layout is data. `audio_first` says: for each utterance its audio, then its text; the audio of a document stands
between `audio_start` and `audio_end`, the text between `text_start` and `text_end`, the whole between `begin_of_text`
and `end_of_text`, and nothing else is added, no separator and no space:

    audio_first   <|begin_of_text|> (<|audio_start|> A <|audio_end|> <|text_start|> T <|text_end|>)* <|end_of_text|>
    text_first    <|begin_of_text|> (<|text_start|> T <|text_end|> <|audio_start|> A <|audio_end|>)* <|end_of_text|>

Audio may keep only its leading codebooks: with 2 of 8 a document is a quarter as long.

Source: the document templates of SODA (arXiv 2602.16687), as its published data was made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int32, Integer

from audio_data import InputError, Vocabulary

Kind = Literal["audio", "text"]


@dataclass(frozen=True, eq=False)
class Segment:
    """One utterance of a document.

    Attributes:
        text_ids: Ids of its transcript, without markers; empty in a layout without text.
        codes: Its audio, every codebook that is known of it.
    """

    text_ids: Integer[np.ndarray, " tokens"]
    codes: Integer[np.ndarray, "frames codebooks"]


@dataclass(frozen=True)
class Span:
    """The audio or the text of one segment, counted from the first of its group."""

    kind: Kind
    segment: int = 0


AUDIO, TEXT = Span("audio"), Span("text")


@dataclass(frozen=True)
class Layout:
    """A document template.

    Attributes:
        name: As the command line and the dataset's records call it.
        summary: One line for people.
        pattern: The spans of a group of segments, repeated for each group of the document.
        transcript: What a text span holds, from `text`, `speaker` (index by first appearance in the document) and
            `language`.
        max_codebooks: Leading codebooks kept at most; `None` keeps what is asked for.
        bounded: Whether `begin_of_text` and `end_of_text` stand around the document.
    """

    name: str
    summary: str
    pattern: tuple[Span, ...]
    transcript: str = "{text}"
    max_codebooks: int | None = None
    bounded: bool = True

    @property
    def group_size(self) -> int:
        """Segments that one repetition of the pattern takes."""
        return 1 + max(span.segment for span in self.pattern)

    @property
    def has_text(self) -> bool:
        """Whether documents hold transcripts."""
        return any(span.kind == "text" for span in self.pattern)

    def spell(self, text: str, *, speaker: int = 0, language: str = "") -> str:
        """The string that a text span holds.

        Args:
            text: The transcript.
            speaker: Index of its speaker by first appearance in the document.
            language: Code of its language.

        Returns:
            The transcript in the layout's form. Encode it whole: its parts may share a token.
        """
        return self.transcript.format(text=text, speaker=speaker, language=language)

    def build(
        self, segments: Sequence[Segment], vocabulary: Vocabulary, num_codebooks: int | None = None
    ) -> Int32[np.ndarray, " ids"]:
        """Lays segments out as one document.

        Args:
            segments: In time order; their number is a multiple of `group_size`.
            vocabulary: Gives every id.
            num_codebooks: Leading codebooks to keep; `None` keeps all that a segment has.

        Returns:
            The document's ids.

        Raises:
            InputError: No segment, an incomplete group, or a segment with fewer codebooks than asked for.
        """
        return self._join(self._parts(segments, vocabulary, num_codebooks), vocabulary, end=True)

    def prompt(
        self, segments: Sequence[Segment], vocabulary: Vocabulary, num_codebooks: int | None = None
    ) -> Int32[np.ndarray, " ids"]:
        """The document up to the content of its last span, which a model is to continue.

        In `audio_first` a model that continues it transcribes, in `text_first` it speaks.

        Args:
            segments: As for `build`; what the last span would hold is not looked at.
            vocabulary: Gives every id.
            num_codebooks: Leading codebooks to keep.

        Returns:
            Ids that end in `text_start` or `audio_start`.

        Raises:
            InputError: As for `build`.
        """
        parts = self._parts(segments, vocabulary, num_codebooks)
        return self._join([*parts[:-1], parts[-1][:1]], vocabulary, end=False)

    def parse(
        self, ids: Integer[np.ndarray, " ids"], vocabulary: Vocabulary, num_codebooks: int | None = None
    ) -> list[Segment]:
        """Reads a document back, the inverse of `build`.

        Args:
            ids: One whole document.
            vocabulary: That it was built with.
            num_codebooks: Codebooks of its frames; `None` reads it off the first audio span.

        Returns:
            Its segments. What the layout leaves out is empty.

        Raises:
            InputError: Not a document of this layout; the message names the first wrong position.
        """
        reader = _Reader(ids, vocabulary, self.name)
        if self.bounded:
            reader.expect(vocabulary.begin_of_text)
        groups: list[list[slice]] = []
        while not (groups and reader.at_end(bounded=self.bounded)):
            groups.append([reader.span(span.kind) for span in self.pattern])
        if num_codebooks is None:
            spans = [where for group in groups for where in self._audio_spans(group)]
            num_codebooks = reader.num_codebooks(spans)
        return [segment for group in groups for segment in self._segments(reader, group, num_codebooks)]

    def _audio_spans(self, group: Sequence[slice]) -> list[slice]:
        return [where for span, where in zip(self.pattern, group, strict=True) if span.kind == "audio"]

    def _segments(self, reader: "_Reader", group: Sequence[slice], num_codebooks: int) -> list[Segment]:
        texts = [np.zeros(0, np.int32)] * self.group_size
        codes = [np.zeros((0, num_codebooks), np.int32)] * self.group_size
        for span, where in zip(self.pattern, group, strict=True):
            if span.kind == "text":
                texts[span.segment] = reader.text(where)
            else:
                codes[span.segment] = reader.audio(where, num_codebooks)
        return [Segment(*both) for both in zip(texts, codes, strict=True)]

    def _parts(
        self, segments: Sequence[Segment], vocabulary: Vocabulary, num_codebooks: int | None
    ) -> list[Int32[np.ndarray, " _"]]:
        size = self.group_size
        if not segments or len(segments) % size:
            raise InputError(f"`segments` of layout `{self.name}` must come in groups of {size}, got {len(segments)!r}")
        if self.max_codebooks is not None:
            num_codebooks = min(self.max_codebooks, num_codebooks or self.max_codebooks)
        return [
            _span_ids(segments[first + span.segment], span.kind, vocabulary, num_codebooks)
            for first in range(0, len(segments), size)
            for span in self.pattern
        ]

    def _join(
        self, parts: Sequence[Int32[np.ndarray, " _"]], vocabulary: Vocabulary, *, end: bool
    ) -> Int32[np.ndarray, " ids"]:
        first = [vocabulary.begin_of_text] if self.bounded else []
        last = [vocabulary.end_of_text] if self.bounded and end else []
        return np.concatenate([np.array(first, np.int32), *parts, np.array(last, np.int32)])


class _Reader:
    """Walks over the ids of one document; every complaint names a position."""

    def __init__(self, ids: Integer[np.ndarray, " ids"], vocabulary: Vocabulary, layout_name: str):
        self._ids = ids.astype(np.int32)
        self._vocabulary = vocabulary
        self._layout_name = layout_name
        self._position = 0
        self._markers = np.flatnonzero(np.isin(ids, vocabulary.special_ids))

    def expect(self, marker: int) -> None:
        """Steps over a marker that must stand here."""
        if self._position == len(self._ids) or self._ids[self._position] != marker:
            raise self._error(self._position, f"id {marker}")
        self._position += 1

    def at_end(self, *, bounded: bool) -> bool:
        """Whether the document ends here; if it does, nothing may follow."""
        if not bounded:
            return self._position == len(self._ids)
        if self._position < len(self._ids) and self._ids[self._position] == self._vocabulary.end_of_text:
            self._position += 1
            if self._position < len(self._ids):
                raise self._error(self._position, "the end of the document")
            return True
        return False

    def span(self, kind: Kind) -> slice:
        """Steps over a span; returns where its content lies."""
        start_marker, end_marker = _edges(kind, self._vocabulary)
        self.expect(start_marker)
        start = self._position
        following = np.searchsorted(self._markers, start)
        self._position = int(self._markers[following]) if following < len(self._markers) else len(self._ids)
        content = slice(start, self._position)
        self.expect(end_marker)
        return content

    def num_codebooks(self, spans: Sequence[slice]) -> int:
        """Codebooks of a frame, from where codebook 0 comes round again; all of them where there is no audio."""
        for where in spans:
            if where.stop > where.start:
                codebooks = (self._ids[where] - self._vocabulary.audio_base) // self._vocabulary.codebook_size
                again = np.flatnonzero(codebooks[1:] == 0)
                return int(again[0]) + 1 if again.size else len(codebooks)
        return max(1, self._vocabulary.num_codebooks)

    def text(self, where: slice) -> Int32[np.ndarray, " tokens"]:
        """The ids of a text span."""
        ids = self._ids[where]
        wrong = np.flatnonzero((ids < 0) | (ids >= self._vocabulary.num_text))
        if wrong.size:
            raise self._error(where.start + int(wrong[0]), f"a text id in 0..{self._vocabulary.num_text - 1}")
        return ids

    def audio(self, where: slice, num_codebooks: int) -> Int32[np.ndarray, "frames codebooks"]:
        """The codes of an audio span."""
        try:
            return self._vocabulary.codes(self._ids[where], num_codebooks)
        except InputError as error:
            raise InputError(
                f"audio from `ids[{where.start}]` on, in a document of layout `{self._layout_name}`: {error.message}"
            ) from error

    def _error(self, position: int, expected: str) -> InputError:
        got = repr(int(self._ids[position])) if position < len(self._ids) else "the end of the document"
        return InputError(
            f"`ids[{position}]` of a document of layout `{self._layout_name}` must be {expected}, got {got}"
        )


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("audio_first", "each utterance's audio, then its text: a model learns to transcribe", (AUDIO, TEXT)),
        Layout("text_first", "each utterance's text, then its audio: a model learns to speak", (TEXT, AUDIO)),
        Layout("acoustic", "audio alone, every codebook asked for", (AUDIO,)),
        Layout("semantic", "audio alone, the first codebook only", (AUDIO,), max_codebooks=1),
        Layout("tts0", "text_first with `[0]` before each text: one speaker", (TEXT, AUDIO), "[0]{text}"),
        Layout(
            "conversational", "text_first with the speaker's index before each text", (TEXT, AUDIO), "[{speaker}]{text}"
        ),
        Layout("asr_evaluation", "audio_first without begin and end of text", (AUDIO, TEXT), bounded=False),
        Layout("tts_evaluation", "text_first without begin and end of text", (TEXT, AUDIO), bounded=False),
        Layout(
            "speech_translation",
            "source audio, source text, target text, target audio of pairs of utterances",
            (AUDIO, TEXT, Span("text", 1), Span("audio", 1)),
            "<language>{language}</language>{text}",
        ),
    )
}


def layout(name: str) -> Layout:
    """The layout of that name.

    Args:
        name: A key of `LAYOUTS`.

    Raises:
        InputError: No such layout; the message lists them.
    """
    if name not in LAYOUTS:
        raise InputError(f"`layout` must be one of {', '.join(LAYOUTS)}, got {name!r}")
    return LAYOUTS[name]


def _span_ids(
    segment: Segment, kind: Kind, vocabulary: Vocabulary, num_codebooks: int | None
) -> Int32[np.ndarray, " ids"]:
    start, end = _edges(kind, vocabulary)
    content = (
        segment.text_ids
        if kind == "text"
        else vocabulary.audio_ids(_leading(segment.codes, num_codebooks).astype(np.int32))
    )
    return np.concatenate([[start], content, [end]]).astype(np.int32)


def _leading(
    codes: Integer[np.ndarray, "frames codebooks"], num_codebooks: int | None
) -> Integer[np.ndarray, "frames leading"]:
    if num_codebooks is not None and not 1 <= num_codebooks <= codes.shape[1]:
        raise InputError(
            f"`num_codebooks` must be in 1..{codes.shape[1]}, as many as were encoded, got {num_codebooks!r}"
        )
    return codes[:, :num_codebooks]


def _edges(kind: Kind, vocabulary: Vocabulary) -> tuple[int, int]:
    if kind == "text":
        return vocabulary.text_start, vocabulary.text_end
    return vocabulary.audio_start, vocabulary.audio_end
