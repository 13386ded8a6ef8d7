"""Whether a codec keeps what recordings say: a transcriber compares recordings with their reconstructions.

A model cannot learn from codes what the codec lost, so that this is looked at before anything is trained.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from audio_data import InputError, Progress
from audio_eval.metrics import Estimate, word_error_rate
from audio_eval.normalizers import NORMALIZERS
from audio_eval.speech_models import SpeakerEncoder, Transcriber, Unavailable, similarity
from audio_tokenize import AbstractCodec, AbstractCorpus, Utterance, load_audio

MAX_INCREASE = 0.25
"""Largest increase of the word error rate by the codec that is accepted."""
_UNDERSTOOD = 0.5
# Of 8 voices of the sample corpus the two halves of one are at most 0.14 apart, and two voices 0.4 to 1.6, but for
# synthetic voices of one family.
_TWO_VOICES = 0.3
_FEWEST_OF_A_SPEAKER = 8


@dataclasses.dataclass(frozen=True)
class CodecCheck:
    """What a codec keeps of some recordings.

    Attributes:
        num_utterances: Utterances that were compared.
        seconds: Their duration.
        transcriber: The transcriber, or why there is none.
        has_texts: Whether errors are counted against transcripts of the corpus; otherwise against what the transcriber
            makes of the recordings.
        wer_original: Word error rate on the recordings; None without transcripts or transcriber.
        wer_reconstructed: Word error rate on the reconstructions; None without a transcriber.
        similarity: Mean similarity of the voice of a reconstruction and of its recording; None without an encoder.
        mixed_speakers: Speakers whose recordings seem to be of two voices.
    """

    num_utterances: int
    seconds: float
    transcriber: str
    has_texts: bool
    wer_original: Estimate | None
    wer_reconstructed: Estimate | None
    similarity: float | None
    mixed_speakers: tuple[str, ...]

    def verdict(self, max_increase: float = MAX_INCREASE) -> str:
        """Return "kept", "garbled", or "unknown" where the transcriber does not understand the recordings either.

        Args:
            max_increase: Largest accepted increase of the word error rate.
        """
        if self.wer_reconstructed is None:
            return "unknown"
        before = 0.0 if self.wer_original is None else self.wer_original.value
        if before > _UNDERSTOOD:
            return "unknown"
        return "kept" if self.wer_reconstructed.value - before <= max_increase else "garbled"

    def lines(self) -> list[str]:
        """Return what was found, in lines for people."""
        lines = [f"{self.num_utterances} utterances, {self.seconds:.1f} s; transcriber: {self.transcriber}"]
        if self.wer_reconstructed is not None:
            reference = "transcripts of the corpus" if self.has_texts else "transcripts of the recordings"
            original = "" if self.wer_original is None else f"{self.wer_original.value:.3f} on recordings, "
            lines.append(
                f"word error rate {original}{self.wer_reconstructed.value:.3f} on reconstructions, against {reference}"
            )
        if self.similarity is not None:
            lines.append(f"similarity of the voices of recording and reconstruction: {self.similarity:.3f}")
        return [*lines, f"verdict: {self.verdict()}"]

    def to_json(self) -> dict[str, Any]:
        """All fields and the verdict, as JSON values."""
        return {**dataclasses.asdict(self), "verdict": self.verdict()}


def check_codec(
    corpus: AbstractCorpus,
    codec: AbstractCodec,
    transcriber: Transcriber | Unavailable,
    encoder: SpeakerEncoder | Unavailable,
    *,
    num_utterances: int = 24,
    normalizer: str = "spoken_digits",
) -> CodecCheck:
    """Compare recordings with their reconstructions.

    Args:
        corpus: Where the recordings are.
        codec: What encodes and decodes them.
        transcriber: Writes down what both say.
        encoder: Compares their voices.
        num_utterances: How many to compare, spread over the first 2,000 of the corpus.
        normalizer: Name of the normaliser of texts and transcripts.

    Raises:
        InputError: The corpus has no utterance that can be used, or a recording cannot be read.
    """
    chosen = _sample(corpus, num_utterances)
    rate_hz, originals, reconstructions = int(codec.sample_rate_hz), [], []
    with Progress("check codec", len(chosen), unit="utterances") as progress:
        for utterance in chosen:
            samples = load_audio(utterance.audio, rate_hz, utterance.start_seconds, utterance.end_seconds)
            originals.append(samples)
            reconstructions.append(np.asarray(codec.decode(codec.encode(samples)))[: len(samples)])
            progress.advance()
    has_texts = all(utterance.text for utterance in chosen)
    before = after = None
    if not isinstance(transcriber, Unavailable):
        normalize = NORMALIZERS[normalizer]
        said, kept = (
            [normalize(text) for text in transcriber.transcribe(clips, rate_hz)]
            for clips in (originals, reconstructions)
        )
        texts = [normalize(utterance.text) for utterance in chosen] if has_texts else said
        before = word_error_rate(texts, said) if has_texts else None
        after = word_error_rate(texts, kept) if any(texts) else None
    voices = None if isinstance(encoder, Unavailable) else encoder.embed(originals, rate_hz)
    alike = None
    if voices is not None and not isinstance(encoder, Unavailable):
        pairs = zip(voices, encoder.embed(reconstructions, rate_hz), strict=True)
        alike = float(np.mean([similarity(one, other) for one, other in pairs]))
    return CodecCheck(
        num_utterances=len(chosen),
        seconds=sum(len(samples) for samples in originals) / rate_hz,
        transcriber=transcriber.reason if isinstance(transcriber, Unavailable) else transcriber.model_id,
        has_texts=has_texts,
        wer_original=before,
        wer_reconstructed=after,
        similarity=alike,
        mixed_speakers=() if voices is None else _mixed_speakers([u.speaker for u in chosen], voices),
    )


def _sample(corpus: AbstractCorpus, num_utterances: int) -> list[Utterance]:
    found = list(itertools.islice(corpus, 2_000))
    if not found:
        raise InputError(f"corpus `{corpus.name}` has no utterance that can be used: add audio")
    places = np.unique(np.linspace(0, len(found) - 1, min(num_utterances, len(found))).round().astype(int))
    return [found[place] for place in places]


def _mixed_speakers(speakers: Sequence[str], voices: Sequence[Float[np.ndarray, " dim"]]) -> tuple[str, ...]:
    by_speaker: Mapping[str, list[Float[np.ndarray, " dim"]]] = defaultdict(list)
    for speaker, voice in zip(speakers, voices, strict=True):
        if np.any(voice):
            by_speaker[speaker].append(voice)
    return tuple(
        speaker
        for speaker, found in sorted(by_speaker.items())
        if len(found) >= _FEWEST_OF_A_SPEAKER and voice_gap(np.stack(found)) > _TWO_VOICES
    )


def voice_gap(voices: Float[np.ndarray, "clips dim"]) -> float:
    """Split clips into two groups of like voices; return how much more alike clips of one group are than others.

    Spherical 2-means, which begins with the two clips that are least alike.

    Args:
        voices: A vector of each clip, none of length 0.

    Returns:
        Mean cosine within a group less that between the two; 0 where one group has fewer than two clips.
    """
    voices = voices / np.linalg.norm(voices, axis=1, keepdims=True)
    cosines = voices @ voices.T
    ends = np.unravel_index(np.argmin(cosines), cosines.shape)
    centers = voices[list(ends)]
    group = np.argmax(voices @ centers.T, axis=1)
    for _ in range(20):
        centers = np.stack(
            [voices[group == one].sum(axis=0) if (group == one).any() else centers[one] for one in (0, 1)]
        )
        group = np.argmax(voices @ (centers / np.linalg.norm(centers, axis=1, keepdims=True)).T, axis=1)
    if min((group == 0).sum(), (group == 1).sum()) < 2:
        return 0.0
    same = group[:, None] == group[None]
    others = ~np.eye(len(voices), dtype=bool)
    return float(cosines[same & others].mean() - cosines[~same].mean())
