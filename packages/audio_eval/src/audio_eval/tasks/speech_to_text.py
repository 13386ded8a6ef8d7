"""Text from speech on published test sets: recognition on LibriSpeech and translation on CoVoST 2, zero- and n-shot.

The prompt is `begin_of_text audio_start A audio_end text_start`, after as many whole documents of the other split as
there are shots. Nothing is left out: what cannot be heard, or is too long for the context, has an empty answer.
"""

import abc
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Int32

from audio_data import InputError
from audio_eval.bleu import MAX_ORDER, TOKENIZERS, bleu_counts, sentence_bleu
from audio_eval.decoding import continue_in_room
from audio_eval.grammars import text_automaton
from audio_eval.journal import Journal
from audio_eval.metrics import word_errors
from audio_eval.normalizers import NORMALIZERS
from audio_eval.scores import Item, Measure, score_items
from audio_eval.tasks.base import Context, Findings
from audio_eval.tasks.listening import encode_clips
from audio_eval.tasks.minimal_pairs import COMPAT
from audio_eval.tasks.prompting import PromptedTask
from audio_eval.tasks.speaking import no_room
from audio_eval.testsets.location import TestSetCard, fingerprint_folder, locate
from audio_eval.testsets.speech import COVOST2, LIBRISPEECH, Spoken, read_covost2, read_librispeech
from audio_model import Sampling, TokenAutomaton
from audio_tokenize import Segment, layout

_BLEU_TERMS = (*(f"bleu_{order}" for order in range(1, MAX_ORDER + 1)), "bleu_length")
_NO_TEXT = np.zeros(0, np.int32)


@dataclasses.dataclass(frozen=True)
class SpeechToTextTask(PromptedTask):
    """Writes down, in some language, what is said.

    Attributes:
        data: Folder of the test set, or a hub id.
        split: Split that is measured.
        shots_split: Split that shots are taken from.
        shots: How many documents stand before each prompt.
        same_shots: Whether they are the same for all; else each item has its own.
        max_tokens: Most text tokens of an answer, less where the context has less room after the prompt.
        temperature: 0 for greedy decoding; 0.0001 is the study's.
        top_p: Probability mass to sample from.
        grammar: Whether only text, then the end of text, can follow.
        batch_size: Prompts continued together.
        num_kept_audio: Items whose audio is kept for the report.
    """

    card: ClassVar[TestSetCard]
    data: str = ""
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
    def read(self, folder: Path, split: str) -> list[Spoken]:
        """Reads a split."""

    @abc.abstractmethod
    def shot_text(self, spoken: Spoken) -> str:
        """What a shot says for an answer."""

    @abc.abstractmethod
    def judge(self, spoken: Spoken, answer: str) -> tuple[dict[str, tuple[float, float]], dict[str, object]]:
        """Terms and details of an answer."""

    @abc.abstractmethod
    def measures(self) -> Iterator[Measure]:
        """The scores."""

    def check(self, context: Context) -> None:
        """Refuses settings that mean nothing."""
        del context
        self.check_beginning()

    def fingerprint(self, context: Context) -> str:
        """Returns the hash of the test set's files."""
        del context
        return fingerprint_folder(locate(self.data, self.card))

    def run(self, context: Context, journal: Journal) -> Findings:
        """Answers all items of the split."""
        folder = locate(self.data, self.card)
        items = sample(self.read(folder, self.split), context.limit)
        shots = self._choose_shots(folder, context.seed, len(items))
        heard = {f"test/{spoken.id}": (spoken.audio,) for spoken in items}
        heard |= {f"shot/{spoken.id}": (spoken.audio,) for group in shots for spoken in group}
        codes, problems = encode_clips(context, heard, journal, self.name)
        if missing := [key for key in problems if key.startswith("shot/")]:
            raise InputError(f"`{self.name}`: a shot must be readable, got {problems[missing[0]]}")
        answers, too_long = self._answer(context, items, shots, codes, journal)
        found = []
        for index, spoken in enumerate(items):
            found.append(self._item(context, spoken, answers[index], codes.get(f"test/{spoken.id}"), index))
            if problem := problems.get(f"test/{spoken.id}") or too_long.get(spoken.id):
                found[-1].detail["problem"] = problem  # pyright: ignore[reportIndexIssue]: made here, a dict
        scores = score_items(self.name, self.name, self.measures(), found)
        facts = {
            "num_unreadable": len(problems),
            "num_too_long": len(too_long),
            "empty_references": [item.id for item in found if not str(item.detail["reference"]).strip()],
        }
        return Findings(tuple(scores), tuple(found), facts)

    def _choose_shots(self, folder: Path, seed: int, num_items: int) -> list[list[Spoken]]:
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
        items: Sequence[Spoken],
        shots: Sequence[Sequence[Spoken]],
        codes: Mapping[str, Int32[np.ndarray, "_ codebooks"]],
        journal: Journal,
    ) -> tuple[list[str], dict[str, str]]:
        """What the model writes of each item, and by id why it writes nothing of some."""
        model, vocabulary, text = context.checkpoint.model, context.checkpoint.vocabulary, context.checkpoint.text
        documents = {
            spoken.id: self.begun(
                context,
                layout("audio_first").build(
                    [Segment(np.array(text.encode(self.shot_text(spoken)), np.int32), codes[f"shot/{spoken.id}"])],
                    vocabulary,
                ),
            )
            for group in shots
            for spoken in group
        }
        audible = [index for index, spoken in enumerate(items) if f"test/{spoken.id}" in codes]
        prompts = []
        for index in audible:
            segment = Segment(_NO_TEXT, codes[f"test/{items[index].id}"])
            query = self.begun(context, layout("audio_first").prompt([segment], vocabulary))
            prompts.append(np.concatenate([*(documents[spoken.id] for spoken in shots[index]), query]))

        def text_up_to(most: int) -> TokenAutomaton:
            return text_automaton(vocabulary, max_tokens=most, vocab_size=model.config.vocab_size)

        continued = continue_in_room(
            model,
            prompts,
            [items[index].id for index in audible],
            automaton=text_up_to if self.grammar else None,
            unit=1,
            least=1,
            most=self.max_tokens,
            stop_id=vocabulary.text_end,
            sampling=Sampling(temperature=self.temperature, top_p=self.top_p, seed=context.seed),
            batch_size=self.batch_size,
            label=self.name,
            journal=journal,
        )
        answers, too_long = [""] * len(items), {}
        for index, prompt, (tokens, _) in zip(audible, prompts, continued, strict=True):
            if tokens is None:
                too_long[items[index].id] = no_room(len(prompt), model.config.max_seq_len, "a text")
            else:
                answers[index] = text.decode([token for token in tokens.tolist() if token < vocabulary.num_text])
        return answers, too_long

    def _item(
        self,
        context: Context,
        spoken: Spoken,
        answer: str,
        codes: Int32[np.ndarray, "frames codebooks"] | None,
        index: int,
    ) -> Item:
        terms, detail = self.judge(spoken, answer)
        found = {"speaker": spoken.speaker, "transcript": spoken.text, "answer": answer, **detail}
        if codes is not None and index < self.num_kept_audio:
            found["audio"] = context.save_audio(f"heard/{self.name}/{spoken.id}", context.decode(codes))
        return Item(spoken.id, self.name, terms, found)


@dataclasses.dataclass(frozen=True)
class LibriSpeechTask(SpeechToTextTask):
    """Recognition on LibriSpeech.

    Attributes:
        normalizer: Name of the text normaliser of the main score; the study's stands beside it.
        compat: "study" for its arithmetic: its normaliser in the main score, no grammar, and the same shots for all,
            since its option for others cannot be reached.
    """

    name: ClassVar[str] = "librispeech"
    test_set: ClassVar[str] = "librispeech"
    card: ClassVar[TestSetCard] = LIBRISPEECH
    data: str = "openslr/librispeech_asr"
    split: str = "test-clean"
    shots_split: str = "dev-clean"
    normalizer: str = "whisper_english"
    compat: str = "none"

    def __post_init__(self):
        super().__post_init__()
        if self.compat == "study":
            object.__setattr__(self, "normalizer", "study")
            object.__setattr__(self, "grammar", False)
            object.__setattr__(self, "same_shots", True)

    def check(self, context: Context) -> None:
        """Refuses settings that mean nothing."""
        super().check(context)
        if self.normalizer not in NORMALIZERS:
            raise InputError(
                f"`{self.name}.normalizer` must be one of {', '.join(NORMALIZERS)}, got {self.normalizer!r}"
            )
        if self.compat not in COMPAT:
            raise InputError(f"`{self.name}.compat` must be one of {', '.join(COMPAT)}, got {self.compat!r}")

    def read(self, folder: Path, split: str) -> list[Spoken]:
        """Reads a split."""
        return read_librispeech(folder, split)

    def shot_text(self, spoken: Spoken) -> str:
        """The transcript as the study normalises it, lower-case."""
        return NORMALIZERS["study"](spoken.text)

    def judge(self, spoken: Spoken, answer: str) -> tuple[dict[str, tuple[float, float]], dict[str, object]]:
        """Word errors under the task's normaliser and the study's; also as a mean over utterances."""
        terms = {}
        for name, normalizer in (("wer", self.normalizer), ("wer.study", "study")):
            normalize = NORMALIZERS[normalizer]
            errors = word_errors(normalize(spoken.text), normalize(answer))
            terms[name] = (float(errors.num_errors), float(errors.num_words))
            if name == "wer":
                # An empty reference has no rate of its own; an answer to it is one error.
                terms["wer_mean"] = (errors.num_errors / max(1, errors.num_words), 1.0)
                terms["exact"] = (float(errors.num_errors == 0), 1.0)
        return terms, {"reference": spoken.text}

    def measures(self) -> Iterator[Measure]:
        """Word error rates."""
        name = self.name
        by = f"by normaliser {self.normalizer}"
        yield Measure(f"{name}_wer", "errors/word", "lower", ("wer",), meaning=f"corpus-level word error rate, {by}")
        yield Measure(f"{name}_wer_mean", "errors/word", "lower", ("wer_mean",), meaning="mean of utterances' rates")
        yield Measure(f"{name}_exact", "fraction", "higher", ("exact",), meaning="transcripts without any error")
        yield Measure(f"{name}_wer.study", "errors/word", "lower", ("wer.study",))


@dataclasses.dataclass(frozen=True)
class TranslationTask(SpeechToTextTask):
    """Translation of speech to text on CoVoST 2, n-shot.

    Attributes:
        languages: Pair of languages, from and to.
        prefix: What stands before a translation in shots, and is taken off answers.
        tokenizer: BLEU's: "13a", "zh" for Chinese, "char" for Japanese.
    """

    name: ClassVar[str] = "s2tt"
    test_set: ClassVar[str] = "covost2"
    card: ClassVar[TestSetCard] = COVOST2
    data: str = "fixie-ai/covost2"
    shots: int = 3
    languages: str = "de_en"
    prefix: str = "Translation: "
    tokenizer: str = "13a"

    def check(self, context: Context) -> None:
        """Refuses settings that mean nothing."""
        super().check(context)
        if self.tokenizer not in TOKENIZERS:
            raise InputError(f"`{self.name}.tokenizer` must be one of {', '.join(TOKENIZERS)}, got {self.tokenizer!r}")

    def read(self, folder: Path, split: str) -> list[Spoken]:
        """Reads a split."""
        return read_covost2(folder, self.languages, split)

    def shot_text(self, spoken: Spoken) -> str:
        """The translation after the prefix."""
        return self.prefix + spoken.translation

    def judge(self, spoken: Spoken, answer: str) -> tuple[dict[str, tuple[float, float]], dict[str, object]]:
        """What BLEU counts."""
        said = answer.strip().removeprefix(self.prefix.strip()).strip()
        return bleu_terms(spoken.translation, said, self.tokenizer), {"reference": spoken.translation}

    def measures(self) -> Iterator[Measure]:
        """BLEU of the corpus, and of sentences."""
        yield from bleu_measures(self.name, self.tokenizer)


def bleu_terms(reference: str, hypothesis: str, tokenizer: str) -> dict[str, tuple[float, float]]:
    """Terms of one item for `bleu_measures`."""
    counts = bleu_counts(reference, hypothesis, tokenizer)
    pairs = {name: (counts[2 * place], counts[2 * place + 1]) for place, name in enumerate(_BLEU_TERMS)}
    return {**pairs, "sentence_bleu": (sentence_bleu(reference, hypothesis, tokenizer), 1.0)}


def bleu_measures(task: str, tokenizer: str) -> Iterator[Measure]:
    """Corpus BLEU and the mean of sentences' BLEU."""
    meaning = f"corpus BLEU as sacrebleu has it, tokenizer {tokenizer}"
    yield Measure(f"{task}_bleu", "BLEU", "higher", _BLEU_TERMS, "bleu", meaning=meaning)
    yield Measure(f"{task}_sentence_bleu", "BLEU", "higher", ("sentence_bleu",), meaning="mean of sentences' BLEU")


def sample(spoken: Sequence[Spoken], limit: int | None) -> list[Spoken]:
    """A fair sample by a hash of the ids, the same at every call and part of every larger one."""
    return sorted(spoken, key=lambda one: hashlib.sha256(one.id.encode()).digest())[:limit]
