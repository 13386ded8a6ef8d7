import base64
import json
from pathlib import Path

import pytest

from audio_data import InputError
from audio_tokenize.text.tokenizer_files import is_ranks, read_tokenizer_json, read_tokens


def ranks(*tokens: tuple[bytes, object]) -> bytes:
    return b"".join(base64.b64encode(token) + f" {rank}\n".encode() for token, rank in tokens)


def test_both_kinds_of_files_give_the_same_tokens(tokenizer_file: Path):
    import tokenizers

    content = tokenizer_file.read_bytes()
    vocabulary = tokenizers.Tokenizer.from_file(str(tokenizer_file)).get_vocab(with_added_tokens=False)
    tokens = read_tokens(content, "here")
    assert {token: i for i, token in enumerate(tokens)} == vocabulary
    decoder = tokenizers.decoders.ByteLevel()
    whole = [(decoder.decode([token]).encode(), i) for token, i in vocabulary.items() if token.isascii()]
    assert len(whole) > 100
    spelled = ranks(*((token, place) for place, (token, _) in enumerate(whole)))
    assert is_ranks(spelled)
    assert not is_ranks(content)
    assert list(read_tokens(spelled, "here")) == [tokens[i] for _, i in whole]


def test_what_ranks_lack_is_named_by_its_line():
    good = (b"a", 0), (b"b", 1)
    for content, message in [
        (ranks(*good) + b"!!! 2\n", r"`here`, line 3: must be a token in base64 and its rank, got b'!!! 2'"),
        (ranks(*good, (b"a", 2)), r"`here`: the token 'a' has two ranks"),
        (ranks(*good, (b"c", 1)), r"ids collide: 1 is both 'b' and 'c'"),
        (ranks(*good, (b"c", 7)), r"the 3 tokens must have ids 0\.\.2, got 7"),
    ]:
        with pytest.raises(InputError, match=message):
            read_tokens(content, "here")


def test_names_beside_the_tokens_are_read(tokenizer_file: Path):
    pairs, named = read_tokenizer_json(tokenizer_file.read_bytes(), "here")
    assert [(token.id, token.name, token.special) for token in named] == [
        (len(pairs.tokens), "<|begin_of_text|>", True)
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02", "must be a byte-level BPE.*; got neither JSON nor ranks"),
        (b'{"model_type": "qwen3"}', "got other JSON, without tokens"),
        (b"[1, 2]", r"got neither JSON nor ranks \(expected a JSON object"),
        (b'{"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}', "got other JSON, without tokens"),
    ],
)
def test_files_of_other_kinds_are_refused(content, message):
    with pytest.raises(InputError, match=message):
        read_tokens(content, "here")


def change(*path, to):
    def changed(value):
        inner = value
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = to
        return value

    return changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (change("model", "byte_fallback", to=True), r"got one with {'byte_fallback': True}"),
        (change("model", to={"type": "WordLevel", "vocab": {"a": 0}}), "got a model of type 'WordLevel'"),
        (change("model", "type", to="WordPiece"), "got a model of type 'WordPiece'"),
        (change("normalizer", to={"type": "Lowercase"}), r'or bring them to NFC, got `normalizer` {"type": "Lowerc'),
        (change("pre_tokenizer", to={"type": "Whitespace"}), r'got `pre_tokenizer` {"type": "Whitespace"}'),
        (change("pre_tokenizer", "pretokenizers", 1, "add_prefix_space", to=True), "cut by one regular expression"),
        (change("model", "vocab", "!", to=5), r"ids collide: 5 is both .* and '!'|ids collide: 5 is both '!' and"),
        (change("added_tokens", 0, "id", to=5), r"expected \d+ for the next of `added_tokens`, got 5 for '<\|begin"),
    ],
)
def test_a_tokenizer_that_would_read_text_otherwise_is_refused(tokenizer_file: Path, changed, message):
    value = changed(json.loads(tokenizer_file.read_text(encoding="utf-8")))
    with pytest.raises(InputError, match=message):
        read_tokenizer_json(json.dumps(value).encode(), "here")


def test_a_tokenizer_that_cannot_spell_every_byte_is_refused(tokenizer_file: Path):
    value = json.loads(tokenizer_file.read_text(encoding="utf-8"))
    tokens = sorted(value["model"]["vocab"], key=value["model"]["vocab"].get)
    value["model"]["vocab"] = {token: i for i, token in enumerate(t for t in tokens if t != "Ń")}
    with pytest.raises(InputError, match="without tokens for 1 of the 256 bytes"):
        read_tokenizer_json(json.dumps(value).encode(), "here")


def test_two_names_of_one_kind_collide(tokenizer_file: Path):
    value = json.loads(tokenizer_file.read_text(encoding="utf-8"))
    first = value["added_tokens"][0]
    value["added_tokens"].append({**first, "id": first["id"] + 1})
    with pytest.raises(InputError, match=r"ids collide: \['<\|begin_of_text\|>'\] are named more than once"):
        read_tokenizer_json(json.dumps(value).encode(), "here")
