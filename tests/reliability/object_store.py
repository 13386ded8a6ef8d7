"""An object store in memory that misbehaves: late listings, refusals, torn uploads; and commands that write to it."""

import dataclasses
import errno
import io
import os
import random
import shutil
import sys
from collections import deque
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from tests.reliability.faults import FAULTS, Fault
from tests.reliability.scenarios import Scenario
from tests.reliability.simulator import SEVERAL, Check, Run, Simulator, call_command, describe

KINDS = ("busy", "slow down", "server error", "torn upload", "late listing", "killed")
STORED = ("audio-tokenize encode", "audio-tokenize build", "audio-data build", "audio-data build --overwrite")
_LISTINGS_LATE = 6


class Killed(BaseException):
    """Ends a command at once, as SIGKILL does; the store outlives it."""


class FaultyStore(MemoryFileSystem):
    """`faulty://`: what fsspec's memory store does, with one fault at the `number`-th operation.

    Errors have the classes and numbers that `s3fs` gives them, once its own retries are used up.
    """

    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}  # pyright: ignore[reportIncompatibleVariableOverride]  as fsspec has it
    pseudo_dirs: ClassVar[list[str]] = [""]
    kind: ClassVar[str] = ""
    number: ClassVar[int] = 0
    operations: ClassVar[int] = 0
    _past: ClassVar[deque[dict[str, Any]]] = deque(maxlen=_LISTINGS_LATE)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("faulty://") if isinstance(path, str) else path)

    @classmethod
    def arm(cls, kind: str, number: int) -> None:
        """Choose the fault, and count from 0; a late listing holds for every operation from `number` on."""
        cls.kind, cls.number, cls.operations = kind, number, 0
        cls._past.clear()

    @classmethod
    def _operation(cls, *, upload: bool = False) -> bool:
        """Count one; whether it is an upload that is torn, the first one from `number` on."""
        cls.operations += 1
        cls._past.append(dict(cls.store))
        if cls.kind == "torn upload" and upload and cls.operations >= cls.number:
            cls.number = sys.maxsize
            return True
        if cls.operations != cls.number:
            return False
        if cls.kind == "killed":
            raise Killed
        if cls.kind == "busy":
            raise OSError(errno.EBUSY, "Please reduce your request rate.")
        if cls.kind == "slow down":
            raise OSError("An error occurred (429) when calling the operation: Too Many Requests")
        if cls.kind == "server error":
            raise OSError(errno.EREMOTEIO, "We encountered an internal error. Please try again.")
        return False

    def keep(self, path: str, content: bytes) -> None:
        """Put an object there without any fault."""
        MemoryFile(self, self._strip_protocol(path), content).commit()

    def _upload(self, path: str, content: bytes) -> None:
        torn = self._operation(upload=True)
        self.keep(path, content[: len(content) // 2] if torn else content)
        if torn:
            raise OSError(errno.EREMOTEIO, "Connection was closed before the upload was complete")

    def pipe_file(self, path, value, mode="overwrite", **options):
        """Upload bytes."""
        self._upload(path, bytes(value))

    def put_file(self, lpath, rpath, *_, **options):
        """Upload a file."""
        if not os.path.isdir(lpath):
            self._upload(self._strip_protocol(rpath), Path(lpath).read_bytes())

    def _open(self, path, mode="rb", *_, **options):
        if "r" in mode:
            self._operation()
            return super()._open(path, mode)
        return _Upload(self, path)

    def get_file(self, rpath, lpath=None, *_, **options):
        """Download a file."""
        self._operation()
        super().get_file(rpath, lpath, **options)

    def cat_file(self, path, start=None, end=None, **options):
        """Download bytes."""
        self._operation()
        return super().cat_file(path, start, end, **options)

    def rm_file(self, path):
        """Remove an object."""
        self._operation()
        super().rm_file(path)

    def ls(self, path, detail=True, **options):
        """List, late if so armed: what was there some operations ago."""
        self._operation()
        late = self.kind == "late listing" and self.operations >= self.number and bool(self._past)
        if not late:
            return super().ls(path, detail=detail, **options)
        now = dict(self.store)
        self.store.clear()
        self.store.update(self._past[0])
        try:
            return super().ls(path, detail=detail, **options)
        finally:
            self.store.clear()
            self.store.update(now)


class _Upload(io.BytesIO):
    """An upload: the object appears when it is closed without an error."""

    def __init__(self, store: FaultyStore, path: str):
        super().__init__()
        self._store, self._path = store, path

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is None:
            self.close()

    def close(self) -> None:
        """Upload."""
        if not self.closed:
            content = self.getvalue()
            super().close()
            self._store._upload(self._path, content)


def stored(scenario: Scenario) -> Scenario:
    """The scenario with its output on the store."""
    out = f"{{root}}/{scenario.out}"
    is_output = [word == out or word.startswith(f"{out}/") for word in scenario.words]
    words = tuple(
        word.replace(out, f"faulty://{scenario.out}") if theirs else word
        for word, theirs in zip(scenario.words, is_output, strict=True)
    )
    return dataclasses.replace(scenario, words=words)


class StoreSimulator(Simulator):
    """Runs of commands that write to the store. A run and its repetition are one child, with whom the store ends."""

    def __init__(self, folder: Path, workspace: Path):
        super().__init__(folder, workspace)
        self._stored: dict[str, tuple[dict[str, str], dict[str, str], int]] = {}

    def any_run(self, scenario: Scenario, rng: random.Random) -> Run:
        """Disturb a command in any of the ways that it can be disturbed."""
        kinds = [*FAULTS, *(KINDS if scenario.name in STORED else ())]
        kind, seed = rng.choice(kinds), rng.randrange(2**31)
        if kind in KINDS:
            return self.run_stored(scenario, kind, seed)
        if kind == SEVERAL:
            return self.together(scenario, rng.choice((2, 3)), seed)
        return self.run(scenario, self.draw(scenario, kind, rng), seed)

    def run_stored(self, scenario: Scenario, kind: str, seed: int) -> Run:
        """Disturb a command once, check, run it again, check.

        Args:
            scenario: A local scenario of `STORED`.
            kind: One of `KINDS`.
            seed: Draws the operation.
        """
        before, after, counts = self.expected_stored(scenario)
        number = random.Random(seed).randint(1, counts)
        self._prepare(scenario)
        status, printed, again, printed_again = self._in_child(scenario, kind, number)
        first, second = self._stores / "first", self._stores / "second"
        # No store shows half of an upload; should one do so, the damage must at least be named.
        torn = ("an upload",) if kind == "torn upload" else ()
        check = Check(scenario, self.root, self.inputs, before, after, torn, out=first)
        check.ended(status, printed)
        check.claims(status)
        check = Check(scenario, self.root, self.inputs, before, after, torn, out=second, wrong=check.wrong)
        check.finished(again, printed_again)
        outcome = describe(status, again)
        return Run(f"{scenario.name}, on a store", Fault(kind, number), seed, tuple(check.wrong), outcome)

    def expected_stored(self, scenario: Scenario) -> tuple[dict[str, str], dict[str, str], int]:
        """The store before and after an undisturbed run, and how many operations it takes."""
        name = f"{scenario.name} on a store"
        if name not in self._stored:
            self._prepare(scenario)
            before = scenario.output(self.root)
            status, printed, *_ = self._in_child(scenario, "", 0)
            if status:
                raise RuntimeError(f"{name} failed undisturbed with {status}: {printed}")
            count = int((self._stores / "first.count").read_text())
            self._stored[name] = (before, scenario.output(self.root, self._stores / "first"), count)
        return self._stored[name]

    @property
    def _stores(self) -> Path:
        return self.root.with_name("stores")

    def _in_child(self, scenario: Scenario, kind: str, number: int) -> tuple[int, str, int, str]:
        """Both runs in one child, which leaves the store's content in folders."""

        shutil.rmtree(self._stores, ignore_errors=True)
        self._stores.mkdir()

        def both() -> int:
            fsspec.register_implementation("faulty", FaultyStore, clobber=True)
            os.environ["AUDIO_DATA_CACHE"] = str(self._stores / "cache")
            store = FaultyStore()
            for path in sorted((self.root / scenario.out).rglob("*")):
                if path.is_file():
                    name = f"/{scenario.out}/{path.relative_to(self.root / scenario.out)}"
                    store.keep(name, path.read_bytes())
            for folder, (what, when) in (("first", (kind, number)), ("second", ("", 0))):
                FaultyStore.arm(what, when)
                try:
                    status = call_command(stored(scenario), self.root)
                except Killed:
                    status = -9
                (self._stores / f"{folder}.count").write_text(str(FaultyStore.operations))
                FaultyStore.arm("", 0)
                sys.stdout.flush()
                sys.stderr.flush()
                (self._stores / folder).mkdir()
                shutil.copyfile(self._printed, self._stores / f"{folder}.printed")
                (self._stores / f"{folder}.status").write_text(str(status))
                os.ftruncate(1, 0)
                os.lseek(1, 0, os.SEEK_SET)
                for name, file in FaultyStore.store.items():
                    target = self._stores / folder / Path(name).relative_to(f"/{scenario.out}")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(file.getvalue())
            return 0

        status, printed = self._wait(self._fork(both, self._printed), self._printed)
        if status:
            raise RuntimeError(f"the child ended with {status}: {printed}")
        read = [(self._stores / f"{f}.{what}") for f in ("first", "second") for what in ("status", "printed")]
        values = [path.read_text(errors="replace") for path in read]
        return int(values[0]), values[1], int(values[2]), values[3]
