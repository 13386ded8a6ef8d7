import re
import subprocess
import sys
from pathlib import Path

import audio_tokenize


def test_every_name_of_the_package_can_be_had():
    for name in vars(audio_tokenize)["__all__"]:
        assert getattr(audio_tokenize, name) is not None


def test_building_and_looking_need_no_jax():
    """A second of importing that `build` and `inspect` would pay each time."""
    code = "import sys; from audio_tokenize import build_dataset, read_excerpt; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_source_speaks_of_a_study():
    """Each sentence states the public fact itself: a paper, a dataset or a program that anyone can look up."""
    folder = Path(audio_tokenize.__file__).parent
    sources = [*folder.rglob("*.py"), *folder.rglob("*.pyi")]
    assert len(sources) > 50
    found = [str(path) for path in sources if re.search(r"\bstud(y|ies)\b", path.read_text("utf-8"), re.IGNORECASE)]
    assert found == []
