"""Outside models that judge generated speech. Each lives behind an extra; its absence is a reason, never a crash."""

from audio_data import InputError
from audio_eval.judges.base import Judge as Judge
from audio_eval.judges.base import SpeakerJudge as SpeakerJudge
from audio_eval.judges.base import SpeakerModel as SpeakerModel
from audio_eval.judges.base import Transcriber as Transcriber
from audio_eval.judges.base import Unavailable as Unavailable
from audio_eval.judges.base import similarity as similarity
from audio_eval.judges.whisper import FasterWhisper as FasterWhisper
from audio_eval.judges.whisper import find_whisper as find_whisper

__all__ = [
    "FasterWhisper",
    "Judge",
    "SpeakerJudge",
    "SpeakerModel",
    "Transcriber",
    "Unavailable",
    "find_judge",
    "find_speaker_judge",
    "find_whisper",
    "similarity",
]


def find_judge(name: str = "auto") -> Judge:
    """Finds the transcriber that judges generated speech.

    Args:
        name: "auto" takes a Whisper model that is already on this machine and downloads nothing; "embedded" is the
            transcriber of this package, which knows the words of the sample corpus only; "none" judges nothing;
            "whisper:MODEL" names a CTranslate2 folder, a size such as "tiny.en", or a hub id, which is downloaded
            where it is not cached; "whisper:MODEL@de" takes all speech for German instead of English.

    Returns:
        The transcriber, or why there is none and how to get one.
    """
    if name == "none":
        return Unavailable("no transcriber was asked for (`--judge none`)")
    if name == "auto":
        return find_whisper()
    if name == "embedded":
        from audio_eval.judges.embedded.transcriber import EmbeddedTranscriber

        return EmbeddedTranscriber()
    kind, _, model = name.partition(":")
    if kind == "whisper" and model:
        return find_whisper(model)
    raise InputError(
        f"`judge` must be auto, embedded, none or whisper:MODEL, got {name!r}: MODEL is a CTranslate2 folder, a size "
        "such as tiny.en, or a hub id"
    )


def find_speaker_judge(name: str = "embedded") -> SpeakerJudge:
    """Finds the judge of voices.

    Args:
        name: "embedded" for the one of this package; "none" judges nothing; "wavlm" or "wavlm:MODEL" for a WavLM
            speaker model, given as a folder or a hub id.

    Returns:
        The judge, or why there is none and how to get one.
    """
    if name == "none":
        return Unavailable("no speaker judge was asked for (`--speaker-judge none`)")
    if name == "embedded":
        from audio_eval.judges.embedded.speaker import EmbeddedSpeaker

        return EmbeddedSpeaker()
    kind, _, model = name.partition(":")
    if kind == "wavlm":
        from audio_eval.judges.wavlm import DEFAULT_MODEL, find_wavlm

        return find_wavlm(model or DEFAULT_MODEL)
    raise InputError(
        f"`speaker_judge` must be embedded, none, wavlm or wavlm:MODEL, got {name!r}: MODEL is a folder or a hub id"
    )
