"""Change the code at random and see whether a test notices: `python -m tests.reliability.mutants --mutants 100`.

A mutant is one small change of one core module: another comparison, a number that is off by one, `and` for `or`, a
condition turned round, a statement left out, a value not returned. The tests that mirror the module, then the twelve
files of its package that mention its names most often, then all of its package run against a copy of the package with
this change; they must pass without it. A mutant that no test kills is printed: add the test, or list it in
`EQUIVALENT` with the reason why it changes nothing.
"""

import ast
import contextlib
import copy
import dataclasses
import difflib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 400
"""Of the tests that mirror a module; other files may take four times as long, those of a whole package eight times."""
CI_MARKS = "not slow and not network and not accelerator"
_MOST_FILES = 12
# Modules whose mistakes would be silent: numbers, files, what is read. Each has tests that mirror it.
CORE = tuple(
    line.split("#")[0].strip()
    for line in """
    audio_data: vocabulary records manifest shards windows mixture loader storage json_files holdouts quarantine writer
    audio_data: document_index record_files sources dataset
    audio_tokenize: documents/layout documents/strings documents/transcode documents/passages datasets/groupings
    audio_tokenize: encoding/plan encoding/jobs encoding/shard_files encoding/encoded encoding/clips waveform
    audio_tokenize: encoding/records corpora/entries corpora/manifest text/byte_pairs
    audio_tokenize: vocabularies/folder vocabularies/merges
    audio_model: config rope norms layers loss automaton sampling grammar_tables generation weights tensor_files
    audio_train: optimization/schedules optimization/warmup_stable_decay optimization/optimizers resolved
    audio_train: run_folder/checkpoint training/loop training/initialization training/step isoflop/fit
    audio_eval: metrics scores scoring packing bleu normalizers journal evaluation decoding
    """.splitlines()
    if line.strip()
)
_COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv}
# Survivors that change nothing that anyone could see: `Mutant.name`, as printed -> why.
EQUIVALENT: dict[str, str] = {
    "audio_data/json_files: value = float(value) if abs(value) < 2 ** 1023 else value -> "
    "value = float(value) if abs(value) <= 2 ** 1023 else value": "that number is exact as a float and as an int",
    "audio_eval/packing: sample = sorted(lengths, reverse=True)[::-(-len(lengths) // _TRIED)] -> "
    "sample = sorted(lengths, reverse=False)[::-(-len(lengths) // _TRIED)]": "another sample of lengths: only speed",
    "audio_eval/decoding: _SHORTEST = 32 -> _SHORTEST = 33": "groups of prompts: only speed",
    "audio_eval/scoring: rows, columns = (_TOKENS_ON_CPU, 2112) if jax.default_backend() == 'cpu' else (1024, None) -> "
    "rows, columns = (_TOKENS_ON_CPU, 2112) if jax.default_backend() != 'cpu' else (1024, None)": "tiles: only speed",
    "audio_model/generation: if bool(state.ended[0]) or length == max_new_tokens: -> "
    "if bool(state.ended[1]) or length == max_new_tokens:": "one prompt: an index beyond the end is the last one",
    "audio_eval/bleu: brevity = np.where(said < right, np.exp(1 - right / said), 1.0) -> "
    "brevity = np.where(said <= right, np.exp(1 - right / said), 1.0)": "the exponential of zero is one as well",
    "audio_model/loss: flat = jnp.where(counted, targets, 0).reshape(-1) -> "
    "flat = jnp.where(counted, targets, 1).reshape(-1)": "any id will do where nothing is counted",
    "audio_data/record_files: _READER_BUFFER_BYTES = 32768 -> _READER_BUFFER_BYTES = 32769": "a buffer: only speed",
    "audio_train/training/step: shapes = jax.eval_shape(differentiate, model, jax.tree.map(lambda x: x[0], parts)) -> "
    "shapes = jax.eval_shape(differentiate, model, jax.tree.map(lambda x: x[1], parts))": "any part has these shapes",
    "audio_eval/decoding: by_length.setdefault((max(_SHORTEST, lengths[index]) - 1).bit_length(), []).append(index) -> "
    "by_length.setdefault((max(_SHORTEST, lengths[index]) - 2).bit_length(), []).append(index)": "groups: only speed",
}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change: which module, and the changed source beside the unchanged one."""

    package: str
    module: str
    before: str
    after: str

    @property
    def diff(self) -> str:
        """The change, as a unified diff without context."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), n=0, lineterm="")
        return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))

    @property
    def name(self) -> str:
        """Module and change, as `EQUIVALENT` has it."""
        return f"{self.package}/{self.module}: {' -> '.join(line[1:].strip() for line in self.diff.splitlines())}"

    @property
    def tests(self) -> tuple[list[str], list[str]]:
        """Test files that mirror the module; those of its package that mention its names most often."""
        folder = ROOT / "packages" / self.package / "tests"
        path = folder / self.module
        mirrored = {path.with_name(f"test_{path.name}.py"), *path.parent.glob(f"test_{path.name}_*.py")}
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        defined = {node.name for node in ast.walk(ast.parse(self.before)) if isinstance(node, kinds)}
        mention = re.compile(rf"\b({'|'.join(map(re.escape, defined))})\b")
        counts = {file: len(mention.findall(file.read_text())) for file in folder.rglob("test_*.py")}
        others = sorted(
            (file for file, count in counts.items() if count and file not in mirrored), key=counts.__getitem__
        )
        return sorted(str(file) for file in mirrored if file.is_file()), list(map(str, others[: -_MOST_FILES - 1 : -1]))


def core_modules() -> list[tuple[str, str]]:
    """Packages and modules, such as ("audio_data", "records")."""
    return [(p, m) for p, _, names in (line.partition(":") for line in CORE) for m in names.split()]


def changes(tree: ast.Module) -> list[Callable[[ast.Module], None]]:
    """Every possible change, as a function of another copy of the tree; annotations and dataclass options stay."""
    skipped = {id(inner) for node in ast.walk(tree) for part in _unchanged(node) for inner in ast.walk(part)}
    nodes = enumerate(ast.walk(tree))
    return [_at(number, change) for number, node in nodes if id(node) not in skipped for change in _of_node(node)]


def _unchanged(node: ast.AST) -> list[ast.AST]:
    """Parts of a node that computing does not read: annotations, and options such as `frozen` or `repr`."""
    found = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    keywords = node.keywords if isinstance(node, ast.Call) else []
    options = [word.value for word in keywords if word.arg in ("frozen", "repr", "compare")]
    return [part for part in (*found, *options) if part is not None]


def _at(number: int, change: Callable[[Any], None]) -> Callable[[ast.Module], None]:
    return lambda tree: change(list(ast.walk(tree))[number])


def _of_node(node: ast.AST) -> Iterator[Callable[[Any], None]]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        yield lambda n: n.ops.__setitem__(0, _COMPARISONS[type(n.ops[0])]())
    elif isinstance(node, ast.BoolOp):
        yield lambda n: setattr(n, "op", ast.Or() if isinstance(n.op, ast.And) else ast.And())
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC and not _is_text(node):
        yield lambda n: setattr(n, "op", _ARITHMETIC[type(n.op)]())
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield lambda n: setattr(n, "value", n.value + 1)
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield lambda n: setattr(n, "value", not n.value)
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        yield lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
    elif isinstance(node, ast.Return) and node.value is not None:
        yield lambda n: setattr(n, "value", ast.Constant(None))
    elif isinstance(node, ast.Expr | ast.AugAssign | ast.Raise | ast.Continue | ast.Break) and not _is_docstring(node):
        yield _leave_out


def _leave_out(node: ast.AST) -> None:
    node.__class__ = ast.Pass  # pyright: ignore[reportAttributeAccessIssue]
    node.__dict__ = {"lineno": getattr(node, "lineno", 1), "col_offset": 0}


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(side, ast.JoinedStr | ast.Constant) and not _is_number(side) for side in (node.left, node.right)
    )


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def draw(rng: random.Random) -> Mutant:
    """A random change of a random core module."""
    while True:
        package, module = rng.choice(core_modules())
        tree = ast.parse((ROOT / "packages" / package / "src" / package / f"{module}.py").read_text())
        changed = copy.deepcopy(tree)
        rng.choice(changes(tree))(changed)
        mutant = Mutant(package, module, ast.unparse(tree), ast.unparse(ast.fix_missing_locations(changed)))
        if mutant.before != mutant.after and mutant.name not in EQUIVALENT:
            return mutant


def is_killed(mutant: Mutant, folder: Path) -> bool:
    """Whether the tests that mirror the module notice the change, or others that use it."""
    source = ROOT / "packages" / mutant.package / "src"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    (folder / mutant.package / f"{mutant.module}.py").write_text(mutant.after)
    mirrored, others = mutant.tests
    everything = [str(ROOT / "packages" / mutant.package / "tests")]
    # All of the package is run as continuous integration runs it, with the tests that a plain `pytest` leaves out.
    stages = ((mirrored, 1), (others, 4), (["-m", CI_MARKS, *everything] if everything else [], 8))
    return any(_fails(tests, folder, times * TIMEOUT_SECONDS) for tests, times in stages)


def _fails(tests: list[str], source: Path, timeout_seconds: float) -> bool:
    """Whether a test fails where a package's code is another; a run that takes too long counts as well."""
    if not tests:
        return False
    environment = {
        **os.environ,
        "PYTHONPATH": str(source),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(source.with_name("compiled")),
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.wait(timeout_seconds) != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@click.command(help=__doc__)
@click.option("--mutants", default=100, show_default=True, help="How many to draw.")
@click.option("--seed", default=0, show_default=True, help="Drives which.")
@click.option("--package", "packages", multiple=True, help="Only modules of this package; repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file of the verdicts; a run that stopped goes on.")
def main(mutants: int, seed: int, packages: tuple[str, ...], out: Path | None) -> None:
    """Run it."""
    rng = random.Random(seed)
    known: dict[str, Any] = json.loads(out.read_text()) if out is not None and out.exists() else {"seed": seed}
    if known["seed"] != seed:
        raise click.UsageError(f"`{out}` has verdicts of seed {known['seed']}; give another --out")
    verdicts: dict[str, bool] = known.get("killed", {})
    drawn: dict[str, Mutant] = {}
    while len(drawn) < mutants:
        mutant = draw(rng)
        if not packages or mutant.package in packages:
            drawn[mutant.name] = mutant
    with tempfile.TemporaryDirectory(prefix="audio-mutants-") as folder:
        for name, mutant in drawn.items():
            if name in verdicts:
                continue
            verdicts[name] = is_killed(mutant, Path(folder) / "src")
            if not verdicts[name]:
                click.echo(f"survived: {name}")
            if out is not None:
                out.write_text(json.dumps({"seed": seed, "killed": verdicts}, indent=1, ensure_ascii=False) + "\n")
            if len(verdicts) % 10 == 0:
                click.echo(f"{sum(verdicts.values())} of {len(verdicts)} killed", err=True)
    click.echo(f"{sum(verdicts[name] for name in drawn)} of {len(drawn)} killed")


if __name__ == "__main__":
    main()
