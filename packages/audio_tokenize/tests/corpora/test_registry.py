import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from upath import UPath

from audio_data import InputError
from audio_tokenize.cli import main
from audio_tokenize.corpora import CARDS, SHIPPED, Corpus, Skipped, Utterance, open_corpus


@pytest.mark.parametrize("card", SHIPPED, ids=lambda card: card.name)
def test_every_shipped_corpus_opens_by_name(card):
    corpus = open_corpus(card.name)
    assert isinstance(corpus, Corpus)
    assert corpus.name == card.name
    assert corpus.skipped == ()
    assert set(corpus.splits) >= {"train", "heldout"}


def test_a_name_that_is_neither_shipped_nor_a_path_lists_the_names(tmp_path):
    with pytest.raises(InputError, match=r"sample, sample-multilingual, sample-parallel"):
        open_corpus(tmp_path / "sampel")


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "a.ods").write_text("a\tb", encoding="utf-8")
    with pytest.raises(InputError, match=r"'\.ods' file"):
        open_corpus(tmp_path / "a.ods")


def test_a_folder_with_a_manifest_is_read_by_it(tmp_path):
    folder = tmp_path / "calls"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.zeros(800), 8_000)
    (folder / "manifest.jsonl").write_text(json.dumps({"audio": "a.wav", "text": "hello"}), encoding="utf-8")
    by_folder, by_file = open_corpus(folder), open_corpus(str(folder / "manifest.jsonl"))
    assert by_folder.name == by_file.name == "calls"
    assert list(by_folder) == list(by_file) != []


def _lines(folder, lines: list[dict]):
    for line in lines:
        soundfile.write(folder / line["audio"], np.zeros(800), 8_000)
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder


@pytest.fixture
def spoken(tmp_path):
    lines = [{"audio": f"{i}.wav", "text": f" word {i}", "split": "dev" if i > 2 else "train"} for i in range(5)]
    lines[1]["language"] = "de"
    return _lines(tmp_path, [*lines, {"audio": "x.wav", "text": " "}])


def test_a_form_may_be_named_and_its_place_given(spoken):
    assert list(open_corpus("jsonl", root=spoken)) == list(open_corpus(spoken)) != []
    (spoken / "manifest.jsonl").rename(spoken / "lines.jsonl")
    (spoken / "0.txt").write_text("zero", encoding="utf-8")
    assert [u.text for u in open_corpus("jsonl", root=spoken / "lines.jsonl")] == [f"word {i}" for i in range(5)]
    assert {u.text for u in open_corpus("folder", root=spoken)} == {"zero", ""}
    with pytest.raises(InputError, match=r"expected a folder of audio"):
        open_corpus("folder", root=spoken / "0.wav")


def test_language_split_and_transcripts_can_be_chosen(spoken):
    assert [u.id for u in open_corpus(spoken, split="dev")] == ["3", "4"]
    assert [u.id for u in open_corpus(spoken, language="de")] == ["1"]
    assert [u.text for u in open_corpus(spoken, transcripts="verbatim", split="dev")] == [" word 3", " word 4"]
    assert open_corpus("sample-parallel", language="fr").languages == ("fr",)
    with pytest.raises(InputError, match=r"'x'.*the text is empty"):
        open_corpus(spoken, strict=True)


def test_shards_in_memory_are_runs_that_begin_with_what_was_skipped(spoken):
    corpus = open_corpus(spoken)
    assert isinstance(corpus, Corpus)
    shards = corpus.shards(utterances_per_shard=2)
    assert [shard.num_utterances for shard in shards] == [2, 2, 1]
    assert sum(shard.seconds or 0 for shard in shards) == pytest.approx(corpus.seconds)
    read = [list(corpus.read(shard)) for shard in shards]
    assert [[item.id for item in items] for items in read] == [["x", "0", "1"], ["2", "3"], ["4"]]
    assert [type(items[0]) for items in read] == [Skipped, Utterance, Utterance]


def test_a_shard_of_other_contents_is_refused(spoken):
    (shard,) = open_corpus(spoken).shards()
    (spoken / "manifest.jsonl").write_text((spoken / "manifest.jsonl").read_text().replace("word 3", "another"))
    with pytest.raises(InputError, match=r"list the shards again"):
        list(open_corpus(spoken).read(shard))


def test_open_forms_in_an_object_store_are_to_be_copied():
    (UPath("memory://forms") / "manifest.jsonl").write_bytes(b"{}")
    with pytest.raises(InputError, match=r"expected parquet tables or tar archives in an object store"):
        open_corpus("memory://forms")


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
    program = (
        "import sys; from audio_tokenize.corpora.registry import list_corpora; list_corpora(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not {"pyarrow", "huggingface_hub", "jax"} & set(done.stdout.split())
