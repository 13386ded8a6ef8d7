"""Every example runs, and says what it promises."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

pytestmark = pytest.mark.optimized

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def output_of(name: str, *arguments: str) -> str:
    finished = subprocess.run([sys.executable, EXAMPLES / name, *arguments], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_every_example_is_run_here() -> None:
    tested = set(re.findall(r'"(\w+\.py)"', Path(__file__).read_text()))
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested
    assert all(len(path.read_text().splitlines()) <= 100 for path in EXAMPLES.glob("*.py"))


@pytest.mark.long
def test_any_integers(tmp_path: Path) -> None:
    """A model that sees the rule predicts the next number far better than one in thirty-two."""
    last = float(re.search(r"-> ([\d.]+) nats", output_of("any_integers.py", str(tmp_path))).group(1))
    assert last < 1.0


def test_load_batch_and_read_without_our_code(tmp_path: Path) -> None:
    """The mixture is exact in a block, and foreign code counts as many tokens as the manifest."""
    said = output_of("load_batch.py", str(tmp_path))
    assert "rows: 6 short, 2 long" in said
    tokens, stated = re.search(
        r"(\d+) tokens; the manifest states (\d+)", output_of("read_without_our_code.py", str(tmp_path / "long"))
    ).groups()
    assert int(tokens) == int(stated) == 200 * 42


def test_codec_round_trip(tmp_path: Path) -> None:
    wav = tmp_path / "decoded.wav"
    frames = int(re.search(r"-> (\d+) frames x 8 codebooks", output_of("codec_round_trip.py", str(wav))).group(1))
    samples, rate = soundfile.read(wav)
    assert (len(samples), rate) == (frames * 1920, 24_000)
