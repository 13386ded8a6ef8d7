"""Generate speech tokens under a grammar and decode them to a WAV file.

    uv run python examples/generate_speech.py OUT.wav

The model is tiny and untrained, so the sound is noise; the grammar alone makes it a decodable sequence: whole frames,
codebooks in order, then the end of audio. Put `load_model(FOLDER)` in its place to hear a trained model.
"""

import sys

import jax
import numpy as np

from audio_data import Vocabulary
from audio_model import Qwen3xConfig, Sampling, TokenAutomaton, generate, initialize
from audio_tokenize import load_codec, write_wav

codec = load_codec("embedded")
vocabulary = Vocabulary.compact(
    "demo",
    num_text_pieces=4,
    codec_id=codec.codec_id,
    num_codebooks=codec.num_codebooks,
    codebook_size=codec.codebook_size,
    text_tokenizer="none",
)
config = Qwen3xConfig(
    vocab_size=vocabulary.size, embed=64, mlp=128, layers=2, heads=2, kv_heads=1, head_dim=32, tied=True
)
model = initialize(config, jax.random.key(0))

seconds = 2
frames = round(seconds * codec.frame_rate_hz)
grammar = TokenAutomaton.cycles(
    vocabulary.size,
    slots=[[vocabulary.audio_range(codebook)] for codebook in range(codec.num_codebooks)],
    end=vocabulary.audio_end,
    minimum=frames // 2,
    maximum=frames,
)
prompt = np.array([vocabulary.begin_of_text, vocabulary.audio_start])
(ids,) = generate(
    model,
    [prompt],
    max_new_tokens=frames * codec.num_codebooks + 1,
    sampling=Sampling(temperature=1.0, top_k=50),
    automaton=grammar,
    seeds=[0],
)
codes = vocabulary.codes(ids[:-1])  # without the end of audio
samples = codec.decode(codes)
write_wav(sys.argv[1], samples, codec.sample_rate_hz)
print(f"{len(ids)} tokens -> {codes.shape[0]} frames x {codes.shape[1]} codebooks")
print(f"{len(samples) / codec.sample_rate_hz:.2f} s of sound in {sys.argv[1]}")
