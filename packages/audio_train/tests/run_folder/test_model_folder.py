"""An export takes the place of nothing but an export, whatever interrupts it, and says when it is damaged."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import pytest

from audio_data import InputError, hold, open_root
from audio_model import Qwen3x
from audio_train import ResolvedRun
from audio_train.run_folder.model_folder import damage_of_export, export_model, foreign_file, read_provenance

Export = Callable[..., None]


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def model(toy: ResolvedRun, fresh_state) -> Qwen3x:
    return jax.device_get(fresh_state(toy).model)


@pytest.fixture
def export_to(toy: ResolvedRun, model: Qwen3x, data_root: Path) -> Export:
    def write(folder: Path, step: int = 12) -> None:
        export_model(folder, model, toy, step=step, data_root=data_root, datasets=open_root(data_root))

    return write


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def step_of(folder: Path) -> int:
    return json.loads((folder / "provenance.json").read_text())["step"]


def test_an_export_lists_the_checksums_of_all_its_files_and_is_replaced_by_another(export_to: Export, tmp_path: Path):
    folder = tmp_path / "export"
    folder.mkdir()  # an empty one is nobody's
    export_to(folder, 5)
    listed = json.loads((folder / "checksums.json").read_text())["files"]
    assert set(listed) == set(contents(folder)) - {"checksums.json"}
    assert {"config.json", "model.safetensors", "provenance.json", "vocabulary/vocabulary.json"} <= set(listed)
    assert damage_of_export(folder) is None
    export_to(folder, 12)
    assert step_of(folder) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


@pytest.mark.parametrize("name", ["notes.txt", "vocabulary/notes.txt", ".hidden", "deep/er/file", "config.json.orig"])
def test_a_user_s_file_beside_an_export_survives(export_to: Export, tmp_path: Path, name: str):
    folder = tmp_path / "export"
    export_to(folder, 5)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("mine")
    before = contents(folder)
    with pytest.raises(InputError, match=r"cannot be replaced: it holds `.*`, which is not part of an export; move it"):
        export_to(folder, 12)
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


@pytest.mark.parametrize(
    "name", ["thesis.tex", "config.json", "model.safetensors", "provenance.json", "checksums.json", "resolved.json"]
)
def test_a_folder_of_a_user_survives(export_to: Export, tmp_path: Path, name: str):
    refuse_and_keep(export_to, tmp_path, "export", name)


@pytest.mark.parametrize("place", [".export.partial", ".export.previous"])
def test_a_folder_of_a_user_beside_it_survives(export_to: Export, tmp_path: Path, place: str):
    refuse_and_keep(export_to, tmp_path, place, "thesis.tex")


def refuse_and_keep(export_to: Export, tmp_path: Path, place: str, name: str) -> None:
    folder = tmp_path / place
    folder.mkdir()
    (folder / name).write_text('{"mine": 1}')
    with pytest.raises(InputError, match=r"cannot be replaced: .*; move it, or choose another folder"):
        export_to(tmp_path / "export")
    assert contents(tmp_path) == {f"{place}/{name}": b'{"mine": 1}'}


def test_a_file_in_the_place_of_the_folder_survives(export_to: Export, tmp_path: Path):
    (tmp_path / "export").write_text("mine")
    with pytest.raises(InputError, match="export` is no folder"):
        export_to(tmp_path / "export")
    assert contents(tmp_path) == {"export": b"mine"}


def test_a_link_is_followed(export_to: Export, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "export"
    link.symlink_to(tmp_path / "elsewhere" / "model")
    export_to(link, 5)
    export_to(link, 12)
    assert link.is_symlink()
    assert step_of(tmp_path / "elsewhere" / "model") == 12
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["model"]


def test_a_link_to_a_user_s_folder_is_refused(export_to: Export, tmp_path: Path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("mine")
    (tmp_path / "export").symlink_to(tmp_path / "home")
    with pytest.raises(InputError, match="cannot be replaced"):
        export_to(tmp_path / "export")
    assert contents(tmp_path / "home") == {"thesis.tex": b"mine"}


def test_two_exports_into_one_folder_at_once_are_refused(export_to: Export, tmp_path: Path):
    with (
        hold(tmp_path / ".export.lock", "held"),
        pytest.raises(InputError, match=r"another process is writing `.*export`"),
    ):
        export_to(tmp_path / "export")
    export_to(tmp_path / "export")


def test_a_lock_file_of_a_user_survives(export_to: Export, tmp_path: Path):
    (tmp_path / ".export.lock").write_text("mine")
    export_to(tmp_path / "export")
    assert (tmp_path / ".export.lock").read_text() == "mine"


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[list[str]]:
    """Kill at the given change of names in a file system, before it happens; gives what was changed until then."""
    changed: list[str] = []

    def counted(name: str, change: Callable) -> Callable:
        def wrapper(*arguments, **options):
            changed.append(f"{name} {Path(arguments[0]).name}")
            if len(changed) == number:
                raise Killed
            return change(*arguments, **options)

        return wrapper

    with monkeypatch.context() as patched:
        for module, name in ((os, "rename"), (os, "replace"), (os, "mkdir"), (shutil, "rmtree")):
            patched.setattr(module, name, counted(name, getattr(module, name)))
        yield changed


def test_a_kill_at_any_rename_leaves_the_old_or_the_new_and_the_next_export_succeeds(
    export_to: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    export_to(tmp_path / "first" / "export", 5)
    for number in range(1, 100):
        folder = tmp_path / str(number) / "export"
        shutil.copytree(tmp_path / "first" / "export", folder)
        with killed_at(monkeypatch, number) as changed:
            try:
                export_to(folder, 12)
            except Killed:
                ended = False
            else:
                ended = True
        kept = folder if folder.exists() else folder.with_name(".export.previous")
        assert damage_of_export(kept) is None, changed
        assert step_of(kept) in (5, 12), changed
        export_to(folder, 12)
        assert step_of(folder) == 12
        assert damage_of_export(folder) is None
        assert [path.name for path in folder.parent.iterdir()] == ["export"], changed
        shutil.rmtree(folder.parent)
        if ended:
            break
    assert ended
    assert number > 8, "each rename, and the removal of the old one"


def test_a_removal_that_was_cut_short_is_finished(export_to: Export, tmp_path: Path):
    export_to(tmp_path / "export", 5)
    shutil.copytree(tmp_path / "export", tmp_path / ".export.previous")
    for name in ("provenance.json", "checksums.json", "vocabulary/vocabulary.json"):
        (tmp_path / ".export.previous" / name).unlink()
    export_to(tmp_path / "export", 12)
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_every_file_is_flushed_before_the_folder_gets_its_name(
    export_to: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flushed: set[tuple[int, int]] = set()
    sync, rename = os.fsync, os.rename

    def recorded(descriptor: int) -> None:
        status = os.fstat(descriptor)
        flushed.add((status.st_dev, status.st_ino))
        sync(descriptor)

    renamed = []

    def checked(source, target, **options) -> None:
        if Path(target).name == "export":
            renamed.append(target)
            for path in (Path(source), *Path(source).rglob("*")):
                status = path.stat()
                assert (status.st_dev, status.st_ino) in flushed, path
        rename(source, target, **options)

    monkeypatch.setattr(os, "fsync", recorded)
    monkeypatch.setattr(os, "rename", checked)
    export_to(tmp_path / "export")
    assert len(renamed) == 1
    status = tmp_path.stat()
    assert (status.st_dev, status.st_ino) in flushed


def test_damage_of_any_file_is_named(export_to: Export, tmp_path: Path):
    folder, chosen = tmp_path / "export", random.Random(1)
    export_to(folder)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        at = chosen.randrange(len(content))
        flipped = content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :]
        for changed in (content[:-2], b"", bytes(len(content)), flipped, None):
            path.write_bytes(changed) if changed is not None else path.unlink()
            damage = damage_of_export(folder)
            assert damage, path
            assert path.name in damage
        path.write_bytes(content)
    (folder / "vocabulary" / "more").write_text("x")
    assert damage_of_export(folder) == "`vocabulary/more` was not written with it"


def test_an_export_from_before_there_were_checksums_is_looked_at_and_replaced(export_to: Export, tmp_path: Path):
    folder = tmp_path / "export"
    export_to(folder)
    (folder / "checksums.json").unlink()
    assert damage_of_export(folder) == "the list `checksums.json` is missing"
    provenance = json.loads((folder / "provenance.json").read_text())
    del provenance["checksums"]
    (folder / "provenance.json").write_text(json.dumps(provenance))
    assert damage_of_export(folder) is None
    assert foreign_file(folder) is None
    weights = (folder / "model.safetensors").read_bytes()
    for damaged in (weights[:-1], weights[: len(weights) // 2], b"", None):
        (folder / "model.safetensors").unlink()
        if damaged is not None:
            (folder / "model.safetensors").write_bytes(damaged)
        assert damage_of_export(folder) is not None
        (folder / "model.safetensors").write_bytes(weights)
    export_to(folder)
    assert (folder / "checksums.json").exists()


def test_a_damaged_provenance_is_one_line_with_the_file_and_the_remedy(export_to: Export, tmp_path: Path, refusal):
    folder, chosen, refused = tmp_path / "export", random.Random(2), 0
    export_to(folder)
    (folder / "checksums.json").unlink()
    whole = (folder / "provenance.json").read_bytes()
    damaged = [b"", b"[]", b"\xff", b"[" * 100_000, b'{"step": NaN}', b'{"run_fingerprint": 1, "step": 1}', b"null"]
    for _ in range(60):
        at = chosen.randrange(len(whole))
        damaged += [whole[:at], whole[:at] + bytes([whole[at] ^ 1 << chosen.randrange(8)]) + whole[at + 1 :]]
    for content in damaged:
        (folder / "provenance.json").write_bytes(content)
        message = refusal(lambda: read_provenance(folder))
        refused += message is not None
        assert message is None or ("provenance.json" in message and "export again" in message), (content, message)
        if message is not None:
            assert "it is not an export" in (foreign_file(folder) or ""), content
    assert refused > 60
