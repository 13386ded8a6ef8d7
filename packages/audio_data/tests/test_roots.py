import dataclasses
import shlex

import pytest

from audio_data import Holdout, InputError, TokenDataset, Vocabulary, build_dataset, open_root
from audio_data.manifest import UNFINISHED_NAME


def test_a_root_opens_every_dataset_below_it(tmp_path, make_documents, write_dataset):
    for name in ("yodas2/en", "yodas2/th", "emilia"):
        write_dataset(tmp_path / name, make_documents([3]))
    (tmp_path / "vocabulary").mkdir()
    assert list(open_root(tmp_path)) == ["emilia", "yodas2/en", "yodas2/th"]
    assert list(open_root(tmp_path / "emilia")) == ["emilia"]


def test_datasets_behind_links_are_found_and_loops_end(tmp_path, make_documents, write_dataset):
    write_dataset(tmp_path / "elsewhere/asr", make_documents([3]))
    write_dataset(tmp_path / "data/z/own", make_documents([3]))
    data = tmp_path / "data"
    (data / "base").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (data / "again").symlink_to(data / "z", target_is_directory=True)
    (tmp_path / "elsewhere/up").symlink_to(data, target_is_directory=True)
    assert list(open_root(data)) == ["base/asr", "z/own"]


def test_a_root_without_data_is_named(tmp_path):
    with pytest.raises(InputError, match=r"data folder .*expected at least one manifest\.json"):
        open_root(tmp_path)
    with pytest.raises(InputError, match="check the path"):
        TokenDataset.open(tmp_path / "nowhere")


def test_an_unfinished_dataset_below_a_root_is_not_passed_over(tmp_path, make_documents, write_dataset):
    write_dataset(tmp_path / "a", make_documents([10]))
    unfinished = write_dataset(tmp_path / "b", make_documents([10])).path
    (unfinished / "manifest.json").rename(unfinished / UNFINISHED_NAME)
    with pytest.raises(InputError, match=r"dataset `.*b` is unfinished: run the command that builds it again"):
        open_root(tmp_path)


def test_a_dataset_that_lost_its_manifest_is_not_passed_over(tmp_path, make_documents, write_dataset):
    for name in ("a", "deep/b"):
        write_dataset(tmp_path / name, make_documents([10]))
    (tmp_path / "deep/b/manifest.json").unlink()
    with pytest.raises(InputError, match=r"dataset `.*deep/b` has shards but no manifest\.json: restore that"):
        open_root(tmp_path)


def test_a_mistyped_path_is_answered_with_the_nearest(tmp_path, make_documents, write_dataset):
    write_dataset(tmp_path / "data" / "speech", make_documents([10]))
    near = r"`.*dat/speech`: expected.*`.*dat` does not exist; did you mean data\?"
    with pytest.raises(InputError, match=near):
        TokenDataset.open(tmp_path / "dat" / "speech")
    with pytest.raises(InputError, match=r"got none; give one of the datasets below it, such as \['.*/data/speech'\]$"):
        TokenDataset.open(tmp_path / "data")
    with pytest.raises(InputError, match=r"`.*speach` does not exist; did you mean speech\?"):
        open_root(tmp_path / "data" / "speach")


@pytest.fixture
def other(vocabulary):
    return dataclasses.replace(vocabulary, text_tokenizer="another")


def mismatch(root):
    """The message about two vocabularies, and the words of the command in it."""
    with pytest.raises(InputError, match="vocabularies differ") as caught:
        open_root(root)
    message = caught.value.message
    return message, shlex.split(message.split("such as `")[1].split("`,")[0]) if "such as `" in message else None


def build(folder, name, vocabulary, text, **options):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    build_dataset([folder / name], vocabulary, folder / name.partition(".")[0], **options)


def test_two_vocabularies_are_named_with_both_manifests(tmp_path, vocabulary, other):
    build(tmp_path, "a.jsonl", vocabulary, '{"ids": [1]}')
    options = {"ids_column": "tokens", "holdout": Holdout(0.5), "codec": {"id": "test-codec", "frame_rate_hz": 12.5}}
    lines = "\n".join(f'{{"tokens": [1], "id": "{i}"}}' for i in range(9))
    build(tmp_path, "b b.jsonl", other, lines, **options)
    message, command = mismatch(tmp_path)
    for part in ("a/manifest.json", "b b/manifest.json", vocabulary.fingerprint, other.fingerprint):
        assert part in message
    assert command == [
        *("audio-data", "build", "b b.jsonl", "--vocabulary", str(tmp_path / "a/manifest.json")),
        *("--out", str(tmp_path / "b b"), "--overwrite", "--ids-column", "tokens"),
        *("--codec", str(tmp_path / "b b/manifest.json"), "--holdout", "0.5"),
    ]


def test_the_command_that_rebuilds_works(tmp_path, vocabulary, other, monkeypatch):
    from click.testing import CliRunner

    from audio_data.cli import main

    build(tmp_path, "a.jsonl", vocabulary, '{"ids": [1]}')
    build(tmp_path, "b.jsonl", other, '{"ids": [2]}')
    _, command = mismatch(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, command[1:]).exit_code == 0
    assert {name: dataset.vocabulary for name, dataset in open_root(tmp_path).items()} == {
        "a": vocabulary,
        "b": vocabulary,
    }


def tokenized(root, corpus, vocabulary, documents, write_dataset, with_folder=True):
    """What `audio-tokenize build` leaves: the dataset, and beside it the folder of its vocabulary."""
    provenance = {"command": "audio-tokenize build", "codes": {"corpus": f"codes-of-{corpus}"}}
    write_dataset(root / corpus, documents, vocabulary=vocabulary, provenance=provenance)
    if with_folder:
        (root / "vocabulary").mkdir(exist_ok=True)
        vocabulary.write(root / "vocabulary" / "vocabulary.json")


def test_a_tokenized_dataset_is_rebuilt_with_a_vocabulary_folder(
    tmp_path, vocabulary, other, make_documents, write_dataset
):
    tokenized(tmp_path / "one", "a", vocabulary, make_documents([3]), write_dataset)
    tokenized(tmp_path / "two", "b", other, make_documents([3]), write_dataset)
    # Two of its vocabularies cannot lie in one folder, so the new dataset goes beside the one that is kept.
    assert mismatch(tmp_path)[1] == [
        *("audio-tokenize", "build", "codes-of-b", "--vocabulary", str(tmp_path / "one/vocabulary")),
        *("--out", str(tmp_path / "one/b")),
    ]


def test_a_tokenized_dataset_beside_a_foreign_vocabulary_is_replaced(
    tmp_path, vocabulary, other, make_documents, write_dataset
):
    tokenized(tmp_path, "a", vocabulary, make_documents([3]), write_dataset)
    tokenized(tmp_path, "b", other, make_documents([3]), write_dataset, with_folder=False)
    assert mismatch(tmp_path)[1] == [
        *("audio-tokenize", "build", "codes-of-b", "--vocabulary", str(tmp_path / "vocabulary")),
        *("--out", str(tmp_path / "b"), "--overwrite"),
    ]


@pytest.mark.parametrize("tokenized_first", [True, False])
def test_of_two_producers_the_one_is_rebuilt_that_can_be(
    tmp_path, vocabulary, other, make_documents, write_dataset, tokenized_first
):
    """A manifest is all that `audio-data build` needs, but no vocabulary that `audio-tokenize build` could use."""
    first, second = ("a", "b") if tokenized_first else ("b", "a")
    tokenized(tmp_path, first, vocabulary, make_documents([3]), write_dataset, with_folder=False)
    build(tmp_path, f"{second}.jsonl", other, '{"ids": [1]}')
    command = mismatch(tmp_path)[1]
    assert command[:5] == [
        *("audio-data", "build", f"{second}.jsonl", "--vocabulary", str(tmp_path / first / "manifest.json"))
    ]
    assert Vocabulary.read(command[4]) == vocabulary


def test_datasets_of_unknown_origin_are_told_to_be_written_again(tmp_path, other, make_documents, write_dataset):
    write_dataset(tmp_path / "a", make_documents([3]))
    write_dataset(tmp_path / "b", make_documents([3]), vocabulary=other)
    message, command = mismatch(tmp_path)
    assert command is None
    assert f"write `{tmp_path / 'b'}` again with the vocabulary that `{tmp_path / 'a/manifest.json'}` holds" in message
