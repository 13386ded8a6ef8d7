"""Start a recipe from the weights in a folder: the model of the run becomes that of the weights."""

from dataclasses import replace
from pathlib import Path

from audio_data import InputError, hash_file
from audio_model import Qwen3xConfig, RopeScaling, load_config
from audio_train.config import InitSpec, ModelShape, TrainRun
from audio_train.run_folder.checkpoint import Checkpoints
from audio_train.run_folder.folder import CHECKPOINTS_FOLDER, EXPORT_FOLDER, saved_run

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def started_from(run: TrainRun, path: Path) -> TrainRun:
    """Return a recipe from scratch as one that starts from the weights in a folder.

    The shape of the model, its rotary base and scaling and its norm epsilon are those of the weights; its declared
    context is the longer one of both. A recipe that already names its weights (`init.source`) stays as it is. What the
    folder is called does not matter: the run is identified by the checksum of the weights, or by the run and the step.

    Args:
        run: The recipe.
        path: A model folder, the folder of a run (its newest checkpoint, or its export where no checkpoint is left), or
            a checkpoint, `RUN/checkpoints/STEP`.

    Raises:
        InputError: There are no weights, or their rotary scaling cannot be stated in a recipe.
    """
    if run.init.kind != "scratch":
        return run
    init, found = _checkpoint(path) or _model(path)
    return replace(run, model=_shape(found, run.model.max_seq_len, path), init=init)


def _checkpoint(path: Path) -> tuple[InitSpec, Qwen3xConfig] | None:
    """Return the start from a checkpoint of a run; None where the path holds no run or no checkpoint."""
    step = int(path.name) if path.name.isdigit() and path.parent.name == CHECKPOINTS_FOLDER else None
    folder = path if step is None else path.parent.parent
    other = saved_run(folder)
    if other is None or not (folder / CHECKPOINTS_FOLDER).is_dir():
        return None
    if step is None:
        with Checkpoints(folder, other.fingerprint) as checkpoints:
            step = checkpoints.newest_whole()
    if step is None:
        return None
    init = InitSpec(
        "checkpoint", source=f"{other.run.name}@{step}", revision=other.fingerprint, rope_and_epsilon_of="weights"
    )
    return init, other.model


def _model(path: Path) -> tuple[InitSpec, Qwen3xConfig]:
    folder = path / EXPORT_FOLDER if (path / EXPORT_FOLDER).is_dir() else path
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise InputError(
            f"`--start` must be a model folder, a RUN or RUN/checkpoints/STEP, got {str(path)!r}, which has no "
            f"{_WEIGHTS[0]}; download the model to a folder first, for example with `hf download OWNER/NAME "
            "--local-dir MODEL`"
        )
    parts = sorted(folder.glob("model*.safetensors"))
    revision = "-".join(hash_file(part)[: 64 // len(parts) or 1] for part in parts)
    return InitSpec("model", source=folder.name, revision=revision, rope_and_epsilon_of="weights"), load_config(folder)


def _shape(found: Qwen3xConfig, max_seq_len: int, path: Path) -> ModelShape:
    scaling = found.rope.scaling
    if scaling not in (None, RopeScaling()):
        raise InputError(
            f"the weights in `{path}` scale their rotary wavelengths by {scaling}, which a recipe cannot state; it can "
            f"state none, or {RopeScaling()}"
        )
    return ModelShape(
        embed=found.embed,
        mlp=found.mlp,
        layers=found.layers,
        heads=found.heads,
        kv_heads=found.kv_heads,
        head_dim=found.head_dim,
        tied=found.tied,
        rope_theta=found.rope.theta,
        rope_scaling="none" if scaling is None else "llama3",
        max_seq_len=max(found.max_seq_len, max_seq_len),
        rms_epsilon=found.rms_epsilon,
    )
