"""How fast `audio-tokenize statistics` counts: codes and tokens in memory, a folder of codes and a dataset on disk.

    .venv/bin/python benchmarks/counting.py [--millions 8] [--rounds 5] [--cpu 0]

M tokens a CPU second, pinned to one core, cases interleaved, medians over the rounds, one JSON line a case. Codes are
random, of Mimi's shape; utterances have 125 frames, documents 16 of them with a short text each.
"""

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NPROC": "1", "JAX_PLATFORMS": "cpu"}

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from audio_data import DatasetWriter, Document, Vocabulary
from audio_tokenize import EncodedManifest, EncodedUtterance, Segment, count_source, layout
from audio_tokenize.encoding.encoded import MANIFEST_NAME, write_shard
from audio_tokenize.inspection.code_counts import CodeCounts, TokenCounts

VOCABULARY = Vocabulary.compact("marin-mimi", 128_256, "mimi", 8, 2048, "none")
FRAMES, UTTERANCES_PER_DOCUMENT, TEXT_IDS = 125, 16, 30
CODEC = {"name": "mimi", "id": "mimi", "num_codebooks": 8, "codebook_size": 2048, "frame_rate_hz": 12.5}


def write_codes(folder: Path, codes: list[np.ndarray]) -> Path:
    folder.mkdir()
    said = {"text": "what was said in so many words", "speaker": "ann", "language": "en", "split": "train"}
    facts = {"seconds": 0.08 * FRAMES, "frame_offset": 0, "num_frame_offsets": 1, "extra": {}}
    utterances = (
        EncodedUtterance(id=str(i), recording=str(i), codes=one.astype(np.uint16), **said, **facts)
        for i, one in enumerate(codes)
    )
    shard = write_shard(folder / "shard-00000.arrayrecord", utterances)
    counts = {name: getattr(shard, name) for name in ("num_utterances", "num_records", "num_frames", "seconds")}
    settings = {
        "num_frame_offsets": 1,
        "speed_perturbation": 0.0,
        "target_rms": None,
        "skipped": (),
        "shards": (shard,),
    }
    manifest = EncodedManifest(schema_version=1, corpus="drawn", licence="none", codec=CODEC, **counts, **settings)
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest.to_json()))
    return folder


def write_dataset(folder: Path, documents: list[np.ndarray]) -> Path:
    with DatasetWriter(folder, corpus="drawn", vocabulary=VOCABULARY, provenance={}, codec=CODEC) as writer:
        for i, ids in enumerate(documents):
            seconds = 0.08 * FRAMES * UTTERANCES_PER_DOCUMENT
            writer.write(Document(ids, None, {"id": str(i), "text": "what was said", "seconds": seconds}))
    return folder


def rate(count: Callable[[], object], num_tokens: int) -> float:
    start = time.process_time()
    count()
    return num_tokens / (time.process_time() - start) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=8, help="Codes to count, in millions.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu", type=int, default=0)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.cpu})
    random, shape = np.random.default_rng(0), layout("audio_first")
    number = max(UTTERANCES_PER_DOCUMENT, round(arguments.millions * 1e6 / FRAMES / 8))
    codes = [random.integers(0, 2048, (FRAMES, 8), np.int32) for _ in range(number)]
    segments = [Segment(random.integers(0, 128_000, TEXT_IDS, np.int32), one) for one in codes]
    documents = [
        shape.document(segments[start : start + UTTERANCES_PER_DOCUMENT], VOCABULARY, 8)[0]
        for start in range(0, number, UTTERANCES_PER_DOCUMENT)
    ]
    stream, num_codes = np.concatenate(documents), number * FRAMES * 8
    with tempfile.TemporaryDirectory() as work:
        on_disk = write_codes(Path(work) / "codes", codes), write_dataset(Path(work) / "data", documents)
        cases = {
            "codes in memory": (lambda: CodeCounts(8, 2048).add(codes), num_codes),
            "tokens in memory": (lambda: TokenCounts(VOCABULARY).add(stream), len(stream)),
            "codes on disk": (lambda: count_source(on_disk[0]), num_codes),
            "dataset on disk": (lambda: count_source(on_disk[1]), len(stream)),
        }
        rates: dict[str, list[float]] = {name: [] for name in cases}
        for i in range(arguments.rounds + 1):
            for name, case in cases.items():
                found = rate(*case)
                # The first round loads what the others find loaded.
                rates[name] += [found] if i else []
    for name, found in rates.items():
        print(json.dumps({"case": name, "millions_a_cpu_second": round(statistics.median(found), 1)}))
    print(json.dumps({"codes": num_codes, "tokens": len(stream), "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
