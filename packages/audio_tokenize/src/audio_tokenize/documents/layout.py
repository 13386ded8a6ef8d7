"""Document layouts: how utterances become one sequence of ids, and how they are read back.

A layout is data (`layouts.LAYOUTS`). `audio_first` says: for each utterance its audio, then its text; the audio of a
document stands between `audio_start` and `audio_end`, the text between `text_start` and `text_end`, the whole between
`begin_of_text` and `end_of_text`, and nothing else is added, no separator and no space:

    audio_first   <|begin_of_text|> (<|audio_start|> A <|audio_end|> <|text_start|> T <|text_end|>)* <|end_of_text|>
    text_first    <|begin_of_text|> (<|text_start|> T <|text_end|> <|audio_start|> A <|audio_end|>)* <|end_of_text|>

Audio may keep only its leading codebooks: with 2 of 8 a document is a quarter as long.

Source: the document templates of SODA (arXiv 2602.16687), as its published data was made.
"""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Int32, Integer

from audio_data import InputError, Vocabulary
from audio_tokenize.documents.reader import DocumentReader

Kind = Literal["audio", "text"]
BeginOfText = Literal["single", "double"]
"""`double` puts one more `begin_of_text` before a document, as a tokenizer does that prepends it to every string."""


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
    """The audio or the text of one segment.

    Attributes:
        kind: Which of the two.
        segment: Counted from the first of its group.
        delimited: Whether start and end markers stand around it.
    """

    kind: Kind
    segment: int = 0
    delimited: bool = True


@dataclass(frozen=True)
class Layout:
    """A document template.

    Attributes:
        name: As the command line and the dataset's records call it.
        summary: One line for people.
        pattern: The spans of a group of segments, repeated for each group of the document. A pattern with an unmarked
            span cannot be told from its repetition, so it stands once.
        transcript: What a text span holds, from `text`, `speaker` (index by first appearance in the document) and
            `language`.
        max_codebooks: Leading codebooks kept at most; `None` keeps what is asked for.
        with_bos_eos: Whether `begin_of_text` and `end_of_text` stand around the document.
        num_prompt_spans: Leading spans of each group that are the prompt; they and
            `begin_of_text` are masked out of the loss. With 0 every id counts.
    """

    name: str
    summary: str
    pattern: tuple[Span, ...]
    transcript: str = "{text}"
    max_codebooks: int | None = None
    with_bos_eos: bool = True
    num_prompt_spans: int = 0

    @property
    def group_size(self) -> int:
        """Segments that one repetition of the pattern takes."""
        return 1 + max(span.segment for span in self.pattern)

    @property
    def repeats(self) -> bool:
        """Whether a document may hold several groups."""
        return all(span.delimited for span in self.pattern)

    @property
    def has_text(self) -> bool:
        """Whether documents hold text spans."""
        return any(span.kind == "text" for span in self.pattern)

    @property
    def needs_transcript(self) -> bool:
        """Whether documents hold what was said."""
        return self.has_text and "{text}" in self.transcript

    @property
    def has_audio(self) -> bool:
        """Whether documents hold audio."""
        return any(span.kind == "audio" for span in self.pattern)

    def kept_codebooks(self, num_codebooks: int) -> int:
        """How many codebooks of `num_codebooks` documents keep."""
        return min(num_codebooks, self.max_codebooks or num_codebooks)

    def render(self, text: str, *, speaker: int = 0, language: str = "") -> str:
        """Return the string that a text span holds.

        Args:
            text: The transcript.
            speaker: Index of its speaker by first appearance in the document.
            language: Code of its language.

        Returns:
            The transcript in the layout's form. Encode it whole: its parts may share a token.
        """
        return self.transcript.format(text=text, speaker=speaker, language=language)

    def parse_rendered(self, rendered: str) -> dict[str, str]:
        """Return what a text span says, the inverse of `render`.

        Args:
            rendered: The string of a text span.

        Returns:
            Those of `text`, `speaker` and `language` that the layout's form holds.

        Raises:
            InputError: The string has another form.
        """
        form = "".join(
            re.escape(literal) + (f"(?P<{field}>{'.*' if field == 'text' else '.*?'})" if field else "")
            for literal, field, _, _ in string.Formatter().parse(self.transcript)
        )
        found = re.fullmatch(form, rendered, re.DOTALL)
        if found is None:
            raise InputError(
                f"a text span of layout `{self.name}` must have the form {self.transcript!r}, got {rendered!r}"
            )
        return found.groupdict()

    def build(
        self, segments: Sequence[Segment], vocabulary: Vocabulary, num_codebooks: int | None = None
    ) -> Int32[np.ndarray, " ids"]:
        """Lay segments out as one document.

        Args:
            segments: In time order; their number is a multiple of `group_size`.
            vocabulary: Gives every id.
            num_codebooks: Leading codebooks to keep; `None` keeps all that a segment has.

        Returns:
            The document's ids.

        Raises:
            InputError: No segment, an incomplete group, or a segment with fewer codebooks than asked for.
        """
        return self.document(segments, vocabulary, num_codebooks)[0]

    def document(
        self,
        segments: Sequence[Segment],
        vocabulary: Vocabulary,
        num_codebooks: int | None = None,
        *,
        begin_of_text: BeginOfText = "single",
    ) -> tuple[Int32[np.ndarray, " ids"], Bool[np.ndarray, " ids"] | None]:
        """Lay segments out as one document, with its loss mask.

        Args:
            segments: As for `build`.
            vocabulary: Gives every id.
            num_codebooks: Leading codebooks to keep; `None` keeps all that a segment has.
            begin_of_text: `double` puts one more before the document, masked where any of it is.

        Returns:
            The document's ids, and for each whether it counts in the loss, or `None` where all do.

        Raises:
            InputError: As for `build`.
        """
        parts = self._parts(segments, vocabulary, num_codebooks)
        added = np.array([vocabulary.begin_of_text] * (begin_of_text == "double"), np.int32)
        ids = np.concatenate([added, self._join(parts, vocabulary, end=True)])
        if not self.num_prompt_spans:
            return ids, None
        in_loss = [i % len(self.pattern) >= self.num_prompt_spans for i in range(len(parts))]
        mask = np.repeat(in_loss, [len(part) for part in parts])
        before, after = [False] * (len(added) + self.with_bos_eos), [True] * self.with_bos_eos
        return ids, np.concatenate([before, mask, after]).astype(np.bool_)

    def prompt(
        self, segments: Sequence[Segment], vocabulary: Vocabulary, num_codebooks: int | None = None
    ) -> Int32[np.ndarray, " ids"]:
        """Return the document up to the content of its last span, which a model is to continue.

        In `audio_first` a model that continues it transcribes, in `text_first` it speaks.

        Args:
            segments: As for `build`; what the last span would hold is not looked at.
            vocabulary: Gives every id.
            num_codebooks: Leading codebooks to keep.

        Returns:
            Ids that end in the marker that starts the last span.

        Raises:
            InputError: As for `build`.
        """
        parts = self._parts(segments, vocabulary, num_codebooks)
        start = parts[-1][: int(self.pattern[-1].delimited)]
        return self._join([*parts[:-1], start], vocabulary, end=False)

    def parse(
        self, ids: Integer[np.ndarray, " ids"], vocabulary: Vocabulary, num_codebooks: int | None = None
    ) -> list[Segment]:
        """Read a document back, the inverse of `build`.

        Args:
            ids: One whole document; one more `begin_of_text` before it is stepped over.
            vocabulary: That it was built with.
            num_codebooks: Codebooks of its frames; `None` reads it off the first audio span.

        Returns:
            Its segments. What the layout leaves out is empty.

        Raises:
            InputError: Not a document of this layout; the message names the first wrong position.
        """
        reader = DocumentReader(ids, vocabulary, self.name)
        groups = self._groups(reader, vocabulary)
        if num_codebooks is None:
            spans = [where for group in groups for where in self._audio_spans(group)]
            num_codebooks = reader.num_codebooks(spans)
        return [segment for group in groups for segment in self._segments(reader, group, num_codebooks)]

    def _groups(self, reader: DocumentReader, vocabulary: Vocabulary) -> list[list[slice]]:
        """Where the content of each span lies, group by group."""
        if self.with_bos_eos:
            reader.expect(vocabulary.begin_of_text)
        reader.skip(vocabulary.begin_of_text)
        groups = [[_read_span(reader, span, vocabulary) for span in self.pattern]]
        while self.repeats and not reader.at_end(with_bos_eos=self.with_bos_eos):
            groups.append([_read_span(reader, span, vocabulary) for span in self.pattern])
        if not self.repeats and not reader.at_end(with_bos_eos=self.with_bos_eos):
            reader.expect(vocabulary.end_of_text)
        return groups

    def _audio_spans(self, group: Sequence[slice]) -> list[slice]:
        return [where for span, where in zip(self.pattern, group, strict=True) if span.kind == "audio"]

    def _segments(self, reader: DocumentReader, group: Sequence[slice], num_codebooks: int) -> list[Segment]:
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
        if not self.repeats and len(segments) > size:
            raise InputError(f"`segments` of layout `{self.name}` must be one group of {size}, got {len(segments)!r}")
        if self.max_codebooks is not None:
            num_codebooks = self.kept_codebooks(num_codebooks or self.max_codebooks)
        return [
            _span_ids(segments[first + span.segment], span, vocabulary, num_codebooks)
            for first in range(0, len(segments), size)
            for span in self.pattern
        ]

    def _join(
        self, parts: Sequence[Int32[np.ndarray, " _"]], vocabulary: Vocabulary, *, end: bool
    ) -> Int32[np.ndarray, " ids"]:
        first = [vocabulary.begin_of_text] if self.with_bos_eos else []
        last = [vocabulary.end_of_text] if self.with_bos_eos and end else []
        return np.concatenate([np.array(first, np.int32), *parts, np.array(last, np.int32)])


def check_beginning(begin_of_text: str, *, has_plain_text: bool) -> None:
    """Refuse a beginning that documents cannot have.

    Args:
        begin_of_text: Should be a `BeginOfText`.
        has_plain_text: Whether documents are plain texts, of which no published string holds a `begin_of_text` to which
            a tokenizer could add another.

    Raises:
        InputError: No such beginning, or plain texts with two.
    """
    if begin_of_text not in get_args(BeginOfText):
        raise InputError(f"`begin_of_text` must be one of {', '.join(get_args(BeginOfText))}, got {begin_of_text!r}")
    if has_plain_text and begin_of_text != "single":
        raise InputError(f"`begin_of_text` of plain texts must be 'single', got {begin_of_text!r}")


def _read_span(reader: DocumentReader, span: Span, vocabulary: Vocabulary) -> slice:
    if not span.delimited:
        return reader.content()
    start, end = _edges(span.kind, vocabulary)
    reader.expect(start)
    content = reader.content()
    reader.expect(end)
    return content


def _span_ids(
    segment: Segment, span: Span, vocabulary: Vocabulary, num_codebooks: int | None
) -> Int32[np.ndarray, " ids"]:
    content = (
        segment.text_ids
        if span.kind == "text"
        else vocabulary.audio_ids(_leading(segment.codes, num_codebooks).astype(np.int32))
    )
    start, end = _edges(span.kind, vocabulary)
    return (np.concatenate([[start], content, [end]]) if span.delimited else content).astype(np.int32)


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
