import csv
import os
import shutil

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from audio_data import InputError
from audio_eval.testsets import fingerprint_folder, locate
from audio_eval.testsets.pairs import (
    SALMON,
    SBLIMP,
    STORY_CLOZE,
    SWUGGY,
    read_salmon,
    read_story_cloze,
    read_zerospeech,
)
from audio_tokenize import load_audio


def as_table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def cell(path):
    return {"bytes": path.read_bytes(), "path": path.name}


@pytest.mark.parametrize(("name", "card"), [("swuggy", SWUGGY), ("sblimp", SBLIMP)])
def test_the_hubs_tables_hold_the_same_pairs_as_zerospeechs_folder(test_sets, tmp_path, name, card):
    pairs = read_zerospeech(test_sets / name, card)
    assert len(pairs) == 6
    assert {pair.part for pair in pairs} == (
        {"in_vocabulary", "out_of_vocabulary"} if name == "swuggy" else {"agreement", "anaphor"}
    )
    column = "word" if name == "swuggy" else "transcription"
    rows = [
        {
            "id": index,
            "voice": pair.extra["voice"],
            "positive": cell(pair.positive.audio[0]),
            "negative": cell(pair.negative.audio[0]),
            f"positive_{column}": pair.positive.text,
            f"negative_{column}": pair.negative.text,
        }
        for index, pair in enumerate(pairs)
    ]
    as_table(tmp_path / "data" / "train-00000-of-00001.parquet", rows)
    for one, other in zip(pairs, read_zerospeech(tmp_path, card), strict=True):
        assert (one.positive.text, one.negative.text) == (other.positive.text, other.negative.text)
        assert (load_audio(one.negative.audio[0]) == load_audio(other.negative.audio[0])).all()


def test_zerospeech_folders_are_found_from_above_and_voices_make_pairs_of_their_own(test_sets, tmp_path):
    shutil.copytree(test_sets / "swuggy", tmp_path / "lexical" / "dev")
    gold = tmp_path / "lexical" / "dev" / "gold.csv"
    rows = list(csv.DictReader(gold.read_text().splitlines()))
    # A second voice of the first word, and a second non-word of the second.
    rows += [{**row, "voice": "other"} for row in rows[:2]]
    rows.append({**rows[3], "filename": "0000_0"})
    with gold.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    pairs = read_zerospeech(tmp_path, SWUGGY)
    assert len(pairs) == 6 + 1 + 1
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert sum(pair.id.startswith("0/") for pair in pairs) == 2


def test_salmon_from_files_and_from_tables(test_sets, tmp_path):
    pairs = read_salmon(test_sets / "salmon")
    assert {pair.part for pair in pairs} == {"speaker_consistency", "bg_alignment"}
    assert all(pair.positive.audio[0].name.endswith("_0.wav") for pair in pairs)
    rows = [
        {
            "ind": pair.id.split("/")[1],
            "task": pair.part,
            "positive_audio": cell(pair.positive.audio[0]),
            "negative_audio": cell(pair.negative.audio[0]),
        }
        for pair in pairs
    ]
    as_table(tmp_path / "all" / "train-00000-of-00001.parquet", rows)
    # The hub repeats the pairs in a folder for each part: they count once.
    as_table(tmp_path / "bg_alignment" / "train-00000-of-00001.parquet", rows[:3])
    found = read_salmon(tmp_path)
    assert [pair.id for pair in found] == [pair.id for pair in pairs]
    assert (load_audio(found[0].positive.audio[0]) == load_audio(pairs[0].positive.audio[0])).all()


def test_spoken_stories_whole_or_as_beginning_and_endings(test_sets, tmp_path):
    whole = read_story_cloze(test_sets / "story_cloze", spoken=True)
    assert [pair.id for pair in whole] == [str(number) for number in range(6)]
    assert all(len(pair.positive.audio) == 1 for pair in whole)
    for kind in ("mutual", "correct", "incorrect"):
        soundfile.write(tmp_path / f"7_{kind}.wav", np.full(100, 0.1), 16_000)
    (pair,) = read_story_cloze(tmp_path, spoken=True)
    assert [path.name for path in pair.negative.audio] == ["7_mutual.wav", "7_incorrect.wav"]


def test_written_stories_from_text_files_and_from_rocstories(test_sets, tmp_path):
    pairs = read_story_cloze(test_sets / "story_cloze", spoken=False)
    assert len(pairs) == 6
    assert pairs[0].positive.text.split()[0] == pairs[0].negative.text.split()[0]
    header = [f"InputSentence{n}" for n in range(1, 5)] + [f"RandomFifthSentenceQuiz{n}" for n in (1, 2)]
    with (tmp_path / "cloze_test.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["InputStoryid", *header, "AnswerRightEnding"])
        writer.writerow(["a", "One.", "Two.", "Three.", "Four.", "Wrong.", "Right.", "2"])
    (pair,) = read_story_cloze(tmp_path, spoken=False)
    assert pair.positive.text == "One. Two. Three. Four. Right."
    assert pair.negative.text == "One. Two. Three. Four. Wrong."


@pytest.mark.parametrize(
    ("read", "card"),
    [
        (lambda folder: read_zerospeech(folder, SWUGGY), SWUGGY),
        (lambda folder: read_zerospeech(folder, SBLIMP), SBLIMP),
        (read_salmon, SALMON),
        (lambda folder: read_story_cloze(folder, spoken=True), STORY_CLOZE),
    ],
)
def test_a_wrong_layout_says_what_was_expected_what_was_found_and_where_to_get_it(tmp_path, read, card):
    (tmp_path / "something.zip").write_bytes(b"PK")
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    assert "something.zip" in str(caught.value)
    assert card.expected in str(caught.value)
    assert card.where in str(caught.value)


def test_missing_columns_are_named(tmp_path):
    (tmp_path / "gold.csv").write_text("id,filename,word\n1,a,b\n")
    with pytest.raises(InputError, match="no column correct"):
        read_zerospeech(tmp_path, SWUGGY)
    as_table(tmp_path / "table" / "train.parquet", [{"id": 1, "audio": "x"}])
    with pytest.raises(InputError, match="columns id, audio"):
        read_zerospeech(tmp_path / "table", SWUGGY)


GOLD = "id,filename,voice,word,correct\n"
ROC = "InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,"
ROC += "RandomFifthSentenceQuiz1,RandomFifthSentenceQuiz2,AnswerRightEnding\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gold.csv", GOLD.encode() + b"1,caf\xe9,v,a,1\n", r"gold\.csv` must be UTF-8, got b'\\xe9' at byte"),
        ("gold.csv", f"{GOLD}1,a,v,a,1\n1,b\n".encode(), r"line 3 of .*gold\.csv` must have a value of 'correct'"),
        ("gold.csv", f"{GOLD}1,a,v,a,1\n".encode(), "no pair of right and wrong"),
        ("1_correct.txt", b"caf\xe9", r"1_correct\.txt` must be UTF-8"),
        ("roc.csv", f"{ROC}7,a,b,c,d,e,f,3\n".encode(), r"`AnswerRightEnding` of '7' in .* must be 1 or 2, got '3'"),
        ("roc.csv", f"{ROC}7,a,b\n".encode(), r"line 2 of .*roc\.csv` must have a value of 'InputSentence3'"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    if name.endswith(".txt"):
        (tmp_path / "1_incorrect.txt").write_text("the end")
    zerospeech = name == "gold.csv"
    with pytest.raises(InputError, match=message):
        read_zerospeech(tmp_path, SWUGGY) if zerospeech else read_story_cloze(tmp_path, spoken=False)


def test_a_spreadsheets_mark_is_no_part_of_a_column(tmp_path):
    (tmp_path / "gold.csv").write_text(f"\ufeff{GOLD}1,a,v,word,1\n1,b,v,drow,0\n", encoding="utf-8")
    (pair,) = read_zerospeech(tmp_path, SWUGGY)
    assert (pair.positive.text, pair.negative.text) == ("word", "drow")


def test_a_repeated_id_replaces_no_pair(tmp_path):
    (tmp_path / "roc.csv").write_text(f"{ROC}7,a,b,c,d,e,f,1\n7,a,b,c,d,e,g,2\n")
    pairs = read_story_cloze(tmp_path, spoken=False)
    assert [(pair.id, pair.positive.text, pair.negative.text) for pair in pairs] == [
        ("7", "a b c d e", "a b c d f"),
        ("7#2", "a b c d g", "a b c d e"),
    ]


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / "gold.csv").symlink_to(tmp_path / "blob")
    with pytest.raises(InputError, match=r"gold\.csv` must lead to a file, got a broken link"):
        fingerprint_folder(tmp_path)


def test_a_name_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"x")
    with pytest.raises(InputError, match=r"names in UTF-8, got b'caf\\xe9.wav': rename it"):
        fingerprint_folder(tmp_path)


def test_another_recording_of_the_same_size_is_another_test_set(tmp_path):
    path, size = tmp_path / "a.wav", 100_000
    path.write_bytes(bytes(size))
    before = fingerprint_folder(tmp_path)
    for place in (0, size // 2 + 5, size - 1):
        path.write_bytes(bytes(place) + b"x" + bytes(size - place - 1))
        assert fingerprint_folder(tmp_path) != before


@pytest.mark.parametrize("correct", ["", "2", "right"])
def test_a_pair_that_is_neither_right_nor_wrong_is_refused(tmp_path, correct):
    (tmp_path / "gold.csv").write_text(f"id,filename,voice,correct,word\n1,a,v,1,cat\n1,b,v,{correct},tac\n")
    with pytest.raises(InputError, match=rf"`correct` in row 2 of .* must be 0 or 1, got '{correct}'"):
        read_zerospeech(tmp_path, SWUGGY)


def test_a_test_set_that_is_not_there_says_how_to_get_it(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"test set StoryCloze must be a folder .* got '': get sStoryCloze"):
        locate("", STORY_CLOZE)
    with pytest.raises(InputError, match="must be a folder"):
        locate(str(tmp_path / "nowhere"), SWUGGY)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: (_ for _ in ()).throw(OSError("offline")))
    unreachable = r"test set sWUGGY: the hub cannot be reached \(offline\); run `hf download speed/sWUGGY .*zerospeech"
    with pytest.raises(InputError, match=unreachable):
        locate("speed/sWUGGY", SWUGGY)


def test_the_fingerprint_follows_names_sizes_and_what_describes_the_files(test_sets, tmp_path):
    folder = shutil.copytree(test_sets / "swuggy", tmp_path / "copy")
    before = fingerprint_folder(folder)
    assert before == fingerprint_folder(test_sets / "swuggy")
    gold = folder / "gold.csv"
    gold.write_text(gold.read_text().replace("correct", "Correct"))
    assert fingerprint_folder(folder) != before
