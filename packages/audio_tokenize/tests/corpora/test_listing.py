import json
import subprocess
import sys

from click.testing import CliRunner

from audio_tokenize.cli import main
from audio_tokenize.corpora import CARDS, SHIPPED


def run(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, ["corpora", *arguments])
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result.output


def test_every_corpus_is_listed_with_its_kind_size_and_needs():
    listed = {entry["name"]: entry for entry in json.loads(run("--json"))}
    assert list(listed) == [*(corpus.name for corpus in SHIPPED), *(card.name for card in CARDS)]
    assert all(entry["needs"] and entry["kind"] for entry in listed.values())
    printed = run()
    assert "mls-en  (speech; en; 45k h)" in printed
    assert "yodas2  (speech; en th ar de es fr hi zh; 165k h in en)" in printed
    assert "peoples-speech-clean  (speech; en; size unknown)" in printed
    assert "yodas2-mm-pretrain  (documents; en th ar de es fr hi zh; 131B tokens)" in printed
    assert "emilia-mm-conversational  (documents; en; 114B bytes)" in printed


def test_one_kind_can_be_listed():
    assert [entry["name"] for entry in json.loads(run("--kind", "text", "--json"))] == [
        "nemotron-cc-hq-actual",
        "dclm-baseline",
    ]
    assert {entry["kind"] for entry in json.loads(run("--kind", "documents", "--json"))} == {"documents"}


def test_one_corpus_is_described_with_the_way_to_get_it():
    described = json.loads(run("emilia", "--json"))
    assert (described["licence"], described["revision_note"]) == ("CC-BY-NC-4.0", "not pinned; the newest is read")
    assert described["download"].startswith("hf download amphion/Emilia-Dataset --repo-type dataset --revision main ")
    assert "accept its terms" in run("emilia")


def test_an_unknown_corpus_names_the_nearest():
    assert "did you mean emilia or emilia-yodas?" in run("emila", exit_code=2)


def test_a_list_needs_no_reader():
    program = "import sys; from audio_tokenize.corpora.listing import list_corpora; list_corpora(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not {"pyarrow", "huggingface_hub", "jax"} & set(done.stdout.split())
