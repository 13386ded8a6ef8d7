import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_data import InputError, Vocabulary


def test_the_study_has_its_published_ids(study_vocabulary):
    assert study_vocabulary.size == 144_644
    assert study_vocabulary.audio_range(0) == (128_260, 130_308)
    assert study_vocabulary.audio_range(7)[1] == 144_644


def test_every_id_can_stand_at_exactly_one_kind_of_place(study_vocabulary):
    sets = [[id_ for start, stop in ranges for id_ in range(start, stop)] for ranges in study_vocabulary.allowed_sets]
    assert sorted(id_ for members in sets for id_ in members) == list(range(144_644))
    assert sorted(sets[1]) == [study_vocabulary.audio_end, *range(128_260, 130_308)]
    assert [len(members) for members in sets[2:]] == [2048] * 7
    text_only = Vocabulary.compact("text", 8, "none", num_codebooks=0, codebook_size=0, text_tokenizer="none")
    assert text_only.allowed_sets == (((0, text_only.size),),)


@pytest.fixture(scope="module")
def warm_start_vocabulary():
    """Qwen's own 151,643 ids and 26 specials, the first of which becomes the end of text; 151,669 stays empty."""
    return Vocabulary(
        name="qwen3x-mimi",
        num_text=151_669,
        begin_of_text=151_670,
        end_of_text=151_643,
        text_start=151_671,
        text_end=151_672,
        audio_start=151_673,
        audio_end=151_674,
        audio_base=151_675,
        num_codebooks=8,
        codebook_size=2048,
        codec_id="mimi",
        text_tokenizer="qwen3x",
    )


def test_the_warm_start_has_its_published_ids_and_one_gap(warm_start_vocabulary, study_vocabulary):
    vocabulary = warm_start_vocabulary
    assert vocabulary.size == 168_059
    assert vocabulary.gaps == ((151_669, 151_670),)
    assert study_vocabulary.gaps == ()
    ids = np.delete(np.arange(168_059), 151_669)
    by_kind = dict(zip(vocabulary.kinds, np.bincount(vocabulary.kind_of(ids)).tolist(), strict=True))
    assert by_kind == {"text": 151_668, "special": 6, **{f"codebook_{k}": 2048 for k in range(8)}}
    with pytest.raises(InputError, match=r"position `1` of 2: .*\(0\.\.168058 without 151669\), got 151669;"):
        vocabulary.kind_of(np.array([151_670, 151_669]))
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    codes = np.array([[0] * 8, [2047] * 8])
    assert np.array_equal(vocabulary.codes(vocabulary.audio_ids(codes)), codes)
    assert vocabulary.audio_ids(codes)[-1] == 168_058


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_codes_of_every_integer_type_are_checked_and_moved(vocabulary, dtype):
    codes = np.arange(16, dtype=dtype).reshape(-1, 4)[::2]
    assert vocabulary.audio_ids(codes).tolist() == [106 + 16 * (i % 4) + int(c) for i, c in enumerate(codes.flat)]
    for wrong in (16, 100, -1):
        if np.iinfo(dtype).min <= wrong:
            codes[1, 2] = wrong
            with pytest.raises(InputError, match=f"got {wrong} at frame 1, codebook 2"):
                vocabulary.audio_ids(codes)


def test_special_ids_may_come_last():
    specials = ("begin_of_text", "end_of_text", "text_start", "text_end", "audio_start", "audio_end")
    ids = {name: 18 + i for i, name in enumerate(specials)}
    sizes = {"num_text": 10, "audio_base": 10, "num_codebooks": 2, "codebook_size": 4}
    vocabulary = Vocabulary(name="specials-last", **ids, **sizes, codec_id="codec", text_tokenizer="text")
    assert vocabulary.size == 24
    assert vocabulary.gaps == ()
    assert np.bincount(vocabulary.kind_of(np.arange(24))).tolist() == [10, 6, 4, 4]
    members = [id_ for ranges in vocabulary.allowed_sets for start, stop in ranges for id_ in range(start, stop)]
    assert sorted(members) == list(range(24))
    with pytest.raises(InputError, match=r"\(0\.\.23\), got 24;"):
        vocabulary.kind_of(np.array([24]))


def test_compact_has_no_gaps(vocabulary):
    assert vocabulary.special_ids == (100, 101, 102, 103, 104, 105)
    assert vocabulary.audio_base == 106
    assert vocabulary.size == 106 + 4 * 16
    kinds = vocabulary.kind_of(np.arange(vocabulary.size))
    assert np.bincount(kinds).tolist() == [100, 6, 16, 16, 16, 16]


def test_specials_among_the_text_ids_count_as_special(study_vocabulary):
    kinds = study_vocabulary.kind_of(np.array([127_999, 128_000, 128_001, 128_002, 128_256, 128_260, 144_643]))
    assert [study_vocabulary.kinds[k] for k in kinds] == [
        *("text", "special", "special", "text", "special", "codebook_0", "codebook_7")
    ]


@pytest.mark.parametrize("wrong", [-1, 144_644, 2**23])
def test_an_id_outside_is_named_with_its_position(study_vocabulary, wrong):
    with pytest.raises(InputError, match=rf"position `2` of 4.*0\.\.144643.*got {wrong};"):
        study_vocabulary.kind_of(np.array([1, 2, wrong, 4]))


def test_an_id_in_a_gap_is_outside():
    gap = dataclasses.replace(
        Vocabulary.compact("gap", 10, "codec", num_codebooks=1, codebook_size=4, text_tokenizer="none"), audio_base=20
    )
    assert gap.kind_of(np.array([20])).tolist() == [2]
    assert gap.gaps == ((16, 20),)
    with pytest.raises(InputError, match=r"0\.\.23 without 16\.\.19\), got 17"):
        gap.kind_of(np.array([17]))


@given(data=st.data(), frames=st.integers(0, 6), num_codebooks=st.integers(1, 4))
def test_codes_come_back_from_their_ids(vocabulary, data, frames, num_codebooks):
    flat = data.draw(st.lists(st.integers(0, 15), min_size=frames * num_codebooks, max_size=frames * num_codebooks))
    codes = np.array(flat, np.int64).reshape(frames, num_codebooks)
    ids = vocabulary.audio_ids(codes)
    expected = [106 + 16 * k + int(codes[t, k]) for t in range(frames) for k in range(num_codebooks)]
    assert ids.tolist() == expected
    assert np.array_equal(vocabulary.codes(ids, num_codebooks), codes)


def test_wrong_codes_are_named(vocabulary):
    codes = np.zeros((3, 4), np.int32)
    codes[1, 2] = 16
    with pytest.raises(InputError, match=r"0\.\.15, got 16 at frame 1, codebook 2"):
        vocabulary.audio_ids(codes)
    with pytest.raises(InputError, match="at most 4 codebooks"):
        vocabulary.audio_ids(np.zeros((1, 5), np.int32))


def test_ids_out_of_codebook_order_are_named(vocabulary):
    ids = vocabulary.audio_ids(np.zeros((2, 4), np.int32))
    with pytest.raises(InputError, match=r"position `1` of 8: expected an id of codebook 1 \(122\.\.137\), got 106"):
        vocabulary.codes(np.concatenate([ids[:1], ids[:7]]))
    with pytest.raises(InputError, match="position `7`: expected whole frames of 4"):
        vocabulary.codes(ids[:7])
    with pytest.raises(InputError, match="`num_codebooks`"):
        vocabulary.codes(ids, 5)
    with pytest.raises(InputError, match="`codebook`"):
        vocabulary.audio_range(4)


def test_a_vocabulary_comes_back_from_its_file(tmp_path, study_vocabulary):
    study_vocabulary.write(tmp_path / "vocabulary.json")
    again = Vocabulary.read(tmp_path / "vocabulary.json")
    assert again == study_vocabulary
    assert again.fingerprint == study_vocabulary.fingerprint
    assert dataclasses.replace(again, codec_id="other").fingerprint != again.fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "expected a JSON object"),
        ('{"name": "x"}', "`vocabulary` lacks `num_text`"),
        ('{"schema_version": 1}', "`vocabulary` takes an object, got None"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_named(tmp_path, content, message):
    file = tmp_path / "vocabulary.json"
    file.write_text(content)
    with pytest.raises(InputError, match=rf"vocabulary\.json.*{message}"):
        Vocabulary.read(file)


def test_a_field_of_another_type_is_named(vocabulary):
    value = json.loads(json.dumps(vocabulary.to_json())) | {"num_text": "100"}
    with pytest.raises(InputError, match=r"`vocabulary\.num_text` takes a whole number, got '100'"):
        Vocabulary.from_json(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_end": 100}, "different special ids"),
        ({"text_end": -1}, "different special ids"),
        ({"audio_base": 99}, "audio_base"),
        ({"text_end": 110}, "inside the audio ids"),
        ({"codebook_size": 0}, "codebook size"),
        ({"num_codebooks": 126}, r"at most 16,777,216 ids and 125 codebooks, got 2,122 and 126"),
        (
            {"num_text": 2**24 + 1, "num_codebooks": 0},
            r"at most 16,777,216 ids and 125 codebooks, got 16,777,217 and 0",
        ),
        ({"audio_base": 2**40}, "at most 16,777,216 ids"),
    ],
)
def test_overlapping_ranges_are_refused(vocabulary, change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(vocabulary, **change)
