"""The tasks of this package, as values."""

from audio_eval.tasks.asr import AsrTask
from audio_eval.tasks.base import Task
from audio_eval.tasks.minimal_pairs import PAIRS_TASKS
from audio_eval.tasks.nll import NllTask
from audio_eval.tasks.seed_tts import SeedTtsTask
from audio_eval.tasks.speech_to_speech import ContinuationTask, SpeechTranslationTask
from audio_eval.tasks.speech_to_text import LibriSpeechTask, TranslationTask
from audio_eval.tasks.tts import TtsTask

TASKS: tuple[Task, ...] = (
    NllTask(),
    AsrTask(),
    TtsTask(),
    *PAIRS_TASKS,
    LibriSpeechTask(),
    TranslationTask(),
    SeedTtsTask(),
    SpeechTranslationTask(),
    ContinuationTask(),
)
