"""The loader of `audio_data` against Grain's own packing over the same records, and at the scale of many corpora.

    .venv/bin/python benchmarks/loader.py [throughput|scale|restore|index|ids ...] [--rounds 5] [--cpu 0] [--data DIR]

One fresh process a variant, pinned to one core, variants interleaved round by round. One JSON line a case: medians of
process CPU seconds, and the median of the ratios within each round. All data lie in the page cache: they are synthetic,
of the shape of the study's (ids of its 144,644, documents of 2,000 to 6,000 tokens), and are built once in `--data`.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WEIGHTS = {"a": 0.4, "b": 0.25, "c": 0.15, "d": 0.1, "e": 0.1}
SEQ_LEN, BATCH_SIZE, TOKENS_PER_CORPUS = 4096, 8, 24_000_000
# Far more documents than one host of a run has to look up today, in shards of the default size.
INDEX_DOCUMENTS, INDEX_DOCUMENTS_PER_SHARD = 60_000_000, 8192
NUM_CORPORA, NUM_SHARDS, DOCUMENTS_PER_SHARD, ROWS_PER_HOST = 35, 64, 8, 16
# What one host of four chips must read at 60 % of peak: batches of 512 x 4096 tokens, v5p.
NEEDED = {"135M": 1_130_000, "600M": 223_000, "1.7B": 95_000, "4B": 40_000}


def vocabulary() -> Any:
    from audio_data import Vocabulary

    return Vocabulary.compact("synthetic", 128_254, "mimi", num_codebooks=8, codebook_size=2048, text_tokenizer="none")


def write_corpus(folder: Path, seed: int, num_documents: int, documents_per_shard: int) -> None:
    from audio_data import DatasetWriter, Document

    if (folder / "manifest.json").exists():
        return
    rng, meaning = np.random.default_rng(seed), vocabulary()
    options = {"corpus": folder.name, "vocabulary": meaning, "provenance": {}, "overwrite": True}
    with DatasetWriter(folder, **options, documents_per_shard=documents_per_shard) as writer:
        for i in range(num_documents):
            ids = rng.integers(0, meaning.size, rng.integers(2_000, 6_000), np.int32)
            ids[ids == meaning.end_of_text] = 0
            ids[-1] = meaning.end_of_text
            writer.write(Document(ids, metadata={"id": f"{folder.name}-{i}"}))


def write_mixed(data: Path) -> Path:
    for seed, corpus in enumerate(WEIGHTS):
        write_corpus(data / "mixed" / corpus, seed, TOKENS_PER_CORPUS // 4_000, 512)
    return data / "mixed"


def write_many(data: Path) -> Path:
    for i in range(NUM_CORPORA):
        write_corpus(data / "many" / f"corpus-{i:02d}", i, NUM_SHARDS * DOCUMENTS_PER_SHARD, DOCUMENTS_PER_SHARD)
    return data / "many"


def write_index(data: Path) -> Path:
    """Only where documents begin, of many more than anybody would write for a measurement."""
    folder = data / "index"
    folder.mkdir(parents=True, exist_ok=True)
    lengths = np.random.default_rng(0).integers(2_000, 6_000, INDEX_DOCUMENTS_PER_SHARD)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    for i in range(-(-INDEX_DOCUMENTS // INDEX_DOCUMENTS_PER_SHARD)):
        if not (folder / f"shard-{i:05d}.offsets.npy").exists():
            np.save(folder / f"shard-{i:05d}.offsets.npy", offsets)
    return folder


def warm(data: Path) -> None:
    """Brings every file into the page cache."""
    for file in data.rglob("*.arrayrecord"):
        file.read_bytes()


def open_loader(data: Path, batch_size: int = BATCH_SIZE) -> Any:
    """A loader of the five weighted corpora, or of all there are in equal parts."""
    from audio_data import BatchLoader, Mixture, open_root

    datasets = open_root(data)
    weights = WEIGHTS if "a" in datasets else dict.fromkeys(datasets, 1.0)
    return BatchLoader(datasets, Mixture.constant("m", weights), seq_len=SEQ_LEN, batch_size=batch_size, seed=0)


def grain_packing(data: Path) -> Any:
    """The same records through Grain alone: read, shuffle, mix, then its ConcatThenSplit, then batch."""
    import grain
    from grain.experimental import ConcatThenSplitIterDataset

    from audio_data.records import decode_tokens

    def tokens(record: bytes) -> dict[str, np.ndarray]:
        return {"tokens": decode_tokens(record)[0]}

    corpora = []
    for corpus in WEIGHTS:
        source = grain.sources.ArrayRecordDataSource(sorted(map(str, (data / corpus).glob("*.arrayrecord"))))
        corpora.append(grain.MapDataset.source(source).map(tokens).shuffle(seed=0).repeat(None))
    mixed = grain.MapDataset.mix(corpora, list(WEIGHTS.values()))
    # No threads that read ahead: their work would be counted, but not their gain, on one core.
    documents = mixed.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    return iter(ConcatThenSplitIterDataset(documents, length_struct={"tokens": SEQ_LEN}).batch(BATCH_SIZE))


def run_throughput(variant: str, data: Path, num_batches: int = 200) -> dict[str, float]:
    if variant == "audio_data":
        loader = open_loader(data)
        steps = iter(range(10**9))

        def read() -> Any:
            return loader.batch(next(steps)).tokens
    else:
        batches = grain_packing(data)

        def read() -> Any:
            return next(batches)["tokens"]

    for _ in range(20):
        assert read().shape == (BATCH_SIZE, SEQ_LEN)
    start = time.process_time()
    for _ in range(num_batches):
        read()
    return {"cpu_seconds": time.process_time() - start, "tokens": num_batches * BATCH_SIZE * SEQ_LEN}


def run_scale(variant: str, data: Path) -> dict[str, float]:
    """One host's first batch, in a fresh process with its imports: latency, memory, threads and open files."""
    start, start_cpu = time.perf_counter(), time.process_time()
    loader = open_loader(data if variant == "all_corpora" else data / "corpus-00", ROWS_PER_HOST)
    num_threads = [threads()]
    batches = loader.iterate()
    next(batches)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    for _ in range(100):
        next(batches)
    num_threads.append(threads())
    return {
        "first_batch_seconds": seconds,
        "first_batch_cpu_seconds": cpu,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads_before_reading": num_threads[0],
        "threads_after_100_batches": num_threads[1],
        "open_files": len(os.listdir("/proc/self/fd")),
        "num_corpora": len(loader.corpora),
    }


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def run_restore(variant: str, data: Path) -> dict[str, float]:
    """From an open dataset to the first batch of step 10^8."""
    from audio_data import BatchLoader, Mixture, open_root

    datasets = open_root(data)
    start, start_cpu = time.perf_counter(), time.process_time()
    mixture = Mixture.constant("m", WEIGHTS)
    loader = BatchLoader(datasets, mixture, seq_len=SEQ_LEN, batch_size=BATCH_SIZE, seed=0)
    next(loader.iterate(10**8))
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - start_cpu}


def run_index(variant: str, data: Path) -> dict[str, float]:
    """What a process keeps to find any token of 60 million documents: once open, and after a look at every shard."""
    from audio_data import ShardInfo
    from audio_data.document_index import DocumentIndex
    from audio_data.shards import load_offsets

    names = sorted(file.name.removesuffix(".offsets.npy") for file in data.iterdir())
    num_tokens = int(np.load(data / f"{names[0]}.offsets.npy")[-1])
    shards = [ShardInfo(name, INDEX_DOCUMENTS_PER_SHARD, num_tokens, 0, "") for name in names]
    tokens_per_record = 8192 if variant == "one_record_each" else 2048
    before, start, start_cpu = resident_bytes(), time.perf_counter(), time.process_time()
    index = DocumentIndex(shards, tokens_per_record, lambda i: load_offsets(data, shards[i]))
    opened = resident_bytes() - before
    for shard in range(len(shards)):
        index.parts(shard * num_tokens, shard * num_tokens + SEQ_LEN)
    kept = resident_bytes() - before
    return {
        "million_documents": index.num_documents / 1e6,
        "opened_mb": opened / 1e6,
        "all_shards_read_mb": kept / 1e6,
        "bytes_per_document": kept / index.num_documents,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - start_cpu,
    }


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def run_ids(variant: str, data: Path, frames: int = 12_500) -> dict[str, float]:
    """Codes of 1,000 seconds to ids, again and again."""
    codes = np.random.default_rng(0).integers(0, 2048, (frames, 8)).astype(np.uint16)
    meaning = vocabulary()
    meaning.audio_ids(codes)
    start = time.process_time()
    for _ in range(200):
        meaning.audio_ids(codes)
    return {"cpu_seconds": time.process_time() - start, "tokens": 200 * codes.size}


CASES: dict[str, tuple[Callable[[str, Path], dict[str, float]], tuple[str, ...], Callable[[Path], Path]]] = {
    "throughput": (run_throughput, ("audio_data", "grain_concat_then_split"), write_mixed),
    "scale": (run_scale, ("all_corpora", "one_corpus"), write_many),
    "restore": (run_restore, ("audio_data",), write_mixed),
    "index": (run_index, ("one_record_each", "several_records_each"), write_index),
    "ids": (run_ids, ("audio_data",), lambda data: data),
}


def run_in_process(case: str, variant: str, data: Path, cpu: int) -> dict[str, float]:
    arguments = [sys.executable, __file__, case, "--variant", variant, "--cpu", str(cpu), "--data", str(data)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(finished.stdout.splitlines()[-1])


def report(case: str, data: Path, rounds: int, cpu: int) -> None:
    """Prints one JSON line: medians of everything measured, rates, and ratios of the first variant to each other."""
    _, variants, prepare = CASES[case]
    folder = prepare(data)
    warm(folder)
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    for _ in range(rounds):
        for variant in variants:
            found[variant].append(run_in_process(case, variant, folder, cpu))
    line: dict[str, Any] = {"case": case, "rounds": rounds, "load": os.getloadavg()[0]}
    for variant, rows in found.items():
        line[variant] = {name: round(statistics.median(row[name] for row in rows), 4) for name in rows[0]}
        if "tokens" in rows[0]:
            rate = statistics.median(row["tokens"] / row["cpu_seconds"] for row in rows)
            line[variant]["mtok_per_cpu_second"] = round(rate / 1e6, 2)
            line[variant]["hosts_fed_by_one_core"] = {name: round(rate / needed) for name, needed in NEEDED.items()}
    first = found[variants[0]]
    for variant in variants[1:] if "tokens" in first[0] else ():
        pairs = zip(first, found[variant], strict=True)
        ratio = statistics.median(theirs["cpu_seconds"] / own["cpu_seconds"] for own, theirs in pairs)
        line[f"times_faster_than_{variant}"] = round(ratio, 2)
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "audio-data-benchmark")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant is not None:
        os.sched_setaffinity(0, {options.cpu})
        print(json.dumps(CASES[options.cases[0]][0](options.variant, options.data)))
        return
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"expected cases of {list(CASES)}, got {sorted(unknown)}")
    for case in options.cases or CASES:
        report(case, options.data, options.rounds, options.cpu)


if __name__ == "__main__":
    main()
