"""Transcripts and voice similarities of many clips, kept in the journal."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from audio_data import Progress
from audio_eval.journal import Journal
from audio_eval.speech_models import Unavailable, similarity
from audio_eval.tasks.base import Context

_CLIPS_PER_CALL = 16


def transcribe_clips(
    context: Context, clips: Mapping[str, Sequence[Float[np.ndarray, " _"]]], journal: Journal, label: str
) -> dict[str, list[str]]:
    """Transcribe several kinds of clips of the same items.

    Args:
        context: Gives the transcriber.
        clips: For each kind, such as "generated", one clip an item, at the codec's rate.
        journal: Keeps the transcripts.
        label: Name of the progress line.

    Returns:
        Transcripts by kind; none of any kind without a transcriber.
    """
    transcriber = context.transcriber
    if isinstance(transcriber, Unavailable):
        return {}
    known = dict(journal.known("transcribe"))
    waiting = [
        (f"{kind}/{index}", clip)
        for kind, some in clips.items()
        for index, clip in enumerate(some)
        if f"{kind}/{index}" not in known
    ]
    num_clips = sum(map(len, clips.values()))
    with Progress(f"{label}, transcribe", num_clips, unit="clips", done=len(known)) as progress:
        for start in range(0, len(waiting), _CLIPS_PER_CALL):
            batch = waiting[start : start + _CLIPS_PER_CALL]
            texts = transcriber.transcribe([clip for _, clip in batch], int(context.codec.sample_rate_hz))
            transcripts = {key: text for (key, _), text in zip(batch, texts, strict=True)}
            journal.record("transcribe", transcripts)
            known |= transcripts
            progress.advance(len(batch))
    return {kind: [known[f"{kind}/{index}"] for index in range(len(some))] for kind, some in clips.items()}


def voice_similarities(
    context: Context, pairs: Sequence[tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]]
) -> list[float] | None:
    """Return the similarity of the voices of each pair of clips by the speaker encoder; None without one.

    Args:
        context: Gives the speaker encoder.
        pairs: Clips at the codec's rate; one without samples is like no other, 0.
    """
    encoder = context.speaker_encoder
    if isinstance(encoder, Unavailable):
        return None
    rate_hz = int(context.codec.sample_rate_hz)
    # The same recording is often in several pairs, and an encoder may be slow.
    clips = {id(clip): clip for pair in pairs for clip in pair}
    vectors = dict(zip(clips, encoder.embed(list(clips.values()), rate_hz), strict=True))
    return [similarity(vectors[id(one)], vectors[id(other)]) for one, other in pairs]
