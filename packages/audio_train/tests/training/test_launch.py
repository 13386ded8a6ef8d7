"""Whole runs on a toy corpus: what they leave behind, and that stopping and going on changes no number."""

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from audio_data import InputError, quarantine_damage
from audio_train import (
    Checkpoints,
    EvaluationSpec,
    InitSpec,
    Intervals,
    MeshConfig,
    ResolvedRun,
    Trainer,
    export,
    read_metrics,
    run,
)
from audio_train.cli import main
from audio_train.run_folder.model_folder import damage_of_export

LOSSES = ("step", "loss", "nll", "grad_norm", "learning_rate")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A run from start to end."""
    toy, data_root = request.getfixturevalue("toy"), request.getfixturevalue("data_root")
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert run(toy, data_root, folder, mesh_config=MeshConfig(data=1)).finished
    return folder


@pytest.fixture
def stopping_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have the next run receive SIGTERM while it takes the given step of its own."""

    def arrange(num_steps: int) -> None:
        take, taken = Trainer.step, iter(range(1, 10**6))

        def step(self, *arguments):
            if next(taken) == num_steps:
                signal.raise_signal(signal.SIGTERM)
            return take(self, *arguments)

        monkeypatch.setattr(Trainer, "step", step)

    return arrange


def losses(folder: Path) -> list[dict]:
    return [{name: line[name] for name in LOSSES} for line in read_metrics(folder / "metrics.jsonl")]


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "export" / "model.safetensors")


def assert_same_run(folder: Path, other: Path) -> None:
    assert losses(folder) == losses(other)
    ours, theirs = weights(folder), weights(other)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_a_run_learns_and_leaves_a_complete_folder(toy: ResolvedRun, undisturbed: Path):
    lines = losses(undisturbed)
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
    with Checkpoints(undisturbed, toy.fingerprint) as checkpoints:
        assert checkpoints.steps() == [10, 12]
    assert ResolvedRun.from_json(json.loads((undisturbed / "resolved.json").read_text())) == toy
    provenance = json.loads((undisturbed / "export" / "provenance.json").read_text())
    assert (provenance["step"], provenance["run_fingerprint"]) == (12, toy.fingerprint)
    assert provenance["dataset_fingerprints"] == dict(toy.datasets)
    exported = {path.name for path in (undisturbed / "export").iterdir()}
    assert {"config.json", "model.safetensors", "provenance.json", "vocabulary"} <= exported
    assert (undisturbed / "export" / "vocabulary" / "codebooks.safetensors").exists()


def test_two_runs_with_one_seed_are_equal_bit_for_bit(
    toy, data_root: Path, undisturbed: Path, tmp_path: Path, one_device
):
    run(toy, data_root, tmp_path / "again", mesh_config=one_device)
    assert_same_run(tmp_path / "again", undisturbed)


@pytest.mark.parametrize("stop_after", [3, 5, 8])
def test_a_run_that_stops_goes_on_bit_for_bit(
    stop_after: int, toy, data_root: Path, undisturbed: Path, tmp_path: Path, one_device, stopping_after
):
    stopping_after(stop_after)
    stopped = run(toy, data_root, tmp_path, mesh_config=one_device)
    assert (stopped.step, stopped.stopped_by) == (stop_after, "SIGTERM")
    assert not (tmp_path / "export").exists()
    assert run(toy, data_root, tmp_path, mesh_config=one_device).finished
    assert_same_run(tmp_path, undisturbed)


def test_until_stops_at_a_step_and_changes_nothing(toy, data_root: Path, undisturbed: Path, tmp_path: Path, one_device):
    for until in (3, 3, 7):
        stopped = run(toy, data_root, tmp_path, mesh_config=one_device, until=until)
        assert (stopped.step, stopped.stopped_by, stopped.finished) == (until, "--until", False)
    assert not (tmp_path / "export").exists()
    # That of the second call took no step, so it was no launch.
    launches = (tmp_path / "launches.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in launches] == [0, 3]
    assert run(toy, data_root, tmp_path, mesh_config=one_device, until=99).finished
    assert_same_run(tmp_path, undisturbed)


def test_a_run_goes_on_from_an_earlier_checkpoint(toy, data_root: Path, undisturbed: Path, tmp_path: Path, one_device):
    run(toy, data_root, tmp_path, mesh_config=one_device)
    earlier = str(tmp_path / "checkpoints" / "10")
    assert run(toy, data_root, tmp_path, resume=earlier, mesh_config=one_device).finished
    assert_same_run(tmp_path, undisturbed)
    launches = (tmp_path / "launches.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in launches] == [0, 10]


@pytest.mark.long
def test_a_run_goes_on_with_fewer_devices_each_time(varied, data_root: Path, tmp_path: Path, stopping_after):
    """4 -> 2 -> 1 devices, cut otherwise each time: what differs is the order in which numbers are added."""
    steady = varied(optimizer=replace(varied().run.optimizer, name="adamw"))
    assert run(steady, data_root, tmp_path / "four", mesh_config=MeshConfig(data=2, fsdp=2)).finished
    folder = tmp_path / "fewer"
    for mesh_config, stop in ((MeshConfig(data=2, fsdp=2), 4), (MeshConfig(data=1, fsdp=2), 5)):
        stopping_after(stop)
        assert not run(steady, data_root, folder, mesh_config=mesh_config).finished
    assert run(steady, data_root, folder, mesh_config=MeshConfig(data=1)).finished
    launches = [json.loads(line) for line in (folder / "launches.jsonl").read_text().splitlines()]
    assert [(launch["step"], launch["devices"]["count"]) for launch in launches] == [(0, 4), (4, 2), (9, 1)]
    ours, theirs = ([line["loss"] for line in losses(f)] for f in (folder, tmp_path / "four"))
    np.testing.assert_allclose(ours, theirs, rtol=2e-4)


@pytest.mark.slow
def test_microbatches_train_as_the_whole_batch_does(varied, data_root: Path, tmp_path: Path):
    steady = varied(optimizer=replace(varied().run.optimizer, name="adamw"))
    for parts in (1, 4):
        run(steady, data_root, tmp_path / str(parts), mesh_config=MeshConfig(data=1, microbatches=parts))
    ours, theirs = ([line["loss"] for line in losses(tmp_path / parts)] for parts in ("1", "4"))
    np.testing.assert_allclose(ours, theirs, rtol=2e-4)


@pytest.mark.long
def test_checkpoints_and_exports_of_chosen_steps_are_kept(varied, data_root: Path, tmp_path: Path, one_device):
    intervals = Intervals(checkpoint_seconds=None, keep_last=1, keep_every_steps=4, export_every_steps=5)
    resolved = varied(intervals=intervals, steps=11)
    run(resolved, data_root, tmp_path, mesh_config=one_device, profile=(2, 3))
    with Checkpoints(tmp_path, resolved.fingerprint) as checkpoints:
        assert checkpoints.steps() == [4, 8, 11]
    steps = {path.name: json.loads((path / "provenance.json").read_text())["step"] for path in exports(tmp_path)}
    assert steps == {"5": 5, "10": 10}
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def exports(folder: Path) -> list[Path]:
    return list((folder / "exports").iterdir())


def test_never_refuses_a_folder_with_progress(toy, data_root: Path, undisturbed: Path, one_device):
    with pytest.raises(InputError, match="must hold no progress of this run for `resume` 'never', got step 12"):
        run(toy, data_root, undisturbed, resume="never", mesh_config=one_device)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("on", "`resume` must be 'auto', 'never' or a checkpoint such as RUN/checkpoints/400, got 'on'"),
        ("{run}/checkpoints/7", r"checkpoints/7` must be a complete checkpoint; .* has steps \[10, 12\]"),
        ("{run}/export", "`resume` must be 'auto', 'never' or a checkpoint"),
    ],
)
def test_a_place_to_resume_from_is_a_whole_checkpoint(
    words: str, message: str, toy, data_root: Path, undisturbed: Path, tmp_path: Path
):
    with pytest.raises(InputError, match=message):
        run(toy, data_root, tmp_path, resume=words.format(run=undisturbed))


def test_checkpoints_none_of_which_is_whole_are_not_written_over(
    toy, data_root: Path, undisturbed: Path, tmp_path: Path, one_device
):
    copied = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    shutil.rmtree(copied / "export")
    for step in (10, 12):
        (copied / "checkpoints" / str(step) / "state" / "manifest.ocdbt").unlink()
    with pytest.raises(InputError, match=r"no checkpoint in .* is intact \(12: parts are missing; 10: parts"):
        run(toy, data_root, copied, mesh_config=one_device)
    assert sorted(path.name for path in (copied / "checkpoints").iterdir()) == ["10", "12"]


def test_a_checkpoint_of_another_run_is_refused_before_a_folder_is_taken(
    toy, varied, data_root: Path, undisturbed: Path, tmp_path: Path
):
    other = varied(seed=1)
    with pytest.raises(InputError, match=rf"fingerprint {other.fingerprint[:12]}, got {toy.fingerprint[:12]}"):
        run(other, data_root, tmp_path, resume=str(undisturbed / "checkpoints" / "10"))
    assert not (tmp_path / "resolved.json").exists()


def test_a_folder_of_another_run_is_refused_with_both_fingerprints(toy, varied, data_root: Path, undisturbed: Path):
    other = varied(seed=1)
    with pytest.raises(
        InputError, match=rf"{other.fingerprint[:12]}, got `toy` with fingerprint {toy.fingerprint[:12]}"
    ):
        run(other, data_root, undisturbed)


def test_a_finished_run_is_left_as_it_is(toy, data_root: Path, undisturbed: Path, one_device):
    before = losses(undisturbed)
    again = run(toy, data_root, undisturbed, mesh_config=one_device)
    assert again.finished
    assert again.compile_seconds == 0
    assert losses(undisturbed) == before


def test_a_finished_run_is_not_said_to_be_one_of_other_data(
    toy, data_root: Path, undisturbed: Path, tmp_path: Path, one_device
):
    for name in ("short", "long"):
        shutil.copytree(data_root / "long", tmp_path / name)
    for other in (
        lambda: run(toy, tmp_path, undisturbed, mesh_config=one_device),
        lambda: export(undisturbed, tmp_path),
    ):
        expected = toy.datasets["short"][:12]
        with pytest.raises(InputError, match=rf"`short` must have the fingerprint {expected} of run `toy`"):
            other()
    assert run(toy, data_root, undisturbed, mesh_config=one_device).finished


def test_an_export_that_a_kill_prevented_is_made_up_for(toy, data_root: Path, undisturbed: Path, tmp_path: Path):
    shutil.copytree(undisturbed, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "export")
    assert run(toy, data_root, tmp_path / "run", mesh_config=MeshConfig(data=1)).finished
    assert_same_run(tmp_path / "run", undisturbed)


def flip_a_bit(folder: Path) -> None:
    largest = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_leads_to_the_same_run(
    toy, data_root: Path, undisturbed: Path, tmp_path: Path, one_device, capsys: pytest.CaptureFixture[str]
):
    copied = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    shutil.rmtree(copied / "export")
    flip_a_bit(copied / "checkpoints" / "12")
    with pytest.raises(InputError, match=r"checkpoints/12` is damaged \(`.*` holds other bytes than were written"):
        export(copied, data_root, step=12)
    assert json.loads((export(copied, data_root) / "provenance.json").read_text())["step"] == 10
    assert run(toy, data_root, copied, mesh_config=one_device).finished
    assert "checkpoints/12` is damaged" in capsys.readouterr().err
    assert_same_run(copied, undisturbed)


def test_a_damaged_export_is_not_called_finished(
    toy, data_root: Path, undisturbed: Path, tmp_path: Path, one_device, capsys: pytest.CaptureFixture[str]
):
    copied = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    flip_a_bit(copied / "export")
    assert run(toy, data_root, copied, mesh_config=one_device).finished
    assert "model.safetensors` holds other bytes than were written" in capsys.readouterr().err
    assert_same_run(copied, undisturbed)
    shutil.rmtree(copied / "checkpoints")
    assert run(toy, data_root, copied, mesh_config=one_device).finished
    (copied / "export" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"`model\.safetensors` is missing\), and there is no checkpoint to export it"):
        run(toy, data_root, copied, mesh_config=one_device)


def test_lost_metrics_are_not_gone_on_with(toy, data_root: Path, undisturbed: Path, tmp_path: Path, one_device):
    copied = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    shutil.rmtree(copied / "export")
    lines = (copied / "metrics.jsonl").read_text().splitlines(keepends=True)
    (copied / "metrics.jsonl").write_text("".join(lines[:3] + lines[4:]))
    with pytest.raises(InputError, match=r"metrics\.jsonl` lacks lines: when step 12 was saved"):
        run(toy, data_root, copied, mesh_config=one_device)
    (copied / "metrics.jsonl").write_text("".join(lines))
    assert run(toy, data_root, copied, mesh_config=one_device).finished


def test_a_user_s_folder_in_the_place_of_the_export_is_refused_before_training(
    toy, data_root: Path, tmp_path: Path, one_device, undisturbed: Path
):
    (tmp_path / "run" / "export").mkdir(parents=True)
    (tmp_path / "run" / "resolved.json").write_bytes((undisturbed / "resolved.json").read_bytes())
    (tmp_path / "run" / "export" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="export` cannot be replaced"):
        run(toy, data_root, tmp_path / "run", mesh_config=one_device)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert (tmp_path / "run" / "export" / "thesis.tex").read_text() == "mine"


def test_changed_data_are_refused(toy, data_root: Path, tmp_path: Path, varied):
    stale = ResolvedRun(**{**vars(toy), "datasets": {**toy.datasets, "short": "0" * 64}})
    with pytest.raises(InputError, match="dataset `short` must have the fingerprint 000000000000 of run `toy`"):
        run(stale, data_root, tmp_path)


@pytest.mark.long
def test_as_many_devices_are_used_as_share_the_batch(toy, varied, data_root: Path, tmp_path: Path):
    """Rows that the devices cannot share evenly leave devices idle instead of refusing the run."""
    run(varied(data=replace(toy.run.data, batch_size=6), steps=1), data_root, tmp_path)
    launch = json.loads((tmp_path / "launches.jsonl").read_text())
    assert launch["devices"]["mesh"] == {"replica": 1, "data": 1, "fsdp": 2, "tensor": 1}


def test_minutes_become_steps_that_a_resumed_run_keeps(
    toy, data_root: Path, tmp_path: Path, one_device, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Trainer, "seconds_per_step", lambda self: 15.0)
    assert run(toy, data_root, tmp_path, minutes=2.0, mesh_config=one_device).last_step == 8
    monkeypatch.setattr(Trainer, "seconds_per_step", lambda self: 1.0)
    assert run(toy, data_root, tmp_path, minutes=2.0, mesh_config=one_device).last_step == 8
    assert json.loads((tmp_path / "resolved.json").read_text())["run"]["steps"] == 8


def test_time_for_a_step_is_measured_on_every_stage(toy, data_root: Path, one_device):
    trainer = Trainer(toy, data_root, one_device)
    trainer.compile()
    assert 0 < trainer.seconds_per_step() < 10


def test_held_out_loss_is_logged_with_the_step_it_belongs_to(varied, data_root: Path, tmp_path: Path, one_device):
    evaluation = EvaluationSpec(corpora=("long",), every_steps=2, num_batches=2)
    resolved = varied(intervals=Intervals(checkpoint_seconds=None, evaluation=evaluation), steps=3)
    run(resolved, data_root, tmp_path, mesh_config=one_device)
    lines = list(read_metrics(tmp_path / "metrics.jsonl"))
    assert [(line["step"], "evaluation" in line) for line in lines] == [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1)]
    first, last = (line["evaluation"]["nll"]["special"] for line in lines if "evaluation" in line)
    assert last < first


def test_held_out_data_that_are_not_there_are_missed_before_anything_starts(
    varied, data_root: Path, tmp_path: Path, one_device
):
    intervals = Intervals(evaluation=EvaluationSpec(corpora=("heldout",), every_steps=2, num_batches=2))
    with pytest.raises(
        InputError, match="of run `toy` must name datasets of the data folder, of long, short, got `heldout`"
    ):
        run(varied(intervals=intervals), data_root, tmp_path, mesh_config=one_device)
    assert not (tmp_path / "resolved.json").exists()


def test_fewer_lines_hold_the_same_numbers(varied, data_root: Path, undisturbed: Path, tmp_path: Path, one_device):
    run(varied(intervals=Intervals(log_steps=5)), data_root, tmp_path, mesh_config=one_device)
    assert losses(tmp_path) == [line for line in losses(undisturbed) if line["step"] in (5, 10, 12)]


def test_any_checkpoint_can_be_exported(toy, data_root: Path, undisturbed: Path, tmp_path: Path):
    folder = export(undisturbed, step=10, out_dir=tmp_path / "model")
    assert json.loads((folder / "provenance.json").read_text())["step"] == 10
    newest = load_file(export(undisturbed, data_root, out_dir=tmp_path / "newest") / "model.safetensors")
    for name, array in weights(undisturbed).items():
        np.testing.assert_array_equal(newest[name], array)
    with pytest.raises(InputError, match=r"`step` must be one of the checkpoints \[10, 12\] of .*, got 7"):
        export(undisturbed, step=7)


def test_an_export_that_cannot_be_uploaded_is_written_and_says_how(undisturbed: Path, tmp_path: Path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    words = ["export", str(undisturbed), "--out", str(tmp_path / "model"), "--push", "owner/name"]
    with pytest.raises(
        InputError, match=r"hub cannot be reached .*; run `hf upload owner/name .*model --repo-type model`"
    ):
        CliRunner().invoke(main, words, catch_exceptions=False, standalone_mode=False)
    assert damage_of_export(tmp_path / "model") is None


def test_audio_rows_can_begin_as_the_codec_s_centroids(varied, data_root: Path, one_device):
    plain = Trainer(varied(), data_root, one_device).initial_state().model.embedding
    from_codec = Trainer(varied(init=InitSpec(audio_embedding_init="codebooks")), data_root, one_device)
    rows = from_codec.initial_state().model.embedding
    base = 18
    np.testing.assert_array_equal(rows[:base], plain[:base])
    centroids = load_file(data_root / "vocabulary" / "codebooks.safetensors")["codebooks"][0]
    distances = np.linalg.norm(centroids[:, None] - centroids[None], axis=-1)
    ours = np.linalg.norm(np.asarray(rows)[base : base + 16, None] - np.asarray(rows)[None, base : base + 16], axis=-1)
    assert np.corrcoef(distances.ravel(), ours.ravel())[0, 1] > 0.8


def test_missing_centroids_are_named(varied, manifests, data_root: Path, tmp_path: Path, one_device):
    for name in manifests:
        shutil.copytree(data_root / name, tmp_path / name)
    trainer = Trainer(varied(init=InitSpec(audio_embedding_init="codebooks")), tmp_path, one_device)
    with pytest.raises(InputError, match=r"codebooks\.safetensors` must exist for init\.audio_emb"):
        trainer.initial_state()


def test_damaged_documents_are_left_out_within_a_budget(
    toy: ResolvedRun, data_root: Path, tmp_path: Path, one_device: MeshConfig, undisturbed: Path
):
    root = tmp_path / "data"
    shutil.copytree(data_root, root)
    shard = next((root / "short").glob("*.arrayrecord"))
    torn = bytearray(shard.read_bytes())
    torn[len(torn) // 2] ^= 0xFF
    shard.write_bytes(bytes(torn))
    with pytest.raises(InputError, match="short"):
        run(toy, root, tmp_path / "strict", mesh_config=one_device)
    damaged, _ = quarantine_damage(root / "short", 60)
    assert 0 < len(damaged.documents) <= 60
    with pytest.raises(InputError, match="at most 0 unusable documents"):
        run(toy, root, tmp_path / "none", mesh_config=one_device, max_quarantined=0)
    assert run(toy, root, tmp_path / "some", mesh_config=one_device, max_quarantined=60).finished
    (launch,) = map(json.loads, (tmp_path / "some" / "launches.jsonl").read_text().splitlines())
    assert launch["quarantined"] == {"short": len(damaged.documents)}
    assert losses(tmp_path / "some") != losses(undisturbed)


@pytest.mark.parametrize(
    ("packing", "fate"),
    [("best_fit", "trained on without the beginning of their document"), ("next_fit", "dropped")],
)
def test_documents_that_rows_cut_are_counted_before_training_starts(
    varied,
    toy: ResolvedRun,
    data_root: Path,
    tmp_path: Path,
    one_device,
    capfd: pytest.CaptureFixture[str],
    packing: Literal["best_fit", "next_fit"],
    fate: str,
):
    """Of `long` each of 40 documents has 26 tokens and 0.72 s, of which a row takes 16; `short` fits."""
    data = replace(toy.run.data, seq_len=16, packing=packing)
    run(varied(data=data, steps=1), data_root, tmp_path, mesh_config=one_device)
    said = capfd.readouterr().err.splitlines()
    cut = "dataset `long`: 40 of 40 documents are longer than a row of 16 tokens and are cut; 400 tokens, about 11 s of"
    (place,) = (number for number, line in enumerate(said) if "longer than a row" in line)
    assert said[place].startswith(cut)
    assert said[place].endswith(f" of audio, are {fate}")
    # 8 rows of 16 tokens are one row of 128, which is longer than the context of 64.
    assert said[place + 1].startswith("the longest document has 26 tokens, beyond the model's context of 64; whole")
    assert said[place + 1].endswith(": --set data.seq_len=128 --set data.batch_size=1 --set model.max_seq_len=128")
    after = [number for number, line in enumerate(said) if "compil" in line]
    assert "compiling the training step" in said[after[0]]
    assert "compiled in" in said[after[1]]
    assert place < after[0]
