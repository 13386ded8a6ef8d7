"""The rules of the house that no other tool holds: the tree, names, command lines, pins."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("audio_data", "audio_tokenize", "audio_model", "audio_train", "audio_eval")
BRANCH = re.compile(r"^((?:│   |    )*)(?:├── |└── )([\w.\-]+)(/?)(?:\s|$)")


def tree_of_readme() -> Iterator[str]:
    """The paths that the README's tree names, relative to the root."""
    block = re.search(r"```\n\.\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None, "README.md carries no tree"
    parents: list[str] = []
    for line in block.group(1).splitlines():
        match = BRANCH.match(line)
        assert match is not None, f"not a line of a tree: {line!r}"
        depth = len(match.group(1)) // 4
        parents = [*parents[:depth], match.group(2)]
        yield "/".join(parents)


def test_the_readme_names_only_what_exists() -> None:
    missing = [path for path in tree_of_readme() if not (ROOT / path).exists()]
    assert missing == []


def test_the_readme_names_every_room() -> None:
    named = set(tree_of_readme())
    plumbing = {"py.typed", "__init__.py", "__init__.pyi", "__main__.py", "__pycache__"}
    rooms = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / "packages" / package / "src" / package).iterdir()
        if path.name not in plumbing
    }
    assert rooms - named == set()


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
    assert result["asr_wer"] < result["asr_wer_other_utterance"] < 1.2


def test_types_are_checked_in_every_package() -> None:
    """pyright expands no `*` in front of a name, checks nothing then, and exits with 0."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]
    assert sorted(settings["include"]) == sorted(f"packages/{package}/src" for package in PACKAGES)


def test_the_trainer_does_not_speak_of_the_study_outside_its_package() -> None:
    """`audio_train.soda` registers itself by entry points; import-linter holds that nothing imports it."""
    source = ROOT / "packages" / "audio_train" / "src" / "audio_train"
    files = [path for path in source.rglob("*.py*") if path.parent.name != "soda"]
    assert [str(path) for path in files if re.search(r"\bthe study\b|\bsoda\b|SODA", path.read_text())] == []
