"""Commands to disturb: what lies there before, what is typed, and what must lie there in the end."""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

TOY_SETTINGS = {
    "model": {"embed": 16, "mlp": 32, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 16, "max_seq_len": 256},
    "data.mixture": [{"start_fraction": 0.0, "weights": {"speech": 1.0}}],
    "data.seq_len": 256,
    "data.batch_size": 2,
    "data.mixture_block": 4,
    "steps": 6,
    "intervals.checkpoint_steps": 2,
    "intervals.checkpoint_seconds": None,
    "init.audio_embedding_init": "random",
}


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One command.

    Attributes:
        name: What tables call it.
        package: Whose command line it is.
        words: What follows the program's name; `{root}` stands for the folder.
        needs: What of the workspace lies there before, as names of files and folders.
        out: What the command writes, below the folder.
        marker: The file that says that the output is whole; it is judged by what it claims.
        is_light: Whether it takes no compiled code, so that thousands of runs are cheap.
        varies: Beginnings of names below `out` that differ between undisturbed runs: lists of starts, and checkpoints,
            whose parts have random names and whose content the export and the logged losses follow from.
    """

    name: str
    package: str
    words: tuple[str, ...]
    needs: tuple[str, ...]
    out: str
    marker: str
    is_light: bool = True
    varies: tuple[str, ...] = ()

    def output(self, root: Path, out: Path | None = None) -> dict[str, str]:
        """What the command wrote: a hash by the name of each file.

        Args:
            root: The scenario's folder.
            out: Where the output is, if not where the scenario says.
        """
        return snapshot(out or root / self.out, root, lambda name: name.startswith(self.varies))

    def arguments(self, root: Path) -> list[str]:
        """The command's arguments."""
        return [word.replace("{root}", str(root)) for word in self.words]


def settings(values: Mapping[str, object]) -> tuple[str, ...]:
    """`--set` for each value."""
    return tuple(word for name, value in values.items() for word in ("--set", f"{name}={json.dumps(value)}"))


TRAIN = ("quickstart", "--data", "{root}/data", *settings(TOY_SETTINGS))
SCENARIOS = (
    Scenario(
        "audio-tokenize encode",
        "audio_tokenize",
        ("encode", "{root}/speech", "--out", "{root}/codes", "--max-quarantined", "9"),
        ("speech",),
        "codes",
        "codes.json",
        is_light=False,
    ),
    Scenario(
        "audio-tokenize vocabulary",
        "audio_tokenize",
        ("vocabulary", "{root}/codes", "--pieces", "20", "--out", "{root}/data/vocabulary"),
        ("codes",),
        "data",
        "vocabulary/vocabulary.json",
    ),
    Scenario(
        "audio-tokenize build",
        "audio_tokenize",
        ("build", "{root}/codes", "--vocabulary", "{root}/data/vocabulary", "--out", "{root}/data/speech"),
        ("codes", "data/vocabulary"),
        "data",
        "speech/manifest.json",
    ),
    Scenario(
        "audio-data build",
        "audio_data",
        ("build", "{root}/ids.jsonl", "--vocabulary", "{root}/data/vocabulary/vocabulary.json", "--out", "{root}/ids"),
        ("ids.jsonl", "data/vocabulary"),
        "ids",
        "manifest.json",
    ),
    Scenario(
        "audio-data build --overwrite",
        "audio_data",
        (
            *("build", "{root}/ids.jsonl", "--vocabulary", "{root}/data/vocabulary/vocabulary.json"),
            *("--out", "{root}/ids", "--overwrite"),
        ),
        ("ids.jsonl", "data/vocabulary", "old-ids>ids"),
        "ids",
        "manifest.json",
    ),
    Scenario(
        "audio-train run",
        "audio_train",
        ("run", *TRAIN, "--out", "{root}/run"),
        ("data",),
        "run",
        "export/provenance.json",
        is_light=False,
        varies=("checkpoints/", "launches.jsonl"),
    ),
    Scenario(
        "audio-train export",
        "audio_train",
        ("export", "{root}/run", "--data", "{root}/data", "--step", "4", "--out", "{root}/model"),
        ("run", "data"),
        "model",
        "provenance.json",
        is_light=False,
    ),
    Scenario(
        "audio-eval run",
        "audio_eval",
        (
            *("run", "{root}/run/export", "--data", "{root}/data", "--heldout", "speech", "--tasks", "nll"),
            *("--out", "{root}/evaluation"),
        ),
        ("run", "data"),
        "evaluation",
        "evaluation.json",
        is_light=False,
    ),
    Scenario(
        "audio-eval report",
        "audio_eval",
        ("report", "{root}/evaluation", "--run", "{root}/run", "--out", "{root}/report/report.html"),
        ("evaluation", "run"),
        "report",
        "report.html",
    ),
)


def by_name(name: str) -> Scenario:
    """The scenario of a name."""
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def run_command(scenario: Scenario, root: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a scenario's command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", scenario.package, *scenario.arguments(root)],
        **{"capture_output": True, "text": True, "check": False, "cwd": root, **options},
    )


def make_workspace(root: Path) -> Path:
    """Make what all scenarios need, by their own commands; undisturbed.

    Args:
        root: A folder to be made.

    Returns:
        The folder.

    Raises:
        RuntimeError: A command failed.
    """
    root.mkdir(parents=True, exist_ok=True)
    write_speech(root / "speech")
    for scenario in SCENARIOS:
        if "old-ids>ids" in scenario.needs:
            continue
        if scenario.name == "audio-data build":
            write_ids(root)
        done = run_command(scenario, root)
        if done.returncode:
            raise RuntimeError(f"{scenario.name}: {done.stderr}")
    # What `--overwrite` replaces: a dataset of the first documents only.
    lines = (root / "ids.jsonl").read_text().splitlines()
    (root / "few.jsonl").write_text("\n".join(lines[:2]) + "\n")
    few = by_name("audio-data build")
    words = tuple(word.replace("ids.jsonl", "few.jsonl").replace("{root}/ids", "{root}/old-ids") for word in few.words)
    run_command(dataclasses.replace(few, words=words), root)
    return root


def write_speech(folder: Path, num_clips: int = 3) -> None:
    """Write short clips of tones with transcripts."""
    folder.mkdir(parents=True)
    for number in range(num_clips):
        time = np.arange(int(16_000 * (0.4 + 0.2 * number))) / 16_000
        tone = 0.3 * np.sin(2 * np.pi * (150 + 40 * number) * time) * (1 + np.sin(2 * np.pi * 3 * time)) / 2
        with wave.open(str(folder / f"clip{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes((tone * 32_767).astype("<i2").tobytes())
        (folder / f"clip{number}.txt").write_text(f"tone number {number} of a few words\n")


def write_ids(root: Path) -> None:
    """Write documents of ids for `audio-data build`."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(0, 200, 20 + 7 * number).tolist() for number in range(8)]
    lines = [json.dumps({"id": f"d{number}", "ids": row}) for number, row in enumerate(ids)]
    (root / "ids.jsonl").write_text("\n".join(lines) + "\n")


def place(scenario: Scenario, workspace: Path, root: Path) -> None:
    """Copy what a scenario needs from the workspace to an empty folder, and put a user's own file beside it."""
    for need in scenario.needs:
        source, _, target = need.partition(">")
        path = root / (target or source)
        path.parent.mkdir(parents=True, exist_ok=True)
        if (workspace / source).is_dir():
            shutil.copytree(workspace / source, path)
        else:
            shutil.copyfile(workspace / source, path)
    (root / "mine.txt").write_text("not to be touched\n")


# JSON keys whose values differ between two undisturbed runs.
VOLATILE = frozenset(
    (
        "time",
        "seconds",
        "tokens_per_second",
        "mfu",
        "step_seconds",
        "remaining_seconds",
        "wall_seconds",
        "devices",
        "data_wait_fraction",
    )
)


def snapshot(folder: Path, root: Path, ignore: Callable[[str], bool] = lambda name: False) -> dict[str, str]:
    """Every file and link below a folder, by its path, with a hash of its content without times and the folder's name.

    Args:
        folder: The folder; need not exist.
        root: Its name is replaced in what is hashed.
        ignore: Which paths are left out.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if (path.is_file() or path.is_symlink()) and not ignore(name):
            found[name] = hashlib.sha256(_stable(path, root)).hexdigest()[:16]
    return found


def _stable(path: Path, root: Path) -> bytes:
    content = path.read_bytes().replace(str(root).encode(), b"ROOT")
    if path.suffix not in (".json", ".jsonl"):
        return content
    try:
        lines = content.splitlines() if path.suffix == ".jsonl" else [content]
        values = [_without_times(json.loads(line)) for line in lines]
        if path.name == "evaluation.json" and isinstance(values[0], dict):
            values[0].pop("sha256", None)  # over all that stands beside it, times included
        return json.dumps(values, sort_keys=True).encode()
    except (ValueError, RecursionError):  # damaged on purpose
        return content


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key not in VOLATILE}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def names(found: Sequence[str], most: int = 6) -> str:
    """A few names for a message."""
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")
