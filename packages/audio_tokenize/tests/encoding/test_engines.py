"""The same records from this process, from workers and from Ray, with one of them killed on the way."""

import dataclasses
import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from audio_data import InputError
from audio_tokenize.codecs import CodecSpec
from audio_tokenize.corpora import Corpus, open_corpus
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.engines import _cluster, _room
from audio_tokenize.encoding.jobs import encode_corpus

# Small shards, so that every worker has several.
GRAIN = {"utterances_per_shard": 12, "num_frame_offsets": 3, "seconds_per_chunk": 4.0}


@pytest.fixture(scope="module")
def english() -> Corpus:
    return open_corpus("sample-multilingual").select(language="en")


@pytest.fixture(scope="module")
def alone(english, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    encode_corpus(english, CodecSpec(), folder, **GRAIN)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def kill_one(out: Path, workers: Callable[[], Iterable[int | None]], killed: list[int]) -> None:
    """Kills a worker for good as soon as something is on disk."""
    while not any(out.glob("*.arrayrecord")):
        time.sleep(0.005)
    for process in workers():
        assert process is not None
        os.kill(process, signal.SIGKILL)
        killed.append(process)
        return


def encode_while_killing(corpus: Corpus, out: Path, workers: Callable[[], Iterable[int | None]], **options: Any) -> int:
    killed: list[int] = []
    killer = threading.Thread(target=kill_one, args=(out, workers, killed), daemon=True)
    killer.start()
    encode_corpus(corpus, CodecSpec(), out, **GRAIN, **options)
    killer.join(timeout=1)
    return len(killed)


@pytest.mark.long
def test_two_workers_one_of_them_killed_give_the_same_bytes(english, alone, tmp_path: Path, capfd):
    workers = lambda: [process.pid for process in multiprocessing.active_children()]  # noqa: E731
    assert encode_while_killing(english, tmp_path, workers, num_workers=2) == 1
    assert contents(tmp_path) == contents(alone)
    assert "a worker died (killed by SIGKILL); shards that it had in hand go to another" in capfd.readouterr().err
    assert not multiprocessing.active_children()


def ray_workers() -> list[int]:
    """Processes of this machine that run one of our tasks for Ray."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:  # It ended meanwhile.
            continue
        if command.startswith(b"ray::_encode_shard"):
            found.append(int(process.name))
    return found


RAY_SETTINGS = {
    # Under `uv run` it would make an environment anew for every worker.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
}


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: the extra `ray` has it")
@pytest.mark.parametrize(("error", "is_said"), [(Exception, True), (ConnectionError, True), (AttributeError, False)])
def test_a_cluster_that_does_not_start_is_said_in_one_line(error, is_said, monkeypatch):
    """Ray raises a bare `Exception` on a machine that is too busy; anything else keeps its traceback."""
    import ray

    def init(**options):
        raise error("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr(ray, "init", init)
    expected = r"must have a cluster, got none \(The current node timed out during startup\); run .* again"
    with pytest.raises(InputError if is_said else error, match=expected if is_said else "timed out"), _cluster(ray, 1):
        pass


needs_ray = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: the extra `ray` has it"),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes of Ray are found in /proc"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.mark.slow
class TestRay:
    pytestmark = needs_ray

    @pytest.fixture(scope="class", autouse=True)
    def cluster(self) -> Iterator[None]:
        """A cluster that is there before the job and stays after it; the GPU is one in name only."""
        with pytest.MonkeyPatch.context() as patch:
            # Some are read when Ray is imported.
            for name, value in RAY_SETTINGS.items():
                patch.setenv(name, value)
            from ray.cluster_utils import Cluster

            cluster = Cluster()
            try:
                cluster.add_node(num_cpus=2, num_gpus=1, include_dashboard=False, object_store_memory=80 * 2**20)
                patch.setenv("RAY_ADDRESS", str(cluster.address))
                yield
            finally:
                cluster.shutdown()

    def test_two_tasks_one_of_them_killed_give_the_same_bytes(self, english, alone, tmp_path: Path):
        """Half a GPU each, so that there is room for two without saying so."""
        import ray

        assert encode_while_killing(english, tmp_path, ray_workers, engine="ray", gpus_per_worker=0.5) == 1
        assert contents(tmp_path) == contents(alone)
        assert not ray.is_initialized(), "what was joined is left"

    def test_more_than_the_cluster_has_is_refused_before_anything_begins(self, english, tmp_path: Path):
        with pytest.raises(InputError, match=r"a cluster with room for one task, got .*'GPU': 1\.0.* for 2 GPUs each"):
            encode_corpus(english, CodecSpec(), tmp_path, engine="ray", gpus_per_worker=2, **GRAIN)
        assert not list(tmp_path.glob("shard-*"))

    def test_a_task_s_bug_shows_its_traceback_and_leaves_a_joined_cluster_joined(self, english, tmp_path: Path):
        import ray
        from ray.exceptions import RayTaskError

        not_a_number = dataclasses.replace(english.utterances[0], extra={"x": float("nan")})
        broken = dataclasses.replace(english, utterances=(not_a_number,))
        ray.init(address="auto", log_to_driver=False)
        try:
            with pytest.raises(RayTaskError, match=r"(?s)encode_record.*JSON compliant"):
                encode_corpus(broken, CodecSpec(), tmp_path, engine="ray")
            assert ray.is_initialized()
        finally:
            ray.shutdown()


STARTS_ITS_OWN = """
import sys
import ray
from audio_tokenize import encode_corpus, open_corpus

english = open_corpus("sample-multilingual").select(language="en")
grain = {"utterances_per_shard": 12, "num_frame_offsets": 3}
encode_corpus(english, "embedded", sys.argv[1], engine="ray", num_workers=1, **grain)
print("running" if ray.is_initialized() else "gone")
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: the extra `ray` has it")
def test_where_there_is_no_cluster_one_is_started_and_stopped(alone, tmp_path: Path):
    """Also where a cluster that was killed has left its address."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-c", STARTS_ITS_OWN, tmp_path]
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder:  # a short path, for sockets lie below it
        (Path(folder) / "ray").mkdir()
        (Path(folder) / "ray" / "ray_current_cluster").write_text("192.0.2.2:42335")
        environment |= {**RAY_SETTINGS, "RAY_TMPDIR": folder}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.stdout.split() == ["gone"], done.stderr
    assert contents(tmp_path) == contents(alone)


@pytest.mark.parametrize(
    ("resources", "gpus_per_task", "room"),
    [({"CPU": 8.0}, 0, 8), ({"CPU": 8.0, "GPU": 2.0}, 0.5, 4), ({"CPU": 3.0, "GPU": 4.0}, 1, 3), ({}, 0, 1)],
)
def test_a_task_takes_a_processor_and_its_share_of_the_gpus(resources, gpus_per_task, room):
    assert _room(resources, gpus_per_task) == room


INTERRUPTED = """
import sys
from audio_tokenize import CodecSpec, encode_corpus, open_corpus

if __name__ == "__main__":
    try:
        encode_corpus(open_corpus("sample-multilingual"), CodecSpec(), sys.argv[1], num_workers=2, num_frame_offsets=40)
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
@pytest.mark.long
def test_workers_end_with_the_process_that_started_them(number, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED)
    out = tmp_path / "codes"
    process = subprocess.Popen(
        [sys.executable, script, out], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not any(out.glob(".shard-*.lock")):
        assert process.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(number)
    printed, errors = process.communicate(timeout=20)
    assert ("interrupted" in printed) == (number != signal.SIGKILL), errors
    deadline = time.monotonic() + 20
    while remaining := [child for child in children if Path(f"/proc/{child}").exists()]:
        assert time.monotonic() < deadline, f"still alive: {remaining}"
        time.sleep(0.02)


def test_a_worker_s_bug_shows_its_traceback(english, tmp_path: Path):
    not_a_number = dataclasses.replace(english.utterances[0], extra={"x": float("nan")})
    broken = dataclasses.replace(english, utterances=(not_a_number,))
    with pytest.raises(RuntimeError, match=r"(?s)a worker failed:.*Traceback.*JSON compliant"):
        encode_corpus(broken, CodecSpec(), tmp_path, num_workers=2)


def test_what_workers_cannot_do_is_refused(english, codec, tmp_path: Path):
    for options, message in [
        ({"engine": "slurm"}, "`engine` must be one of local, ray, got 'slurm'"),
        ({"num_workers": 0}, "`workers` must be at least 1, got 0"),
        ({"num_workers": 2}, "`codec` must be given as a name or a CodecSpec"),
        ({"engine": "ray"}, "`codec` must be given as a name or a CodecSpec"),
    ]:
        with pytest.raises(InputError, match=message):
            encode_corpus(english, codec, tmp_path, **options)
    assert not list(tmp_path.glob("shard-*"))


def test_jobs_of_an_array_share_a_folder(english, alone, tmp_path: Path):
    """In any order; the last one to end writes the manifest, and nobody does another's share."""
    for index in (2, 0):
        assert encode_corpus(english, CodecSpec(), tmp_path, shard=(index, 3), **GRAIN) is None
        assert not (tmp_path / "codes.json").exists()
    manifest = encode_corpus(english, CodecSpec(), tmp_path, shard=(1, 3), **GRAIN)
    assert manifest == EncodedCorpus.open(alone).manifest
    assert contents(tmp_path) == contents(alone)
    with pytest.raises(InputError, match=r"`shard` must be i/n with 0 <= i < n, e\.g\. 0/8, got '3/3'"):
        encode_corpus(english, CodecSpec(), tmp_path, shard=(3, 3), **GRAIN)
