"""What a user has under an output's name is never replaced."""

import os
from pathlib import Path

import pytest

from audio_data import InputError, check_output, hold, replace_folder, write_output

MARK = b"<made by these tests>"


@pytest.mark.parametrize("there", [None, b"", MARK, b"x" * 200_000 + MARK, MARK + b"x" * 200_000])
def test_a_file_is_written_over_nothing_an_empty_one_and_ours(tmp_path: Path, there: bytes | None):
    path = tmp_path / "page.html"
    if there is not None:
        path.write_bytes(there)
    write_output(path, MARK + b"new", MARK)
    assert path.read_bytes() == MARK + b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("there", [b"mine", b"\x00", b"x" * 100_000 + MARK + b"x" * 100_000])
def test_any_other_file_survives(tmp_path: Path, there: bytes):
    path = tmp_path / "page.html"
    path.write_bytes(there)
    with pytest.raises(InputError, match=r"page\.html` exists and was not written by this command: move it"):
        write_output(path, MARK, MARK)
    assert path.read_bytes() == there


def test_what_is_no_file_is_refused(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(InputError, match=rf"{name}` is no regular file"):
            check_output(tmp_path / name, MARK)


def test_a_link_is_followed(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "page")
    write_output(tmp_path / "link", MARK, MARK)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "page").read_bytes() == MARK
    (tmp_path / "page").write_bytes(b"mine")
    with pytest.raises(InputError, match="not written by this command"):
        write_output(tmp_path / "link", MARK, MARK)


def test_a_lock_is_held_once_and_then_gone_but_a_user_s_file_stays(tmp_path: Path):
    with (
        hold(tmp_path / "lock", "it is held"),
        pytest.raises(InputError, match="it is held"),
        hold(tmp_path / "lock", "it is held"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "lock").write_text("mine")
    with hold(tmp_path / "lock", "it is held"):
        pass
    assert (tmp_path / "lock").read_text() == "mine"


def foreign(folder: Path) -> str | None:
    other = sorted({path.name for path in folder.iterdir()} - {"ours"})
    return f"it holds {other[0]}" if other else None


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path):
    folder = tmp_path / "made"
    for content in ("first", "second"):
        with replace_folder(folder, foreign, foreign) as partial:
            (partial / "ours").write_text(content)
            assert not folder.exists() or (folder / "ours").read_text() == "first"
        assert (folder / "ours").read_text() == content
    with pytest.raises(ZeroDivisionError), replace_folder(folder, foreign, foreign) as partial:
        (partial / "ours").write_text(str(1 // 0))
    assert (folder / "ours").read_text() == "second"


@pytest.mark.parametrize("place", ["made", ".made.partial", ".made.previous"])
def test_a_folder_with_a_user_s_file_survives(tmp_path: Path, place: str):
    (tmp_path / place).mkdir()
    (tmp_path / place / "mine").write_text("mine")
    message = "cannot be replaced: it holds mine; move it"
    with pytest.raises(InputError, match=message), replace_folder(tmp_path / "made", foreign, foreign):
        pytest.fail("it was let in")
    assert (tmp_path / place / "mine").read_text() == "mine"


def test_a_file_that_a_user_adds_meanwhile_survives(tmp_path: Path):
    folder = tmp_path / "made"
    folder.mkdir()
    with pytest.raises(InputError, match="it holds mine"), replace_folder(folder, foreign, foreign):
        (folder / "mine").write_text("mine")
    assert (folder / "mine").read_text() == "mine"
