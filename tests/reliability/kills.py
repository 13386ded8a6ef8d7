"""Kill commands at random times, in processes of their own: `python -m tests.reliability.kills --kills 100`.

Unlike `simulate.py`, nothing is injected: a clock decides. Each command is started, killed with SIGKILL after a random
part of the time that it takes undisturbed, and started again, three kills in a row; then it is left to finish, and what
it wrote must be what an undisturbed run writes. Processes that the killed one had started must end by themselves. With
`--out` each command's row is written when it is there, and another run does only what is missing.
"""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from tests.reliability.scenarios import SCENARIOS, Scenario, by_name, make_workspace, names, place
from tests.reliability.simulator import memory_folder, other_files

KILLS_IN_A_ROW = 3
# Two agents of Ray look for the process that started them for a minute before they end.
_SECONDS_FOR_CHILDREN_TO_END = 120.0
ENCODE = by_name("audio-tokenize encode")
TRAIN = by_name("audio-train run")
PARALLEL = (
    dataclasses.replace(ENCODE, name="audio-tokenize encode --workers 2", words=(*ENCODE.words, "--workers", "2")),
    dataclasses.replace(ENCODE, name="audio-tokenize encode --engine ray", words=(*ENCODE.words, "--engine", "ray")),
    dataclasses.replace(TRAIN, name="audio-train run --processes 2", words=(*TRAIN.words, "--processes", "2")),
)


@dataclasses.dataclass
class Tally:
    """What came of the kills of one command."""

    command: str
    kills: int = 0
    too_late: int = 0
    finished: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)


def kill_at_random(scenario: Scenario, workspace: Path, folder: Path, num_kills: int, rng: random.Random) -> Tally:
    """Kill a command until it was alive at `num_kills` kills; see the module.

    Args:
        scenario: The command.
        workspace: What `make_workspace` made.
        folder: An empty folder.
        num_kills: Kills that must find the command alive.
        rng: Draws when.
    """
    root, tally = folder / "root", Tally(scenario.name)
    start = time.monotonic()
    _place(scenario, workspace, root)
    inputs = other_files(scenario, root)
    _finish(scenario, root, tally)
    seconds, expected = time.monotonic() - start, scenario.output(root)
    while tally.kills < num_kills and not tally.wrong:
        _place(scenario, workspace, root)
        for _ in range(min(KILLS_IN_A_ROW, num_kills - tally.kills)):
            process = _start(scenario, root, subprocess.DEVNULL)
            try:
                process.wait(rng.uniform(0.1, 1.0) * seconds)
                tally.too_late += 1
            except subprocess.TimeoutExpired:
                process.kill()
                tally.kills += 1
                process.wait()
                if left := _still_alive(process.pid):
                    tally.wrong.append(f"{left} processes go on after the kill")
        _finish(scenario, root, tally)
        found = scenario.output(root)
        if found != expected:
            changed = sorted(name for name in found | expected if found.get(name) != expected.get(name))
            tally.wrong.append(f"another output: {names(changed)}")
        if other_files(scenario, root) != inputs:
            tally.wrong.append("touched beside its output")
        tally.finished += 1
    return tally


def _place(scenario: Scenario, workspace: Path, root: Path) -> None:
    if root.exists():
        subprocess.run(["rm", "-r", str(root)], check=True)
    root.mkdir()
    place(scenario, workspace, root)


def _start(scenario: Scenario, root: Path, output: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", scenario.package, *scenario.arguments(root)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=output, stderr=output, text=True, start_new_session=True
    )


def _finish(scenario: Scenario, root: Path, tally: Tally) -> None:
    process = _start(scenario, root, subprocess.PIPE)
    printed = "".join(process.communicate())
    if process.returncode:
        tally.wrong.append(f"ended with {process.returncode}: {_without_places(printed, root)[-400:].strip()}")


def _without_places(text: str, root: Path) -> str:
    """Return a text without the folders of this machine, which are no part of a result."""
    for folder in (str(root), sys.prefix, str(Path(__file__).resolve().parents[2])):
        text = text.replace(folder, "...")
    return text


def _still_alive(session: int) -> int:
    """Processes of a session that have not ended by themselves in time; they are killed then."""
    deadline = time.monotonic() + _SECONDS_FOR_CHILDREN_TO_END
    while left := _of_session(session):
        if time.monotonic() > deadline:
            for number in left:
                os.kill(number, signal.SIGKILL)
            return len(left)
        time.sleep(0.1)
    return 0


def _of_session(session: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


@click.command(help=__doc__)
@click.option("--kills", default=100, show_default=True, help="Kills in all, shared by the commands.")
@click.option("--seed", default=0, show_default=True, help="Drives when.")
@click.option("--command", "commands", multiple=True, help="Only this command; repeatable.")
@click.option("--workspace", type=click.Path(path_type=Path), help="Inputs, made there once and kept.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the table.")
def main(kills: int, seed: int, commands: tuple[str, ...], workspace: Path | None, out: Path | None) -> None:
    """Run it."""
    chosen = [s for s in (*SCENARIOS, *PARALLEL) if not commands or s.name in commands]
    known: dict[str, Any] = (
        json.loads(out.read_text()) if out is not None and out.exists() else {"kills": kills, "seed": seed}
    )
    if (known["kills"], known["seed"]) != (kills, seed):
        raise click.UsageError(f"`{out}` has {known['kills']} kills of seed {known['seed']}; give another --out")
    rows = {row["command"]: Tally(**row) for row in known.get("rows", ()) if not row["wrong"]}
    with tempfile.TemporaryDirectory(prefix="audio-kills-", dir=memory_folder()) as name:
        workspace = workspace or Path(name) / "workspace"
        if not (workspace / "report").exists():
            make_workspace(workspace)
        for number, scenario in enumerate(chosen):
            if scenario.name not in rows:
                share = kills * (number + 1) // len(chosen) - kills * number // len(chosen)
                rng = random.Random(f"{seed} {scenario.name}")
                rows[scenario.name] = kill_at_random(scenario, workspace, Path(name), share, rng)
            tally = rows[scenario.name]
            click.echo(f"{tally.command}: {tally.kills} kills, {tally.finished} outputs compared, wrong: {tally.wrong}")
            if out is not None:
                document = {"kills": kills, "seed": seed, "rows": [dataclasses.asdict(row) for row in rows.values()]}
                out.write_text(json.dumps(document, indent=1) + "\n")
    sys.exit(1 if any(tally.wrong for tally in rows.values()) else 0)


if __name__ == "__main__":
    main()
