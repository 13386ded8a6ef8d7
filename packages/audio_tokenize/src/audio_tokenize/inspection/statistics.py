"""Statistics of a folder of codes or a token dataset, counted exactly in one pass and in bounded memory."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int64

from audio_data import Document, InputError, Progress, StoragePath, TokenDataset, storage_path
from audio_tokenize.encoding.encoded import MANIFEST_NAME, EncodedCorpus
from audio_tokenize.inspection.code_counts import CodebookUse, CodeCounts, TokenCounts

# Bins this much wider than the one before: a quantile is off by half of it at most.
_RATIO = 1.01


class Bin(NamedTuple):
    """Lengths in `[begin_seconds, end_seconds)`."""

    begin_seconds: float
    end_seconds: float
    num_lengths: int


class Durations:
    """Counts lengths in bins of 1 %; count, sum and extremes are exact.

    Attributes:
        num_empty: Lengths of 0, which the distribution leaves out.
        seconds: Sum.
        shortest: The least, infinite of none.
        longest: The greatest, 0 of none.
    """

    def __init__(self) -> None:
        self.num_empty = 0
        self.seconds = 0.0
        self.shortest = math.inf
        self.longest = 0.0
        self._bins: Counter[int] = Counter()

    def __len__(self) -> int:
        return sum(self._bins.values())

    def add(self, seconds: int | float) -> None:
        """Count a length.

        Args:
            seconds: 0 or more.
        """
        if not seconds:
            self.num_empty += 1
            return
        self.seconds += seconds
        self.shortest = min(self.shortest, seconds)
        self.longest = max(self.longest, seconds)
        self._bins[math.floor(math.log(seconds) / math.log(_RATIO))] += 1

    def quantile(self, fraction: float) -> float:
        """Return the length that this share does not exceed, to 1 %.

        Args:
            fraction: 0 to 1.

        Returns:
            Seconds; 0 of no length.
        """
        wanted, seen = fraction * len(self), 0
        for place in sorted(self._bins):
            seen += self._bins[place]
            if seen >= wanted:
                return min(max(_RATIO ** (place + 0.5), self.shortest), self.longest)
        return 0.0

    def histogram(self, num_bins: int = 24) -> list[Bin]:
        """Lengths in wider bins, each as many times longer than the one before.

        Args:
            num_bins: At most.
        """
        if not self._bins:
            return []
        first, last = min(self._bins), max(self._bins)
        width = -(-(last - first + 1) // num_bins)
        return [
            Bin(_RATIO**begin, _RATIO ** (begin + width), sum(self._bins[i] for i in range(begin, begin + width)))
            for begin in range(first, last + 1, width)
        ]

    def to_json(self) -> dict[str, float | int]:
        """Count, sum, extremes, mean and quantiles, in seconds."""
        if not len(self):
            return {"num_documents": 0, "num_empty": self.num_empty}
        quantiles = {f"p{round(100 * q):02d}": self.quantile(q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
        return {
            "num_documents": len(self),
            "num_empty": self.num_empty,
            "mean": self.seconds / len(self),
            "shortest": self.shortest,
            **quantiles,
            "longest": self.longest,
        }


# Counted together: a count costs a pass over the whole table of ids, which many tokens should share.
_TOKENS_AT_ONCE = 1 << 18
# A corpus may have millions of speakers, or a new name a recording; memory must not grow with them.
_MAX_VALUES = 100_000
_SHOWN = 12
_TALLIED = ("language", "speaker", "layout", "split")
_Entry = TypeVar("_Entry")


class Tally:
    """Documents and seconds by speaker, language or the like; at most 100,000 different values are told apart.

    Attributes:
        documents: Documents by value.
        seconds: Audio by value.
        complete: Whether every value was told apart.
    """

    def __init__(self) -> None:
        self.documents: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.complete = True

    def add(self, value: str, seconds: int | float) -> None:
        """Count a document.

        Args:
            value: Its speaker, language or the like.
            seconds: Its audio.
        """
        if value not in self.documents and len(self.documents) == _MAX_VALUES:
            self.complete = False
            return
        self.documents[value] = self.documents.get(value, 0) + 1
        self.seconds[value] = self.seconds.get(value, 0.0) + seconds

    def largest(self, number: int = _SHOWN) -> list[tuple[str, int, float]]:
        """Return the values with the most audio, then documents: value, documents, seconds.

        Args:
            number: How many at most.
        """
        order = sorted(self.documents, key=lambda value: (-self.seconds[value], -self.documents[value], value))
        return [(value, self.documents[value], self.seconds[value]) for value in order[:number]]

    def to_json(self) -> dict[str, Any]:
        """Return the number of values, whether that is all, and the largest."""
        largest = [
            {"name": value, "num_documents": documents, "seconds": seconds}
            for value, documents, seconds in self.largest()
        ]
        return {"num_values": len(self.documents), "complete": self.complete, "largest": largest}


@dataclass(frozen=True, eq=False)
class CorpusStatistics:
    """Counts of a folder of codes or of a token dataset.

    Attributes:
        name: Of the corpus or dataset.
        form: Which of the two.
        facts: What its manifest says: licence, codec, vocabulary, provenance, fingerprint.
        num_documents: Documents, or of codes records: an utterance counts once a frame offset.
        num_utterances: Different utterances of codes; spans of audio of documents, or of text where there is no audio.
        num_skipped: Utterances that were left out when the codes were made.
        audio_seconds: Of all documents.
        tokens_by_kind: Text, special and each codebook; of codes the codebooks alone.
        num_words: Stretches without white space in the transcripts that are recorded.
        num_characters: Of those transcripts, white space and all.
        spoken_seconds: Audio of the documents whose transcript is recorded.
        durations: Seconds a document.
        tallies: Documents and seconds by `language`, `speaker`, `layout` and `split`.
        codebooks: How each codebook is used.
        code_counts: Occurrences of every code.
    """

    name: str
    form: Literal["codes", "dataset"]
    facts: Mapping[str, Any]
    num_documents: int
    num_utterances: int
    num_skipped: int
    audio_seconds: int | float
    tokens_by_kind: Mapping[str, int]
    num_words: int
    num_characters: int
    spoken_seconds: int | float
    durations: Durations
    tallies: Mapping[str, Tally]
    codebooks: tuple[CodebookUse, ...]
    code_counts: Int64[np.ndarray, "codebooks codes"]

    @property
    def num_tokens(self) -> int:
        """All kinds together."""
        return sum(self.tokens_by_kind.values())

    @property
    def rates(self) -> dict[str, float]:
        """Of each second of audio: words and characters of the recorded transcripts, tokens of text and of audio."""
        codes = sum(amount for kind, amount in self.tokens_by_kind.items() if kind.startswith("codebook_"))
        amounts = {
            "words_per_second": (self.num_words, self.spoken_seconds),
            "characters_per_second": (self.num_characters, self.spoken_seconds),
            "text_tokens_per_second": (self.tokens_by_kind.get("text", 0), self.audio_seconds),
            "audio_tokens_per_second": (codes, self.audio_seconds),
        }
        return {name: amount / seconds for name, (amount, seconds) in amounts.items() if amount and seconds}

    def to_json(self) -> dict[str, Any]:
        """Everything but the single codes, as JSON values."""
        return {
            "name": self.name,
            "form": self.form,
            "num_documents": self.num_documents,
            "num_utterances": self.num_utterances,
            "num_skipped": self.num_skipped,
            "hours": self.audio_seconds / 3600,
            "num_tokens": self.num_tokens,
            "tokens_by_kind": dict(self.tokens_by_kind),
            "num_words": self.num_words,
            "num_characters": self.num_characters,
            **self.rates,
            "seconds_per_document": self.durations.to_json(),
            **{f"{name}s": tally.to_json() for name, tally in self.tallies.items()},
            "codebooks": [dataclasses.asdict(use) | {"unused_fraction": use.unused_fraction} for use in self.codebooks],
            **self.facts,
        }


def count_source(source: str | StoragePath) -> CorpusStatistics:
    """Count a folder of codes or a token dataset: everything in it is read once.

    Args:
        source: Either folder.

    Raises:
        InputError: It is neither, or it is damaged.
    """
    source = storage_path(source)
    if (source / "manifest.json").is_file():
        return _count_dataset(TokenDataset.open(source))
    if (source / MANIFEST_NAME).is_file() or (source / "plan.json").is_file():
        return _count_codes(EncodedCorpus.open(source))
    raise InputError(f"`{source}` must be a folder of codes or a token dataset: check the path")


@dataclass
class _Documents:
    """What is known of documents beside their tokens."""

    durations: Durations = field(default_factory=Durations)
    tallies: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in _TALLIED})
    num_words: int = 0
    num_characters: int = 0
    spoken_seconds: float = 0.0

    def add(self, seconds: int | float, text: str, values: Mapping[str, Any]) -> None:
        self.durations.add(seconds)
        for name, tally in self.tallies.items():
            if value := values.get(name):
                tally.add(str(value), seconds)
        if text:
            self.num_words += len(text.split())
            self.num_characters += len(text)
            self.spoken_seconds += seconds

    def fields(self) -> dict[str, Any]:
        """Return these as fields of `CorpusStatistics`."""
        return {**vars(self), "audio_seconds": self.durations.seconds}


def _count_codes(corpus: EncodedCorpus) -> CorpusStatistics:
    manifest, seen = corpus.manifest, _Documents()
    counts = CodeCounts(manifest.codec["num_codebooks"], manifest.codec["codebook_size"])
    with Progress(f"count {corpus.path.name}", len(corpus), unit="utterances") as progress:
        for utterances in _batches(corpus, lambda utterance: utterance.codes.size):
            counts.add([utterance.codes for utterance in utterances])
            for utterance in utterances:
                seen.add(utterance.seconds, utterance.text, vars(utterance))
            progress.advance(len(utterances))
    settings = ("num_frame_offsets", "speed_perturbation", "target_rms", "max_clip_seconds")
    return CorpusStatistics(
        name=manifest.corpus,
        form="codes",
        facts={
            "licence": manifest.licence,
            "codec": dict(manifest.codec),
            "provenance": {name: getattr(manifest, name) for name in settings},
            "fingerprint": manifest.fingerprint,
        },
        num_documents=manifest.num_records,
        num_utterances=manifest.num_utterances,
        num_skipped=len(manifest.skipped),
        tokens_by_kind={f"codebook_{use.codebook}": use.num_codes for use in counts.use()},
        codebooks=counts.use(),
        code_counts=counts.counts,
        **seen.fields(),
    )


def _count_dataset(dataset: TokenDataset) -> CorpusStatistics:
    manifest, vocabulary = dataset.manifest, dataset.vocabulary
    seen, counts = _Documents(), TokenCounts(vocabulary)
    with Progress(f"count {dataset.path.name}", len(dataset), unit="documents") as progress:
        for documents in _batches(dataset, len):
            counts.add(np.concatenate([document.ids for document in documents]))
            for document in documents:
                seen.add(_seconds(document, dataset), document.metadata.get("text", ""), document.metadata)
            progress.advance(len(documents))
    return CorpusStatistics(
        name=manifest.corpus,
        form="dataset",
        facts={
            "licence": manifest.provenance.get("codes", {}).get("licence"),
            "codec": dict(manifest.codec),
            "vocabulary": {
                "name": vocabulary.name,
                "num_ids": vocabulary.size,
                "num_text": vocabulary.num_text,
                "text_tokenizer": vocabulary.text_tokenizer,
                "fingerprint": vocabulary.fingerprint,
            },
            "provenance": manifest.provenance,
            "fingerprint": manifest.fingerprint,
        },
        num_documents=len(dataset),
        num_utterances=counts.num_spans or int(counts.counts[vocabulary.text_start]),
        num_skipped=0,
        tokens_by_kind=counts.tokens_by_kind,
        codebooks=counts.use(),
        code_counts=counts.code_counts,
        **seen.fields(),
    )


def _seconds(document: Document, dataset: TokenDataset) -> int | float:
    """Audio of a document: as its metadata say, or else as many frames as it has codes of codebook 0."""
    stated, frame_rate_hz = document.metadata.get("seconds"), dataset.manifest.codec.get("frame_rate_hz")
    if stated is not None or frame_rate_hz is None or not dataset.vocabulary.num_codebooks:
        return stated or 0.0
    first, stop = dataset.vocabulary.audio_range(0)
    return np.count_nonzero((document.ids >= first) & (document.ids < stop)) / frame_rate_hz


def _batches(entries: Iterable[_Entry], num_tokens: Callable[[_Entry], int]) -> Iterator[list[_Entry]]:
    """Entries with some hundred thousand tokens together, so that memory does not grow with the corpus."""
    batch: list[_Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += num_tokens(entry)
        if size >= _TOKENS_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
