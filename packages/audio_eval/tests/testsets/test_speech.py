import pyarrow
import pyarrow.parquet
import pytest

from audio_data import InputError
from audio_eval.testsets.speech import read_covost2, read_librispeech, read_seed_tts

ROW = {"audio": {"bytes": b"RIFF", "path": None}, "sentence": "Hallo", "translation": "hello", "id": "a"}


def write_covost2(folder, rows):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "test-0.parquet")
    return folder


def test_a_table_without_translations_is_another_layout(tmp_path):
    rows = [{key: value for key, value in ROW.items() if key != "translation"}]
    with pytest.raises(
        InputError, match=r"must hold CoVoST 2: .* and translation; got .* \(columns audio, sentence, id\)"
    ):
        read_covost2(write_covost2(tmp_path, rows), "de_en", "test")


def test_an_empty_cell_is_an_empty_reference_and_a_repeated_id_replaces_nothing(tmp_path):
    rows = [ROW, {**ROW, "sentence": None, "translation": None}]
    first, second = read_covost2(write_covost2(tmp_path, rows), "de_en", "test")
    assert (first.id, first.text, first.translation) == ("a", "Hallo", "hello")
    assert (second.id, second.text, second.translation) == ("a#2", "", "")


def test_transcripts_that_say_nothing_or_are_no_text_are_named(tmp_path):
    chapter = tmp_path / "test-clean" / "1" / "1"
    chapter.mkdir(parents=True)
    path = chapter / "1-1.trans.txt"
    path.write_bytes(b"")
    with pytest.raises(InputError, match="the transcripts of split 'test-clean' are empty"):
        read_librispeech(tmp_path, "test-clean")
    path.write_bytes(b"1-1-0000 CAF\xc9\n")
    with pytest.raises(InputError, match=r"1-1\.trans\.txt` must be UTF-8, got b'\\xc9' at byte 12"):
        read_librispeech(tmp_path, "test-clean")


def test_lines_of_one_id_are_items_of_their_own(tmp_path):
    (tmp_path / "meta.lst").write_text("\ufeffa|said|a.wav|one\na|said|a.wav|two\n", encoding="utf-8")
    assert [(one.id, one.text) for one in read_seed_tts(tmp_path)] == [("a", "one"), ("a#2", "two")]
