"""Whole published document strings to ids and back, with the ids of the HuggingFace tokenizer but not its time.

A published document is one string of markers, transcripts and audio characters:

    <|begin_of_text|><|audio_start|>AAAA...<|audio_end|><|text_start|>T<|text_end|>...<|end_of_text|>

A HuggingFace tokenizer walks through it character by character, since every audio character is an added token. Here the
string is cut at its markers, audio becomes ids by arithmetic on code points, and only transcripts reach the text
tokenizer, all those of a batch at once.

The published data was made by cutting at added tokens *wherever* they stand, and ids here agree with that: a marker is
a marker also inside a transcript, and a character of the audio range inside a transcript is an audio token. The range
holds characters of ordinary text, U+FF0C, the comma of Chinese, among them; such characters are counted.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain, pairwise

import numpy as np
from jaxtyping import Int32, Integer

from audio_data import InputError
from audio_tokenize.documents.layout import BeginOfText, check_beginning
from audio_tokenize.documents.markers import AUDIO_START, IN_AUDIO, OUTSIDE, Markers, State
from audio_tokenize.documents.transcode import (
    FIRST_CHARACTER,
    Fault,
    audio_indices,
    characters_to_ids,
    codebooks_of,
    find_in_frames,
    find_surrogate,
    ids_to_characters,
    misplaced,
)
from audio_tokenize.vocabularies.folder import VocabularyFolder


@dataclass(eq=False, slots=True)
class CutDocument:
    """A document cut at its markers, before its texts are encoded.

    Attributes:
        pieces: In order: ids, a text, or None for the next span of `audio`.
        audio: What stands between `audio_start` and `audio_end`.
        num_strays: Characters of the audio range outside audio spans.
        fault: Why it is no document.
    """

    pieces: list[np.ndarray | str | None] = field(default_factory=list)
    audio: list[str] = field(default_factory=list)
    num_strays: int = 0
    fault: Fault | None = None


class DocumentTranscoder:
    """Published document strings to ids and back.

    Args:
        folder: The vocabulary and its text tokenizer.
        begin_of_text: `single` gives the ids of the string, so that a published document begins with one
            `begin_of_text`. `double` puts one more in front of every document, as the Marin tokenizer does (128000,
            128000).
        lenient: Drop a document with a fault and count it in `counts`, instead of raising. Nothing is mended: a
            document of which a span or a frame is missing would pair speech with other words.
        num_codebooks: Codebooks of every frame; `None` reads it off the first frame of each document.

    Attributes:
        counts: What was seen so far: `documents`; `dropped_structure`, `dropped_frames` and `dropped_characters`, by
            the kind of `Fault`; `audio_characters_in_text`, characters of the audio range outside audio spans.
        dropped: Name and fault of each that was dropped; whoever reads it empties it.

    Raises:
        InputError: A vocabulary without audio or with merges of codes, or an argument out of range.

    Source: document strings of the SODA corpora (arXiv 2602.16687); the double begin of text follows from
    tokenizing strings that hold one with a tokenizer that adds one.
    """

    def __init__(
        self,
        folder: VocabularyFolder,
        *,
        begin_of_text: BeginOfText = "single",
        lenient: bool = False,
        num_codebooks: int | None = None,
    ):
        vocabulary = folder.vocabulary
        if not vocabulary.num_codebooks:
            raise InputError(f"vocabulary `{vocabulary.name}` must have codebooks, got none: choose one with audio")
        if folder.merges is not None:
            raise InputError(
                f"vocabulary `{vocabulary.name}` must have one id a code, got {len(folder.merges.pairs)} merges of "
                "codes: choose one without merges for document strings"
            )
        check_beginning(begin_of_text, has_plain_text=False)
        if num_codebooks is not None and not 1 <= num_codebooks <= vocabulary.num_codebooks:
            raise InputError(f"`num_codebooks` must be in 1..{vocabulary.num_codebooks}, got {num_codebooks!r}")
        self.counts: Counter[str] = Counter()
        self.dropped: list[tuple[str, str]] = []
        self._vocabulary, self._text = vocabulary, folder.text
        self._doubled, self._lenient, self._num_codebooks = begin_of_text == "double", lenient, num_codebooks
        self._markers = Markers(vocabulary, folder.text)
        self._names = {i: name for name, i in self._markers.ids.items()}
        last = chr(FIRST_CHARACTER + vocabulary.num_codebooks * vocabulary.codebook_size - 1)
        self._stray = re.compile(f"([{chr(FIRST_CHARACTER)}-{last}]+)")

    def encode(self, document: str) -> Int32[np.ndarray, " ids"]:
        """Ids of one document; `encode_batch` is faster.

        Raises:
            InputError: The document has a fault, lenient or not.
        """
        cut = self._read([document])
        if (fault := cut[0].fault) is not None:
            raise _error("the document", fault)
        return self.join_batch(cut)[0]

    def encode_batch(
        self, documents: Sequence[str], names: Sequence[str] | None = None
    ) -> list[Int32[np.ndarray, " ids"] | None]:
        """Ids of documents; what one gives does not depend on the others.

        Args:
            documents: Whole documents. Text outside spans is text, so that a text-only document is one too.
            names: What to call each in a message; its place in `documents` if `None`.

        Returns:
            For each document its ids, int32, or `None` if it was dropped.

        Raises:
            InputError: A document has a fault and this transcoder is not lenient; names the document and the position
                of the first wrong character.
        """
        cut = self.cut_batch(documents, names)
        kept = iter(self.join_batch([document for document in cut if document is not None]))
        return [None if document is None else next(kept) for document in cut]

    def cut_batch(self, documents: Sequence[str], names: Sequence[str] | None = None) -> list[CutDocument | None]:
        """Return the first half of `encode_batch`: everything but encoding text, which is most of the time.

        Args:
            documents: As for `encode_batch`.
            names: As for `encode_batch`.

        Returns:
            For each document what `join_batch` takes, or `None` if it was dropped. All are counted.

        Raises:
            InputError: As for `encode_batch`.
        """
        found = self._read(documents)
        self.counts["documents"] += len(found)
        for i, cut in enumerate(found):
            if cut.fault is None:
                self.counts["audio_characters_in_text"] += cut.num_strays
            elif self._lenient:
                self.counts[f"dropped_{cut.fault.kind}"] += 1
                name = str(i) if names is None else names[i]
                self.dropped.append((name, f"character {cut.fault.position}: {cut.fault.message}"))
            else:
                raise _error(f"document {i}" if names is None else f"document `{names[i]}`", cut.fault)
        return [None if cut.fault else cut for cut in found]

    def join_batch(self, documents: Sequence[CutDocument]) -> list[Int32[np.ndarray, " ids"]]:
        """Return the second half of `encode_batch`.

        Args:
            documents: What `cut_batch` gave.

        Returns:
            Ids of each, int32.
        """
        by_text = self._encode_texts(_texts(documents))
        spans = [span for document in documents for span in document.audio]
        audio = _slices(characters_to_ids("".join(spans), self._vocabulary), [len(span) for span in spans])
        begin = np.array([self._vocabulary.begin_of_text] * self._doubled, np.int32)
        return [
            np.concatenate(
                [begin, *[next(audio) if p is None else by_text[p] if type(p) is str else p for p in document.pieces]]
            )
            for document in documents
        ]

    def decode(self, ids: Integer[np.ndarray, " ids"]) -> str:
        """Return the document string of ids, the inverse of `encode`.

        Args:
            ids: One document. With `begin_of_text="double"` the first id must be the added `begin_of_text`.

        Raises:
            InputError: An id means nothing in this vocabulary, or the added `begin_of_text` is missing.
        """
        if self._doubled:
            if not len(ids) or ids[0] != self._vocabulary.begin_of_text:
                raise InputError(
                    f"`ids[0]` must be {self._vocabulary.begin_of_text}, the begin of text that "
                    f"`begin_of_text='double'` adds, got {ids[:1].tolist()!r}"
                )
            ids = ids[1:]
        kinds = np.minimum(self._vocabulary.kind_of(ids.astype(np.int32)), 2)
        kinds[np.isin(ids, list(self._names))] = 1
        edges = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(ids)]
        return "".join(
            self._render(int(kinds[start]), ids[start:stop]) for start, stop in pairwise(edges) if start < stop
        )

    def _render(self, kind: int, ids: Integer[np.ndarray, " ids"]) -> str:
        match kind:
            case 0:
                return self._text.decode(ids.tolist())
            case 1:
                return "".join(self._names[i] for i in ids.tolist())
            case _:
                return ids_to_characters(ids, self._vocabulary)

    def _read(self, documents: Sequence[str]) -> list[CutDocument]:
        """Cut documents up and find what is wrong with each."""
        found = [self._cut_up(document) for document in documents]
        # Nearly always all is well, and asking for the whole batch at once costs a hundredth of asking one by one.
        if not self._all_sound([cut for cut in found if cut.fault is None]):
            for document, cut in zip(documents, found, strict=True):
                cut.fault = cut.fault or self._find_fault(document, cut)
        return found

    def _cut_up(self, document: str) -> CutDocument:
        parts = self._markers.split(document)
        cut, last = CutDocument(), len(parts) - 2
        state: State = OUTSIDE
        for place, part in enumerate(parts):
            if place % 2:
                run = self._markers.walk(state, part, place == 1 and not parts[0], place == last and not parts[-1])
                if run.fault is not None:
                    start = sum(map(len, parts[:place]))
                    cut.fault = replace(run.fault, position=start + run.fault.position)
                    return cut
                state = run.state
                cut.pieces.append(run.ids)
            elif state is IN_AUDIO:
                cut.audio.append(part)
                cut.pieces.append(None)
            elif part:
                self._add_text(cut, part)
        if state is not OUTSIDE:
            cut.fault = Fault("structure", len(document), f"expected the end of the span, got the end {state}")
        return cut

    def _add_text(self, cut: CutDocument, text: str) -> None:
        if text.isascii() or not self._stray.search(text):
            cut.pieces.append(text)
            return
        for place, piece in enumerate(self._stray.split(text)):
            if place % 2:
                cut.num_strays += len(piece)
                cut.pieces.append(characters_to_ids(piece, self._vocabulary))
            elif piece:
                cut.pieces.append(piece)

    def _all_sound(self, documents: Sequence[CutDocument]) -> bool:
        """Whether all audio is whole frames of as many codebooks as the first, and all text is Unicode text."""
        spans = [span for document in documents for span in document.audio]
        indices = audio_indices("".join(spans))
        num_codebooks = self._num_codebooks or codebooks_of(indices, self._vocabulary)
        if any(len(span) % num_codebooks for span in spans):
            return False
        if misplaced(indices, num_codebooks, self._vocabulary.codebook_size).any():
            return False
        try:
            "".join(_texts(documents)).encode()
        except UnicodeEncodeError:
            return False
        return True

    def _find_fault(self, document: str, cut: CutDocument) -> Fault | None:
        """Return the first fault of a document whose markers are in order."""
        num_codebooks = self._num_codebooks or codebooks_of(audio_indices("".join(cut.audio)), self._vocabulary)
        faults = [find_surrogate(document)]
        for start, stop in self._audio_spans(document):
            faults.append(find_in_frames(document, start, stop, num_codebooks, self._vocabulary))
        return min((fault for fault in faults if fault), key=lambda fault: fault.position, default=None)

    def _audio_spans(self, document: str) -> Iterator[tuple[int, int]]:
        parts = self._markers.split(document)
        ends = list(accumulate(map(len, parts)))
        for place in range(1, len(parts), 2):
            if parts[place].endswith(AUDIO_START):
                yield ends[place], ends[place + 1]

    def _encode_texts(self, texts: Sequence[str]) -> dict[str, Int32[np.ndarray, " ids"]]:
        # Published corpora hold each utterance in two orders, side by side: its transcript is encoded once.
        unique = list(dict.fromkeys(texts))
        found = self._text.encode_batch(unique)
        lengths = [len(ids) for ids in found]
        ids = np.fromiter(chain.from_iterable(found), np.int32, sum(lengths))
        return dict(zip(unique, _slices(ids, lengths), strict=True))


def _texts(documents: Sequence[CutDocument]) -> list[str]:
    return [piece for document in documents for piece in document.pieces if type(piece) is str]


def _slices(ids: Int32[np.ndarray, " ids"], lengths: Sequence[int]) -> Iterator[Int32[np.ndarray, " part"]]:
    return (ids[start:stop] for start, stop in pairwise(accumulate(lengths, initial=0)))


def _error(name: str, fault: Fault) -> InputError:
    return InputError(
        f"{name}, character {fault.position}: {fault.message}; repair it, or drop such documents with `lenient`"
    )
