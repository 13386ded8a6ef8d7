"""The folder of a run: its resolved run and its launches.

```
RUN/
├── resolved.json     the run with every derived number, and its fingerprint
├── launches.jsonl    one line per launch: time, step, versions, commit, devices, data
├── metrics.jsonl     one line per logged step
├── checkpoints/      one folder per kept step
├── best.json         step and loss of the checkpoint with the lowest validation loss
├── exports/STEP/     the model at a step, with `intervals.export_every_steps`
├── export/           the trained model
├── tensorboard/      with `--track tensorboard`
└── profile/          with `--profile FIRST:LAST`
```
"""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from audio_data import InputError, file_errors, from_json, read_json, read_json_lines, write_bytes, write_json
from audio_train.resolved import ResolvedRun

RESOLVED_FILE = "resolved.json"
LAUNCHES_FILE = "launches.jsonl"
METRICS_FILE = "metrics.jsonl"
BEST_FILE = "best.json"
EXPORT_FOLDER = "export"
EXPORTS_FOLDER = "exports"
PROFILE_FOLDER = "profile"
CHECKPOINTS_FOLDER = "checkpoints"

_WRITTEN = (LAUNCHES_FILE, METRICS_FILE, BEST_FILE, CHECKPOINTS_FOLDER, EXPORT_FOLDER, EXPORTS_FOLDER, "tensorboard")
"""Files that a run writes into its folder, and truncates or replaces when it is resumed."""

RECORDED_PACKAGES = (
    "audio-train",
    "audio-model",
    "audio-data",
    "jax",
    "jaxlib",
    "equinox",
    "optax",
    "orbax-checkpoint",
)


def saved_run(folder: Path) -> ResolvedRun | None:
    """Read the run of a folder; None if the folder holds none.

    Raises:
        InputError: The folder's `resolved.json` cannot be read.
    """
    path, remedy = folder / RESOLVED_FILE, "copy it from a backup, or give another folder with --out"
    if not os.path.lexists(path):
        return None
    with file_errors(path, remedy):
        return ResolvedRun.from_json(read_json(path, remedy=remedy))


def require_run(folder: Path) -> ResolvedRun:
    """Read the run of a folder.

    Raises:
        InputError: The folder holds no run.
    """
    resolved = saved_run(folder)
    if resolved is None:
        raise InputError(
            f"`{folder}` must hold a run, got no {RESOLVED_FILE}; start one with `audio-train run RECIPE --out "
            f"{folder}`."
        )
    return resolved


def check_claim(folder: Path, resolved: ResolvedRun, saved: ResolvedRun | None) -> None:
    """Check that a folder is free or holds a given run.

    Args:
        folder: The folder.
        resolved: The run to train in it.
        saved: The run that it holds, or None.

    Raises:
        InputError: It holds another run, or files that a run would replace.
    """
    found = [name for name in _WRITTEN if os.path.lexists(folder / name)] if saved is None else []
    if found:
        raise InputError(
            f"`{folder}` must be a new folder or the folder of this run, got `{found[0]}` without {RESOLVED_FILE}; "
            "give another folder with --out."
        )
    if saved is not None and saved.fingerprint != resolved.fingerprint:
        raise InputError(
            f"`{folder}` must hold the run `{resolved.run.name}` with fingerprint {resolved.fingerprint[:12]}, got "
            f"`{saved.run.name}` with fingerprint {saved.fingerprint[:12]}; give another folder with --out, or "
            f"continue that run with `audio-train resume {folder}`."
        )


def claim(folder: Path, resolved: ResolvedRun) -> None:
    """Write the run into its folder, atomically; other `intervals` of the same run replace the old ones.

    Raises:
        InputError: The file cannot be written.
    """
    write_json(folder / RESOLVED_FILE, resolved.to_json())


def record_launch(
    folder: Path,
    *,
    step: int,
    data_root: Path,
    devices: Mapping[str, Any],
    init: Mapping[str, Any] | None = None,
    quarantined: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Append a launch to `launches.jsonl`.

    Args:
        folder: The run's folder.
        step: Step at which the launch begins.
        data_root: Folder of the datasets.
        devices: Kinds, number and mesh of the devices.
        init: Source of the first weights, unless they are drawn from the seed.
        quarantined: Number of damaged documents left out, by dataset.

    Raises:
        InputError: The file cannot be written.
    """
    launch = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": step,
        "data": str(data_root.resolve()),
        "devices": dict(devices),
        **({} if init is None else {"init": dict(init)}),
        **({"quarantined": dict(quarantined)} if quarantined else {}),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in RECORDED_PACKAGES},
        "commit": _commit(),
    }
    path = folder / LAUNCHES_FILE
    lines = [json.dumps(line, ensure_ascii=False) for line in (*_launches(path), launch)]
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())


@dataclass(frozen=True)
class Best:
    """The checkpoint with the lowest validation loss so far.

    Attributes:
        step: Its step.
        loss: Its validation loss in nats a token, weighted by kind as in training.
    """

    step: int
    loss: float


def write_best(folder: Path, best: Best | None) -> None:
    """Write `best.json`, or remove it if there is none.

    Raises:
        InputError: The file cannot be written.
    """
    if best is None:
        (folder / BEST_FILE).unlink(missing_ok=True)
    else:
        write_json(folder / BEST_FILE, asdict(best))


def read_best(folder: Path) -> Best | None:
    """Read `best.json`; None if the run was not validated.

    Raises:
        InputError: The file is damaged.
    """
    path, remedy = folder / BEST_FILE, "remove that file; `audio-train resume` writes it again"
    if not os.path.lexists(path):
        return None
    with file_errors(path, remedy):
        return from_json(Best, read_json(path, remedy=remedy), "best")


def last_data_root(folder: Path) -> Path:
    """Folder of the datasets at the last launch.

    Raises:
        InputError: The folder has no launches.
    """
    launches = _launches(folder / LAUNCHES_FILE)
    if not launches:
        raise InputError(
            f"`{folder}` must hold a run that was launched; start one with `audio-train run RECIPE --out {folder}`."
        )
    with file_errors(folder / LAUNCHES_FILE, "give the datasets with --data"):
        return Path(from_json(str, launches[-1].get("data"), "data"))


def last_init(folder: Path) -> Path | None:
    """Path of the first weights at the last launch; None if it had none or there was no launch."""
    launches = _launches(folder / LAUNCHES_FILE)
    with file_errors(folder / LAUNCHES_FILE, "give the weights with --start"):
        found = from_json(dict[str, Any] | None, launches[-1].get("init"), "init") if launches else None
        return None if found is None else Path(from_json(str, found.get("path"), "init.path"))


def _launches(path: Path) -> list[dict[str, Any]]:
    remedy = "remove that file: it only records launches; give the datasets with --data"
    return read_json_lines(path, remedy=remedy) if os.path.lexists(path) else []


def _commit() -> str | None:
    """Commit of the source tree of this package; None for an installed package or without git."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None
