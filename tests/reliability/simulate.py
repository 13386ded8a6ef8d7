"""Run commands under thousands of injected faults: `python -m tests.reliability.simulate --runs 2000`."""

import json
import random
import sys
import tempfile
from pathlib import Path

import click
from tests.reliability.object_store import StoreSimulator
from tests.reliability.scenarios import SCENARIOS, make_workspace
from tests.reliability.simulator import import_all, memory_folder, restart_with_library, table


@click.command(help=__doc__)
@click.option("--runs", default=1000, show_default=True, help="Runs in all.")
@click.option("--seed", default=0, show_default=True, help="Drives which faults hit which operation.")
@click.option("--command", "commands", multiple=True, help="Only this command, such as 'audio-data build'; repeatable.")
@click.option("--light", is_flag=True, help="Only commands that compile nothing.")
@click.option("--workspace", type=click.Path(path_type=Path), help="Inputs, made there once and kept.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the table of outcomes.")
def main(runs: int, seed: int, commands: tuple[str, ...], light: bool, workspace: Path | None, out: Path | None):
    """Run it."""
    restart_with_library()
    chosen = [s for s in SCENARIOS if (not commands or s.name in commands) and (s.is_light or not light)]
    import_all(sorted({scenario.package for scenario in chosen}))
    if workspace is not None and not (workspace / "report").exists():
        make_workspace(workspace)
    rng, results = random.Random(seed), []
    with tempfile.TemporaryDirectory(prefix="audio-faults-", dir=memory_folder()) as name:
        simulated = StoreSimulator(Path(name), workspace or make_workspace(Path(name) / "workspace"))
        for number in range(runs):
            result = simulated.any_run(chosen[number % len(chosen)], rng)
            results.append(result)
            for wrong in result.wrong:
                click.echo(
                    f"{result.scenario}, {result.fault.kind} at {result.fault.number}, seed {result.seed}: {wrong}"
                )
            if (number + 1) % 50 == 0:
                click.echo(f"{number + 1} of {runs} runs, {sum(bool(r.wrong) for r in results)} wrong", err=True)
    rows = table(results)
    if out is not None:
        out.write_text(json.dumps({"runs": runs, "seed": seed, "light": light, "rows": rows}, indent=1) + "\n")
    wrong = sum(bool(result.wrong) for result in results)
    click.echo(f"{runs} runs, {wrong} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
