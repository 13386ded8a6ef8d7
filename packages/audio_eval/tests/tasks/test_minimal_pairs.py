import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_data import InputError
from audio_eval import evaluate, load_checkpoint, make_tasks
from audio_eval.tasks.minimal_pairs import kept_tokens
from audio_eval.testsets.pairs import SBLIMP, SWUGGY, read_zerospeech
from audio_tokenize import load_audio

NAMES = ("swuggy", "sblimp", "salmon", "twuggy", "tblimp", "story_cloze", "text_story_cloze")
FULL = {"swuggy.softmax": "full"}


def run(export, test_sets, out, names, overrides=None, **options):
    overrides = {key: value for key, value in (overrides or {}).items() if key.split(".")[0] in names}
    compat = options.pop("compat", None)
    tasks = make_tasks(names, overrides, test_sets=test_sets, compat=compat)
    return evaluate(export, None, [], tasks, out, transcriber="none", speaker_encoder="none", **options)


@jax.jit
def log_softmax_of(model, ids):
    seq = ids.shape[0]
    hidden = model(ids[None], jnp.ones((1, seq), jnp.int32), jnp.arange(seq, dtype=jnp.int32)[None])
    return jax.nn.log_softmax(model.logits(hidden[0]), axis=-1)


def naive_log_probs(checkpoint, ids):
    """One document at a time, over the full vocabulary, as the public scripts compute it."""
    # What follows a token changes nothing before it, so one compiled length serves all.
    padded = np.pad(ids, (0, 160 - len(ids)))
    table = np.asarray(log_softmax_of(checkpoint.model, jnp.asarray(padded)), np.float64)
    return table[np.arange(len(ids) - 1), ids[1:]]


def audio_ids(checkpoint, codec, path):
    vocabulary = checkpoint.vocabulary
    codes = codec.encode(load_audio(path))
    return np.array(
        [vocabulary.begin_of_text, vocabulary.audio_start, *vocabulary.audio_ids(codes), vocabulary.audio_end], np.int32
    )


@pytest.mark.long
def test_every_task_runs_on_its_twin(export, test_sets, tmp_path, toy_codec):
    evaluation = run(export, test_sets, tmp_path, NAMES, limit=4)
    for name in NAMES:
        scores = {score.name: score for score in evaluation.result(name).scores}
        accuracy = scores[f"{name}_accuracy"]
        assert accuracy.num_items == 4
        assert accuracy.value in (0, 0.25, 0.5, 0.75, 1)
        assert (f"{name}_accuracy_codebook_0" in scores) == (name not in ("twuggy", "tblimp", "text_story_cloze"))
    assert evaluation.provenance["datasets"] == {}
    assert evaluation.provenance["codec"]["id"] == "toy-codec"
    assert len(evaluation.result("swuggy").settings["test_set"]) == 64


@pytest.mark.parametrize("codebooks", [None, 1, 2])
def test_speech_is_scored_as_a_naive_loop_scores_it(export, test_sets, tmp_path, toy_codec, codebooks):
    overrides = {**FULL, "swuggy.codebooks": str(codebooks)}
    items = run(export, test_sets, tmp_path, ["swuggy"], overrides).result("swuggy").items
    checkpoint, codec = load_checkpoint(export), toy_codec
    pairs = {pair.id: pair for pair in read_zerospeech(test_sets / "swuggy", SWUGGY)}
    assert {item.id for item in items} == set(pairs)
    for item in items:
        means = []
        for side in ("positive", "negative"):
            log_probs = naive_log_probs(
                checkpoint, audio_ids(checkpoint, codec, getattr(pairs[item.id], side).audio[0])
            )
            grid = log_probs[1:-1].reshape(-1, 3)[:, :codebooks]
            found = item.detail["log_likelihood"][side]
            assert found["mean"] == pytest.approx(grid.mean(), abs=2e-5)
            assert found["sum"] == pytest.approx(grid.sum(), abs=1e-3)
            assert found["codebook_0"] == pytest.approx(grid[:, 0].mean(), abs=2e-5)
            means.append(grid.mean())
        assert item.terms["accuracy"] == (float(means[0] > means[1]), 1.0)
        assert item.terms["margin"][0] == pytest.approx(means[0] - means[1], abs=4e-5)


def test_text_is_scored_as_a_naive_loop_scores_it(export, test_sets, tmp_path, toy_codec):
    items = run(export, test_sets, tmp_path, ["tblimp"], {"tblimp.softmax": "full"}).result("tblimp").items
    checkpoint = load_checkpoint(export)
    vocabulary = checkpoint.vocabulary
    texts = {pair.id: pair.positive.text for pair in read_zerospeech(test_sets / "sblimp", SBLIMP)}
    for item in items:
        words = checkpoint.text.encode(texts[item.id].lower())
        ids = np.array([vocabulary.begin_of_text, vocabulary.text_start, *words, vocabulary.text_end], np.int32)
        expected = naive_log_probs(checkpoint, ids)[1:-1].mean()
        assert item.detail["log_likelihood"]["positive"]["mean"] == pytest.approx(expected, abs=2e-5)


def test_codebooks_are_chosen_over_codebooks_and_by_the_scripts_over_time():
    frame_major = np.arange(24.0)  # 3 frames of 8 codebooks
    assert kept_tokens(frame_major, 8, 1).tolist() == [0, 8, 16]
    assert kept_tokens(frame_major, 8, 2).tolist() == [0, 1, 8, 9, 16, 17]
    # The public scripts: log_probs.reshape(8, -1)[:n].
    for kept in (1, 2, 4, 8):
        by_script = frame_major.reshape(8, -1)[:kept]
        assert kept_tokens(frame_major, 8, kept, by_time=True).tolist() == by_script.reshape(-1).tolist()
    assert kept_tokens(frame_major, 8, 1, by_time=True).tolist() == [0, 1, 2]
    assert sorted(kept_tokens(frame_major, 8, 8, by_time=True)) == sorted(kept_tokens(frame_major, 8, 8))


def test_compat_soda_differs_where_the_scripts_do_and_nowhere_else(export, test_sets, tmp_path, toy_codec):
    one = {"swuggy.codebooks": "1"}
    ours = run(export, test_sets, tmp_path / "a", ["swuggy"], one).result("swuggy")
    theirs = run(export, test_sets, tmp_path / "b", ["swuggy"], one, compat="soda").result("swuggy")
    assert theirs.settings["compat"] == "soda"
    assert (ours.settings["total_samples"], theirs.settings["total_samples"]) == (6, 1)
    means = [[item.detail["log_likelihood"]["positive"]["mean"] for item in result.items] for result in (ours, theirs)]
    assert all(a != b for a, b in zip(*means, strict=True))
    whole = [
        run(export, test_sets, tmp_path / name, ["swuggy"], compat=name).result("swuggy").scores
        for name in ("none", "soda")
    ]
    assert [score.value for score in whole[0]] == pytest.approx([score.value for score in whole[1]], abs=1e-6)


def test_ties_are_wrong_and_exact(export, test_sets, tmp_path, toy_codec):
    folder = shutil.copytree(test_sets / "swuggy", tmp_path / "sets" / "swuggy")
    for path in folder.glob("*_0.wav"):
        shutil.copy(path.with_name(path.name.replace("_0.wav", "_1.wav")), path)
    scores = run(export, tmp_path / "sets", tmp_path / "out", ["swuggy"]).summary()["swuggy"]
    assert scores["swuggy_accuracy"]["value"] == 0
    assert scores["swuggy_margin"]["value"] == 0


def test_what_cannot_be_heard_is_wrong_and_named(export, test_sets, tmp_path, toy_codec):
    folder = shutil.copytree(test_sets / "swuggy", tmp_path / "sets" / "swuggy")
    (folder / "0002_1.wav").unlink()
    (folder / "0003_0.wav").write_bytes(b"no sound")
    result = run(export, tmp_path / "sets", tmp_path / "out", ["swuggy"]).result("swuggy")
    assert result.settings["num_unreadable"] == 2
    problems = {item.id.split("/")[0]: item.detail["problem"] for item in result.items if "problem" in item.detail}
    assert "0002_1.wav" in problems["2"]
    assert "no such file" in problems["2"]
    assert "0003_0.wav" in problems["3"]
    scores = {score.name: score for score in result.scores}
    assert scores["swuggy_accuracy"].num_items == 6
    assert scores["swuggy_margin"].num_items == 4
    assert all(item.terms["accuracy"] == (0.0, 1.0) for item in result.items if "problem" in item.detail)


def test_scores_do_not_depend_on_batch_size(export, test_sets, tmp_path, toy_codec):
    few, many = (
        run(export, test_sets, tmp_path / size, ["salmon"], {"salmon.tokens_per_batch": size}).result("salmon").items
        for size in ("64", "8192")
    )
    for one, other in zip(few, many, strict=True):
        for side in ("positive", "negative"):
            mean, again = (item.detail["log_likelihood"][side]["mean"] for item in (one, other))
            assert mean == pytest.approx(again, abs=1e-5)
        assert one.terms["accuracy"] == other.terms["accuracy"]


def test_a_stopped_task_goes_on_where_it_was(export, test_sets, tmp_path, toy_codec, monkeypatch):
    from audio_eval.tasks import minimal_pairs

    small = {"swuggy.tokens_per_batch": "64"}
    whole = run(export, test_sets, tmp_path / "whole", ["swuggy"], small)
    scored = minimal_pairs.scored_documents
    record = minimal_pairs.Journal.record

    def stopping(*arguments, **options):
        for number, found in enumerate(scored(*arguments, **options)):
            if number == 5:
                raise KeyboardInterrupt
            yield found

    # Every result is written at once, so that the stop comes between two of them.
    monkeypatch.setattr(minimal_pairs, "scored_documents", stopping)
    monkeypatch.setattr(minimal_pairs, "_RESULTS_PER_WRITE", 1)
    with pytest.raises(KeyboardInterrupt):
        run(export, test_sets, tmp_path / "part", ["swuggy"], small)
    journal = tmp_path / "part" / "items" / "swuggy.partial.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert sum(line.get("step") == "score" for line in lines) == 5
    assert sum(line.get("step") == "encode" for line in lines) == 12

    done = []
    monkeypatch.setattr(minimal_pairs, "scored_documents", scored)
    monkeypatch.setattr(
        minimal_pairs.Journal,
        "record",
        lambda self, step, found: (done.append((step, *found)), record(self, step, found)),
    )
    monkeypatch.setattr("audio_eval.tasks.speech.load_clip", None)
    resumed = run(export, test_sets, tmp_path / "part", ["swuggy"], small)
    assert resumed.result("swuggy").items == whole.result("swuggy").items
    assert 0 < len([entry for entry in done if entry[0] == "score"]) < 12
    assert not journal.exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"swuggy.codebooks": "4"}, "`swuggy.codebooks` must be 1 to 3, got 4"),
        ({"swuggy.compat": "speedrun"}, "must be one of none, soda, got 'speedrun'"),
        ({"swuggy.softmax": "half"}, "must be one of allowed, full, as_trained"),
        ({"swuggy.data": "/nowhere"}, "test set sWUGGY must be a folder"),
    ],
)
def test_mistakes_are_named(export, test_sets, tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        run(export, test_sets, tmp_path, ["swuggy"], overrides)


def test_held_out_tasks_without_data_say_what_they_need(export, tmp_path):
    with pytest.raises(InputError, match="`--data` and `--heldout`"):
        evaluate(export, None, [], make_tasks(["nll"]), tmp_path, transcriber="none", speaker_encoder="none")
