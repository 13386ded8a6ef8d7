"""Audio of several tasks: recordings as codes, generated speech, transcripts and voice similarities.

Finished clips of each step are kept in the journal.
"""

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from audio_data import InputError, Progress, Vocabulary
from audio_eval.decoding import audio_automaton, generate_within_context
from audio_eval.journal import Journal
from audio_eval.speech_models import Unavailable, similarity
from audio_eval.tasks.base import Context
from audio_model import Sampling, TokenAutomaton
from audio_tokenize import load_audio
from audio_tokenize.waveform import AudioSource

_BATCH_SIZE = 16
_CODES = "<i4"


def load_clip(context: Context, sources: Sequence[AudioSource]) -> Float32[np.ndarray, " samples"]:
    """Load recordings, one after the other, as mono samples at the codec's rate.

    Raises:
        InputError: One of them is missing or cannot be read.
    """
    rate_hz = int(context.codec.sample_rate_hz)
    return np.concatenate([load_audio(source, rate_hz) for source in sources])


def encode_clips(
    context: Context, clips: Mapping[str, Sequence[AudioSource]], journal: Journal, label: str
) -> tuple[dict[str, Int32[np.ndarray, "frames codebooks"]], dict[str, str]]:
    """Encode clips with the checkpoint's codec.

    Args:
        context: Gives the codec.
        clips: Recordings by key; those of one key are joined.
        journal: Keeps the codes.
        label: Name of the progress line.

    Returns:
        Codes by key, of the leading codebooks in the model's vocabulary; and by key why a clip could not be read.
        A task counts those as wrong: a test set does not become easier by a missing file.
    """
    step = "encode"
    codes = {key: _unpack(value) for key, value in journal.known(step).items() if key in clips}
    problems: dict[str, str] = {}
    waiting = [key for key in clips if key not in codes]
    with Progress(f"{label}, encode", len(clips), unit="clips", done=len(codes)) as progress:
        for start in range(0, len(waiting), _BATCH_SIZE):
            keys = waiting[start : start + _BATCH_SIZE]
            sounds = {}
            for key in keys:
                try:
                    sounds[key] = load_clip(context, clips[key])
                except InputError as error:
                    problems[key] = str(error)
            made = context.codec.encode_batch(list(sounds.values())) if sounds else []
            books = context.checkpoint.vocabulary.num_codebooks
            found = {key: np.asarray(one, np.int32)[:, :books] for key, one in zip(sounds, made, strict=True)}
            journal.record(step, {key: _pack(one) for key, one in found.items()})
            codes |= found
            progress.advance(len(keys))
    return codes, problems


def _pack(codes: Int[np.ndarray, "frames codebooks"]) -> list[Any]:
    return [codes.shape[1], base64.b64encode(codes.astype(_CODES).tobytes()).decode("ascii")]


def _unpack(value: Sequence[Any]) -> Int32[np.ndarray, "frames codebooks"]:
    return np.frombuffer(base64.b64decode(value[1]), _CODES).astype(np.int32).reshape(-1, value[0])


Codes = Int32[np.ndarray, "_ codebooks"]


@dataclasses.dataclass(frozen=True, eq=False)
class Continuation:
    """Speech that continues a prompt.

    Attributes:
        codes: Codes of the speech; no frames where the ids are not those of whole frames.
        ended: Whether the end token was generated, after at least one other.
        problem: Why there is no speech; None where there is.
    """

    codes: Codes
    ended: bool = False
    problem: str | None = None


def generate_speech(
    context: Context,
    prompts: Sequence[Int32[np.ndarray, " _"]],
    keys: Sequence[str],
    *,
    min_frames: int,
    max_frames: int,
    sampling: Sampling,
    batch_size: int,
    label: str,
    journal: Journal,
    grammar: bool = True,
) -> list[Continuation]:
    """Continue prompts that end inside audio.

    Args:
        context: Gives the model.
        prompts: Token ids.
        keys: Name of each prompt, see `continue_prompts`.
        min_frames: Minimum frames of a continuation; a prompt that leaves space for fewer has none.
        max_frames: Maximum frames; a prompt that leaves space for fewer has its own maximum.
        sampling: How tokens are chosen.
        batch_size: Number of prompts continued together.
        label: Name of the progress line, and of the step in the journal.
        journal: Keeps finished continuations.
        grammar: Whether only whole frames and then the end of audio can follow.
    """
    model, vocabulary = context.checkpoint.model, context.checkpoint.vocabulary
    books, vocab_size = vocabulary.num_codebooks, model.config.vocab_size

    def frames_up_to(limit: int) -> TokenAutomaton:
        return audio_automaton(vocabulary, min_frames=min(min_frames, limit), max_frames=limit, vocab_size=vocab_size)

    continued = generate_within_context(
        model,
        prompts,
        keys,
        automaton=frames_up_to if grammar else None,
        unit=books,
        min_units=min_frames,
        max_units=max_frames,
        stop_id=vocabulary.audio_end,
        sampling=sampling,
        batch_size=batch_size,
        label=label,
        journal=journal,
    )
    continuations = []
    for prompt, (tokens, limit) in zip(prompts, continued, strict=True):
        if tokens is None:
            nothing = np.zeros((0, books), np.int32)
            continuations.append(
                Continuation(nothing, problem=does_not_fit(len(prompt), model.config.max_seq_len, "speech"))
            )
        else:
            continuations.append(Continuation(as_frames(tokens, vocabulary), 0 < len(tokens) < limit * books))
    return continuations


def does_not_fit(num_tokens: int, context: int, what: str) -> str:
    """Say in one line why a prompt has no continuation."""
    return f"{num_tokens} tokens leave no space for {what} in the context of {context}"


def as_frames(tokens: Int32[np.ndarray, " tokens"], vocabulary: Vocabulary) -> Int32[np.ndarray, "frames codebooks"]:
    """Return the codes of generated audio ids, cut to whole frames; none where an id is out of its place."""
    books = vocabulary.num_codebooks
    try:
        return vocabulary.codes(tokens[: len(tokens) // books * books])
    except InputError:
        return np.zeros((0, books), np.int32)


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
