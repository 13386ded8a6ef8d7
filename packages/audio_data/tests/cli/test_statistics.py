import json

import numpy as np
import pytest

from audio_data import Document


def test_stats_counts_and_prices(built, run):
    data, _ = built
    report = json.loads(run("stats", data, "--json").stdout)
    assert report["total"] == {"num_documents": 2, "num_tokens": 6, "audio_seconds": 1.5}
    assert report["corpora"]["a"]["tokens_by_kind"]["special"] == 3
    assert "text                        3  50.00%" in run("stats", data).stdout
    assert (
        "corpus `yodas2/en` is not among the data"
        in run("stats", data, "--mixture", "yodas2/en=0.95,a=0.05", status=2).stderr
    )


def test_stats_prices_a_run(built, run):
    data, _ = built
    report = json.loads(run("stats", data, "--mixture", "a=1", "--tokens", "600", "--json").stdout)
    assert report["corpora"]["a"]["epochs"] == 100
    assert "weight 1.0000, 100 epochs" in run("stats", data, "--mixture", "a=1", "--tokens", "600").stdout


@pytest.mark.parametrize("tokens", ["0", "-5", "nan", "inf"])
def test_stats_refuses_a_run_without_tokens(built, run, tokens):
    message = run("stats", built[0], "--mixture", "a=1", "--tokens", tokens, status=2).stderr
    assert "`--tokens`: expected a number above 0, such as 500e9" in message


def test_the_page_of_a_user_survives_and_ours_is_written_anew(built, run, tmp_path):
    page = tmp_path / "stats.html"
    for _ in range(2):
        run("stats", built[0], "--html", page)
    page.write_text("<html>mine</html>")
    assert "exists and was not written by this command" in run("stats", built[0], "--html", page, status=2).stderr
    assert page.read_text() == "<html>mine</html>"


def test_tokens_of_a_run_need_its_mixture(built, run):
    assert "give `--mixture` too" in run("stats", built[0], "--tokens", "500e9", status=2).stderr


def test_a_corpus_of_empty_documents_is_counted_but_not_priced(tmp_path, run, write_dataset):
    write_dataset(tmp_path / "d" / "a", [Document(np.zeros(0, np.int32))] * 3)
    page = tmp_path / "stats.html"
    assert "a: 3 documents, 0 tokens" in run("stats", tmp_path / "d", "--html", page).stdout
    assert "<svg" in page.read_text()
    message = run("stats", tmp_path / "d", "--mixture", "a=1", "--tokens", 1, status=2).stderr
    assert "corpus `a` in" in message
    assert "expected at least 1 token to read, got 3 empty documents" in message
