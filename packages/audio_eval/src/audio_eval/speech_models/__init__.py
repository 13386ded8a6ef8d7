"""Outside speech models that score generated speech: transcribers and speaker encoders.

Most need an extra. Where one is absent, its scores are replaced by the reason.
"""

from audio_data import InputError
from audio_eval.speech_models.base import SpeakerEncoder as SpeakerEncoder
from audio_eval.speech_models.base import Transcriber as Transcriber
from audio_eval.speech_models.base import Unavailable as Unavailable
from audio_eval.speech_models.base import similarity as similarity
from audio_eval.speech_models.whisper import FasterWhisper as FasterWhisper
from audio_eval.speech_models.whisper import find_whisper as find_whisper

__all__ = [
    "FasterWhisper",
    "SpeakerEncoder",
    "Transcriber",
    "Unavailable",
    "find_speaker_encoder",
    "find_transcriber",
    "find_whisper",
    "similarity",
]


def find_transcriber(name: str = "auto") -> Transcriber | Unavailable:
    """Find the transcriber of generated speech.

    Args:
        name: "auto" takes a Whisper model that is already on this machine and downloads nothing; "embedded" is the
            transcriber of this package, for the words of the sample corpus only; "none" for no transcriber;
            "whisper:MODEL" names a CTranslate2 folder, a size such as "tiny.en", or a hub id, which is downloaded
            where it is not cached; "whisper:MODEL@de" transcribes German instead of English.

    Returns:
        The transcriber, or the reason why there is none and how to get one.

    Raises:
        InputError: The name is of no such form.
    """
    if name == "none":
        return Unavailable("no transcriber was asked for (`--transcriber none`)")
    if name == "auto":
        return find_whisper()
    if name == "embedded":
        from audio_eval.speech_models.embedded import EmbeddedTranscriber

        return EmbeddedTranscriber()
    kind, _, model = name.partition(":")
    if kind == "whisper" and model:
        return find_whisper(model)
    raise InputError(
        f"`transcriber` must be auto, embedded, none or whisper:MODEL, got {name!r}: MODEL is a CTranslate2 folder, a "
        "size such as tiny.en, or a hub id"
    )


def find_speaker_encoder(name: str = "embedded") -> SpeakerEncoder | Unavailable:
    """Find the speaker encoder, which measures voice similarity.

    Args:
        name: "embedded" for the one of this package; "none" for no speaker encoder; "wavlm" or "wavlm:MODEL" for a
            WavLM speaker model, given as a folder or a hub id.

    Returns:
        The speaker encoder, or the reason why there is none and how to get one.

    Raises:
        InputError: The name is of no such form.
    """
    if name == "none":
        return Unavailable("no speaker encoder was asked for (`--speaker-encoder none`)")
    if name == "embedded":
        from audio_eval.speech_models.embedded import EmbeddedSpeaker

        return EmbeddedSpeaker()
    kind, _, model = name.partition(":")
    if kind == "wavlm":
        from audio_eval.speech_models.wavlm import DEFAULT_MODEL, find_wavlm

        return find_wavlm(model or DEFAULT_MODEL)
    raise InputError(
        f"`speaker_encoder` must be embedded, none, wavlm or wavlm:MODEL, got {name!r}: MODEL is a folder or a hub id"
    )
