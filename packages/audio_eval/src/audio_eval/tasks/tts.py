"""Speech synthesis: the model continues `text_first` documents after their text, under the grammar of whole frames."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int32

from audio_data import InputError
from audio_eval.decoding import continue_prompts
from audio_eval.grammars import audio_automaton
from audio_eval.heldout import HeldoutUtterance
from audio_eval.journal import Journal
from audio_eval.judges import Unavailable
from audio_eval.metrics import word_errors
from audio_eval.normalizers import NORMALIZERS
from audio_eval.scores import Item, Measure, score_items
from audio_eval.tasks.base import Context, Findings, Task
from audio_eval.tasks.judging import transcribe_takes
from audio_model import Sampling
from audio_tokenize import layout

WER, OTHER, RECONSTRUCTED, ORIGINAL = "tts_wer", "tts_wer_other_texts", "tts_wer_reconstructed", "tts_wer_original"
GAIN, ENDED, LENGTH = "tts_wer_gain_over_other_texts", "tts_ended", "tts_length_ratio"
# begin_of_text, text_start, text_end and audio_start.
_PROMPT_MARKERS = 4
JUDGED = (
    Measure(
        WER, "errors/word", "lower", (WER,), meaning="the judge's transcripts of generated speech against its own text"
    ),
    Measure(
        OTHER, "errors/word", "lower", (OTHER,), meaning="control: the same transcripts against the other items' texts"
    ),
    Measure(
        GAIN,
        "errors/word",
        "higher",
        (OTHER, WER),
        "difference",
        meaning="how much better transcripts fit their own text than others: above zero, something is understood",
    ),
)
CALIBRATION = (
    Measure(
        RECONSTRUCTED, "errors/word", "lower", (RECONSTRUCTED,), meaning="the judge on the codec's reconstructions"
    ),
    Measure(
        ORIGINAL, "errors/word", "lower", (ORIGINAL,), meaning="the judge on the original recordings: its own floor"
    ),
)
GENERATED = (
    Measure(ENDED, "fraction", "higher", (ENDED,), meaning="items that ended by themselves before the length limit"),
    Measure(LENGTH, "fraction", "neither", (LENGTH,), meaning="generated seconds over recorded seconds"),
)


@dataclasses.dataclass(frozen=True)
class TtsTask(Task):
    """Speaks held-out texts.

    The prompt is `begin_of_text text_start T text_end audio_start`; whole frames follow in codebook order until
    `audio_end`. Every item counts: what could not be spoken is an empty recording.

    Attributes:
        num_items: How many texts of the main data set are spoken, each text once.
        min_frames: Fewest frames of an item.
        max_frames: Most frames; None for a quarter more than the longest recording of the data set, or as many as the
            model's context holds.
        temperature: 0 for greedy decoding.
        top_k: Tokens to sample from, 0 for all.
        top_p: Probability mass to sample from.
        normalizer: Name of the normaliser of texts and of the judge's transcripts.
        batch_size: Items generated together.
    """

    name: ClassVar[str] = "tts"
    num_items: int = 32
    min_frames: int = 4
    max_frames: int | None = None
    temperature: float = 0.7
    top_k: int = 20
    top_p: float = 1.0
    normalizer: str = "spoken_digits"
    batch_size: int = 32

    def check(self, context: Context) -> None:
        """Refuses settings that mean nothing."""
        del context
        if self.normalizer not in NORMALIZERS:
            raise InputError(f"`tts.normalizer` must be one of {', '.join(NORMALIZERS)}, got {self.normalizer!r}")

    def run(self, context: Context, journal: Journal) -> Findings:
        """Speaks, decodes, saves and, with a transcriber, judges."""
        spoken = _one_a_text(context.utterances[context.main_dataset])[: self.num_items]
        max_frames = self._max_frames(context)
        codes = self._generate(context, spoken, max_frames, journal)
        takes = [_take(context, utterance, frames) for utterance, frames in zip(spoken, codes, strict=True)]
        heard = self._judge(context, takes, journal)
        items = [_item(context, take, max_frames) for take in takes]
        items = judged_items(items, heard, NORMALIZERS[self.normalizer])
        judge = context.judge
        reason = judge.reason if isinstance(judge, Unavailable) else "all items have the same text: there is no other"
        missing = {measure.name: reason for measure in JUDGED}
        measures = (*JUDGED, *CALIBRATION, *GENERATED)
        scores = score_items(self.name, context.main_dataset, measures, items, missing)
        return Findings(tuple(scores), tuple(items), {"max_frames": max_frames})

    def _max_frames(self, context: Context) -> int:
        """A quarter more than the longest recording, as far as the context has room for it."""
        if self.max_frames is not None:
            return self.max_frames
        whole = context.whole_utterances[context.main_dataset]
        longest = max(len(utterance.segment.codes) for utterance in whole)
        text = max(len(utterance.segment.text_ids) for utterance in whole)
        room = context.checkpoint.model.config.max_seq_len - text - _PROMPT_MARKERS - 1
        most = room // context.checkpoint.vocabulary.num_codebooks
        return max(self.min_frames, min(-(-5 * longest // 4), most))

    def _generate(
        self, context: Context, spoken: Sequence[HeldoutUtterance], max_frames: int, journal: Journal
    ) -> list[Int32[np.ndarray, "frames codebooks"]]:
        """Codes of each item; none for a text that leaves no room for its speech."""
        model, vocabulary = context.checkpoint.model, context.checkpoint.vocabulary
        continued = continue_prompts(
            model,
            [layout("text_first").prompt([utterance.segment], vocabulary) for utterance in spoken],
            [utterance.id for utterance in spoken],
            automaton=audio_automaton(
                vocabulary, min_frames=self.min_frames, max_frames=max_frames, vocab_size=model.config.vocab_size
            ),
            stop_id=vocabulary.audio_end,
            sampling=Sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, seed=context.seed),
            max_new_tokens=max_frames * vocabulary.num_codebooks + 1,
            batch_size=self.batch_size,
            label="tts",
            journal=journal,
        )
        nothing = np.zeros(0, np.int32)
        return [vocabulary.codes(nothing if tokens is None else tokens) for tokens in continued]

    def _judge(self, context: Context, takes: Sequence["_Take"], journal: Journal) -> dict[str, list[str]]:
        """Transcripts of generated, reconstructed and original speech; none without a transcriber."""
        kinds = [
            "generated",
            "reconstructed",
            *(["original"] if all(take.original is not None for take in takes) else []),
        ]
        clips = {kind: [getattr(take, kind) for take in takes] for kind in kinds}
        return transcribe_takes(context, clips, journal, "tts")


@dataclasses.dataclass(frozen=True, eq=False)
class _Take:
    """One text as spoken by the model, by the codec from the recording's own codes, and as recorded."""

    utterance: HeldoutUtterance
    num_frames: int
    generated: Float[np.ndarray, " samples"]
    reconstructed: Float[np.ndarray, " recorded"]
    original: Float[np.ndarray, " original"] | None


def _take(context: Context, utterance: HeldoutUtterance, codes: Int32[np.ndarray, "frames codebooks"]) -> _Take:
    reconstructed = context.decode(utterance.segment.codes)
    return _Take(utterance, len(codes), context.decode(codes), reconstructed, context.original(utterance))


def _item(context: Context, take: _Take, max_frames: int) -> Item:
    utterance = take.utterance
    audio = {"generated": context.save_audio(f"generated/{utterance.dataset}/{utterance.id}", take.generated)}
    audio["reconstructed"] = context.reconstruction(utterance)
    if take.original is not None:
        audio["original"] = context.save_audio(f"original/{utterance.dataset}/{utterance.id}", take.original)
    terms = {
        ENDED: (float(0 < take.num_frames < max_frames), 1.0),
        LENGTH: (float(take.num_frames), float(len(utterance.segment.codes))),
    }
    detail = {
        "speaker": utterance.speaker,
        "reference": utterance.text,
        "frames": take.num_frames,
        "recorded_frames": len(utterance.segment.codes),
        "audio": audio,
    }
    return Item(utterance.id, utterance.dataset, terms, detail)


def judged_items(
    items: Sequence[Item], heard: Mapping[str, Sequence[str]], normalize: Callable[[str], str]
) -> list[Item]:
    """Adds a judge's transcripts to items, scored against their own text and against the others' texts.

    Args:
        items: Items whose detail holds their text as `reference`.
        heard: Transcripts of all items' "generated" speech, and of "reconstructed" and "original" if there are.
        normalize: Normaliser of both sides.

    Returns:
        The items, with terms for the error rate against their own text and, as the mean over all other texts, against
        those of the other items.
    """
    references = [normalize(str(item.detail["reference"])) for item in items]
    judged = []
    for index, item in enumerate(items):
        transcripts = {kind: texts[index] for kind, texts in heard.items()}
        terms = dict(item.terms)
        for kind, name in (("generated", WER), ("reconstructed", RECONSTRUCTED), ("original", ORIGINAL)):
            if kind in transcripts:
                terms[name] = _errors(references[index], normalize(transcripts[kind]))
        others = [reference for reference in references if reference != references[index]]
        if "generated" in transcripts and others:
            against = [_errors(reference, normalize(transcripts["generated"])) for reference in others]
            terms[OTHER] = (float(np.mean([e for e, _ in against])), float(np.mean([w for _, w in against])))
        judged.append(dataclasses.replace(item, terms=terms, detail={**item.detail, "transcripts": transcripts}))
    return judged


def _errors(reference: str, hypothesis: str) -> tuple[float, float]:
    errors = word_errors(reference, hypothesis)
    return float(errors.num_errors), float(errors.num_words)


def _one_a_text(spoken: Sequence[HeldoutUtterance]) -> list[HeldoutUtterance]:
    by_text = {utterance.text: utterance for utterance in reversed(spoken)}
    return [utterance for utterance in spoken if by_text[utterance.text] is utterance]
