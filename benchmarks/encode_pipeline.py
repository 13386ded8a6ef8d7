"""What encoding a corpus costs beside the codec: reading, resampling, batching, writing; against full-size Mimi.

    .venv/bin/python benchmarks/encode_pipeline.py [--clips 24] [--rounds 5] [--cpu 0] [--no-mimi]

Process CPU seconds a second of audio, one thread pinned to one core, formats interleaved, medians over the rounds, one
JSON line a case. The pipeline is the whole of `encode_corpus`, files to finished folder, with a codec whose codes are
drawn before the clock starts; Mimi has random weights and encodes the same clips of 10 s, and then does so within
`encode_corpus`, where the two costs should add up.
"""

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NPROC": "1", "JAX_PLATFORMS": "cpu"}

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import soundfile

from audio_tokenize import (
    AbstractCodec,
    CodecSpec,
    Corpus,
    encode_corpus,
    load_audio,
    load_codec,
    open_corpus,
    resample,
)
from audio_tokenize.codecs.mimi import MimiConfig, write_random_mimi

CLIP_SECONDS = 10
# Rate and container of corpora: LibriSpeech and MLS, Common Voice and Emilia, LibriTTS-R, recordings of one's own.
FORMATS = {
    "wav_24k": ("wav", 24_000, {}),
    "flac_16k": ("flac", 16_000, {}),
    "mp3_24k": ("mp3", 24_000, {}),
    "opus_48k": ("opus", 48_000, {"format": "OGG", "subtype": "OPUS"}),
    "flac_44k_stereo": ("flac", 44_100, {}),
}


class DrawnCodec(AbstractCodec):
    """Codes of Mimi's shape that cost nothing to make."""

    drawn: np.ndarray
    codec_id: str = "drawn"
    sample_rate_hz: int = 24_000
    samples_per_frame: int = 1920
    num_codebooks: int = 8
    codebook_size: int = 2048
    attention_window_frames: int | None = None

    def encode_batch(self, signals):
        return [self.drawn[: self.num_frames(len(signal))] for signal in signals]

    def encoder_stream(self):
        raise NotImplementedError("clips of 10 s are encoded in batches")

    def decoder_stream(self):
        raise NotImplementedError("nothing is decoded here")

    def codebook_vectors(self):
        raise NotImplementedError("nothing is decoded here")


def write_clips(folder: Path, number: int) -> None:
    """Clips of speech, each in every format, with a transcript beside it."""
    spoken = [
        load_audio(u.audio, 24_000, u.start_seconds, u.end_seconds) for u in open_corpus("sample").utterances[:600]
    ]
    speech = np.concatenate(spoken)
    size = CLIP_SECONDS * 24_000
    assert len(speech) >= number * size, "fewer clips, please"
    for name, (suffix, rate_hz, options) in FORMATS.items():
        (folder / name).mkdir()
        for i in range(number):
            clip = resample(speech[i * size : (i + 1) * size], 24_000, rate_hz)
            channels = np.stack([clip, clip], axis=1) if name.endswith("stereo") else clip
            soundfile.write(folder / name / f"clip{i:04d}.{suffix}", channels, rate_hz, **options)
            (folder / name / f"clip{i:04d}.txt").write_text("what was said here, in so many words")


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def encode(corpus: Corpus, codec: AbstractCodec, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    encode_corpus(corpus, codec, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu", type=int, default=0)
    parser.add_argument("--no-mimi", action="store_true")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.cpu})
    with tempfile.TemporaryDirectory() as work:
        measure(Path(work), arguments.clips, arguments.rounds, with_mimi=not arguments.no_mimi)


def measure(work: Path, num_clips: int, rounds: int, *, with_mimi: bool) -> None:
    write_clips(work, num_clips)
    seconds = num_clips * CLIP_SECONDS
    drawn = DrawnCodec(np.random.default_rng(0).integers(0, 2048, (CLIP_SECONDS * 13, 8)))
    corpora = {name: open_corpus(work / name) for name in FORMATS}
    cases = {name: lambda corpus=corpus: encode(corpus, drawn, work / "out") for name, corpus in corpora.items()}
    if with_mimi:
        write_random_mimi(work / "mimi", MimiConfig())
        mimi = load_codec(CodecSpec("mimi", weights=str(work / "mimi")))
        clips = [load_audio(u.audio, 24_000) for u in corpora["wav_24k"]]
        cases["mimi alone, batches of 6"] = lambda: [
            mimi.encode_batch(clips[i : i + 6]) for i in range(0, num_clips, 6)
        ]
        cases["mimi within encode_corpus, flac_16k"] = lambda: encode(corpora["flac_16k"], mimi, work / "out")
    for case in cases.values():
        case()
    rates = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            rates[name].append(cpu_seconds(case) / seconds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    codec = medians.get("mimi alone, batches of 6")
    for name, rate in medians.items():
        line = {"case": name, "cpu_ms_per_audio_second": round(1e3 * rate, 3), "x_real_time_per_core": round(1 / rate)}
        if codec is not None and name in FORMATS:
            line["overhead_percent_of_mimi"] = round(100 * rate / codec, 2)
        print(json.dumps(line))
    print(json.dumps({"device": jax.devices()[0].device_kind, "clips": num_clips, "rounds": rounds}))


if __name__ == "__main__":
    main()
