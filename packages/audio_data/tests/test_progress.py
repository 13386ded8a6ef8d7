import io

import pytest

import audio_data.progress
from audio_data import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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


@pytest.mark.parametrize("total", [None, 4])
def test_a_terminal_gets_a_bar(monkeypatch, total):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    with Progress("train", total=total, unit="steps") as progress:
        progress.advance(4, loss=1.5)
    assert "train" in stream.getvalue()
    assert "loss=1.5" in stream.getvalue()


def test_hours_and_millions_are_written_as_people_read_them(clock, capsys):
    with Progress("count", total=4e6, unit="tokens") as progress:
        clock.now += 7200
        progress.advance(2e6)
    assert (
        capsys.readouterr().err.splitlines()[-1] == "count: 2.00M/4.00M tokens (278/s), 2:00:00 elapsed, 2:00:00 left"
    )
