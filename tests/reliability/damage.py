"""Damage finished files and read them: `python -m tests.reliability.damage --runs 500`.

A run: copy what a command reads, damage one file of it (a flipped bit, a cut, zeros, another type in a JSON file, ...),
run the command. Right is the output of undamaged files, or exit status 2 and one line. Another output is a silent wrong
result; a traceback is a fault as well.
"""

import dataclasses
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from tests.reliability.scenarios import Scenario, by_name, make_workspace, names
from tests.reliability.simulator import Simulator, import_all, memory_folder, restart_with_library


def _flip(content: bytearray, rng: random.Random) -> None:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content)) :]


def _zero(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    stop = min(len(content), start + rng.choice((1, 16, 512, 4096)))
    content[start:stop] = bytes(stop - start)


def _empty(content: bytearray, rng: random.Random) -> None:
    content.clear()


def _append(content: bytearray, rng: random.Random) -> None:
    content += rng.randbytes(rng.randint(1, 64))


def _insert(content: bytearray, rng: random.Random) -> None:
    content[(at := rng.randrange(len(content))) : at] = rng.randbytes(rng.randint(1, 16))


def _latin1(content: bytearray, rng: random.Random) -> None:
    content[rng.randrange(len(content))] = 0xE9


BYTE_DAMAGE: dict[str, Callable[[bytearray, random.Random], None]] = {
    "bit flipped": _flip,
    "cut": _cut,
    "zeroed": _zero,
    "emptied": _empty,
    "bytes appended": _append,
    "bytes inserted": _insert,
    "not UTF-8": _latin1,
}
_OTHER_VALUES = (None, True, -1, 10**30, 1.5, "", "text", [], {}, [[]], "\ud83d")


def _another_value(value: object, rng: random.Random) -> object:
    """The value with one leaf or container, at a random depth, replaced by something else."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or rng.random() < 0.2:
        return rng.choice([other for other in _OTHER_VALUES if other != value])
    key, copy = rng.choice(keys), value.copy()  # pyright: ignore[reportAttributeAccessIssue]  it has keys
    copy[key] = _another_value(copy[key], rng)
    return copy


def _another_type(content: bytearray, rng: random.Random) -> None:
    content[:] = json.dumps(_another_value(json.loads(content), rng)).encode()


def _field_removed(content: bytearray, rng: random.Random) -> None:
    value = json.loads(content)
    value.pop(rng.choice([*value, "another"]), None)
    content[:] = json.dumps(value).encode()


def _nested(content: bytearray, rng: random.Random) -> None:
    depth = rng.choice((100, 1_000, 200_000))
    content[:] = b'{"a": ' + b"[" * depth + b"]" * depth + b"}"


def _not_finite(content: bytearray, rng: random.Random) -> None:
    value = json.loads(content)
    value[rng.choice([*value, "another"])] = rng.choice((float("nan"), float("inf")))
    content[:] = json.dumps(value).encode()


JSON_DAMAGE: dict[str, Callable[[bytearray, random.Random], None]] = {
    "another type": _another_type,
    "field removed": _field_removed,
    "deeply nested": _nested,
    "NaN or Infinity": _not_finite,
}


@dataclasses.dataclass(frozen=True)
class Target:
    """Files to damage, and the command that reads them.

    Attributes:
        name: What the table calls them.
        scenario: What reads them.
        files: Glob below the folder.
        is_checked: Whether another output is a silent wrong result. A number in a log of metrics may be another one.
    """

    name: str
    scenario: Scenario
    files: str
    is_checked: bool = True


BUILD = by_name("audio-tokenize build")
EXPORT = by_name("audio-train export")
EVALUATE = by_name("audio-eval run")
REPORT = by_name("audio-eval report")
READ = Scenario(
    "audio-data build of a dataset",
    "audio_data",
    ("build", "{root}/data/speech", "--vocabulary", "{root}/data/speech/manifest.json", "--out", "{root}/copy"),
    ("data",),
    "copy",
    "manifest.json",
)
TARGETS = (
    Target("codes", BUILD, "codes/**/*"),
    Target("codes", BUILD, "codes/*.json"),
    Target("vocabulary", BUILD, "data/vocabulary/*"),
    Target("dataset", READ, "data/speech/*"),
    Target("dataset", READ, "data/speech/*.json"),
    Target("checkpoint", EXPORT, "run/checkpoints/4/**/*"),
    Target("export", EVALUATE, "run/export/*"),
    Target("export", EVALUATE, "run/export/*.json"),
    Target("run", EXPORT, "run/*.json*"),
    Target("evaluation", REPORT, "evaluation/**/*", is_checked=False),
    Target("run, for a report", REPORT, "run/*.json*", is_checked=False),
)


class Damager(Simulator):
    """Runs of commands over damaged files; see the module."""

    def damage(self, target: Target, rng: random.Random) -> tuple[str, str, str]:
        """Damage one file, run the command, judge.

        Returns:
            What was done, how the command ended, and what is wrong with that; empty if nothing.
        """
        scenario = target.scenario
        _, expected, _ = self.expected(scenario)
        self._prepare(scenario)
        files = sorted(path for path in self.root.glob(target.files) if path.is_file() and path.stat().st_size)
        path = rng.choice(files)
        kind, content = self._draw(path, rng), bytearray(path.read_bytes())
        before = bytes(content)
        (BYTE_DAMAGE | JSON_DAMAGE)[kind](content, rng)
        path.write_bytes(content)
        status, printed = self._child(scenario, None)
        what = f"{path.relative_to(self.root)} {kind}"
        if status == 2 and "Traceback" not in printed:
            return what, "named", ""
        if status != 0:
            return what, "traceback", f"ended with {status}: {printed[-700:].strip()}"
        found = scenario.output(self.root)
        if path.is_relative_to(self.root / scenario.out):  # an input in the output's folder that the command left alone
            name = str(path.relative_to(self.root / scenario.out))
            found[name] = expected.get(name, "")
        if found == expected or bytes(content) == before:
            return what, "no effect", ""
        changed = sorted(name for name in found | expected if found.get(name) != expected.get(name))
        return what, "another output", f"ended well with another output: {names(changed)}" if target.is_checked else ""

    @staticmethod
    def _draw(path: Path, rng: random.Random) -> str:
        if path.suffix == ".json" and rng.random() < 0.5:
            return rng.choice(list(JSON_DAMAGE))
        return rng.choice(list(BYTE_DAMAGE))


@click.command(help=__doc__)
@click.option("--runs", default=500, show_default=True, help="Damages in all.")
@click.option("--seed", default=0, show_default=True, help="Drives what is damaged how.")
@click.option("--target", "targets", multiple=True, help="Only these files, such as checkpoint; repeatable.")
@click.option("--workspace", type=click.Path(path_type=Path), help="Inputs, made there once and kept.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the table.")
def main(runs: int, seed: int, targets: tuple[str, ...], workspace: Path | None, out: Path | None) -> None:
    """Run it."""
    restart_with_library()
    chosen = [target for target in TARGETS if not targets or target.name in targets]
    import_all(sorted({target.scenario.package for target in chosen}))
    if workspace is not None and not (workspace / "report").exists():
        make_workspace(workspace)
    counts: dict[str, dict[str, int]] = {}
    num_wrong, rng = 0, random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="audio-damage-", dir=memory_folder()) as name:
        damager = Damager(Path(name), workspace or make_workspace(Path(name) / "workspace"))
        for number in range(runs):
            target = chosen[number % len(chosen)]
            what, ended, wrong = damager.damage(target, rng)
            row = counts.setdefault(target.name, {})
            row[ended] = row.get(ended, 0) + 1
            if wrong:
                num_wrong += 1
                click.echo(f"{target.name}: {what}: {wrong}")
            if (number + 1) % 50 == 0:
                click.echo(f"{number + 1} of {runs} damages, {num_wrong} wrong", err=True)
    if out is not None:
        document = {"runs": runs, "seed": seed, "wrong": num_wrong, "rows": counts}
        out.write_text(json.dumps(document, indent=1) + "\n")
    click.echo(f"{runs} damages, {num_wrong} wrong")
    raise SystemExit(1 if num_wrong else 0)


if __name__ == "__main__":
    main()
