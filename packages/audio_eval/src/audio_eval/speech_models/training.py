"""Training of the embedded speech models, on the shipped sample corpus, in minutes on two CPU cores.

Run `python -m audio_eval.speech_models.training OUT`, which writes `transcriber.safetensors` and
`speaker.safetensors`.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors.numpy
from jaxtyping import Array, Bool, Float32, Int32

from audio_eval.normalizers import spoken_english
from audio_eval.speech_models import embedded
from audio_eval.speech_models.embedded import NUM_BANDS, SAMPLE_RATE_HZ, log_mel
from audio_tokenize import Utterance, load_audio, load_codec, open_corpus, resample

_BATCH_SIZE = 32
_NUM_STEPS = 7_000
_PEAK_LEARNING_RATE = 2e-3
_MAX_WORDS = 16
_SPEEDS = (0.88, 1.0, 1.12)
# The network is also trained on the codec's reconstruction of this share of the utterances, as it is used on them.
_RECONSTRUCTED_EVERY = 4


def train(out: Path, *, num_steps: int = _NUM_STEPS, seed: int = 0, report: Callable[[str], None] = print) -> None:
    """Train both models on split `train` of corpus `sample` and writes them.

    Args:
        out: Folder to write into.
        num_steps: Steps of the transcriber's training, 32 utterances each.
        seed: Drives initial weights, order and augmentation.
        report: Gets a line every 100 steps.
    """
    utterances = [u for u in open_corpus("sample") if u.split == "train"]
    words = sorted({word for u in utterances for word in spoken_english(u.text).split()})
    clips = [_load(u) for u in utterances]
    tensors = train_transcriber(_examples(utterances, clips), words, num_steps=num_steps, seed=seed, report=report)
    out.mkdir(parents=True, exist_ok=True)
    halves = {name: np.asarray(value, np.float16) for name, value in tensors.items()}
    safetensors.numpy.save_file(halves, out / "transcriber.safetensors", metadata={"words": " ".join(words)})
    statistics = embedded.fit_speaker_statistics([(u.speaker, clip) for u, clip in zip(utterances, clips, strict=True)])
    safetensors.numpy.save_file(dict(statistics), out / "speaker.safetensors")


def _load(utterance: Utterance) -> Float32[np.ndarray, " samples"]:
    return load_audio(utterance.audio, SAMPLE_RATE_HZ, utterance.start_seconds, utterance.end_seconds)


def _examples(
    utterances: Sequence[Utterance], clips: Sequence[Float32[np.ndarray, " _"]]
) -> list[tuple[Float32[np.ndarray, "_ bands"], str]]:
    """Log-mels with their text: each clip at three speeds, and some through the codec."""
    found = []
    for utterance, clip in zip(utterances, clips, strict=True):
        text = spoken_english(utterance.text)
        for speed in _SPEEDS:
            found.append((log_mel(resample(clip, round(SAMPLE_RATE_HZ * speed), SAMPLE_RATE_HZ), SAMPLE_RATE_HZ), text))
    codec = load_codec("embedded")
    chosen = range(0, len(utterances), _RECONSTRUCTED_EVERY)
    rate_hz = int(codec.sample_rate_hz)
    codes = codec.encode_batch([resample(clips[index], SAMPLE_RATE_HZ, rate_hz) for index in chosen])
    for index, sounds in zip(chosen, codec.decode_batch(codes), strict=True):
        found.append((log_mel(sounds, rate_hz), spoken_english(utterances[index].text)))
    return found


def train_transcriber(
    examples: Sequence[tuple[Float32[np.ndarray, "_ bands"], str]],
    words: Sequence[str],
    *,
    num_steps: int,
    seed: int,
    report: Callable[[str], None],
) -> dict[str, Array]:
    """Train the network with CTC over words, blank first.

    Source: Graves et al., Connectionist temporal classification (2006).
    """
    random = np.random.default_rng(seed)
    parameters = {
        name: jnp.asarray(random.normal(size=shape) * np.sqrt(1.5 / np.prod(shape[:-1])), jnp.float32)
        if len(shape) == 3
        else jnp.zeros(shape)
        for name, shape in embedded.network_shapes(NUM_BANDS, len(words) + 1).items()
    }
    schedule = optax.warmup_cosine_decay_schedule(0.0, _PEAK_LEARNING_RATE, min(200, num_steps // 5), num_steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-2))

    @jax.jit
    def step(
        parameters: Mapping[str, Array],
        state: optax.OptState,
        log_mels: Float32[Array, "batch frames bands"],
        real: Bool[Array, "batch frames"],
        labels: Int32[Array, "batch words"],
        label_padding: Float32[Array, "batch words"],
    ) -> tuple[optax.Params, optax.OptState, Float32[Array, ""]]:
        def loss_of(parameters: Mapping[str, Array]) -> Float32[Array, ""]:
            scores = embedded.apply_network(parameters, log_mels, real)
            padding = 1.0 - real[:, :: embedded.FRAMES_PER_STEP].astype(jnp.float32)
            return optax.ctc_loss(scores, padding, labels, label_padding).mean()

        loss, gradients = jax.value_and_grad(loss_of)(parameters)
        updates, state = optimizer.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state, loss

    state, losses = optimizer.init(parameters), []
    for number, batch in enumerate(_batches(examples, words, random, num_steps), start=1):
        parameters, state, loss = step(parameters, state, *batch)
        losses.append(float(loss))
        if number % 100 == 0:
            report(f"step {number} of {num_steps}: loss {np.mean(losses[-100:]):.3f}")
    return dict(parameters)


def _batches(
    examples: Sequence[tuple[Float32[np.ndarray, "_ bands"], str]],
    words: Sequence[str],
    random: np.random.Generator,
    num_steps: int,
) -> Iterator[tuple[np.ndarray, np.ndarray, Int32[np.ndarray, "batch words"], np.ndarray]]:
    index = {word: position + 1 for position, word in enumerate(words)}
    order = sorted(range(len(examples)), key=lambda i: len(examples[i][0]))
    # Batches of like lengths, at one of few shapes.
    groups = [order[start : start + _BATCH_SIZE] for start in range(0, len(order) - _BATCH_SIZE + 1, _BATCH_SIZE)]
    for _ in range(num_steps):
        members = groups[int(random.integers(len(groups)))]
        frames = -(-max(len(examples[i][0]) for i in members) // 64) * 64
        log_mels = np.zeros((len(members), frames, NUM_BANDS), np.float32)
        real = np.zeros((len(members), frames), bool)
        labels = np.zeros((len(members), _MAX_WORDS), np.int32)
        padding = np.ones((len(members), _MAX_WORDS), np.float32)
        for row, member in enumerate(members):
            clip, text = examples[member]
            log_mels[row, : len(clip)] = _augment(clip, random)
            real[row, : len(clip)] = True
            ids = [index[word] for word in text.split()]
            labels[row, : len(ids)], padding[row, : len(ids)] = ids, 0.0
        yield log_mels, real, labels, padding


def _augment(
    log_mels: Float32[np.ndarray, "frames bands"], random: np.random.Generator
) -> Float32[np.ndarray, "frames bands"]:
    """Another voice, channel and room: bands shifted and tilted, noise floor raised, stretches of both axes hidden."""
    bands = np.arange(NUM_BANDS)
    position = np.clip(bands * random.uniform(0.9, 1.1) + random.uniform(-1.0, 1.0), 0, NUM_BANDS - 1)
    lower = np.floor(position).astype(int)
    share = (position - lower).astype(np.float32)
    shifted = log_mels[:, lower] * (1 - share) + log_mels[:, np.minimum(lower + 1, NUM_BANDS - 1)] * share
    shifted = shifted + np.interp(bands, np.linspace(0, NUM_BANDS, 6), random.normal(scale=0.5, size=6)).astype(
        np.float32
    )
    # Down to the silence of a studio, and of a codec that was given one.
    floor = shifted.max() - random.uniform(5.0, 20.0)
    shifted = np.logaddexp(shifted, np.float32(floor) + random.normal(scale=0.7, size=shifted.shape).astype(np.float32))
    start, width = int(random.integers(NUM_BANDS)), int(random.integers(6))
    shifted[:, start : start + width] = shifted.mean()
    start, width = int(random.integers(len(shifted))), int(random.integers(8))
    shifted[start : start + width] = shifted.mean()
    return shifted.astype(np.float32)


if __name__ == "__main__":
    train(Path(sys.argv[1]))
