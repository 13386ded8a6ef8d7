"""Parity with transformers' MimiModel on random weights; needs torch, which is no dependency of the workspace."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from audio_tokenize.codecs.mimi import MimiCodec, MimiConfig, load_mimi, write_random_mimi
from audio_tokenize.codecs.mimi.model import batched, encode_block

RATE = 24_000
FRAME = 1920
BLOCK = 16 * FRAME


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch", reason="parity needs torch: pip install torch transformers")
    threads = module.get_num_threads()
    module.set_num_threads(1)  # its threads wait for each other on a busy machine
    yield module
    module.set_num_threads(threads)


@pytest.fixture(scope="module")
def load_theirs(torch):
    reason = "parity needs transformers 5.23 or later: pip install torch transformers"
    transformers = pytest.importorskip("transformers", minversion="5.23", reason=reason)

    def load(folder, **changes):
        config = transformers.MimiConfig.from_pretrained(folder, **changes)
        return transformers.MimiModel.from_pretrained(folder, config=config).eval()

    return load


@pytest.fixture(scope="module")
def theirs(load_theirs, mimi_folder):
    return load_theirs(mimi_folder)


@pytest.fixture(scope="module")
def ours(mimi_folder) -> MimiCodec:
    return load_mimi(str(mimi_folder))


def latents_of(codec: MimiCodec, samples: np.ndarray) -> np.ndarray:
    """The latents before quantisation, block by block."""
    num_positions = -(-len(samples) // BLOCK) * 32
    state = batched(codec.encoder.initial_state(codec.encoder.transformer.capacity(32, num_positions)), 1)
    blocks = []
    for index, start in enumerate(range(0, len(samples), BLOCK)):
        piece = samples[start : start + BLOCK]
        given = np.pad(piece, (0, BLOCK - len(piece)))[None], np.array([len(piece)], np.int32)
        models = (codec.encoder, codec.quantizer)
        state, latents, _ = encode_block(models, state, np.int32(32 * index), *given)
        blocks.append(np.asarray(latents[0]))
    return np.concatenate(blocks)[: codec.num_frames(len(samples))]


def unexplained(codec: MimiCodec, ours: np.ndarray, theirs: np.ndarray, latents: np.ndarray, other: np.ndarray) -> int:
    """Counts frames whose codes differ other than by a near-tie.

    Where two codes first differ in a chain of residuals, both chains subtracted the same vectors from latents that are
    `error` apart. A distance to a code can differ by no more than that, and by what rounding makes of the distances
    themselves; so each side may prefer its code only if, in exact arithmetic, the two are no further apart than twice
    the sum.
    """
    count, first = 0, 0
    parts = [codec.quantizer.semantic, codec.quantizer.acoustic]
    for part in (part for part in parts if part is not None):
        input_proj = np.asarray(part.input_proj, np.float64)
        residual, error = latents @ input_proj, np.linalg.norm((latents - other) @ input_proj, axis=1)
        agreeing = np.ones(len(latents), bool)
        for index, book in enumerate(np.asarray(book, np.float64) for book in part.codebooks):
            a, b = ours[:, first + index], theirs[:, first + index]
            distances = [np.linalg.norm(residual - book[codes], axis=1) for codes in (a, b)]
            squares = (residual**2).sum(axis=1) + (book**2).sum(axis=1).max()
            rounding = 16 * np.finfo(np.float32).eps * squares / np.minimum(*distances)
            tie = np.abs(distances[0] - distances[1]) <= 2 * (error + rounding)
            count += int((agreeing & (a != b) & ~tie).sum())
            agreeing &= a == b
            residual = residual - book[a]
        first += len(part.codebooks)
    return count


def compare(torch, codec: MimiCodec, model, samples: np.ndarray) -> None:
    given = torch.from_numpy(samples)[None, None]
    with torch.no_grad():
        expected_latents = model.encoder(given).latents[0].T.numpy()
        expected = model.encode(given, num_quantizers=codec.num_codebooks).audio_codes
        sound = model.decode(expected).audio_values[0, 0].numpy()
    expected = expected[0].T.numpy()
    codes, latents = codec.encode(samples), latents_of(codec, samples)
    assert codes.shape == expected.shape
    np.testing.assert_allclose(latents, expected_latents, rtol=0, atol=1e-4)
    assert unexplained(codec, codes, expected, latents, expected_latents) == 0
    assert (codes != expected).any(axis=1).mean() <= 0.02
    np.testing.assert_allclose(codec.decode(expected), sound, rtol=0, atol=1e-3)


def noise(num_samples: int) -> np.ndarray:
    return np.random.default_rng(num_samples).normal(0, 0.1, num_samples).astype(np.float32)


# Lengths that end within a stride of each stage, within a frame, at a block and within the window of 10 s and after it.
@pytest.mark.parametrize(
    "num_samples", [1, 5, 21, 121, 961, FRAME, FRAME + 1, 3 * FRAME - 1, BLOCK, BLOCK + 1000, 13 * RATE + 777]
)
def test_latents_codes_and_audio_are_those_of_transformers(torch, ours, theirs, num_samples):
    compare(torch, ours, theirs, noise(num_samples))


def test_speech_gives_the_codes_of_transformers(torch, ours, theirs, voice):
    compare(torch, ours, theirs, voice(5.3))


@pytest.mark.long
def test_any_number_of_codebooks(torch, theirs, mimi_folder):
    for num_codebooks in (1, 32):
        compare(torch, load_mimi(str(mimi_folder), num_codebooks=num_codebooks), theirs, noise(RATE))


@pytest.mark.parametrize(("seconds", "positions"), [(None, 100_000), (1.6, 40)])
def test_the_attention_window_is_a_switch(torch, load_theirs, mimi_folder, seconds, positions):
    """No window is transformers with a huge one: what every version before the window was enforced computed."""
    model = load_theirs(mimi_folder, sliding_window=positions)
    compare(torch, load_mimi(str(mimi_folder), attention_window_seconds=seconds), model, noise(11 * RATE))


def test_the_window_changes_codes_only_after_it(mimi_folder, ours):
    unbounded = load_mimi(str(mimi_folder), attention_window_seconds=None)
    samples = noise(14 * RATE)
    windowed, free = ours.encode(samples), unbounded.encode(samples)
    np.testing.assert_array_equal(windowed[:125], free[:125])
    assert (windowed[125:] != free[125:]).any()


def test_a_checkpoint_of_transformers_and_its_state_are_the_same_codec(theirs, ours, tmp_path):
    theirs.save_pretrained(tmp_path / "checkpoint")
    state = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    assert any(name.startswith("encoder.encoder_seanet.layers.") for name in state)
    (tmp_path / "state").mkdir()
    save_file(state, tmp_path / "state" / "model.safetensors")
    theirs.config.save_pretrained(tmp_path / "state")
    for folder in ("checkpoint", "state"):
        loaded = load_mimi(str(tmp_path / folder))
        assert loaded.codec_id == ours.codec_id
        np.testing.assert_array_equal(loaded.encode(noise(RATE)), ours.encode(noise(RATE)))


@pytest.mark.slow
def test_full_size_is_transformers(torch, load_theirs, tmp_path):
    """The published size, but for the codebooks that are not in use."""
    write_random_mimi(tmp_path, replace(MimiConfig(), num_quantizers=8))
    compare(torch, load_mimi(str(tmp_path)), load_theirs(tmp_path), noise(RATE + 1))


@pytest.mark.slow
def test_full_size_is_transformers_for_longer_than_the_window(torch, load_theirs, tmp_path):
    write_random_mimi(tmp_path, MimiConfig())
    model = load_theirs(tmp_path)
    for num_samples in (13 * RATE + 777, 4 * BLOCK):
        compare(torch, load_mimi(str(tmp_path)), model, noise(num_samples))
    compare(torch, load_mimi(str(tmp_path), num_codebooks=32), model, noise(2 * RATE))
