"""Recordings of published test sets as codes: read, encoded in batches, and kept in the journal."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, Int32

from audio_data import InputError, Progress
from audio_eval.journal import Journal
from audio_eval.tasks.base import Context
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
