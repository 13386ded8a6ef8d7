"""Each rule against its definition, written out over all utterances in memory."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_data import InputError
from audio_tokenize.datasets.groupings import GROUPINGS, Selection, grouping_rule


def ids(groups) -> list[list[str]]:
    return [[one.record_id for one in group.utterances] for group in groups]


def every(utterance) -> bool:
    return True


@pytest.fixture
def grouped(tmp_path_factory, write_codes):
    """Groups of utterances that were written as codes first."""

    def group(name, utterances, takes=every):
        corpus = write_codes(tmp_path_factory.mktemp("codes") / "codes", utterances, utterances_per_shard=3)
        return list(grouping_rule(name).groups(corpus, takes))

    return group


def test_utterances_stand_alone(grouped, utterance):
    found = grouped("utterance", [utterance(id) for id in "abcde"])
    assert [(group.id, group.base_id, len(group.utterances)) for group in found] == [(c, c, 1) for c in "abcde"]


def test_a_recording_keeps_the_order_of_the_codes(grouped, utterance):
    utterances = [utterance(f"{recording}-{i}", recording=recording) for recording in "xy" for i in (2, 0, 1)]
    assert ids(grouped("recording", utterances)) == [["x-2", "x-0", "x-1"], ["y-2", "y-0", "y-1"]]
    assert [group.id for group in grouped("recording", utterances)] == ["x", "y"]


def test_phases_and_splits_never_mix(grouped, utterance):
    utterances = [
        utterance(f"x-{i}", recording="x", split=split, frame_offset=frame_offset, num_frame_offsets=2)
        for i, split in enumerate(["train", "dev", "train"])
        for frame_offset in (0, 1)
    ]
    found = grouped("recording", utterances)
    assert ids(found) == [
        ["x-1+0of2"],
        ["x-1+1of2"],
        ["x-0+0of2", "x-2+0of2"],
        ["x-0+1of2", "x-2+1of2"],
    ]
    assert {group.base_id for group in found} == {"x"}
    assert found[2].id == "x+0of2"


def test_a_recording_that_comes_again_is_refused(grouped, utterance):
    utterances = [utterance(f"{i}", recording=recording) for i, recording in enumerate("xxyx")]
    with pytest.raises(InputError, match=r"recording 'x' comes again with utterance `3` .*: sort the corpus by rec"):
        grouped("recording", utterances)


@settings(max_examples=15)
@given(data=st.data())
def test_utterances_of_a_clip_are_found_wherever_they_lie(data, tmp_path_factory, write_codes, utterance):
    names = [f"EN_B00000_S{s:05d}_W{w:06d}" for s in range(3) for w in range(4)]
    names = data.draw(st.permutations(names))[: data.draw(st.integers(1, 12))]
    corpus = write_codes(tmp_path_factory.mktemp("codes") / "codes", [utterance(name) for name in names])
    expected = {}
    for name in sorted(names):
        expected.setdefault("_".join(name.split("_")[:-1]), []).append(name)
    found = list(GROUPINGS["prefix"].groups(corpus, every))
    assert {group.base_id: ids([group])[0] for group in found} == expected
    assert [group.base_id for group in found] == list(dict.fromkeys(name.rpartition("_")[0] for name in names))
    codes = {one.id: one.codes for one in corpus}
    assert all(np.array_equal(one.codes, codes[one.id]) for group in found for one in group.utterances)


def stretches(pieces):
    """Of (original, begin, end, name): the definition of the published datasets, file by file."""
    for original in {piece[0] for piece in pieces}:
        of_it = sorted((piece for piece in pieces if piece[0] == original), key=lambda piece: piece[1])
        current = [of_it[0]]
        for piece in of_it[1:]:
            if abs(piece[1] - current[-1][2]) <= 0.2:
                current.append(piece)
            else:
                yield [name for *_, name in current]
                current = [piece]
        yield [name for *_, name in current]


@settings(max_examples=15)
@given(data=st.data())
def test_books_are_cut_at_gaps(data, tmp_path_factory, write_codes, utterance):
    gaps = st.sampled_from([-0.5, -0.2, -0.1, 0.0, 0.1, 0.19, 0.2, 0.21, 3.0])
    pieces = []
    for original in "xyz":
        end = 0.0
        for i in range(data.draw(st.integers(0, 4))):
            begin = round(end + data.draw(gaps) + 0.6, 3)
            end = round(begin + data.draw(st.sampled_from([0.5, 1.7])), 3)
            pieces.append((original, begin - 0.6, end - 0.6, f"{original}{i}"))
    pieces = data.draw(st.permutations([*pieces, ("w", 0.0, 1.0, "w0")]))
    utterances = [
        utterance(
            name,
            speaker="7",
            extra={"book": "1", "original_path": original, "begin_seconds": begin, "end_seconds": end},
        )
        for original, begin, end, name in pieces
    ]
    corpus = write_codes(tmp_path_factory.mktemp("codes") / "codes", utterances)
    found = list(GROUPINGS["gap"].groups(corpus, every))
    assert sorted(ids(found)) == sorted(stretches(pieces))
    assert [group.base_id for group in found] == [group.utterances[0].id for group in found]


def test_another_speaker_or_book_is_another_original(grouped, utterance):
    def one(name, speaker, book, begin):
        extra = {"book": book, "original_path": "01.mp3", "begin_seconds": begin, "end_seconds": begin + 1}
        return utterance(name, speaker=speaker, extra=extra)

    utterances = [one("a", "7", "1", 0), one("b", "8", "1", 1), one("c", "7", "2", 1), one("d", "7", "1", 1)]
    assert ids(grouped("gap", utterances)) == [["a", "d"], ["b"], ["c"]]


PLACE = {"book": "1", "original_path": "01.mp3", "begin_seconds": 0, "end_seconds": 1}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"original_path": ""}, r"utterance `b` must state `original_path`, got .*: choose another `grouping`"),
        ({"end_seconds": None}, r"utterance `b` must state `end_seconds`"),
        ({"begin_seconds": 3.0, "end_seconds": 2.0}, r"utterance `b` must end after it starts, got 3\.0 s to 2\.0 s"),
        ({"begin_seconds": "soon"}, r"times of utterance `b` must be seconds, got \['soon', '1'\]"),
    ],
)
def test_what_lacks_its_place_in_the_book_is_named(grouped, utterance, extra, message):
    with pytest.raises(InputError, match=message):
        grouped("gap", [utterance("a", extra=PLACE), utterance("b", extra=PLACE | extra)])


def test_pairs_overlap_and_stay_in_their_chapter(grouped, utterance):
    order = [("ann", "1"), ("ann", "2"), ("ann", "1"), ("bob", "1"), ("ann", "1"), ("ann", "1"), ("bob", "1")]
    utterances = [utterance(f"u{i}", speaker=s, extra={"chapter": c}) for i, (s, c) in enumerate(order)]
    found = grouped("consecutive_pairs", utterances)
    expected = []
    for key in dict.fromkeys(order):
        expected += itertools.pairwise(f"u{i}" for i, other in enumerate(order) if other == key)
    assert ids(found) == list(map(list, expected))
    assert [group.id for group in found] == [f"{one}#{two}" for one, two in expected]
    # An utterance stands in two pairs, so a holdout by base id must not part them.
    assert [group.base_id for group in found] == ["ann/1"] * 3 + ["bob/1"]


def test_an_utterance_is_paired_with_its_target(grouped, utterance):
    utterances = [utterance("t1"), utterance("s1", language="de", extra={"target": "t1"}), utterance("t0")]
    utterances += [utterance("s0", language="fr", extra={"target": "t0"})]
    assert ids(grouped("pair", utterances)) == [["s1", "t1"], ["s0", "t0"]]
    assert ids(grouped("pair", utterances, Selection(languages=("fr",)).takes)) == [["s0", "t0"]]
    with pytest.raises(InputError, match="utterance `s1` names 't1' as its target, which was not encoded"):
        grouped("pair", utterances[1:])


def test_a_wrong_name_and_a_wrong_id_are_refused(grouped, utterance):
    with pytest.raises(InputError, match=r"`grouping` must be one of utterance, recording, .*, got 'video'"):
        grouping_rule("video")
    with pytest.raises(InputError, match=r"utterance `x` must have an id like EN_B00000_S00000_W000000"):
        grouped("prefix", [utterance("x")])
