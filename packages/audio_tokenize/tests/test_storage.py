import errno
import os
from pathlib import Path

import pytest

from audio_data import InputError
from audio_tokenize.storage import disk_errors, sole_writer, write_bytes, write_json


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space, then run the same command again"),
        (errno.EACCES, "choose a folder of your own"),
        (errno.ENOENT, "there is no such folder: create it"),
        (errno.EROFS, "that file system is read-only"),
    ],
)
def test_a_disk_that_refuses_is_a_line_with_advice(number, advice):
    with (
        pytest.raises(InputError, match=rf"cannot write `x` \({os.strerror(number)}\): .*{advice}"),
        disk_errors(Path("x")),
    ):
        raise OSError(number, os.strerror(number))


def test_other_errors_pass_unchanged():
    with pytest.raises(OSError, match="Input/output error"), disk_errors(Path("x")):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_real_full_disk_is_reported(tmp_path: Path):
    """`/dev/full` refuses every byte as a full disk does."""
    (tmp_path / ".x.partial").symlink_to("/dev/full")
    with pytest.raises(InputError, match="the disk is full"):
        write_bytes(tmp_path / "x", b"content")
    assert not (tmp_path / "x").exists()


def test_a_crash_before_the_renaming_leaves_the_old_file(tmp_path: Path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, {"language": "español"})
    before = path.read_bytes()

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"language": "other"})
    assert path.read_bytes() == before
    assert "español" in before.decode()


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"is a file, not a folder|stands where a folder"),
        sole_writer(tmp_path / "file"),
    ):
        pass
    with pytest.raises(InputError, match="a part of that path is a file"), sole_writer(tmp_path / "file" / "deeper"):
        pass


def test_only_one_writes_at_a_time(tmp_path: Path):
    with sole_writer(tmp_path), pytest.raises(InputError, match="another process is writing"), sole_writer(tmp_path):
        pass
    with sole_writer(tmp_path):
        pass
