from dataclasses import replace

import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from audio_tokenize.text.byte_pairs import (
    BYTE_CHARACTERS,
    BytePairs,
    merges_of_every_split,
    merges_of_own_split,
    printable_tokens,
    token_bytes,
)
from audio_tokenize.text.tokenizer_files import read_tokenizer_json


@given(st.lists(st.binary()))
def test_bytes_are_spelled_as_the_tokenizers_library_spells_them(tokens):
    assert token_bytes(printable_tokens(tokens)) == tokens
    assert set(tokenizers.pre_tokenizers.ByteLevel.alphabet()) == BYTE_CHARACTERS


@given(st.text())
def test_a_text_is_spelled_as_the_tokenizers_library_spells_it(text):
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    try:
        found = byte_level.pre_tokenize_str(text)
    except TypeError:
        return
    assert ["".join(piece for piece, _ in found)] == printable_tokens([text.encode()])


def test_merges_of_ranks_make_every_token():
    """Spelled in bytes and merged, each token of a trained BPE becomes itself again, whichever list is used."""
    tokens = ("a", "b", "c", "ab", "bc", "abc", "abcab", "aa", "aaa")
    assert merges_of_own_split(tokens) == ("a b", "b c", "ab c", "abc ab", "a a", "aa a")
    assert merges_of_every_split(tokens) == ("a b", "b c", "a bc", "ab c", "abc ab", "a a", "a aa", "aa a")
    for merges in (merges_of_own_split(tokens), merges_of_every_split(tokens)):
        model = tokenizers.models.BPE(
            {token: i for i, token in enumerate(tokens)}, [tuple(merge.split()) for merge in merges]
        )
        assert [[token.value for token in model.tokenize(token)] for token in tokens] == [[token] for token in tokens]


def test_the_fingerprint_is_of_the_content_alone(tokenizer_file):
    pairs, _ = read_tokenizer_json(tokenizer_file.read_bytes(), "here")
    again = BytePairs(pairs.tokens, pairs.merges, pairs.pattern, pairs.normalizer, pairs.ignore_merges)
    assert again.fingerprint == pairs.fingerprint
    changed = [
        replace(pairs, tokens=pairs.tokens[::-1]),
        replace(pairs, merges=pairs.merges[::-1]),
        replace(pairs, pattern=r"\s+"),
        replace(pairs, normalizer="NFC"),
        replace(pairs, ignore_merges=True),
    ]
    assert len({pairs.fingerprint, *(other.fingerprint for other in changed)}) == 6
