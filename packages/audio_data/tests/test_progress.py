import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

import audio_data.progress
from audio_data import Progress


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(audio_data.progress, "time", clock)
    return clock


def test_a_log_gets_a_line_every_few_seconds_and_one_at_the_end(clock, capsys):
    with Progress("encode", total=100, unit="files") as progress:
        for _ in range(8):
            clock.now += 1.25
            progress.advance(12.5, loss=2.34567)
    assert capsys.readouterr().err.splitlines() == [
        "encode: 50/100 files (10/s), 0:05 elapsed, 0:05 left, loss=2.346",
        "encode: 100/100 files (10/s), 0:10 elapsed, loss=2.346",
    ]


def test_what_an_earlier_start_did_counts_and_is_not_of_this_rate(clock, capsys):
    with Progress("train", total=100, unit="steps", done=60) as progress:
        clock.now += 5
        progress.advance(10)
    assert capsys.readouterr().err == "train: 70/100 steps (2/s), 0:05 elapsed, 0:15 left\n"


def test_the_last_line_tells_that_work_was_stopped(clock, capsys):
    def work():
        with Progress("build", total=None, unit="documents") as progress:
            clock.now += 2
            progress.advance(3, shard="shard-00001")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert capsys.readouterr().err == "build: 3 documents (1.5/s), 0:02 elapsed, shard=shard-00001 (stopped)\n"


IN_A_TERMINAL = """
from types import SimpleNamespace
import audio_data.progress
now = 0
audio_data.progress.time = SimpleNamespace(monotonic=lambda: now)
with audio_data.Progress({label!r}, total={total}, unit="steps") as progress:
    now = 3660
    progress.advance(800, loss=2.31234, lr=1e-3, norm=0.53, tokens_per_second=12345.0)
    print("the result")
"""


def lines_in_a_terminal(width: int, code: str, stdout: Path | None = None) -> list[str]:
    """Run Python in a pseudo terminal of a width; return what it shows, line by line, without control sequences."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    with stdout.open("w") if stdout else contextlib.nullcontext(there) as out:
        # Where COLUMNS is set, as by pytest-xdist, it counts instead of the terminal's width.
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        options = {"stdin": there, "stdout": out, "stderr": there, "env": environment | {"TERM": "xterm"}}
        with subprocess.Popen([sys.executable, "-c", code], **options) as process:
            os.close(there)
            shown = b""
            with contextlib.suppress(OSError):  # how Linux tells that the other end is closed
                while part := os.read(here, 4096):
                    shown += part
    os.close(here)
    assert process.returncode == 0, shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]


@pytest.mark.parametrize(
    ("width", "label", "last"),
    [
        (60, "train quickstart", "train quickstart B 1:01:00, 1:31:30 left"),
        (60, "train q", "train q B 800/2,000 steps 1:01:00, 1:31:30 left"),
        (80, "train quickstart", "train quickstart B 800/2,000 steps (0.22/s) 1:01:00, 1:31:30 left"),
        (80, "train q", "train q B 800/2,000 steps (0.22/s) 1:01:00, 1:31:30 left loss=2.312"),
        (80, "train " + "long-name-" * 8, "train long-name-long-name-long-name-long-name-lo… B 1:01:00, 1:31:30 left"),
        (
            120,
            "train quickstart",
            "train quickstart B 800/2,000 steps (0.22/s) 1:01:00, 1:31:30 left loss=2.312 lr=0.001 norm=0.53",
        ),
    ],
)
def test_a_terminal_gets_a_bar_and_the_times_before_the_metrics(width, label, last):
    shown = lines_in_a_terminal(width, IN_A_TERMINAL.format(label=label, total=2000))
    assert max(map(len, shown)) <= width
    bar = re.search(r"[━╸╺]+", shown[-1])
    assert bar is not None
    assert 8 <= len(bar[0]) <= 40
    assert shown[-1].replace(bar[0], "B") == last
    assert "the result" in shown


def test_the_bar_of_work_without_a_known_end_has_no_time_left():
    line = lines_in_a_terminal(80, IN_A_TERMINAL.format(label="read", total=None))[-1]
    assert re.fullmatch(r"read ━{18} 800 steps \(0.22/s\) 1:01:00 loss=2.312 lr=0.001 norm=0.53", line)


def test_a_result_that_goes_to_a_file_stays_out_of_the_terminal(tmp_path):
    shown = lines_in_a_terminal(80, IN_A_TERMINAL.format(label="read", total=1000), tmp_path / "result")
    assert not any("result" in line for line in shown)
    assert (tmp_path / "result").read_text() == "the result\n"


def test_hours_and_millions_are_written_as_people_read_them(clock, capsys):
    with Progress("count", total=4e6, unit="tokens") as progress:
        clock.now += 7200
        progress.advance(2e6)
    assert (
        capsys.readouterr().err.splitlines()[-1] == "count: 2.00M/4.00M tokens (278/s), 2:00:00 elapsed, 2:00:00 left"
    )
