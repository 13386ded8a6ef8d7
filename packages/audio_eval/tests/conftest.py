import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import json

import hypothesis
import jax
import numpy as np
import pytest
import soundfile

from audio_data import DatasetWriter, Document, Vocabulary
from audio_eval import evaluate, make_tasks
from audio_eval.testsets.generated import STAND_INS, write_stand_in
from audio_model import Qwen3xConfig, initialize, save_model
from audio_tokenize import AbstractCodec, Segment, SentencePieceText, VocabularyFolder, layout

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# A busy machine must not fail a property.
hypothesis.settings.register_profile("audio_eval", deadline=None)
hypothesis.settings.load_profile("audio_eval")

RATE_HZ = 24_000
NUM_BOOKS, BOOK_SIZE = 3, 16
COLOURS, ANIMALS = ("red", "green", "blue", "white"), ("cat", "horse", "bird")
TEXTS = [f"the {colour} {animal} is in room {room}" for colour in COLOURS for animal in ANIMALS for room in "12"]


class ToyCodec(AbstractCodec):
    """A codec that hears loudness, brightness and slope of a frame, and hums: higher for a higher first code."""

    codec_id: str = "toy-codec"
    sample_rate_hz: int = 24_000
    samples_per_frame: int = 1_920
    num_codebooks: int = NUM_BOOKS
    codebook_size: int = BOOK_SIZE
    attention_window_frames: int | None = None

    def encode_batch(self, signals):
        return [self._encode(np.asarray(signal)) for signal in signals]

    def _encode(self, signal):
        frames = np.pad(signal, (0, -len(signal) % self.samples_per_frame)).reshape(-1, self.samples_per_frame)
        loud = np.abs(frames).mean(axis=1)
        bright = (np.diff(np.sign(frames), axis=1) != 0).mean(axis=1)
        slope = np.abs(frames[:, 960:]).mean(axis=1) / (2 * loud + 1e-9)
        return (np.stack([loud * 4, bright * 2, slope], axis=1).clip(0, 0.999) * BOOK_SIZE).astype(np.int32)

    def encoder_stream(self):
        raise NotImplementedError

    def decoder_stream(self):
        raise NotImplementedError

    def codebook_vectors(self):
        return np.zeros((NUM_BOOKS, BOOK_SIZE, 4), np.float32)

    def decode(self, codes):
        time = np.arange(self.samples_per_frame) / self.sample_rate_hz
        return np.concatenate([0.3 * np.sin(2 * np.pi * 100 * (1 + c) * time) for c in codes[:, 0]]).astype(np.float32)


class EchoTranscriber:
    """A transcriber that returns nothing but the length of a clip, in frames."""

    model_id = "echo:1"
    language = "en"

    def transcribe(self, clips, sample_rate_hz):
        return [f"the red cat is in room {len(clip) // 1_920}" for clip in clips]


@pytest.fixture(scope="session")
def text():
    return SentencePieceText.train(TEXTS, 24)


@pytest.fixture(scope="session")
def vocabulary(text):
    return Vocabulary.compact("toy", text.num_ids, "toy-codec", NUM_BOOKS, BOOK_SIZE, text.fingerprint)


@pytest.fixture(scope="session")
def model(vocabulary):
    # Some rows more than the vocabulary has ids, as padded checkpoints have.
    config = Qwen3xConfig(
        vocab_size=vocabulary.size + 5,
        embed=16,
        mlp=24,
        layers=2,
        heads=2,
        kv_heads=1,
        head_dim=8,
        tied=True,
        max_seq_len=256,
    )
    return initialize(config, jax.random.key(3))


def make_segment(rng, text, transcript):
    frames = int(rng.integers(3, 9))
    codes = rng.integers(0, BOOK_SIZE, size=(frames, NUM_BOOKS)).astype(np.int32)
    return Segment(np.array(text.encode(transcript), np.int32), codes)


def write_dataset(path, vocabulary, text, transcripts, *, orders=("audio_first",), speaker="ann", segments=1):
    rng = np.random.default_rng(len(transcripts))
    codec = {"name": "toy", "id": "toy-codec"}
    with DatasetWriter(path, corpus=path.name, vocabulary=vocabulary, provenance={}, codec=codec) as writer:
        for index, transcript in enumerate(transcripts):
            made = [make_segment(rng, text, transcript) for _ in range(segments)]
            for order in orders:
                metadata = {
                    "id": f"{path.name}-{index}-{order}",
                    "base_id": f"{path.name}-{index}",
                    "text": transcript,
                    "speaker": speaker,
                    "seconds": sum(len(segment.codes) for segment in made) / 12.5,
                    "layout": order,
                }
                writer.write(Document(layout(order).build(made, vocabulary), None, metadata))


@pytest.fixture(scope="session")
def data(tmp_path_factory, vocabulary, text):
    root = tmp_path_factory.mktemp("data")
    write_dataset(root / "heldout", vocabulary, text, TEXTS[:12], orders=("audio_first", "text_first"))
    write_dataset(root / "voice", vocabulary, text, TEXTS[12:18], speaker="bob")
    write_dataset(root / "one", vocabulary, text, TEXTS[:1])
    write_dataset(root / "talks", vocabulary, text, TEXTS[18:21], segments=2)
    return root


@pytest.fixture(scope="session")
def export(tmp_path_factory, model, vocabulary, text):
    """The folder of a run with its export."""
    run = tmp_path_factory.mktemp("run")
    save_model(run / "export", model)
    codebooks = np.zeros((NUM_BOOKS, BOOK_SIZE, 4), np.float32)
    VocabularyFolder(vocabulary, text, codebooks).save(run / "export" / "vocabulary")
    provenance = {"run": "toy-run", "step": 9, "tokens": 1_234, "loss": "grammar"}
    (run / "export" / "provenance.json").write_text(json.dumps(provenance))
    kinds = ("text", "special", "codebook_0", "codebook_1", "codebook_2")
    with (run / "metrics.jsonl").open("w") as stream:
        for step in range(1, 40):
            nll = {kind: 5 / (step + index) for index, kind in enumerate(kinds)}
            line = {
                "step": step,
                "tokens": step * 64,
                "loss": 9 / step,
                "learning_rate": 1e-3,
                "nll": nll,
                "tokens_per_second": 900.0,
            }
            stream.write(json.dumps(line) + "\n")
            if step % 10 == 0:
                stream.write(json.dumps({"step": step, "evaluation": {"nll": nll, "targets": {}}}) + "\n")
        stream.write('{"step": 40, "lo')
    weights = [{"early": 1.0, "asr": 0.0, "tts": 0.0}, {"early": 0.0, "asr": 0.6, "tts": 0.4}]
    stages = [{"start_step": 20 * index, "weights": parts} for index, parts in enumerate(weights)]
    (run / "resolved.json").write_text(json.dumps({"derived": {"mixture": stages}}))
    return run


@pytest.fixture
def toy_codec(monkeypatch):
    codec = ToyCodec()
    monkeypatch.setattr("audio_eval.tasks.base.load_codec", lambda name: codec)
    return codec


@pytest.fixture(scope="session")
def test_sets(tmp_path_factory):
    """Twins of all published test sets, six items each."""
    root = tmp_path_factory.mktemp("test-sets")
    for name in STAND_INS:
        write_stand_in(name, root / name, 6)
    return root


@pytest.fixture(scope="session")
def evaluation(tmp_path_factory, export, data):
    """An evaluation of the toy model by all tasks, with a transcriber of lengths."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audio_eval.tasks.base.load_codec", lambda name: ToyCodec())
        patch.setattr("audio_eval.run.find_transcriber", lambda name: EchoTranscriber())
        tasks = make_tasks(["nll", "asr", "tts"], {"tts.num_items": "5", "asr.batch_size": "16", "tts.batch_size": "8"})
        return evaluate(export, data, ["heldout", "voice"], tasks, tmp_path_factory.mktemp("evaluation"))


def make_export(folder, text, *, num_text=None, max_seq_len=512):
    """A model of random weights that knows the shipped codec's tokens; of `num_text` text ids or the tokenizer's."""
    ids = text.num_ids if num_text is None else num_text
    vocabulary = Vocabulary.compact("toy", ids, "embedded-v1", 8, 2_048, text.fingerprint)
    sizes = {"embed": 16, "mlp": 24, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 8, "tied": True}
    config = Qwen3xConfig(vocab_size=vocabulary.size + 3, max_seq_len=max_seq_len, **sizes)
    save_model(folder, initialize(config, jax.random.key(5)))
    VocabularyFolder(vocabulary, text).save(folder / "vocabulary")
    provenance = {
        "run": "<i>toy</i> ${1+1} {{2+2}}",
        "dataset_fingerprints": {"asr": "1", "tts": "2"},
        "codec": {"name": "embedded"},
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder


@pytest.fixture(scope="session")
def speaker(tmp_path_factory, text):
    """A folder with a model to talk to."""
    return make_export(tmp_path_factory.mktemp("speaker"), text)


@pytest.fixture(scope="session")
def recording(tmp_path_factory):
    """1.2 seconds of a voice-like buzz."""
    time_seconds = np.arange(int(1.2 * RATE_HZ)) / RATE_HZ
    tones = sum(np.sin(2 * np.pi * 120 * k * time_seconds) / k for k in range(1, 20))
    path = tmp_path_factory.mktemp("recording") / "buzz.wav"
    soundfile.write(path, 0.2 * tones * np.sin(2 * np.pi * 2 * time_seconds), RATE_HZ)
    return path
