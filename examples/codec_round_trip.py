"""Encode a recording, look at its tokens, and decode them again.

    uv run python examples/codec_round_trip.py OUT.wav [RECORDING]

Without a recording it takes an utterance of the sample corpus.
"""

import sys

from audio_tokenize import load_audio, load_codec, open_corpus, write_wav

codec = load_codec("embedded")
if len(sys.argv) > 2:
    samples = load_audio(sys.argv[2])
else:
    utterance = open_corpus("sample").utterances[0]
    samples = load_audio(utterance.audio, start_seconds=utterance.start_seconds, end_seconds=utterance.end_seconds)
    print(f"{utterance.speaker} says: {utterance.text!r}")

codes = codec.encode(samples)
print(f"{len(samples) / codec.sample_rate_hz:.2f} s -> {codes.shape[0]} frames x {codes.shape[1]} codebooks")
print("the first frame, coarse to fine:", *codes[0].tolist())
write_wav(sys.argv[1], codec.decode(codes), codec.sample_rate_hz)
