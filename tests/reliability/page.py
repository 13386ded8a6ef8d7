"""Write docs/reliability.md from what the commands of this folder found: `python -m tests.reliability.page`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "reliability"
PAGE = ROOT / "docs" / "reliability.md"

HEAD = """# Reliability

What happens when a process is killed, a disk is full, a file is damaged or an input is hostile. Every figure below was
written by the command beside it; `uv run python -m tests.reliability.page` makes this page from their results in
`docs/reliability`. The default tests run a short form of each.

**The rules.** An output is whole or absent: a marker such as a manifest is written last, and everything it lists
has reached the disk before. Running the same command again goes on and ends in the same bytes. Damage is refused in one
line that names the file and the remedy. Nothing that this project did not make is deleted or overwritten.
"""


def render(folder: Path = RESULTS) -> str:
    """The page, from the results in a folder; a section whose command has not run says so."""
    sections = (_faults, _kills, _damage, _audio, _mutants, _soak)
    return "\n".join([HEAD, *(section(folder) for section in sections), _OTHERS])


def _read(folder: Path, name: str) -> Any:
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)]) + "\n"


def _section(title: str, command: str, found: Any, body: str) -> str:
    missing = "Not run yet.\n"
    return f"## {title}\n\n    uv run python {command}\n\n{body if found is not None else missing}"


def _command(name: str, count: str, found: Mapping[str, Any] | None, usual: int) -> str:
    """The command that wrote a result: with its own count, seed and flags where there is one."""
    words = f"-m tests.reliability.{name} --{count} {usual if found is None else found[count]}"
    if found is not None:
        words += f"{' --light' if found.get('light') else ''} --seed {found['seed']}"
    return f"{words} --out docs/reliability/{'faults' if name == 'simulate' else name}.json"


def _faults(folder: Path) -> str:
    found = _read(folder, "faults")
    body = ""
    if found is not None:
        totals: dict[tuple[str, str], dict[str, int]] = {}
        for row in found["rows"]:
            counts = totals.setdefault((row["command"], row["fault"]), {})
            outcome = row["outcome"] if " and " not in row["outcome"] else "all ended"
            counts[outcome] = counts.get(outcome, 0) + row["runs"]
            counts["wrong"] = counts.get("wrong", 0) + row["wrong"]
        rows = [
            (command, fault, ", ".join(f"{n} {what}" for what, n in counts.items() if what != "wrong"), counts["wrong"])
            for (command, fault), counts in sorted(totals.items())
        ]
        wrong = sum(row["wrong"] for row in found["rows"])
        body = (
            f"{found['runs']:,} runs, seed {found['seed']}: {wrong} wrong. A library behind the C library's file calls "
            "disturbs one operation of a command; a checker that reads only what is on disk judges that run, and the "
            "undisturbed one after it. A power failure loses what was not flushed.\n\n"
        ) + _table(("command", "fault", "ended, then the same command again", "wrong"), rows)
    return _section("Injected faults", _command("simulate", "runs", found, 2000), found, body)


def _kills(folder: Path) -> str:
    found = _read(folder, "kills")
    body = ""
    if found is not None:
        rows = [(r["command"], r["kills"], r["finished"], len(r["wrong"])) for r in found["rows"]]
        body = f"{found['kills']} kills, seed {found['seed']}.\n\n" + _table(
            ("command", "kills", "outputs compared", "wrong"), rows
        )
    return _section("Kills at random times", _command("kills", "kills", found, 100), found, body)


def _damage(folder: Path) -> str:
    found = _read(folder, "damage")
    body = ""
    if found is not None:
        ends = ("named", "no effect", "another output", "traceback")
        rows = [(name, *(counts.get(end, 0) for end in ends)) for name, counts in found["rows"].items()]
        body = (
            f"{found['runs']} damages, seed {found['seed']}: {found['wrong']} wrong. Another output is wrong but for "
            "reports of runs and evaluations, where a digit of a logged number may be another one.\n\n"
        ) + _table(("files", *ends), rows)
    return _section("Damaged files", _command("damage", "runs", found, 500), found, body)


def _audio(folder: Path) -> str:
    del folder
    from tests.reliability import odd_audio

    return _section("Odd audio", "-m tests.reliability.odd_audio", odd_audio, odd_audio.table())


def _mutants(folder: Path) -> str:
    found: Mapping[str, Any] | None = _read(folder, "mutants")
    body = ""
    if found is not None:
        killed, drawn = sum(found["killed"].values()), len(found["killed"])
        found = {**found, "mutants": drawn}
        body = f"{killed} of {drawn} mutants of the core modules are killed ({killed / drawn:.1%}).\n"
    return _section("Tests that would notice", _command("mutants", "mutants", found, 100), found, body)


def _soak(folder: Path) -> str:
    found = _read(folder, "soak")
    body = ""
    if found is not None:
        rows = [
            (row["what"], f"{row['count']:,}", row["first_mb"], row["last_mb"], f"{row['bytes_each']:,.0f}")
            for row in found["rows"]
        ]
        head = ("what", "how many", "MB after a quarter", "MB at the end", "slope in between, bytes each")
        body = "Resident memory of the process.\n\n" + _table(head, rows)
    return _section("Memory of long runs", "benchmarks/soak.py train --out docs/reliability/soak.json", found, body)


_OTHERS = """## More attacks, as tests

| what | where |
|---|---|
| a hostile client of the demo | `packages/audio_eval/tests/demo` |
| JSON files of every kind, fuzzed | `packages/audio_data/tests/test_json_files.py` |
| audio readers, fuzzed | `tests/reliability/test_fuzz_audio.py` |
"""


@click.command(help=__doc__)
def main() -> None:
    """Run it."""
    PAGE.write_text(render())


if __name__ == "__main__":
    main()
