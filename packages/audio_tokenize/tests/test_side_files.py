"""Every JSON and side file of a folder that is read again, damaged in every way: the same as before, or one line."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audio_data import (
    DatasetWriter,
    Document,
    Holdout,
    InputError,
    TokenDataset,
    Vocabulary,
    quarantine_damage,
    read_json,
    verify_dataset,
    write_sealed_json,
)
from audio_tokenize.codecs.embedded.weights import Weights, read_weights, write_weights
from audio_tokenize.codecs.mimi import MimiConfig
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.jobs import encode_corpus
from audio_tokenize.encoding.plan import EncodePlan
from audio_tokenize.encoding.shard_files import Chunk, EncodedShardFiles
from audio_tokenize.text.huggingface_text import HuggingFaceText
from audio_tokenize.text.sentencepiece_text import SentencePieceText
from audio_tokenize.vocabularies.folder import VocabularyFolder
from audio_tokenize.vocabularies.merges import AudioMerges


class StopError(Exception):
    """Leaves a dataset unfinished."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A file, and what is seen of its folder by whoever opens it.

    Attributes:
        file: In the folder of all cases.
        look: What is compared.
        is_checked: Whether the file has a checksum, so that no damage passes for other content.
    """

    file: str
    look: Callable[[Path], Any]
    is_checked: bool = True


def of_dataset(root: Path) -> Any:
    folder = root / "data" / "speech"
    sides = [TokenDataset.open(folder, max_quarantined=1, holdout=Holdout(0.5, heldout)) for heldout in (False, True)]
    documents = [[side.metadata(i)["id"] for i in range(len(side)) if i not in side.quarantined] for side in sides]
    return documents, [side.span(0) for side in sides], sides[0].manifest.to_json()


def writer(folder: Path, vocabulary: Vocabulary) -> DatasetWriter:
    return DatasetWriter(folder, corpus="begun", vocabulary=vocabulary, provenance={"a": [1]}, documents_per_shard=2)


def of_unfinished(root: Path) -> Any:
    begun = writer(root / "begun", Vocabulary.read(root / "vocabulary.json"))
    try:
        with begun:
            raise StopError
    except StopError:
        return begun.manifest


def of_plan(root: Path) -> Any:
    PLAN.check_same_job(root / "planned")
    return read_json(root / "planned" / "plan.json", remedy="")


def of_vocabulary(name: str) -> Callable[[Path], Any]:
    def look(root: Path) -> Any:
        found = VocabularyFolder.load(root / name)
        arrays = [found.codebooks, None if found.merges is None else found.merges.pairs]
        seen = [None if array is None else array.tobytes() for array in arrays]
        return found.vocabulary, found.text.encode("say what it is"), seen, dict(found.tokenizer_files)

    return look


def of_weights(root: Path) -> Any:
    found = read_weights(root / "codec.safetensors")
    return found.codec_id, found.recipe, found.attribution, {n: t.tobytes() for n, t in found.tensors.items()}


PLAN = EncodePlan(corpus="speech", shards=(("a", "0" * 64),), codec={"id": "tiny-v1", "num_codebooks": 8})
CASES = [
    Case("data/speech/manifest.json", of_dataset),
    Case("data/speech/damaged.json", of_dataset),
    Case("data/speech/shard-00000.offsets.npy", of_dataset),
    Case("data/speech/shard-00000.holdout.npy", of_dataset),
    Case("begun/unfinished.json", of_unfinished),
    Case("codes/codes.json", lambda root: EncodedCorpus.open(root / "codes").manifest),
    Case("planned/plan.json", of_plan),
    Case("codes/shard-00000.json", lambda root: EncodedShardFiles(root / "codes", 0).counts()),
    Case("pieces/vocabulary.json", of_vocabulary("pieces")),
    Case("pieces/text.model", of_vocabulary("pieces")),
    Case("pieces/codebooks.safetensors", of_vocabulary("pieces")),
    Case("pieces/merges.safetensors", of_vocabulary("pieces")),
    Case("pairs/tokenizer.json", of_vocabulary("pairs")),
    Case("pairs/tokenizer_config.json", of_vocabulary("pairs")),
    Case("pairs/special_tokens_map.json", of_vocabulary("pairs")),
    Case("codec.safetensors", of_weights),
    Case("tokenizer.json", lambda root: HuggingFaceText.open(root / "tokenizer.json").fingerprint, is_checked=False),
    Case("config.json", lambda root: MimiConfig.read(root / "config.json"), is_checked=False),
    Case("merges.safetensors", lambda root: AudioMerges.load(root / "merges.safetensors"), is_checked=False),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory, corpus, codec, tokenizer_file) -> Path:
    """A folder with a file of every kind."""
    root = tmp_path_factory.mktemp("side")
    random = np.random.default_rng(0)
    text = SentencePieceText.train(["say what it is, as it is, in a few words"], 32)
    vocabulary = Vocabulary.compact("pieces", text.num_ids, "tiny-v1", 8, 16, text.fingerprint)
    codebooks = np.asarray(codec.codebook_vectors(), np.float32)
    merges = AudioMerges.learn([random.integers(0, 2, (50, 8)).astype(np.int32)], 5, 16)
    VocabularyFolder(vocabulary, text, codebooks, merges).save(root / "pieces")
    merges.save(root / "merges.safetensors")
    named = HuggingFaceText.open(tokenizer_file)
    compact = Vocabulary.compact("pairs", named.num_ids, "tiny-v1", 8, 16, named.fingerprint)
    files = {"tokenizer.json": tokenizer_file.read_bytes(), "tokenizer_config.json": b'{"a": 1}'}
    files["special_tokens_map.json"] = b'{"b": [2]}'
    VocabularyFolder(compact, named, tokenizer_files=files).save(root / "pairs")
    (root / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
    (root / "config.json").write_text(json.dumps(MimiConfig.tiny().to_json()))
    tensors = {"a": random.random((4, 3), np.float32), "b": random.random(5, np.float32)}
    write_weights(root / "codec.safetensors", Weights("tiny", {"steps": 3}, "nobody", tensors), frozenset({"a"}))
    write_dataset(root, vocabulary)
    encode_corpus(corpus, codec, root / "codes", max_quarantined=1.0)
    (root / "planned").mkdir()
    PLAN.check_same_job(root / "planned")
    return root


def write_dataset(root: Path, vocabulary: Vocabulary) -> None:
    vocabulary.write(root / "vocabulary.json")
    documents = [Document(np.arange(3 + i), None, {"id": f"u{i}", "seconds": 1.0}) for i in range(6)]
    folder = root / "data" / "speech"
    with DatasetWriter(folder, corpus="speech", vocabulary=vocabulary, provenance={}, documents_per_shard=4) as whole:
        for document in documents:
            whole.write(document)
    file = folder / "shard-00001.arrayrecord"
    content = bytearray(file.read_bytes())
    content[content.index(b"ATOK") + 17] ^= 1
    file.write_bytes(bytes(content))
    quarantine_damage(folder, 1)
    with contextlib.suppress(StopError), writer(root / "begun", vocabulary) as begun:
        for document in documents[:5]:
            begun.write(document)
        raise StopError


BYTES = [
    b"",
    b"\0",
    b"{",
    b"[]",
    b"{}",
    b"null",
    b'"x"',
    b"7",
    b'{"a":' * 100_000,
    b"[" * 100,
    b"\xff\xfe{}",
    b'{"a": NaN}',
]
damages = st.one_of(
    st.sampled_from([("is", content) for content in BYTES]),
    st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True)),
    st.tuples(st.just("zero"), st.floats(0, 1, exclude_max=True), st.integers(1, 600)),
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
    st.tuples(
        st.just("insert"), st.floats(0, 1, exclude_max=True), st.sampled_from([b"\xff", b"0", b'"', b"\0\0", b"{"])
    ),
)


def damaged(content: bytes, damage: tuple[Any, ...]) -> bytes:
    kind, *how = damage
    if kind == "is":
        return how[0]
    place = int(how[0] * len(content))
    if kind == "cut":
        return content[:place]
    if kind == "zero":
        return content[:place] + bytes(len(content[place : place + how[1]])) + content[place + how[1] :]
    if kind == "flip":
        return content[:place] + bytes([content[place] ^ 1 << how[1]]) + content[place + 1 :]
    return content[:place] + how[1] + content[place:]


@contextlib.contextmanager
def restored(file: Path) -> Iterator[bytes]:
    content = file.read_bytes()
    try:
        yield content
    finally:
        if file.is_dir():
            file.rmdir()
        file.write_bytes(content)


def outcome(case: Case, root: Path, named: Path) -> Any:
    """What is seen, or None after a message of one line that names a file or its folder."""
    try:
        return case.look(root)
    except InputError as error:
        message = error.message
    assert str(named) in message
    assert "\n" not in message
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_a_damaged_file_changes_nothing_or_is_named(case, root):
    file, expected = root / case.file, case.look(root)

    @settings(max_examples=25)
    @given(damages)
    @example(("is", b""))
    @example(("is", BYTES[8]))
    def check(damage):
        with restored(file) as content:
            file.write_bytes(damaged(content, damage))
            found = outcome(case, root, file)
            assert found is None or not case.is_checked or found == expected

    check()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_a_missing_file_or_a_folder_in_its_place_is_named(case, root):
    file = root / case.file
    for make in (Path.unlink, lambda file: file.mkdir()):
        with restored(file):
            file.unlink()
            if make is not Path.unlink:
                make(file)
            outcome(case, root, file.parent)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


@pytest.mark.parametrize("case", [c for c in CASES if c.file.endswith(".json")], ids=lambda case: case.file)
def test_a_value_of_another_kind_is_named_also_where_the_checksum_is_right(case, root):
    file = root / case.file
    whole = read_json(file, remedy="")

    @settings(max_examples=25)
    @given(st.data())
    def check(data):
        value = json.loads(json.dumps(whole))
        *path, last = data.draw(st.sampled_from([place for place in places(value) if place]))
        holder = value
        for key in path:
            holder = holder[key]
        new = data.draw(st.just("gone") | json_values)
        if new == "gone":
            del holder[last]
        else:
            holder[last] = new
        with restored(file):
            if case.is_checked and not case.file.startswith("pairs/"):
                write_sealed_json(file, value)
            else:
                file.write_text(json.dumps(value))
            outcome(case, root, file.parent)

    check()


def test_a_part_of_a_shard_that_says_nothing_of_itself_is_named(tmp_path, utterance):
    files = EncodedShardFiles(tmp_path, 0)
    files.write_chunk(0, Chunk([utterance("a")], num_entries=1))
    content = (tmp_path / "shard-00000.part-00000.arrayrecord").read_bytes()
    (tmp_path / "shard-00000.part-00000.arrayrecord").write_bytes(content[:-40])
    with pytest.raises(InputError, match=r"shard-00000\.part-00000\.arrayrecord"):
        files.chunks()


@pytest.mark.parametrize(("num_entries", "seconds"), [(0, 0.0), (1, 0.0), (-1, 0.0), (1, -0.5)])
def test_counts_of_a_part_are_0_or_more(tmp_path, num_entries, seconds):
    """A shard of the corpus may hold nothing."""
    files = EncodedShardFiles(tmp_path, 0)
    files.write_chunk(0, Chunk(num_entries=num_entries, seconds=seconds))
    if num_entries < 0 or seconds < 0:
        with pytest.raises(InputError, match=r"a part must have counts from 0, got .*; delete the parts of"):
            files.chunks()
    else:
        assert [(part.num_entries, part.seconds) for part in files.chunks()] == [(num_entries, seconds)]


def test_a_sound_folder_has_no_problems(root):
    problems = verify_dataset(root / "data" / "speech")
    assert all("shard-00001.arrayrecord" in problem for problem in problems)
