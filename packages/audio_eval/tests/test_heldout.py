import numpy as np
import pytest

from audio_data import DatasetWriter, Document, InputError, TokenDataset, Vocabulary
from audio_eval.heldout import read_documents, utterances


@pytest.fixture
def heldout(data):
    return TokenDataset.open(data / "heldout")


def test_each_utterance_is_read_once_though_built_in_two_orders(heldout, vocabulary, text):
    documents = read_documents("heldout", heldout, vocabulary)
    assert len(heldout) == 24
    assert len({document.id for document in documents}) == len(documents) == 12
    spoken = utterances(documents, text)
    assert all(text.decode(u.segment.text_ids.tolist()) == u.text for u in spoken)
    assert {u.base_id for u in spoken} == {f"heldout-{i}" for i in range(12)}


def test_the_first_documents_are_a_sample_and_not_the_first_ids(heldout, vocabulary):
    ids = [document.id for document in read_documents("heldout", heldout, vocabulary)]
    assert ids == [document.id for document in read_documents("heldout", heldout, vocabulary)]
    assert ids[:4] != sorted(ids)[:4]


def test_recordings_of_several_utterances_give_each_its_own_text(data, vocabulary, text):
    documents = read_documents("talks", TokenDataset.open(data / "talks"), vocabulary)
    spoken = utterances(documents, text)
    assert len(spoken) == 6
    assert spoken[0].id.endswith("#0")
    assert spoken[1].id.endswith("#1")
    assert all(u.text == text.decode(u.segment.text_ids.tolist()) for u in spoken)


def test_another_vocabulary_is_refused(heldout):
    other = Vocabulary.compact("other", 7, "toy-codec", 3, 16, "x")
    with pytest.raises(InputError, match="must have the model's vocabulary 'other'"):
        read_documents("heldout", heldout, other)


def test_documents_without_text_are_refused(tmp_path, vocabulary):
    v = vocabulary
    ids = np.concatenate(
        [[v.begin_of_text, v.audio_start], v.audio_ids(np.ones((2, 3), np.int32)), [v.audio_end, v.end_of_text]]
    )
    with DatasetWriter(tmp_path / "mute", corpus="mute", vocabulary=v, provenance={}) as writer:
        writer.write(Document(ids.astype(np.int32), None, {"id": "a", "layout": "acoustic"}))
    with pytest.raises(InputError, match="must hold audio and text to be evaluated, got layout 'acoustic'"):
        read_documents("mute", TokenDataset.open(tmp_path / "mute"), v)
