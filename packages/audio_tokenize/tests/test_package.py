import subprocess
import sys

import audio_tokenize


def test_every_name_of_the_package_can_be_had():
    for name in audio_tokenize.__all__:
        assert getattr(audio_tokenize, name) is not None


def test_building_and_looking_need_no_jax():
    """A second of importing that `build` and `inspect` would pay each time."""
    code = "import sys; from audio_tokenize import build_dataset, read_excerpt; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
