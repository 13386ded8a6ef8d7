import pickle

import click
from click.testing import CliRunner

from audio_data import InputError


def test_a_command_ends_in_one_line_and_status_2():
    @click.command()
    def fail():
        raise InputError("`--steps`: expected at least 1, got 0")

    result = CliRunner().invoke(fail)
    assert result.exit_code == 2
    assert result.stderr == "Error: `--steps`: expected at least 1, got 0\n"
    assert result.stdout == ""


def test_it_is_a_value_error_with_its_message():
    error = InputError("wrong")
    assert isinstance(error, ValueError)
    assert str(error) == "wrong"


def test_it_comes_back_whole_from_another_process():
    error = pickle.loads(pickle.dumps(InputError("wrong")))
    assert type(error) is InputError
    assert error.message == "wrong"
