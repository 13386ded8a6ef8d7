import sentencepiece

from audio_tokenize.text.sentencepiece_model import PieceType, read_pieces, with_scores, without_training_option
from audio_tokenize.text.sentencepiece_text import SentencePieceText

MODEL = SentencePieceText.train(["open the door", "öffne die Tür"], 24).model
READER = sentencepiece.SentencePieceProcessor(model_proto=MODEL)


def test_pieces_are_those_that_sentencepiece_reads():
    pieces = read_pieces(MODEL)
    ids = range(READER.get_piece_size())
    assert [piece.text for piece in pieces] == [READER.id_to_piece(i) for i in ids]
    assert [piece.score for piece in pieces] == [READER.get_score(i) for i in ids]
    assert [piece.type == PieceType.BYTE for piece in pieces] == [READER.is_byte(i) for i in ids]
    assert [i for i in ids if pieces[i].type == PieceType.UNKNOWN] == [READER.unk_id()]


def test_scores_change_and_nothing_else():
    changed = with_scores(MODEL, lambda score: score / 2)
    reader = sentencepiece.SentencePieceProcessor(model_proto=changed)
    for i in range(READER.get_piece_size()):
        assert (reader.id_to_piece(i), reader.get_score(i)) == (READER.id_to_piece(i), READER.get_score(i) / 2)
    assert with_scores(changed, lambda score: score * 2) == MODEL


def test_a_training_option_can_be_left_out():
    assert without_training_option(MODEL, b"no such value") == MODEL
