"""Every package builds, and its wheel installs and works in an environment of its own."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("package", ["audio_data", "audio_tokenize", "audio_model", "audio_train", "audio_eval"])
def test_a_release_is_whole(package: str):
    done = subprocess.run([ROOT / ".ci" / "release", package], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "installs alone" in done.stdout
