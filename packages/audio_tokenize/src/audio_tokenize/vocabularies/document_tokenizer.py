"""Tokenizer files of whole documents, with which `transformers` reads and writes them.

`transformers.AutoTokenizer.from_pretrained(FOLDER)` and `tokenizers.Tokenizer.from_file` give a document string, its
markers `<|text_start|>` and its audio characters included, the very ids that this package gives it. Markers and audio
are looked for before the text is normalised or cut into words, so that no character of audio is changed or joined.

A program that reads a transcript with these files takes a typed `<|text_end|>` for the marker; this package does not.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from audio_data import InputError, Vocabulary
from audio_tokenize.documents.transcode import ids_to_characters
from audio_tokenize.text.byte_pairs import BytePairs, NamedToken, dump
from audio_tokenize.text.huggingface_text import HuggingFaceText
from audio_tokenize.text.sentencepiece_model import Unigram
from audio_tokenize.text.sentencepiece_text import SentencePieceText

TOKENIZER_NAME = "tokenizer.json"
CONFIG_NAME = "tokenizer_config.json"
SPECIAL_TOKENS_NAME = "special_tokens_map.json"
FILE_NAMES = (TOKENIZER_NAME, CONFIG_NAME, SPECIAL_TOKENS_NAME)

SPECIALS = ("begin_of_text", "end_of_text", "text_start", "text_end", "audio_start", "audio_end")


def document_tokens(vocabulary: Vocabulary, named: Sequence[NamedToken]) -> tuple[NamedToken, ...]:
    """Every token of a vocabulary that has a name: specials, audio, and ids that mean nothing.

    Args:
        vocabulary: Id ranges.
        named: Names among the text ids.

    Returns:
        By rising id, without a gap up to `vocabulary.size - 1`.

    Raises:
        InputError: Ids collide: an id has two names, or a name two ids.
    """
    names = {token.id: token for token in named}
    first = min(names, default=vocabulary.num_text)
    for special in SPECIALS:
        i, name = getattr(vocabulary, special), marker(special)
        if i < first or names.setdefault(i, NamedToken(i, name)).name != name:
            owner = repr(names[i].name) if i in names else "a text token"
            raise InputError(
                f"vocabulary `{vocabulary.name}`: ids collide: {i} must be `{special}`, but is {owner} of the tokenizer"
            )
    codes = vocabulary.audio_base + np.arange(vocabulary.num_codebooks * vocabulary.codebook_size)
    characters = ids_to_characters(codes, vocabulary)
    names |= {i: NamedToken(i, name) for i, name in zip(codes.tolist(), characters, strict=True)}
    for i in range(first, vocabulary.size):
        names.setdefault(i, NamedToken(i, f"<|unused_{i}|>"))
    return _without_twins(tuple(names[i] for i in range(first, vocabulary.size)), vocabulary.name)


def tokenizer_files(
    text: HuggingFaceText | SentencePieceText,
    vocabulary: Vocabulary,
    *,
    prepends_begin_of_text: bool = False,
    padding: str | None = None,
) -> dict[str, bytes]:
    """Return the files that make a folder a tokenizer of `transformers`.

    Args:
        text: Its text ids.
        vocabulary: Its id ranges.
        prepends_begin_of_text: Whether reading a string puts the begin of text before it unless told not to, as Llama
            3's tokenizer does and Qwen's does not. A document that says `<|begin_of_text|>` itself then has two.
        padding: Name of the token that fills up a batch; the end of text if None.

    Returns:
        Content by file name, `FILE_NAMES`.

    Raises:
        InputError: Ids collide, or a SentencePiece model that other programs would read otherwise.
    """
    begin, end = marker("begin_of_text"), marker("end_of_text")
    post_processor = _prepend(begin, vocabulary.begin_of_text) if prepends_begin_of_text else None
    model, text_names = _model(text)
    named = document_tokens(vocabulary, text_names)
    roles = {"bos_token": begin, "eos_token": end, "pad_token": padding or end}
    config = {
        **roles,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    return {
        TOKENIZER_NAME: dump(model.to_json(named, post_processor)),
        CONFIG_NAME: _readable(config),
        SPECIAL_TOKENS_NAME: _readable(roles),
    }


def _model(text: HuggingFaceText | SentencePieceText) -> tuple[BytePairs | Unigram, tuple[NamedToken, ...]]:
    """Return what decides the ids of texts, and the names among them."""
    if isinstance(text, HuggingFaceText):
        return text.byte_pairs, text.named
    if text.unigram.obstacle is not None:
        raise InputError(
            f"`text` must be a SentencePiece model that `tokenizers` reads alike, but {text.unigram.obstacle}: "
            "train it with `audio-tokenize vocabulary`"
        )
    return text.unigram, ()


def marker(special: str) -> str:
    """How documents write a special id, e.g. `<|text_start|>`."""
    return f"<|{special}|>"


def _prepend(name: str, i: int) -> dict[str, object]:
    special = {"SpecialToken": {"id": name, "type_id": 0}}
    first, second = ({"Sequence": {"id": which, "type_id": place}} for place, which in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [special, first],
        "pair": [special, first, {"SpecialToken": {"id": name, "type_id": 1}}, second],
        "special_tokens": {name: {"id": name, "ids": [i], "tokens": [name]}},
    }


def _without_twins(tokens: tuple[NamedToken, ...], vocabulary_name: str) -> tuple[NamedToken, ...]:
    ids: dict[str, int] = {}
    for token in tokens:
        if ids.setdefault(token.name, token.id) != token.id:
            raise InputError(
                f"vocabulary `{vocabulary_name}`: ids collide: {token.name!r} is both {ids[token.name]} and {token.id}"
            )
    return tokens


def _readable(content: Mapping[str, object]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
