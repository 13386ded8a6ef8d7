import tomllib
from pathlib import Path

import pytest

from audio_data import install_command, install_extra_command

PACKAGES = Path(__file__).resolve().parents[2]
EXTRAS = [("audio-data", "gcs"), ("audio-data", "hub"), ("audio-data", "s3"), ("audio-data", "text")]


@pytest.mark.parametrize(("distribution", "extra"), EXTRAS)
def test_the_command_of_an_extra_has_what_the_project_file_requires_for_it(distribution, extra):
    project = tomllib.loads((PACKAGES / distribution.replace("-", "_") / "pyproject.toml").read_text())["project"]
    required = project["optional-dependencies"][extra]
    words = install_extra_command(distribution, extra).split()
    assert words[:3] == ["uv", "pip", "install"]
    assert sorted(word.strip("'") for word in words[3:]) == sorted(required)


def test_an_extra_that_does_not_exist_is_an_error_of_the_program():
    with pytest.raises(KeyError, match="nothing"):
        install_extra_command("audio-data", "nothing")


def test_names_are_quoted_where_a_shell_would_read_them():
    assert install_command("torch", "a_b>=1.2,<2") == "uv pip install torch 'a_b>=1.2,<2'"
    assert install_command("x", options="--no-deps") == "uv pip install --no-deps x"
