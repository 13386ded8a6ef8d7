from pathlib import Path

import pytest

from audio_train import MeshConfig, ResolvedRun
from audio_train.training import launch


@pytest.fixture(scope="session")
def finished(
    toy: ResolvedRun, data_root: Path, tmp_path_factory: pytest.TempPathFactory, one_device: MeshConfig
) -> Path:
    """The folder of the toy run, trained to its end."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    launch.run(toy, data_root, folder, mesh_config=one_device)
    return folder
