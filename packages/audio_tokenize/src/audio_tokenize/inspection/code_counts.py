"""Exact counts of tokens and codes, and of their repetitions, in streams of any length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer

from audio_data import Vocabulary


@dataclass(frozen=True)
class CodebookUse:
    """How one codebook is used.

    Attributes:
        codebook: Its index.
        num_codes: Codes counted.
        codebook_size: Different codes there could be.
        num_used: Different codes that occur.
        entropy_bits: Of the frequencies of the codes, 0 to log2(codebook_size). A sample's entropy is low by about
            `(num_used - 1) / (2 ln 2 num_codes)` bits (Miller, 1955); it is reported as counted.
        perplexity: 2 to the entropy: so many equally frequent codes would be as hard to guess.
        repeated_fraction: Share of frames with the code of the frame before them; `None` if no frame has one before it.
    """

    codebook: int
    num_codes: int
    codebook_size: int
    num_used: int
    entropy_bits: float
    perplexity: float
    repeated_fraction: float | None

    @property
    def unused_fraction(self) -> float:
        """Share of the codebook that never occurs."""
        return 1 - self.num_used / self.codebook_size


class CodeCounts:
    """Counts the codes of whole utterances.

    Attributes:
        counts: Occurrences of every code.
        num_frames: Frames counted.
    """

    def __init__(self, num_codebooks: int, codebook_size: int):
        self.counts: Int64[np.ndarray, "codebooks codes"] = np.zeros((num_codebooks, codebook_size), np.int64)
        self.num_frames = 0
        self._repeated = np.zeros(num_codebooks, np.int64)
        self._num_pairs = 0

    def add(self, utterances: Sequence[Integer[np.ndarray, "_ codebooks"]]) -> None:
        """Count utterances; thousands of frames at a time are several times faster than one utterance at a time.

        Args:
            utterances: Codes 0 to `codebook_size - 1` of every codebook.
        """
        codes = np.concatenate(utterances)
        num_codebooks, size = self.counts.shape
        places = codes + size * np.arange(num_codebooks, dtype=np.int64)
        self.counts += np.bincount(places.reshape(-1), minlength=self.counts.size).reshape(num_codebooks, size)
        same = codes[1:] == codes[:-1]
        ends = np.cumsum([len(utterance) for utterance in utterances])[:-1]
        same[ends[(ends > 0) & (ends < len(codes))] - 1] = False
        self._repeated += np.count_nonzero(same, axis=0)
        self._num_pairs += sum(max(0, len(utterance) - 1) for utterance in utterances)
        self.num_frames += len(codes)

    def use(self) -> tuple[CodebookUse, ...]:
        """How each codebook is used."""
        return codebook_use(self.counts, self._repeated, self._num_pairs)


class TokenCounts:
    """Counts the tokens of a stream of documents.

    Attributes:
        counts: Occurrences of every id.
        num_spans: Spans of audio that are not empty.
    """

    def __init__(self, vocabulary: Vocabulary):
        self.counts: Int64[np.ndarray, " vocab"] = np.zeros(vocabulary.size, np.int64)
        self.num_spans = 0
        self._vocabulary = vocabulary
        self._frame_size: int | None = None
        self._repeated = np.zeros(vocabulary.num_codebooks, np.int64)
        self._rest = np.zeros(0, np.int32)

    def add(self, ids: Int32[np.ndarray, " ids"]) -> None:
        """Count the next tokens of the stream, however it is cut; 100,000 at a time and more are fast.

        Args:
            ids: Of the vocabulary.
        """
        self.counts += np.bincount(ids, minlength=len(self.counts))
        if not self._vocabulary.num_codebooks:
            return
        line = np.concatenate([self._rest, ids])
        self._count_spans(line[max(0, len(self._rest) - 1) :])
        self._frame_size = self._frame_size or self._find_frame_size(line)
        if self._frame_size is not None:
            self._count_repeated(line)
            self._rest = line[-self._frame_size :]
        else:
            # No frame is complete, so there is nothing to compare yet: whatever may be the first frame is kept.
            first = np.flatnonzero(self._is_audio(line))[:1]
            self._rest = line[max(0, int(first[0]) - 1) :] if first.size else line[-1:]

    @property
    def tokens_by_kind(self) -> dict[str, int]:
        """Tokens of each of `Vocabulary.kinds`."""
        vocabulary = self._vocabulary
        specials = list(vocabulary.special_ids)
        inside = [special for special in specials if special < vocabulary.num_text]
        text = self.counts[: vocabulary.num_text].sum() - self.counts[inside].sum()
        amounts = [text, self.counts[specials].sum(), *self.code_counts.sum(axis=1)]
        return dict(zip(vocabulary.kinds, map(int, amounts), strict=True))

    @property
    def code_counts(self) -> Int64[np.ndarray, "codebooks codes"]:
        """Count the occurrences of every code."""
        vocabulary = self._vocabulary
        stop = vocabulary.audio_base + vocabulary.num_codebooks * vocabulary.codebook_size
        return self.counts[vocabulary.audio_base : stop].reshape(vocabulary.num_codebooks, vocabulary.codebook_size)

    def use(self) -> tuple[CodebookUse, ...]:
        """How each codebook that occurs is used; of streams that mix numbers of codebooks without recurrence."""
        frames = self.code_counts.sum(axis=1)
        used = self.code_counts[: int(np.count_nonzero(frames))]
        whole = len(used) == self._frame_size and (frames[: len(used)] == frames[0]).all()
        num_pairs = int(frames[0]) - self.num_spans if whole else 0
        return codebook_use(used, self._repeated[: len(used)], num_pairs)

    def _is_audio(self, ids: Int32[np.ndarray, " ids"]) -> Bool[np.ndarray, " ids"]:
        vocabulary = self._vocabulary
        stop = vocabulary.audio_base + vocabulary.num_codebooks * vocabulary.codebook_size
        return (ids >= vocabulary.audio_base) & (ids < stop)

    def _count_spans(self, line: Int32[np.ndarray, " ids"]) -> None:
        starts = np.flatnonzero(line[:-1] == self._vocabulary.audio_start)
        self.num_spans += int(np.count_nonzero(self._is_audio(line[starts + 1])))

    def _find_frame_size(self, line: Int32[np.ndarray, " ids"]) -> int | None:
        """Codebooks of a frame, where the first span of audio goes on long enough to tell."""
        audio = self._is_audio(line)
        first = int(np.argmax(audio))
        if not audio[first]:
            return None
        run = line[first:][: int(np.argmin(audio[first:])) or None]
        size = count_codebooks((run - self._vocabulary.audio_base) // self._vocabulary.codebook_size)
        return size if first + size < len(line) else None

    def _count_repeated(self, line: Int32[np.ndarray, " ids"]) -> None:
        """Compare every new token with the one a frame before.

        An id says its codebook. Two equal audio ids a frame apart therefore lie in one span: markers between two spans
        would shift the codebooks.
        """
        size = self._frame_size
        assert size is not None
        first = max(len(self._rest), size)
        recent = line[first:]
        same = recent[recent == line[first - size : len(line) - size]]
        indices = same[self._is_audio(same)] - self._vocabulary.audio_base
        codebooks = indices // self._vocabulary.codebook_size
        self._repeated += np.bincount(codebooks, minlength=len(self._repeated))


def codebook_use(
    counts: Int64[np.ndarray, "codebooks codes"], repeated: Int64[np.ndarray, " codebooks"], num_pairs: int
) -> tuple[CodebookUse, ...]:
    """Describe counts.

    Args:
        counts: Occurrences of every code.
        repeated: Frames with the code of the frame before them.
        num_pairs: Frames that have one before them.
    """
    return tuple(
        CodebookUse(
            codebook=codebook,
            num_codes=int(row.sum()),
            codebook_size=len(row),
            num_used=int(np.count_nonzero(row)),
            entropy_bits=entropy_bits(row),
            perplexity=2 ** entropy_bits(row),
            repeated_fraction=int(repeated[codebook]) / num_pairs if num_pairs else None,
        )
        for codebook, row in enumerate(counts)
    )


def entropy_bits(counts: Int64[np.ndarray, " codes"]) -> float:
    """Shannon entropy of frequencies, in bits; 0 of nothing.

    Args:
        counts: Occurrences, 0 or more.
    """
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def count_codebooks(codebooks: Integer[np.ndarray, " tokens"]) -> int:
    """Codebooks of a frame, from where codebook 0 comes round again in a frame-major run.

    Args:
        codebooks: Of each token of one span of audio; a span of one frame is that frame.
    """
    again = np.flatnonzero(codebooks[1:] == 0)
    return int(again[0]) + 1 if again.size else max(1, len(codebooks))
