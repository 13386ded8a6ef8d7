"""Speech from speech: translation into speech on CoVoST 2, and the continuation of LibriSpeech recordings."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int32

from audio_data import InputError
from audio_eval.bleu import TOKENIZERS
from audio_eval.decoding import continue_in_room
from audio_eval.grammars import text_automaton
from audio_eval.journal import Journal
from audio_eval.judges import Unavailable
from audio_eval.scores import Item, Measure, score_items
from audio_eval.tasks.base import Context, Findings
from audio_eval.tasks.judging import transcribe_takes, voice_similarities
from audio_eval.tasks.listening import encode_clips
from audio_eval.tasks.prompting import PromptedTask
from audio_eval.tasks.speaking import Answer, speak
from audio_eval.tasks.speech_to_text import bleu_measures, bleu_terms, sample
from audio_eval.testsets.location import TestSetCard, fingerprint_folder, locate
from audio_eval.testsets.speech import COVOST2, LIBRISPEECH, Spoken, read_covost2, read_librispeech
from audio_model import Sampling

Codes = Int32[np.ndarray, "_ codebooks"]
Sound = Float[np.ndarray, " _"]
_ROUTES = ("direct", "chain")


@dataclasses.dataclass(frozen=True)
class SpokenTask(PromptedTask):
    """What tasks that answer in speech share.

    Attributes:
        data: Folder of the test set, or a hub id.
        split: Split that is measured.
        max_frames: Most frames of an answer, less where the context has less room after the prompt.
        min_frames: Fewest.
        temperature: 0 for greedy decoding.
        top_p: Probability mass to sample from.
        batch_size: Prompts continued together.
    """

    card: ClassVar[TestSetCard]
    data: str = ""
    split: str = "test"
    max_frames: int = 187
    min_frames: int = 4
    temperature: float = 0.9
    top_p: float = 0.8
    batch_size: int = 16

    def check(self, context: Context) -> None:
        """Refuses settings that mean nothing."""
        del context
        self.check_beginning()

    def fingerprint(self, context: Context) -> str:
        """Returns the hash of the test set's files."""
        del context
        return fingerprint_folder(locate(self.data, self.card))

    def sampling(self, context: Context) -> Sampling:
        """How tokens are chosen."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, seed=context.seed)

    def speak(
        self, context: Context, spoken: Sequence[Spoken], prompts: Sequence[Int32[np.ndarray, " _"]], journal: Journal
    ) -> list[Answer]:
        """Continues the prompt of each item, which ends inside audio."""
        return speak(
            context,
            [self.begun(context, prompt) for prompt in prompts],
            [one.id for one in spoken],
            min_frames=self.min_frames,
            max_frames=self.max_frames,
            sampling=self.sampling(context),
            batch_size=self.batch_size,
            label=f"{self.name}, speech",
            journal=journal,
        )

    def missing(self, context: Context, judged: str) -> dict[str, str]:
        """Why scores that need a judge have no value."""
        found = {}
        if isinstance(context.judge, Unavailable):
            found[judged] = context.judge.reason
        if isinstance(context.speaker_judge, Unavailable):
            found[f"{self.name}_similarity"] = context.speaker_judge.reason
        return found


@dataclasses.dataclass(frozen=True)
class SpeechTranslationTask(SpokenTask):
    """Translation of speech into speech on CoVoST 2: BLEU of what a transcriber hears, and likeness of the voice.

    Attributes:
        languages: Pair of languages, from and to.
        route: What the model says before the translation's audio. "direct": `<language>TO</language>` as a text,
            given to it; "chain": the source's text and the target's, which it writes itself, each after its language.
        max_tokens: Most text tokens of each of the two texts of a chain.
        tokenizer: BLEU's.
    """

    name: ClassVar[str] = "s2st"
    test_set: ClassVar[str] = "covost2"
    card: ClassVar[TestSetCard] = COVOST2
    data: str = "fixie-ai/covost2"
    languages: str = "de_en"
    route: str = "direct"
    max_tokens: int = 200
    tokenizer: str = "13a"

    def check(self, context: Context) -> None:
        """Refuses settings that mean nothing."""
        super().check(context)
        if self.route not in _ROUTES or self.tokenizer not in TOKENIZERS:
            chosen = (self.route, self.tokenizer)
            raise InputError(
                f"`{self.name}.route` must be one of {', '.join(_ROUTES)}, and `tokenizer` one of "
                f"{', '.join(TOKENIZERS)}, got {chosen!r}"
            )
        target, judge = self.languages.split("_")[-1], context.judge
        if not isinstance(judge, Unavailable) and judge.language != target:
            raise InputError(
                f"`{self.name}.languages` {self.languages!r} ends in {target!r}, but judge {judge.judge_id} takes all "
                f"speech for {judge.language!r}: name one that does not, such as `--judge whisper:small@{target}`"
            )

    def run(self, context: Context, journal: Journal) -> Findings:
        """Speaks translations, transcribes them and compares voices."""
        spoken = sample(read_covost2(locate(self.data, self.card), self.languages, self.split), context.limit)
        codes, problems = encode_clips(context, {one.id: (one.audio,) for one in spoken}, journal, self.name)
        audible = [one for one in spoken if one.id in codes]
        answers = dict(
            zip(
                (one.id for one in audible),
                self.speak(context, audible, self._prompts(context, audible, codes, journal), journal),
                strict=True,
            )
        )
        nothing = np.zeros((0, context.checkpoint.vocabulary.num_codebooks), np.int32)
        said = [answers.get(one.id, Answer(nothing, problem=problems.get(one.id))) for one in spoken]
        sounds = [context.decode(answer.codes) for answer in said]
        sources = [context.decode(codes.get(one.id, nothing)) for one in spoken]
        heard = transcribe_takes(context, {"generated": sounds}, journal, self.name)
        alike = voice_similarities(context, list(zip(sounds, sources, strict=True)))
        items = []
        for index, one in enumerate(spoken):
            terms = {"ended": (float(said[index].ended), 1.0)}
            if heard:
                terms |= bleu_terms(one.translation, heard["generated"][index], self.tokenizer)
            if alike is not None:
                terms["similarity"] = (alike[index], 1.0)
            takes = {"generated": sounds[index], "reconstructed": sources[index]}
            audio = {kind: context.save_audio(f"{kind}/{self.name}/{one.id}", take) for kind, take in takes.items()}
            texts = {kind: found[index] for kind, found in heard.items()}
            detail = {"reference": one.translation, "source": one.text, "transcripts": texts, "audio": audio}
            problem = {} if said[index].problem is None else {"problem": said[index].problem}
            items.append(Item(one.id, self.name, terms, {**detail, **problem}))
        missing = self.missing(context, f"{self.name}_bleu")
        scores = score_items(self.name, self.name, self.measures(), items, missing)
        return Findings(tuple(scores), tuple(items), _facts(items, problems))

    def _prompts(
        self, context: Context, spoken: Sequence[Spoken], codes: Mapping[str, Codes], journal: Journal
    ) -> list[Int32[np.ndarray, " _"]]:
        vocabulary, text = context.checkpoint.vocabulary, context.checkpoint.text
        source, target = (f"<language>{name}</language>" for name in self.languages.split("_"))
        prompts = [
            np.array([vocabulary.begin_of_text, vocabulary.audio_start, *vocabulary.audio_ids(codes[one.id])], np.int32)
            for one in spoken
        ]
        markers = [vocabulary.audio_end, vocabulary.text_start]
        after = [vocabulary.text_end, vocabulary.audio_start]
        if self.route == "direct":
            return [_append(prompt, [*markers, *text.encode(target), *after]) for prompt in prompts]
        between = [vocabulary.text_end, vocabulary.text_start]
        started = [_append(prompt, [*markers, *text.encode(source)]) for prompt in prompts]
        written = self._write(context, spoken, started, journal, "source")
        started = [_append(prompt, [*between, *text.encode(target)]) for prompt in written]
        return [_append(prompt, after) for prompt in self._write(context, spoken, started, journal, "target")]

    def _write(
        self,
        context: Context,
        spoken: Sequence[Spoken],
        prompts: Sequence[Int32[np.ndarray, " _"]],
        journal: Journal,
        what: str,
    ) -> list[Int32[np.ndarray, " _"]]:
        """Prompts with the text that the model writes after them; nothing where there is no room for one."""
        model, vocabulary = context.checkpoint.model, context.checkpoint.vocabulary
        continued = continue_in_room(
            model,
            [self.begun(context, prompt) for prompt in prompts],
            [one.id for one in spoken],
            automaton=lambda most: text_automaton(vocabulary, max_tokens=most, vocab_size=model.config.vocab_size),
            unit=1,
            least=1,
            most=self.max_tokens,
            stop_id=vocabulary.text_end,
            sampling=self.sampling(context),
            batch_size=self.batch_size,
            label=f"{self.name}, {what} text",
            journal=journal,
        )
        return [_append(one, [] if more is None else more) for one, (more, _) in zip(prompts, continued, strict=True)]

    def measures(self) -> Iterator[Measure]:
        """BLEU of transcripts, likeness to the source's voice, how many ended."""
        yield from bleu_measures(self.name, self.tokenizer)
        alike = "likeness of the voice to the source's, both as the codec sounds"
        yield Measure(f"{self.name}_similarity", "cosine", "higher", ("similarity",), meaning=alike)
        ended = "translations that ended by themselves"
        yield Measure(f"{self.name}_ended", "fraction", "higher", ("ended",), meaning=ended)


def _facts(items: Sequence[Item], unreadable: Mapping[str, str]) -> dict[str, int]:
    problems = sum("problem" in item.detail for item in items)
    return {"num_unreadable": len(unreadable), "num_too_long": problems - len(unreadable)}


def _append(prompt: Int32[np.ndarray, " _"], more: "Sequence[int] | np.ndarray") -> Int32[np.ndarray, " _"]:
    return np.concatenate([prompt, np.asarray(more, np.int32)])


@dataclasses.dataclass(frozen=True)
class ContinuationTask(SpokenTask):
    """Goes on from the first seconds of recordings; whether the voice stays is measured, the rest is for listening.

    Attributes:
        prompt_seconds: How much is given; 3 is the study's.
    """

    name: ClassVar[str] = "continuation"
    test_set: ClassVar[str] = "librispeech"
    card: ClassVar[TestSetCard] = LIBRISPEECH
    data: str = "openslr/librispeech_asr"
    split: str = "test-clean"
    max_frames: int = 150
    temperature: float = 1.0
    top_p: float = 0.9
    prompt_seconds: float = 3.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.prompt_seconds < math.inf:
            raise InputError(f"`{self.name}.prompt_seconds` must be above 0 and finite, got {self.prompt_seconds!r}")

    def run(self, context: Context, journal: Journal) -> Findings:
        """Goes on, and compares voices with the beginning: of what was said, of the real rest, of a stranger."""
        spoken = sample(read_librispeech(locate(self.data, self.card), self.split), context.limit)
        codes, problems = encode_clips(context, {one.id: (one.audio,) for one in spoken}, journal, self.name)
        frames = max(1, round(self.prompt_seconds * context.codec.frame_rate_hz))
        audible = [one for one in spoken if one.id in codes]
        vocabulary = context.checkpoint.vocabulary
        start = [vocabulary.begin_of_text, vocabulary.audio_start]
        prompts = [np.array([*start, *vocabulary.audio_ids(codes[one.id][:frames])], np.int32) for one in audible]
        answers = self.speak(context, audible, prompts, journal)
        given = [context.decode(codes[one.id][:frames]) for one in audible]
        takes = {
            "generated": [context.decode(answer.codes) for answer in answers],
            "reconstructed": [context.decode(codes[one.id][frames:]) for one in audible],
        }
        heard = transcribe_takes(context, takes, journal, self.name)
        pairs = {kind: list(zip(given, clips, strict=True)) for kind, clips in takes.items()}
        pairs["stranger"] = list(zip(given, [*given[1:], *given[:1]], strict=True))
        alike = {
            kind: found for kind, some in pairs.items() if (found := voice_similarities(context, some)) is not None
        }
        items = []
        for index, one in enumerate(audible):
            terms = {f"similarity.{kind}": (values[index], 1.0) for kind, values in alike.items()}
            if len(codes[one.id]) <= frames:
                terms.pop("similarity.reconstructed", None)
            terms["ended"] = (float(answers[index].ended), 1.0)
            sounds = {kind: np.concatenate([given[index], clips[index]]) for kind, clips in takes.items()}
            audio = {kind: context.save_audio(f"{kind}/{self.name}/{one.id}", sound) for kind, sound in sounds.items()}
            texts = {kind: found[index] for kind, found in heard.items()}
            problem = {} if answers[index].problem is None else {"problem": answers[index].problem}
            detail = {"reference": one.text, "transcripts": texts, "audio": audio, **problem}
            items.append(Item(one.id, self.name, terms, detail))
        for one in spoken:
            if one.id in problems:
                detail = {"reference": one.text, "problem": problems[one.id], "audio": {}}
                items.append(Item(one.id, self.name, {"ended": (0.0, 1.0)}, detail))
        scores = score_items(self.name, self.name, self.measures(), items, self.missing(context, ""))
        return Findings(tuple(scores), tuple(items), _facts(items, problems))

    def measures(self) -> Iterator[Measure]:
        """Likeness of voices, and how many ended."""
        name = self.name
        for kind, suffix, meaning in (
            ("generated", "", "likeness of the voice that goes on to the one that began"),
            ("reconstructed", "_original", "the same for the rest of the recording, through the codec"),
            ("stranger", "_stranger", "the same between the beginnings of different recordings"),
        ):
            better = "neither" if suffix else "higher"
            yield Measure(f"{name}_similarity{suffix}", "cosine", better, (f"similarity.{kind}",), meaning=meaning)
        ended = "continuations that ended by themselves"
        yield Measure(f"{name}_ended", "fraction", "neither", ("ended",), meaning=ended)
