import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_data import InputError, Vocabulary
from audio_eval import decoding, evaluate, make_tasks
from audio_eval.decoding import (
    audio_automaton,
    continue_prompts,
    fitting_length,
    generate_within_context,
    text_automaton,
)
from audio_eval.journal import Journal
from audio_model import Sampling

COMPACT = Vocabulary.compact("toy", 20, "toy-codec", 3, 16, "toy-text")
# As in Llama-3, begin and end of text lie among the text ids.
INSIDE = Vocabulary("inside", 20, 17, 18, 20, 21, 22, 23, 24, 3, 16, "toy-codec", "toy-text")
VOCABULARIES = st.sampled_from([COMPACT, INSIDE])


def walk(automaton, choose, limit=10_000):
    """Follows the automaton with `choose(allowed ids)` until nothing may follow."""
    state, tokens = automaton.initial_state, []
    while True:
        allowed = np.flatnonzero(automaton.next_state[state][automaton.class_of_token] >= 0)
        if not len(allowed):
            return tokens
        tokens.append(int(choose(allowed)))
        state = automaton.next_state[state, automaton.class_of_token[tokens[-1]]]
        assert len(tokens) < limit


@given(st.data(), VOCABULARIES, st.integers(0, 5), st.integers(1, 5), st.integers(1, 3))
def test_every_walk_of_the_audio_grammar_is_whole_frames(data, vocabulary, min_frames, more, books):
    automaton = audio_automaton(
        vocabulary, min_frames=min_frames, max_frames=min_frames + more, num_codebooks=books, vocab_size=100
    )
    *tokens, end = walk(automaton, lambda allowed: data.draw(st.sampled_from(allowed.tolist())))
    assert end == vocabulary.audio_end
    codes = vocabulary.codes(np.array(tokens, np.int32), books)
    assert min_frames <= len(codes) <= min_frames + more


@given(st.data(), VOCABULARIES, st.integers(0, 4), st.integers(1, 4))
def test_every_walk_of_the_text_grammar_is_text(data, vocabulary, min_tokens, more):
    automaton = text_automaton(vocabulary, max_tokens=min_tokens + more, min_tokens=min_tokens)
    *tokens, end = walk(automaton, lambda allowed: data.draw(st.sampled_from(allowed.tolist())))
    assert end == vocabulary.text_end
    assert min_tokens <= len(tokens) <= min_tokens + more
    assert set(vocabulary.kind_of(np.array(tokens, np.int64)).tolist()) <= {0}


@pytest.mark.parametrize("prefer", ["first", "last"])
@pytest.mark.parametrize("bounds", [(0, 1), (2, 2), (3, 7)])
def test_least_and_greatest_length_are_reached(prefer, bounds):
    end_comes_first = COMPACT.audio_end < COMPACT.audio_base
    automaton = audio_automaton(COMPACT, min_frames=bounds[0], max_frames=bounds[1])
    tokens = walk(automaton, lambda allowed: allowed[0] if prefer == "first" else allowed[-1])
    assert end_comes_first
    assert len(tokens) - 1 == 3 * (bounds[0] if prefer == "first" else bounds[1])


def test_every_text_id_and_nothing_else_may_begin_a_text():
    automaton = text_automaton(INSIDE, max_tokens=2, vocab_size=90)
    allowed = np.flatnonzero(automaton.next_state[0][automaton.class_of_token] >= 0)
    assert allowed.tolist() == [*range(17), 19, INSIDE.text_end]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: audio_automaton(COMPACT, min_frames=-1, max_frames=2), "`min_frames` must be 0 or more, got -1"),
        (lambda: audio_automaton(COMPACT, min_frames=3, max_frames=2), "`max_frames` must be at least 3, got 2"),
        (lambda: audio_automaton(COMPACT, min_frames=0, max_frames=2, num_codebooks=4), "must be 1 to 3, got 4"),
        (lambda: text_automaton(COMPACT, max_tokens=0), "`max_tokens` must be at least 1, got 0"),
    ],
)
def test_contradicting_bounds_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


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


@pytest.mark.long
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


def test_a_length_is_what_is_wanted_or_what_fits_in_steps():
    lengths = [fitting_length(free, 3, min_units=4, max_units=30) for free in (91, 90, 75, 40, 39, 36, 13, 12, 0, -5)]
    assert lengths == [30, 24, 24, 12, 12, 4, 4, 0, 0, 0]


def in_room(model, vocabulary, prompts, *, max_units, journal=None):
    def grammar(frames):
        return audio_automaton(vocabulary, min_frames=frames, max_frames=frames, vocab_size=model.config.vocab_size)

    found = generate_within_context(
        model,
        list(prompts.values()),
        list(prompts),
        automaton=grammar,
        unit=3,
        min_units=2,
        max_units=max_units,
        stop_id=vocabulary.audio_end,
        sampling=Sampling(temperature=1.0),
        batch_size=2,
        label="test",
        journal=journal,
    )
    return {
        key: (None if one is None else one.tolist(), length) for key, (one, length) in zip(prompts, found, strict=True)
    }


@pytest.mark.long
def test_each_prompt_has_the_room_that_it_leaves(model, vocabulary, capsys):
    rng = np.random.default_rng(6)
    sizes = {"short": 100, "long": 200, "longer": 245, "longest": 252}
    prompts = {key: rng.integers(0, vocabulary.size, size).astype(np.int32) for key, size in sizes.items()}
    journal = Journal()
    found = in_room(model, vocabulary, prompts, max_units=20, journal=journal)
    assert {key: length for key, (_, length) in found.items()} == {"short": 20, "long": 12, "longer": 2, "longest": 0}
    for tokens, length in found.values():
        assert (0 if tokens is None else len(tokens)) == 3 * length
        assert (tokens is None) == (length == 0)
    assert "test: 1 of 1 prompts leave no space in the context of 256, and get no answer" in capsys.readouterr().err
    # Alone, and from the journal, a prompt is continued with the same.
    assert in_room(model, vocabulary, {"long": prompts["long"]}, max_units=20)["long"] == found["long"]
    assert in_room(model, vocabulary, prompts, max_units=20, journal=journal) == found


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
        evaluate(export, data, ["heldout"], make_tasks(["tts"], small), tmp_path / str(n), transcriber="none", limit=n)
        for n in (3, 8)
    )
    assert few.result("tts").settings["max_frames"] == many.result("tts").settings["max_frames"]
    sounds = [
        {item.id: (one.folder / item.detail["audio"]["generated"]).read_bytes() for item in one.result("tts").items}
        for one in (few, many)
    ]
    assert len(sounds[0]) == 3
    assert sounds[0].items() <= sounds[1].items()
