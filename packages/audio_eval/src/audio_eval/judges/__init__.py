"""Outside models that judge generated speech. Each lives behind an extra; its absence is a reason, never a crash."""

from audio_data import InputError
from audio_eval.judges.base import Judge as Judge
from audio_eval.judges.base import Transcriber as Transcriber
from audio_eval.judges.base import Unavailable as Unavailable
from audio_eval.judges.whisper import FasterWhisper as FasterWhisper
from audio_eval.judges.whisper import find_whisper as find_whisper

__all__ = ["FasterWhisper", "Judge", "Transcriber", "Unavailable", "find_judge", "find_whisper"]


def find_judge(name: str = "auto") -> Judge:
    """Finds the transcriber that judges generated speech.

    Args:
        name: "auto" takes a Whisper model that is already on this machine and downloads nothing; "none" judges
            nothing; "whisper:MODEL" names a CTranslate2 folder, a size such as "tiny.en", or a hub id, downloaded
            where it is not cached.

    Returns:
        The transcriber, or why there is none and how to get one.
    """
    if name == "none":
        return Unavailable("no transcriber was asked for (`--judge none`)")
    if name == "auto":
        return find_whisper()
    kind, _, model = name.partition(":")
    if kind == "whisper" and model:
        return find_whisper(model)
    raise InputError(
        f"`judge` must be auto, none or whisper:MODEL, got {name!r}: MODEL is a CTranslate2 folder, a size such as "
        "tiny.en, or a hub id"
    )
