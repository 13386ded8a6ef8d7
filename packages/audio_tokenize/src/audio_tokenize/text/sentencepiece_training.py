"""Training of a SentencePiece model for a small domain.

SentencePiece finds its candidate pieces in the list of *different* words, so that a word becomes a piece only if it is
part of another word. That suits large vocabularies; with a hundred pieces for a hundred words it spells most of them
letter by letter (measured: 14 pieces a sentence of 5.4 words). Here the candidates are all words and all their parts,
counted as often as they are spoken, and pruning keeps those that explain most: 5.4 pieces on the same sentences.
"""

import io
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import sentencepiece

from audio_data import InputError, disk_errors

_SPACE = "\u2581"
_NUM_RESERVED = 257
_MAX_PIECE_CHARACTERS = 16
_MAX_LINE_BYTES = 1 << 20

# Protocol buffers: the wire types, and the field of a model that holds its training options.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_TRAINER_OPTIONS = 2 << 3 | _BYTES


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
        return _without_option(model.getvalue(), seeds.name.encode())


def _candidates(lines: Iterable[str]) -> list[tuple[str, int]]:
    """Every word and every part of a word, most characters explained first."""
    words = Counter(_SPACE + word for line in lines for word in line.split(" ") if word)
    parts: Counter[str] = Counter()
    for word, count in words.items():
        for start in range(len(word)):
            for stop in range(start + 1, min(len(word), start + _MAX_PIECE_CHARACTERS) + 1):
                parts[word[start:stop]] += count
    return sorted(
        ((part, count) for part, count in parts.items() if part.isprintable()),
        key=lambda item: (-item[1] * len(item[0]), item[0]),
    )


def _without_rare_characters(lines: list[str], max_characters: int) -> list[str]:
    """Lines with all but the most frequent characters made spaces; encoding spells the others in bytes."""
    counts = Counter("".join(lines))
    del counts[" "]
    rare = sorted(counts, key=lambda character: (-counts[character], character))[max_characters - 1 :]
    return [line.translate(dict.fromkeys(map(ord, rare), " ")) for line in lines]


def _without_option(model: bytes, value: bytes) -> bytes:
    """The model without one string among its training options.

    SentencePiece records where the seed file was, which would make the model of the same text differ every time.
    """
    fields = []
    for tag, content in _fields(model):
        if tag == _TRAINER_OPTIONS:
            content = b"".join(_field(*inner) for inner in _fields(content) if inner[1] != value)
        fields.append(_field(tag, content))
    return b"".join(fields)


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each field of a protocol buffer message."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        start = position
        match tag & 7:
            case wire if wire == _VARINT:
                _, position = _read_varint(message, position)
            case wire if wire == _BYTES:
                size, start = _read_varint(message, position)
                position = start + size
            case wire if wire in (_FIXED32, _FIXED64):
                position += 4 if wire == _FIXED32 else 8
            case wire:
                raise ValueError(f"wire type {wire} at byte {start}")
        yield tag, message[start:position]


def _field(tag: int, content: bytes) -> bytes:
    size = _varint(len(content)) if tag & 7 == _BYTES else b""
    return _varint(tag) + size + content


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
