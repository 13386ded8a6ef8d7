"""Whether memory grows over many steps, saves and batches: resident memory of a training and a loader, and its slope.

    .venv/bin/python benchmarks/soak.py train [--steps 10000] [--save-every 20] [--out docs/reliability/soak.json]
    .venv/bin/python benchmarks/soak.py loader [--batches 100000] [--out docs/reliability/soak.json]

A toy model, so that a step takes milliseconds; saves are as large as its state. One JSON line a sample and one for the
slope, fitted to the last three quarters. `MALLOC_ARENA_MAX=16` in front shows a training as it was on two cores when
every save took arenas of its own.
"""

import os

os.environ |= {"JAX_PLATFORMS": "cpu"}

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from audio_data import BatchLoader, DatasetWriter, Document, Mixture, Packing, TokenDataset, Vocabulary

SAMPLES = 20
NAMES = {"train": "steps of a training, a save every 20", "loader": "batches of a loader"}
VOCABULARY = Vocabulary.compact("toy", 12, "toy-codec", num_codebooks=2, codebook_size=16, text_tokenizer="toy")
SETTINGS = {
    "model": {"embed": 64, "mlp": 128, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 32, "max_seq_len": 64},
    "data.mixture": [{"start_fraction": 0.0, "weights": {"toy": 1.0}}],
    "data.seq_len": 64,
    "data.batch_size": 8,
    "data.mixture_block": 8,
    "init.audio_embedding_init": "random",
}


def write_corpus(folder: Path) -> None:
    rng = np.random.default_rng(0)
    with DatasetWriter(folder, corpus=folder.name, vocabulary=VOCABULARY, provenance={}) as writer:
        for number in range(200):
            frames = VOCABULARY.audio_ids(rng.integers(0, 16, (int(rng.integers(3, 25)), 2)))
            begin, end = [VOCABULARY.begin_of_text, VOCABULARY.audio_start], [VOCABULARY.audio_end]
            ids = np.concatenate([begin, frames, end, [VOCABULARY.end_of_text]]).astype(np.int32)
            writer.write(Document(ids, None, {"id": str(number)}))


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def train(root: Path, steps: int, save_every: int) -> Iterator[tuple[int, float]]:
    """Yield steps taken and the megabytes of the process that takes them."""
    intervals = {"checkpoint_steps": save_every, "checkpoint_seconds": None, "evaluation": None}
    values = {**SETTINGS, "steps": steps, "intervals": intervals}
    words = [word for name, value in values.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    program = [sys.executable, "-m", "audio_train", "run", "quickstart", "--data", str(root / "data")]
    metrics, wanted = root / "run" / "metrics.jsonl", steps // SAMPLES
    with subprocess.Popen([*program, "--out", str(root / "run"), *words]) as process:
        while process.poll() is None:
            time.sleep(0.05)
            taken = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
            if taken >= wanted and process.poll() is None:
                yield taken, resident_mb(process.pid)
                wanted = taken + steps // SAMPLES
    assert process.returncode == 0


def load(root: Path, batches: int) -> Iterator[tuple[int, float]]:
    """Yield batches read and the megabytes of this process."""
    datasets = {"toy": TokenDataset.open(root / "data" / "toy")}
    mixture = Mixture.constant("toy", {"toy": 1.0})
    loader = BatchLoader(datasets, mixture, seq_len=64, batch_size=8, seed=0, packing=Packing("best_fit", "reset"))
    for count, _ in zip(range(1, batches + 1), loader.iterate(), strict=False):
        if count % (batches // SAMPLES) == 0:
            yield count, resident_mb(os.getpid())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "loader"])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--save-every", type=int, default=20)
    parser.add_argument("--batches", type=int, default=100_000)
    parser.add_argument("--out", type=Path, help="JSON file in which this row replaces the one of the same name.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_corpus(root / "data" / "toy")
        is_train = options.what == "train"
        samples, found = train(root, options.steps, options.save_every) if is_train else load(root, options.batches), []
        for count, megabytes in samples:
            found.append((count, megabytes))
            print(json.dumps({"count": count, "resident_mb": round(megabytes, 1)}), flush=True)
    counts, megabytes = np.array(found[len(found) // 4 :]).T
    arenas = os.environ.get("MALLOC_ARENA_MAX")
    row = {
        "what": NAMES[options.what] + (f", MALLOC_ARENA_MAX={arenas}" if arenas else ""),
        "count": int(counts[-1]),
        "first_mb": round(megabytes[0], 1),
        "last_mb": round(megabytes[-1], 1),
        "bytes_each": round(np.polyfit(counts, megabytes * 2**20, 1)[0], 1),
    }
    print(json.dumps(row))
    if options.out is not None:
        rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
        rows = [other for other in rows if other["what"] != row["what"]] + [row]
        options.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
