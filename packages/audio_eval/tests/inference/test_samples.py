"""Audio samples of a model in training."""

from importlib.metadata import entry_points

import numpy as np
import pytest

from audio_data import DatasetWriter, Document, InputError, TokenDataset, Vocabulary
from audio_eval.inference.samples import training_samples
from audio_eval.inference.speech_model import SpeechModel
from audio_tokenize import Segment, layout

SAYINGS = ("the red cat", "the green bird", "the blue horse")


@pytest.fixture(scope="module")
def model(speaker):
    return SpeechModel.load(speaker)


def write(folder, model, order):
    """Write a dataset of three utterances of four frames; returns their codes."""
    vocabulary, text = model.checkpoint.vocabulary, model.checkpoint.text
    rng, codes = np.random.default_rng(0), []
    with DatasetWriter(folder, corpus=folder.name, vocabulary=vocabulary, provenance={}) as writer:
        for number, saying in enumerate(SAYINGS):
            codes.append(rng.integers(0, 2_048, size=(4, 8)).astype(np.int32))
            segment = Segment(np.array(text.encode(saying), np.int32), codes[-1])
            ids = layout(order).build([segment], vocabulary)
            writer.write(Document(ids, None, {"id": str(number), "layout": order}))
    return codes


def test_a_model_speaks_the_texts_of_held_out_documents_the_same_each_time(speaker, model, tmp_path):
    write(tmp_path / "heldout", model, "audio_first")
    datasets = {"heldout": TokenDataset.open(tmp_path / "heldout")}
    samples = list(training_samples(speaker, datasets, 2))
    assert [(name, caption) for name, caption, *_ in samples] == [
        ("heldout/0", "speaks: the red cat"),
        ("heldout/1", "speaks: the green bird"),
    ]
    for number, (*_, waveform, rate_hz) in enumerate(samples):
        assert rate_hz == model.codec.sample_rate_hz
        np.testing.assert_array_equal(waveform, model.speak(SAYINGS[number], seed=number).samples)


def test_audio_without_text_is_continued(speaker, model, tmp_path):
    codes = write(tmp_path / "audio", model, "acoustic")
    ((name, caption, waveform, _),) = training_samples(speaker, {"audio": TokenDataset.open(tmp_path / "audio")}, 1)
    assert (name, caption) == ("audio/0", "continues a recording of audio")
    given = np.asarray(model.codec.decode(codes[0]), np.float32)
    np.testing.assert_array_equal(waveform, model.continue_speech(given, seed=0).samples)


def test_there_are_no_more_samples_than_documents(speaker, model, tmp_path):
    write(tmp_path / "audio", model, "acoustic")
    assert len(list(training_samples(speaker, {"audio": TokenDataset.open(tmp_path / "audio")}, 9))) == 3


def test_a_dataset_of_another_vocabulary_is_refused(speaker, tmp_path):
    other = Vocabulary.compact("other", 12, "embedded-v1", 2, 16, "other")
    with DatasetWriter(tmp_path / "a", corpus="a", vocabulary=other, provenance={}) as writer:
        writer.write(Document(np.array([1, 2], np.int32), None, {"id": "a"}))
    with pytest.raises(InputError, match="must have the model's vocabulary"):
        list(training_samples(speaker, {"a": TokenDataset.open(tmp_path / "a")}, 1))


def test_the_trainer_finds_it():
    (point,) = (point for point in entry_points(group="audio_train.samplers") if point.name == "audio_eval")
    assert point.load() is training_samples
