"""Text from speech on published test sets: recognition on LibriSpeech and translation on CoVoST 2, zero- and n-shot.

The prompt is `begin_of_text audio_start A audio_end text_start`, after as many whole documents of the other split as
there are shots. Nothing is left out: an item that cannot be read, or is too long for the context, has an empty answer.
"""

import abc
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from audio_data import InputError
from audio_eval.bleu import MAX_ORDER, TOKENIZERS, bleu_counts, sentence_bleu
from audio_eval.decoding import generate_within_context, text_automaton
from audio_eval.journal import Journal
from audio_eval.metrics import word_errors
from audio_eval.normalizers import NORMALIZERS
from audio_eval.scores import Item, Measure, score_items
from audio_eval.tasks.base import BenchmarkTask, Context, TaskOutput
from audio_eval.tasks.speech import does_not_fit, encode_clips
from audio_eval.testsets.location import TestSetCard
from audio_eval.testsets.speech import COVOST2, LIBRISPEECH, BenchmarkUtterance, read_covost2, read_librispeech
from audio_model import Sampling, TokenAutomaton
from audio_tokenize import Segment, layout

_BLEU_TERMS = (*(f"bleu_{order}" for order in range(1, MAX_ORDER + 1)), "bleu_length")
_NO_TEXT = np.zeros(0, np.int32)


@dataclasses.dataclass(frozen=True)
class SpeechToTextTask(BenchmarkTask):
    """Transcribe or translate speech.

    Attributes:
        split: Split that is measured.
        shots_split: Split that shots are taken from.
        shots: Number of documents before each prompt.
        same_shots: Whether all items have the same shots; else each has its own.
        max_tokens: Maximum text tokens of an answer, fewer where the context has less space after the prompt.
        temperature: 0 for greedy decoding; 0.0001 is that of SODA (arXiv 2602.16687).
        top_p: Probability mass to sample from.
        grammar: Whether only text and then the end of text can follow.
        batch_size: Number of prompts continued together.
        num_kept_audio: Number of items whose audio is kept for the report.
    """

    split: str = "test"
    shots_split: str = "validation"
    shots: int = 0
    same_shots: bool = True
    max_tokens: int = 200
    temperature: float = 1e-4
    top_p: float = 0.8
    grammar: bool = True
    batch_size: int = 16
    num_kept_audio: int = 12

    @abc.abstractmethod
    def read(self, folder: Path, split: str) -> list[BenchmarkUtterance]:
        """Read a split."""

    @abc.abstractmethod
    def shot_text(self, utterance: BenchmarkUtterance) -> str:
        """Return the text of an utterance as a shot."""

    @abc.abstractmethod
    def score_answer(
        self, utterance: BenchmarkUtterance, answer: str
    ) -> tuple[dict[str, tuple[float, float]], dict[str, object]]:
        """Return the terms and details of an answer."""

    @abc.abstractmethod
    def measures(self) -> Iterator[Measure]:
        """Yield the measures of the task."""

    def run(self, context: Context, journal: Journal) -> TaskOutput:
        """Answer all items of the split."""
        folder = self.locate()
        items = sample(self.read(folder, self.split), context.limit)
        shots = self._choose_shots(folder, context.seed, len(items))
        audio_sources = {f"test/{utterance.id}": (utterance.audio,) for utterance in items}
        audio_sources |= {f"shot/{utterance.id}": (utterance.audio,) for group in shots for utterance in group}
        codes, problems = encode_clips(context, audio_sources, journal, self.name)
        if missing := [key for key in problems if key.startswith("shot/")]:
            raise InputError(f"`{self.name}`: a shot must be readable, got {problems[missing[0]]}")
        answers, too_long = self._answer(context, items, shots, codes, journal)
        found = []
        for index, utterance in enumerate(items):
            found.append(self._item(context, utterance, answers[index], codes.get(f"test/{utterance.id}"), index))
            if problem := problems.get(f"test/{utterance.id}") or too_long.get(utterance.id):
                found[-1].detail["problem"] = problem  # pyright: ignore[reportIndexIssue]: made here, a dict
        scores = score_items(self.name, self.name, self.measures(), found)
        facts = {
            "num_unreadable": len(problems),
            "num_too_long": len(too_long),
            "empty_references": [item.id for item in found if not str(item.detail["reference"]).strip()],
        }
        return TaskOutput(tuple(scores), tuple(found), facts)

    def _choose_shots(self, folder: Path, seed: int, num_items: int) -> list[list[BenchmarkUtterance]]:
        if not self.shots:
            return [[]] * num_items
        pool = self.read(folder, self.shots_split)
        if len(pool) < self.shots:
            raise InputError(f"split {self.shots_split!r} must hold {self.shots} shots, got {len(pool)!r}")
        random = np.random.default_rng(seed)
        draws = 1 if self.same_shots else num_items
        chosen = [[pool[i] for i in random.choice(len(pool), self.shots, replace=False)] for _ in range(draws)]
        return chosen * num_items if self.same_shots else chosen

    def _answer(
        self,
        context: Context,
        items: Sequence[BenchmarkUtterance],
        shots: Sequence[Sequence[BenchmarkUtterance]],
        codes: Mapping[str, Int32[np.ndarray, "_ codebooks"]],
        journal: Journal,
    ) -> tuple[list[str], dict[str, str]]:
        """Return the answers of all items; and by id why some have none."""
        model, vocabulary, text = context.checkpoint.model, context.checkpoint.vocabulary, context.checkpoint.text
        documents = {
            one.id: self.with_beginning(
                context,
                layout("audio_first").build(
                    [Segment(np.array(text.encode(self.shot_text(one)), np.int32), codes[f"shot/{one.id}"])],
                    vocabulary,
                ),
            )
            for group in shots
            for one in group
        }
        audible = [index for index, utterance in enumerate(items) if f"test/{utterance.id}" in codes]
        prompts = []
        for index in audible:
            segment = Segment(_NO_TEXT, codes[f"test/{items[index].id}"])
            query = self.with_beginning(context, layout("audio_first").prompt([segment], vocabulary))
            prompts.append(np.concatenate([*(documents[utterance.id] for utterance in shots[index]), query]))

        def text_up_to(limit: int) -> TokenAutomaton:
            return text_automaton(vocabulary, max_tokens=limit, vocab_size=model.config.vocab_size)

        continued = generate_within_context(
            model,
            prompts,
            [items[index].id for index in audible],
            automaton=text_up_to if self.grammar else None,
            unit=1,
            min_units=1,
            max_units=self.max_tokens,
            stop_id=vocabulary.text_end,
            sampling=Sampling(temperature=self.temperature, top_p=self.top_p, seed=context.seed),
            batch_size=self.batch_size,
            label=self.name,
            journal=journal,
        )
        answers, too_long = [""] * len(items), {}
        for index, prompt, (tokens, _) in zip(audible, prompts, continued, strict=True):
            if tokens is None:
                too_long[items[index].id] = does_not_fit(len(prompt), model.config.max_seq_len, "a text")
            else:
                answers[index] = text.decode([token for token in tokens.tolist() if token < vocabulary.num_text])
        return answers, too_long

    def _item(
        self,
        context: Context,
        utterance: BenchmarkUtterance,
        answer: str,
        codes: Int32[np.ndarray, "frames codebooks"] | None,
        index: int,
    ) -> Item:
        terms, detail = self.score_answer(utterance, answer)
        found = {"speaker": utterance.speaker, "transcript": utterance.text, "answer": answer, **detail}
        if codes is not None and index < self.num_kept_audio:
            found["audio"] = context.save_audio(f"audio_source/{self.name}/{utterance.id}", context.decode(codes))
        return Item(utterance.id, self.name, terms, found)


@dataclasses.dataclass(frozen=True)
class LibriSpeechTask(SpeechToTextTask):
    """Recognition on LibriSpeech.

    Attributes:
        normalizer: Name of the text normaliser of the main score; `soda` is measured besides.
        compat: "soda" for the arithmetic of the public SODA evaluation scripts (potsawee/blueberry-eval): normaliser
            `soda` in the main score, no grammar, and the same shots for all, since their option for others cannot be
            reached.
    """

    name: str = "librispeech"
    test_set: TestSetCard = LIBRISPEECH
    data: str = "openslr/librispeech_asr"
    split: str = "test-clean"
    shots_split: str = "dev-clean"
    normalizer: str = "whisper_english"
    compat: str = "none"

    def __post_init__(self):
        super().__post_init__()
        if self.compat == "soda":
            object.__setattr__(self, "normalizer", "soda")
            object.__setattr__(self, "grammar", False)
            object.__setattr__(self, "same_shots", True)

    def check(self, context: Context) -> None:
        """Refuse an unknown normaliser."""
        super().check(context)
        self.check_choice("normalizer", NORMALIZERS)

    def read(self, folder: Path, split: str) -> list[BenchmarkUtterance]:
        """Read a split."""
        return read_librispeech(folder, split)

    def shot_text(self, utterance: BenchmarkUtterance) -> str:
        """Return the transcript by normaliser `soda`, lower-case."""
        return NORMALIZERS["soda"](utterance.text)

    def score_answer(
        self, utterance: BenchmarkUtterance, answer: str
    ) -> tuple[dict[str, tuple[float, float]], dict[str, object]]:
        """Count word errors under the task's normaliser and `soda`; also as a mean over utterances."""
        terms = {}
        for name, normalizer in (("wer", self.normalizer), ("wer.soda", "soda")):
            normalize = NORMALIZERS[normalizer]
            errors = word_errors(normalize(utterance.text), normalize(answer))
            terms[name] = (float(errors.num_errors), float(errors.num_words))
            if name == "wer":
                # An empty reference has no rate of its own; an answer to it is one error.
                terms["wer_mean"] = (errors.num_errors / max(1, errors.num_words), 1.0)
                terms["exact"] = (float(errors.num_errors == 0), 1.0)
        return terms, {"reference": utterance.text}

    def measures(self) -> Iterator[Measure]:
        """Yield the word error rates."""
        name = self.name
        by = f"by normaliser {self.normalizer}"
        yield Measure(f"{name}_wer", "errors/word", "lower", ("wer",), meaning=f"corpus-level word error rate, {by}")
        yield Measure(f"{name}_wer_mean", "errors/word", "lower", ("wer_mean",), meaning="mean of utterances' rates")
        yield Measure(f"{name}_exact", "fraction", "higher", ("exact",), meaning="transcripts without any error")
        yield Measure(f"{name}_wer.soda", "errors/word", "lower", ("wer.soda",))


@dataclasses.dataclass(frozen=True)
class TranslationTask(SpeechToTextTask):
    """Translation of speech to text on CoVoST 2, n-shot.

    Attributes:
        languages: Pair of languages, from and to.
        prefix: Text before a translation in shots; it is removed from answers.
        tokenizer: BLEU's: "13a", "zh" for Chinese, "char" for Japanese.
    """

    name: str = "s2tt"
    test_set: TestSetCard = COVOST2
    data: str = "fixie-ai/covost2"
    shots: int = 3
    languages: str = "de_en"
    prefix: str = "Translation: "
    tokenizer: str = "13a"

    def check(self, context: Context) -> None:
        """Refuse an unknown tokenizer."""
        super().check(context)
        self.check_choice("tokenizer", TOKENIZERS)

    def read(self, folder: Path, split: str) -> list[BenchmarkUtterance]:
        """Read a split."""
        return read_covost2(folder, self.languages, split)

    def shot_text(self, utterance: BenchmarkUtterance) -> str:
        """Return the translation after the prefix."""
        return self.prefix + utterance.translation

    def score_answer(
        self, utterance: BenchmarkUtterance, answer: str
    ) -> tuple[dict[str, tuple[float, float]], dict[str, object]]:
        """Count the matches of BLEU."""
        said = answer.strip().removeprefix(self.prefix.strip()).strip()
        return bleu_terms(utterance.translation, said, self.tokenizer), {"reference": utterance.translation}

    def measures(self) -> Iterator[Measure]:
        """Yield BLEU of the corpus and of sentences."""
        yield from bleu_measures(self.name, self.tokenizer)


def bleu_terms(reference: str, hypothesis: str, tokenizer: str) -> dict[str, tuple[float, float]]:
    """Return the terms of one item for `bleu_measures`."""
    counts = bleu_counts(reference, hypothesis, tokenizer)
    pairs = {name: (counts[2 * place], counts[2 * place + 1]) for place, name in enumerate(_BLEU_TERMS)}
    return {**pairs, "sentence_bleu": (sentence_bleu(reference, hypothesis, tokenizer), 1.0)}


def bleu_measures(task: str, tokenizer: str) -> Iterator[Measure]:
    """Yield corpus BLEU and the mean of sentences' BLEU."""
    meaning = f"corpus BLEU as in sacrebleu, tokenizer {tokenizer}"
    yield Measure(f"{task}_bleu", "BLEU", "higher", _BLEU_TERMS, "bleu", meaning=meaning)
    yield Measure(f"{task}_sentence_bleu", "BLEU", "higher", ("sentence_bleu",), meaning="mean of sentences' BLEU")


def sample(utterances: Sequence[BenchmarkUtterance], limit: int | None) -> list[BenchmarkUtterance]:
    """Return a fair sample by a hash of the ids, the same at every call and part of every larger one."""
    return sorted(utterances, key=lambda one: hashlib.sha256(one.id.encode()).digest())[:limit]
