"""Engines that encode shards: this process, processes of this machine, or a Ray cluster, with the same result.

An engine is given the shards to do and yields what happens to them. It may hand out a shard again whose worker died:
shards are resumable, and whole or absent.
"""

import functools
import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from audio_data import InputError, install_extra_command
from audio_tokenize.codecs import AbstractCodec, load_codec
from audio_tokenize.encoding.shard_encoder import ShardEvent, ShardJob, encode_shards

ENGINES = ("local", "ray")
# A shard that takes its worker down with it, time after time, is the shard's fault.
_MAX_DEATHS = 3
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")
"""The last one is how XLA's CPU client learns how many threads to start."""

# Lost nodes and killed workers are Ray's business; an error that the job itself raises is not tried again.
_MAX_RETRIES = 5

Events = Generator[ShardEvent, None, None]


@dataclass(frozen=True)
class Engine:
    """Who does the work.

    Attributes:
        name: `local` or `ray`.
        num_workers: Processes, or Ray tasks at a time. `None`: this process itself, or as many as Ray has room for.
        gpus_per_worker: What a Ray task asks for; the processes of one machine share what there is.

    Raises:
        InputError: An unknown name, or numbers that do not go with it.
    """

    name: str = "local"
    num_workers: int | None = None
    gpus_per_worker: int | float = 0

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise InputError(f"`engine` must be one of {', '.join(ENGINES)}, got {self.name!r}")
        if self.num_workers is not None and self.num_workers < 1:
            raise InputError(f"`workers` must be at least 1, got {self.num_workers!r}")
        if self.gpus_per_worker < 0 or (self.gpus_per_worker and self.name != "ray"):
            raise InputError(
                f"`gpus_per_worker` must be 0, or more with engine ray, got {self.gpus_per_worker!r} with {self.name}"
            )

    @property
    def is_this_process(self) -> bool:
        """Whether no other process is needed, so that a codec may be given as it is."""
        return self.name == "local" and self.num_workers in (None, 1)

    def run(self, job: ShardJob, indices: Sequence[int]) -> Events:
        """Encode shards; close the iterator to stop early.

        Args:
            job: What to do; its codec is a `CodecSpec` where other processes are to load it.
            indices: Which shards.

        Yields:
            What happens to the shards.

        Raises:
            InputError: A shard kills its workers, or what `encode_shards` raises.
        """
        if self.is_this_process:
            return encode_shards(job, job.load_codec(), indices)
        if self.name == "ray":
            return _run_on_ray(job, indices, self.num_workers, self.gpus_per_worker)
        return _run_on_workers(job, indices, self.num_workers or 1)


@dataclass
class _Worker:
    """A process and what it has been given.

    Attributes:
        process: It.
        pipe: Our end.
        in_hand: Shards that it was given and has not reported as done.
    """

    process: BaseProcess
    pipe: Connection
    in_hand: set[int] = field(default_factory=set)


def _run_on_workers(job: ShardJob, indices: Sequence[int], num_workers: int) -> Events:
    """Hand shards to processes as they ask for them, replace those that die, and end all when it is closed."""
    waiting = list(reversed(indices))
    deaths: Counter[int | None] = Counter()
    num_workers = min(num_workers, len(indices))
    num_threads = max(1, (os.cpu_count() or 1) // max(num_workers, 1))
    workers = {}
    with _terminated_as_interrupted():
        try:
            for _ in range(num_workers):
                worker = _start(job, num_threads)
                workers[worker.pipe] = worker
            while workers:
                for pipe in wait(list(workers)):
                    worker = workers[pipe]
                    try:
                        message = worker.pipe.recv()
                    except (EOFError, ConnectionResetError):
                        del workers[pipe]
                        worker.process.join()
                        if worker.in_hand or worker.process.exitcode:
                            _note_death(worker, deaths, job)
                            waiting += sorted(worker.in_hand, reverse=True)
                        if waiting:
                            worker = _start(job, num_threads)
                            workers[worker.pipe] = worker
                        continue
                    yield from _answer(worker, message, waiting)
        finally:
            _stop(list(workers.values()))


def _answer(worker: _Worker, message: object, waiting: list[int]) -> Iterator[ShardEvent]:
    if isinstance(message, ShardEvent):
        if message.state != "encoding":
            worker.in_hand.discard(message.index)
        yield message
    elif isinstance(message, _Fault):
        message.raise_here()
    else:
        index = waiting.pop() if waiting else None
        if index is not None:
            worker.in_hand.add(index)
        # One that died after it asked is noticed when its pipe ends.
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send(index)


def _note_death(worker: _Worker, deaths: Counter[int | None], job: ShardJob) -> None:
    """Report that a worker died and what becomes of its shards; give up on one that it happens to repeatedly."""
    cause = _cause(worker.process.exitcode)
    names = ", ".join(f"`{job.shards[index].name}`" for index in sorted(worker.in_hand)) or "none"
    # None stands for workers that did not live to ask for a shard.
    deaths.update(worker.in_hand or [None])
    if any(deaths[index] >= _MAX_DEATHS for index in worker.in_hand or [None]):
        raise InputError(
            f"{_MAX_DEATHS} workers died, the last one {cause} with these shards in hand: {names}; give them more "
            "memory (fewer `workers`), or look at the audio"
        )
    print(f"a worker died ({cause}); shards that it had in hand go to another: {names}", file=sys.stderr, flush=True)


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"killed by {signal.Signals(-exit_code).name}"
    return f"exit status {exit_code}"


def _start(job: ShardJob, num_threads: int) -> _Worker:
    # A forked process would inherit the threads' locks of jax and of the readers, but not the threads.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(job, theirs), name="encode", daemon=True)
    with _limited_threads(num_threads):
        process.start()
    theirs.close()
    return _Worker(process, ours)


def _stop(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join()
        worker.pipe.close()


@contextmanager
def _limited_threads(num_threads: int) -> Generator[None, None, None]:
    """Limit the threads of processes that are started inside, so that workers do not compete for cores."""
    before = {name: os.environ.get(name) for name in _THREAD_LIMITS}
    os.environ.update(dict.fromkeys(_THREAD_LIMITS, str(num_threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _terminated_as_interrupted() -> Generator[None, None, None]:
    """SIGTERM ends the block as Ctrl-C does, so that the workers are ended too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class _Fault:
    """Why a worker gave up."""

    message: str
    is_input: bool

    def raise_here(self) -> None:
        raise InputError(self.message) if self.is_input else RuntimeError(f"a worker failed:\n{self.message}")


def _work(job: ShardJob, pipe: Connection) -> None:
    """Encode what a worker is given until there is no more, or nobody listens any more."""
    # Ctrl-C on a terminal reaches every process of the group; the one that was started decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with closing(encode_shards(job, job.load_codec(), _given(pipe))) as events:
            for event in events:
                _tell(pipe, event)
    except InputError as error:
        _tell(pipe, _Fault(error.message, is_input=True))
    # Nothing is hidden: the whole traceback is raised again where the job was started, and need not be shown twice.
    except BaseException as error:
        _tell(pipe, _Fault(traceback.format_exc(), is_input=False))
        raise SystemExit(1) from error


def _end_with_parent() -> None:
    """End this process at once when its parent is gone, as after a SIGKILL; files on disk stay whole."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _given(pipe: Connection) -> Iterator[int]:
    while (index := _tell(pipe, None, answered=True)) is not None:
        yield index


def _tell(pipe: Connection, message: object, *, answered: bool = False) -> Any:
    """Tell the process that started this one; without it there is nothing left to do here."""
    try:
        pipe.send(message)
        return pipe.recv() if answered else None
    except (BrokenPipeError, ConnectionResetError, EOFError):
        os._exit(1)


def _run_on_ray(
    job: ShardJob, indices: Sequence[int], num_tasks: int | None, gpus_per_task: int | float = 0
) -> Generator[ShardEvent, None, None]:
    """Encode each shard in a task; a bounded number of tasks wait, so that a million shards are no burden.

    Args:
        job: What to do; `out` must be reachable by every node, as the corpus must.
        indices: Which shards.
        num_tasks: Tasks at a time; `None`: as many as the cluster has room for when the job begins.
        gpus_per_task: Accelerators of a task, or a part of one.

    Yields:
        What happened to the shards, when each is done.

    Raises:
        InputError: Ray is not installed, or what `encode_shards` raises.
    """
    try:
        import ray
        from ray.exceptions import RayTaskError
    except ImportError as error:
        raise InputError(f"engine `ray` needs Ray: `{install_extra_command('audio-tokenize', 'ray')}`") from error
    with _cluster(ray, num_tasks):
        bound = num_tasks or _room(ray.cluster_resources(), gpus_per_task)
        # Ray gives a task one thread of arithmetic by itself; XLA learns of it by this variable.
        environment = {"env_vars": {"NPROC": "1"}}
        encode = ray.remote(max_retries=_MAX_RETRIES, num_gpus=gpus_per_task, runtime_env=environment)(_encode_shard)
        shared = ray.put(job)
        waiting = iter(indices)
        running: list[Any] = []
        try:
            while True:
                running += [
                    encode.remote(shared, index, os.getcwd()) for index in islice(waiting, bound - len(running))
                ]
                if not running:
                    return
                finished, running = ray.wait(running, num_returns=1)
                yield from ray.get(finished[0])
        except RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise InputError(error.cause.message) from error
            raise
        finally:
            for task in running:
                ray.cancel(task)


def _room(resources: Mapping[str, float], gpus_per_task: int | float) -> int:
    """How many tasks of one processor each a cluster can run at a time."""
    num_tasks = resources.get("CPU", 1)
    if gpus_per_task:
        num_tasks = min(num_tasks, resources.get("GPU", 0) / gpus_per_task)
    if num_tasks < 1:
        raise InputError(
            f"`gpus_per_worker`: expected a cluster with room for one task, got {dict(resources)!r} for "
            f"{gpus_per_task!r} GPUs each; add nodes, or ask for less"
        )
    return int(num_tasks)


def _encode_shard(job: ShardJob, index: int, folder: str) -> list[ShardEvent]:
    """Return the task, which runs in a worker process, which keeps the codec for the tasks after it.

    Relative paths mean there what they mean where the job was started, as far as that node has the folder.
    """
    if os.path.isdir(folder):
        os.chdir(folder)
    return list(encode_shards(job, _loaded(job.codec), [index]))


@functools.lru_cache(maxsize=1)
def _loaded(codec: Any) -> AbstractCodec:
    return load_codec(codec)


def _is_running() -> bool:
    """Whether there is a cluster to join: one that `RAY_ADDRESS` names, or whose processes run on this machine.

    Ray's own search also takes the address that the last cluster left in a file. Where that one was killed, connecting
    to it was still tried after twelve minutes.
    """
    from ray._private import services

    return bool(os.environ.get("RAY_ADDRESS") or services.find_gcs_addresses())


@contextmanager
def _cluster(ray: Any, num_tasks: int | None) -> Generator[None, None, None]:
    """Join the cluster that runs; else start one here and stop it afterwards."""
    if ray.is_initialized():
        yield
        return
    options = {"log_to_driver": False, "logging_level": logging.WARNING}
    joining = {"address": "auto"}
    starting = {"address": "local", "num_cpus": num_tasks, "include_dashboard": False}
    try:
        ray.init(**options, **(joining if _is_running() else starting))
    except Exception as error:
        # Ray has no class of its own for a cluster that does not start in time, as on a machine that is overloaded.
        if type(error) is not Exception and not isinstance(error, ConnectionError):
            raise
        reason = str(error).strip().partition(".")[0]
        raise InputError(
            f"`engine` 'ray' must have a cluster, got none ({reason}); run the same command again when the machine is "
            "less busy, or use `--engine local --workers N`"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
