"""Zero-shot synthesis on Seed-TTS's test set: a text in the voice of a prompt.

The prompt is `text_start R text_end audio_start V audio_end text_start T text_end audio_start` after `begin_of_text`, R
and V being text and audio of the voice. Every item counts: an item that did not end, or has no speech, is in the rate.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int32

from audio_data import InputError
from audio_eval.journal import Journal
from audio_eval.metrics import word_errors
from audio_eval.normalizers import NORMALIZERS
from audio_eval.scores import Item, Measure, score_items
from audio_eval.speech_models import Unavailable
from audio_eval.tasks.base import BenchmarkTask, Context, TaskOutput
from audio_eval.tasks.speech import (
    Continuation,
    encode_clips,
    generate_speech,
    load_clip,
    transcribe_clips,
    voice_similarities,
)
from audio_eval.testsets.location import TestSetCard
from audio_eval.testsets.speech import SEED_TTS, VoicePrompt, read_seed_tts
from audio_model import Sampling
from audio_tokenize import Segment, layout

Sound = Float[np.ndarray, " _"]


@dataclasses.dataclass(frozen=True)
class SeedTtsTask(BenchmarkTask):
    """Speak texts in given voices.

    Attributes:
        max_tokens: Maximum audio tokens of an item, cut to whole frames; 1,500 are 15 s of eight codebooks. Less where
            the context has less space after the prompt.
        min_frames: Minimum frames.
        temperature: 0 for greedy decoding; 0.9 is that of the public SODA evaluation scripts.
        top_p: Probability mass to sample from; 0.8 is that of the public SODA evaluation scripts.
        normalizer: Name of the text normaliser of both sides.
        batch_size: Number of items continued together.
        compat: "soda" for the arithmetic of the public SODA evaluation scripts (potsawee/blueberry-eval): no grammar,
            items that did not end or are no whole frames are left out, and the rate is the mean of utterances' rates.
    """

    name: str = "seed_tts"
    test_set: TestSetCard = SEED_TTS
    max_tokens: int = 1_500
    min_frames: int = 4
    temperature: float = 0.9
    top_p: float = 0.8
    normalizer: str = "whisper_english"
    batch_size: int = 16
    compat: str = "none"

    def check(self, context: Context) -> None:
        """Refuse an unknown normaliser."""
        super().check(context)
        self.check_choice("normalizer", NORMALIZERS)

    def run(self, context: Context, journal: Journal) -> TaskOutput:
        """Generate, save and transcribe speech, and compare voices."""
        prompts = read_seed_tts(self.locate())
        prompts = sorted(prompts, key=lambda one: hashlib.sha256(one.id.encode()).digest())[: context.limit]
        voices, problems = encode_clips(context, {one.id: (one.prompt,) for one in prompts}, journal, self.name)
        continuations = self._generate(context, prompts, voices, journal)
        clips = {"generated": [context.decode(one.codes) for one in continuations.values()]}
        unanswered = {key: one.problem for key, one in continuations.items() if one.problem is not None}
        originals = self._originals(context, prompts)
        if originals is not None:
            clips["original"] = originals
        transcripts = transcribe_clips(context, clips, journal, self.name)
        prompted = [self._voice(context, one) for one in prompts]
        similarities = self._similarities(context, clips, prompted)
        items = []
        for index, one in enumerate(prompts):
            item = self._item(one, continuations[one.id], {kind: some[index] for kind, some in transcripts.items()})
            audio = {
                kind: context.save_audio(f"{kind}/{self.name}/{one.id}", some[index]) for kind, some in clips.items()
            }
            terms = {**item.terms, **{name: (values[index], 1.0) for name, values in similarities.items()}}
            reason = problems.get(one.id) or unanswered.get(one.id)
            problem = {"problem": reason} if reason else {}
            items.append(dataclasses.replace(item, terms=terms, detail={**item.detail, "audio": audio, **problem}))
        counted = [item for item in items if self.compat != "soda" or item.detail["usable"]]
        missing = self._missing(context) if counted else self._nothing_counted(len(items))
        scores = score_items(self.name, self.name, self.measures(), counted, missing)
        empty = [one.id for one in prompts if not one.text.strip()]
        facts = {"num_unreadable": len(problems), "num_too_long": len(unanswered), "empty_references": empty}
        return TaskOutput(tuple(scores), tuple(items), {**facts, "num_left_out": len(items) - len(counted)})

    def _generate(
        self,
        context: Context,
        prompts: Sequence[VoicePrompt],
        voices: Mapping[str, Int32[np.ndarray, "_ codebooks"]],
        journal: Journal,
    ) -> dict[str, Continuation]:
        """Return the generated speech of each item; no frames where the voice could not be read."""
        vocabulary, text = context.checkpoint.vocabulary, context.checkpoint.text
        nothing = np.zeros((0, vocabulary.num_codebooks), np.int32)
        audible = [one for one in prompts if one.id in voices]
        ids = []
        for one in audible:
            shown = Segment(np.array(text.encode(one.prompt_text), np.int32), voices[one.id])
            target = Segment(np.array(text.encode(one.text), np.int32), nothing)
            ids.append(self.with_beginning(context, layout("text_first").prompt([shown, target], vocabulary)))
        answers = generate_speech(
            context,
            ids,
            [one.id for one in audible],
            min_frames=self.min_frames,
            max_frames=self.max_tokens // vocabulary.num_codebooks,
            sampling=Sampling(temperature=self.temperature, top_p=self.top_p, seed=context.seed),
            batch_size=self.batch_size,
            label=self.name,
            journal=journal,
            grammar=self.compat != "soda",
        )
        found = {one.id: answer for one, answer in zip(audible, answers, strict=True)}
        return {one.id: found.get(one.id, Continuation(nothing)) for one in prompts}

    def _voice(self, context: Context, one: VoicePrompt) -> Sound:
        try:
            return load_clip(context, (one.prompt,))
        except InputError:
            return np.zeros(0, np.float32)

    def _originals(self, context: Context, prompts: Sequence[VoicePrompt]) -> list[Sound] | None:
        """Original recordings, to calibrate transcriber and speaker encoder: of all items or of none."""
        recordings = [one.recording for one in prompts if one.recording is not None]
        if len(recordings) < len(prompts):
            return None
        try:
            return [load_clip(context, (recording,)) for recording in recordings]
        except InputError:
            return None

    def _similarities(
        self, context: Context, clips: Mapping[str, Sequence[Sound]], voices: Sequence[Sound]
    ) -> dict[str, list[float]]:
        """Similarity of each kind of clip to its prompt, and of each prompt to the next, often of another speaker."""
        pairs = {f"similarity.{kind}": list(zip(some, voices, strict=False)) for kind, some in clips.items()}
        pairs["similarity.mismatched_prompt"] = list(zip(voices, [*voices[1:], *voices[:1]], strict=True))
        found = {name: voice_similarities(context, some) for name, some in pairs.items() if len(some) == len(voices)}
        return {name: values for name, values in found.items() if values is not None}

    def _item(self, one: VoicePrompt, answer: Continuation, transcripts: Mapping[str, str]) -> Item:
        normalize, num_frames = NORMALIZERS[self.normalizer], len(answer.codes)
        usable = answer.ended and num_frames > 0
        terms = {"ended": (float(usable), 1.0)}
        for kind, text in transcripts.items():
            errors = word_errors(normalize(one.text), normalize(text))
            rate = errors.num_errors / max(1, errors.num_words)
            terms |= {f"wer.{kind}": (float(errors.num_errors), float(errors.num_words)), f"mean.{kind}": (rate, 1.0)}
        detail = {"reference": one.text, "frames": num_frames, "usable": usable, "transcripts": dict(transcripts)}
        return Item(one.id, self.name, terms, detail)

    def measures(self) -> Iterator[Measure]:
        """Yield word error rates, ended items and voice similarities, with those of the original recordings."""
        name = self.name
        means = self.compat == "soda"
        main, other = ("mean", "wer") if means else ("wer", "mean")
        kinds = {"wer": "all errors over all words", "mean": "the mean of utterances' rates"}
        yield self._rate("wer", f"{main}.generated", f"the transcriber on generated speech: {kinds[main]}")
        yield self._rate("wer_original", f"{main}.original", "the transcriber on the original recordings")
        yield self._rate(f"wer_by_{'corpus' if means else 'utterance'}", f"{other}.generated", kinds[other])
        ended = "items that ended by themselves, with a sound"
        yield Measure(f"{name}_ended", "fraction", "higher", ("ended",), meaning=ended)
        for kind, meaning in (
            ("generated", "similarity of the voice to the prompt's"),
            ("original", "the same for the original recordings: the level of a human speaker"),
            ("mismatched_prompt", "the same between the prompts of different items: the level of another speaker"),
        ):
            suffix = "" if kind == "generated" else f"_{kind}"
            better = "higher" if kind == "generated" else "neither"
            yield Measure(f"{name}_similarity{suffix}", "cosine", better, (f"similarity.{kind}",), meaning=meaning)

    def _rate(self, name: str, term: str, meaning: str) -> Measure:
        return Measure(f"{self.name}_{name}", "errors/word", "lower", (term,), meaning=meaning)

    def _nothing_counted(self, num_items: int) -> dict[str, str]:
        reason = f"none of the {num_items} items ended with a sound, and `compat` 'soda' leaves the others out"
        return {measure.name: reason for measure in self.measures()}

    def _missing(self, context: Context) -> dict[str, str]:
        found = {}
        if isinstance(context.transcriber, Unavailable):
            found[f"{self.name}_wer"] = context.transcriber.reason
        if isinstance(context.speaker_encoder, Unavailable):
            found[f"{self.name}_similarity"] = context.speaker_encoder.reason
        return found
