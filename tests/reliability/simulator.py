"""Run commands under injected faults and judge only what is on disk.

One process imports the command lines and forks a child for each run, so that a run costs a fraction of a second. A
run: copy the inputs, run the command with one fault (`faults.py`), check the folder, run the command again undisturbed,
check again. A seed gives the same faults again.
"""

import contextlib
import ctypes
import dataclasses
import importlib
import os
import pkgutil
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from tests.reliability import faults
from tests.reliability.faults import FAULTS, Fault
from tests.reliability.scenarios import Scenario, names, place, snapshot

TIMEOUT_SECONDS = 600
SEVERAL = "several processes"
_REFUSED = 2
_SET_PARENT_DEATH_SIGNAL = 1


@dataclasses.dataclass(frozen=True)
class Run:
    """What came of a run.

    Attributes:
        scenario: Name of the command.
        fault: What was done to it.
        seed: Drives what a power failure loses.
        wrong: What is wrong with what was found on disk or printed; empty if nothing.
        outcome: How the command ended and what running it again did, for the table.
    """

    scenario: str
    fault: Fault
    seed: int
    wrong: tuple[str, ...]
    outcome: str


class Simulator:
    """Runs of the scenarios below one folder; see the module.

    Args:
        folder: An empty folder, best in memory.
        workspace: What `make_workspace` made.
    """

    def __init__(self, folder: Path, workspace: Path):
        self.root = folder / "root"
        self.workspace = workspace
        self._counter, self._journal = folder / "counter", folder / "journal"
        self._printed = folder / "printed"
        self.inputs: dict[str, str] = {}
        self._known: dict[str, tuple[dict[str, str], dict[str, str], dict[str, int]]] = {}

    def expected(self, scenario: Scenario) -> tuple[dict[str, str], dict[str, str], dict[str, int]]:
        """The output before and after an undisturbed run, and how many operations each kind of fault can hit."""
        if scenario.name not in self._known:
            self._prepare(scenario)
            before, counts = scenario.output(self.root), {}
            for classes in sorted({classes for classes, _, _ in FAULTS.values()}):
                self._prepare(scenario)
                kind = next(kind for kind, (its, _, _) in FAULTS.items() if its == classes)
                status, printed = self._child(scenario, Fault(kind).setting(self.root, self._counter))
                if status:
                    raise RuntimeError(f"{scenario.name} failed undisturbed with {status}: {printed}")
                counts[classes] = int.from_bytes(self._counter.read_bytes(), sys.byteorder)
            self._known[scenario.name] = (before, scenario.output(self.root), counts)
        return self._known[scenario.name]

    def draw(self, scenario: Scenario, kind: str, rng: random.Random) -> Fault:
        """A fault of a kind at any of the operations that it can hit."""
        return Fault(kind, rng.randint(1, max(1, self.expected(scenario)[2][FAULTS[kind][0]])))

    def run(self, scenario: Scenario, fault: Fault, seed: int) -> Run:
        """Disturb a command once, check, run it again, check."""
        before, after, _ = self.expected(scenario)
        self._prepare(scenario)
        self._journal.unlink(missing_ok=True)
        status, printed = self._child(scenario, fault.setting(self.root, self._counter, self._journal))
        lost = []
        if fault.kind == "power failure" and status == -signal.SIGKILL:
            lost = faults.lose_power(self._journal, self.root, random.Random(seed).randrange)
        check = Check(scenario, self.root, self.inputs, before, after, tuple(lost))
        check.ended(status, printed)
        check.claims(status)
        again, printed = self._child(scenario, None)
        check.finished(again, printed)
        return Run(scenario.name, fault, seed, tuple(check.wrong), describe(status, again))

    def together(self, scenario: Scenario, num_processes: int, seed: int) -> Run:
        """Run a command in several processes at once, one of them killed if the seed is odd; check; run it again."""
        before, after, counts = self.expected(scenario)
        self._prepare(scenario)
        rng, kind = random.Random(seed), SEVERAL
        fault = Fault(kind, rng.randint(1, max(1, counts[FAULTS[kind][0]])) if seed % 2 else 0)
        setting = fault.setting(self.root, self._counter)
        children = [self._start(scenario, setting, self._printed.with_name(f"p{i}")) for i in range(num_processes)]
        ended = [self._wait(child, self._printed.with_name(f"p{i}")) for i, child in enumerate(children)]
        check = Check(scenario, self.root, self.inputs, before, after)
        for status, printed in ended:
            check.ended(status, printed)
        if not any(status in (0, -signal.SIGKILL) for status, _ in ended):
            check.wrong.append("no process finished: " + "; ".join(printed[-200:] for _, printed in ended))
        check.claims(0 if fault.number == 0 else -signal.SIGKILL)
        check.finished(*self._child(scenario, None))
        return Run(scenario.name, fault, seed, tuple(check.wrong), " and ".join(sorted(str(s) for s, _ in ended)))

    def _prepare(self, scenario: Scenario) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        place(scenario, self.workspace, self.root)
        self.inputs = other_files(scenario, self.root)

    def _child(self, scenario: Scenario, setting: str | None) -> tuple[int, str]:
        return self._wait(self._start(scenario, setting, self._printed), self._printed)

    def _start(self, scenario: Scenario, setting: str | None, printed: Path) -> int:
        def run() -> int:
            faults.arm(setting)
            return call_command(scenario, self.root)

        return self._fork(run, printed)

    def _fork(self, run: Callable[[], int], printed: Path) -> int:
        """A child that runs a function in the folder and prints to a file; returns its number."""
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        status = 70
        try:
            os.setpgid(0, 0)
            ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
            descriptor = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            os.chdir(self.root)
            status = run()
        finally:
            faults.arm(None)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _wait(self, child: int, printed: Path) -> tuple[int, str]:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return 124, f"did not end in {TIMEOUT_SECONDS} s"
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(status), printed.read_text(errors="replace")


def describe(status: int, again: int) -> str:
    """How the disturbed run and the one after it ended."""
    ended = {0: "finished", _REFUSED: "refused", -signal.SIGKILL: "killed"}.get(status, f"status {status}")
    return f"{ended}, then {({0: 'whole', _REFUSED: 'named the damage'}).get(again, f'status {again}')}"


def call_command(scenario: Scenario, root: Path) -> int:
    """Run a command in this process and return its exit status; a traceback is printed as Python prints it."""
    main = importlib.import_module(f"{scenario.package}.__main__").main
    sys.argv = ["command", *scenario.arguments(root)]
    try:
        main()
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else bool(ending.code)
    except Exception:  # noqa: BLE001  a traceback is what is looked for
        traceback.print_exc()
        return 1
    return 0


def other_files(scenario: Scenario, root: Path) -> dict[str, str]:
    """What lies in a scenario's folder beside its output."""
    return snapshot(root, root, lambda name: name == scenario.out or name.startswith(f"{scenario.out}/"))


class Check:
    """Judges what is on disk. It knows nothing of how the commands work.

    Args:
        scenario: What was run.
        root: Its folder.
        inputs: What lay beside the output.
        before: The output as it was.
        after: The output of an undisturbed run.
        lost: What a power failure took.
        out: Where the output is, if not where the scenario says.
        wrong: Faults found before.
    """

    def __init__(
        self,
        scenario: Scenario,
        root: Path,
        inputs: dict[str, str],
        before: dict[str, str],
        after: dict[str, str],
        lost: tuple[str, ...] = (),
        out: Path | None = None,
        wrong: list[str] | None = None,
    ):
        self.wrong = [] if wrong is None else wrong
        self._scenario, self._root, self._before, self._after, self._lost = scenario, root, before, after, lost
        self._out = root / scenario.out if out is None else out
        self._inputs = inputs

    def ended(self, status: int, printed: str) -> None:
        """A command ends well, is killed, or refuses in one line."""
        if "Traceback (most recent call last)" in printed or status not in (0, _REFUSED, -signal.SIGKILL):
            self.wrong.append(f"ended with {status}: {printed[-600:].strip()}")

    def claims(self, status: int) -> None:
        """Where the marker of a whole output is, the output is what an undisturbed run gives, or what was there."""
        found = self._scenario.output(self._root, self._out)
        marker = self._scenario.marker
        if self._lost or (marker not in found and status != 0):
            return
        if found.get(marker) == self._before.get(marker) and marker in found and status != 0:
            wanted = self._before
        else:
            wanted = self._after
        if damaged := [name for name, digest in wanted.items() if found.get(name) != digest]:
            self.wrong.append(f"`{marker}` claims what is not there: {names(damaged)}")

    def finished(self, status: int, printed: str) -> None:
        """Running it again ends in the same bytes, or names the damage that a power failure left."""
        self.ended(status, printed)
        found = self._scenario.output(self._root, self._out)
        if status == 0 and found != self._after:
            different = sorted({name for name in found | self._after if found.get(name) != self._after.get(name)})
            self.wrong.append(f"the second run ended well with another output: {names(different)}")
        if status == _REFUSED and not self._lost:
            self.wrong.append(f"the second run refused: {printed[-300:].strip()}")
        now = other_files(self._scenario, self._root)
        if changed := sorted({name for name in now | self._inputs if now.get(name) != self._inputs.get(name)}):
            self.wrong.append(f"touched beside its output: {names(changed)}")
        if (self._root / "mine.txt").read_text() != "not to be touched\n":
            self.wrong.append("a user's file was changed")


def memory_folder() -> str | None:
    """Where files lie in memory, or None for the usual temporary folder."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def table(results: Iterable[Run]) -> list[dict[str, object]]:
    """How often each command ended how under each kind of fault, and how often something was wrong."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for run in results:
        counts = found.setdefault((run.scenario, run.fault.kind, run.outcome), [0, 0])
        counts[0] += 1
        counts[1] += bool(run.wrong)
    return [
        {"command": key[0], "fault": key[1], "outcome": key[2], "runs": counts[0], "wrong": counts[1]}
        for key, counts in sorted(found.items())
    ]


def restart_with_library() -> None:
    """Start this program anew with the library that disturbs it, unless that has happened."""
    library = faults.library()
    if library is None:
        raise click.ClickException("no C compiler here: install one (for example gcc) to build the fault library")
    if os.environ.get("LD_PRELOAD") != str(library):
        os.environ.update(LD_PRELOAD=str(library), JAX_PLATFORMS="cpu", PYTHONHASHSEED="0")
        os.execv(sys.executable, sys.orig_argv)


def import_all(packages: Iterable[str]) -> None:
    """Import every module of some packages, so that forked children need not; what an extra lacks is left out."""
    for package in packages:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
