"""The command lines: documented word for word, light to start, and ended by Ctrl-C with one line.

`UPDATE_GOLDEN=1 uv run pytest tests/test_commands.py` rewrites docs/commands.md after a command changed.
"""

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from audio_data import InputError

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "commands.md"
COMMANDS = ("audio-tokenize", "audio-data", "audio-model", "audio-train", "audio-eval")
INTRODUCTION = """# Commands

Every command of the five packages, as `--help` prints it. What a command does, one Python call does with the same
names. Commands that list, show, verify or report take `--json` and print one JSON document on standard output.
A user's mistake exits 2 with one line that says what to do; a bug shows its traceback.
"""


def helps(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield `(full name, help text)` of a command and everything below it."""
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from helps(child, click.Context(child, parent=context, info_name=name))


def page() -> str:
    """The whole of docs/commands.md."""
    sections = [INTRODUCTION]
    for name in COMMANDS:
        main = importlib.import_module(f"{name.replace('-', '_')}.cli").main
        root = click.Context(main, info_name=name, terminal_width=100, **main.context_settings)
        for path, text in helps(main, root):
            marks = "##" if path == name else "###"
            sections.append(f"{marks} `{path}`\n\n```text\n{text}\n```\n")
    return "\n".join(sections)


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page()


def documented_commands() -> Iterator[tuple[str, list[str]]]:
    """Where a command of ours stands in the documentation, and its words."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    pages += (ROOT / "packages").glob("*/README.md")
    for page in pages:
        blocks = re.findall(
            r"```(?:console|text|bash|sh)?\n(.*?)```|((?:^    .+\n)+)",
            page.read_text().replace("\\\n", " "),
            re.M | re.S,
        )
        for line in "\n".join(a or b for a, b in blocks).splitlines():
            found = re.match(r"\s*(?:\$ )?(?:uv run )?(audio-\w+ .+)", line)
            if found and not re.search(r"[…|]|\.\.\.|\bRECIPE\b", found[1].partition("  #")[0]):
                yield f"{page.relative_to(ROOT)}: {found[1]}", shlex.split(found[1], comments=True)


@pytest.mark.parametrize(("where", "words"), list(documented_commands()), ids=lambda value: str(value)[:100])
def test_commands_of_the_documentation_parse(where: str, words: list[str]) -> None:
    """Every option exists and every argument that must be there is; nothing is run."""
    if words[0] not in COMMANDS:
        pytest.skip("no command of ours")
    command: click.Command = importlib.import_module(f"{words[0].replace('-', '_')}.cli").main
    context, rest = click.Context(command, info_name=words[0]), words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name, *rest = rest
        found = command.get_command(context, name)
        assert found is not None, where
        command = found
    if "--help" not in rest and "-h" not in rest:
        try:
            command.make_context(words[-1], list(rest), parent=context)
        except click.BadParameter as error:
            if "does not exist" not in error.message:  # a reader's own file
                raise
        except InputError as error:
            if "nothing here reads" not in error.message:  # a store whose extra is not installed here
                raise


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_nothing_but_click(name: str) -> None:
    """What makes it answer in a fraction of a second; `benchmarks/help.py` measures the time."""
    package = name.replace("-", "_")
    code = f"""
import sys
before = set(sys.modules)
sys.argv = ["{name}", "--help"]
from {package}.__main__ import main
try:
    main()
finally:
    print(*(set(sys.modules) - before), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Commands:" in done.stdout
    roots = {module.partition(".")[0] for module in done.stderr.split()} - sys.stdlib_module_names
    assert roots <= {package, "audio_data", "click", "lazy_loader"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_program_states_its_version_and_takes_the_short_help(name: str) -> None:
    main = importlib.import_module(f"{name.replace('-', '_')}.cli").main
    assert f"{name}, version {version(name)}\n" == CliRunner().invoke(main, ["--version"], prog_name=name).output
    root = click.Context(main, info_name=name, **main.context_settings)
    for path, _ in helps(main, root):
        short = CliRunner().invoke(main, [*path.split()[1:], "-h"], prog_name=name)
        assert (short.exit_code, short.output.startswith(f"Usage: {path} [OPTIONS]")) == (0, True), path


COMPLETIONS = (
    ("audio-train run exp2.1-4", ["exp2.1-4b"]),
    ("audio-train show EXP1.1", ["exp1.1"]),
    ("audio-train plan quick", ["quickstart"]),
    ("audio-train recipes finet", ["finetune-cvss"]),
    ("audio-train run my_recipe.py", ["file my_recipe.py"]),
    ("audio-train run quickstart --track wa", ["wandb"]),
    ("audio-train soda mixtures soda_e", ["soda_extension"]),
    ("audio-train soda tokenization tokenize-nemotron-", ["tokenize-nemotron-qwen3x"]),
    ("audio-tokenize encode sample-m", ["sample-multilingual"]),
    ("audio-tokenize corpora librispeech-mm-e", ["librispeech-mm-eval"]),
    ("audio-tokenize encode recordings/", ["file recordings/"]),
    ("audio-tokenize encode x --out ./", ["file ./"]),
    ("audio-tokenize build x --layout audio_", ["audio_first"]),
    ("audio-tokenize build x --grouping rec", ["recording"]),
    ("audio-tokenize build x --transcript low", ["lower-case"]),
    ("audio-eval run x --tasks nll,as", ["nll,asr"]),
    ("audio-eval testset sblim", ["sblimp"]),
    ("audio-model describe 13", ["135m"]),
    ("audio-data build ids.jsonl", ["file ids.jsonl"]),
)


@pytest.mark.parametrize(("typed", "offered"), COMPLETIONS)
def test_the_shell_completes_names_and_paths_without_importing_jax(typed: str, offered: list[str]) -> None:
    name, _, _ = typed.partition(" ")
    code = f"""
import sys
from {name.replace("-", "_")}.__main__ import main
try:
    main()
finally:
    print("jax" in sys.modules, file=sys.stderr)
"""
    variables = {
        f"_{name.replace('-', '_').upper()}_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }
    command = [sys.executable, "-c", f"import sys; sys.argv = [{name!r}]\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
    assert done.stderr == "False\n"
    found = [line.replace("plain,", "").replace("file,", "file ") for line in done.stdout.splitlines()]
    assert found == offered


def test_the_tasks_that_the_shell_completes_are_those_of_the_catalogue() -> None:
    from audio_eval.cli import TASK_NAMES
    from audio_eval.tasks.catalogue import TASKS

    assert [task.name for task in TASKS] == list(TASK_NAMES)


# What click refuses, for every way of refusing that it has.
USAGE_ERRORS = {
    "audio-tokenize": (("encode",), ("encode", "sample", "--out")),
    "audio-data": (("inspect",), ("inspect", "x", "--nope")),
    "audio-train": (
        ("frobnicate",),
        ("run", "quickstart"),
        ("run", "quickstart", "--data", "d", "--out", "o", "--scale", "huge"),
        ("run", "quickstart", "--data", "d", "--out", "o", "--minutes", "soon"),
        ("recipes", "--nope"),
        ("isoflop", "fit", "losses.csv", "--predict", "1e21"),
    ),
    "audio-eval": (("run",), ("--nope",)),
    "audio-model": (("convert",), ("bench", "--nope"), ("describe", "30m", "more")),
}


@pytest.mark.parametrize(
    ("name", "words"), [(name, words) for name, several in USAGE_ERRORS.items() for words in several]
)
def test_wrong_usage_is_one_line_with_a_hint(name: str, words: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", name.replace("-", "_"), *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"Error: [^\n]+; see `[^\n`]+ --help`\n", done.stderr), done.stderr


INTERRUPT = "import gc, signal, sys; interrupt = lambda *_: signal.raise_signal(signal.SIGINT)\n"
WHILE_CLICK_IS_IMPORTED = """
class Finder:
    find_spec = lambda self, name, path=None, target=None: interrupt() if name == "click" else None
sys.meta_path.insert(0, Finder())
"""


def interrupted(code: str, *folders: Path) -> None:
    """Run a program that interrupts itself, and check how it ends."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    words = [sys.executable, "-c", INTERRUPT + code]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr.strip(), done.stdout) == (130, "stopped by Ctrl-C", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_while_a_command_is_imported_is_one_line(name: str) -> None:
    interrupted(f"{WHILE_CLICK_IS_IMPORTED}from {name.replace('-', '_')}.__main__ import main; main()")


# Python drops an error in a callback of the garbage collection or in a finaliser, and wraps one of `__set_name__`.
MOMENTS = {
    "import": "interrupt(); raise SystemExit",
    "class": "type('Made', (), {'part': type('Part', (), {'__set_name__': interrupt})()}); raise SystemExit",
    "garbage collection": "gc.callbacks.append(once); gc.collect(); time.sleep(30)",
    "finaliser": "type('Held', (), {'__del__': interrupt})(); time.sleep(30)",
    "command": "main = click.command()(interrupt)",
    "long command": "main = click.command()(lambda: (threading.Timer(0.1, from_outside).start(), time.sleep(30)))",
}


@pytest.mark.parametrize("home", ["audio_data", "audio_model"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_is_one_line_at_any_moment(home: str, moment: str, tmp_path: Path) -> None:
    once = "def once(phase, info):\n    gc.callbacks.remove(once)\n    interrupt()\n"
    imports = "import gc, signal, threading, time\nimport click\nfrom __main__ import interrupt\n"
    outside = "from_outside = lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)\n"
    (tmp_path / "moment.py").write_text(f"{imports}{once}{outside}{MOMENTS[moment]}\n")
    interrupted(f"from {home}.command_line import run_command_line; run_command_line('moment')", tmp_path)


def test_a_job_in_the_background_goes_on_ignoring_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("import signal\nmain = lambda **_: signal.raise_signal(signal.SIGINT)\n")
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code += "from audio_data.command_line import run_command_line; run_command_line('job')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
