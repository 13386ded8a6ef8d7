import pytest

from audio_eval.report.transcripts import align, confusions, marked_hypothesis, marked_reference, totals


@pytest.fixture
def errors():
    return align("Open the big blue box now!", "open a big box now again", "spoken_english")


def test_both_sides_are_marked(errors):
    assert marked_reference(errors) == ('<bdi>open <mark title="a">the</mark> big <del>blue</del> box now</bdi>')
    assert marked_hypothesis(errors) == ('<bdi>open <mark title="the">a</mark> big box now <ins>again</ins></bdi>')


def test_an_empty_transcript_says_so():
    assert "(nothing)" in marked_hypothesis(align("red cat", "", "spoken_english"))


def test_confusions_and_totals(errors):
    other = align("the red cat", "a red cat", "spoken_english")
    assert confusions([errors, other]) == [("the", "a", 2)]
    assert totals([errors, other]) == {"substitutions": 2, "deletions": 1, "insertions": 1, "words": 9}
