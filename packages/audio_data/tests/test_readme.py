import re
from pathlib import Path

import audio_data
from audio_data.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("0 (8, 512) RowOrigin(row=0, corpus=")


def test_every_command_is_shown():
    assert set(re.findall(r"^audio-data (\w+)", README, re.MULTILINE)) == set(main.commands)


def test_everything_the_package_offers_is_there():
    names = vars(audio_data)["__all__"]
    assert {"BatchLoader", "InputError", "Vocabulary"} <= set(names)
    for name in names:
        assert getattr(audio_data, name).__doc__, name
