"""Runs that begin with other weights: a model folder, another run's checkpoint, and learning from responses only."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from audio_data import DatasetWriter, Document, InputError, Vocabulary
from audio_train import (
    InitSpec,
    Intervals,
    MeshConfig,
    MixtureStage,
    ModelShape,
    OptimizerSpec,
    ResolvedRun,
    ScheduleSpec,
    Trainer,
    TrainRun,
    read_metrics,
    resolve,
    run,
    schedule,
)
from audio_train.optimization.schedules import anneal_peak
from audio_train.run_folder.checkpoint import Checkpoints, flat_paths
from audio_train.run_folder.folder import require_run
from audio_train.training.initialization import resolve_init
from audio_train.training.start import started_from

ALONE = MeshConfig(data=1)
ADAMW = OptimizerSpec("adamw", 1e-3)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A finished run of 6 steps with checkpoints of steps 3 and 6."""
    toy, data_root = request.getfixturevalue("toy"), request.getfixturevalue("data_root")
    intervals = Intervals(checkpoint_steps=3, checkpoint_seconds=None, keep_last=3)
    resolved = replace(toy, run=replace(toy.run, intervals=intervals, optimizer=ADAMW)).with_steps(6)
    folder = tmp_path_factory.mktemp("runs") / "pretrained"
    assert run(resolved, data_root, folder, mesh_config=ALONE).finished
    return folder


def weights_at(folder: Path, step: int, like) -> dict[str, jax.Array]:
    fingerprint = json.loads((folder / "resolved.json").read_text())["fingerprint"]
    wanted = {name: leaf for name, leaf in flat_paths(like).items() if not name.startswith("step")}
    with Checkpoints(folder, fingerprint) as checkpoints:
        return checkpoints.restore_part(step, wanted)


def test_a_model_folder_gives_the_weights_and_nothing_else(varied, pretrained: Path, data_root: Path):
    resolved = varied(init=InitSpec(kind="model", source="toy-base"))
    trainer = Trainer(resolved, data_root, ALONE, resolve_init(resolved, pretrained / "export"))
    state, saved = trainer.initial_state(), load_file(pretrained / "export" / "model.safetensors")
    np.testing.assert_array_equal(state.model.embedding, saved["model.embed_tokens.weight"])
    np.testing.assert_array_equal(state.model.layers.gate[1], saved["model.layers.1.mlp.gate_proj.weight"].T)
    assert {float(np.abs(leaf).max()) for leaf in jax.tree.leaves(state.optimizer)} == {0.0}
    assert int(state.step) == 0


def test_a_checkpoint_gives_the_weights_and_nothing_else(varied, pretrained: Path, data_root: Path, tmp_path: Path):
    resolved = varied(init=InitSpec(kind="checkpoint", source="toy@3"), optimizer=ADAMW, steps=4)
    trainer = Trainer(resolved, data_root, ALONE, resolve_init(resolved, pretrained))
    state, saved = trainer.initial_state(), weights_at(pretrained, 3, trainer.abstract_state)
    for name, leaf in flat_paths(state.model).items():
        np.testing.assert_array_equal(leaf, saved[f"model.{name}"], err_msg=name)
    assert {float(np.abs(leaf).max()) for leaf in jax.tree.leaves(state.optimizer)} == {0.0}
    assert int(state.step) == 0
    run(resolved, data_root, tmp_path, mesh_config=ALONE, init=pretrained)
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    launch = json.loads((tmp_path / "launches.jsonl").read_text())
    assert (launch["init"]["step"], launch["init"]["path"]) == (3, str(pretrained))


def test_the_study_s_line_of_an_anneal():
    """Peak N lr / K on a line over N, entered at N - K, is the line from lr over K; warm-up lifts it by its share."""
    first, steps, rate = 190_000, 50_000, 0.0042426
    peak = anneal_peak(rate, first_step=first, num_steps=steps)
    line = schedule(ScheduleSpec(warmup=0.0, decay=None), peak, first + steps)
    np.testing.assert_allclose(line(first + np.array([0, 25_000, 50_000])), [rate, rate / 2, 0.0], rtol=1e-5, atol=1e-9)
    published = schedule(ScheduleSpec(warmup=0.01, decay=None), peak, first + steps)
    np.testing.assert_allclose(published(first), rate / 0.99, rtol=1e-5)


def test_a_resumed_run_needs_no_initial_weights(varied, pretrained: Path, data_root: Path, tmp_path: Path):
    resolved = varied(init=InitSpec(kind="model", source="toy-base"), steps=2)
    away = tmp_path / "away"
    shutil.copytree(pretrained / "export", away)
    assert run(resolved, data_root, tmp_path / "run", mesh_config=ALONE, init=away).finished
    shutil.rmtree(away)
    shutil.rmtree(tmp_path / "run" / "export")
    assert run(resolved, data_root, tmp_path / "run", mesh_config=ALONE).finished


def test_a_run_from_scratch_begins_as_it_says(varied, fresh_state):
    untied = replace(varied().run.model, tied=False)
    ours, theirs = (
        fresh_state(varied(model=untied, init=InitSpec(vocabulary_init=scheme))).model
        for scheme in ("unit_logits", "haliax")
    )
    np.testing.assert_allclose(theirs.head, untied.embed**0.5 * theirs.embedding, rtol=1e-6)
    assert abs(np.corrcoef(np.ravel(ours.head), np.ravel(ours.embedding))[0, 1]) < 0.2
    jax.tree.map(np.testing.assert_array_equal, ours.layers, theirs.layers)


def test_weights_that_do_not_fit_are_refused(varied, pretrained: Path, toy: ResolvedRun, manifests):
    init = InitSpec(kind="model", source="toy-base")
    wider = varied(init=init, model=replace(toy.run.model, mlp=48))
    with pytest.raises(InputError, match=r"the shape of the model of run `toy`, got mlp 32 for 48"):
        resolve_init(wider, pretrained / "export")
    turned = replace(toy.run, model=replace(toy.run.model, rope_theta=1e6))
    annealed = replace(turned, init=InitSpec(kind="checkpoint", source="toy@3"))
    with pytest.raises(
        InputError, match=r"run `toy` in .* with other values than run `toy` has: model.rope_theta 500000"
    ):
        resolve_init(resolve(annealed, toy.vocabulary), pretrained)
    others = replace(toy.vocabulary, codec_id="another-codec")
    with pytest.raises(InputError, match=r"must have the run's vocabulary `toy` .* got `toy`"):
        resolve_init(resolve(replace(toy.run, init=init), others), pretrained / "export")
    with pytest.raises(InputError, match="starts from the model `toy-base`; give its folder with --start"):
        resolve_init(varied(init=init), None)
    with pytest.raises(InputError, match=r"has checkpoints at steps \[3, 6\], got 4"):
        resolve_init(varied(init=InitSpec(kind="checkpoint", source="toy@4")), pretrained)
    muon = replace(ADAMW, name="muon")
    with pytest.raises(InputError, match="the moments of `adamw`, got `muon`"):
        resolve_init(
            varied(init=InitSpec(kind="checkpoint", source="toy@3", state="continue"), optimizer=muon), pretrained
        )
    with pytest.raises(InputError, match="starts from scratch"):
        resolve_init(toy, pretrained)


@pytest.mark.parametrize(
    "init",
    [
        InitSpec(kind="model", source="toy-base"),
        InitSpec(kind="checkpoint", source="toy@6"),
        InitSpec(kind="checkpoint", source="toy@6", state="continue"),
    ],
    ids=["model", "checkpoint", "continued"],
)
def test_weights_lie_where_the_mesh_wants_them(init: InitSpec, varied, pretrained: Path, data_root: Path):
    """Cut over two devices and over four; whole weights on one device would be another compiled step, or none."""
    resolved = varied(init=init, optimizer=ADAMW)
    path = pretrained / "export" if init.kind == "model" else pretrained
    alone, cut = (
        Trainer(resolved, data_root, mesh_config, resolve_init(resolved, path))
        for mesh_config in (ALONE, MeshConfig(data=2, fsdp=2))
    )
    whole, state = alone.initial_state(), cut.initial_state()
    for name, wanted in flat_paths(cut.abstract_state).items():
        leaf = flat_paths(state)[name]
        assert (leaf.sharding, leaf.shape, leaf.dtype) == (wanted.sharding, wanted.shape, wanted.dtype), name
        np.testing.assert_array_equal(leaf, flat_paths(whole)[name], err_msg=name)
    query = state.model.layers.query
    assert {shard.data.shape for shard in query.addressable_shards} != {query.shape}
    assert len(state.step.sharding.device_set) == 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "model"}, "`init.source` must name the weights"),
        ({"source": "x"}, "`init.source` must name the weights"),
        ({"kind": "checkpoint", "source": "x@y"}, "must be RUN or RUN@STEP"),
        ({"kind": "model", "source": "x", "audio_embedding_init": "codebooks"}, "apply only to `init.kind` 'scratch'"),
        ({"kind": "model", "source": "x", "vocabulary_init": "haliax"}, "apply only to `init.kind` 'scratch'"),
        ({"kind": "model", "source": "x", "state": "continue"}, "needs a checkpoint whose step"),
        ({"kind": "checkpoint", "source": "x", "state": "continue"}, "needs a checkpoint whose step"),
        ({"rope_and_epsilon_of": "run"}, "does not apply"),
    ],
)
def test_initial_weights_that_contradict_themselves_are_refused(fields: dict, message: str):
    with pytest.raises(InputError, match=message):
        InitSpec(**fields)


def test_only_responses_are_learned_from_in_packed_windows(
    toy_run: TrainRun, vocabulary: Vocabulary, pretrained: Path, tmp_path: Path
):
    """Prompts are text, responses audio: the sums by kind then show which targets counted."""
    rng = np.random.default_rng(0)
    with DatasetWriter(tmp_path / "data" / "sft", corpus="sft", vocabulary=vocabulary, provenance={}) as writer:
        for number in range(40):
            prompt = [vocabulary.begin_of_text, *rng.integers(0, 12, 3)]
            response = vocabulary.audio_ids(rng.integers(0, 16, (2, 2)))
            ids = np.array([*prompt, *response], np.int32)
            writer.write(Document(ids, np.arange(len(ids)) >= len(prompt), {"id": f"pair-{number}"}))
    data = replace(toy_run.data, mixture=(MixtureStage(0.0, {"sft": 1.0}),), packing="best_fit", max_segments=64)
    tuned = replace(toy_run, name="sft", data=data, init=InitSpec(kind="model", source="toy-base"), steps=3)
    resolved = resolve(tuned, vocabulary)
    run(resolved, tmp_path / "data", tmp_path / "run", mesh_config=ALONE, init=pretrained / "export")
    lines = list(read_metrics(tmp_path / "run" / "metrics.jsonl"))
    assert all(set(line["targets"]) == {"codebook_0", "codebook_1"} for line in lines)
    # Rows of 32 tokens hold four documents of 8: eight rows, two frames each, every response token a target once.
    assert {line["targets"]["codebook_0"] for line in lines} == {8 * 4 * 2}
    assert lines[-1]["loss"] < lines[0]["loss"]


def scratch(toy_run: TrainRun) -> TrainRun:
    """A recipe from scratch whose model is not that of any weights here."""
    model = ModelShape(embed=48, mlp=64, layers=1, heads=2, kv_heads=1, head_dim=8, max_seq_len=9_000)
    return replace(toy_run, name="other", model=model, steps=2)


@pytest.mark.parametrize("start", [".", "export", "checkpoints/3"])
def test_any_recipe_starts_from_weights_and_takes_their_model(
    toy_run: TrainRun, pretrained: Path, data_root: Path, tmp_path: Path, start: str
):
    path = pretrained / start
    assert run(scratch(toy_run), data_root, tmp_path / "run", mesh_config=ALONE, init=path).finished
    saved = ResolvedRun.from_json(json.loads((tmp_path / "run/resolved.json").read_text()))
    before = ResolvedRun.from_json(json.loads((pretrained / "resolved.json").read_text()))
    assert saved.model == replace(before.model, max_seq_len=9_000)
    step = 3 if start == "checkpoints/3" else 6
    trainer = Trainer(saved, data_root, ALONE, resolve_init(saved, path))
    state = flat_paths(trainer.initial_state())
    fingerprint = json.loads((pretrained / "resolved.json").read_text())["fingerprint"]
    wanted = {name: leaf for name, leaf in flat_paths(trainer.abstract_state).items() if name.startswith("model.")}
    with Checkpoints(pretrained, fingerprint) as checkpoints:
        for name, leaf in checkpoints.restore_part(step, wanted).items():
            np.testing.assert_array_equal(state[name], leaf)


def test_a_start_is_known_by_its_weights_and_not_by_its_folder(
    toy_run: TrainRun, pretrained: Path, data_root: Path, tmp_path: Path
):
    moved = shutil.copytree(pretrained / "export", tmp_path / "elsewhere/export")
    here, there = (started_from(scratch(toy_run), path) for path in (pretrained / "export", moved))
    assert here == there
    assert here.init.revision == hashlib.sha256((moved / "model.safetensors").read_bytes()).hexdigest()
    given = started_from(replace(toy_run, init=InitSpec(kind="model", source="toy-base")), moved)
    assert given.init == InitSpec(kind="model", source="toy-base")
    with pytest.raises(
        InputError, match=r"`--start` must be a model folder, a RUN or RUN/checkpoints/STEP.*hf download"
    ):
        started_from(scratch(toy_run), tmp_path)


def test_a_run_that_was_killed_before_its_first_checkpoint_finds_its_start_again(
    toy_run: TrainRun, pretrained: Path, data_root: Path, tmp_path: Path
):
    assert run(scratch(toy_run), data_root, tmp_path / "run", mesh_config=ALONE, init=pretrained).finished
    expected = load_file(tmp_path / "run/export/model.safetensors")
    for name in ("checkpoints", "export"):
        shutil.rmtree(tmp_path / "run" / name)
    (tmp_path / "run/metrics.jsonl").unlink()
    assert run(require_run(tmp_path / "run"), data_root, tmp_path / "run", mesh_config=ALONE).finished
    again = load_file(tmp_path / "run/export/model.safetensors")
    assert all(np.array_equal(again[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"codec_id": "other-codec"}, "encode the audio again with that codec"),
        ({"text_tokenizer": "sentencepiece:other"}, "the text pieces differ: build the datasets again"),
        ({"name": "other"}, "text and codec agree, the ids do not"),
    ],
)
def test_a_vocabulary_that_differs_says_what_to_do_again(
    toy: ResolvedRun, pretrained: Path, tmp_path: Path, change: dict[str, str], remedy: str
):
    moved = shutil.copytree(pretrained / "export", tmp_path / "export")
    path = moved / "vocabulary/vocabulary.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in content.items() if name != "checksum"} | change))
    run_from = resolve(replace(toy.run, init=InitSpec(kind="model", source="toy-base")), toy.vocabulary)
    with pytest.raises(InputError, match=remedy):
        resolve_init(run_from, moved)
