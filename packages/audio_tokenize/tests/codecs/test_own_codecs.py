"""Codecs that a user adds: from a file, from a module, and by the entry point of an installed package."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_data import InputError, TokenDataset
from audio_tokenize import EncodedCorpus, load_codec

# A frame is 100 ms, a code the loudest or the mean sample of a frame in 32 steps.
SOURCE = """
import numpy as np
from audio_tokenize import AbstractCodec
from audio_tokenize.codecs import AbstractDecoderStream, AbstractEncoderStream, RegisteredCodec

class Encoder(AbstractEncoderStream):
    def __init__(self, codec):
        self.codec, self.rest = codec, np.zeros(0, np.float32)

    def push(self, samples):
        self.rest = np.concatenate([self.rest, samples])
        whole = len(self.rest) // 800 * 800
        done, self.rest = self.rest[:whole], self.rest[whole:]
        return self.codec.encode(done)

    def finish(self):
        return self.codec.encode(self.rest)

class Decoder(AbstractDecoderStream):
    def push(self, codes):
        return np.repeat((codes[:, 1] + 0.5) / 16 - 1, 800).astype(np.float32)

    def finish(self):
        return np.zeros(0, np.float32)

class Loudness(AbstractCodec):
    codec_id: str = "loudness-v1"
    sample_rate_hz: int = 8000
    samples_per_frame: int = 800
    num_codebooks: int = 2
    codebook_size: int = 32
    attention_window_frames: int | None = None

    def encode_batch(self, signals):
        return [self._encode(signal) for signal in signals]

    def _encode(self, samples):
        frames = np.pad(samples, (0, -len(samples) % 800)).reshape(-1, 800)
        values = np.stack([abs(frames).max(axis=1) * 2 - 1, frames.mean(axis=1)], axis=1)
        return np.clip((values + 1) * 16, 0, 31).astype(np.int32)

    def encoder_stream(self):
        return Encoder(self)

    def decoder_stream(self):
        return Decoder()

    def codebook_vectors(self):
        return np.broadcast_to(np.linspace(-1, 1, 32, dtype=np.float32)[None, :, None], (2, 32, 1)).copy()

CODEC = RegisteredCodec("loudness", lambda spec: Loudness())
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine" / "own_loudness.py"
    path.parent.mkdir()
    path.write_text(SOURCE)
    return path


def run(*arguments: object) -> str:
    """The command in a process of its own, which knows the codec by its path alone."""
    command = [sys.executable, "-m", "audio_tokenize", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def install(folder: Path, name: str, value: str) -> None:
    """What installing a package leaves that registers a codec."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[audio_tokenize.codecs]\n{name} = {value}\n")


@pytest.mark.long
def test_a_codec_of_a_file_encodes_builds_and_decodes_by_its_path(file: Path, speech: Path, tmp_path: Path):
    codes, data = tmp_path / "codes", tmp_path / "data"
    run("encode", speech, "--codec", f"{file}:Loudness", "--out", codes)
    encoded = EncodedCorpus.open(codes)
    assert encoded.manifest.codec["name"] == f"{file}:Loudness"
    assert (encoded.manifest.codec["id"], encoded.manifest.codec["frame_rate_hz"]) == ("loudness-v1", 10.0)
    run("vocabulary", codes, "--out", data / "vocabulary", "--pieces", 64)
    build = ["build", codes, "--vocabulary", data / "vocabulary", "--codebooks", 2, "--split", "train"]
    run(*build, "--out", data / "asr")
    dataset = TokenDataset.open(data / "asr")
    assert len(dataset) == 6
    last = next(utterance for utterance in encoded if utterance.id == "c")
    run("decode", codes, "--index", len(encoded) - 1, "--out", tmp_path / "c.wav")
    decoded, rate_hz = soundfile.read(tmp_path / "c.wav")
    # The recording rises from -1 to 1 over 5,000 samples: so do the means of its frames.
    ramp = np.linspace(-1, 1, 5000)
    means = [ramp[start : start + 800].sum() / 800 for start in range(0, 5000, 800)]
    assert rate_hz == 8000
    np.testing.assert_allclose(decoded[::800], means, atol=1 / 16)
    np.testing.assert_array_equal(last.codes[:, 1], [int((mean + 1) * 16) for mean in means])
    run("decode", data / "asr", "--out", tmp_path / "asr.wav")
    assert soundfile.info(tmp_path / "asr.wav").samplerate == 8000


def test_a_codec_of_a_module_and_of_an_entry_point(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(file.parent)
    install(file.parent, "loudness", "own_loudness:CODEC")
    assert load_codec("own_loudness:Loudness").codec_id == "loudness-v1"
    assert load_codec("loudness").codec_id == "loudness-v1"
    assert load_codec("embedded").codec_id == "embedded-v1"


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        ("mine/none.py:Loudness", "codec file `mine/none.py` does not exist"),
        ("mine/own_loudness.py:Silence", "has no AbstractCodec `Silence`"),
        ("mine/own_loudness.py:SAMPLES", "has no AbstractCodec `SAMPLES`"),
        ("no_such_module:Loudness", "module `no_such_module` cannot be imported"),
        ("loudnes", "got 'loudnes'"),
    ],
)
def test_a_codec_that_is_not_there_is_one_line(
    file: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str, message: str
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run("encode", speech, "--codec", codec, "--out", "codes")
    assert caught.value.returncode == 2
    assert message in caught.value.stderr
    assert len(caught.value.stderr.splitlines()) == 1
    assert not Path("codes").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:CODEC", r"entry point `broken` of audio_tokenize\.codecs .* cannot be loaded"),
        ("own_loudness:SOURCE_RATE", "cannot be loaded"),
        ("own_loudness:np", r"must be an iterable of `audio_tokenize\.RegisteredCodec`, got module"),
    ],
)
def test_an_entry_point_that_is_wrong_is_named(file: Path, monkeypatch: pytest.MonkeyPatch, value: str, message: str):
    monkeypatch.syspath_prepend(file.parent)
    install(file.parent, "broken", value)
    with pytest.raises(InputError, match=message):
        load_codec("embedded")


def test_a_name_that_two_packages_register_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(file.parent)
    (file.parent / "second.py").write_text(SOURCE.replace('RegisteredCodec("loudness"', 'RegisteredCodec("mimi"'))
    install(file.parent, "second", "second:CODEC")
    with pytest.raises(InputError, match=r"codec `mimi` must be registered once, .*second:CODEC; uninstall one"):
        load_codec("mimi")


def test_options_are_refused(file: Path, speech: Path, tmp_path: Path):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run("encode", speech, "--codec", f"{file}:Loudness", "--codebooks", 1, "--out", tmp_path / "codes")
    assert "must be given by its name alone, got `num_codebooks`; leave that out" in caught.value.stderr


def test_the_codecs_of_this_package_are_registered_in_its_project_file_alone():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert list(project["entry-points"].values()) == [{"audio-tokenize": "audio_tokenize.codecs.registry:CODECS"}]
