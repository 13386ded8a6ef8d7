import numpy as np
import pytest

from audio_data import InputError
from audio_eval import evaluate, load_checkpoint, make_tasks
from audio_eval.bleu import bleu, bleu_counts
from audio_eval.tasks import speech, speech_to_speech
from audio_eval.testsets.speech import read_covost2, read_librispeech
from audio_tokenize import load_audio


class SpeechModel:
    model_id = "toy:1"
    language = "en"

    def transcribe(self, clips, sample_rate_hz):
        return ["the dog waits" for _ in clips]

    def embed(self, clips, sample_rate_hz):
        return [np.array([1.0, len(clip) / 24_000]) for clip in clips]


@pytest.fixture
def loaded_models(monkeypatch, vocabulary, text):
    """Answers for the model: "ab" where it is to write, five frames where it is to speak."""
    calls = []

    def continued(model, prompts, keys, *, stop_id, max_units, **options):
        calls.append(([prompt.tolist() for prompt in prompts], options["label"]))
        written = np.array(text.encode("ab"), np.int32)
        spoken = vocabulary.audio_ids(np.ones((5, 3), np.int32))
        return [(written if stop_id == vocabulary.text_end else spoken, max_units) for _ in prompts]

    for module in (speech, speech_to_speech):
        monkeypatch.setattr(module, "generate_within_context", continued)
    monkeypatch.setattr("audio_eval.run.find_transcriber", lambda name: SpeechModel())
    monkeypatch.setattr("audio_eval.run.find_speaker_encoder", lambda name: SpeechModel())
    return calls


def run(export, test_sets, out, name, overrides=None, **options):
    settings = {f"{name}.{key}": value for key, value in (overrides or {}).items()}
    return evaluate(export, None, [], make_tasks([name], settings, test_sets=test_sets), out, **options).result(name)


@pytest.mark.parametrize("route", ["direct", "chain"])
def test_translations_follow_the_documents_of_training(export, test_sets, tmp_path, toy_codec, loaded_models, route):
    result = run(export, test_sets, tmp_path, "s2st", {"route": route}, limit=2)
    checkpoint = load_checkpoint(export)
    vocabulary, text = checkpoint.vocabulary, checkpoint.text
    spoken = {one.id: one for one in read_covost2(test_sets / "covost2", "de_en", "test")}
    one = spoken[result.items[0].id]
    ids = vocabulary.audio_ids(toy_codec.encode(load_audio(one.audio))).tolist()
    source = [vocabulary.begin_of_text, vocabulary.audio_start, *ids, vocabulary.audio_end, vocabulary.text_start]
    tags = [text.encode(f"<language>{name}</language>") for name in ("de", "en")]
    last = [vocabulary.text_end, vocabulary.audio_start]
    written = text.encode("ab")
    chain = [*source, *tags[0], *written, vocabulary.text_end, vocabulary.text_start, *tags[1], *written, *last]
    expected = {"direct": [*source, *tags[1], *last], "chain": chain}[route]
    prompts, label = loaded_models[-1]
    assert (prompts[0], label) == (expected, "s2st, speech")
    assert len(loaded_models) == {"direct": 1, "chain": 3}[route]


def test_what_is_heard_is_scored_and_voices_are_compared(export, test_sets, tmp_path, toy_codec, loaded_models):
    result = run(export, test_sets, tmp_path, "s2st")
    scores = {score.name: score.value for score in result.scores}
    counts = [bleu_counts(item.detail["reference"], "the dog waits") for item in result.items]
    assert scores["s2st_bleu"] == pytest.approx(float(bleu(np.sum(counts, axis=0))))
    assert 0 < scores["s2st_similarity"] <= 1
    assert scores["s2st_ended"] == 1


def test_continuations_go_on_from_the_first_seconds(export, test_sets, tmp_path, toy_codec, loaded_models):
    result = run(export, test_sets, tmp_path, "continuation", {"prompt_seconds": "0.8"}, limit=3)
    spoken = {one.id: one for one in read_librispeech(test_sets / "librispeech", "test-clean")}
    vocabulary = load_checkpoint(export).vocabulary
    ((prompts, _),) = loaded_models
    for item, prompt in zip(result.items, prompts, strict=True):
        codes = toy_codec.encode(load_audio(spoken[item.id].audio))
        start = [vocabulary.begin_of_text, vocabulary.audio_start]
        assert prompt == [*start, *vocabulary.audio_ids(codes[:10])]
    scores = {score.name: score for score in result.scores}
    assert {
        "continuation_similarity",
        "continuation_similarity_original",
        "continuation_similarity_mismatched_prompt",
    } <= set(scores)
    assert scores["continuation_ended"].num_items == 3


def test_a_transcriber_of_another_language_is_refused(export, test_sets, tmp_path, toy_codec, loaded_models):
    with pytest.raises(
        InputError, match=r"must end in the language of the transcriber toy:1, 'en', got 'en_de'.*small@de"
    ):
        run(export, test_sets, tmp_path, "s2st", {"languages": "en_de"})


def test_routes_that_do_not_exist_are_named(export, test_sets, tmp_path, toy_codec, loaded_models):
    with pytest.raises(InputError, match=r"`s2st.route` must be one of direct, chain, got 'scenic'"):
        run(export, test_sets, tmp_path, "s2st", {"route": "scenic"})
