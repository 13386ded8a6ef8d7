import subprocess
import sys
import threading
from pathlib import Path

from audio_data import exclusive, storage_path

HOLDS_AND_IS_KILLED = """
import os, pathlib, signal, sys
from audio_data import exclusive

with exclusive(pathlib.Path(sys.argv[1])) as is_held:
    print(is_held, flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_one_process_at_a_time_and_none_after_it_is_killed(tmp_path: Path):
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_AND_IS_KILLED, path], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "True\n"
        with exclusive(path) as is_held:
            assert not is_held
        other.kill()
        other.wait()
    with exclusive(path) as is_held:
        assert is_held
        assert path.exists()
    assert not path.exists()


def test_many_that_wait_get_it_one_by_one(tmp_path: Path):
    """Each removes the file it held while others wait on it: none may come in beside another."""
    path, inside, most, done = tmp_path / "lock", [], [], []

    def work():
        for _ in range(50):
            with exclusive(path, wait=True) as is_held:
                inside.append(is_held)
                most.append(len(inside))
                inside.pop()
                done.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 200
    assert set(most) == {1}


def test_an_object_store_has_no_locks():
    path = storage_path("memory://locks/lock")
    with exclusive(path) as first, exclusive(path) as second:
        assert first
        assert second
    assert not path.exists()
