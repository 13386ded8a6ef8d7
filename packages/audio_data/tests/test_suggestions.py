import pytest

from audio_data import listed, nearest
from audio_data.suggestions import nearest_paths


@pytest.mark.parametrize(
    ("name", "known", "words"),
    [
        ("speach", ["text", "speech"], "did you mean speech?"),
        ("LibriSpeach", ["librispeech", "mls-en"], "did you mean librispeech?"),
        ("voice", ["Common-Voice-17", "mls-en"], "did you mean Common-Voice-17?"),
        ("aa", ["ab", "ac", "ad", "ae"], "did you mean ae or ad or ac?"),
        (
            "x",
            [f"a-very-long-{i}-x" for i in range(9)],
            "did you mean a-very-long-0-x or a-very-long-1-x or a-",
        ),
        ("", ["b", "a"], "expected one of a, b."),
        ("xyz", range(3), "expected one of 0, 1, 2."),
        ("xyz", ["a"] * 30, f"expected one of {', '.join('a' * 24)} and 6 more."),
    ],
)
def test_the_nearest_names_are_told_or_all(name, known, words):
    assert nearest(name, known).startswith(words)


def test_names_are_listed_up_to_a_bound():
    assert listed(["b", "a"]) == "b, a"
    assert listed(map(str, range(26))).endswith("22, 23 and 2 more")


def test_a_path_names_its_first_part_that_is_not_there_and_what_is_near(tmp_path):
    (tmp_path / "data").mkdir()
    assert nearest_paths(tmp_path / "data") == ""
    assert nearest_paths(tmp_path / "dat" / "a" / "b") == f": `{tmp_path / 'dat'}` does not exist; did you mean data?"
    assert nearest_paths(tmp_path / "data" / "a") == f": `{tmp_path / 'data' / 'a'}` does not exist"
