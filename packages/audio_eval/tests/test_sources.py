"""What the package says of where its numbers come from."""

from pathlib import Path

import audio_eval


def test_sources_are_named():
    """No file speaks of "the study": a source is a paper, an arXiv number, or a public script."""
    files = [path for path in Path(audio_eval.__file__).parent.rglob("*") if path.suffix in (".py", ".pyi", ".css")]
    assert len(files) > 50
    assert [path.name for path in files if "the study" in " ".join(path.read_text().lower().split())] == []
