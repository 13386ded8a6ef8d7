"""Write a commented recipe file."""

from pathlib import Path

from audio_data import InputError

VARIABLE = "RUN"
TEMPLATE = '''\
"""A training run. Start it with: audio-train run {file}:RUN --data DATA --out FOLDER"""

from audio_train import (
    ALL_DATASETS,
    DataSpec,
    Intervals,
    MixtureStage,
    ModelShape,
    OptimizerSpec,
    ScheduleSpec,
    TrainRun,
)

RUN = TrainRun(
    name="{name}",
    # About 5M parameters and two matrices of vocabulary x 256. Larger: NamedModel("135m", tied=False).
    model=ModelShape(embed=256, mlp=768, layers=6, heads=4, kv_heads=4, head_dim=64, max_seq_len=2048),
    data=DataSpec(
        # Every dataset of DATA, weighted by its tokens. Or choose: {{"asr": 2.0, "tts": 1.0}}.
        mixture=(MixtureStage(0.0, {{ALL_DATASETS: 1.0}}),),
        seq_len=1024,  # tokens in a row: ten seconds of speech at 12.5 frames/s and 8 codebooks
        batch_size=4,  # rows in a step, over all devices
        packing="best_fit",  # whole documents in a row; "windows" cuts one long stream into rows
        positions="reset",  # count positions from the beginning of each document
    ),
    optimizer=OptimizerSpec(name="adamw", learning_rate=1e-3, weight_decay=0.1),
    schedule=ScheduleSpec(warmup=0.05, decay=0.3),  # fractions of the run
    steps=1000,
    intervals=Intervals(checkpoint_seconds=60.0),
)
'''


def write_starter(path: Path) -> str:
    """Write a commented recipe that trains on any folder of datasets; returns the name of its variable.

    Args:
        path: File to write, which must end in `.py`.

    Raises:
        InputError: The file exists, cannot be written, or has another ending.
    """
    if path.suffix != ".py":
        raise InputError(f"`{path}` must end in .py, got {path.name!r}; name a Python file")
    content = TEMPLATE.format(file=path.name, name=path.stem.replace("_", "-").lower())
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError as error:
        raise InputError(f"`{path}` exists; give another name, or edit that file") from error
    except OSError as error:
        raise InputError(f"`{path}` cannot be written ({error.strerror}); give another file") from error
    return VARIABLE
