import pytest

from audio_data import InputError
from audio_tokenize.corpora import open_corpus


def test_select_keeps_what_was_asked_for():
    corpus = open_corpus("sample-parallel")
    chosen = corpus.select(split="heldout", language="de")
    assert {(u.split, u.language) for u in chosen} == {("heldout", "de")}
    assert [u.id for u in chosen] == [u.id for u in corpus if u.split == "heldout" and u.language == "de"]
    assert chosen.name == corpus.name
    assert corpus.select(split=corpus.splits).utterances == corpus.utterances


def test_select_names_the_values_there_are():
    with pytest.raises(InputError, match=r"`split`.*'test'; expected one of heldout, train"):
        open_corpus("sample-parallel").select(split=("heldout", "test"))
    with pytest.raises(InputError, match=r"`speaker`.*'nobody'; expected one of .*de-f"):
        open_corpus("sample-parallel").select(speaker="nobody")
