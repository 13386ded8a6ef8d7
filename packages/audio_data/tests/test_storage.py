"""Files on this machine, in memory and on an S3 server behave alike: whole or absent, and fetched once."""

import errno
import hashlib
import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from fsspec import AbstractFileSystem

from audio_data import (
    InputError,
    cache_folder,
    fetch,
    file_sizes,
    local_partial,
    publish,
    read_bytes,
    sole_file_writer,
    sole_writer,
    storage_path,
    write_bytes,
    write_json,
)
from audio_data.storage import disk_errors

KINDS = ["local", "memory", "s3"]


@pytest.fixture(params=KINDS)
def folder(request, tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIO_DATA_CACHE", str(tmp_path / "cache"))
    if request.param == "local":
        return tmp_path
    if request.param == "memory":
        return storage_path(f"memory://bucket-{tmp_path.name}")
    return storage_path(request.getfixturevalue("s3_folder"))


def test_a_string_without_a_protocol_is_a_local_path(tmp_path):
    assert storage_path(str(tmp_path)) == tmp_path
    assert storage_path(f"file://{tmp_path}") == tmp_path
    assert storage_path(tmp_path) is tmp_path
    assert storage_path("a:b/c") == Path("a:b/c")


def test_what_is_written_is_read_by_another_path_object_of_the_same_name(folder):
    write_bytes(folder / "a.bin", b"\x00\xff" * 1000)
    write_json(folder / "b.json", {"naïve": [1, 2]})
    assert read_bytes(storage_path(str(folder / "a.bin"))) == b"\x00\xff" * 1000
    text = read_bytes(storage_path(str(folder / "b.json"))).decode()
    assert json.loads(text) == {"naïve": [1, 2]}
    assert "naïve" in text
    assert {path.name for path in folder.iterdir() if path.suffix} == {"a.bin", "b.json"}


def test_a_failed_publication_leaves_the_old_file(folder):
    write_bytes(folder / "a.bin", b"old")
    partial = local_partial(folder / "a.bin")
    partial.write_bytes(b"half of the n")
    assert read_bytes(folder / "a.bin") == b"old"
    partial.write_bytes(b"new")
    publish(partial, folder / "a.bin")
    assert read_bytes(folder / "a.bin") == b"new"
    assert not partial.exists()


def test_fetch_gives_a_local_file_that_follows_the_content(folder):
    path = folder / "a.bin"
    write_bytes(path, b"first")
    assert fetch(path).read_bytes() == b"first"
    assert fetch(path) == fetch(path)
    write_bytes(path, b"other content")
    assert fetch(path).read_bytes() == b"other content"


@pytest.mark.parametrize("folder", ["memory", "s3"], indirect=True)
def test_a_file_of_known_checksum_is_fetched_once_and_compared(folder):
    path = folder / "a.bin"
    write_bytes(path, b"content")
    sha256 = hashlib.sha256(b"content").hexdigest()
    local = fetch(path, sha256=sha256)
    path.unlink()
    assert fetch(path, sha256=sha256) == local
    write_bytes(path, b"damaged")
    with pytest.raises(InputError, match=r"expected sha256 [0-9a-f]{64}, got"):
        fetch(path, sha256="0" * 64)


def test_processes_that_fetch_the_same_file_share_one_copy(s3_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIO_DATA_CACHE", str(tmp_path / "cache"))
    write_bytes(storage_path(s3_folder) / "a.bin", bytes(2**20))
    program = "import sys, audio_data as a; print(a.fetch(a.storage_path(sys.argv[1])))"
    command = [sys.executable, "-c", program, f"{s3_folder}/a.bin"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = {process.communicate(timeout=60)[0].strip() for process in running}
    assert printed == {str(fetch(storage_path(f"{s3_folder}/a.bin")))}
    assert Path(printed.pop()).stat().st_size == 2**20


def test_a_missing_file_is_said_to_be(folder):
    with pytest.raises(InputError, match=r"cannot read `.*absent` .*create it, or choose another"):
        fetch(folder / "absent")
    with pytest.raises(InputError, match="cannot read"):
        read_bytes(folder / "absent")


def test_a_missing_bucket_and_missing_credentials_are_the_users_to_repair(s3_folder, monkeypatch):
    with pytest.raises(InputError, match="cannot write `s3://no-such-bucket/a`"):
        write_bytes(storage_path("s3://no-such-bucket/a"), b"")
    from botocore.exceptions import NoCredentialsError

    path = storage_path(f"{s3_folder}/a")
    with pytest.raises(InputError, match="check the credentials"), disk_errors(path):
        raise NoCredentialsError


def test_what_a_user_can_act_on_is_said_and_a_bug_passes(tmp_path):
    for number, advice in ((errno.ENOSPC, "the disk is full"), (errno.EIO, "the disk reports an error: check it")):
        with pytest.raises(InputError, match=advice), disk_errors(tmp_path):
            raise OSError(number, os.strerror(number))
    with pytest.raises(OSError, match="Bad file descriptor"), disk_errors(tmp_path):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(errno.EBUSY, "Please reduce your request rate."), r"rate\.\): check the credentials"),
        (OSError("An error occurred (429) when calling the operation"), r"\(429\) .* run the same command again"),
        (OSError(errno.EREMOTEIO, "We encountered an internal error."), "check the credentials, the endpoint"),
        (PermissionError("Forbidden"), "you have no right to"),
        (FileNotFoundError("bucket/key"), "there is no such file or folder"),
    ],
)
def test_whatever_a_store_refuses_is_one_line(error, advice):
    path = storage_path("memory://bucket/a.bin")
    with pytest.raises(InputError, match=advice) as refused, disk_errors(path, "read"):
        raise error
    assert refused.value.message.startswith(f"cannot read `{path}`")


@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is not None, reason="gcsfs is installed")
def test_a_missing_client_names_the_extra():
    with pytest.raises(InputError, match=r"uv pip install 'gcsfs>="):
        storage_path("gs://bucket/data")


def test_an_unknown_protocol_is_refused():
    with pytest.raises(InputError, match="nothing here reads gopher://"):
        storage_path("gopher://bucket/data")


def test_paths_survive_pickling(folder):
    assert pickle.loads(pickle.dumps(folder / "a")) == folder / "a"


def test_a_local_folder_has_one_writer(tmp_path):
    refused = pytest.raises(InputError, match="another process is writing")
    with sole_writer(tmp_path / "out"), refused, sole_writer(tmp_path / "out"):
        pass
    with sole_writer(tmp_path / "out"):
        pass


def test_a_file_has_one_writer_and_others_beside_it_are_free(tmp_path):
    one, other = tmp_path / "new" / "one.html", tmp_path / "new" / "other.html"
    refused = pytest.raises(InputError, match=r"another process is writing `.*one\.html`")
    with sole_file_writer(one), sole_file_writer(other), refused, sole_file_writer(one):
        pass
    assert list(one.parent.iterdir()) == []


def test_writing_that_fails_leaves_the_old_content(tmp_path, monkeypatch):
    file = tmp_path / "file"
    write_bytes(file, b"old")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="the disk is full"):
        write_bytes(file, b"new")
    assert file.read_bytes() == b"old"


def test_the_cache_lies_where_the_environment_says_and_else_at_home(tmp_path, monkeypatch):
    remote = storage_path(f"memory://cache-{tmp_path.name}/a.bin")
    write_bytes(remote, b"content")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value, expected in (
        (str(tmp_path / "cache"), "cache"),
        ("", "home/.cache/audio-data"),
        (None, "home/.cache/audio-data"),
    ):
        monkeypatch.setenv("AUDIO_DATA_CACHE", value) if value is not None else monkeypatch.delenv("AUDIO_DATA_CACHE")
        assert cache_folder() == tmp_path / expected
        assert fetch(remote).is_relative_to(tmp_path / expected)
        assert local_partial(remote).is_relative_to(tmp_path / expected / "partial")


class ListingStore(AbstractFileSystem):
    """A store whose client remembers listings, as those of Google and Amazon do."""

    protocol = "listing"
    names: ClassVar[list[str]] = []

    def ls(self, path, detail=True, **_):
        path = self._strip_protocol(path)
        listed = [{"name": f"{path}/{name}", "size": 1, "type": "file"} for name in self.names]
        found = self.dircache.get(path, listed)
        self.dircache[path] = found
        return found if detail else [entry["name"] for entry in found]


@pytest.mark.filterwarnings("ignore:UPath 'listing' filesystem")
def test_what_another_process_wrote_since_a_folder_was_listed_is_seen():
    fsspec.register_implementation("listing", ListingStore, clobber=True)
    folder = storage_path("listing://bucket/folder")
    ListingStore.names.append("a")
    assert file_sizes(folder) == {"a": 1}
    ListingStore.names.append("b")
    assert file_sizes(folder) == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError("denied"), r"cannot read `x` \(denied\): you have no right to: choose a folder of your own"),
        (FileNotFoundError("gone"), r"cannot read `x` \(gone\): there is no such file or folder"),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            r"cannot read `x` \(Permission denied\): you have no right",
        ),
    ],
)
def test_errors_of_clients_need_no_number(error, message):
    with pytest.raises(InputError, match=message), disk_errors(Path("x"), "read"):
        raise error


def test_an_error_that_says_nothing_passes():
    with pytest.raises(OSError, match="what") as caught, disk_errors(Path("x")):
        raise OSError("what")
    assert not isinstance(caught.value, InputError)
