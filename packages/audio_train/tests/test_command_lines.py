"""Processes that are started here, and end with the one that started them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from audio_train.command_lines import without_option

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
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
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
