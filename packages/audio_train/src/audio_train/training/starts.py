"""Where weights come from before the first step: the run's seed, a model folder, or another run's checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from audio_data import InputError, Vocabulary
from audio_model import Qwen3xConfig, RopeScaling, load_model
from audio_train.optimization.optimizers import DecayState
from audio_train.resolved import ResolvedRun
from audio_train.run_folder.checkpoint import Checkpoints, flat_paths
from audio_train.run_folder.folder import CHECKPOINTS_FOLDER, saved_run
from audio_train.run_folder.model_folder import VOCABULARY_FOLDER
from audio_train.state import TrainState, initial_state, read_codebooks, state_shapes

_COUNTERS = (optax.ScaleByScheduleState, DecayState)
"""States that hold nothing but the number of updates made, which one update rule needs here and another there."""
_SETTINGS = ("model.rope_theta", "model.rope_scaling", "model.rms_epsilon")
"""What a run says of its model that changes no shape and yet what the model computes."""


@dataclass(frozen=True)
class Start:
    """Weights to begin with, found on this machine.

    Attributes:
        path: a model folder, or the folder of a run.
        step: which of the run's checkpoints; None for a model folder.
        replaced: what the weights were trained with where the run has other values, by the run's settings; empty where
            the weights compute in the run what they computed before.
    """

    path: Path
    step: int | None = None
    replaced: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What a run's folder records of it: where it lay, and which weights these were."""
        record: dict[str, Any] = {"path": str(self.path.resolve())}
        if self.step is not None:
            run = saved_run(self.path)
            record |= {"step": self.step, "run_fingerprint": run.fingerprint if run else None}
        return record | ({"replaced": dict(self.replaced)} if self.replaced else {})

    def lines(self, resolved: ResolvedRun) -> list[str]:
        """What a user should know of the start, one line each.

        Args:
            resolved: the run.
        """
        if not self.replaced:
            return []
        function = _function(resolved.model)
        theirs, ours = (
            ", ".join(f"{name}={values[name]}" for name in self.replaced) for values in (self.replaced, function)
        )
        return [
            f"the weights in `{self.path}` were trained with {theirs} and go on with the run's {ours} "
            "(start.function=run), so that at first they do not compute what they have learned"
        ]


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
    run, whole, counters = saved_run(start.path), resolved.run.start.state == "continue", _counters(like)
    assert run is not None
    wanted = {
        name: leaf
        for name, leaf in flat_paths(like).items()
        if name.startswith("model.") or (whole and name not in counters)
    }
    with Checkpoints(start.path, run.fingerprint) as checkpoints:
        arrays: dict[str, Any] = dict(checkpoints.restore_part(start.step, wanted))
    if whole:
        # Not one array under several paths: the step, to which the state is donated, would be given it twice.
        arrays |= dict.fromkeys(counters, np.asarray(arrays["step"]) - np.asarray(arrays["skipped"]))
    return _with(state, arrays)


def _with(state: TrainState, arrays: Mapping[str, Any]) -> TrainState:
    """A state with some of its arrays replaced, each lying where the one before did."""

    def placed(old: jax.Array, new: Any) -> jax.Array:
        if isinstance(new, jax.Array) and new.sharding == old.sharding:
            return new
        host = np.asarray(new, old.dtype)
        return jax.make_array_from_callback(old.shape, old.sharding, lambda index: host[index])

    leaves = [placed(leaf, arrays[name]) if name in arrays else leaf for name, leaf in flat_paths(state).items()]
    return jax.tree.unflatten(jax.tree.structure(state), leaves)


def _counters(like: TrainState) -> set[str]:
    """Paths of the counters of updates in an optimizer's state; the others hold its moments and their count."""

    def is_counter(node: Any) -> bool:
        return isinstance(node, _COUNTERS)

    kept = jax.tree.map(lambda node: None if is_counter(node) else node, like, is_leaf=is_counter)
    return set(flat_paths(like)) - set(flat_paths(kept))


def _moments(resolved: ResolvedRun) -> set[str]:
    """Paths of what an update rule has to find in a checkpoint to go on."""
    shapes = state_shapes(resolved)
    return set(flat_paths(shapes)) - _counters(shapes)


def _model_start(resolved: ResolvedRun, path: Path) -> Start:
    from audio_model.weights import load_config

    replaced = _check_model(resolved, load_config(path), f"model folder `{path}`")
    vocabulary = path / VOCABULARY_FOLDER / "vocabulary.json"
    if vocabulary.exists():
        _check_vocabulary(resolved, Vocabulary.read(vocabulary), path)
    return Start(path, replaced=replaced)


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
    replaced = _check_model(resolved, run.model, f"run `{run.run.name}` in `{path}`")
    _check_vocabulary(resolved, run.vocabulary, path)
    if spec.state == "continue" and _moments(run) != _moments(resolved):
        raise InputError(
            f"`start.state` 'continue' goes on with the moments of `{run.run.optimizer.name}`; the run's rule "
            f"`{resolved.run.optimizer.name}` has others; set start.state=fresh, or a rule with the same moments."
        )
    with Checkpoints(path, run.fingerprint) as checkpoints:
        steps = checkpoints.steps()
        newest = checkpoints.newest_whole() if step is None else step
    if not steps or (step is not None and step not in steps):
        raise InputError(
            f"`{path}` has checkpoints at steps {steps!r}, got {step!r}; choose one, as RUN/checkpoints/STEP."
        )
    return Start(path, newest, replaced)


def _check_model(resolved: ResolvedRun, found: Qwen3xConfig, what: str) -> dict[str, Any]:
    """What `Start.replaced` holds of weights of a configuration, once they are known to fit."""
    expected, name = resolved.model, resolved.run.name
    shaped = replace(expected, rope=found.rope, rms_epsilon=found.rms_epsilon)
    same = replace(found, remat=expected.remat, max_seq_len=expected.max_seq_len)
    if same != shaped:
        fields = [field for field in vars(shaped) if getattr(same, field) != getattr(shaped, field)]
        pairs = ", ".join(f"{field} {getattr(found, field)!r} for {getattr(expected, field)!r}" for field in fields)
        raise InputError(
            f"the {what} is not the model of run `{name}`: {pairs}; the shapes differ. Change the run's `model`, or "
            "extend the weights with `audio-model extend`."
        )
    theirs, ours = _function(found), _function(expected)
    other = {setting: value for setting, value in theirs.items() if value != ours[setting]}
    if not other or resolved.run.start.function == "run":
        return other
    pairs = ", ".join(f"{setting} {value} for {ours[setting]}" for setting, value in other.items())
    keep = " ".join(f"--set {setting}={value}" for setting, value in other.items())
    raise InputError(
        f"the weights of the {what} compute another function than run `{name}`: {pairs}. Train them under the run's "
        "with --set start.function=run" + (f", or keep theirs with {keep}." if _is_stated(found) else ".")
    )


def _function(model: Qwen3xConfig) -> dict[str, Any]:
    """What a model computes beyond its shape, as the settings of a run say it."""
    scaling = model.rope.scaling
    words = "none" if scaling is None else "llama3" if _is_stated(model) else str(scaling)
    return dict(zip(_SETTINGS, (model.rope.theta, words, model.rms_epsilon), strict=True))


def _is_stated(model: Qwen3xConfig) -> bool:
    """Whether a run can say how a model scales its rotary wavelengths."""
    return model.rope.scaling in (None, RopeScaling())


def _check_vocabulary(resolved: ResolvedRun, found: Vocabulary, path: Path) -> None:
    if found.fingerprint != resolved.vocabulary.fingerprint:
        raise InputError(
            f"weights in `{path}` have vocabulary `{found.name}` ({found.size} ids, fingerprint "
            f"{found.fingerprint[:12]}), not the run's `{resolved.vocabulary.name}` ({resolved.vocabulary.size} ids, "
            f"{resolved.vocabulary.fingerprint[:12]}); build the data with the weights' vocabulary."
        )
