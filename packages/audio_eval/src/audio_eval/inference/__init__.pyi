from .abilities import AnswerLimits as AnswerLimits
from .speech_model import Speech as Speech
from .speech_model import SpeechModel as SpeechModel
from .speech_model import Update as Update
from .speech_model import load as load
