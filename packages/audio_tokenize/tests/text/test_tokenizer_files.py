import base64
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from audio_data import InputError
from audio_tokenize.text import tokenizer_files
from audio_tokenize.text.tokenizer_files import find_tokenizer, is_ranks, read_tokenizer_json, read_tokens


def test_a_file_is_itself_and_a_folder_is_searched(tmp_path: Path, tokenizer_file: Path):
    assert find_tokenizer(tokenizer_file) == tokenizer_file
    assert find_tokenizer(str(tokenizer_file.parent)) == tokenizer_file
    with pytest.raises(InputError, match=r"must hold a tokenizer file, one of \['tokenizer\.json', "):
        find_tokenizer(tmp_path)


def test_a_package_is_looked_into_and_not_imported(tmp_path: Path, monkeypatch):
    folder = tmp_path / "llama_models"
    (folder / "llama3").mkdir(parents=True)
    (folder / "llama3" / "tokenizer.model").write_bytes(b"IQ== 0\n")
    (folder / "__init__.py").write_text("raise ImportError('needs torch')")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert find_tokenizer("llama-models") == folder / "llama3" / "tokenizer.model"
    assert "llama_models" not in sys.modules


def test_a_package_that_is_absent_is_named(monkeypatch):
    monkeypatch.setitem(tokenizer_files.PACKAGES, "llama-models", ("no_such_module_anywhere", "tokenizer.model"))
    with pytest.raises(InputError, match=r"`llama-models` is not installed.*`uv pip install --no-deps llama-models`"):
        find_tokenizer("llama-models")


def test_what_is_nowhere_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"one of the packages \['dashscope', 'llama-models'\] or a hub id"):
        find_tokenizer(tmp_path / "tokenizer.json")


def test_the_hub_is_asked_for_the_revision(monkeypatch, tokenizer_file: Path):
    hub = pytest.importorskip("huggingface_hub")
    asked = []
    monkeypatch.setattr(hub, "hf_hub_download", lambda *a, **options: asked.append((a, options)) or str(tokenizer_file))
    assert find_tokenizer("soda/marin", revision="v1") == tokenizer_file
    assert asked == [(("soda/marin", "tokenizer.json"), {"revision": "v1", "repo_type": "model"})]


def test_a_hub_that_cannot_be_reached_says_what_to_get_and_where_to_put_it(monkeypatch, tmp_path: Path):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    by_hand = r"hf download soda/marin tokenizer\.json --revision v1 --local-dir DIR.*give DIR as the tokenizer"
    with pytest.raises(InputError, match=by_hand):
        find_tokenizer("soda/marin", revision="v1")
    with pytest.raises(InputError, match="expected a hub id OWNER/NAME, got 'a--b/c'"):
        find_tokenizer("a--b/c")


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"uv pip install 'huggingface-hub.*hf download soda/marin"):
        find_tokenizer("soda/marin")


def test_a_connection_that_is_lost_says_what_to_download(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def hf_hub_download(*_, **__):
        raise hub.errors.HTTPError("the connection was closed")

    monkeypatch.setattr(hub, "hf_hub_download", hf_hub_download)
    with pytest.raises(InputError, match=r"the connection was closed.*hf download somebody/tokens tokenizer.json"):
        find_tokenizer("somebody/tokens")


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
