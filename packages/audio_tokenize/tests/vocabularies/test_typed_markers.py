"""Markers that somebody typed into a transcript are text from the recording to the ear, in every kind of vocabulary."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tokenizers
from click.testing import CliRunner

from audio_data import TokenDataset
from audio_tokenize import EncodedCorpus, VocabularyFolder, read_ids
from audio_tokenize.cli import main
from audio_tokenize.text.byte_pairs import token_digest
from audio_tokenize.text.families import TextFamily
from audio_tokenize.text.huggingface_text import HuggingFaceText
from audio_tokenize.vocabularies.published import PUBLISHED

# The last has a character of codebook 0 and one of codebook 7.
TYPED = (
    "say <|text_end|><|audio_start|> and go on",
    "<|begin_of_text|><|text_start|>twice<|end_of_text|>",
    "<|audio_end|>",
    "a \ue003 and a \U00011fff",
)
SPECIALS = ("begin_of_text", "end_of_text", "text_start", "text_end", "audio_start", "audio_end")


def learned_tokenizer(family: TextFamily) -> tokenizers.Tokenizer:
    """A BPE of words as the family cuts them, learned by `tokenizers` itself."""
    learned = tokenizers.Tokenizer(tokenizers.models.BPE())
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(family.pattern), "isolated")
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    learned.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, byte_level])
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    learned.train_from_iterator([*TYPED, "say go on and on"] * 4, trainer)
    return learned


@pytest.fixture
def small_family(request, tmp_path: Path, monkeypatch) -> Path:
    """Puts a learned BPE in the place of the published one, the ids behind it where they are beside that one."""
    published = PUBLISHED[request.param]
    learned = learned_tokenizer(published.family)
    tokens = sorted(learned.get_vocab(), key=learned.get_vocab().__getitem__)
    down = published.family.num_tokens - len(tokens)
    family = replace(published.family, num_tokens=len(tokens), digest=token_digest(tokens))
    places = ("begin_of_text", "end_of_text", "text_start", "padding")
    moved = {place: getattr(published, place) - down for place in places}
    monkeypatch.setitem(PUBLISHED, published.name, replace(published, family=family, **moved))
    path = tmp_path / "tokenizer.json"
    learned.save(str(path))
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def codes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("typed")
    lines = []
    for i, text in enumerate(TYPED):
        soundfile.write(folder / f"{i}.wav", np.random.default_rng(i).normal(0, 0.1, 4000 + 2000 * i), 24_000)
        lines.append(json.dumps({"id": str(i), "audio": f"{i}.wav", "text": text}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    run("encode", folder, "--out", folder / "codes")
    return folder / "codes"


def build_and_check(codes: Path, data: Path) -> None:
    """Every layout with text: the ids hold one marker of each kind, and everything comes back as it was."""
    folder, encoded = VocabularyFolder.load(data / "vocabulary"), {u.id: u for u in EncodedCorpus.open(codes)}
    vocabulary = folder.vocabulary
    assert {utterance.text for utterance in encoded.values()} == set(TYPED)
    for layout in ("text_first", "audio_first"):
        run("build", codes, "--vocabulary", data / "vocabulary", "--out", data / layout, "--layout", layout)
        dataset = TokenDataset.open(data / layout)
        for document in dataset:
            utterance = encoded[document.metadata["id"]]
            counts = [int((document.ids == getattr(vocabulary, name)).sum()) for name in SPECIALS]
            assert counts == [1] * 6, utterance.text
            passages = read_ids(document.ids, vocabulary, folder.text.decode).passages
            passages = [one for one in passages if one.kind != "special"]
            found = {passage.kind: passage for passage in passages}
            assert len(passages) == 2
            assert found["text"].text == utterance.text
            assert found["audio"].codes is not None
            assert np.array_equal(found["audio"].codes, utterance.codes)
    shown = json.loads(run("inspect", data / "text_first", "--index", 1, "--json"))
    assert (shown["problem"], shown["metadata"]["id"]) == (None, "1")
    assert [one["text"] for one in shown["passages"] if one["kind"] == "text"] == [TYPED[1]]


@pytest.mark.parametrize("small_family", sorted(PUBLISHED), indirect=True)
@pytest.mark.slow
def test_in_a_published_vocabulary(small_family: Path, codes: Path, tmp_path: Path, request):
    kind = request.node.callspec.params["small_family"]
    # The codec that ships has the shape of Mimi's codes, and needs no weights.
    source = ["--tokenizer", small_family, "--codec", "embedded"]
    run("vocabulary", "--kind", kind, *source, "--out", tmp_path / "vocabulary")
    text = VocabularyFolder.load(tmp_path / "vocabulary").text
    assert isinstance(text, HuggingFaceText)
    assert text.normalizer == PUBLISHED[kind].family.normalizer
    build_and_check(codes, tmp_path)


def test_in_one_of_sentencepiece(codes: Path, tmp_path: Path):
    run("vocabulary", codes, "--pieces", 300, "--out", tmp_path / "vocabulary")
    build_and_check(codes, tmp_path)
    run("decode", tmp_path / "text_first", "--index", 1, "--out", tmp_path / "heard.wav")
    spoken = EncodedCorpus.open(codes)[1]
    assert soundfile.info(tmp_path / "heard.wav").frames == 1920 * len(spoken.codes)
