"""Where the public SODA scripts and this package could differ in what a model reads; for arithmetic, see the tasks."""

import dataclasses

import numpy as np
import pytest
import soundfile

from audio_data import InputError, Vocabulary
from audio_eval import Context, Journal, Unavailable, evaluate, load_checkpoint, make_tasks
from audio_eval.tasks import minimal_pairs, speech, speech_to_speech, speech_to_text
from audio_eval.tasks.speech import encode_clips
from audio_tokenize.codecs.mimi import MimiConfig, load_mimi, write_random_mimi

FRAME = 1_920
SMALL = {"librispeech.shots": "2", "librispeech.max_tokens": "2", "seed_tts.max_tokens": "30"}


@pytest.fixture
def asked(monkeypatch):
    """The prompts of every task; none gets an answer."""
    prompts = []

    def note(model, given, keys, **options):
        prompts.append([one.tolist() for one in given])
        return [(None, 0)] * len(given)

    for module in (speech, speech_to_text, speech_to_speech):
        monkeypatch.setattr(module, "generate_within_context", note)
    return prompts


def run(export, test_sets, out, name, overrides=None, compat=None):
    settings = {key: value for key, value in SMALL.items() if key.startswith(f"{name}.")} | (overrides or {})
    tasks = make_tasks([name], settings, test_sets=test_sets, compat=compat)
    return evaluate(export, None, [], tasks, out, transcriber="none", speaker_encoder="none", limit=2).result(name)


@pytest.mark.parametrize(("name", "documents"), [("librispeech", 3), ("seed_tts", 1), ("s2st", 1), ("continuation", 1)])
def test_prompts_begin_once_as_in_the_scripts_or_twice_as_in_training(
    export, test_sets, tmp_path, toy_codec, asked, name, documents
):
    begin = load_checkpoint(export).vocabulary.begin_of_text
    run(export, test_sets, tmp_path / "a", name)
    run(export, test_sets, tmp_path / "b", name, {f"{name}.begin_of_text": "double"})
    for once, twice in zip(*asked, strict=True):
        assert once.count(begin) == documents
        assert twice == [token for id in once for token in ([begin, begin] if id == begin else [id])]


@pytest.mark.parametrize("name", ["swuggy", "tblimp"])
def test_stimuli_begin_twice_and_count_the_same_tokens(export, test_sets, tmp_path, toy_codec, monkeypatch, name):
    documents = []
    scored = minimal_pairs.scored_documents

    def noted(model, given, *arguments, **options):
        documents.append([one.tolist() for one in given])
        return scored(model, given, *arguments, **options)

    monkeypatch.setattr(minimal_pairs, "scored_documents", noted)
    once = run(export, test_sets, tmp_path / "a", name)
    twice = run(export, test_sets, tmp_path / "b", name, {f"{name}.begin_of_text": "double"})
    begin = load_checkpoint(export).vocabulary.begin_of_text
    assert documents[1] == [[begin, *ids] for ids in documents[0]]
    for one, other in zip(once.items, twice.items, strict=True):
        for side in ("positive", "negative"):
            # As many tokens count, and what they are worth has changed.
            found = [item.detail["log_likelihood"][side] for item in (one, other)]
            counts = [round(values["sum"] / values["mean"]) for values in found]
            assert counts[0] == counts[1]
            assert found[0]["mean"] != found[1]["mean"]


@pytest.mark.parametrize("name", ["swuggy", "librispeech", "seed_tts"])
def test_compat_study_begins_once_or_says_that_it_does(export, test_sets, tmp_path, toy_codec, asked, name):
    with pytest.raises(InputError, match=f"`{name}.begin_of_text` must be 'single' under `compat` 'soda'"):
        run(export, test_sets, tmp_path, name, {f"{name}.begin_of_text": "double"}, compat="soda")
    with pytest.raises(InputError, match="must be one of single, double, got 'triple'"):
        run(export, test_sets, tmp_path, name, {f"{name}.begin_of_text": "triple"})


def test_compat_study_cannot_give_each_item_its_own_shots(export, test_sets, tmp_path, toy_codec, asked):
    own = {"librispeech.same_shots": "false"}
    run(export, test_sets, tmp_path / "a", "librispeech", own)
    result = run(export, test_sets, tmp_path / "b", "librispeech", own, compat="soda")
    assert result.settings["same_shots"] is True
    begin = load_checkpoint(export).vocabulary.begin_of_text

    def shots(prompt):
        return prompt[: len(prompt) - prompt[::-1].index(begin) - 1]

    ours, theirs = ([shots(prompt) for prompt in prompts] for prompts in asked)
    assert ours[0] != ours[1]
    assert theirs[0] == theirs[1]


@pytest.fixture(scope="module")
def mimi_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mimi") / "weights"
    write_random_mimi(folder, MimiConfig.tiny())
    return folder


def test_clips_are_encoded_alone_without_a_padding_mask_as_the_scripts_do(export, mimi_folder, tmp_path, monkeypatch):
    """What training's padded batches may have made of a last, incomplete frame is in its data, not in a score."""
    torch = pytest.importorskip("torch", reason="needs torch: uv pip install torch transformers")
    transformers = pytest.importorskip("transformers", minversion="5.23", reason="uv pip install torch transformers")
    rng = np.random.default_rng(2)
    clips = {str(n): rng.normal(0, 0.1, n).astype(np.float32) for n in (3 * FRAME, 5 * FRAME + 700, 2 * FRAME - 1)}
    for name, samples in clips.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, 24_000, subtype="FLOAT")
    codec = load_mimi(str(mimi_folder))
    monkeypatch.setattr("audio_eval.tasks.base.load_codec", lambda spec: codec)
    vocabulary = Vocabulary.compact("mimi", 24, codec.codec_id, 8, codec.codebook_size, "text")
    checkpoint = dataclasses.replace(load_checkpoint(export), vocabulary=vocabulary)
    context = Context(checkpoint, {}, tmp_path, Unavailable("no transcriber is asked for"))
    codes, problems = encode_clips(context, {n: (tmp_path / f"{n}.wav",) for n in clips}, Journal(), "test")
    assert not problems
    theirs = transformers.MimiModel.from_pretrained(mimi_folder).eval()
    for name, samples in clips.items():
        with torch.no_grad():
            alone = theirs.encode(torch.from_numpy(samples)[None, None], num_quantizers=8).audio_codes[0].T.numpy()
        np.testing.assert_array_equal(codes[name], alone)
