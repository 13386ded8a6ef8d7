"""The passages of a document, token by token, read without knowing its layout.

    <|begin_of_text|> (<|audio_start|> A <|audio_end|> | <|text_start|> T <|text_end|>)* <|end_of_text|>
    <|begin_of_text|> T <|end_of_text|>

Every layout is a case of one of these, so a document can be looked at and listened to whoever made it: as ids, or as
the string that published corpora hold. A document that is broken is read up to its first wrong token.
"""

import abc
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int, Integer

from audio_data import Vocabulary
from audio_tokenize.documents.transcode import CODEBOOK_SIZE, FIRST_CHARACTER
from audio_tokenize.inspection.code_counts import count_codebooks

# In the order of `Vocabulary.special_ids`.
_SPECIALS = ("begin_of_text", "end_of_text", "text_start", "text_end", "audio_start", "audio_end")
_WRITTEN = re.compile(rf"<\|({'|'.join(_SPECIALS)})\|>")
_END = "end of document"
# What may follow what. A begin of text may come twice, as in SODA's training data; "plain text" stands without marks.
_FOLLOWERS: dict[str, tuple[str, ...]] = {
    "": ("begin_of_text", "audio_start", "text_start", "plain text"),
    "begin_of_text": ("begin_of_text", "audio_start", "text_start", "plain text", "end_of_text"),
    "plain text": ("end_of_text", _END),
    "text_start": ("text", "text_end"),
    "text": ("text_end",),
    "text_end": ("audio_start", "text_start", "end_of_text", _END),
    "audio_start": ("audio", "audio_end"),
    "audio": ("audio_end",),
    "audio_end": ("audio_start", "text_start", "end_of_text", _END),
    "end_of_text": (_END,),
}
_CONTENT_AFTER = {"text_start": "text", "audio_start": "audio"}


@dataclass(frozen=True, eq=False)
class Passage:
    """A run of one kind: a special token, a text or the audio of one span.

    Attributes:
        kind: Which of the three.
        start: Position of its first token, in ids or characters; `None` of what was never a document.
        stop: Position after its last token.
        text: The transcript, or the special token as it is written.
        codes: The audio, whole frames only; `None` for the other kinds.
    """

    kind: Literal["special", "text", "audio"]
    start: int | None
    stop: int | None
    text: str = ""
    codes: Integer[np.ndarray, "frames codebooks"] | None = None


@dataclass(frozen=True, eq=False)
class Passages:
    """A document, read as far as it is one.

    Attributes:
        passages: In order.
        num_tokens: Of the whole document.
        unit: What its tokens are, `ids` or `characters`.
        problem: Why reading stopped before the end, with the position; `None` of a whole document.
    """

    passages: tuple[Passage, ...]
    num_tokens: int
    unit: str
    problem: str | None = None


def read_ids(
    ids: Integer[np.ndarray, " ids"],
    vocabulary: Vocabulary,
    decode_text: Callable[[list[int]], str] | None = None,
) -> Passages:
    """Read a document of ids.

    Args:
        ids: The document; it may be broken.
        vocabulary: What the ids mean.
        decode_text: Makes text of text ids; without it the ids themselves are shown.
    """
    return _walk(_IdTape(ids.astype(np.int64), vocabulary, decode_text or _show_ids))


def read_string(document: str) -> Passages:
    """Read a published document string, `<|begin_of_text|><|audio_start|>...`, eight or fewer codebooks of 2,048.

    Args:
        document: The string as published, never normalised; it may be broken.
    """
    return _walk(_StringTape(document))


class _Run(NamedTuple):
    """A special token by its name, or what stands between two of them."""

    name: str | None
    start: int
    stop: int


class _Wrong(NamedTuple):
    """The first token that cannot stand where it does."""

    position: int
    expected: str


class _Tape(abc.ABC):
    """A document as a row of tokens."""

    unit: str
    codebook_size: int

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of tokens."""

    @abc.abstractmethod
    def runs(self) -> Iterator[_Run]:
        """Specials and what is between them, in order, without gaps."""

    @abc.abstractmethod
    def text(self, start: int, stop: int) -> tuple[str, _Wrong | None]:
        """Return the text of a run, up to the first token that is none."""

    @abc.abstractmethod
    def audio_indices(self, start: int, stop: int) -> Int[np.ndarray, " tokens"]:
        """`codebook_size * codebook + code` of every token; what is no audio is negative or beyond the codebooks."""

    @abc.abstractmethod
    def show(self, position: int) -> str:
        """Return a token as an error message names it."""

    def codes(
        self, start: int, stop: int, num_codebooks: int | None
    ) -> tuple[Integer[np.ndarray, "frames codebooks"], _Wrong | None]:
        """Return the whole frames of a run, up to the first token that is out of place."""
        indices = self.audio_indices(start, stop)
        num_codebooks = num_codebooks or count_codebooks(indices // self.codebook_size)
        expected = np.arange(len(indices)) % num_codebooks
        wrong = np.flatnonzero(indices // self.codebook_size != expected)
        good = int(wrong[0]) if wrong.size else len(indices)
        frames = indices[: good - good % num_codebooks].reshape(-1, num_codebooks)
        codes = (frames % self.codebook_size).astype(np.int32)
        if good == len(indices) and not good % num_codebooks:
            return codes, None
        return codes, _Wrong(start + good, f"a code of codebook {good % num_codebooks} of {num_codebooks}")


class _IdTape(_Tape):
    unit = "ids"

    def __init__(self, ids: np.ndarray, vocabulary: Vocabulary, decode_text: Callable[[list[int]], str]):
        self._ids = ids
        self._vocabulary = vocabulary
        self._decode_text = decode_text
        self._names = dict(zip(vocabulary.special_ids, _SPECIALS, strict=True))
        self.codebook_size = max(1, vocabulary.codebook_size)

    def __len__(self) -> int:
        return len(self._ids)

    def runs(self) -> Iterator[_Run]:
        marks = np.flatnonzero(np.isin(self._ids, self._vocabulary.special_ids)).tolist()
        places = ((mark, mark + 1, self._names[int(self._ids[mark])]) for mark in marks)
        return _with_gaps(places, len(self))

    def text(self, start: int, stop: int) -> tuple[str, _Wrong | None]:
        ids = self._ids[start:stop]
        wrong = np.flatnonzero((ids < 0) | (ids >= self._vocabulary.num_text))
        good = int(wrong[0]) if wrong.size else len(ids)
        text = self._decode_text(ids[:good].tolist())
        if good == len(ids):
            return text, None
        return text, _Wrong(start + good, f"a text id in 0..{self._vocabulary.num_text - 1}")

    def audio_indices(self, start: int, stop: int) -> Int[np.ndarray, " tokens"]:
        indices = self._ids[start:stop] - self._vocabulary.audio_base
        # Ids past the last codebook would otherwise pass for a codebook more.
        beyond = indices >= self._vocabulary.num_codebooks * self.codebook_size
        return np.where(beyond, -1, indices)

    def show(self, position: int) -> str:
        found = int(self._ids[position])
        return f"<|{self._names[found]}|>" if found in self._names else repr(found)


class _StringTape(_Tape):
    unit = "characters"
    codebook_size = CODEBOOK_SIZE

    def __init__(self, document: str):
        self._document = document
        self._points = np.frombuffer(document.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)

    def __len__(self) -> int:
        return len(self._document)

    def runs(self) -> Iterator[_Run]:
        marks = ((mark.start(), mark.end(), mark[1]) for mark in _WRITTEN.finditer(self._document))
        return _with_gaps(marks, len(self))

    def text(self, start: int, stop: int) -> tuple[str, _Wrong | None]:
        return self._document[start:stop], None

    def audio_indices(self, start: int, stop: int) -> Int[np.ndarray, " tokens"]:
        return self._points[start:stop] - FIRST_CHARACTER

    def show(self, position: int) -> str:
        mark = _WRITTEN.match(self._document, position)
        return mark[0] if mark else f"U+{int(self._points[position]):04X}"


def _walk(tape: _Tape) -> Passages:
    passages: list[Passage] = []
    state, num_codebooks = "", None
    for run in tape.runs():
        state, before = run.name or _CONTENT_AFTER.get(state, "plain text"), state
        if state not in _FOLLOWERS[before]:
            return _stopped(tape, passages, _Wrong(run.start, _expected(before)))
        passage, wrong = _passage(tape, run, state, num_codebooks)
        passages.append(passage)
        if passage.codes is not None and len(passage.codes):
            num_codebooks = passage.codes.shape[1]
        if wrong is not None:
            return _stopped(tape, passages, wrong)
    if _END not in _FOLLOWERS[state]:
        return _stopped(tape, passages, _Wrong(len(tape), _expected(state)))
    return Passages(tuple(passages), len(tape), tape.unit)


def _passage(tape: _Tape, run: _Run, state: str, num_codebooks: int | None) -> tuple[Passage, _Wrong | None]:
    if run.name is not None:
        return Passage("special", run.start, run.stop, f"<|{run.name}|>"), None
    if state == "audio":
        codes, wrong = tape.codes(run.start, run.stop, num_codebooks)
        return Passage("audio", run.start, run.stop if wrong is None else wrong.position, codes=codes), wrong
    text, wrong = tape.text(run.start, run.stop)
    return Passage("text", run.start, run.stop if wrong is None else wrong.position, text), wrong


def _stopped(tape: _Tape, passages: list[Passage], wrong: _Wrong) -> Passages:
    got = "the end of the document" if wrong.position == len(tape) else tape.show(wrong.position)
    problem = f"`{tape.unit}[{wrong.position}]` must be {wrong.expected}, got {got}"
    return Passages(tuple(passages), len(tape), tape.unit, problem)


def _expected(state: str) -> str:
    names = [f"<|{name}|>" if name in _SPECIALS else name for name in _FOLLOWERS[state]]
    return " or ".join(names)


def _with_gaps(marks: Iterator[tuple[int, int, str]], length: int) -> Iterator[_Run]:
    position = 0
    for start, stop, name in marks:
        if position < start:
            yield _Run(None, position, start)
        yield _Run(name, start, stop)
        position = stop
    if position < length:
        yield _Run(None, position, length)


def _show_ids(ids: list[int]) -> str:
    return " ".join(map(str, ids))
