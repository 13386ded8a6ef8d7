"""What the page says of given numbers, and where the numbers come from."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audio_data import InputError, to_json
from audio_train import Measurement, find_recipe, resolve
from audio_train.recipes import find_experiment
from audio_train.recipes.targets import find_target
from audio_train.run_folder.summary import TOKEN_GROUPS
from audio_train.soda import miniature
from audio_train.soda.catalogue import SMALL
from audio_train.soda.comparisons import COMPARISONS, find_comparisons
from audio_train.soda.miniature import SWEEP, Column, CurveColumn, Scores
from audio_train.soda.miniature_page import figures, page, sweep_fit, write_page


def numbers(second_run: list[float | None]) -> dict[str, Any]:
    """Results in which the first run of every table scores 1 and 1.2, the others as given."""
    comparisons = {
        comparison.name: {
            recipe: {
                "run": json.loads(json.dumps(to_json(find_target(recipe).at_scale("smoke")))),
                "num_parameters": 1000,
                "num_steps": 10,
                "num_tokens": 100,
                "scores": {column.label: second_run if i else [1.0, 1.2] for column in comparison.columns},
            }
            for i, recipe in enumerate(comparison.runs)
        }
        for comparison in COMPARISONS
    }
    sweep = [
        asdict(Measurement(budget, size, budget / size, 2.0 + 0.1 * float(np.log(size / budget**0.5)) ** 2))
        for budget in (1e11, 2e11, 4e11)
        for size in (1e5, 2e5, 5e5, 1e6, 2e6)
    ]
    fit = ["N* ~ C^0.5"]
    return {"num_ids": 16_775, "comparisons": comparisons, "sweep": sweep, "fit": fit}


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([2.0, 2.4], "other codebooks +1.100\n"),
        ([0.5, 0.7], "other codebooks -0.500\n"),
        ([1.1, 2.0], "other codebooks +0.450 (noise)"),
    ],
)
def test_a_difference_counts_where_all_seeds_agree(scores: list[float | None], said: str):
    assert said in page(numbers(scores))


def test_one_seed_is_said_to_be_one():
    results = numbers([2.0, 2.4])
    assert "2 seeds.\n" in page(results)
    for row in results["comparisons"]["tokens"].values():
        row["scores"] = {label: values[:1] for label, values in row["scores"].items()}
    assert "at equal tokens? One seed, so that nothing here tells a difference from noise." in page(results)


@pytest.mark.long
def test_one_comparison_is_added_to_the_numbers_that_are_there(tmp_path: Path):
    results = numbers([2.0, 2.4])
    added = {"comparisons": {"tokens": numbers([3.0, 3.4])["comparisons"]["tokens"]}}
    with pytest.raises(InputError, match="must exist to add results to it; run without --only first"):
        write_page(added, tmp_path)
    rest = {name: rows for name, rows in results["comparisons"].items() if name != "tokens"}
    text = write_page(results | {"comparisons": rest}, tmp_path).read_text()
    assert "Not measured yet: `audio-train soda miniature --data DATA --out RUNS --docs docs --only tokens`." in text
    assert not (tmp_path / "miniature" / "tokens.svg").exists()
    write_page(added, tmp_path)
    kept = json.loads((tmp_path / "miniature" / "results.json").read_text())
    assert kept == results | {"comparisons": rest | added["comparisons"]}
    assert (tmp_path / "miniature.md").read_text() == page(kept)
    assert (tmp_path / "miniature" / "tokens.svg").exists()


def test_numbers_of_a_recipe_that_has_changed_since_are_marked():
    results = numbers([2.0, 2.4])
    rows = results["comparisons"]["sft"]
    del rows["exp2.1-0.6b"]["run"]["data"]["positions"]  # as of a field that came later, and has its default
    rows["sft-cvss-method1-scratch"]["run"]["data"]["seq_len"] = 256
    rows["sft-cvss-method1-soda-600m"]["run"]["data"]["gone"] = 1
    marked = "*Measured before `sft-cvss-method1-scratch`, `sft-cvss-method1-soda-600m` changed; "
    assert [line for line in page(results).splitlines() if line.startswith("*Measured")] == [
        f"{marked}`audio-train soda miniature --data DATA --out RUNS --docs docs --only sft` measures anew.*"
    ]


def test_comparisons_are_found_by_name():
    assert [comparison.name for comparison in find_comparisons(["sft", "tokens"])] == ["tokens", "sft"]
    assert find_comparisons([]) == COMPARISONS
    with pytest.raises(InputError, match="no comparison `token`; did you mean tokens"):
        find_comparisons(["token"])


def test_a_run_that_meets_no_such_token_is_left_out():
    text = page(numbers([None, None]))
    assert "| - |" in text
    assert "None" not in text
    assert "1.100 ± 0.100" in text


@pytest.mark.long
def test_the_page_its_numbers_and_every_figure_it_shows_are_written(tmp_path: Path):
    results = numbers([2.0, 2.4])
    written = write_page(results, tmp_path)
    assert written.read_text() == page(results)
    assert json.loads((tmp_path / "miniature" / "results.json").read_text()) == results
    for name in figures(results):
        assert f"](miniature/{name})" in written.read_text()
        assert (tmp_path / "miniature" / name).read_text().startswith("<svg")


def test_the_sweep_is_fitted_from_its_numbers():
    fit = sweep_fit(numbers([2.0, 2.4]))
    assert fit.laws["num_parameters"].exponent == pytest.approx(0.5, abs=1e-6)


def test_comparisons_hold_runs_of_the_study_and_groups_of_kinds():
    for comparison in COMPARISONS:
        assert len(comparison.runs) > 1
        for recipe in comparison.runs:
            assert find_recipe(recipe)[1].name == recipe
        assert len({column.label for column in comparison.columns}) == len(comparison.columns)
        assert {column.group for column in comparison.columns} <= {*TOKEN_GROUPS, "all"}


def test_the_sweep_spends_each_budget_on_every_width():
    runs = find_experiment(SWEEP).runs
    spent: dict[str, list[float]] = {}
    for name, run in runs.items():
        resolved = resolve(run, SMALL)
        spent.setdefault(name.split("-")[2], []).append(resolved.training_flops)
    assert {len(flops) for flops in spent.values()} == {6}
    for budget, flops in spent.items():
        assert flops == pytest.approx([float(budget)] * 6, rel=0.01)


def test_a_score_is_measured_once(
    finished: Path, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(miniature, "heldout_of", lambda corpus: corpus)
    inside, whole, outside = (Column("x", "all", "short", softmax) for softmax in ("allowed", "full", "outside"))
    scores = Scores(data_root, tmp_path)
    allowed, full = scores.value(finished, inside), scores.value(finished, whole)
    assert allowed is not None
    assert full is not None
    assert 0 < allowed < full
    assert capsys.readouterr().err.count("evaluating") == 2
    again = Scores(data_root, tmp_path)
    assert again.value(finished, outside) == pytest.approx(1 - np.exp(allowed - full))
    assert again.value(finished, Column("x", "acoustic", "short")) is not None
    assert "scoring" not in capsys.readouterr().err


def test_a_training_curve_is_measured_by_its_first_loss_and_its_largest_rise(tmp_path: Path, data_root: Path):
    """Falling from 8 to 4 in 40 steps, up to 6 in 20, down again; the first codebook is met in every other step."""
    losses = np.concatenate([np.linspace(8, 4, 41), np.linspace(4, 6, 21)[1:], np.linspace(6, 3, 40)])
    targets = [{"text": 5, **({"codebook_0": 5} if step % 2 else {})} for step in range(len(losses))]
    lines = [
        {"step": step, "nll": {kind: loss + (kind == "codebook_0") for kind in met}, "targets": met}
        for step, (loss, met) in enumerate(zip(losses.tolist(), targets, strict=True), start=1)
    ]
    lines.insert(50, {"step": 50, "evaluation": {"nll": {"text": 99.0}, "targets": {"text": 1}}})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = Scores(data_root, tmp_path)
    assert scores.value(tmp_path, CurveColumn("x", "text", "first")) == 8.0
    assert scores.value(tmp_path, CurveColumn("x", "semantic", "first")) == pytest.approx(losses[1] + 1)
    means = [losses[i : i + 16].mean() for i in range(len(losses) - 15)]
    rises = [means[late] - means[early] for late in range(16, len(means)) for early in range(late - 15)]
    assert max(rises) > 0.3
    assert scores.value(tmp_path, CurveColumn("x", "text", "largest_rise")) == pytest.approx(max(rises))
    assert scores.value(tmp_path, CurveColumn("x", "acoustic", "first")) is None
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:41]))
    assert scores.value(tmp_path, CurveColumn("x", "text", "largest_rise")) == 0.0
