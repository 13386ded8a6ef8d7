"""Judges at work: transcripts and voices of many takes, kept in the journal."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from audio_data import Progress
from audio_eval.journal import Journal
from audio_eval.judges import Unavailable, similarity
from audio_eval.tasks.base import Context

_CLIPS_PER_CALL = 16


def transcribe_takes(
    context: Context, clips: Mapping[str, Sequence[Float[np.ndarray, " _"]]], journal: Journal, label: str
) -> dict[str, list[str]]:
    """Transcribes several kinds of takes of the same items.

    Args:
        context: Gives the transcriber.
        clips: For each kind, such as "generated", one clip an item, at the codec's rate.
        journal: Keeps the transcripts.
        label: Name of the progress line.

    Returns:
        Transcripts by kind; none of any kind without a transcriber.
    """
    judge = context.judge
    if isinstance(judge, Unavailable):
        return {}
    known = dict(journal.known("judge"))
    waiting = [
        (f"{kind}/{index}", clip)
        for kind, takes in clips.items()
        for index, clip in enumerate(takes)
        if f"{kind}/{index}" not in known
    ]
    num_clips = sum(len(takes) for takes in clips.values())
    with Progress(f"{label}, judge", num_clips, unit="clips", done=len(known)) as progress:
        for start in range(0, len(waiting), _CLIPS_PER_CALL):
            some = waiting[start : start + _CLIPS_PER_CALL]
            texts = judge.transcribe([clip for _, clip in some], int(context.codec.sample_rate_hz))
            heard = {key: text for (key, _), text in zip(some, texts, strict=True)}
            journal.record("judge", heard)
            known |= heard
            progress.advance(len(some))
    return {kind: [known[f"{kind}/{index}"] for index in range(len(takes))] for kind, takes in clips.items()}


def voice_similarities(
    context: Context, pairs: Sequence[tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]]
) -> list[float] | None:
    """Says how alike the voices of each pair of clips are, by the speaker judge; None without one.

    Args:
        context: Gives the judge.
        pairs: Clips at the codec's rate; one without samples is like no other, 0.
    """
    judge = context.speaker_judge
    if isinstance(judge, Unavailable):
        return None
    rate_hz = int(context.codec.sample_rate_hz)
    # The same recording is often of several pairs; judges may be slow.
    clips = {id(clip): clip for pair in pairs for clip in pair}
    vectors = dict(zip(clips, judge.embed(list(clips.values()), rate_hz), strict=True))
    return [similarity(vectors[id(one)], vectors[id(other)]) for one, other in pairs]
