"""Speech synthesis: the model continues `text_first` documents after their text, under the grammar of whole frames."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int32

from audio_eval.decoding import audio_automaton, continue_prompts
from audio_eval.heldout import HeldoutUtterance
from audio_eval.journal import Journal
from audio_eval.metrics import word_errors
from audio_eval.normalizers import NORMALIZERS
from audio_eval.scores import Item, Measure, score_items
from audio_eval.speech_models import Unavailable
from audio_eval.tasks.base import Context, Task, TaskOutput
from audio_eval.tasks.speech import transcribe_clips
from audio_model import Sampling
from audio_tokenize import layout

WER, MISMATCHED, RECONSTRUCTED, ORIGINAL = (
    "tts_wer",
    "tts_wer_mismatched_text",
    "tts_wer_reconstructed",
    "tts_wer_original",
)
REDUCTION, ENDED, LENGTH = "tts_wer_reduction_over_mismatched_text", "tts_ended", "tts_length_ratio"
# begin_of_text, text_start, text_end and audio_start.
_PROMPT_MARKERS = 4
TRANSCRIBED = (
    Measure(WER, "errors/word", "lower", (WER,), meaning="transcripts of generated speech against its own text"),
    Measure(
        MISMATCHED,
        "errors/word",
        "lower",
        (MISMATCHED,),
        meaning="control: the same transcripts against the other items' texts",
    ),
    Measure(
        REDUCTION,
        "errors/word",
        "higher",
        (MISMATCHED, WER),
        "difference",
        meaning="WER reduction over mismatched text: above 0, the speech says its text",
    ),
)
CALIBRATION = (
    Measure(
        RECONSTRUCTED,
        "errors/word",
        "lower",
        (RECONSTRUCTED,),
        meaning="the transcriber on reconstructions",
    ),
    Measure(
        ORIGINAL,
        "errors/word",
        "lower",
        (ORIGINAL,),
        meaning="the transcriber on the original recordings",
    ),
)
GENERATED = (
    Measure(ENDED, "fraction", "higher", (ENDED,), meaning="items that ended by themselves before the length limit"),
    Measure(LENGTH, "fraction", "neither", (LENGTH,), meaning="generated seconds over recorded seconds"),
)


@dataclasses.dataclass(frozen=True)
class TtsTask(Task):
    """Speak held-out texts.

    The prompt is `begin_of_text text_start T text_end audio_start`; whole frames follow in codebook order until
    `audio_end`. Every item counts: an item without speech is an empty recording.

    Attributes:
        num_items: Number of texts of the main dataset, each text once.
        min_frames: Minimum frames of an item.
        max_frames: Maximum frames; None for a quarter more than the longest recording of the dataset, or as many as
            the model's context holds.
        temperature: 0 for greedy decoding.
        top_k: Tokens to sample from, 0 for all.
        top_p: Probability mass to sample from.
        normalizer: Name of the normaliser of texts and of transcripts.
        batch_size: Number of items generated together.
    """

    name: str = "tts"
    num_items: int = 32
    min_frames: int = 4
    max_frames: int | None = None
    temperature: float = 0.7
    top_k: int = 20
    top_p: float = 1.0
    normalizer: str = "spoken_digits"
    batch_size: int = 32

    def check(self, context: Context) -> None:
        """Refuse an unknown normaliser."""
        del context
        self.check_choice("normalizer", NORMALIZERS)

    def run(self, context: Context, journal: Journal) -> TaskOutput:
        """Generate, decode and save speech, and transcribe it where there is a transcriber."""
        utterances = _one_a_text(context.utterances[context.main_dataset])[: self.num_items]
        max_frames = self._max_frames(context)
        codes = self._generate(context, utterances, max_frames, journal)
        clips = [_clips(context, utterance, frames) for utterance, frames in zip(utterances, codes, strict=True)]
        transcripts = self._transcribe(context, clips, journal)
        items = [_item(context, one, max_frames) for one in clips]
        items = score_transcripts(items, transcripts, NORMALIZERS[self.normalizer])
        transcriber = context.transcriber
        reason = (
            transcriber.reason
            if isinstance(transcriber, Unavailable)
            else "all items have the same text: there is no other"
        )
        missing = {measure.name: reason for measure in TRANSCRIBED}
        measures = (*TRANSCRIBED, *CALIBRATION, *GENERATED)
        scores = score_items(self.name, context.main_dataset, measures, items, missing)
        return TaskOutput(tuple(scores), tuple(items), {"max_frames": max_frames})

    def _max_frames(self, context: Context) -> int:
        """Return 1.25 times the length of the longest recording, or less where the context is too short."""
        if self.max_frames is not None:
            return self.max_frames
        whole = context.whole_utterances[context.main_dataset]
        longest = max(len(utterance.segment.codes) for utterance in whole)
        text = max(len(utterance.segment.text_ids) for utterance in whole)
        free = context.checkpoint.model.config.max_seq_len - text - _PROMPT_MARKERS - 1
        max_fitting = free // context.checkpoint.vocabulary.num_codebooks
        return max(self.min_frames, min(-(-5 * longest // 4), max_fitting))

    def _generate(
        self, context: Context, utterances: Sequence[HeldoutUtterance], max_frames: int, journal: Journal
    ) -> list[Int32[np.ndarray, "frames codebooks"]]:
        """Return the codes of each item; none for a text that leaves no space for its speech."""
        model, vocabulary = context.checkpoint.model, context.checkpoint.vocabulary
        continued = continue_prompts(
            model,
            [layout("text_first").prompt([utterance.segment], vocabulary) for utterance in utterances],
            [utterance.id for utterance in utterances],
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

    def _transcribe(self, context: Context, clips: Sequence["_Clips"], journal: Journal) -> dict[str, list[str]]:
        """Return transcripts of generated, reconstructed and original speech; none without a transcriber."""
        kinds = [
            "generated",
            "reconstructed",
            *(["original"] if all(one.original is not None for one in clips) else []),
        ]
        by_kind = {kind: [getattr(one, kind) for one in clips] for kind in kinds}
        return transcribe_clips(context, by_kind, journal, "tts")


@dataclasses.dataclass(frozen=True, eq=False)
class _Clips:
    """One text as generated by the model, as reconstructed by the codec from the recording's codes, and as recorded."""

    utterance: HeldoutUtterance
    num_frames: int
    generated: Float[np.ndarray, " samples"]
    reconstructed: Float[np.ndarray, " recorded"]
    original: Float[np.ndarray, " original"] | None


def _clips(context: Context, utterance: HeldoutUtterance, codes: Int32[np.ndarray, "frames codebooks"]) -> _Clips:
    reconstructed = context.decode(utterance.segment.codes)
    return _Clips(utterance, len(codes), context.decode(codes), reconstructed, context.original(utterance))


def _item(context: Context, clips: _Clips, max_frames: int) -> Item:
    utterance = clips.utterance
    audio = {"generated": context.save_audio(f"generated/{utterance.dataset}/{utterance.id}", clips.generated)}
    audio["reconstructed"] = context.reconstruction(utterance)
    if clips.original is not None:
        audio["original"] = context.save_audio(f"original/{utterance.dataset}/{utterance.id}", clips.original)
    terms = {
        ENDED: (float(0 < clips.num_frames < max_frames), 1.0),
        LENGTH: (float(clips.num_frames), float(len(utterance.segment.codes))),
    }
    detail = {
        "speaker": utterance.speaker,
        "reference": utterance.text,
        "frames": clips.num_frames,
        "recorded_frames": len(utterance.segment.codes),
        "audio": audio,
    }
    return Item(utterance.id, utterance.dataset, terms, detail)


def score_transcripts(
    items: Sequence[Item], transcripts: Mapping[str, Sequence[str]], normalize: Callable[[str], str]
) -> list[Item]:
    """Add transcripts to items, scored against their own text and against the texts of the others.

    Args:
        items: Items whose detail holds their text as `reference`.
        transcripts: Transcripts of all items' "generated" speech, and of "reconstructed" and "original" if there are.
        normalize: Normaliser of both sides.

    Returns:
        The items, with terms for the error rate against their own text and, as the mean over all other texts, against
        those of the other items.
    """
    references = [normalize(str(item.detail["reference"])) for item in items]
    scored = []
    for index, item in enumerate(items):
        own = {kind: texts[index] for kind, texts in transcripts.items()}
        terms = dict(item.terms)
        for kind, name in (("generated", WER), ("reconstructed", RECONSTRUCTED), ("original", ORIGINAL)):
            if kind in own:
                terms[name] = _errors(references[index], normalize(own[kind]))
        others = [reference for reference in references if reference != references[index]]
        if "generated" in own and others:
            against = [_errors(reference, normalize(own["generated"])) for reference in others]
            terms[MISMATCHED] = (float(np.mean([e for e, _ in against])), float(np.mean([w for _, w in against])))
        scored.append(dataclasses.replace(item, terms=terms, detail={**item.detail, "transcripts": own}))
    return scored


def _errors(reference: str, hypothesis: str) -> tuple[float, float]:
    errors = word_errors(reference, hypothesis)
    return float(errors.num_errors), float(errors.num_words)


def _one_a_text(utterances: Sequence[HeldoutUtterance]) -> list[HeldoutUtterance]:
    by_text = {utterance.text: utterance for utterance in reversed(utterances)}
    return [utterance for utterance in utterances if by_text[utterance.text] is utterance]
