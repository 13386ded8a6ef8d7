"""Twins of test sets appear whole, replace nothing, and leave nothing beside them."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from audio_data import InputError
from audio_eval.testsets import generated
from audio_eval.testsets.generated import write_stand_in

KILLED = """
import os, signal, sys
from pathlib import Path
from audio_eval.testsets import generated
def write(folder, num_items):
    (folder / "of an earlier version.txt").write_text("left")
    os.kill(os.getpid(), signal.SIGKILL)
generated.STAND_INS = {"swuggy": write}
generated.write_stand_in("swuggy", Path(sys.argv[1]), 3)
"""


def content(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_a_kill_has_left_is_no_part_of_the_next_twin(tmp_path: Path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "twin")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert sorted(os.listdir(tmp_path)) == [".twin.lock", ".twin.partial"]
    for name in ("twin", "whole"):
        write_stand_in("swuggy", tmp_path / name, 2)
    assert content(tmp_path / "twin") == content(tmp_path / "whole") != {}
    assert sorted(os.listdir(tmp_path)) == ["twin", "whole"]


@pytest.mark.parametrize("name", ["twin", ".twin.partial"])
def test_a_user_s_folder_of_either_name_survives(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.wav").write_text("mine")
    with pytest.raises(InputError, match=rf"{name}` (must be an empty folder|is in the way)"):
        write_stand_in("swuggy", tmp_path / "twin", 2)
    assert content(tmp_path).keys() == {f"{name}/mine.wav"}


def test_a_twin_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(folder: Path, num_items: int) -> None:
        (folder / "a.txt").write_text("a")
        raise InputError("no more room")

    monkeypatch.setattr(generated, "STAND_INS", {"swuggy": fail})
    with pytest.raises(InputError, match="no more room"):
        write_stand_in("swuggy", tmp_path / "twin", 2)
    assert list(tmp_path.iterdir()) == []
