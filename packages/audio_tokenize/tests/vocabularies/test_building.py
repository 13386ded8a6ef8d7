import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from audio_data import InputError
from audio_tokenize import codecs
from audio_tokenize.cli import main
from audio_tokenize.encoding.jobs import encode_corpus
from audio_tokenize.vocabularies.building import describe_merges, describe_vocabulary, make_vocabulary
from audio_tokenize.vocabularies.folder import VocabularyFolder
from audio_tokenize.vocabularies.merges import AudioMerges


@pytest.fixture(scope="module")
def spoken(tmp_path_factory, write_codes, utterance):
    """Codes in which frames repeat, so that there is something to merge."""
    folder = tmp_path_factory.mktemp("spoken") / "codes"
    words = [utterance(f"word-{i}").codes for i in range(3)]
    random = np.random.default_rng(0)
    spoken = [np.concatenate([words[i] for i in random.integers(0, 3, 6)]) for _ in range(8)]
    utterances = [
        replace(utterance(f"u{i}", "say what it is", split="test" if i % 4 == 3 else "train"), codes=codes)
        for i, codes in enumerate(spoken)
    ]
    return write_codes(folder, utterances)


def test_the_ids_of_a_vocabulary_are_described(marin_mimi, qwen3x_mimi):
    described = describe_vocabulary(marin_mimi)
    assert described["size"] == 144_644
    assert described["ids"]["text"] == [0, 128_255]
    assert described["ids"]["codebook_7"] == [142_596, 144_643]
    assert described["unused_ids"] == []
    assert describe_vocabulary(qwen3x_mimi)["unused_ids"] == [151_669]


def test_merges_are_learned_from_the_train_split_and_counted_on_each(tmp_path: Path, spoken, marin_mimi):
    made = marin_mimi.with_merges([spoken], 40)
    train = [u.codes for u in spoken if u.split == "train"]
    assert np.array_equal(made.merges.pairs, AudioMerges.learn(train, 40, 2048).pairs)
    counted = describe_merges(made.merges, [spoken.path])
    held_out = [u.codes for u in spoken if u.split == "test"]
    before, after = sum(codes.size for codes in held_out), sum(len(made.merges.apply(codes)) for codes in held_out)
    assert counted["test"] == {
        "tokens_before": before,
        "tokens_after": after,
        "fewer_fraction": round(1 - after / before, 6),
    }
    assert counted["train"]["tokens_before"] == sum(codes.size for codes in train)


@pytest.fixture
def encoded(tmp_path: Path, monkeypatch, corpus, codec) -> Path:
    monkeypatch.setattr(codecs, "load_codec", {codecs.CodecSpec("embedded"): codec}.__getitem__)
    encode_corpus(corpus, codec, tmp_path / "codes", codec_name="embedded")
    return tmp_path / "codes"


def test_merges_come_back_with_the_folder(tmp_path: Path, encoded):
    made = make_vocabulary([encoded], pieces=16, merges=10)
    made.save(tmp_path / "v")
    loaded = VocabularyFolder.load(tmp_path / "v")
    assert np.array_equal(loaded.merges.pairs, made.merges.pairs)
    fewer = make_vocabulary([encoded], pieces=16, merges=5)
    with pytest.raises(InputError, match=r"another vocabulary: its merges in `merges\.safetensors` are others"):
        fewer.save(tmp_path / "v")


def test_merges_of_other_codes_are_refused(tmp_path: Path, encoded):
    make_vocabulary([encoded], pieces=16).save(tmp_path / "v")
    AudioMerges.learn([np.zeros((4, 2), np.int32)], 1, 16).save(tmp_path / "v" / "merges.safetensors")
    with pytest.raises(InputError, match="must merge codes of 8 codebooks of 16, got 2 of 16"):
        VocabularyFolder.load(tmp_path / "v")


def test_what_a_kind_needs_is_asked_for():
    for options, message in [
        ({"kind": "marin"}, r"must be one of \['compact', 'marin-mimi', 'qwen3x-mimi'\], got 'marin'"),
        ({}, "text pieces are learned from `codes`: name at least one folder"),
        ({"kind": "marin-mimi", "tokenizer": "llama-models", "merges": 5}, "merges are learned from `codes`"),
        ({"kind": "marin-mimi"}, "`tokenizer` must say where the text tokens of kind 'marin-mimi' are, got none"),
    ]:
        with pytest.raises(InputError, match=message):
            make_vocabulary(**options)


def test_a_tokenizer_is_no_part_of_a_learned_vocabulary(encoded):
    with pytest.raises(InputError, match="must be left out for kind 'compact'"):
        make_vocabulary([encoded], tokenizer="llama-models")


def test_codes_of_another_codec_teach_no_merges(spoken, marin_mimi):
    other = replace(marin_mimi, vocabulary=replace(marin_mimi.vocabulary, codec_id="other"))
    with pytest.raises(InputError, match="must be of codec 'other', got 'mimi'"):
        other.with_merges([spoken], 5)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["vocabulary", *map(str, arguments)])


def test_the_command_says_what_merges_save(tmp_path: Path, encoded):
    arguments = [encoded, "--out", tmp_path / "v", "--pieces", 16, "--merges", 10]
    plain, printed = run(*arguments), json.loads(run(*arguments, "--json").output)
    merges = VocabularyFolder.load(tmp_path / "v").merges
    assert merges is not None
    counted = describe_merges(merges, [encoded])
    assert (printed["num_merges"], printed["merges"]) == (10, counted)
    assert f"split train: {counted['train']['tokens_before']:,} audio tokens become " in plain.output


@pytest.mark.long
def test_the_command_says_where_the_ids_are(tmp_path: Path, marin_mimi):
    result = run("--kind", "marin-mimi", "--tokenizer", "llama-models", "--out", tmp_path / "v", "--json")
    assert json.loads(result.output) == describe_vocabulary(marin_mimi)
    assert VocabularyFolder.load(tmp_path / "v").vocabulary == marin_mimi.vocabulary


def test_the_command_refuses_in_one_line(tmp_path: Path, tokenizer_file):
    result = run("--kind", "marin-mimi", "--tokenizer", tokenizer_file, "--out", tmp_path / "v")
    assert result.exit_code == 2
    assert "must hold the 128000 tokens of Llama-3" in result.output
    assert len(result.output.splitlines()) == 1
    assert not (tmp_path / "v").exists()
