"""Processes that are started here, and end with the one that started them."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from audio_train.command_lines import Command, run_command, without_option

# JAX warns of a fork where it was imported by a test of another file; `audio-train` forks before it imports it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

# Neither runs a handler of its own: one computes without letting Python go on, the other is stopped.
BUSY = "import ctypes; ctypes.PyDLL(None).sleep(600)"
STOPPED = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
DEAF = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 15)]; time.sleep(600)"
STARTING = """
import signal, subprocess, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup lets it be ignored
from audio_train.command_lines import start
print(*(start([sys.executable, "-c", code], stdout=subprocess.DEVNULL).pid for code in sys.argv[2:]), flush=True)
exec(sys.argv[1])
"""


@pytest.mark.parametrize(
    "end",
    [
        "sys.stdin.readline(); sys.exit()",
        "sys.stdin.readline(); 1 / 0",
        "sys.stdin.readline(); import os; os.abort()",
        *(signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT),
    ],
)
def test_a_process_ends_with_the_one_that_started_it_however_that_ends(end: str | signal.Signals, wait_for_end):
    code = end if isinstance(end, str) else "sys.stdin.readline()"
    words = [sys.executable, "-c", STARTING, code, BUSY, STOPPED, DEAF]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, text=True, **pipes) as parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(children) == 3
        assert all(Path(f"/proc/{pid}").exists() for pid in children)
        if isinstance(end, str):
            parent.communicate("\n")
        else:
            parent.send_signal(end)
        parent.wait(60)
        wait_for_end(children)


def test_an_option_is_left_out_in_either_spelling():
    assert without_option(["run", "--processes", "2", "x"], "--processes") == ["run", "x"]
    assert without_option(["run", "--processes=2", "x"], "--processes") == ["run", "x"]


def run_python(code: str, makes: Path | None = None) -> None:
    command = Command("an example", ("python", "-c", code), makes=makes)
    run_command(command, sys.executable, to_stderr=False, name="the whole")


def test_what_was_stopped_by_itself_is_followed_by_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A training calls being stopped by SIGTERM a success: a scheduler then starts it again."""
    made = tmp_path / "config.json"
    stopped = "import os, signal, sys; signal.signal(15, lambda *_: sys.exit()); os.kill(os.getpid(), 15)"
    with pytest.raises(SystemExit) as ended:
        run_python(stopped, makes=made)
    assert ended.value.code == 128 + signal.SIGTERM
    assert "the whole stopped; run the same command again to continue" in capsys.readouterr().err
    run_python(f"open({str(made)!r}, 'w').close()", makes=made)
    run_python("pass")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_to_the_whole_ends_it_after_a_command_that_finished(number: signal.Signals, status: int):
    with pytest.raises(SystemExit) as ended:
        run_python(f"import os, signal; signal.signal({number:d}, signal.SIG_IGN); os.kill(os.getppid(), {number:d})")
    assert ended.value.code == status
