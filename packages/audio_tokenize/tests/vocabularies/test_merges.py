from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from audio_data import InputError
from audio_tokenize.vocabularies.merges import AudioMerges


@st.composite
def spans_of_codes(draw):
    """Few codes, so that pairs repeat, overlap and meet."""
    num_codebooks, codebook_size = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    frames = st.lists(st.lists(st.integers(0, codebook_size - 1), min_size=num_codebooks, max_size=num_codebooks))
    spans = draw(st.lists(frames, min_size=1, max_size=4))
    return [np.array(span, np.uint16).reshape(-1, num_codebooks) for span in spans], codebook_size


def flat(spans, codebook_size: int) -> list[list[int]]:
    return [(span.astype(int) + codebook_size * np.arange(span.shape[1])).ravel().tolist() for span in spans]


def join(symbols: list[int], pair: tuple[int, int], joined: int) -> list[int]:
    out = []
    for symbol in symbols:
        out.append(symbol)
        if tuple(out[-2:]) == pair:
            out[-2:] = [joined]
    return out


def learn_naively(sequences, num_codes: int, num_merges: int, max_codes: int, min_count: int):
    """Counts all pairs anew for every merge."""
    lengths: dict[int, int] = {}
    pairs: list[tuple[int, int]] = []
    while len(pairs) < num_merges:
        counts = Counter(pair for symbols in sequences for pair in pairwise(symbols))
        allowed = [
            pair
            for pair, count in counts.items()
            if count >= min_count and lengths.get(pair[0], 1) + lengths.get(pair[1], 1) <= max_codes
        ]
        if not allowed:
            break
        best = min(allowed, key=lambda pair: (-counts[pair], pair))
        joined = num_codes + len(pairs)
        lengths[joined] = lengths.get(best[0], 1) + lengths.get(best[1], 1)
        pairs.append(best)
        sequences = [join(symbols, best, joined) for symbols in sequences]
    return pairs, sequences


@given(spans_of_codes(), st.integers(1, 3), st.integers(1, 3))
def test_merges_are_those_of_counting_every_time_and_come_apart_again(drawn, max_frames, min_count):
    spans, codebook_size = drawn
    num_codebooks = spans[0].shape[1]
    merges = AudioMerges.learn(spans, 10, codebook_size, max_frames=max_frames, min_count=min_count)
    pairs, merged = learn_naively(
        flat(spans, codebook_size), num_codebooks * codebook_size, 10, max_frames * num_codebooks, min_count
    )
    assert merges.pairs.tolist() == [list(pair) for pair in pairs]
    found = merges.apply_batch(spans)
    assert [symbols.tolist() for symbols in found] == merged
    assert [merges.codes(symbols).tolist() for symbols in found] == [span.tolist() for span in spans]


@pytest.fixture(scope="module")
def learned() -> AudioMerges:
    codes = np.random.default_rng(0).zipf(1.5, (400, 4)) % 64
    return AudioMerges.learn([codes[:200], codes[200:]], 300, 64)


def test_other_spans_are_merged_as_the_tokenizers_library_merges(learned):
    """Its BPE over one character a symbol, on codes that nothing was learned from."""
    names = [chr(0xE000 + i) for i in range(learned.num_codes)]
    pairs = []
    for left, right in learned.pairs.tolist():
        pairs.append((names[left], names[right]))
        names.append(names[left] + names[right])
    assert len(set(names)) == len(names) == learned.num_symbols
    library = tokenizers.models.BPE({name: i for i, name in enumerate(names)}, pairs)
    spans = list(np.random.default_rng(1).zipf(1.5, (30, 50, 4)) % 64)
    for span, symbols in zip(spans, learned.apply_batch(spans), strict=True):
        text = "".join(chr(0xE000 + i) for i in flat([span], 64)[0])
        assert [token.id for token in library.tokenize(text)] == symbols.tolist()
        assert np.array_equal(learned.apply(span), symbols)
        assert np.array_equal(learned.codes(symbols), span)


@pytest.mark.parametrize("max_frames", [1, 2])
def test_a_symbol_is_at_most_so_many_frames_long(max_frames):
    codes = np.tile(np.arange(4), (60, 1))
    merges = AudioMerges.learn([codes], 300, 64, max_frames=max_frames)
    symbols = merges.apply(codes)
    assert len(symbols) == 60 / max_frames
    assert np.array_equal(merges.codes(symbols), codes)


def test_tokens_are_counted_in_batches_of_any_size(learned):
    spans = list(np.random.default_rng(2).zipf(1.5, (9, 20, 4)) % 64)
    expected = (9 * 20 * 4, sum(map(len, learned.apply_batch(spans))))
    assert expected[1] < expected[0]
    assert {learned.counts(iter(spans), codes_at_once=size) for size in (1, 200, 10_000)} == {expected}
    assert learned.counts([]) == (0, 0)


def test_saving_and_loading_keeps_everything(tmp_path: Path, learned):
    learned.save(tmp_path / "merges.safetensors")
    loaded = AudioMerges.load(tmp_path / "merges.safetensors")
    assert np.array_equal(loaded.pairs, learned.pairs)
    assert (loaded.num_codebooks, loaded.codebook_size) == (4, 64)
    for content in (b"nonsense", safetensors.numpy.save({"pairs": learned.pairs})):
        (tmp_path / "merges.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=r"merges\.safetensors`: expected .*; learn the merges again"):
            AudioMerges.load(tmp_path / "merges.safetensors")


def test_wrong_arguments_are_refused(learned):
    spans = [np.zeros((3, 2), np.int32)]
    for arguments, message in [
        ((spans, 0, 16), "`num_merges` must be at least 1, got 0"),
        (([], 5, 16), "must hold codes to learn merges from"),
        (([*spans, np.zeros((3, 4), np.int32)], 5, 16), r"must be \[frames, 2\], got \(3, 4\)"),
        (([np.full((3, 2), 16)], 5, 16), r"must be in 0\.\.15, got 16\.\.16"),
    ]:
        with pytest.raises(InputError, match=message):
            AudioMerges.learn(*arguments)
    with pytest.raises(InputError, match=r"`symbols\[1\]` must be in 0\.\."):
        learned.codes(np.array([0, learned.num_symbols]))
    with pytest.raises(InputError, match="got codebook none at code 1"):
        learned.codes(np.array([0]))
    with pytest.raises(
        InputError, match="whole frames of 4 codes in the order of the codebooks, got codebook 1 at code 2"
    ):
        learned.codes(np.array([0, 64, 64]))
    with pytest.raises(InputError, match=r"`pairs\[0\]` must join symbols in 0\.\.31, got \[0, 32\]"):
        AudioMerges(np.array([[0, 32]], np.int32), 2, 16)
    with pytest.raises(InputError, match="`pairs` must differ"):
        AudioMerges(np.array([[0, 16], [0, 16]], np.int32), 2, 16)
