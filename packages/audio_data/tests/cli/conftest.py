"""Running commands, and a small dataset that they look into."""

import json

import pytest
from click.testing import CliRunner

from audio_data.cli import main


def _run(*arguments, status=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    return result


@pytest.fixture(scope="session")
def run():
    """Runs a command; its exit status must be `status`."""
    return _run


@pytest.fixture
def built(tmp_path, vocabulary, run):
    vocabulary.write(tmp_path / "vocabulary.json")
    lines = [{"ids": [100, 1, 2, 101], "id": "x", "seconds": 1.5}, {"ids": [3, 101], "loss_mask": [False, True]}]
    (tmp_path / "ids.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = (
        "build",
        tmp_path / "ids.jsonl",
        "--vocabulary",
        tmp_path / "vocabulary.json",
        "--out",
        tmp_path / "d/a",
    )
    result = run(*arguments)
    assert result.stdout == f"dataset {tmp_path / 'd/a'}: 2 documents, 6 tokens\n"
    return tmp_path / "d", arguments
