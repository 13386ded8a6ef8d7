"""Objects named by file and by module, and those that entry points register."""

import sys
from fractions import Fraction
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from audio_data import InputError, load_object, names_object, registered_objects

FILE = """
from fractions import Fraction
from neighbour_sizes import MOST

ONE = Fraction(MOST)

class Third(Fraction):
    def __new__(cls, denominator: int = 3):
        return super().__new__(cls, 1, denominator)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file and a module beside it that the file imports."""
    (tmp_path / "neighbour_sizes.py").write_text("MOST = 7\n")
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path


def load(target: object):
    return load_object(str(target), Fraction, what="fraction", remedy="give FILE.py:NAME", example="see the README")


@pytest.mark.parametrize(
    ("target", "expected"),
    [("a.py", True), ("a.py:B", True), ("a.b:C", True), ("nll", False), ("a.json", False), ("", False)],
)
def test_targets_are_told_from_names(target: str, expected: bool):
    assert names_object(target) == expected


@pytest.mark.parametrize("end", ["mine.py:ONE", "mine.py"])
def test_a_file_names_its_object(folder: Path, end: str):
    found = load(folder / end)
    assert found.value == Fraction(7)
    assert (found.origin, found.file) == (str(folder / end), folder / "mine.py")
    assert str(folder) not in sys.path


def test_a_class_that_needs_no_arguments_stands_for_its_object(folder: Path):
    assert load(folder / "mine.py:Third").value == Fraction(1, 3)


def test_the_only_class_of_a_file_is_found_and_imported_ones_are_not(folder: Path):
    (folder / "mine.py").write_text(FILE.replace("ONE = Fraction(MOST)", ""))
    assert load(folder / "mine.py").value == Fraction(1, 3)
    (folder / "mine.py").write_text(FILE.replace("ONE = Fraction(MOST)", "").replace("int = 3", "int"))
    with pytest.raises(InputError, match=r"mine.py` must define an object of `fractions.Fraction`, got none; see the"):
        load(folder / "mine.py")  # its class needs an argument


def test_a_module_names_its_object(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(folder)
    assert load("mine:ONE").value == Fraction(7)


def test_a_file_does_not_take_the_place_of_a_module_of_its_name(tmp_path: Path):
    import json

    (tmp_path / "json.py").write_text("from fractions import Fraction\nONE = Fraction(2)\n")
    assert load(tmp_path / "json.py:ONE").value == Fraction(2)
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("content", "end", "message"),
    [
        (
            FILE,
            "mine.py:TWO",
            "mine.py` has no Fraction `TWO`; expected one of ONE. Name one as",
        ),
        (FILE + "TWO = ONE", "mine.py", "defines several. Name one as .*mine.py:NAME, NAME being one of ONE, TWO"),
        ("x = 1", "mine.py:x", "mine.py` must define an object of `fractions.Fraction`, got none; see the README"),
        ("\n\ndef f(:", "mine.py:x", "fraction file `.*mine.py` line 3: .*; correct it"),
        ("x = '\udcff'", "mine.py:x", "fraction file `.*mine.py` line .*utf-8.*; correct it"),
        ("x = 1\0", "mine.py:x", "fraction file `.*mine.py` .*null bytes.*; correct it"),
        (FILE, "other.py:ONE", "fraction file `.*other.py` does not exist; give FILE.py:NAME"),
    ],
)
def test_a_wrong_file_is_one_line(folder: Path, content: str, end: str, message: str):
    (folder / "mine.py").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=message) as caught:
        load(folder / end)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", ["no_such_module:ONE", "audio_data.no_such:ONE", ":ONE", "a b:ONE", ".errors:ONE"])
def test_a_module_that_is_not_there_is_named(name: str):
    with pytest.raises(InputError, match=f"module `{name.partition(':')[0]}` cannot be imported: .*; install it, or"):
        load(name)


def test_a_module_that_misses_another_shows_where(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "needs_more.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        load("needs_more:ONE")


def test_an_error_of_the_file_itself_is_raised_as_it_is(folder: Path):
    (folder / "mine.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load(folder / "mine.py:ONE")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with an entry point, and one of the group's own package."""
    other, own = ModuleType("other_package"), ModuleType("audio_own")
    own.FRACTIONS = (Fraction(1), Fraction(2))  # pyright: ignore[reportAttributeAccessIssue]
    points = [EntryPoint("a", "other_package:FOUND", "audio_own.fractions"), EntryPoint("b", "audio_own:FRACTIONS", "")]
    for module in (other, own):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("audio_data.extensions.entry_points", lambda group: points)
    return other


@pytest.mark.parametrize("found", [Fraction(3), [Fraction(3)]])
def test_entry_points_register_objects_those_of_the_package_first(installed, found):
    installed.FOUND = found
    objects = registered_objects("audio_own.fractions", Fraction)
    assert [(int(one.value), one.origin) for one in objects] == [
        (1, "audio_own:FRACTIONS"),
        (2, "audio_own:FRACTIONS"),
        (3, "other_package:FOUND"),
    ]


def test_a_wrong_entry_point_is_named(installed):
    with pytest.raises(InputError, match=r"`a` of audio_own.fractions \(other_package:FOUND\) cannot be loaded"):
        registered_objects("audio_own.fractions", Fraction)
    installed.FOUND = [7]
    with pytest.raises(
        InputError, match=r"must be an iterable of `fractions.Fraction`, got int; correct other_package"
    ):
        registered_objects("audio_own.fractions", Fraction)


def test_metadata_of_an_older_install_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("audio_data.extensions.entry_points", lambda group: [])
    with pytest.raises(InputError, match=r"must register its own audio_own.fractions, got none: install it again"):
        registered_objects("audio_own.fractions", Fraction)
