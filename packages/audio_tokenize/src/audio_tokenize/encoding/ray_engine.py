"""Shards as tasks of a Ray cluster: one that exists, or one that is started on this machine for the job."""

import functools
import logging
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from audio_data import InputError
from audio_tokenize.codecs import AbstractCodec
from audio_tokenize.encoding.shard_encoder import ShardEvent
from audio_tokenize.encoding.shard_job import ShardJob, encode_shards

# Lost nodes and killed workers are Ray's business; an error that the job itself raises is not tried again.
_MAX_RETRIES = 5


def run_on_ray(
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
        raise InputError("engine `ray` needs Ray: pip install 'audio-tokenize[ray]'") from error
    with _cluster(ray, num_tasks):
        bound = num_tasks or _room(ray.cluster_resources(), gpus_per_task)
        # Ray gives a task one thread of arithmetic by itself; XLA learns of it by this variable.
        options = {"max_retries": _MAX_RETRIES, "num_gpus": gpus_per_task, "runtime_env": {"env_vars": {"NPROC": "1"}}}
        encode = ray.remote(**options)(_encode_shard)
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
    from audio_tokenize.codecs import load_codec

    return load_codec(codec)


def _is_running() -> bool:
    """Whether there is a cluster to join: one that `RAY_ADDRESS` names, or whose processes run on this machine.

    Ray's own search also takes the address that the last cluster left in a file. Where that one was killed, connecting
    to it was still tried after twelve minutes.
    """
    from ray._private import services

    return bool(os.environ.get("RAY_ADDRESS") or services.find_gcs_addresses())


@contextmanager
def _cluster(ray: Any, num_tasks: int | None) -> Iterator[None]:
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
