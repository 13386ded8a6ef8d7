import shutil

import jiwer
import numpy as np
import pytest

from audio_data import InputError
from audio_eval import evaluate, load_checkpoint, make_tasks
from audio_eval.normalizers import NORMALIZERS
from audio_eval.tasks import seed_tts, speech
from audio_eval.testsets.speech import read_seed_tts
from audio_tokenize import load_audio


class Parrot:
    """Hears a text by the length of a clip, and voices by their loudness."""

    model_id = "parrot:1"
    language = "en"

    def __init__(self, said):
        self.said = said

    def transcribe(self, clips, sample_rate_hz):
        return [self.said.get(len(clip), "nothing at all") for clip in clips]

    def embed(self, clips, sample_rate_hz):
        return [np.array([1.0, np.abs(clip).mean() if clip.size else 0.0]) for clip in clips]


@pytest.fixture
def asked(monkeypatch, vocabulary):
    """Answers for the model: a frame more each item; the third never ends, the fourth has no frames."""
    calls = []

    def continued(model, prompts, keys, *, max_units, **options):
        calls.append((prompts, options))
        found = []
        for index in range(len(prompts)):
            frames = {2: max_units, 3: 0}.get(index, index + 4)
            found.append((vocabulary.audio_ids(np.ones((frames, 3), np.int32)), max_units))
        return found

    monkeypatch.setattr(speech, "generate_within_context", continued)
    return calls


def run(export, test_sets, out, monkeypatch, compat=None):
    prompts = sorted(
        read_seed_tts(test_sets / "seed_tts"), key=lambda one: seed_tts.hashlib.sha256(one.id.encode()).digest()
    )
    said = {1_920 * (index + 4): one.text for index, one in enumerate(prompts)}
    parrot = Parrot(said)
    monkeypatch.setattr("audio_eval.run.find_transcriber", lambda name: parrot)
    monkeypatch.setattr("audio_eval.run.find_speaker_encoder", lambda name: parrot)
    tasks = make_tasks(["seed_tts"], {"seed_tts.max_tokens": "121"}, test_sets=test_sets, compat=compat)
    return prompts, evaluate(export, None, [], tasks, out).result("seed_tts")


@pytest.mark.long
def test_prompts_voices_and_rates(export, test_sets, tmp_path, toy_codec, monkeypatch, asked):
    prompts, result = run(export, test_sets, tmp_path, monkeypatch)
    checkpoint = load_checkpoint(export)
    vocabulary, text = checkpoint.vocabulary, checkpoint.text
    ((ids, options),) = asked
    assert (options["sampling"].temperature, options["sampling"].top_p) == (0.9, 0.8)
    one = prompts[0]
    expected = [vocabulary.begin_of_text, vocabulary.text_start, *text.encode(one.prompt_text), vocabulary.text_end]
    expected += [vocabulary.audio_start, *vocabulary.audio_ids(toy_codec.encode(load_audio(one.prompt)))]
    expected += [vocabulary.audio_end, vocabulary.text_start, *text.encode(one.text), vocabulary.text_end]
    assert ids[0].tolist() == [*expected, vocabulary.audio_start]

    scores = {score.name: score for score in result.scores}
    # 121 tokens are 40 whole frames; the third item fills them, the fourth has no sound.
    assert [item.detail["frames"] for item in result.items] == [4, 5, 40, 0, 8, 9]
    assert scores["seed_tts_ended"].value == pytest.approx(4 / 6)
    normalize = NORMALIZERS["whisper_english"]
    right = [normalize(one.text) for one in prompts]
    transcripts = [normalize(item.detail["transcripts"]["generated"]) for item in result.items]
    assert scores["seed_tts_wer"].value == pytest.approx(jiwer.wer(right, transcripts))
    assert scores["seed_tts_wer"].num_items == 6
    assert scores["seed_tts_wer_original"].num_items == 6
    assert 0 < scores["seed_tts_similarity"].value <= 1
    assert scores["seed_tts_similarity_mismatched_prompt"].num_items == 6
    assert result.settings["transcriber"] == result.settings["speaker_encoder"] == "parrot:1"


def test_compat_study_leaves_out_what_did_not_end_and_takes_the_mean(
    export, test_sets, tmp_path, toy_codec, monkeypatch, asked
):
    prompts, result = run(export, test_sets, tmp_path, monkeypatch, compat="soda")
    ((_, options),) = asked
    assert options["automaton"] is None
    scores = {score.name: score for score in result.scores}
    assert result.settings["num_left_out"] == 2
    assert scores["seed_tts_wer"].num_items == 4
    normalize = NORMALIZERS["whisper_english"]
    rates = [
        jiwer.wer(normalize(one.text), normalize(item.detail["transcripts"]["generated"]))
        for one, item in zip(prompts, result.items, strict=True)
        if item.detail["usable"]
    ]
    assert scores["seed_tts_wer"].value == pytest.approx(np.mean(rates))
    # Its survivors look better than the test set does.
    assert scores["seed_tts_ended"].value == 1


def test_under_compat_study_no_usable_item_is_no_score_and_the_reason(
    export, test_sets, tmp_path, toy_codec, monkeypatch
):
    monkeypatch.setattr(
        speech, "generate_within_context", lambda model, prompts, keys, **options: [(None, 0)] * len(prompts)
    )
    _, result = run(export, test_sets, tmp_path, monkeypatch, compat="soda")
    assert result.settings["num_left_out"] == result.settings["num_too_long"] == 6
    (score, *_) = result.scores
    assert (score.name, score.value) == ("seed_tts_wer", None)
    assert "none of the 6 items ended with a sound" in score.reason
    assert all("leave no space for speech" in item.detail["problem"] for item in result.items)


def test_recordings_of_some_items_alone_calibrate_nothing(export, test_sets, tmp_path, toy_codec, monkeypatch, asked):
    folder = shutil.copytree(test_sets / "seed_tts", tmp_path / "sets" / "seed_tts")
    first, *rest = (folder / "meta.lst").read_text().splitlines()
    (folder / first.split("|")[4]).unlink()
    (folder / "meta.lst").write_text("\n".join([first.rpartition("|")[0], *rest]))
    _, result = run(export, tmp_path / "sets", tmp_path / "out", monkeypatch)
    scores = {score.name: score for score in result.scores}
    assert scores["seed_tts_wer"].num_items == scores["seed_tts_similarity"].num_items == 6
    assert not {"seed_tts_wer_original", "seed_tts_similarity_original"} & set(scores)


def test_ids_out_of_place_are_no_sound(vocabulary):
    ids = vocabulary.audio_ids(np.ones((3, 3), np.int32))
    assert speech.as_frames(ids[:8], vocabulary).shape == (2, 3)
    assert speech.as_frames(ids[[1, 0, 2]], vocabulary).shape == (0, 3)


def test_lines_of_another_form_are_named(tmp_path):
    (tmp_path / "meta.lst").write_text("a|text|a.wav|said\n\nb|only two\n")
    with pytest.raises(InputError, match=r"line 3 of .*meta\.lst` must be ID"):
        read_seed_tts(tmp_path)
    (tmp_path / "meta.lst").write_text("a|text|a.wav|said\n")
    (one,) = read_seed_tts(tmp_path)
    assert one.recording is None
    with pytest.raises(InputError, match=r"must hold Seed-TTS: meta\.lst"):
        read_seed_tts(tmp_path.parent)
