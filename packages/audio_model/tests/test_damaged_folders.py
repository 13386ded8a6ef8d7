"""Every JSON file of a model's folder, and headers of weights, damaged in many ways: read, or refused in one line.

`python packages/audio_model/tests/test_damaged_folders.py` prints the table of file, damage and answer.
"""

import contextlib
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_model import InputError, convert, load_config, load_model, save_model
from audio_model.tensor_files import TensorFiles
from audio_model.vocabulary_files import check_vocabulary, count_ids, special_ids_of_model, special_ids_of_vocabulary

SPECIALS = ("begin_of_text", "end_of_text", "text_start", "text_end", "audio_start", "audio_end")
VOCABULARY = {"name": "small", "num_text": 40, "audio_base": 46, "num_codebooks": 2, "codebook_size": 16} | {
    name: 40 + i for i, name in enumerate(SPECIALS)
}
TOKENIZER = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
    "added_tokens": [{"id": 9, "content": "<s>"}, {"id": 5, "content": "</s>"}],
}
ROLES = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": None, "model_max_length": 10**30}
FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "provenance.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocabulary/vocabulary.json",
)
DAMAGES = {
    "cut in half": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "zeroed": lambda content: bytes(len(content)),
    "a bit of the first byte": lambda content: bytes([content[0] ^ 4]) + content[1:],
    "not UTF-8": lambda content: content.replace(b'"', b'"\xe9', 1),
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "a list": lambda content: b"[" + content + b"]",
    "a number": lambda _: b"7",
    "100,000 nested lists": lambda content: _with(content, b"[" * 100_000 + b"]" * 100_000),
    "100 nested objects": lambda content: _with(content, b'{"a":' * 100 + b"1" + b"}" * 100),
    "NaN": lambda content: _with(content, b"NaN"),
    "-Infinity": lambda content: _with(content, b"-Infinity"),
    "1e999": lambda content: _with(content, b"1e999"),
    "a number of 100,000 digits": lambda content: _with(content, b"7" * 100_000),
    "half a surrogate pair": lambda content: _with(content, rb'"\ud800"'),
    "a key twice": lambda content: _with(content, b'1, "more": 1'),
    "something behind it": lambda content: content + b"{}",
}
WRONG = ("text", -1, 1.5, True, [], [["x"]], {"a": [1]}, 10**400, 1e300, 0)


def _with(content, value):
    """The document with one more key."""
    return content.rstrip()[:-1] + b', "more": ' + value + b"}"


def make_folder(folder, model):
    """A model's folder with all the files it can have."""
    words = folder.with_name("words")
    words.mkdir()
    documents = {"vocabulary.json": VOCABULARY, "tokenizer.json": TOKENIZER, "tokenizer_config.json": ROLES}
    for name, document in documents.items():
        (words / name).write_text(json.dumps(document))
    save_model(folder, model, vocabulary=words, max_shard_bytes=20_000)
    (folder / "provenance.json").write_text(json.dumps({"source": "elsewhere"}))


def read(folder):
    """Read all small files of a folder, as commands do."""
    config = load_config(folder)
    files = TensorFiles(folder)
    special_ids_of_model(folder).check(config.vocab_size)
    special_ids_of_vocabulary(folder).check(config.vocab_size)
    special_ids_of_vocabulary(folder / "vocabulary").check(config.vocab_size)
    count_ids(folder)
    check_vocabulary(folder / "vocabulary", config.vocab_size)
    return config, files.shapes


def read_and_copy(folder):
    read(folder)
    with tempfile.TemporaryDirectory() as out:
        convert(folder, out)


def answer(folder, name, content, reader):
    """What reading a folder with one damaged file ends in: None, or the message of the refusal."""
    original = (folder / name).read_bytes()
    (folder / name).write_bytes(content)
    try:
        reader(folder)
    except InputError as error:
        return error.message
    finally:
        (folder / name).write_bytes(original)
    return None


def check_message(message, folder, name):
    assert len(message.splitlines()) == 1
    assert len(message) < 3000
    assert str(folder / name) in message or str((folder / name).parent) in message


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "model"
    make_folder(path, tiny)
    read_and_copy(path)
    return path


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_in_one_line(folder, name):
    reader = read_and_copy if name == "provenance.json" else read
    for damage, change in DAMAGES.items():
        message = answer(folder, name, change((folder / name).read_bytes()), reader)
        assert message is not None, damage
        check_message(message, folder, name)
        assert name in message
        assert "again" in message


@pytest.mark.parametrize("name", FILES)
def test_a_folder_or_a_huge_file_in_its_place_is_refused(folder, name, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    file = tmp_path / "copy" / name
    with open(file, "r+b") as stream:
        # A hole, that takes no room on the disk.
        stream.truncate(300 * 2**20)
    with pytest.raises(InputError, match=r"must have at most 268,435,456 bytes, got 314,572,800"):
        read_and_copy(tmp_path / "copy")
    file.unlink()
    file.mkdir()
    if name in ("config.json", "model.safetensors.index.json"):
        with pytest.raises(InputError, match=r"there is none|holds neither"):
            read(tmp_path / "copy")


@pytest.mark.parametrize("name", FILES)
def test_a_field_of_any_type_is_read_or_refused_in_one_line(folder, name):
    original = (folder / name).read_bytes()
    expected = read(folder)
    for key in json.loads(original):
        for wrong in WRONG:
            content = json.dumps(json.loads(original) | {key: wrong}).encode()
            message = answer(folder, name, content, read)
            if message is not None:
                check_message(message, folder, name)
    assert read(folder) == expected


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("generation_config.json", ["bos_token_id", "eos_token_id"]),
        ("tokenizer.json", ["model"]),
        ("tokenizer_config.json", ["bos_token", "eos_token"]),
        ("vocabulary/vocabulary.json", ["num_text", "audio_base", *SPECIALS]),
        ("model.safetensors.index.json", ["weight_map"]),
        ("config.json", ["hidden_size", "rope_theta", "rms_norm_eps", "tie_word_embeddings", "rope_scaling"]),
    ],
)
def test_what_is_used_is_refused_where_its_type_is_wrong(folder, name, keys):
    for key in keys:
        for wrong in ([["x"]], {"a": [1]}, -1, 10**400):
            content = json.dumps(json.loads((folder / name).read_bytes()) | {key: wrong}).encode()
            assert answer(folder, name, content, read) is not None, (key, wrong)


def test_special_ids_beyond_the_rows_name_their_folder(folder):
    changed = json.loads((folder / "config.json").read_bytes()) | {"vocab_size": 1}
    message = answer(folder, "config.json", json.dumps(changed).encode(), read)
    assert message is not None
    assert re.search(rf"of the special ids of `{re.escape(str(folder))}.*` must lie in 0\.\.0, got \d+", message)
    assert "give the vocabulary that belongs to the model" in message


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def _replaced(document, choose, value):
    """The document with another value at a place that `choose` finds, any number of levels down."""
    if not isinstance(document, dict | list) or not document or choose(4) == 0:
        return value
    if isinstance(document, list):
        place = choose(len(document))
        return [*document[:place], _replaced(document[place], choose, value), *document[place + 1 :]]
    key = list(document)[choose(len(document))]
    return document | {key: _replaced(document[key], choose, value)}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_damage_is_read_or_refused_in_one_line(folder, data):
    name = data.draw(st.sampled_from(FILES))
    original = (folder / name).read_bytes()
    if data.draw(st.booleans()):
        value = data.draw(_VALUES)
        changed = _replaced(json.loads(original), lambda count: data.draw(st.integers(0, count - 1)), value)
        content = json.dumps(changed, ensure_ascii=data.draw(st.booleans())).encode(errors="surrogatepass")
    else:
        start = data.draw(st.integers(0, len(original)))
        stop = min(len(original), start + data.draw(st.integers(0, 3)))
        content = original[:start] + data.draw(st.binary(max_size=3)) + original[stop:]
    message = answer(folder, name, content, read)
    if message is not None:
        check_message(message, folder, name)


def _weights(entries, data=b"", length=None):
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


_NORM = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS = {
    "empty": b"",
    "shorter than its length": b"\x01\x02",
    "a header longer than the file": _weights({"a": _NORM}, bytes(8), length=10_000),
    "a header of 2**63 bytes": _weights({"a": _NORM}, bytes(8), length=2**63),
    "a header of 200 MB": _weights({"a": _NORM}, bytes(8), length=200_000_000),
    "tensors that overlap": _weights({"a": _NORM, "b": _NORM}, bytes(8)),
    "a hole between tensors": _weights({"a": _NORM, "b": _NORM | {"data_offsets": [12, 20]}}, bytes(20)),
    "an offset beyond the end": _weights({"a": _NORM | {"data_offsets": [0, 80], "shape": [20]}}, bytes(8)),
    "bytes that no tensor has": _weights({"a": _NORM}, bytes(16)),
    "a shape that does not fit its bytes": _weights({"a": _NORM | {"shape": [3]}}, bytes(8)),
    "a shape that overflows": _weights({"a": _NORM | {"shape": [2**40, 2**40]}}, bytes(8)),
    "a negative shape": _weights({"a": _NORM | {"shape": [-2]}}, bytes(8)),
    "an unknown type": _weights({"a": _NORM | {"dtype": "F31"}}, bytes(8)),
    "whole numbers": _weights({"a": _NORM | {"dtype": "I32"}}, bytes(8)),
    "a name of several lines": _weights({"a\nb\x1b[2J": _NORM}, bytes(8)),
    "no object": _weights([1, 2]),
    "nested lists": _weights(b"[" * 100_000),
    "not UTF-8": _weights(b'{"\xff": 1}'),
    "2,000 names": _weights({str(i): _NORM | {"data_offsets": [8 * i, 8 * i + 8]} for i in range(2000)}, bytes(16_000)),
}


@pytest.mark.parametrize("damage", HEADERS)
def test_a_header_that_lies_is_refused_in_one_line(tiny, tmp_path, damage):
    save_model(tmp_path, tiny)
    (tmp_path / "model.safetensors").write_bytes(HEADERS[damage])
    with pytest.raises(InputError) as error:
        load_model(tmp_path)
    check_message(error.value.message, tmp_path, "model.safetensors")


def table(model):
    """Rows of file, damage and answer, as Markdown."""
    yield from ("| file | damage | answer |", "|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "model"
        make_folder(folder, model)
        for name in FILES:
            for damage, change in DAMAGES.items():
                message = answer(folder, name, change((folder / name).read_bytes()), read_and_copy)
                yield f"| `{name}` | {damage} | {'read' if message is None else 'refused'} |"
        shutil.rmtree(folder)
        save_model(folder, model)
        for damage, content in HEADERS.items():
            message = answer(folder, "model.safetensors", content, load_model)
            yield f"| `model.safetensors` | {damage} | {'read' if message is None else 'refused'} |"


if __name__ == "__main__":
    import jax

    from audio_model import Qwen3xConfig, initialize

    shape = Qwen3xConfig(
        vocab_size=97, embed=24, mlp=40, layers=3, heads=4, kv_heads=2, head_dim=8, tied=False, max_seq_len=128
    )
    with contextlib.suppress(BrokenPipeError):
        for line in table(initialize(shape, jax.random.key(0))):
            sys.stdout.write(line + "\n")
