"""Tasks from outside the package: by file, by module, and by an entry point of another package."""

import json
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from audio_data import InputError
from audio_eval import NllTask, find_task, make_tasks, registered_tasks
from audio_eval.cli import main
from audio_eval.tasks import ENTRY_POINT_GROUP

OWN = '''
"""How many audio frames a second of held-out speech has."""
from __future__ import annotations

import dataclasses

from audio_eval import Item, Measure, Task, TaskOutput, score_items


@dataclasses.dataclass(frozen=True)
class FrameRate(Task):
    name: str = "frame_rate"
    scale: float = 1.0

    def run(self, context, journal):
        items = [
            Item(one.id, name, {"rate": (len(one.segments[0].codes) * self.scale, one.metadata["seconds"])}, {})
            for name, group in context.documents.items()
            for one in group
        ]
        measure = Measure("frame_rate", "frames/s", "neither", ("rate",), meaning="frames a second")
        scores = [score for name in context.datasets for score in score_items(self.name, name, [measure], items)]
        return TaskOutput(tuple(scores), tuple(items), {})
'''


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "my_tasks.py"
    path.parent.mkdir()
    path.write_text(OWN)
    return path


def audio_eval(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)], catch_exceptions=False)


def test_a_task_of_a_file_outside_the_repository_runs_by_its_path(own_file, export, data, tmp_path):
    words = ("run", export, "--data", data, "--heldout", "voice", "--out", tmp_path / "eval", "--transcriber", "none")
    ran = audio_eval(*words, "--tasks", f"{own_file}:FrameRate", "--set", "frame_rate.scale=2", "--json")
    assert ran.exit_code == 0, ran.stderr
    # The data are made at 12.5 frames a second.
    assert json.loads(ran.stdout)["summary"]["voice"]["frame_rate"]["value"] == pytest.approx(25)
    written = json.loads((tmp_path / "eval" / "evaluation.json").read_text())["tasks"]["frame_rate"]
    assert written["settings"]["scale"] == 2.0
    assert len(written["settings"]["code_sha256"]) == 64
    page = audio_eval("report", tmp_path / "eval", "--out", tmp_path / "page.html")
    assert page.exit_code == 0, page.stderr
    assert "frames a second" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["my_tasks.py:Nothing"], "has no Task `Nothing`; expected one of FrameRate"),
        (
            ["nowhere.py:FrameRate"],
            "task file `nowhere.py` does not exist; give FILE.py:NAME, MODULE:NAME or one of nll",
        ),
        (["no_such_module:Task"], "module `no_such_module` cannot be imported"),
        (["broken.py:Task"], "task file `broken.py` line 1: "),
        (["json:dumps"], "`json` must define an object of `audio_eval.Task`, got none"),
        (["nlll"], "`tasks` must be registered names, FILE.py:NAME or MODULE:NAME, got 'nlll'; did you mean nll"),
        (["my_tasks.py:FrameRate", "audio_eval:NllTask", "nll"], "names of their own, got `nll` again by 'nll'"),
    ],
)
def test_a_wrong_target_is_one_line(own_file, monkeypatch, words, message):
    monkeypatch.chdir(own_file.parent)
    Path("broken.py").write_text("def f(:\n")
    with pytest.raises(InputError, match=message) as caught:
        make_tasks(words)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message


def test_a_name_that_is_no_file_name_is_refused(own_file):
    own_file.write_text(OWN.replace('"frame_rate"\n', '"../frame.rate"\n'))
    with pytest.raises(InputError, match=r"`name` of a task must be of letters, digits, - and _, got '../frame.rate'"):
        find_task(f"{own_file}:FrameRate")


def test_changed_code_is_another_task_and_other_settings_are_read_by_their_types(own_file):
    first = find_task(f"{own_file}")
    own_file.write_text(OWN + "\n# changed\n")
    assert find_task(f"{own_file}").code_sha256 != first.code_sha256
    assert find_task("nll").code_sha256 == find_task("audio_eval:NllTask").code_sha256 == ""
    with pytest.raises(InputError, match=r"`frame_rate.scale` takes a number, got 'two'"):
        make_tasks([f"{own_file}"], {"frame_rate.scale": "two"})
    with pytest.raises(InputError, match=r"`frame_rate.code_sha256` must name a setting of the task: scale, got"):
        make_tasks([f"{own_file}"], {"frame_rate.code_sha256": "0"})


def test_own_tasks_are_registered_as_those_of_others_are():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    declared = project["entry-points"][ENTRY_POINT_GROUP]
    assert {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)} == declared
    assert list(registered_tasks())[:3] == ["nll", "asr", "tts"]


@pytest.fixture
def installed(own_file, monkeypatch):
    """Another package with an entry point."""
    monkeypatch.syspath_prepend(own_file.parent)
    points = [*entry_points(group=ENTRY_POINT_GROUP), EntryPoint("other", "my_tasks:FrameRate", ENTRY_POINT_GROUP)]
    monkeypatch.setattr("audio_data.extensions.entry_points", lambda group: points)
    registered_tasks.cache_clear()
    yield own_file
    registered_tasks.cache_clear()
    sys.modules.pop("my_tasks", None)


def test_an_entry_point_adds_a_task(installed):
    assert list(registered_tasks())[-1] == "frame_rate"
    (task,) = make_tasks(["frame_rate"], {"frame_rate.scale": "3"})
    assert task.settings() == {"scale": 3.0}
    assert len(task.code_sha256) == 64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "FrameRate = 3\n",
            "entry point `other` of audio_eval.tasks must be an iterable of `audio_eval.Task`, got int",
        ),
        ("x = 3\n", r"entry point `other` of audio_eval.tasks \(my_tasks:FrameRate\) cannot be loaded"),
        (OWN.replace('"frame_rate"\n', '"nll"\n'), "task `nll` must have one owner, got the entry points audio_eval"),
    ],
)
def test_a_wrong_entry_point_is_one_line(installed, content, message):
    installed.write_text(content)
    with pytest.raises(InputError, match=message):
        make_tasks(["nll"])


def test_a_task_is_a_value_that_a_file_may_hold(tmp_path, export, data):
    content = "import dataclasses\nfrom audio_eval import NllTask\nSTORED = NllTask(documents='stored')\n"
    (tmp_path / "one.py").write_text(content)
    (task,) = make_tasks([f"{tmp_path / 'one.py'}:STORED"])
    assert isinstance(task, NllTask)
    assert (task.documents, len(task.code_sha256)) == ("stored", 64)
