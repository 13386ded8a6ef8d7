"""Peak memory of `encode_corpus`: against the size of the corpus, the length of a clip, and Mimi on a clip of 600 s.

    .venv/bin/python benchmarks/encode_memory.py [--corpus-hours 0.2 5 20] [--clip-hours 1 4 8] [--mimi-seconds 600]

One JSON line a case, each in a process of its own: `ru_maxrss` at its end, and before the work began, when the modules
and the codec were loaded. A corpus is one clip of 10 s again and again, so that nothing but the work itself can grow; a
long clip is a file on disk. The codec gives the level of each block, which costs next to nothing; in the last case it
is Mimi of full size with random weights. Figures are MiB and CPU milliseconds for a second of audio.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from audio_tokenize import AbstractCodec, AbstractCorpus, CodecSpec, CorpusShard, Utterance, encode_corpus, load_codec
from audio_tokenize.waveform import AudioBytes, AudioSource

CLIP_SECONDS, RATE_HZ, CLIPS_PER_SHARD = 10, 16_000, 360


class LevelStream:
    """Frames of a signal in pieces."""

    def __init__(self, codec: "LevelCodec"):
        self._codec, self._rest = codec, np.zeros(0, np.float32)

    def push(self, samples: np.ndarray) -> np.ndarray:
        line = np.concatenate([self._rest, samples])
        whole = len(line) // self._codec.samples_per_frame * self._codec.samples_per_frame
        self._rest = line[whole:]
        return self._codec.encode(line[:whole])

    def finish(self) -> np.ndarray:
        return self._codec.encode(self._rest)


class LevelCodec(AbstractCodec):
    """A frame of Mimi's shape is the levels of its eight parts."""

    codec_id: str = "level"
    sample_rate_hz: int = 24_000
    samples_per_frame: int = 1920
    num_codebooks: int = 8
    codebook_size: int = 2048
    attention_window_frames: int | None = None

    def encode_batch(self, signals):
        return [self._levels(np.pad(one, (0, -len(one) % self.samples_per_frame))) for one in signals]

    def _levels(self, samples):
        return np.clip(1024 + 1024 * samples.reshape(-1, 8, 240).mean(axis=2), 0, 2047).astype(np.int32)

    def encoder_stream(self):
        return LevelStream(self)

    def decoder_stream(self):
        raise NotImplementedError("nothing is decoded here")

    def codebook_vectors(self):
        raise NotImplementedError("nothing is decoded here")


class Repeated(AbstractCorpus):
    """As many utterances as one likes, in shards of an hour, without a list of them anywhere."""

    name, licence = "repeated", "none"

    def __init__(self, audio: AudioSource, seconds: float, number: int):
        self._audio, self._seconds, self._number = audio, seconds, number

    def shards(self) -> tuple[CorpusShard, ...]:
        starts = range(0, self._number, CLIPS_PER_SHARD)
        return tuple(CorpusShard(f"{start:08d}", "of one clip") for start in starts)

    def read(self, shard: CorpusShard) -> Iterator[Utterance]:
        start = int(shard.name)
        for i in range(start, min(start + CLIPS_PER_SHARD, self._number)):
            yield Utterance(f"u{i:08d}", "what was said", self._audio, f"u{i:08d}", self._seconds)


def clip() -> AudioBytes:
    content = io.BytesIO()
    samples = np.random.default_rng(0).normal(0, 0.1, CLIP_SECONDS * RATE_HZ)
    soundfile.write(content, samples, RATE_HZ, format="FLAC")
    return AudioBytes("clip.flac", content.getvalue())


def long_clip(path: Path, seconds: float) -> Path:
    second = np.random.default_rng(0).normal(0, 0.1, RATE_HZ)
    with soundfile.SoundFile(path, "w", RATE_HZ, 1) as file:
        for _ in range(round(seconds)):
            file.write(second)
    return path


def peak_mib() -> float:
    # Linux counts in KiB.
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def work(case: str, size: float, folder: Path) -> dict[str, float | str]:
    """What a case costs, alone in its process."""
    codec: AbstractCodec = LevelCodec()
    if case == "corpus_hours":
        corpus = Repeated(clip(), CLIP_SECONDS, round(size * 3600 / CLIP_SECONDS))
    else:
        seconds = size if case == "mimi_seconds" else size * 3600
        corpus = Repeated(long_clip(folder / "long.wav", seconds), seconds, 1)
    if case == "mimi_seconds":
        # Elsewhere, since drawing weights takes more memory than using them.
        draw = (
            "import sys, pathlib; from audio_tokenize.codecs.mimi import MimiConfig, write_random_mimi; "
            "write_random_mimi(pathlib.Path(sys.argv[1]), MimiConfig())"
        )
        subprocess.run([sys.executable, "-c", draw, str(folder / "mimi")], check=True)
        codec = load_codec(CodecSpec("mimi", weights=str(folder / "mimi")))
        codec.encode(np.zeros(1920, np.float32))
    before, start = peak_mib(), time.process_time()
    manifest = encode_corpus(corpus, codec, folder / "codes")
    assert manifest is not None
    cpu_ms = 1e3 * (time.process_time() - start) / manifest.seconds
    return {
        "case": case,
        "size": size,
        "peak_mib": peak_mib(),
        "before_mib": before,
        "cpu_ms_per_audio_second": round(cpu_ms, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus-hours", type=float, nargs="*", default=[0.2, 5, 20])
    parser.add_argument("--clip-hours", type=float, nargs="*", default=[1, 4, 8])
    parser.add_argument("--mimi-seconds", type=float, nargs="*", default=[600])
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(work(arguments.case[0], float(arguments.case[1]), Path(folder))), flush=True)
        return
    for case in ("corpus_hours", "clip_hours", "mimi_seconds"):
        for size in getattr(arguments, case):
            subprocess.run([sys.executable, __file__, "--case", case, str(size)], check=True)


if __name__ == "__main__":
    main()
