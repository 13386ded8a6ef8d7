import numpy as np
import pytest

from audio_eval import decoding, evaluate, make_tasks
from audio_eval.decoding import continue_prompts
from audio_eval.grammars import audio_automaton
from audio_eval.journal import Journal
from audio_model import Sampling


@pytest.fixture(scope="module")
def prompts(vocabulary):
    """Prompts of two rounded lengths, by key."""
    rng = np.random.default_rng(5)
    return {f"item-{i}": rng.integers(0, vocabulary.size, 20 + 4 * i).astype(np.int32) for i in range(7)}


def continued(model, vocabulary, prompts, *, seed=0, batch_size=2, journal=None):
    found = continue_prompts(
        model,
        list(prompts.values()),
        list(prompts),
        automaton=audio_automaton(vocabulary, min_frames=1, max_frames=3, vocab_size=model.config.vocab_size),
        stop_id=vocabulary.audio_end,
        sampling=Sampling(temperature=1.0, seed=seed),
        max_new_tokens=10,
        batch_size=batch_size,
        label="test",
        journal=journal,
    )
    return {key: tokens.tolist() for key, tokens in zip(prompts, found, strict=True)}


def test_draws_belong_to_the_seed_and_the_key(model, vocabulary, prompts):
    whole = continued(model, vocabulary, prompts)
    backwards = dict(reversed(prompts.items()))
    few = {key: prompts[key] for key in ("item-5", "item-2")}
    assert continued(model, vocabulary, backwards) == whole
    assert continued(model, vocabulary, few) == {key: whole[key] for key in few}
    assert continued(model, vocabulary, prompts, batch_size=3) == whole
    assert continued(model, vocabulary, prompts, seed=1) != whole
    # One prompt under two names is drawn for twice.
    twice = continued(model, vocabulary, {f"again-{i}": prompts["item-0"] for i in range(4)})
    assert len({tuple(tokens) for tokens in twice.values()}) > 1


def test_what_the_journal_knows_is_not_continued_again(model, vocabulary, prompts, tmp_path, monkeypatch):
    journal = Journal(tmp_path / "a.jsonl", "f")
    few = {key: prompts[key] for key in ("item-1", "item-4")}
    first = continued(model, vocabulary, few, journal=journal)
    asked = []
    generate = decoding.generate

    def noted(model, prompts, **options):
        asked.extend(len(prompt) for prompt in prompts)
        return generate(model, prompts, **options)

    monkeypatch.setattr(decoding, "generate", noted)
    whole = continued(model, vocabulary, prompts, journal=journal)
    journal.close()
    assert {key: whole[key] for key in few} == first
    assert sorted(asked) == [20, 28, 32, 40, 44]
    assert whole == continued(model, vocabulary, prompts)


def test_a_limit_changes_no_items_speech(export, data, tmp_path, toy_codec):
    small = {"tts.batch_size": "2", "tts.num_items": "12"}
    few, many = (
        evaluate(export, data, ["heldout"], make_tasks(["tts"], small), tmp_path / str(n), judge="none", limit=n)
        for n in (3, 8)
    )
    assert few.result("tts").settings["max_frames"] == many.result("tts").settings["max_frames"]
    sounds = [
        {item.id: (one.folder / item.detail["audio"]["generated"]).read_bytes() for item in one.result("tts").items}
        for one in (few, many)
    ]
    assert len(sounds[0]) == 3
    assert sounds[0].items() <= sounds[1].items()
