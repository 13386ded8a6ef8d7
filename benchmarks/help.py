"""How long each command takes to answer `--help`: the promise is half a second on an idle machine.

    .venv/bin/python benchmarks/help.py [--rounds 10]

Seconds of a whole process from its start to its end, least and median over the rounds, one JSON line a command.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("audio-tokenize", "audio-data", "audio-model", "audio-train", "audio-eval")


def seconds_of(command: str) -> float:
    start = time.perf_counter()
    subprocess.run([Path(sys.executable).with_name(command), "--help"], capture_output=True, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    for command in COMMANDS:
        seconds = sorted(seconds_of(command) for _ in range(rounds))
        row = {"command": command, "least_seconds": seconds[0], "median_seconds": statistics.median(seconds)}
        print(json.dumps({name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}))


if __name__ == "__main__":
    main()
