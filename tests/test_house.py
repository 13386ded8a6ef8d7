"""Rules that no other tool holds: documentation, names, command lines, pins."""

import ast
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("audio_data", "audio_tokenize", "audio_model", "audio_train", "audio_eval")
PAGE = ROOT / "docs" / "modules.md"
INTRODUCTION = """# Every module

The first line of each module's docstring, by package. `UPDATE_GOLDEN=1 uv run pytest tests/test_house.py` writes this
page. Tests mirror the source: those of `audio_data/records.py` are `packages/audio_data/tests/test_records.py`.
"""


def modules_page() -> str:
    """The content of docs/modules.md."""
    lines = [INTRODUCTION]
    for package in PACKAGES:
        source = ROOT / "packages" / package / "src" / package
        files = [path for path in source.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]
        files += [path for path in source.rglob("__init__.py") if path.parent != source and path.read_text().strip()]
        lines += [f"## {package}\n", "| module | |", "|---|---|"]
        for path in sorted(files, key=lambda path: (path.parent != source, path.as_posix())):
            name = path.relative_to(source).as_posix().replace("/__init__.py", "/")
            summary = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0].replace("|", "\\|")
            lines.append(f"| `{name}` | {summary} |")
        lines.append("")
    return "\n".join(lines)


def test_the_page_of_modules_has_what_their_docstrings_say() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(modules_page())
    assert PAGE.read_text() == modules_page(), "write the page again: UPDATE_GOLDEN=1 uv run pytest tests/test_house.py"


def test_every_module_says_what_it_is() -> None:
    sources = (path for package in PACKAGES for path in (ROOT / "packages" / package / "src").rglob("*.py"))
    assert [
        str(path) for path in sources if path.read_text() and not ast.get_docstring(ast.parse(path.read_text()))
    ] == []


def test_links_of_the_documentation_lead_somewhere() -> None:
    """Links between the files of the repository, anchors left aside."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    pages += [ROOT / "packages" / package / "README.md" for package in PACKAGES]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_no_room_without_a_subject() -> None:
    names = {path.stem for path in (ROOT / "packages").rglob("*.py")}
    assert names.isdisjoint({"utils", "util", "common", "helpers", "misc"})


def test_no_source_file_outgrows_its_idea() -> None:
    sizes = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "packages").rglob("src/**/*.py")}
    assert {name: size for name, size in sizes.items() if size > 600} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_stands_alone_on_disk(package: str) -> None:
    folder = ROOT / "packages" / package
    for name in ("README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", f"src/{package}/py.typed"):
        assert (folder / name).is_file(), name
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["version"]
    assert project["scripts"] == {package.replace("_", "-"): f"{package}.__main__:main"}


def test_the_pins_agree() -> None:
    """pyproject.toml and requirements.lock carry the same versions; `.ci/lock` writes both."""
    constraints = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"]
    lock = (ROOT / "requirements.lock").read_text()
    locked = {line.removesuffix("\\").strip() for line in lock.splitlines() if re.match(r"[A-Za-z0-9]", line)}
    assert locked == set(constraints)


def test_no_tracked_file_names_a_package_host() -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    suspects = [name for name in files.split("\0") if name.endswith((".toml", ".lock", ".cfg", ".yml", ".yaml"))]
    for name in suspects:
        assert "https://files." not in (ROOT / name).read_text(), name


def test_the_readme_shows_a_real_run() -> None:
    """The README quotes the quickstart's closing JSON line: it parses and holds what the command promises."""
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith('{"seconds"')]
    assert len(lines) == 1
    result = json.loads(lines[0])
    assert result["asr_wer"] < result["asr_wer_mismatched_audio"] < 1.2


def test_types_are_checked_in_every_package_and_its_tests() -> None:
    """pyright expands no `*` in front of a name, checks nothing then, and exits with 0."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]
    folders = {f"packages/{package}/{part}" for package in PACKAGES for part in ("src", "tests")}
    assert set(settings["include"]) == folders | {"tests", "examples", "conftest.py"}
    assert all((ROOT / name).exists() for name in settings["include"])


def test_the_trainer_does_not_speak_of_the_study_outside_its_package() -> None:
    """`audio_train.soda` registers itself by entry points; import-linter holds that nothing imports it."""
    source = ROOT / "packages" / "audio_train" / "src" / "audio_train"
    files = [path for path in source.rglob("*.py*") if path.suffix in (".py", ".pyi") and path.parent.name != "soda"]
    assert [str(path) for path in files if re.search(r"\bthe study\b|\bsoda\b|SODA", path.read_text())] == []


def test_no_advice_installs_our_packages_from_an_index() -> None:
    """Our packages are on no index: a stranger could register their names. Folders and repositories are fine."""
    names = "|".join(package.replace("_", "[-_.]") for package in PACKAGES)
    install = r"(?:pip3? install|uv add|uv tool install|pipx install|uvx)\b"
    ours = re.compile(rf"{install}[^\n`]*?(?<![\w/.-])(?:{names})\b(?! @ )")
    assert ours.search("pip install 'audio-data[hub]'")
    assert not ours.search("pip install './packages/audio_data[hub]'")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    kinds = (".py", ".pyi", ".md", ".toml", ".yml", ".yaml", ".sh", ".html", "run")
    files = [name for name in listed.split("\0") if name.endswith(kinds) and (ROOT / name).is_file()]
    files.remove("tests/test_house.py")
    assert [name for name in files if ours.search((ROOT / name).read_text())] == []


def test_no_result_names_a_folder_of_the_machine_that_made_it() -> None:
    """What commands write into docs is of any machine."""
    written = [path for path in (ROOT / "docs").rglob("*") if path.suffix in (".json", ".md", ".csv", ".svg")]
    assert written
    found = re.compile(r"site-packages|/\.venv/|(?<![\w.])/(?:root|home/\w+|Users/\w+|work)/")
    assert [str(path) for path in written if found.search(path.read_text())] == []
