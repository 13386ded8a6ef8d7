"""The cost of encoding a corpus, estimated: hours, tokens of each layout, bytes, device hours.

Every figure says where it is from: published by whoever made the corpus, counted in its files, measured here, given on
the command line, or estimated, and then from what.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from audio_data import InputError
from audio_tokenize.corpora import CARDS, AbstractCorpus, CorpusCard, CorpusShard, Utterance, open_corpus
from audio_tokenize.documents.layout import Layout
from audio_tokenize.documents.layouts import LAYOUTS
from audio_tokenize.waveform import load_audio

if TYPE_CHECKING:
    from audio_tokenize.codecs.base import AbstractCodec
    from audio_tokenize.codecs.registry import CodecSpec


FRAME_RATE_HZ = 12.5
CODEBOOK_SIZE = 2048
WORDS_PER_SECOND = 2.5
TOKENS_PER_WORD = 1.25
_RATE_BASIS = "assumed; with 1.25 tokens a word 3.1 tokens/s, where LibriSpeech dev-clean has 59,826 tokens in 19,498 s"
# LibriSpeech dev-clean: 19,498 s in 2,703 utterances.
_SECONDS_PER_UTTERANCE = 7.2
# Beside the codes and the ids, as the shipped corpora come out: metadata, header, and the file's own blocks.
_BYTES_PER_RECORD = 650
_BYTES_PER_DOCUMENT = 320
_BOTH_ORDERS = "audio_first + text_first"

Origin = Literal["published", "counted", "measured", "given", "estimated"]


class Figure(NamedTuple):
    """A number, and where it is from.

    Attributes:
        value: The number.
        unit: Of the number.
        origin: What kind of knowledge it is.
        basis: From where, or from what it follows.
    """

    value: int | float
    unit: str
    origin: Origin
    basis: str


class LayoutTokens(NamedTuple):
    """Tokens of the corpus in one layout.

    Attributes:
        audio: Codes.
        text: Of the transcripts.
        special: Markers around spans and documents, with a document an utterance.
    """

    audio: int
    text: int
    special: int

    @property
    def total(self) -> int:
        """All three."""
        return self.audio + self.text + self.special


@dataclass(frozen=True)
class CorpusPrice:
    """What a corpus comes to.

    Attributes:
        corpus: Its name.
        figures: By name: `hours`, `utterances` and what else is known.
        layouts: Tokens of each layout that takes utterances one by one, and of both orders of text and audio together.
        missing: What is not known, and how to have it.
    """

    corpus: str
    figures: Mapping[str, Figure]
    layouts: Mapping[str, LayoutTokens]
    missing: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {
            "corpus": self.corpus,
            "figures": {name: figure._asdict() for name, figure in self.figures.items()},
            "layouts": {name: {**tokens._asdict(), "total": tokens.total} for name, tokens in self.layouts.items()},
            "missing": list(self.missing),
        }


def price_corpus(
    corpus: AbstractCorpus | CorpusCard,
    *,
    hours: int | float | None = None,
    language: str | None = None,
    num_codebooks: int = 8,
    words_per_second: int | float | None = None,
    speed: Figure | None = None,
    num_workers: int = 1,
) -> CorpusPrice:
    """Price a corpus.

    Args:
        corpus: A corpus that is there, whose shards are counted; or the card of one that is not.
        hours: Of audio, where neither the files nor the card say.
        language: Of a card of several languages; a corpus that is there has been narrowed already.
        num_codebooks: Codebooks of a frame.
        words_per_second: Of the transcripts; counted where there are any, or else assumed.
        speed: How many times faster than real time a worker encodes; see `measure_speed`.
        num_workers: Workers that encode side by side.

    Returns:
        Its price, with all that follows from what is known.

    Raises:
        InputError: The hours are known from nowhere, or a number makes no sense.
    """
    for name, value, least in (("codebooks", num_codebooks, 1), ("workers", num_workers, 1)):
        if value < least:
            raise InputError(f"`{name}` must be at least {least}, got {value!r}")
    for name, value in (("hours", hours), ("words_per_second", words_per_second)):
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"`{name}` must be a number above 0, got {value!r}")
    figures = _card_figures(corpus, language, hours) if isinstance(corpus, CorpusCard) else _file_figures(corpus)
    if hours is not None:
        figures["hours"] = Figure(hours, "h", "given", "given")
        figures.pop("frames", None)
    if words_per_second is not None:
        figures["words_per_second"] = Figure(words_per_second, "words/s", "given", "given")
    figures |= _token_figures(figures, num_codebooks)
    layouts = _layouts(figures, num_codebooks)
    figures |= _byte_figures(figures, layouts, num_codebooks)
    missing = []
    if isinstance(corpus, CorpusCard) and language is None and hours is None:
        missing += _unpriced_languages(corpus)
    if isinstance(corpus, CorpusCard) and "download_bytes" not in figures:
        missing.append("bytes to download: not published; with `root`, the folder with its files, they are counted")
    if speed is None:
        missing.append("device hours: give the speed of a worker, or have it measured here")
    else:
        figures |= _time_figures(figures["hours"], speed, num_workers)
    is_part = isinstance(corpus, CorpusCard) and language is not None
    return CorpusPrice(f"{corpus.name}-{language}" if is_part else corpus.name, figures, layouts, tuple(missing))


def find_corpus(
    name: str, *, root: str | None = None, language: str | None = None, split: str | None = None
) -> AbstractCorpus | CorpusCard:
    """Return what a name or a path stands for: files where there are any, or else the card of a published corpus.

    Args:
        name: As `open_corpus` takes it.
        root: Folder with the files of a named corpus.
        language: Of a corpus that is there.
        split: Of a corpus that is there.

    Raises:
        InputError: As for `open_corpus`.
    """
    found = next((card for card in CARDS if card.name == name), None)
    if found is not None and root is None:
        return found
    return open_corpus(name, root=root, language=language, split=split)


def show_price(price: CorpusPrice) -> str:
    """Return a price as lines for people.

    Args:
        price: As `price_corpus` gives it.
    """
    lines = [price.corpus]
    lines += [
        f"  {name.replace('_', ' '):<17} {_readable(figure.value, figure.unit):>12} {figure.unit:<23}"
        f"{figure.origin:<10} {figure.basis}"
        for name, figure in price.figures.items()
    ]
    lines.append(f"  {'tokens of layout':<25} {'audio':>9} {'text':>9} {'special':>9} {'total':>9}")
    alike: dict[LayoutTokens, list[str]] = {}
    for name, tokens in price.layouts.items():
        alike.setdefault(tokens, []).append(name)
    for tokens, (first, *others) in alike.items():
        numbers = " ".join(f"{_readable(number, ''):>9}" for number in (*tokens, tokens.total))
        lines.append(f"  {first:<25} {numbers}" + (f"  (as {', '.join(others)})" if others else ""))
    return "\n".join([*lines, *(f"  not known: {what}" for what in price.missing)])


def _readable(value: int | float, unit: str) -> str:
    """Three digits, with the powers of ten that the unit is counted in."""
    sizes = {"bytes": ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")), "h": ()}
    for size, suffix in sizes.get(unit, ((1e12, " T"), (1e9, " B"), (1e6, " M"))):
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


class _Counts(NamedTuple):
    """What the utterances of some shards come to."""

    seconds: float
    num_utterances: int
    num_frames: int
    num_words: int
    shards: tuple[CorpusShard, ...]


def _card_figures(card: CorpusCard, language: str | None, hours: int | float | None) -> dict[str, Figure]:
    if card.kind != "speech":
        raise InputError(
            f"corpus `{card.name}` must be of speech to be encoded, got one of {card.kind}: nothing of it is encoded"
        )
    if language is not None and language not in card.languages:
        raise InputError(
            f"`language` of corpus `{card.name}` must be one of {', '.join(card.languages)}, got {language!r}"
        )
    published = _published_hours(card, language)
    if hours is None and published is None:
        what = f"language {language!r} of corpus `{card.name}`" if language else f"corpus `{card.name}`"
        raise InputError(
            f"the hours of {what} are not published: give `hours` (`--hours H`), or `root` (`--root DIR`), the folder "
            "with its files"
        )
    found = {} if published is None else {"hours": published}
    if card.num_bytes is not None:
        found["download_bytes"] = Figure(card.num_bytes, "bytes", "published", card.source)
    return found


def _published_hours(card: CorpusCard, language: str | None) -> Figure | None:
    """Hours of one language; or of all for None, and where their sum is not known of those that are."""
    known = card.hours_of(language)
    if known is None and language is None and card.language_hours:
        names, parts = zip(*card.language_hours, strict=True)
        return Figure(sum(parts), "h", "published", f"of {', '.join(names)} alone; {card.source}")
    return None if known is None else Figure(known, "h", "published", card.source)


def _unpriced_languages(card: CorpusCard) -> list[str]:
    """Return what a price without a language leaves out."""
    others = [language for language in card.languages if language not in dict(card.language_hours)]
    if card.hours is not None or not card.language_hours or not others:
        return []
    return [
        f"hours of {', '.join(others)}: not published; price each with `language` and `hours` "
        f"(`--language {others[0]} --hours H`), or with `root`"
    ]


def _file_figures(corpus: AbstractCorpus) -> dict[str, Figure]:
    """Count what listing tells; where that is not the length, read one shard of middling size for the others."""
    shards = corpus.shards()
    whole = all(shard.seconds is not None for shard in shards)
    counts = _count(corpus, shards if whole else [_middling(shards)])
    scale, basis = (1.0, "all utterances") if whole else _scale(counts.shards[0], shards)
    origin: Origin = "counted" if whole else "estimated"
    found = {
        "shards": Figure(len(shards), "shards", "counted", "runs of utterances" if whole else "files that are there"),
        "hours": Figure(scale * counts.seconds / 3600, "h", origin, basis),
        "utterances": Figure(round(scale * counts.num_utterances), "utterances", origin, basis),
        "frames": Figure(round(scale * counts.num_frames), "frames", origin, f"{basis}, the last frame of each begun"),
    }
    if counts.num_words:
        found["words_per_second"] = Figure(counts.num_words / counts.seconds, "words/s", origin, basis)
    if sizes := [shard.num_bytes for shard in shards if shard.num_bytes is not None]:
        found["download_bytes"] = Figure(sum(sizes), "bytes", "counted", f"sizes of the files of {len(sizes)} shards")
    return found


def _count(corpus: AbstractCorpus, shards: Sequence[CorpusShard]) -> _Counts:
    seconds, num_utterances, num_frames, num_words = 0.0, 0, 0, 0
    for shard in shards:
        for item in corpus.read(shard):
            if isinstance(item, Utterance):
                seconds += item.seconds
                num_utterances += 1
                # The last frame is filled up with silence; the slack is that of lengths in floating point.
                num_frames += math.ceil(item.seconds * FRAME_RATE_HZ - 1e-6)
                num_words += len(item.text.split())
    if not seconds:
        names = ", ".join(f"`{shard.name}`" for shard in shards[:3])
        raise InputError(f"corpus `{corpus.name}` must have audio in {names}, got no usable utterance: check its files")
    return _Counts(seconds, num_utterances, num_frames, num_words, tuple(shards))


def _middling(shards: Sequence[CorpusShard]) -> CorpusShard:
    return sorted(shards, key=lambda shard: shard.num_bytes or 0)[len(shards) // 2]


def _scale(sample: CorpusShard, shards: Sequence[CorpusShard]) -> tuple[float, str]:
    """How many times the sample the corpus is: in bytes, or in shards where a size is not known."""
    sizes = [shard.num_bytes for shard in shards if shard.num_bytes]
    if sample.num_bytes and len(sizes) == len(shards):
        share = sample.num_bytes / sum(sizes)
        return 1 / share, f"shard {sample.name}, read whole, with {share:.3%} of the bytes"
    return float(len(shards)), f"shard {sample.name}, read whole, one of {len(shards)}"


def _token_figures(figures: Mapping[str, Figure], num_codebooks: int) -> dict[str, Figure]:
    hours = figures["hours"]
    found: dict[str, Figure] = {}
    if "utterances" not in figures:
        found["utterances"] = Figure(
            round(hours.value * 3600 / _SECONDS_PER_UTTERANCE),
            "utterances",
            "estimated",
            f"{_SECONDS_PER_UTTERANCE} s an utterance, as LibriSpeech dev-clean has",
        )
    if "words_per_second" not in figures:
        found["words_per_second"] = Figure(WORDS_PER_SECOND, "words/s", "estimated", _RATE_BASIS)
    words = figures.get("words_per_second") or found["words_per_second"]
    frames = figures.get("frames") or Figure(
        round(FRAME_RATE_HZ * 3600 * hours.value), "frames", "estimated", f"{FRAME_RATE_HZ} frames/s x 3,600 s x hours"
    )
    text = round(hours.value * 3600 * words.value * TOKENS_PER_WORD)
    found["frames"] = frames
    found["audio_tokens"] = Figure(
        frames.value * num_codebooks, "tokens", frames.origin, f"frames x {num_codebooks} codebooks"
    )
    found["text_tokens"] = Figure(
        text, "tokens", "estimated", f"{words.value:.3g} words/s ({words.origin}) x {TOKENS_PER_WORD} tokens a word"
    )
    return {name: figure for name, figure in found.items() if name not in figures}


def _layouts(figures: Mapping[str, Figure], num_codebooks: int) -> dict[str, LayoutTokens]:
    """Tokens of the layouts that take utterances one by one; the others need pairs, which a count does not tell."""
    found = {
        name: _layout_tokens(layout, figures, num_codebooks)
        for name, layout in LAYOUTS.items()
        if layout.group_size == 1
    }
    both = zip(found["audio_first"], found["text_first"], strict=True)
    return {_BOTH_ORDERS: LayoutTokens(*map(sum, both)), **found}


def _layout_tokens(layout: Layout, figures: Mapping[str, Figure], num_codebooks: int) -> LayoutTokens:
    audio = figures["frames"].value * layout.kept_codebooks(num_codebooks)
    markers = 2 * sum(span.delimited for span in layout.pattern) + 2 * layout.with_bos_eos
    return LayoutTokens(
        audio=int(audio * sum(span.kind == "audio" for span in layout.pattern)),
        text=int(figures["text_tokens"].value * sum(span.kind == "text" for span in layout.pattern)),
        special=int(figures["utterances"].value * markers),
    )


def _byte_figures(
    figures: Mapping[str, Figure], layouts: Mapping[str, LayoutTokens], num_codebooks: int
) -> dict[str, Figure]:
    utterances = figures["utterances"].value
    # Ids beyond 65,535 take a third byte: published vocabularies have some, the small one of the quickstart has none.
    records = 3 * layouts["audio_first"].total + _BYTES_PER_DOCUMENT * utterances
    return {
        "code_bytes": Figure(
            round(2 * figures["audio_tokens"].value + _BYTES_PER_RECORD * utterances),
            "bytes",
            "estimated",
            f"2 bytes a code of {num_codebooks} codebooks, {_BYTES_PER_RECORD} an utterance",
        ),
        "dataset_bytes": Figure(
            round(records),
            "bytes",
            "estimated",
            f"audio_first: 3 bytes a token of a vocabulary over 65,536 ids, {_BYTES_PER_DOCUMENT} a document",
        ),
    }


def _time_figures(hours: Figure, speed: Figure, num_workers: int) -> dict[str, Figure]:
    device = hours.value / speed.value
    return {
        "speed": speed,
        "device_hours": Figure(device, "h", "estimated", "hours / speed; reading and writing beside it are not in"),
        "elapsed_hours": Figure(device / num_workers, "h", "estimated", f"device hours / {num_workers} workers"),
    }


_UNIT = "x real time per worker"
_MEASURED_SECONDS = 30.0


def given_speed(times_real_time: int | float) -> Figure:
    """Return a speed that somebody has measured.

    Args:
        times_real_time: Seconds of audio that a worker encodes in a second.

    Raises:
        InputError: Not above 0.
    """
    if not 0 < times_real_time < math.inf:
        raise InputError(f"`speed` must be a number of times real time above 0, got {times_real_time!r}")
    return Figure(times_real_time, _UNIT, "given", "given")


def measure_speed(spec: "str | CodecSpec") -> Figure:
    """Encode half a minute of the sample corpus on this machine, once to compile and once by the clock.

    Args:
        spec: Of the codec.

    Raises:
        InputError: There is no such codec.
    """
    from audio_tokenize import codecs

    codec = codecs.load_codec(spec)
    signals, seconds = _signals(codec)
    codec.encode_batch(signals)
    start = time.perf_counter()
    codec.encode_batch(signals)
    speed = seconds / (time.perf_counter() - start)
    basis = (
        f"{seconds:.0f} s of the sample corpus in {len(signals)} clips on this machine, codec {codec.codec_id} alone"
    )
    return Figure(round(speed, 2), _UNIT, "measured", basis)


def worker_speed(times_real_time: int | float | None, measured: "str | CodecSpec | None") -> Figure | None:
    """Return the speed that was given or is to be measured, if any.

    Args:
        times_real_time: As for `given_speed`.
        measured: As for `measure_speed`.

    Raises:
        InputError: Both.
    """
    if times_real_time is not None and measured is not None:
        raise InputError(f"`speed` {times_real_time!r} and `measure` exclude each other: give one of them")
    if times_real_time is not None:
        return given_speed(times_real_time)
    return None if measured is None else measure_speed(measured)


def _signals(codec: "AbstractCodec") -> tuple[list[np.ndarray], float]:
    """Clips of the sample corpus, and how many seconds they are together."""
    signals: list[np.ndarray] = []
    seconds = 0.0
    for utterance in open_corpus("sample"):
        signals.append(
            load_audio(utterance.audio, codec.sample_rate_hz, utterance.start_seconds, utterance.end_seconds)
        )
        seconds += utterance.seconds
        if seconds >= _MEASURED_SECONDS:
            break
    return signals, seconds
