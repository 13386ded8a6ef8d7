"""Mimi against transformers' MimiModel in torch: audio a second of CPU, at full size, on one core.

    python benchmarks/mimi.py [--rounds 5] [--seconds 10] [--out results.jsonl]

Each variant has a process of its own, pinned to one core, with one thread. The variants take turns; a line of JSON for
each turn, and at the end the median over rounds of the ratio of CPU seconds. Weights are random: speed does not depend
on them. Needs torch and transformers beside this workspace.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

VARIANTS = ("torch", "jax")
WORKS = tuple((half, batch) for half in ("encode", "decode") for batch in (1, 8))
PINNED = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}


def serve(variant: str, folder: Path, seconds: float) -> None:
    """Do what standard input asks for, a line a piece of work, and answer with the CPU seconds it took."""
    make = {"torch": _torch, "jax": _jax}[variant]
    works = make(folder, round(seconds * 24_000))
    for work in works.values():
        work()
    print(json.dumps({"libraries": _versions(variant)}), flush=True)
    for line in sys.stdin:
        half, batch = json.loads(line)
        start = time.process_time()
        works[half, batch]()
        print(json.dumps({"cpu_seconds": time.process_time() - start}), flush=True)


def _versions(variant: str) -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in {"torch": ("torch", "transformers"), "jax": ("jax", "jaxlib")}[variant]}


def _signals(num_samples: int, batch: int):
    import numpy as np

    return np.random.default_rng(0).normal(0, 0.1, (batch, num_samples)).astype(np.float32)


def _torch(folder: Path, num_samples: int) -> dict[tuple[str, int], Callable[[], object]]:
    import torch
    from transformers import MimiModel

    torch.set_num_threads(1)
    model = MimiModel.from_pretrained(folder).eval()
    works = {}
    for batch in (1, 8):
        samples = torch.from_numpy(_signals(num_samples, batch))[:, None]
        with torch.no_grad():
            codes = model.encode(samples, num_quantizers=8).audio_codes
        works["encode", batch] = torch.no_grad()(lambda samples=samples: model.encode(samples, num_quantizers=8))
        works["decode", batch] = torch.no_grad()(lambda codes=codes: model.decode(codes))
    return works


def _jax(folder: Path, num_samples: int) -> dict[tuple[str, int], Callable[[], object]]:
    from audio_tokenize.codecs.mimi import load_mimi

    codec = load_mimi(str(folder))
    works = {}
    for batch in (1, 8):
        samples = list(_signals(num_samples, batch))
        codes = codec.encode_batch(samples)
        works["encode", batch] = lambda samples=samples: codec.encode_batch(samples)
        works["decode", batch] = lambda codes=codes: codec.decode_batch(codes)
    return works


def measure(rounds: int, seconds: float, core: int, folder: Path) -> list[dict]:
    """Let the variants take turns; return a record for each turn."""
    command = ["taskset", "-c", str(core), sys.executable, __file__, "--seconds", str(seconds), "--folder", str(folder)]
    servers = {
        variant: subprocess.Popen(
            [*command, "--serve", variant],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **PINNED},
        )
        for variant in VARIANTS
    }
    libraries = {variant: json.loads(server.stdout.readline())["libraries"] for variant, server in servers.items()}
    records = []
    for index in range(rounds):
        for half, batch in WORKS:
            for variant, server in servers.items():
                print(json.dumps([half, batch]), file=server.stdin, flush=True)
                cpu_seconds = json.loads(server.stdout.readline())["cpu_seconds"]
                records.append(
                    {
                        "round": index,
                        "variant": variant,
                        "work": half,
                        "batch": batch,
                        "cpu_seconds": round(cpu_seconds, 4),
                        "times_real_time": round(seconds * batch / cpu_seconds, 2),
                        "load": os.getloadavg()[0],
                        "libraries": libraries[variant],
                    }
                )
                print(json.dumps(records[-1]), flush=True)
    for server in servers.values():
        server.stdin.close()
        server.wait()
    return records


def summarise(records: list[dict]) -> list[dict]:
    """Return, for each work, the median speeds and the median of the rounds' ratios."""
    lines = []
    for half, batch in WORKS:
        rows = [row for row in records if (row["work"], row["batch"]) == (half, batch)]
        speeds = {
            variant: [row["times_real_time"] for row in rows if row["variant"] == variant] for variant in VARIANTS
        }
        ratios = [jax / torch for torch, jax in zip(speeds["torch"], speeds["jax"], strict=True)]
        lines.append(
            {
                "work": half,
                "batch": batch,
                **{f"{variant}_times_real_time": statistics.median(speeds[variant]) for variant in VARIANTS},
                "ratio": round(statistics.median(ratios), 2),
                "ratios": [round(ratio, 2) for ratio in sorted(ratios)],
                "machine": platform.processor() or platform.machine(),
            }
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="Length of a clip.")
    parser.add_argument("--core", type=int, default=0, help="Core that both variants are pinned to.")
    parser.add_argument("--out", type=Path, help="Also write the lines here.")
    parser.add_argument("--folder", type=Path, help="Weights; random ones are made if missing.")
    parser.add_argument("--serve", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.folder, options.seconds)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if not (folder / "model.safetensors").is_file():
            from audio_tokenize.codecs.mimi import MimiConfig, write_random_mimi

            write_random_mimi(folder, MimiConfig())
        records = measure(options.rounds, options.seconds, options.core, folder)
    lines = summarise(records)
    for line in lines:
        print(json.dumps(line))
    if options.out:
        options.out.write_text("".join(json.dumps(line) + "\n" for line in [*records, *lines]), encoding="utf-8")


if __name__ == "__main__":
    main()
