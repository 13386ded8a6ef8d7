from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audio_data import DatasetWriter, Document, InputError, Vocabulary, open_root
from audio_eval import evaluate, load_checkpoint, make_report, make_tasks
from audio_eval.heldout import read_documents
from audio_eval.tasks.nll import CONTROLLED, MATCHED_AUDIO_NLL, MISMATCHED_AUDIO_NLL
from audio_tokenize import Segment, layout


@pytest.fixture(scope="module")
def stored(tmp_path_factory, vocabulary, text):
    """Documents that hold no utterances: text alone, audio alone, an answer of which the prompt is masked."""
    v, root = vocabulary, tmp_path_factory.mktemp("stored")
    words = text.encode("the red cat")
    audio = v.audio_ids(np.array([[1, 2, 3], [4, 5, 6]], np.int32)).tolist()
    documents = {
        "text": ([v.begin_of_text, *words, v.end_of_text], None, {}),
        "audio": ([v.audio_start, *audio, v.audio_end], None, {"seconds": 0.16}),
        "answer": ([v.begin_of_text, v.audio_start, *audio, v.audio_end, *words], len(audio) + 3, {"seconds": 0.16}),
        "long": ([v.begin_of_text, *words * 200], None, {}),
    }
    with DatasetWriter(root / "own" / "mixed", corpus="mixed", vocabulary=v, provenance={}) as writer:
        for ids, masked, metadata in documents.values():
            mask = None if masked is None else np.arange(len(ids)) >= masked
            writer.write(Document(np.array(ids, np.int32), mask, metadata))
    other = Vocabulary.compact("other", 7, "toy-codec", 3, 16, "x")
    with DatasetWriter(root / "foreign" / "other", corpus="other", vocabulary=other, provenance={}) as writer:
        writer.write(Document(np.array([0, 1, 2], np.int32), None, {}))
    return root, documents


@jax.jit
def log_softmax_of(model, ids):
    seq = ids.shape[0]
    hidden = model(ids[None], jnp.ones((1, seq), jnp.int32), jnp.arange(seq, dtype=jnp.int32)[None])
    return jax.nn.log_softmax(model.logits(hidden[0]), axis=-1)


def test_stored_documents_are_scored_as_they_are(export, stored, tmp_path):
    root, documents = stored
    tasks = make_tasks(["nll"], {"nll.documents": "stored", "nll.softmax": "full"})
    evaluation = evaluate(export, root / "own", ["mixed"], tasks, tmp_path, transcriber="none", speaker_encoder="none")
    result, model = evaluation.result("nll"), load_checkpoint(export).model
    assert result.settings["num_too_long"] == 1
    found = {item.id: item for item in result.items}
    assert set(found) == {"0", "1", "2"}
    nats = dict.fromkeys(found, 0.0)
    for index, (ids, masked, _) in enumerate(list(documents.values())[:3]):
        table = np.asarray(log_softmax_of(model, jnp.asarray(ids)), np.float64)
        nats[str(index)] = -sum(table[i - 1, ids[i]] for i in range(1, len(ids)) if masked is None or i >= masked)
    for key, item in found.items():
        kinds = [
            term
            for name, term in item.terms.items()
            if name in ("stored.nll_text", "stored.nll_special", "stored.nll_audio")
        ]
        assert sum(term[0] for term in kinds) == pytest.approx(nats[key], rel=1e-5)
    words = len(documents["text"][0]) - 2
    assert found["0"].terms["stored.nll_text"][1] == found["2"].terms["stored.nll_text"][1] == words
    assert "stored.nll_audio" not in found["2"].terms
    assert found["1"].terms["stored.audio_nats_per_second"][1] == 0.16
    scores = evaluation.summary()["mixed"]
    assert scores["stored.bits_per_text_token"]["num_items"] == 2
    assert "text_nll_with_over_without_audio" not in scores
    page = make_report(tmp_path, tmp_path / "report.html")["html"]
    assert "Loss by codebook on mixed" in Path(page).read_text(encoding="utf-8")


def test_the_control_changes_the_text_alone(export, data, vocabulary, tmp_path):
    tasks = make_tasks(["nll"], {"nll.softmax": "full"})
    evaluation = evaluate(export, data, ["heldout", "voice"], tasks, tmp_path, transcriber="none", limit=3)
    model = load_checkpoint(export).model
    documents = read_documents("heldout", open_root(data)["heldout"], vocabulary)
    items = [item for item in evaluation.result("nll").items if item.dataset == "heldout"]
    saved = []
    for place, item in enumerate(items):
        own = documents[place]
        assert item.id == own.id
        nats = []
        for text_of in (own, next(d for d in documents[place + 1 :] if d.metadata["text"] != own.metadata["text"])):
            segments = [Segment(text_of.segments[0].text_ids, own.segments[0].codes)]
            ids = layout("text_first").build(segments, vocabulary)
            table = np.asarray(log_softmax_of(model, jnp.asarray(ids)), np.float64)
            audio = [place for place in range(1, len(ids)) if vocabulary.kind_of(ids)[place] >= 2]
            nats.append(-sum(table[place - 1, ids[place]] for place in audio))
        assert [vocabulary.kinds[kind] for kind in (2, 3)] == ["codebook_0", "codebook_1"]
        assert item.terms["text_first.nll_audio"][0] == pytest.approx(nats[0], rel=1e-5)
        assert item.terms["text_first_mismatched_text.nll_audio"] == (pytest.approx(nats[1], rel=1e-5), len(audio))
        saved.append((nats[1] - nats[0]) / np.log(2))
    scores = evaluation.summary()
    assert scores["heldout"]["audio_bits_saved_by_text"]["value"] == pytest.approx(np.mean(saved), abs=1e-4)
    own, other = (sum(item.terms[name][0] for item in items) for name in (MATCHED_AUDIO_NLL, MISMATCHED_AUDIO_NLL))
    assert scores["heldout"]["audio_nll_matched_over_mismatched_text"]["value"] == pytest.approx(own / other)
    assert not any(name in scores["voice"] for name in CONTROLLED)


def test_texts_that_are_all_the_same_have_no_control(export, data, tmp_path):
    summary = evaluate(export, data, ["one"], make_tasks(["nll"]), tmp_path, transcriber="none").summary()["one"]
    assert summary["audio_bits_saved_by_text"]["value"] is None
    assert "there is no control" in summary["audio_nll_matched_over_mismatched_text"]["reason"]


def test_a_limit_adds_documents(export, stored, tmp_path):
    root, _ = stored
    few, all_ = (
        evaluate(
            export,
            root / "own",
            ["mixed"],
            make_tasks(["nll"], {"nll.documents": "stored"}),
            tmp_path / str(n),
            limit=n,
        )
        for n in (2, 4)
    )
    assert {item.id for item in few.result("nll").items} < {item.id for item in all_.result("nll").items}


@pytest.mark.parametrize(
    ("folder", "name", "documents", "message"),
    [
        (
            "own",
            "mixed",
            "both_orders",
            "must be of layout 'audio_first' to be evaluated, .*`--set nll.documents=stored`",
        ),
        ("foreign", "other", "stored", "must have the model's vocabulary 'toy'"),
        ("own", "mixed", "aloud", "`nll.documents` must be one of both_orders, stored, got 'aloud'"),
    ],
)
def test_mistakes_are_named(export, stored, tmp_path, folder, name, documents, message):
    with pytest.raises(InputError, match=message):
        evaluate(export, stored[0] / folder, [name], make_tasks(["nll"], {"nll.documents": documents}), tmp_path)
