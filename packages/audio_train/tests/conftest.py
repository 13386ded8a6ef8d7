import json
import os
import resource
import time

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from audio_data import DatasetWriter, Document, InputError, Manifest, TokenDataset, Vocabulary
from audio_train import (
    DataSpec,
    Intervals,
    LossSpec,
    MeshConfig,
    MixtureStage,
    ModelShape,
    OptimizerSpec,
    ResolvedRun,
    ScheduleSpec,
    TrainRun,
    resolve,
)
from audio_train.sharding.mesh import make_mesh
from audio_train.state import TrainState, abstract_state, random_state

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

VOCABULARY = Vocabulary.compact("toy", 12, "toy-codec", num_codebooks=2, codebook_size=16, text_tokenizer="toy")

RUN = TrainRun(
    name="toy",
    model=ModelShape(embed=16, mlp=32, layers=2, heads=2, kv_heads=1, head_dim=8, max_seq_len=64),
    data=DataSpec(
        mixture=(MixtureStage(0.0, {"short": 1.0}), MixtureStage(0.5, {"short": 1.0, "long": 3.0})),
        seq_len=32,
        batch_size=8,
        packing="best_fit",
        positions="reset",
        mixture_block=8,
    ),
    optimizer=OptimizerSpec("cautious_adamc", learning_rate=1e-2, weight_decay=0.1),
    schedule=ScheduleSpec(warmup=0.1, decay=0.2),
    loss=LossSpec(kind="grammar", kind_weights={"text": 4.0}),
    steps=12,
    intervals=Intervals(checkpoint_steps=5, checkpoint_seconds=None, keep_last=2),
)


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return VOCABULARY


@pytest.fixture(scope="session")
def one_device() -> MeshConfig:
    """All runs of a test on one of the simulated devices."""
    return MeshConfig(data=1)


@pytest.fixture
def toy_run() -> TrainRun:
    return RUN


def toy_document(rng: np.random.Generator, number: int, num_frames: int) -> Document:
    """A frame's second code follows from its first, and the text from both, so that there is something to learn."""
    first = rng.integers(0, 16, num_frames)
    codes = np.stack([first, (first * 3 + 1) % 16], axis=1)
    text = np.array([first[0] % 12, first[-1] % 12])
    v = VOCABULARY
    parts = [[v.begin_of_text, v.audio_start], v.audio_ids(codes), [v.audio_end, v.text_start], text]
    ids = np.concatenate([*parts, [v.text_end, v.end_of_text]]).astype(np.int32)
    return Document(ids, None, {"id": f"utterance-{number}", "seconds": num_frames / 12.5})


def write_corpus(path: Path, vocabulary: Vocabulary, num_documents: int, num_frames: int) -> Manifest:
    rng = np.random.default_rng(num_frames)
    with DatasetWriter(path, corpus=path.name, vocabulary=vocabulary, provenance={}) as writer:
        for number in range(num_documents):
            writer.write(toy_document(rng, number, num_frames))
    return TokenDataset.open(path).manifest


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_corpus(root / "short", VOCABULARY, 60, 3)
    write_corpus(root / "long", VOCABULARY, 40, 9)
    (root / "vocabulary").mkdir()
    codebooks = np.random.default_rng(0).normal(size=(2, 16, 4)).astype(np.float32)
    save_file({"codebooks": codebooks}, root / "vocabulary" / "codebooks.safetensors")
    (root / "vocabulary" / "vocabulary.json").write_text(json.dumps(VOCABULARY.to_json()))
    return root


@pytest.fixture(scope="session")
def manifests(data_root: Path) -> dict[str, Manifest]:
    return {name: TokenDataset.open(data_root / name).manifest for name in ("short", "long")}


@pytest.fixture(scope="session")
def toy(manifests: dict[str, Manifest]) -> ResolvedRun:
    return resolve(RUN, VOCABULARY, manifests)


@pytest.fixture
def small_files() -> Callable[[int], AbstractContextManager[None]]:
    """Let no file grow beyond some bytes, which fails as a full disk does."""

    @contextmanager
    def limited(num_bytes: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture(scope="session")
def wait_for_end() -> Callable[[Iterable[int]], None]:
    """Wait until processes, by their ids, have ended; whoever adopted them may not have asked for their status yet."""

    def running(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def wait(pids: Iterable[int]) -> None:
        deadline = time.monotonic() + 60
        while left := [pid for pid in pids if running(pid)]:
            assert time.monotonic() < deadline, f"processes {left} go on"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def fresh_state(one_device: MeshConfig) -> Callable[[ResolvedRun], TrainState]:
    """The state of a run before its first step, on one device."""
    return lambda resolved: random_state(resolved, abstract_state(resolved, make_mesh(one_device), one_device), None)


@pytest.fixture
def varied(manifests: dict[str, Manifest]):
    """Resolve the toy run with some fields replaced."""
    return lambda **changes: resolve(replace(RUN, **changes), VOCABULARY, manifests)


@pytest.fixture(scope="session")
def refusal() -> Callable[[Callable[[], object]], str | None]:
    """The message with which a call refuses its input, which is one line; None where it does not."""

    def message_of(call: Callable[[], object]) -> str | None:
        try:
            call()
        except InputError as error:
            message = error.message
        else:
            return None
        assert "\n" not in message
        return message

    return message_of
