"""Every package builds, installs alone, and works with the versions of its dependencies that it states."""

import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("audio_data", "audio_tokenize", "audio_model", "audio_train", "audio_eval")


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_a_release_is_whole(package: str) -> None:
    done = subprocess.run([ROOT / ".ci" / "release", package], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "installs alone" in done.stdout


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("package", PACKAGES)
def test_the_lowest_and_the_highest_versions_work(package: str) -> None:
    """On each supported Python that is present; newest versions come from an index."""
    done = subprocess.run([ROOT / ".ci" / "versions", package], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_that_run_with_other_versions_exist() -> None:
    selection = runpy.run_path(str(ROOT / ".ci" / "versions"))["SELECTION"]
    assert set(selection) == set(PACKAGES)
    paths = [ROOT / "packages" / package / "tests" / name for package in PACKAGES for name in selection[package]]
    assert [str(path) for path in paths if not path.exists()] == []
