"""Training of a SentencePiece model for a small domain.

SentencePiece finds its candidate pieces in the list of *different* words, so that a word becomes a piece only if it is
part of another word. That suits large vocabularies; with a hundred pieces for a hundred words it spells most of them
letter by letter (measured: 14 pieces a sentence of 5.4 words). Here the candidates are all words and all their parts,
counted as often as they are spoken, and pruning keeps those that explain most: 5.4 pieces on the same sentences.

Scores are rounded and a few candidates left out so that the `tokenizers` library cuts texts alike, see `unigram`.
"""

import io
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from audio_data import InputError, disk_errors
from audio_tokenize.text.sentencepiece_model import with_scores, without_training_option
from audio_tokenize.text.unigram import SPACE, can_be_learned, round_score

_NUM_RESERVED = 257
_MAX_PIECE_CHARACTERS = 16
_MAX_LINE_BYTES = 1 << 20


def train_model(lines: Iterable[str], num_pieces: int) -> bytes:
    """Learns a unigram model with byte fallback; the same lines give the same bytes.

    Args:
        lines: Transcripts.
        num_pieces: Learned pieces at most, beside the unknown piece and 256 bytes.

    Returns:
        The content of a SentencePiece model file.

    Raises:
        InputError: No text, or `num_pieces` below 8.
    """
    if num_pieces < 8:
        raise InputError(f"`num_pieces` must be at least 8, got {num_pieces!r}")
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise InputError("no transcript holds any text, so there are no text pieces to learn: check the corpus")
    lines = _without_rare_characters(lines, num_pieces // 2)
    model = io.BytesIO()
    with (
        disk_errors(Path(tempfile.gettempdir())),
        tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as seeds,
    ):
        seeds.writelines(f"{piece}\t{count}\n" for piece, count in _candidates(lines))
        seeds.flush()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=_NUM_RESERVED + num_pieces,
            hard_vocab_limit=False,
            character_coverage=1.0,
            seed_sentencepieces_file=seeds.name,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            max_sentence_length=_MAX_LINE_BYTES,
            num_threads=1,
            minloglevel=2,
        )
        # SentencePiece records where the seed file was, which would make the model of the same text differ every time.
        trained = without_training_option(model.getvalue(), seeds.name.encode())
    return with_scores(trained, round_score)


def _candidates(lines: Iterable[str]) -> list[tuple[str, int]]:
    """Every word and every part of a word, most characters explained first."""
    words = Counter(SPACE + word for line in lines for word in line.split(" ") if word)
    parts: Counter[str] = Counter()
    for word, count in words.items():
        for start in range(len(word)):
            for stop in range(start + 1, min(len(word), start + _MAX_PIECE_CHARACTERS) + 1):
                parts[word[start:stop]] += count
    return sorted(
        ((part, count) for part, count in parts.items() if part.isprintable() and can_be_learned(part)),
        key=lambda item: (-item[1] * len(item[0]), item[0]),
    )


def _without_rare_characters(lines: list[str], max_characters: int) -> list[str]:
    """Lines with all but the most frequent characters made spaces; encoding spells the others in bytes."""
    counts = Counter("".join(lines))
    del counts[" "]
    rare = sorted(counts, key=lambda character: (-counts[character], character))[max_characters - 1 :]
    return [line.translate(dict.fromkeys(map(ord, rare), " ")) for line in lines]
