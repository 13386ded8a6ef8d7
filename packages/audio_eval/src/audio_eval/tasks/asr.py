"""Speech recognition: the model continues `audio_first` documents after their audio, under a text grammar."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax

from audio_eval.decoding import continue_prompts, text_automaton
from audio_eval.heldout import HeldoutUtterance
from audio_eval.journal import Journal
from audio_eval.metrics import word_errors
from audio_eval.normalizers import NORMALIZERS
from audio_eval.scores import Item, Measure, score_items
from audio_eval.tasks.base import Context, Task, TaskOutput
from audio_model import Qwen3x, Sampling, initialize
from audio_tokenize import layout

WER, MISMATCHED, UNTRAINED = "asr_wer", "asr_wer_mismatched_audio", "asr_wer_untrained"
REDUCTION, EXACT = "asr_wer_reduction_over_mismatched_audio", "asr_exact"
MEASURES = (
    Measure(WER, "errors/word", "lower", (WER,), meaning="word error rate, greedy unless sampling is set"),
    Measure(
        MISMATCHED,
        "errors/word",
        "lower",
        (MISMATCHED,),
        meaning="control: the same model given another utterance's audio, scored against this one's text",
    ),
    Measure(
        UNTRAINED, "errors/word", "lower", (UNTRAINED,), meaning="control: the same architecture, untrained weights"
    ),
    Measure(
        REDUCTION,
        "errors/word",
        "higher",
        (MISMATCHED, WER),
        "difference",
        meaning="WER reduction over mismatched audio",
    ),
    Measure(EXACT, "fraction", "higher", (EXACT,), meaning="transcripts without any error"),
)


@dataclasses.dataclass(frozen=True)
class AsrTask(Task):
    """Transcribe held-out utterances.

    The prompt is `begin_of_text audio_start A audio_end text_start`; text follows until `text_end`. On the main
    dataset two controls are measured: the same model given the audio of the next utterance (with another text), and an
    untrained model of the same configuration.

    Attributes:
        normalizer: Name of the text normaliser of both sides.
        max_tokens: Maximum text tokens of a transcript; None for a quarter more than the longest reference.
        temperature: 0 for greedy decoding.
        top_k: Tokens to sample from, 0 for all.
        top_p: Probability mass to sample from.
        controls: Whether to measure the controls.
        batch_size: Utterances decoded together.
        num_kept_audio: Utterances of each dataset whose audio is kept for the report.
    """

    name: str = "asr"
    normalizer: str = "spoken_english"
    max_tokens: int | None = None
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    controls: bool = True
    batch_size: int = 32
    num_kept_audio: int = 12

    def check(self, context: Context) -> None:
        """Refuse an unknown normaliser."""
        del context
        self.check_choice("normalizer", NORMALIZERS)

    def run(self, context: Context, journal: Journal) -> TaskOutput:
        """Transcribe all utterances of all datasets."""
        utterances = [utterance for group in context.utterances.values() for utterance in group]
        longest = max(len(one.segment.text_ids) for group in context.whole_utterances.values() for one in group)
        max_tokens = self.max_tokens or -(-5 * longest // 4)
        model, main = context.checkpoint.model, context.utterances[context.main_dataset]
        transcripts = {WER: self._transcribe(context, model, utterances, utterances, max_tokens, "asr", journal)}
        others = other_utterances(context.whole_utterances[context.main_dataset], NORMALIZERS[self.normalizer])
        if self.controls and others is not None:
            label = "asr, mismatched audio"
            transcripts[MISMATCHED] = self._transcribe(
                context, model, main, others[: len(main)], max_tokens, label, journal
            )
        if self.controls:
            untrained = initialize(model.config, jax.random.key(context.seed))
            label = "asr, untrained"
            transcripts[UNTRAINED] = self._transcribe(context, untrained, main, main, max_tokens, label, journal)
        items = self._items(context, utterances, transcripts)
        scores = score_items(self.name, context.main_dataset, MEASURES, items, self._missing(context))
        for name in list(context.datasets)[1:]:
            scores += score_items(self.name, name, MEASURES, items)
        return TaskOutput(tuple(scores), tuple(items), {"max_tokens": max_tokens})

    def _missing(self, context: Context) -> dict[str, str]:
        """Why a control on the main dataset may have no value."""
        if not self.controls:
            return dict.fromkeys(
                (MISMATCHED, UNTRAINED, REDUCTION), "controls were left out: set `asr.controls` to true"
            )
        num_utterances = len(context.whole_utterances[context.main_dataset])
        reason = f"all {num_utterances} utterances have the same text, so none of them is a control for another"
        return {MISMATCHED: reason, REDUCTION: reason}

    def _transcribe(
        self,
        context: Context,
        model: Qwen3x,
        targets: Sequence[HeldoutUtterance],
        audio_sources: Sequence[HeldoutUtterance],
        max_tokens: int,
        label: str,
        journal: Journal,
    ) -> list[str]:
        """Return transcripts for the targets, each from the audio of the utterance in its place in `audio_sources`."""
        vocabulary, text = context.checkpoint.vocabulary, context.checkpoint.text
        continued = continue_prompts(
            model,
            [layout("audio_first").prompt([utterance.segment], vocabulary) for utterance in audio_sources],
            [f"{utterance.dataset}/{utterance.id}" for utterance in targets],
            automaton=text_automaton(vocabulary, max_tokens=max_tokens, vocab_size=model.config.vocab_size),
            stop_id=vocabulary.text_end,
            sampling=Sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, seed=context.seed),
            max_new_tokens=max_tokens + 1,
            batch_size=self.batch_size,
            label=label,
            journal=journal,
        )
        return ["" if tokens is None else text.decode(tokens.tolist()) for tokens in continued]

    def _items(
        self, context: Context, utterances: Sequence[HeldoutUtterance], transcripts: Mapping[str, Sequence[str]]
    ) -> list[Item]:
        items = []
        kept = dict.fromkeys(context.datasets, 0)
        for index, utterance in enumerate(utterances):
            # The main dataset comes first, so its utterances and the controls' transcripts share indices.
            hypotheses = {name: texts[index] for name, texts in transcripts.items() if index < len(texts)}
            detail: dict[str, object] = {
                "speaker": utterance.speaker,
                "reference": utterance.text,
                "hypotheses": hypotheses,
                "frames": len(utterance.segment.codes),
            }
            if kept[utterance.dataset] < self.num_kept_audio:
                kept[utterance.dataset] += 1
                detail["audio"] = context.reconstruction(utterance)
            items.append(Item(utterance.id, utterance.dataset, self._terms(utterance.text, hypotheses), detail))
        return items

    def _terms(self, reference: str, hypotheses: Mapping[str, str]) -> dict[str, tuple[float, float]]:
        normalize = NORMALIZERS[self.normalizer]
        errors = {name: word_errors(normalize(reference), normalize(text)) for name, text in hypotheses.items()}
        terms = {name: (float(e.num_errors), float(e.num_words)) for name, e in errors.items()}
        return {**terms, EXACT: (float(errors[WER].num_errors == 0), 1.0)}


def other_utterances(
    utterances: Sequence[HeldoutUtterance], normalize: Callable[[str], str]
) -> list[HeldoutUtterance] | None:
    """Choose for each utterance another one whose audio takes its place: the next in order with another text.

    Returns:
        As many utterances, or None where all texts are the same, so that no other utterance is a control.
    """
    texts = [normalize(utterance.text) for utterance in utterances]
    if len(set(texts)) < 2:
        return None
    size = len(utterances)
    following = (next(j % size for j in range(i + 1, i + size) if texts[j % size] != texts[i]) for i in range(size))
    return [utterances[index] for index in following]
