"""Where weights come from before the first step: the run's seed, a model folder, or another run's checkpoint."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import PyTree

from audio_data import InputError, Vocabulary
from audio_model import Qwen3xConfig, load_model
from audio_train.optimization.optimizers import DecayState
from audio_train.resolved import ResolvedRun
from audio_train.run_folder.checkpoint import Checkpoints, flat_paths
from audio_train.run_folder.folder import CHECKPOINTS_FOLDER, saved_run
from audio_train.run_folder.model_folder import VOCABULARY_FOLDER
from audio_train.training.state import TrainState, initial_state, read_codebooks

_COUNTED_ANEW = (optax.ScaleByScheduleState, DecayState)
"""States that count updates for the schedule, which is the new run's."""
_FUNCTION_FIELDS = ("rope", "rms_epsilon")
"""Fields of a model that change no shape and yet what it computes."""


@dataclass(frozen=True)
class Start:
    """Weights to begin with, found on this machine.

    Attributes:
        path: a model folder, or the folder of a run.
        step: which of the run's checkpoints; None for a model folder.
    """

    path: Path
    step: int | None = None

    def to_json(self) -> dict[str, Any]:
        """What a run's folder records of it: where it lay, and which weights these were."""
        record: dict[str, Any] = {"path": str(self.path.resolve())}
        if self.step is not None:
            run = saved_run(self.path)
            record |= {"step": self.step, "run_fingerprint": run.fingerprint if run else None}
        return record


def find_start(resolved: ResolvedRun, given: Path | None) -> Start | None:
    """The weights that a run begins with, checked to be there and to fit it.

    Args:
        resolved: the run.
        given: where they lie: a model folder, a run's folder, or one of its checkpoints (`RUN/checkpoints/STEP`); None
            where the run's `start.source` is itself such a path.

    Returns:
        The place, or None for a run from scratch.

    Raises:
        InputError: there is nothing, or what is there does not fit.
    """
    spec = resolved.run.start
    if spec.kind == "scratch":
        if given is not None:
            raise InputError(
                f"run `{resolved.run.name}` starts from scratch, so that --start {str(given)!r} has no use."
            )
        return None
    path = given or Path(spec.source or "")
    if not path.is_dir():
        raise InputError(
            f"run `{resolved.run.name}` starts from the {spec.kind} `{spec.source}`"
            + (f", revision {spec.revision}" if spec.revision else "")
            + f"; say where it lies with --start PATH, got {str(path)!r}, which is no folder."
        )
    return _model_start(resolved, path) if spec.kind == "model" else _checkpoint_start(resolved, path)


def begin(resolved: ResolvedRun, like: TrainState, start: Start | None, data_root: Path) -> TrainState:
    """The state before the first step.

    Args:
        resolved: the run.
        like: shapes and places, as `abstract_state` gives them.
        start: as `find_start` gives it.
        data_root: where the codec's centroids lie, for runs that use them.

    Returns:
        The state, placed as `like` is.

    Raises:
        InputError: the weights cannot be read.
    """
    if start is None:
        from_codebooks = resolved.run.start.audio_rows == "codebooks"
        return initial_state(resolved, like, read_codebooks(data_root / VOCABULARY_FOLDER) if from_codebooks else None)
    state = initial_state(resolved, like, None)
    if start.step is None:
        return _with(state, {f"model.{name}": leaf for name, leaf in flat_paths(load_model(start.path)).items()})
    wanted = {name: leaf for name, leaf in flat_paths(like).items() if name.startswith("model.")}
    if resolved.run.start.optimizer == "continue":
        wanted |= _moments(like)
    run = saved_run(start.path)
    assert run is not None
    with Checkpoints(start.path, run.fingerprint) as checkpoints:
        return _with(state, checkpoints.restore_part(start.step, wanted))


def _with(state: TrainState, arrays: dict[str, Any]) -> TrainState:
    """A state with some of its arrays replaced, each lying where the one before did."""

    def placed(old: jax.Array, new: Any) -> jax.Array:
        if isinstance(new, jax.Array) and new.sharding == old.sharding:
            return new
        host = np.asarray(new, old.dtype)
        return jax.make_array_from_callback(old.shape, old.sharding, lambda index: host[index])

    leaves = [placed(leaf, arrays[name]) if name in arrays else leaf for name, leaf in flat_paths(state).items()]
    return jax.tree.unflatten(jax.tree.structure(state), leaves)


def _moments(like: TrainState) -> dict[str, PyTree]:
    """The optimizer's arrays that go on as they were: all but the counts of the schedule."""

    def is_counter(node: Any) -> bool:
        return isinstance(node, _COUNTED_ANEW)

    kept = jax.tree.map(lambda node: None if is_counter(node) else node, like.optimizer, is_leaf=is_counter)
    return {f"optimizer.{name}": leaf for name, leaf in flat_paths(kept).items()}


def _model_start(resolved: ResolvedRun, path: Path) -> Start:
    from audio_model.weights import load_config

    _check_model(resolved, load_config(path), f"model folder `{path}`")
    vocabulary = path / VOCABULARY_FOLDER / "vocabulary.json"
    if vocabulary.exists():
        _check_vocabulary(resolved, Vocabulary.read(vocabulary), path)
    return Start(path)


def _checkpoint_start(resolved: ResolvedRun, path: Path) -> Start:
    spec, step = resolved.run.start, resolved.run.start.step
    if path.name.isdigit() and path.parent.name == CHECKPOINTS_FOLDER:
        if step is not None and step != int(path.name):
            raise InputError(f"run `{resolved.run.name}` starts from step {step}, got the checkpoint {str(path)!r}.")
        path, step = path.parent.parent, int(path.name)
    run = saved_run(path)
    if run is None:
        raise InputError(
            f"`{path}` holds no run; --start takes RUN or RUN/checkpoints/STEP of the run `{spec.source}`."
        )
    _check_model(resolved, run.model, f"run `{run.run.name}` in `{path}`")
    _check_vocabulary(resolved, run.vocabulary, path)
    if spec.optimizer == "continue" and run.run.optimizer.name != resolved.run.optimizer.name:
        raise InputError(
            f"`start.optimizer` 'continue' takes the moments of `{run.run.optimizer.name}` on; the run's rule is "
            f"`{resolved.run.optimizer.name}`; set start.optimizer=fresh, or the same rule."
        )
    with Checkpoints(path, run.fingerprint) as checkpoints:
        steps = checkpoints.steps()
        newest = checkpoints.newest_whole() if step is None else step
    if not steps or (step is not None and step not in steps):
        raise InputError(
            f"`{path}` has checkpoints at steps {steps!r}, got {step!r}; choose one, as RUN/checkpoints/STEP."
        )
    return Start(path, newest)


def _check_model(resolved: ResolvedRun, found: Qwen3xConfig, what: str) -> None:
    expected = resolved.model
    same = replace(found, remat=expected.remat, max_seq_len=expected.max_seq_len)
    if same == expected:
        return
    fields = [name for name in vars(expected) if getattr(same, name) != getattr(expected, name)]
    pairs = ", ".join(f"{name} {getattr(found, name)!r} for {getattr(expected, name)!r}" for name in fields)
    hint = "the weights compute another function" if set(fields) <= set(_FUNCTION_FIELDS) else "the shapes differ"
    raise InputError(
        f"the {what} is not the model of run `{resolved.run.name}`: {pairs}; {hint}. Change the run's `model`, or "
        "extend the weights with `audio-model extend`."
    )


def _check_vocabulary(resolved: ResolvedRun, found: Vocabulary, path: Path) -> None:
    if found.fingerprint != resolved.vocabulary.fingerprint:
        raise InputError(
            f"weights in `{path}` have vocabulary `{found.name}` ({found.size} ids, fingerprint "
            f"{found.fingerprint[:12]}), not the run's `{resolved.vocabulary.name}` ({resolved.vocabulary.size} ids, "
            f"{resolved.vocabulary.fingerprint[:12]}); build the data with the weights' vocabulary."
        )
