import importlib.util
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import get_window

from audio_data import InputError
from audio_eval.metrics import word_error_rate
from audio_eval.normalizers import spoken_english
from audio_eval.speech_models import (
    SpeakerEncoder,
    Transcriber,
    Unavailable,
    base,
    embedded,
    find_speaker_encoder,
    find_transcriber,
    similarity,
    training,
)
from audio_eval.speech_models.base import shipped_weights
from audio_eval.speech_models.embedded import NUM_BANDS, EmbeddedTranscriber, log_mel, pitch
from audio_tokenize import load_audio, open_corpus


def load(utterance):
    return load_audio(utterance.audio, 24_000, utterance.start_seconds, utterance.end_seconds)


@pytest.fixture(scope="module")
def spoken():
    """Held-out sentences: of voices from training, and of one that was not in it."""
    chosen = [*open_corpus("sample").select(split="heldout")][::20] + [
        *open_corpus("sample").select(split="heldout-f4")
    ][:8]
    return [(utterance, load(utterance)) for utterance in chosen]


@pytest.mark.long
def test_the_transcriber_finds_most_held_out_words_and_says_who_it_is(spoken):
    transcriber = find_transcriber("embedded")
    assert isinstance(transcriber, Transcriber)
    assert transcriber.model_id.startswith("embedded-transcriber:1:")
    assert isinstance(transcriber, EmbeddedTranscriber)
    assert len(transcriber.words) == 73
    clips = [clip for _, clip in spoken]
    transcripts = transcriber.transcribe([*clips, np.zeros(0, np.float32)], 24_000)
    assert transcripts.pop() == ""
    references = [spoken_english(utterance.text) for utterance, _ in spoken]
    assert word_error_rate(references, transcripts).value < 0.15
    # Given other texts the same transcripts are nearly all wrong.
    assert word_error_rate(references[1:] + references[:1], transcripts).value > 0.6
    alone = [transcriber.transcribe([clip], 24_000)[0] for clip in clips[:3]]
    assert alone == transcripts[:3]
    noise = 0.05 * np.random.default_rng(0).normal(size=24_000).astype(np.float32)
    assert len(transcriber.transcribe([noise], 24_000)[0].split()) <= 3


def test_scores_do_not_depend_on_padding():
    shapes = embedded.network_shapes(NUM_BANDS, 5)
    rng = np.random.default_rng(0)
    parameters = {name: jnp.asarray(rng.normal(size=shape, scale=0.1), jnp.float32) for name, shape in shapes.items()}
    frames = rng.normal(size=(1, 64, NUM_BANDS)).astype(np.float32)
    padded = np.pad(frames, ((0, 2), (0, 192), (0, 0)), constant_values=3.0)
    real = np.zeros((3, 256), bool)
    real[0, :64] = True
    whole = np.asarray(embedded.apply_network(parameters, jnp.asarray(frames), jnp.ones((1, 64), bool)))
    part = np.asarray(embedded.apply_network(parameters, jnp.asarray(padded), jnp.asarray(real)))[:1, : whole.shape[1]]
    np.testing.assert_allclose(part, whole, atol=1e-4)


@pytest.mark.parametrize(("num_examples", "num_steps"), [(32, 4), pytest.param(64, 100, marks=pytest.mark.slow)])
def test_training_learns_two_tones(num_examples, num_steps):
    """A word is a band: high or low. Four steps lower the loss, a hundred tell the words apart."""
    rng = np.random.default_rng(0)
    examples = []
    for _ in range(num_examples):
        words = rng.integers(2, size=2)
        clip = np.full((64, NUM_BANDS), -10.0, np.float32)
        for place, word in enumerate(words):
            clip[place * 32 + 4 : place * 32 + 28, word * 25 : word * 25 + 8] = 0.0
        examples.append((clip, " ".join(("low", "high")[word] for word in words)))
    lines = []
    # optax's schedules multiply floats by integer steps.
    with jax.numpy_dtype_promotion("standard"):
        first, trained = (
            training.train_transcriber(examples, ["low", "high"], num_steps=steps, seed=0, report=lines.append)
            for steps in (1, num_steps)
        )
    assert _ctc_loss(trained, examples) < _ctc_loss(first, examples)
    if num_steps == 100:
        assert float(lines[-1].split()[-1]) < 4.0
        assert lines[-1].startswith("step 100 of 100")


def _ctc_loss(parameters, examples):
    """Mean negative log-likelihood of two words, summed over all alignments one by one."""
    clips = jnp.asarray(np.stack([clip for clip, _ in examples[:4]]))
    scores = np.asarray(embedded.apply_network(parameters, clips, jnp.ones(clips.shape[:2], bool)), np.float64)
    logs = scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)
    total = 0.0
    for log, (_, text) in zip(logs, examples, strict=False):
        first, second = (("low", "high").index(word) + 1 for word in text.split())
        states = [0, first, 0, second, 0]
        forward = np.full(len(states), -np.inf)
        forward[:2] = log[0, states[:2]]
        for step in log[1:]:
            before = [forward[max(0, i - 1) : i + 1] for i in range(len(states))]
            if first != second:
                before[3] = forward[1:4]
            forward = np.array([np.logaddexp.reduce(past) for past in before]) + step[states]
        total -= np.logaddexp(forward[-1], forward[-2])
    return total / len(logs)


def test_clips_of_one_speaker_vary_equally_in_all_directions_after_whitening():
    rng = np.random.default_rng(0)
    clips = [(f"voice-{i % 3}", (0.1 * rng.normal(size=4000 + 100 * i)).astype(np.float32)) for i in range(60)]
    fitted = embedded.fit_speaker_statistics(clips)
    rows = np.array([embedded.describe(clip, embedded.SAMPLE_RATE_HZ) for _, clip in clips])
    centres = np.array([rows[i % 3 :: 3].mean(axis=0) for i in range(60)])
    np.testing.assert_allclose(fitted["mean"], centres[:3].mean(axis=0), rtol=1e-4, atol=1e-5)
    within = np.cov((rows - centres).T, bias=True)
    shrunk = within + 0.05 * np.diag(np.diag(within)) + 1e-6 * np.eye(len(within))
    np.testing.assert_allclose(fitted["whitening"] @ shrunk @ fitted["whitening"].T, np.eye(len(within)), atol=1e-3)


def test_voices_are_told_apart(spoken):
    encoder = find_speaker_encoder()
    assert isinstance(encoder, SpeakerEncoder)
    assert encoder.model_id.startswith("embedded-speaker:1:")
    vectors = encoder.embed([clip for _, clip in spoken], 24_000)
    pairs = list(itertools.combinations(zip(spoken, vectors, strict=True), 2))
    same = [similarity(v, w) for ((u, _), v), ((o, _), w) in pairs if u.speaker == o.speaker]
    other = [similarity(v, w) for ((u, _), v), ((o, _), w) in pairs if u.speaker != o.speaker]
    assert np.mean(np.array(same)[:, None] > np.array(other)[None]) > 0.95
    assert np.mean(same) > np.mean(other) + 0.5
    (nothing,) = encoder.embed([np.zeros(0, np.float32)], 24_000)
    assert similarity(nothing, vectors[0]) == 0


@pytest.mark.parametrize("hertz", [80.0, 140.0, 220.0, 330.0])
def test_pitch_of_a_buzz(hertz):
    time = np.arange(16_000) / 16_000
    waves = [np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 6)]
    buzz = np.sum(waves, axis=0).astype(np.float32)
    pitches = pitch(0.2 * buzz, 16_000)
    assert np.median(pitches[pitches > 0]) == pytest.approx(hertz, rel=0.03)
    assert not pitch(np.zeros(8_000, np.float32), 16_000).any()


def test_log_mel_of_a_tone_is_loudest_at_its_band_and_as_defined():
    time = np.arange(8_000) / 16_000
    tone = np.sin(2 * np.pi * 1_000 * time).astype(np.float32)
    found = log_mel(tone, 16_000)
    assert found.shape == (50, NUM_BANDS)
    low, high = (2595 * np.log10(1 + f / 700) for f in (60, 7_600))
    edges = 700 * (10 ** (np.linspace(low, high, NUM_BANDS + 2) / 2595) - 1)
    nearest = np.abs(edges[1:-1] - 1_000).argmin()
    assert abs(int(found[25].argmax()) - nearest) <= 1
    window = get_window("hann", 400, fftbins=False)
    frame = tone[25 * 160 - 120 : 25 * 160 + 280] * window
    power = np.abs(np.fft.rfft(frame, 512)) ** 2
    band = int(found[25].argmax())
    bins = np.fft.rfftfreq(512, 1 / 16_000)
    triangle = np.interp(bins, edges[band : band + 3], [0, 1, 0])
    assert found[25, band] == pytest.approx(np.log(power @ triangle + 1e-6), abs=1e-3)


def test_speaker_encoders_by_name():
    nobody = find_speaker_encoder("none")
    assert isinstance(nobody, Unavailable)
    assert "--speaker-encoder none" in nobody.reason
    with pytest.raises(InputError, match="must be embedded, none, wavlm or wavlm:MODEL, got 'ear'"):
        find_speaker_encoder("ear")


def test_a_folder_without_a_wavlm_or_no_torch_is_no_encoder_and_says_why(tmp_path):
    missing = [package for package in ("torch", "transformers") if importlib.util.find_spec(package) is None]
    encoder = find_speaker_encoder(f"wavlm:{tmp_path}")
    assert isinstance(encoder, Unavailable)
    assert ("pip install" if missing else "no config.json") in encoder.reason


def make_wavlm_config(transformers):
    return transformers.WavLMConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(160, 2),
        conv_kernel=(400, 2),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        tdnn_dim=(8, 8),
        tdnn_kernel=(3, 1),
        tdnn_dilation=(1, 1),
        xvector_output_dim=6,
        do_stable_layer_norm=False,
    )


@pytest.mark.parametrize("damage", ["cut", "headless"])
def test_a_wavlm_that_lacks_weights_is_no_encoder(tmp_path, damage):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = make_wavlm_config(transformers)
    kind = transformers.WavLMModel if damage == "headless" else transformers.WavLMForXVector
    kind(config).save_pretrained(tmp_path)
    if damage == "cut":
        (tmp_path / "model.safetensors").write_bytes(b"short")
    encoder = find_speaker_encoder(f"wavlm:{tmp_path}")
    assert isinstance(encoder, Unavailable)
    assert f"`{tmp_path}` holds no WavLMForXVector that transformers reads" in encoder.reason
    assert ("no weights for" in encoder.reason) == (damage == "headless")


@pytest.mark.parametrize(
    "change",
    [
        b"",
        b"{",
        b"\0" * 40,
        b"[" * 5_000,
        b"[]",
        b'{"a": "\xe9"}',
        {"hidden_size": "x"},
        {"hidden_size": -3},
        {"hidden_size": None},
        {"num_attention_heads": 0},
        {"conv_dim": 8},
        {"conv_stride": []},
        {"hidden_act": "nothing"},
        {"tdnn_dim": [[]]},
    ],
)
def test_a_wavlm_whose_settings_are_damaged_is_no_encoder(tmp_path, change):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    transformers.WavLMForXVector(make_wavlm_config(transformers)).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    if isinstance(change, dict):
        change = json.dumps({**json.loads(path.read_text()), **change}).encode()
    path.write_bytes(change)
    encoder = find_speaker_encoder(f"wavlm:{tmp_path}")
    assert isinstance(encoder, Unavailable)
    assert f"`{tmp_path}` holds no WavLMForXVector that transformers reads" in encoder.reason
    assert "\n" not in encoder.reason


def test_a_wavlm_gives_the_vectors_of_transformers(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.WavLMForXVector(make_wavlm_config(transformers)).eval()
    model.save_pretrained(tmp_path)
    encoder = find_speaker_encoder(f"wavlm:{tmp_path}")
    assert not isinstance(encoder, Unavailable)
    assert encoder.model_id.startswith(f"wavlm:{tmp_path.name}:")
    clip = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    found, nothing = encoder.embed([clip, np.zeros(0, np.float32)], 16_000)
    values = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)(clip, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = model(values.input_values).embeddings[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert similarity(nothing, found) == 0


@pytest.mark.parametrize("name", ["speaker.safetensors", "transcriber.safetensors"])
@pytest.mark.parametrize("place", [None, 0, 100, -1])
def test_weights_that_are_not_as_they_were_shipped_are_refused(name, place, tmp_path, monkeypatch):
    content = bytearray(shipped_weights(name))
    if place is not None:
        content[place] ^= 1
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(base.importlib.resources, "files", lambda package: tmp_path)
    shipped_weights.cache_clear()
    try:
        with pytest.raises(InputError, match=rf"{name}` must have the SHA-256 .*: install audio-eval again"):
            shipped_weights(name)
    finally:
        shipped_weights.cache_clear()
