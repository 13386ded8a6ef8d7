import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_data import InputError
from audio_eval.scoring import score_documents, scored_documents
from audio_model import TokenSets


@pytest.fixture(scope="module")
def documents(vocabulary):
    rng = np.random.default_rng(0)
    return [rng.integers(0, vocabulary.size, size).astype(np.int32) for size in (2, 7, 33, 60, 41, 12)]


@jax.jit
def logits_of(model, document):
    seq = document.shape[0]
    hidden = model(document[None], jnp.ones((1, seq), jnp.int32), jnp.arange(seq, dtype=jnp.int32)[None])
    return model.logits(hidden[0])


def dense(model, document):
    """Logits of every id at every place of the lone document."""
    return np.asarray(logits_of(model, jnp.asarray(document)), np.float64)[:-1]


def log_sum_exp(logits):
    top = logits.max(axis=-1, keepdims=True)
    return (top + np.log(np.exp(logits - top).sum(axis=-1, keepdims=True)))[:, 0]


def test_scores_equal_those_of_each_document_alone(model, documents, vocabulary):
    sets = TokenSets.build(vocabulary.allowed_sets)
    set_of_token = sets.set_of_token(model.config.vocab_size)
    for document, scored in list(zip(documents, score_documents(model, documents, sets), strict=True))[:4:3]:
        logits, targets = dense(model, document), document[1:]
        chosen = logits[np.arange(len(targets)), targets]
        np.testing.assert_array_equal(scored.targets, targets)
        np.testing.assert_allclose(scored.full, chosen - log_sum_exp(logits), atol=2e-5)
        competing = set_of_token[None] == set_of_token[targets][:, None]
        within = log_sum_exp(np.where(competing, logits, -np.inf))
        np.testing.assert_allclose(scored.allowed, chosen - within, atol=2e-5)


@pytest.mark.parametrize("settings", [{"tokens_per_batch": 64}, {"max_widths": 1}])
def test_scores_do_not_depend_on_batches_or_order(model, documents, vocabulary, settings):
    sets = TokenSets.build(vocabulary.allowed_sets)
    plain = score_documents(model, documents, sets)
    shuffled = score_documents(model, documents[::-1], sets, **settings)[::-1]
    for one, other in zip(plain, shuffled, strict=True):
        np.testing.assert_allclose(one.full, other.full, atol=1e-5)
        np.testing.assert_allclose(one.allowed, other.allowed, atol=1e-5)


def test_bigger_batches_and_other_orders_change_no_token_by_1e_5(model, vocabulary):
    sets, rng = TokenSets.build(vocabulary.allowed_sets), np.random.default_rng(1)
    documents = [rng.integers(0, vocabulary.size, size).astype(np.int32) for size in rng.integers(2, 250, 40)]
    order = rng.permutation(len(documents))
    plain = score_documents(model, documents, sets, tokens_per_batch=512)
    mixed = score_documents(model, [documents[i] for i in order], sets, tokens_per_batch=16_384)
    for index, other in zip(order, mixed, strict=True):
        np.testing.assert_allclose(plain[index].full, other.full, rtol=0, atol=1e-5)
        np.testing.assert_allclose(plain[index].allowed, other.allowed, rtol=0, atol=1e-5)
    sums = [[scored.full.mean() for scored in found] for found in (plain, [mixed[i] for i in np.argsort(order)])]
    assert np.argsort(sums[0]).tolist() == np.argsort(sums[1]).tolist()


def test_what_is_given_is_read_and_not_scored(model, documents, vocabulary):
    sets, given = TokenSets.build(vocabulary.allowed_sets), [1, 3, 32, 20, 40, 1]
    whole = score_documents(model, documents, sets)
    for index, part in scored_documents(model, documents, sets, given=given, greedy=True):
        np.testing.assert_array_equal(part.targets, documents[index][given[index] :])
        np.testing.assert_allclose(part.full, whole[index].full[given[index] - 1 :], atol=1e-5)
        np.testing.assert_array_equal(
            part.greedy, dense(model, documents[index])[given[index] - 1 :].argmax(-1) == part.targets
        )


def test_sums_by_kind_add_up(model, documents, vocabulary):
    (scored,) = score_documents(model, documents[3:4], TokenSets.build(vocabulary.allowed_sets))
    for allowed, parts in ((True, scored.allowed), (False, scored.full)):
        by_kind = scored.nats_by_kind(vocabulary, allowed=allowed)
        assert sum(count for _, count in by_kind.values()) == len(documents[3]) - 1
        assert sum(nats for nats, _ in by_kind.values()) == pytest.approx(-parts.sum(), rel=1e-5)
    audio_0 = vocabulary.kind_of(scored.targets) == vocabulary.kinds.index("codebook_0")
    assert by_kind["codebook_0"][1] == audio_0.sum()


def test_token_sets_part_the_vocabulary_and_let_audio_end(vocabulary):
    table = TokenSets.build(vocabulary.allowed_sets).set_of_token(vocabulary.size)
    assert (table >= 0).all()
    assert table[vocabulary.audio_end] == table[vocabulary.audio_base]
    assert len({int(table[vocabulary.audio_range(book)[0]]) for book in range(vocabulary.num_codebooks)}) == 3
    assert table[vocabulary.text_end] == table[0] == table[vocabulary.audio_start]


@pytest.mark.parametrize("length", [1, 257])
def test_too_short_or_too_long_documents_are_named(model, vocabulary, length):
    documents = [np.zeros(3, np.int32), np.zeros(length, np.int32)]
    with pytest.raises(InputError, match=f"document `1` must have 2 to 256 tokens to be scored, got {length}"):
        score_documents(model, documents, TokenSets.build(vocabulary.allowed_sets))


def test_a_model_whose_likelihoods_are_not_finite_is_named(model, documents, vocabulary):
    broken = jax.tree.map(lambda leaf: leaf.at[..., 0].set(jnp.nan), model)
    with pytest.raises(InputError, match=r"likelihoods of document `3` must be finite, got NaN or infinity"):
        dict(scored_documents(broken, documents, TokenSets.build(vocabulary.allowed_sets)))
