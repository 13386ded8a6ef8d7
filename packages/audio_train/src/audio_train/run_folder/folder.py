"""The folder of a run: which run it holds, who is writing to it, and how it was started.

```
RUN/
├── resolved.json     the run with every derived number, and its fingerprint
├── launches.jsonl    one line a start: time, step, versions, commit, devices, data
├── metrics.jsonl     one line a logged step
├── checkpoints/      one folder a kept step
├── exports/STEP/     the model on its way, where the run asks for it
├── export/           the trained model
├── tensorboard/      where asked for
└── profile/          JAX's trace of the steps asked for
```
"""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
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
EXPORT_FOLDER = "export"
EXPORTS_FOLDER = "exports"
PROFILE_FOLDER = "profile"
CHECKPOINTS_FOLDER = "checkpoints"

_WRITTEN = (LAUNCHES_FILE, METRICS_FILE, CHECKPOINTS_FOLDER, EXPORT_FOLDER, EXPORTS_FOLDER, "tensorboard")
"""What a run writes into its folder, and cuts back or replaces when it goes on."""

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
    """The run a folder holds, or None.

    Raises:
        InputError: the folder's `resolved.json` is not readable.
    """
    path, remedy = folder / RESOLVED_FILE, "copy it from a backup, or give another folder with --out"
    if not os.path.lexists(path):
        return None
    with file_errors(path, remedy):
        return ResolvedRun.from_json(read_json(path, remedy=remedy))


def require_run(folder: Path) -> ResolvedRun:
    """The run a folder holds.

    Raises:
        InputError: it holds none.
    """
    resolved = saved_run(folder)
    if resolved is None:
        raise InputError(
            f"`{folder}` holds no run (no {RESOLVED_FILE}); start one with `audio-train run RECIPE --out {folder}`."
        )
    return resolved


def check_claim(folder: Path, resolved: ResolvedRun, saved: ResolvedRun | None) -> None:
    """Check that a folder is free or holds a given run.

    Args:
        folder: the folder.
        resolved: the run that wants it.
        saved: the run it holds, or None.

    Raises:
        InputError: it holds another run, whose fingerprint is named, or files that a run would replace.
    """
    found = [name for name in _WRITTEN if os.path.lexists(folder / name)] if saved is None else []
    if found:
        raise InputError(
            f"`{folder}` holds `{found[0]}` but no {RESOLVED_FILE}, so that it is not known to be a run's folder; give "
            "another folder with --out."
        )
    if saved is not None and saved.fingerprint != resolved.fingerprint:
        raise InputError(
            f"`{folder}` holds the run `{saved.run.name}` with fingerprint {saved.fingerprint[:12]}, not "
            f"`{resolved.run.name}` with fingerprint {resolved.fingerprint[:12]}; give another folder with --out, or "
            f"go on with that run by `audio-train resume {folder}`."
        )


def claim(folder: Path, resolved: ResolvedRun) -> None:
    """Write the run into its folder, atomically; other `intervals` of the same run replace the old ones.

    Raises:
        InputError: the disk does not take it.
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
    """Append how and where the run was started.

    Args:
        folder: the run's folder.
        step: step the run goes on from.
        data_root: root of its datasets.
        devices: what it runs on.
        init: the weights it begins with, unless they are drawn from the seed.
        quarantined: number of damaged documents left out, by corpus.

    Raises:
        InputError: the disk does not take it.
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


def last_data_root(folder: Path) -> Path:
    """Root of the datasets the run was last started with.

    Raises:
        InputError: the folder holds no started run.
    """
    launches = _launches(folder / LAUNCHES_FILE)
    if not launches:
        raise InputError(
            f"`{folder}` holds no run that was started; start one with `audio-train run RECIPE --out {folder}`."
        )
    with file_errors(folder / LAUNCHES_FILE, "give the datasets with --data"):
        return Path(from_json(str, launches[-1].get("data"), "data"))


def _launches(path: Path) -> list[dict[str, Any]]:
    remedy = "remove that file: it only says how the run was started; give the datasets with --data"
    return read_json_lines(path, remedy=remedy) if os.path.lexists(path) else []


def _commit() -> str | None:
    """The commit of the source tree this package runs from, or None where it is installed or git is not."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None
