"""A short form of `simulate.py`, and tests of the simulator itself: a fault that is not noticed proves nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.reliability import faults
from tests.reliability.faults import Fault, lose_power
from tests.reliability.scenarios import by_name, place, run_command, write_ids
from tests.reliability.simulator import Check, other_files

ROOT = Path(__file__).resolve().parents[2]
needs_compiler = pytest.mark.skipif(faults.library() is None, reason="needs Linux and a C compiler")
WRITER = """
import os
for number in range(3):
    with open(f"{number}.partial", "w") as file:
        file.write("x" * 100)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{number}.partial", str(number))
"""


def disturbed(folder: Path, kind: str, number: int) -> tuple[int, int, str]:
    """Status, operations counted and journal of a small program that writes three files."""
    root = folder / "root"
    root.mkdir()
    setting = Fault(kind, number).setting(root, folder / "counter", folder / "journal")
    environment = {**os.environ, "LD_PRELOAD": str(faults.library()), "FAULTS": setting}
    done = subprocess.run([sys.executable, "-c", WRITER], cwd=root, env=environment, capture_output=True, check=False)
    journal = folder / "journal"
    count = int.from_bytes((folder / "counter").read_bytes(), sys.byteorder)
    return done.returncode, count, journal.read_text() if journal.exists() else ""


@needs_compiler
@pytest.mark.parametrize(
    ("kind", "number", "status", "files"),
    [
        ("no space", 0, 0, {"0": 100, "1": 100, "2": 100}),
        # Of four operations a file (create, write, flush, rename) the second one's write is the sixth.
        ("no space", 6, 1, {"0": 100, "1.partial": 50}),
        ("input/output error", 8, 1, {"0": 100, "1.partial": 100}),
        ("no permission", 4, 1, {"0": 100, "1.partial": 100}),
        ("short write", 2, 0, {"0": 100, "1": 100, "2": 100}),
        ("killed before", 8, -9, {"0": 100, "1.partial": 100}),
        ("killed after", 8, -9, {"0": 100, "1": 100}),
        ("killed in a write", 2, -9, {"0": 100, "1.partial": 50}),
    ],
)
def test_a_fault_does_what_it_says(tmp_path: Path, kind: str, number: int, status: int, files: dict[str, int]):
    got, count, _ = disturbed(tmp_path, kind, number)
    assert got == status
    assert {path.name: path.stat().st_size for path in (tmp_path / "root").iterdir()} == files
    if number == 0:
        assert count == 12


@needs_compiler
def test_a_power_failure_takes_what_was_not_flushed(tmp_path: Path):
    status, _, journal = disturbed(tmp_path, "power failure", 6)
    assert status == -9
    assert [line.split("\t")[0] for line in journal.splitlines()] == ["c", "w", "s", "n", "c", "w"]
    root = tmp_path / "root"
    # The second file's data was not flushed; the first one's name was not, for its folder was not.
    assert lose_power(tmp_path / "journal", root, lambda bound: 0 if bound == 4 else 1) == [
        "1.partial emptied",
        "0 renamed back",
    ]
    assert {path.name: path.stat().st_size for path in root.iterdir()} == {"0.partial": 100, "1.partial": 0}


def test_the_checker_finds_what_is_wrong(tmp_path: Path):
    scenario = by_name("audio-data build")
    (tmp_path / "ids").mkdir()
    (tmp_path / "ids" / "manifest.json").write_text("{}")
    (tmp_path / "mine.txt").write_text("changed\n")
    check = Check(scenario, tmp_path, other_files(scenario, tmp_path), {}, {"manifest.json": "1", "shard": "2"})
    (tmp_path / "new.txt").touch()
    check.ended(1, "Traceback (most recent call last):")
    check.claims(0)
    check.finished(0, "")
    assert [wrong.partition(":")[0] for wrong in check.wrong] == [
        "ended with 1",
        "`manifest.json` claims what is not there",
        "the second run ended well with another output",
        "touched beside its output",
        "a user's file was changed",
    ]


@needs_compiler
@pytest.mark.long
def test_a_build_under_forty_faults_is_whole_refused_or_named(tmp_path: Path):
    """The same command as `simulate.py`, on one scenario that compiles nothing."""
    from audio_data import Vocabulary

    workspace = tmp_path / "workspace"
    (workspace / "data" / "vocabulary").mkdir(parents=True)
    Vocabulary.compact("toy", 200, "toy-codec", num_codebooks=2, codebook_size=16, text_tokenizer="toy").write(
        workspace / "data" / "vocabulary" / "vocabulary.json"
    )
    write_ids(workspace)
    (workspace / "report").mkdir()
    words = ["--runs", "40", "--seed", "1", "--command", "audio-data build", "--workspace", str(workspace)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.reliability.simulate", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 runs, 0 wrong" in done.stdout


def test_a_scenario_runs_undisturbed_twice_with_one_output(tmp_path: Path):
    """What the checker compares with is no accident: the second run of the command changes nothing."""
    from audio_data import Vocabulary

    (tmp_path / "data" / "vocabulary").mkdir(parents=True)
    vocabulary = Vocabulary.compact("toy", 200, "toy-codec", num_codebooks=2, codebook_size=16, text_tokenizer="toy")
    vocabulary.write(tmp_path / "data" / "vocabulary" / "vocabulary.json")
    write_ids(tmp_path)
    root, scenario = tmp_path / "root", by_name("audio-data build")
    root.mkdir()
    place(scenario, tmp_path, root)
    assert run_command(scenario, root).returncode == 0
    first = {path.name: path.read_bytes() for path in (root / "ids").iterdir()}
    assert run_command(scenario, root).returncode == 0
    assert {path.name: path.read_bytes() for path in (root / "ids").iterdir()} == first
