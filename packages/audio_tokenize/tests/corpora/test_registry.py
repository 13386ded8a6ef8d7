import json

import numpy as np
import pytest
import soundfile

from audio_data import InputError
from audio_tokenize.corpora import SHIPPED, open_corpus


@pytest.mark.parametrize("card", SHIPPED, ids=lambda card: card.name)
def test_every_shipped_corpus_opens_by_name(card):
    corpus = open_corpus(card.name)
    assert corpus.name == card.name
    assert corpus.skipped == ()
    assert set(corpus.splits) >= {"train", "heldout"}


def test_a_name_that_is_neither_shipped_nor_a_path_lists_the_names(tmp_path):
    with pytest.raises(InputError, match=r"sample, sample-multilingual, sample-parallel"):
        open_corpus(tmp_path / "sampel")


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "a.tsv").write_text("a\tb", encoding="utf-8")
    with pytest.raises(InputError, match=r"'\.tsv' file"):
        open_corpus(tmp_path / "a.tsv")


def test_a_folder_with_a_manifest_is_read_by_it(tmp_path):
    folder = tmp_path / "calls"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.zeros(800), 8_000)
    (folder / "manifest.jsonl").write_text(json.dumps({"audio": "a.wav", "text": "hello"}), encoding="utf-8")
    by_folder, by_file = open_corpus(folder), open_corpus(str(folder / "manifest.jsonl"))
    assert by_folder.name == by_file.name == "calls"
    assert by_folder.utterances == by_file.utterances
