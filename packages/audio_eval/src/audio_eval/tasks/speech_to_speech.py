"""Speech from speech: translation into speech on CoVoST 2, and the continuation of LibriSpeech recordings."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int32

from audio_data import InputError
from audio_eval.bleu import TOKENIZERS
from audio_eval.decoding import generate_within_context, text_automaton
from audio_eval.journal import Journal
from audio_eval.scores import Item, Measure, score_items
from audio_eval.speech_models import Unavailable
from audio_eval.tasks.base import BenchmarkTask, Context, TaskOutput
from audio_eval.tasks.speech import Continuation, encode_clips, generate_speech, transcribe_clips, voice_similarities
from audio_eval.tasks.speech_to_text import bleu_measures, bleu_terms, sample
from audio_eval.testsets.location import TestSetCard
from audio_eval.testsets.speech import COVOST2, LIBRISPEECH, BenchmarkUtterance, read_covost2, read_librispeech
from audio_model import Sampling

Codes = Int32[np.ndarray, "_ codebooks"]
Sound = Float[np.ndarray, " _"]
_ROUTES = ("direct", "chain")


@dataclasses.dataclass(frozen=True)
class SpeechOutputTask(BenchmarkTask):
    """A task with speech as its output: shared settings and generation.

    Attributes:
        split: Split that is measured.
        max_frames: Maximum frames of the speech, fewer where the context has less space after the prompt.
        min_frames: Minimum frames.
        temperature: 0 for greedy decoding.
        top_p: Probability mass to sample from.
        batch_size: Number of prompts continued together.
    """

    split: str = "test"
    max_frames: int = 187
    min_frames: int = 4
    temperature: float = 0.9
    top_p: float = 0.8
    batch_size: int = 16

    def sampling(self, context: Context) -> Sampling:
        """Return how tokens are chosen."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, seed=context.seed)

    def generate_speech(
        self,
        context: Context,
        utterances: Sequence[BenchmarkUtterance],
        prompts: Sequence[Int32[np.ndarray, " _"]],
        journal: Journal,
    ) -> list[Continuation]:
        """Continue the prompt of each item, which ends inside audio."""
        return generate_speech(
            context,
            [self.with_beginning(context, prompt) for prompt in prompts],
            [one.id for one in utterances],
            min_frames=self.min_frames,
            max_frames=self.max_frames,
            sampling=self.sampling(context),
            batch_size=self.batch_size,
            label=f"{self.name}, speech",
            journal=journal,
        )

    def missing(self, context: Context, transcribed: str) -> dict[str, str]:
        """Return by score why those that need a transcriber or a speaker encoder have no value."""
        found = {}
        if isinstance(context.transcriber, Unavailable):
            found[transcribed] = context.transcriber.reason
        if isinstance(context.speaker_encoder, Unavailable):
            found[f"{self.name}_similarity"] = context.speaker_encoder.reason
        return found


@dataclasses.dataclass(frozen=True)
class SpeechTranslationTask(SpeechOutputTask):
    """Translation of speech into speech on CoVoST 2: BLEU of transcripts, and similarity of the voice.

    Attributes:
        languages: Pair of languages, from and to.
        route: Text before the translation's audio. "direct": `<language>TO</language>`, given to the model; "chain":
            the text of the source and that of the target, which the model writes, each after its language.
        max_tokens: Maximum text tokens of each of the two texts of a chain.
        tokenizer: BLEU's.
    """

    name: str = "s2st"
    test_set: TestSetCard = COVOST2
    data: str = "fixie-ai/covost2"
    languages: str = "de_en"
    route: str = "direct"
    max_tokens: int = 200
    tokenizer: str = "13a"

    def check(self, context: Context) -> None:
        """Refuse an unknown route or tokenizer, and a transcriber of another language."""
        super().check(context)
        self.check_choice("route", _ROUTES)
        self.check_choice("tokenizer", TOKENIZERS)
        target, transcriber = self.languages.split("_")[-1], context.transcriber
        if not isinstance(transcriber, Unavailable) and transcriber.language != target:
            raise InputError(
                f"`{self.name}.languages` must end in the language of the transcriber {transcriber.model_id}, "
                f"{transcriber.language!r}, got {self.languages!r}: name another, such as "
                f"`--transcriber whisper:small@{target}`"
            )

    def run(self, context: Context, journal: Journal) -> TaskOutput:
        """Generate spoken translations, transcribe them and compare voices."""
        utterances = sample(read_covost2(self.locate(), self.languages, self.split), context.limit)
        codes, problems = encode_clips(context, {one.id: (one.audio,) for one in utterances}, journal, self.name)
        audible = [one for one in utterances if one.id in codes]
        answers = dict(
            zip(
                (one.id for one in audible),
                self.generate_speech(context, audible, self._prompts(context, audible, codes, journal), journal),
                strict=True,
            )
        )
        nothing = np.zeros((0, context.checkpoint.vocabulary.num_codebooks), np.int32)
        output = [answers.get(one.id, Continuation(nothing, problem=problems.get(one.id))) for one in utterances]
        sounds = [context.decode(one.codes) for one in output]
        sources = [context.decode(codes.get(one.id, nothing)) for one in utterances]
        transcripts = transcribe_clips(context, {"generated": sounds}, journal, self.name)
        similarities = voice_similarities(context, list(zip(sounds, sources, strict=True)))
        items = []
        for index, one in enumerate(utterances):
            terms = {"ended": (float(output[index].ended), 1.0)}
            if transcripts:
                terms |= bleu_terms(one.translation, transcripts["generated"][index], self.tokenizer)
            if similarities is not None:
                terms["similarity"] = (similarities[index], 1.0)
            clips = {"generated": sounds[index], "reconstructed": sources[index]}
            audio = {kind: context.save_audio(f"{kind}/{self.name}/{one.id}", clip) for kind, clip in clips.items()}
            texts = {kind: found[index] for kind, found in transcripts.items()}
            detail = {"reference": one.translation, "source": one.text, "transcripts": texts, "audio": audio}
            problem = {} if output[index].problem is None else {"problem": output[index].problem}
            items.append(Item(one.id, self.name, terms, {**detail, **problem}))
        missing = self.missing(context, f"{self.name}_bleu")
        scores = score_items(self.name, self.name, self.measures(), items, missing)
        return TaskOutput(tuple(scores), tuple(items), _facts(items, problems))

    def _prompts(
        self, context: Context, utterances: Sequence[BenchmarkUtterance], codes: Mapping[str, Codes], journal: Journal
    ) -> list[Int32[np.ndarray, " _"]]:
        vocabulary, text = context.checkpoint.vocabulary, context.checkpoint.text
        source, target = (f"<language>{name}</language>" for name in self.languages.split("_"))
        prompts = [
            np.array([vocabulary.begin_of_text, vocabulary.audio_start, *vocabulary.audio_ids(codes[one.id])], np.int32)
            for one in utterances
        ]
        markers = [vocabulary.audio_end, vocabulary.text_start]
        after = [vocabulary.text_end, vocabulary.audio_start]
        if self.route == "direct":
            return [_append(prompt, [*markers, *text.encode(target), *after]) for prompt in prompts]
        between = [vocabulary.text_end, vocabulary.text_start]
        started = [_append(prompt, [*markers, *text.encode(source)]) for prompt in prompts]
        written = self._write(context, utterances, started, journal, "source")
        started = [_append(prompt, [*between, *text.encode(target)]) for prompt in written]
        return [_append(prompt, after) for prompt in self._write(context, utterances, started, journal, "target")]

    def _write(
        self,
        context: Context,
        utterances: Sequence[BenchmarkUtterance],
        prompts: Sequence[Int32[np.ndarray, " _"]],
        journal: Journal,
        what: str,
    ) -> list[Int32[np.ndarray, " _"]]:
        """Return prompts with the text that the model writes after them; unchanged where there is no space for one."""
        model, vocabulary = context.checkpoint.model, context.checkpoint.vocabulary
        continued = generate_within_context(
            model,
            [self.with_beginning(context, prompt) for prompt in prompts],
            [one.id for one in utterances],
            automaton=lambda limit: text_automaton(vocabulary, max_tokens=limit, vocab_size=model.config.vocab_size),
            unit=1,
            min_units=1,
            max_units=self.max_tokens,
            stop_id=vocabulary.text_end,
            sampling=self.sampling(context),
            batch_size=self.batch_size,
            label=f"{self.name}, {what} text",
            journal=journal,
        )
        return [_append(one, [] if more is None else more) for one, (more, _) in zip(prompts, continued, strict=True)]

    def measures(self) -> Iterator[Measure]:
        """Yield BLEU of transcripts, similarity to the source's voice, and the share of ended items."""
        yield from bleu_measures(self.name, self.tokenizer)
        meaning = "similarity of the voice to the source's, both through the codec"
        yield Measure(f"{self.name}_similarity", "cosine", "higher", ("similarity",), meaning=meaning)
        ended = "translations that ended by themselves"
        yield Measure(f"{self.name}_ended", "fraction", "higher", ("ended",), meaning=ended)


def _facts(items: Sequence[Item], unreadable: Mapping[str, str]) -> dict[str, int]:
    problems = sum("problem" in item.detail for item in items)
    return {"num_unreadable": len(unreadable), "num_too_long": problems - len(unreadable)}


def _append(prompt: Int32[np.ndarray, " _"], more: "Sequence[int] | np.ndarray") -> Int32[np.ndarray, " _"]:
    return np.concatenate([prompt, np.asarray(more, np.int32)])


@dataclasses.dataclass(frozen=True)
class ContinuationTask(SpeechOutputTask):
    """Continue the first seconds of recordings; the similarity of the voice is measured.

    Attributes:
        prompt_seconds: Length of the given beginning; 3 is that of the SODA demonstration (arXiv 2602.16687).
    """

    name: str = "continuation"
    test_set: TestSetCard = LIBRISPEECH
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

    def run(self, context: Context, journal: Journal) -> TaskOutput:
        """Continue, and compare the voice with the beginning: of the speech, of the real rest, of another speaker."""
        utterances = sample(read_librispeech(self.locate(), self.split), context.limit)
        codes, problems = encode_clips(context, {one.id: (one.audio,) for one in utterances}, journal, self.name)
        frames = max(1, round(self.prompt_seconds * context.codec.frame_rate_hz))
        audible = [one for one in utterances if one.id in codes]
        vocabulary = context.checkpoint.vocabulary
        start = [vocabulary.begin_of_text, vocabulary.audio_start]
        prompts = [np.array([*start, *vocabulary.audio_ids(codes[one.id][:frames])], np.int32) for one in audible]
        answers = self.generate_speech(context, audible, prompts, journal)
        given = [context.decode(codes[one.id][:frames]) for one in audible]
        clips = {
            "generated": [context.decode(answer.codes) for answer in answers],
            "reconstructed": [context.decode(codes[one.id][frames:]) for one in audible],
        }
        transcripts = transcribe_clips(context, clips, journal, self.name)
        pairs = {kind: list(zip(given, some, strict=True)) for kind, some in clips.items()}
        pairs["mismatched_prompt"] = list(zip(given, [*given[1:], *given[:1]], strict=True))
        similarities = {
            kind: found for kind, some in pairs.items() if (found := voice_similarities(context, some)) is not None
        }
        items = []
        for index, one in enumerate(audible):
            terms = {f"similarity.{kind}": (values[index], 1.0) for kind, values in similarities.items()}
            if len(codes[one.id]) <= frames:
                terms.pop("similarity.reconstructed", None)
            terms["ended"] = (float(answers[index].ended), 1.0)
            sounds = {kind: np.concatenate([given[index], some[index]]) for kind, some in clips.items()}
            audio = {kind: context.save_audio(f"{kind}/{self.name}/{one.id}", sound) for kind, sound in sounds.items()}
            texts = {kind: found[index] for kind, found in transcripts.items()}
            problem = {} if answers[index].problem is None else {"problem": answers[index].problem}
            detail = {"reference": one.text, "transcripts": texts, "audio": audio, **problem}
            items.append(Item(one.id, self.name, terms, detail))
        for one in utterances:
            if one.id in problems:
                detail = {"reference": one.text, "problem": problems[one.id], "audio": {}}
                items.append(Item(one.id, self.name, {"ended": (0.0, 1.0)}, detail))
        scores = score_items(self.name, self.name, self.measures(), items, self.missing(context, ""))
        return TaskOutput(tuple(scores), tuple(items), _facts(items, problems))

    def measures(self) -> Iterator[Measure]:
        """Yield voice similarities and the share of ended items."""
        name = self.name
        for kind, suffix, meaning in (
            ("generated", "", "similarity of the generated voice to the beginning's"),
            ("reconstructed", "_original", "the same for the rest of the recording, through the codec"),
            ("mismatched_prompt", "_mismatched_prompt", "the same between the beginnings of different recordings"),
        ):
            better = "neither" if suffix else "higher"
            yield Measure(f"{name}_similarity{suffix}", "cosine", better, (f"similarity.{kind}",), meaning=meaning)
        ended = "continuations that ended by themselves"
        yield Measure(f"{name}_ended", "fraction", "neither", ("ended",), meaning=ended)
