"""The state before the first step, from the run's seed, a model folder, or another run's checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
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
from audio_train.run_folder.folder import CHECKPOINTS_FOLDER, EXPORT_FOLDER, saved_run
from audio_train.run_folder.model_folder import VOCABULARY_FOLDER
from audio_train.state import TrainState, first_adapters, random_state, read_codebooks, state_shapes

_COUNTERS = (optax.ScaleByScheduleState, DecayState)
"""Optimizer states that hold only a number of updates; optimizers with the same moments differ in these."""
_SETTINGS = ("model.rope_theta", "model.rope_scaling", "model.rms_epsilon")
"""Fields of a run's model that change no shape, but change what the model computes."""


@dataclass(frozen=True)
class InitialWeights:
    """First weights of a run, found on this machine.

    Attributes:
        path: Model folder, or folder of a run.
        step: Step of the run's checkpoint; None for a model folder.
        replaced: Values that the weights were trained with, by the field of the run that has another value; empty if
            the weights compute the same in this run as before.
    """

    path: Path
    step: int | None = None
    replaced: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `launches.jsonl`: path, step, and fingerprint of the run that trained the weights."""
        record: dict[str, Any] = {"path": str(self.path.resolve())}
        if self.step is not None:
            run = saved_run(self.path)
            record |= {"step": self.step, "run_fingerprint": run.fingerprint if run else None}
        return record | ({"replaced": dict(self.replaced)} if self.replaced else {})

    def remarks(self, resolved: ResolvedRun) -> list[str]:
        """Warnings to print before training, one line each.

        Args:
            resolved: The run.
        """
        if not self.replaced:
            return []
        function = _function(resolved.model)
        theirs, ours = (
            ", ".join(f"{name}={values[name]}" for name in self.replaced) for values in (self.replaced, function)
        )
        return [
            f"the weights in `{self.path}` were trained with {theirs} and are used with the run's {ours} "
            "(init.rope_and_epsilon_of=run), so the model at first does not compute what it was trained to"
        ]


def resolve_init(resolved: ResolvedRun, given: Path | None) -> InitialWeights | None:
    """Find a run's first weights, and check that they fit the run.

    Args:
        resolved: The run.
        given: Model folder, run's folder, or checkpoint (`RUN/checkpoints/STEP`); None if the run's `init.source` is
            such a path.

    Returns:
        The weights found, or None for a run from scratch.

    Raises:
        InputError: There are no weights at the path, or they do not fit.
    """
    spec = resolved.run.init
    if spec.kind == "scratch":
        if given is not None:
            raise InputError(
                f"`--start` must not be given for run `{resolved.run.name}`, which starts from scratch, got "
                f"{str(given)!r}; set init.kind and init.source, or leave it out."
            )
        return None
    path = given or Path(spec.source or "")
    if not path.is_dir():
        raise InputError(
            f"run `{resolved.run.name}` starts from the {spec.kind} `{spec.source}`"
            + (f", revision {spec.revision}" if spec.revision else "")
            + f"; give its folder with --start PATH, got {str(path)!r}, which is no folder."
        )
    if spec.kind == "checkpoint":
        return _from_checkpoint(resolved, path)
    return _from_model(resolved, path / EXPORT_FOLDER if (path / EXPORT_FOLDER).is_dir() else path)


def init_state(resolved: ResolvedRun, like: TrainState, weights: InitialWeights | None, data_root: Path) -> TrainState:
    """Create the state before the first step.

    Args:
        resolved: The run.
        like: Shapes and shardings, from `abstract_state`.
        weights: First weights, from `resolve_init`.
        data_root: Folder of the datasets, whose vocabulary may hold the codec's centroids.

    Returns:
        The state, sharded as `like`.

    Raises:
        InputError: The weights cannot be read.
    """
    if weights is None:
        from_codebooks = resolved.run.init.audio_embedding_init == "codebooks"
        return random_state(resolved, like, read_codebooks(data_root / VOCABULARY_FOLDER) if from_codebooks else None)
    state = random_state(resolved, like, None)
    if weights.step is None:
        model = {f"model.{name}": leaf for name, leaf in flat_paths(load_model(weights.path)).items()}
        return _with_first_adapters(resolved, _with(state, model))
    run, whole, counters = saved_run(weights.path), resolved.run.init.state == "continue", _counters(like)
    assert run is not None
    wanted = {
        name: leaf
        for name, leaf in flat_paths(like).items()
        if name.startswith("model.") or (whole and name not in counters)
    }
    with Checkpoints(weights.path, run.fingerprint) as checkpoints:
        arrays: dict[str, Any] = dict(checkpoints.restore_part(weights.step, wanted))
    if whole:
        # One array per counter: the step donates the state, and an array must not be donated twice.
        arrays |= dict.fromkeys(counters, np.asarray(arrays["step"]) - np.asarray(arrays["skipped"]))
    return _with(state, arrays) if whole else _with_first_adapters(resolved, _with(state, arrays))


def _with_first_adapters(resolved: ResolvedRun, state: TrainState) -> TrainState:
    """Return a state with the adapters that belong to its weights: a magnitude begins as their norm."""
    if state.adapters is None:
        return state
    places = jax.tree.map(lambda leaf: leaf.sharding, state.adapters)
    return replace(state, adapters=jax.jit(partial(first_adapters, resolved), out_shardings=places)(state.model))


def _with(state: TrainState, arrays: Mapping[str, Any]) -> TrainState:
    """Return a state with some of its arrays replaced, with the same shardings."""

    def placed(old: jax.Array, new: Any) -> jax.Array:
        if isinstance(new, jax.Array) and new.sharding == old.sharding:
            return new
        host = np.asarray(new, old.dtype)
        return jax.make_array_from_callback(old.shape, old.sharding, lambda index: host[index])

    leaves = [placed(leaf, arrays[name]) if name in arrays else leaf for name, leaf in flat_paths(state).items()]
    return jax.tree.unflatten(jax.tree.structure(state), leaves)


def _counters(like: TrainState) -> set[str]:
    """Paths of the update counters in an optimizer's state; all other paths hold moments and their count."""

    def is_counter(node: Any) -> bool:
        return isinstance(node, _COUNTERS)

    kept = jax.tree.map(lambda node: None if is_counter(node) else node, like, is_leaf=is_counter)
    return set(flat_paths(like)) - set(flat_paths(kept))


def _moments(resolved: ResolvedRun) -> set[str]:
    """Paths that an optimizer needs in a checkpoint to continue."""
    shapes = state_shapes(resolved)
    return set(flat_paths(shapes)) - _counters(shapes)


def _from_model(resolved: ResolvedRun, path: Path) -> InitialWeights:
    from audio_model.weights import load_config

    replaced = _check_model(resolved, load_config(path), f"model folder `{path}`")
    vocabulary = path / VOCABULARY_FOLDER / "vocabulary.json"
    if vocabulary.exists():
        _check_vocabulary(resolved, Vocabulary.read(vocabulary), path)
    return InitialWeights(path, replaced=replaced)


def _from_checkpoint(resolved: ResolvedRun, path: Path) -> InitialWeights:
    spec, step = resolved.run.init, resolved.run.init.step
    if path.name.isdigit() and path.parent.name == CHECKPOINTS_FOLDER:
        if step is not None and step != int(path.name):
            raise InputError(
                f"run `{resolved.run.name}` must start from step {step}, got the checkpoint {str(path)!r}; give that "
                "step's, or change init.source."
            )
        path, step = path.parent.parent, int(path.name)
    run = saved_run(path)
    if run is None:
        raise InputError(
            f"`--start` must be RUN or RUN/checkpoints/STEP of the run `{spec.source}`, got {str(path)!r}, which holds "
            "no run."
        )
    replaced = _check_model(resolved, run.model, f"run `{run.run.name}` in `{path}`")
    _check_vocabulary(resolved, run.vocabulary, path)
    if run.run.low_rank != resolved.run.low_rank and (run.run.low_rank or spec.state == "continue"):
        raise InputError(
            f"the run `{run.run.name}` in `{path}` must have `low_rank` {resolved.run.low_rank!r} as this run, got "
            f"{run.run.low_rank!r}; start from its export with init.kind=model."
        )
    if run.run.low_rank is not None and spec.state == "fresh":
        raise InputError(
            f"a checkpoint of the low-rank run `{run.run.name}` in `{path}` holds the weights before training, got "
            "init.state='fresh'; start from its export with init.kind=model, or set init.state=continue."
        )
    if spec.state == "continue" and _moments(run) != _moments(resolved):
        raise InputError(
            f"`init.state` 'continue' needs an optimizer with the moments of `{run.run.optimizer.name}`, got "
            f"`{resolved.run.optimizer.name}`; set init.state=fresh, or another optimizer."
        )
    with Checkpoints(path, run.fingerprint) as checkpoints:
        steps = checkpoints.steps()
        newest = checkpoints.newest_whole() if step is None else step
    if not steps or (step is not None and step not in steps):
        raise InputError(
            f"`{path}` has checkpoints at steps {steps!r}, got {step!r}; choose one, as RUN/checkpoints/STEP."
        )
    return InitialWeights(path, newest, replaced)


def _check_model(resolved: ResolvedRun, found: Qwen3xConfig, what: str) -> dict[str, Any]:
    """Check that weights of a configuration fit a run; returns `InitialWeights.replaced`."""
    expected, name = resolved.model, resolved.run.name
    shaped = replace(expected, rope=found.rope, rms_epsilon=found.rms_epsilon)
    same = replace(found, remat=expected.remat, max_seq_len=expected.max_seq_len)
    if same != shaped:
        fields = [field for field in vars(shaped) if getattr(same, field) != getattr(shaped, field)]
        pairs = ", ".join(f"{field} {getattr(found, field)!r} for {getattr(expected, field)!r}" for field in fields)
        lacks_audio = fields == ["vocab_size"] and found.vocab_size < expected.vocab_size
        remedy = "change the run's `model`"
        if lacks_audio:
            remedy = "if it is a text model, add the rows of audio tokens with `audio-model extend`"
        elif fields == ["vocab_size"]:
            remedy = "build the data with the vocabulary of the weights"
        raise InputError(f"the {what} must have the shape of the model of run `{name}`, got {pairs}; {remedy}.")
    theirs, ours = _function(found), _function(expected)
    other = {setting: value for setting, value in theirs.items() if value != ours[setting]}
    if not other or resolved.run.init.rope_and_epsilon_of == "run":
        return other
    pairs = ", ".join(f"{setting} {value} for {ours[setting]}" for setting, value in other.items())
    keep = " ".join(f"--set {setting}={value}" for setting, value in other.items())
    raise InputError(
        f"the weights of the {what} were trained with other values than run `{name}` has: {pairs}. Use the run's with "
        "--set init.rope_and_epsilon_of=run" + (f", or keep theirs with {keep}." if _is_stated(found) else ".")
    )


def _function(model: Qwen3xConfig) -> dict[str, Any]:
    """Return the values of `_SETTINGS` for a model."""
    scaling = model.rope.scaling
    words = "none" if scaling is None else "llama3" if _is_stated(model) else str(scaling)
    return dict(zip(_SETTINGS, (model.rope.theta, words, model.rms_epsilon), strict=True))


def _is_stated(model: Qwen3xConfig) -> bool:
    """Whether `rope_scaling` of a run can express how a model scales its rotary wavelengths."""
    return model.rope.scaling in (None, RopeScaling())


def _check_vocabulary(resolved: ResolvedRun, found: Vocabulary, path: Path) -> None:
    ours = resolved.vocabulary
    if found.fingerprint == ours.fingerprint:
        return
    other = "--vocabulary PATH/vocabulary, where PATH is the folder of the weights"
    if found.codec_id != ours.codec_id:
        remedy = (
            f"the codes are of codec {ours.codec_id!r}, those of the weights of {found.codec_id!r}: encode the audio "
            f"again with that codec, and build the datasets with {other}"
        )
    elif found.text_tokenizer != ours.text_tokenizer:
        remedy = f"the text pieces differ: build the datasets again from the same codes, with {other}"
    else:
        remedy = f"text and codec agree, the ids do not: build the datasets again from the same codes, with {other}"
    raise InputError(
        f"the weights in `{path}` must have the run's vocabulary `{ours.name}` ({ours.size} ids, fingerprint "
        f"{ours.fingerprint[:12]}), got `{found.name}` ({found.size} ids, {found.fingerprint[:12]}); {remedy}."
    )
