"""Minimal pairs, in which the right stimulus must be more likely: sWUGGY, sBLIMP, SALMon, StoryCloze, as text too.

A stimulus is the document `begin_of_text audio_start A audio_end`, or the same with text, and counts by the mean
log-likelihood of the tokens between the markers. A tie is an error; so is a stimulus that cannot be read.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, Float32, Int32

from audio_data import InputError
from audio_eval.journal import Journal
from audio_eval.scores import Item, Measure, score_items
from audio_eval.scoring import scored_documents
from audio_eval.tasks.base import BenchmarkTask, Context, TaskOutput
from audio_eval.tasks.speech import encode_clips
from audio_eval.testsets.location import TestSetCard
from audio_eval.testsets.pairs import (
    SALMON,
    SBLIMP,
    STORY_CLOZE,
    SWUGGY,
    Pair,
    Side,
    read_salmon,
    read_story_cloze,
    read_zerospeech,
)
from audio_model import TokenSets

SIDES = ("positive", "negative")
# Each write flushes to the disk; a killed run loses at most this many results.
_RESULTS_PER_WRITE = 64
_ACCURACY, _BY_SUM, _FIRST, _MARGIN = "accuracy", "accuracy_by_sum", "accuracy_codebook_0", "margin"


@dataclasses.dataclass(frozen=True)
class PairsTask(BenchmarkTask):
    """Compare the likelihoods of pairs.

    Attributes:
        read: Reads the test set from its folder; its card names it in messages.
        modality: Whether the model reads the recordings or the lower-case texts of a pair.
        softmax: Ids that compete, as in `nll`: "full", "allowed", or "as_trained".
        codebooks: Leading codebooks whose tokens count; None for all. The model reads all of them in either case.
        compat: "soda" for the arithmetic of the public SODA evaluation scripts (potsawee/blueberry-eval): `codebooks` =
            n of K then keeps the first n/K of the time axis with all codebooks, as their reshape does, and the number
            of samples is that of the splits.
        tokens_per_batch: Tokens of a forward pass, padding included; None for 2,048 on a CPU and 8,192 elsewhere.
    """

    not_settings: ClassVar[frozenset[str]] = BenchmarkTask.not_settings | {"read", "modality"}
    read: Callable[[Path, TestSetCard], list[Pair]] = dataclasses.field(kw_only=True)
    modality: Literal["audio", "text"] = dataclasses.field(default="audio", kw_only=True)
    softmax: str = "as_trained"
    codebooks: int | None = None
    compat: str = "none"
    tokens_per_batch: int | None = None

    def run(self, context: Context, journal: Journal) -> TaskOutput:
        """Score both stimuli of every pair."""
        pairs = self.read(self.locate(), self.test_set)
        # By a hash of the ids, so that a limit takes a fair sample of parts and voices, and a larger one adds to it.
        order = sorted(pairs, key=lambda pair: hashlib.sha256(pair.id.encode()).digest())[: context.limit]
        stimuli = {f"{pair.id}/{side}": getattr(pair, side) for pair in order for side in SIDES}
        documents, problems = self._documents(context, stimuli, journal)
        measured = self._measure(context, documents, journal)
        items = [self._item(pair, measured, problems) for pair in order]
        parts = sorted({pair.part for pair in pairs} - {""})
        scores = score_items(self.name, self.name, self._measures(parts), items)
        wrong = sum(1 for item in items if "problem" in item.detail)
        samples = 1 if self.compat == "soda" else len(items)
        facts = {"num_pairs": len(pairs), "num_unreadable": wrong, "total_samples": samples}
        return TaskOutput(
            tuple(scores), tuple(items), {**facts, "softmax": "allowed" if self._allowed(context) else "full"}
        )

    def check(self, context: Context) -> None:
        """Refuse settings that do not fit the model."""
        super().check(context)
        books = context.checkpoint.vocabulary.num_codebooks
        if self.codebooks is not None and not 1 <= self.codebooks <= books:
            raise InputError(f"`{self.name}.codebooks` must be 1 to {books}, got {self.codebooks!r}")
        self._allowed(context)

    def _allowed(self, context: Context) -> bool:
        choices = {"allowed": True, "full": False, "as_trained": context.checkpoint.grammar_loss}
        self.check_choice("softmax", choices)
        return choices[self.softmax]

    def _documents(
        self, context: Context, stimuli: Mapping[str, Side], journal: Journal
    ) -> tuple[dict[str, Int32[np.ndarray, " _"]], dict[str, str]]:
        """Return the ids of each stimulus, and by key why there are none."""
        if self.modality == "audio":
            clips = {key: side.audio for key, side in stimuli.items()}
            codes, problems = encode_clips(context, clips, journal, self.name)
            found = {key: self.with_beginning(context, audio_document(context, one)) for key, one in codes.items()}
        else:
            problems = {key: "there is no text of it" for key, side in stimuli.items() if not (side.text or "").strip()}
            texts = {key: (side.text or "").lower() for key, side in stimuli.items() if key not in problems}
            found = {key: self.with_beginning(context, text_document(context, text)) for key, text in texts.items()}
        longest = context.checkpoint.model.config.max_seq_len
        too_long = {key: len(ids) for key, ids in found.items() if len(ids) > longest}
        problems |= {key: f"{size} tokens do not fit the context of {longest}" for key, size in too_long.items()}
        return {key: ids for key, ids in found.items() if key not in too_long}, problems

    def _measure(
        self, context: Context, documents: Mapping[str, Int32[np.ndarray, " _"]], journal: Journal
    ) -> dict[str, dict[str, float]]:
        """Return `mean`, `sum` and `codebook_0` of each stimulus. Equal stimuli are scored once, so they tie."""
        keys: dict[bytes, list[str]] = {}
        for key, ids in documents.items():
            keys.setdefault(ids.tobytes(), []).append(key)
        groups = list(keys.values())
        known = journal.known("score")
        measured = {name: known[group[0]] for group in groups if group[0] in known for name in group}
        allowed, pending = self._allowed(context), {}
        for index, likelihoods in scored_documents(
            context.checkpoint.model,
            [documents[group[0]] for group in groups],
            TokenSets.build(context.checkpoint.vocabulary.allowed_sets),
            tokens_per_batch=self.tokens_per_batch,
            label=self.name,
            softmax="allowed" if allowed else "full",
            known={index for index, group in enumerate(groups) if group[0] in known},
        ):
            values = likelihoods.allowed if allowed else likelihoods.full
            # The first value is of the marker that opens the stimulus, after however many begin the document.
            between = values[1:-1] if self.begin_of_text == "single" else values[2:-1]
            pending[groups[index][0]] = self._statistics(between, context.checkpoint.vocabulary.num_codebooks)
            measured |= dict.fromkeys(groups[index], pending[groups[index][0]])
            if len(pending) == _RESULTS_PER_WRITE:
                journal.record("score", pending)
                pending = {}
        journal.record("score", pending)
        return measured

    def _statistics(self, values: Float32[np.ndarray, " tokens"], num_codebooks: int) -> dict[str, float]:
        between = values.astype(np.float64)
        if self.modality == "text":
            return {"mean": float(between.mean()), "sum": float(between.sum())}
        frames = between.reshape(-1, num_codebooks)
        kept = kept_tokens(between, num_codebooks, self.codebooks or num_codebooks, by_time=self.compat == "soda")
        return {"mean": float(kept.mean()), "sum": float(kept.sum()), "codebook_0": float(frames[:, 0].mean())}

    def _item(self, pair: Pair, measured: Mapping[str, Mapping[str, float]], problems: Mapping[str, str]) -> Item:
        found = {side: measured.get(f"{pair.id}/{side}") for side in SIDES}
        texts = {side: text for side in SIDES if (text := getattr(pair, side).text) is not None}
        detail: dict[str, Any] = {"part": pair.part, **pair.extra, "texts": texts, "log_likelihood": found}
        right, wrong = found["positive"], found["negative"]
        if right is None or wrong is None:
            detail["problem"] = "; ".join(problems[key] for side in SIDES if (key := f"{pair.id}/{side}") in problems)
        terms = {}
        for name, statistic in self._accuracies().items():
            correct = right is not None and wrong is not None and right[statistic] > wrong[statistic]
            terms[name] = (float(correct), 1.0)
        if pair.part:
            terms[f"{_ACCURACY}.{pair.part}"] = terms[_ACCURACY]
        if right is not None and wrong is not None:
            terms[_MARGIN] = (right["mean"] - wrong["mean"], 1.0)
        return Item(pair.id, self.name, terms, detail)

    def _accuracies(self) -> dict[str, str]:
        first = {_FIRST: "codebook_0"} if self.modality == "audio" else {}
        return {_ACCURACY: "mean", _BY_SUM: "sum", **first}

    def _measures(self, parts: Iterable[str]) -> Iterator[Measure]:
        meanings = {
            _ACCURACY: "pairs whose right side has the higher mean log-likelihood; 0.5 by chance, ties are wrong",
            _BY_SUM: "the same by summed log-likelihood, which favours the shorter side",
            _FIRST: "the same over the tokens of the first codebook alone",
        }
        for name in self._accuracies():
            yield Measure(f"{self.name}_{name}", "fraction", "higher", (name,), meaning=meanings[name])
        margin = "how much more likely the right side is"
        yield Measure(f"{self.name}_{_MARGIN}", "nats/token", "higher", (_MARGIN,), meaning=margin)
        for part in parts:
            term = f"{_ACCURACY}.{part}"
            yield Measure(f"{self.name}_{term}", "fraction", "higher", (term,))


def kept_tokens(
    values: Float[np.ndarray, " tokens"], num_codebooks: int, kept: int, *, by_time: bool = False
) -> Float[np.ndarray, " kept"]:
    """Choose the values of the first codebooks of a frame-major stream.

    Args:
        values: One for each audio token: all codebooks of a frame, then the next frame.
        num_codebooks: Number of codebooks of a frame.
        kept: Number of leading codebooks that count.
        by_time: Keep the first `kept / num_codebooks` of the time axis with all its codebooks instead. The public SODA
            evaluation scripts (potsawee/blueberry-eval) do so, because they reshape the stream codebook-major.
    """
    if by_time:
        return values.reshape(num_codebooks, -1)[:kept].reshape(-1)
    return values.reshape(-1, num_codebooks)[:, :kept].reshape(-1)


def audio_document(context: Context, codes: Int32[np.ndarray, "frames codebooks"]) -> Int32[np.ndarray, " ids"]:
    """Return the document of a recording alone: `begin_of_text audio_start A audio_end`."""
    vocabulary = context.checkpoint.vocabulary
    before, after = [vocabulary.begin_of_text, vocabulary.audio_start], [vocabulary.audio_end]
    return np.concatenate([np.array(before, np.int32), vocabulary.audio_ids(codes), np.array(after, np.int32)])


def text_document(context: Context, text: str) -> Int32[np.ndarray, " ids"]:
    """Return the document of a text alone: `begin_of_text text_start T text_end`."""
    vocabulary, ids = context.checkpoint.vocabulary, context.checkpoint.text.encode(text)
    return np.array([vocabulary.begin_of_text, vocabulary.text_start, *ids, vocabulary.text_end], np.int32)


def one_voice(pairs: Sequence[Pair]) -> list[Pair]:
    """Keep the first pair of each two texts; those without texts are all kept, and counted as wrong."""
    found: dict[tuple[str | None, str | None] | str, Pair] = {}
    for pair in pairs:
        texts = (pair.positive.text, pair.negative.text)
        found.setdefault(pair.id if None in texts else texts, pair)
    return list(found.values())


def read_zerospeech_texts(folder: Path, card: TestSetCard) -> list[Pair]:
    """Read the pairs of a ZeroSpeech suite for their texts: each pair once, whatever the number of voices."""
    return one_voice(read_zerospeech(folder, card))


# Parts are words in and out of the frequency list.
SWUGGY_TASK = PairsTask("speed/sWUGGY", name="swuggy", test_set=SWUGGY, read=read_zerospeech)
# Parts are the kinds of error.
SBLIMP_TASK = PairsTask("speed/sBLIMP", name="sblimp", test_set=SBLIMP, read=read_zerospeech)
# A voice, mood, room or background that does not fit; parts are those of the suite.
SALMON_TASK = PairsTask("slprl/salmon", name="salmon", test_set=SALMON, read=read_salmon)
STORY_CLOZE_TASK = PairsTask(
    name="story_cloze", test_set=STORY_CLOZE, read=functools.partial(read_story_cloze, spoken=True)
)
PAIRS_TASKS = (
    SWUGGY_TASK,
    SBLIMP_TASK,
    SALMON_TASK,
    dataclasses.replace(SWUGGY_TASK, name="twuggy", read=read_zerospeech_texts, modality="text"),
    dataclasses.replace(SBLIMP_TASK, name="tblimp", read=read_zerospeech_texts, modality="text"),
    STORY_CLOZE_TASK,
    # The same with wrong endings of other stories (tStoryCloze); only the data differ.
    dataclasses.replace(
        STORY_CLOZE_TASK,
        name="topic_story_cloze",
        test_set=dataclasses.replace(STORY_CLOZE, folder="topic_story_cloze"),
    ),
    dataclasses.replace(
        STORY_CLOZE_TASK,
        name="text_story_cloze",
        read=functools.partial(read_story_cloze, spoken=False),
        modality="text",
    ),
)
