import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from audio_data import DatasetWriter, Document, InputError, TokenDataset, Vocabulary
from audio_tokenize.datasets.building import build_dataset
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.jobs import encode_corpus
from audio_tokenize.inspection import statistics
from audio_tokenize.inspection.statistics import Durations, Tally, count_source
from audio_tokenize.vocabularies.folder import VocabularyFolder


@pytest.fixture(scope="module")
def root(tmp_path_factory, corpus, codec) -> Path:
    root = tmp_path_factory.mktemp("counted")
    encode_corpus(corpus, codec, root / "codes", num_frame_offsets=2)
    VocabularyFolder.train([EncodedCorpus.open(root / "codes")], codec).save(root / "data" / "vocabulary")
    build_dataset(root / "codes", root / "data" / "vocabulary", root / "data" / "asr")
    return root


@pytest.fixture(autouse=True)
def _many_batches(monkeypatch):
    monkeypatch.setattr(statistics, "_TOKENS_AT_ONCE", 150)


def test_a_folder_of_codes_is_counted_as_a_counter_does(root):
    counted, utterances = count_source(root / "codes"), list(EncodedCorpus.open(root / "codes"))
    assert (counted.num_documents, counted.num_utterances) == (13, 7)
    assert counted.audio_seconds == pytest.approx(sum(u.seconds for u in utterances))
    assert counted.num_words == sum(len(u.text.split()) for u in utterances)
    assert counted.rates["words_per_second"] == pytest.approx(counted.num_words / counted.audio_seconds)
    for use in counted.codebooks:
        expected = Counter(code for u in utterances for code in u.codes[:, use.codebook].tolist())
        assert dict(enumerate(counted.code_counts[use.codebook].tolist())) == {c: expected[c] for c in range(16)}
        shares = np.array([n / expected.total() for n in expected.values()])
        assert use.perplexity == pytest.approx(np.prod(shares**-shares))
    speakers = Counter(u.speaker for u in utterances)
    assert counted.tallies["speaker"].documents == dict(speakers)
    assert counted.facts["licence"] == "unknown"


def test_a_dataset_is_counted_as_a_counter_does(root):
    counted, dataset = count_source(root / "data" / "asr"), TokenDataset.open(root / "data" / "asr")
    documents = list(dataset)
    assert counted.tokens_by_kind == dataset.manifest.tokens_by_kind
    assert counted.num_tokens == dataset.num_tokens
    assert counted.num_utterances == counted.num_documents == len(documents)
    assert counted.audio_seconds == pytest.approx(dataset.manifest.audio_seconds)
    assert counted.num_characters == sum(len(document.metadata["text"]) for document in documents)
    assert counted.tallies["layout"].documents == {"audio_first": len(documents)}
    languages = Counter(document.metadata["language"] for document in documents)
    assert counted.tallies["language"].documents == dict(languages)
    text_tokens = counted.tokens_by_kind["text"]
    assert counted.rates["text_tokens_per_second"] == pytest.approx(text_tokens / counted.audio_seconds)


def test_codes_and_the_dataset_made_of_them_use_the_same_codes(root):
    codes, dataset = count_source(root / "codes"), count_source(root / "data" / "asr")
    assert np.array_equal(codes.code_counts, dataset.code_counts)
    assert codes.codebooks == dataset.codebooks


def test_json_holds_every_count(root):
    found = json.loads(json.dumps(count_source(root / "data" / "asr").to_json()))
    assert found["hours"] * 3600 == pytest.approx(TokenDataset.open(root / "data" / "asr").manifest.audio_seconds)
    assert found["seconds_per_document"]["num_documents"] == found["num_documents"] == 13
    assert found["speakers"]["num_values"] == 3
    assert sum(entry["num_documents"] for entry in found["speakers"]["largest"]) == 13
    assert [entry["codebook"] for entry in found["codebooks"]] == list(range(8))
    assert found["vocabulary"]["fingerprint"] == TokenDataset.open(root / "data" / "asr").vocabulary.fingerprint


def test_documents_that_state_no_length_are_as_long_as_their_frames(tmp_path):
    vocabulary = Vocabulary.compact("v", 10, "c", 2, 4, "t")
    codec = {"id": "c", "frame_rate_hz": 12.5}
    with DatasetWriter(tmp_path / "d", corpus="d", vocabulary=vocabulary, provenance={}, codec=codec) as writer:
        for num_frames in (25, 50, 0):
            ids = vocabulary.audio_ids(np.ones((num_frames, 2), int))
            writer.write(Document(np.concatenate([[14], ids, [15], [1, 2]]), None, {}))
    counted = count_source(tmp_path / "d")
    assert counted.audio_seconds == pytest.approx(6.0)
    assert (counted.durations.longest, counted.durations.num_empty) == (4.0, 1)
    assert counted.num_utterances == 2
    assert "words_per_second" not in counted.rates


def test_text_alone_has_no_codebooks(tmp_path):
    vocabulary = Vocabulary.compact("v", 10, "none", 0, 0, "t")
    with DatasetWriter(tmp_path / "d", corpus="d", vocabulary=vocabulary, provenance={}, codec={}) as writer:
        writer.write(Document(np.array([10, 1, 2, 3, 11]), None, {"layout": "text"}))
    counted = count_source(tmp_path / "d")
    assert counted.tokens_by_kind == {"text": 3, "special": 2}
    assert (counted.codebooks, counted.rates) == ((), {})


def test_what_is_told_apart_is_bounded(monkeypatch):
    monkeypatch.setattr(statistics, "_MAX_VALUES", 2)
    tally = Tally()
    for value, seconds in (("a", 1), ("b", 5), ("c", 9), ("a", 2)):
        tally.add(value, seconds)
    assert tally.largest() == [("b", 1, 5.0), ("a", 2, 3.0)]
    assert not tally.complete


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="must be a folder of codes or a token dataset"):
        count_source(tmp_path)


@pytest.fixture(scope="module")
def lengths() -> np.ndarray:
    return np.random.default_rng(0).lognormal(1.5, 0.8, 20_000)


@pytest.fixture(scope="module")
def durations(lengths) -> Durations:
    found = Durations()
    for seconds in [*lengths.tolist(), 0.0, 0]:
        found.add(seconds)
    return found


def test_quantiles_are_right_to_one_percent(durations, lengths):
    for fraction in (0.01, 0.05, 0.5, 0.9, 0.999):
        assert durations.quantile(fraction) == pytest.approx(np.quantile(lengths, fraction), rel=0.01)
    assert (durations.quantile(0.0), durations.quantile(1.0)) == pytest.approx((lengths.min(), lengths.max()), rel=0.01)


def test_counts_sums_and_extremes_are_exact(durations, lengths):
    assert (len(durations), durations.num_empty) == (20_000, 2)
    assert durations.seconds == pytest.approx(lengths.sum())
    assert (durations.shortest, durations.longest) == (lengths.min(), lengths.max())


def test_a_histogram_holds_every_length_once(durations, lengths):
    bins = durations.histogram(12)
    assert len(bins) <= 12
    edges = [b.begin_seconds for b in bins] + [bins[-1].end_seconds]
    assert [b.num_lengths for b in bins] == np.histogram(lengths, edges)[0].tolist()
    assert sum(b.num_lengths for b in bins) == 20_000


def test_memory_does_not_grow_with_the_number_of_lengths(durations):
    assert len(durations._bins) < 900


def test_nothing_has_no_quantiles():
    assert Durations().to_json() == {"num_documents": 0, "num_empty": 0}
    assert Durations().histogram() == []
