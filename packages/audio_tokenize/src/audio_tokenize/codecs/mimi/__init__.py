"""Mimi in Equinox: the published codec, 24 kHz speech at 12.5 frames/s, from its published weights.

Source: Mimi (Défossez et al., "Moshi: a speech-text foundation model for real-time dialogue", 2024, arXiv 2410.00037);
published weights `kyutai/mimi`. Parity with transformers' MimiModel is tested; no code is taken from it.
"""

from audio_tokenize.codecs.mimi.codec import MimiCodec
from audio_tokenize.codecs.mimi.config import MimiConfig
from audio_tokenize.codecs.mimi.weights import load_mimi, write_random_mimi

__all__ = ["MimiCodec", "MimiConfig", "load_mimi", "write_random_mimi"]
