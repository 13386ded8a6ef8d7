import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_data import InputError, Vocabulary
from audio_tokenize import codecs
from audio_tokenize.codecs.registry import CodecSpec
from audio_tokenize.documents.layout import Segment
from audio_tokenize.documents.layouts import layout
from audio_tokenize.documents.passages import Passage, read_ids
from audio_tokenize.inspection.excerpts import Excerpt
from audio_tokenize.inspection.playback import decode_excerpt, describe_excerpt, show_excerpt, write_wav

VOCABULARY = Vocabulary.compact("v", 50, "tiny-v1", 8, 16, "t")


@pytest.fixture
def asked(monkeypatch, codec) -> list[CodecSpec]:
    """The specs that were loaded; what is loaded is always the tiny codec."""
    specs: list[CodecSpec] = []
    monkeypatch.setattr(codecs, "load_codec", lambda spec: specs.append(spec) or codec)
    return specs


def document(*lengths: int, codec: dict | None = None, **changes) -> Excerpt:
    random = np.random.default_rng(0)
    content = [Segment(random.integers(0, 50, 3), random.integers(0, 16, (length, 8))) for length in lengths]
    ids = layout(changes.pop("layout", "audio_first")).build(content, VOCABULARY)
    for position, value in changes.pop("wrong", {}).items():
        ids[position] = value
    found = read_ids(ids, VOCABULARY, lambda ids: " ".join(f"w{i}" for i in ids))
    codec = {"name": "tiny", "id": "tiny-v1", "frame_rate_hz": 12.5} if codec is None else codec
    return Excerpt("d[0]", found.passages, found.num_tokens, found.unit, found.problem, codec, {"id": "x", "text": "w"})


def test_spans_of_audio_are_heard_one_after_another(asked, codec):
    excerpt = document(3, 5)
    alone = [codec.decode(passage.codes) for passage in excerpt.audio]
    samples, sample_rate_hz = decode_excerpt(excerpt)
    assert sample_rate_hz == 8000
    assert np.array_equal(samples, np.concatenate(alone))
    assert np.array_equal(decode_excerpt(excerpt, segment=1)[0], alone[1])
    assert [spec.name for spec in asked] == ["tiny", "tiny"]


@pytest.mark.parametrize(
    ("described", "given", "weights", "expected"),
    [
        ({"name": "embedded", "id": "tiny-v1"}, None, None, CodecSpec("embedded")),
        ({"id": "tiny-v1"}, "my.safetensors", None, CodecSpec("my.safetensors")),
        ({}, "mimi", "DIR", CodecSpec("mimi", weights="DIR", num_codebooks=8)),
        ({}, None, "DIR", CodecSpec("mimi", weights="DIR", num_codebooks=8)),
        ({}, CodecSpec("mimi", num_codebooks=32), None, CodecSpec("mimi", num_codebooks=32)),
    ],
)
def test_the_codec_is_the_one_named_or_the_one_described(asked, described, given, weights, expected):
    decode_excerpt(document(3, codec=described), given, weights=weights)
    assert asked == [expected]


def test_weights_that_have_moved_keep_everything_else_of_the_description(asked):
    described = {
        "name": "mimi", "id": "tiny-v1", "num_codebooks": 8, "frame_rate_hz": 12.5, "attention_window_frames": None,
        "weights": "/gone", "weights_sha256": "0" * 64,
    }  # fmt: skip
    decode_excerpt(document(3, codec=described), weights="/here")
    (spec,) = asked
    assert (spec.weights, spec.attention_window_seconds, spec.weights_sha256) == ("/here", None, "0" * 64)


@pytest.mark.parametrize(
    ("excerpt", "arguments", "message"),
    [
        (
            document(3, codec={}),
            {},
            r"`d\[0\]` does not name the codec that made it: give `codec`, for published corpora",
        ),
        (
            document(3, codec={"name": "tiny", "id": "tiny-v0"}),
            {},
            "of codec 'tiny-v0', but the one given is 'tiny-v1'",
        ),
        (document(3), {"segment": 1}, r"`segment` of `d\[0\]` must be in 0\.\.0, got 1"),
        (document(3, layout="text"), {}, "holds no audio"),
        (document(0), {}, "holds no audio"),
        (document(3, 5, wrong={60: 0}), {}, r"is broken: `ids\[60\]` must be a code of codebook"),
    ],
)
def test_what_cannot_be_heard_is_refused(asked, excerpt, arguments, message):
    with pytest.raises(InputError, match=message):
        decode_excerpt(excerpt, **arguments)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.full((2, 8), 16), r"`codes\[0, 0\]` must be in 0\.\.15 for codec 'tiny-v1', got 16"),
        (np.zeros((2, 9), int), "at most 8 codebooks for codec 'tiny-v1', got 9"),
    ],
)
def test_codes_of_another_codec_are_refused(asked, codes, message):
    excerpt = Excerpt("c", (Passage("audio", None, None, codes=codes),), codes.size, "codes", None, {}, {})
    with pytest.raises(InputError, match=message):
        decode_excerpt(excerpt, "tiny")


def test_the_whole_spans_of_a_broken_document_can_be_heard(asked, codec):
    excerpt = document(3, 5, wrong={60: 0})
    assert np.array_equal(decode_excerpt(excerpt, segment=0)[0], codec.decode(document(3, 5).audio[0].codes))


def test_a_wav_file_holds_the_sound(tmp_path: Path):
    write_wav(tmp_path / "x.wav", np.array([0.5, -2.0, 2.0], np.float32), 24000)
    samples, sample_rate_hz = soundfile.read(tmp_path / "x.wav")
    assert sample_rate_hz == 24000
    assert samples == pytest.approx([0.5, -1, 1], abs=1e-4)
    with pytest.raises(InputError, match=r"`out` must end in `\.wav`, got 'x\.mp3'"):
        write_wav(tmp_path / "x.mp3", samples.astype(np.float32), 24000)


def test_a_user_s_recording_survives_and_ours_is_written_anew(tmp_path: Path):
    sound = np.zeros(100, np.float32)
    for _ in range(2):
        write_wav(tmp_path / "x.wav", sound, 24000)
    soundfile.write(tmp_path / "x.wav", sound + 0.5, 24000)
    before = (tmp_path / "x.wav").read_bytes()
    with pytest.raises(InputError, match=r"x\.wav` exists and was not written by this command"):
        write_wav(tmp_path / "x.wav", sound, 24000)
    assert (tmp_path / "x.wav").read_bytes() == before


def test_texts_have_the_times_of_the_audio_they_stand_beside():
    for name in ("audio_first", "text_first"):
        passages = describe_excerpt(document(5, 10, layout=name))["passages"]
        times = [(p["kind"], p["begin_seconds"], p["end_seconds"]) for p in passages if p["kind"] != "special"]
        assert sorted(times) == [("audio", 0, 0.4), ("audio", 0.4, 1.2), ("text", 0, 0.4), ("text", 0.4, 1.2)]


def test_a_text_without_audio_has_no_time():
    (text,) = (p for p in describe_excerpt(document(5, layout="text"))["passages"] if p["kind"] == "text")
    assert "begin_seconds" not in text


def test_codes_are_described_by_their_first_and_last_frame():
    excerpt = document(5)
    (audio,) = (p for p in describe_excerpt(excerpt)["passages"] if p["kind"] == "audio")
    codes = excerpt.audio[0].codes.tolist()
    assert (audio["first_frame"], audio["last_frame"]) == (codes[0], codes[-1])
    assert (audio["num_frames"], audio["num_codebooks"], audio["start"], audio["stop"]) == (5, 8, 2, 42)


def test_lines_for_people_hide_nothing():
    excerpt = document(5, 5, wrong={60: 0})
    text = Passage("text", 0, 1, "a\nb\x1b[2J\u202ec")
    shown = show_excerpt(
        Excerpt("d", (*excerpt.passages, text), 9, "ids", excerpt.problem, excerpt.codec, {"id": "\x1b"})
    )
    lines = shown.splitlines()
    assert "a\\nb\\x1b[2J\\u202ec" in shown
    assert "\x1b" not in shown
    assert sum("<|audio_start|>" in line for line in lines) == 2
    assert lines[-1].startswith("broken: `ids[60]` must be a code of codebook ")


def test_looking_and_listening_agree_on_the_length(asked):
    excerpt = document(4, 9)
    content = io.BytesIO()
    samples, rate = decode_excerpt(excerpt)
    soundfile.write(content, samples, rate, format="WAV")
    assert describe_excerpt(excerpt)["seconds"] == len(samples) / rate
