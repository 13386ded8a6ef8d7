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

import fcntl
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from audio_data import InputError, disk_errors
from audio_train.resolved import ResolvedRun

RESOLVED_FILE = "resolved.json"
LAUNCHES_FILE = "launches.jsonl"
METRICS_FILE = "metrics.jsonl"
EXPORT_FOLDER = "export"
EXPORTS_FOLDER = "exports"
PROFILE_FOLDER = "profile"
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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's folder against other processes; created where it is not there.

    Raises:
        InputError: another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w", encoding="utf-8")  # noqa: SIM115  closed below, with the lock
    except OSError as error:
        raise InputError(f"cannot write to `{folder}` ({error}); give another folder with --out.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"`{folder}` is in use by another process; stop it, or give another folder.") from error
        yield


def saved_run(folder: Path) -> ResolvedRun | None:
    """The run a folder holds, or None.

    Raises:
        InputError: the folder's `resolved.json` is not readable.
    """
    path = folder / RESOLVED_FILE
    if not path.exists():
        return None
    try:
        return ResolvedRun.from_json(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise InputError(f"`{path}` is not JSON ({error}); give another folder with --out.") from error


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
        InputError: it holds another run; both fingerprints are named.
    """
    if saved is not None and saved.fingerprint != resolved.fingerprint:
        raise InputError(
            f"`{folder}` holds the run `{saved.run.name}` with fingerprint {saved.fingerprint[:12]}, not "
            f"`{resolved.run.name}` with fingerprint {resolved.fingerprint[:12]}; give another folder with --out, or "
            f"go on with that run by `audio-train resume {folder}`."
        )


def claim(folder: Path, resolved: ResolvedRun) -> None:
    """Write the run into its folder, atomically; a new cadence of the same run replaces the old one.

    Raises:
        InputError: the disk does not take it.
    """
    text = json.dumps(resolved.to_json(), indent=2, ensure_ascii=False) + "\n"
    temporary = folder / f".{RESOLVED_FILE}.tmp"
    with disk_errors(folder / RESOLVED_FILE):
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / RESOLVED_FILE)


def record_launch(
    folder: Path,
    *,
    step: int,
    data_root: Path,
    devices: Mapping[str, Any],
    start: Mapping[str, Any] | None = None,
    quarantined: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Append how and where the run was started.

    Args:
        folder: the run's folder.
        step: step the run goes on from.
        data_root: root of its datasets.
        devices: what it runs on.
        start: the weights it begins with, where these are not the seed's.
        quarantined: number of damaged documents left out, by corpus.

    Raises:
        InputError: the disk does not take it.
    """
    launch = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": step,
        "data": str(data_root.resolve()),
        "devices": dict(devices),
        **({} if start is None else {"start": dict(start)}),
        **({"quarantined": dict(quarantined)} if quarantined else {}),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in RECORDED_PACKAGES},
        "commit": _commit(),
    }
    path = folder / LAUNCHES_FILE
    lines = [*_launches(path), json.dumps(launch)]
    temporary = folder / f".{LAUNCHES_FILE}.tmp"
    with disk_errors(path):  # a full disk may not leave half a line, nor lose those before
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        os.replace(temporary, path)


def last_data_root(folder: Path) -> Path:
    """Root of the datasets the run was last started with.

    Raises:
        InputError: the folder holds no started run.
    """
    lines = _launches(folder / LAUNCHES_FILE)
    if not lines:
        raise InputError(
            f"`{folder}` holds no run that was started; start one with `audio-train run RECIPE --out {folder}`."
        )
    return Path(json.loads(lines[-1])["data"])


def _launches(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _commit() -> str | None:
    """The commit of the source tree this package runs from, or None where it is installed or git is not."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None
