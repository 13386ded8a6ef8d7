"""The ids of paper and model cards, and `transformers` on whole documents."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audio_data import InputError
from audio_tokenize.corpora.text_files import TextDocument
from audio_tokenize.datasets.text_documents import text_encoder
from audio_tokenize.documents.transcode import codes_to_characters
from audio_tokenize.text.huggingface_text import HuggingFaceText
from audio_tokenize.vocabularies.folder import VocabularyFolder

KINDS = ["marin-mimi", "qwen3x-mimi"]
# What no text span holds: characters of the audio range are audio wherever they stand in a document.
spoken = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(
    lambda text: "".join(c for c in text if not 0xE000 <= ord(c) <= 0x11FFF)
)
frames = st.lists(st.lists(st.integers(0, 2047), min_size=8, max_size=8), min_size=1, max_size=4)


@pytest.fixture(scope="module", params=KINDS)
def folder(request, marin_mimi, qwen3x_mimi) -> VocabularyFolder:
    return marin_mimi if request.param == "marin-mimi" else qwen3x_mimi


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, folder):
    """The folder as `transformers` reads it."""
    transformers = pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("vocabulary")
    folder.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.AutoTokenizer.from_pretrained(path)


def test_marin_mimi_has_the_ids_of_the_released_models(marin_mimi):
    vocabulary = marin_mimi.vocabulary
    assert vocabulary.size == 144_644
    assert (vocabulary.begin_of_text, vocabulary.end_of_text) == (128_000, 128_001)
    assert (vocabulary.text_start, vocabulary.text_end) == (128_256, 128_257)
    assert (vocabulary.audio_start, vocabulary.audio_end) == (128_258, 128_259)
    assert vocabulary.audio_range(0) == (128_260, 130_308)
    assert vocabulary.audio_range(7)[1] == 144_644
    assert marin_mimi.text.decode([128_009]) == "<|eot_id|>"
    assert marin_mimi.text.encode("Hello") == [9906]
    assert (vocabulary.kind_of(np.arange(vocabulary.size)) >= 0).all()


@pytest.mark.long
def test_qwen3x_mimi_has_the_ids_of_the_released_models(qwen3x_mimi):
    vocabulary = qwen3x_mimi.vocabulary
    assert vocabulary.size == 168_059
    assert (vocabulary.begin_of_text, vocabulary.end_of_text) == (151_670, 151_643)
    assert (vocabulary.text_start, vocabulary.text_end) == (151_671, 151_672)
    assert (vocabulary.audio_start, vocabulary.audio_end) == (151_673, 151_674)
    assert vocabulary.audio_range(0)[0] == 151_675
    assert vocabulary.audio_range(7)[1] == 168_059
    # As the notebook that made the tokenizer prints them.
    assert qwen3x_mimi.text.encode("[2]Hello how are you") == [58, 17, 60, 9707, 1246, 525, 498]
    with pytest.raises(InputError, match="got 151669"):
        vocabulary.kind_of(np.array([151_668, 151_669]))


def test_transformers_knows_every_audio_character(loaded, folder):
    vocabulary = folder.vocabulary
    assert len(loaded) == vocabulary.size
    codes = np.repeat(np.arange(2048)[:, None], 8, axis=1)
    characters = codes_to_characters(codes)
    assert {"\ufffe", "\uffff", "\uf900", "\ufb1d"} < set(characters), "noncharacters and what NFC would change"
    ids = vocabulary.audio_ids(codes)
    assert loaded(characters, add_special_tokens=False)["input_ids"] == ids.tolist()
    assert loaded.decode(ids) == characters


@settings(max_examples=30)
@given(st.lists(st.tuples(spoken, frames), min_size=1, max_size=3))
@example([(" a\u0301  b\n", [[1916, 0, 3, 2046, 4, 5, 6, 2047]]), ("", [[0] * 8])])
def test_transformers_gives_the_same_ids_to_whole_documents(loaded, folder, segments):
    vocabulary, text = folder.vocabulary, folder.text
    document, ids = "<|begin_of_text|>", [vocabulary.begin_of_text]
    for words, codes in segments:
        characters = codes_to_characters(np.array(codes))
        document += f"<|text_start|>{words}<|text_end|><|audio_start|>{characters}<|audio_end|>"
        ids += [vocabulary.text_start, *text.encode(words), vocabulary.text_end, vocabulary.audio_start]
        ids += [*vocabulary.audio_ids(np.array(codes)).tolist(), vocabulary.audio_end]
    ids.append(vocabulary.end_of_text)
    document += "<|end_of_text|>"
    assert loaded(document, add_special_tokens=False)["input_ids"] == ids
    if text.normalizer is None:
        assert loaded.decode(ids) == document


def test_marin_prepends_the_begin_of_text_and_qwen_does_not(loaded, folder):
    begin = folder.vocabulary.begin_of_text
    prepended = [begin] if folder.vocabulary.name == "marin-mimi" else []
    assert loaded("Hello")["input_ids"] == [*prepended, *folder.text.encode("Hello")]
    assert loaded("<|begin_of_text|>")["input_ids"] == [*prepended, begin], "the double begin of text of Marin"
    roles = (loaded.bos_token_id, loaded.eos_token_id, loaded.convert_tokens_to_ids(loaded.pad_token))
    padding = 128_009 if prepended else 151_643
    assert roles == (begin, folder.vocabulary.end_of_text, padding)


@settings(max_examples=30)
@given(spoken.filter(bool))
@example("Open the door.")
@example(" it ends in space\n ")
@example("a\u0301 \u00a0")
def test_plain_texts_have_the_ids_of_levanter(loaded, folder, words):
    """Levanter appends `" " + end_of_text`, and prepends `begin_of_text + " "` where the tokenizer does not."""
    prepends = loaded("Hello")["input_ids"][0] == loaded.bos_token_id
    whole = f"{'' if prepends else loaded.bos_token + ' '}{words} {loaded.eos_token}"
    encoder = text_encoder("text", folder, text_spaces="after" if prepends else "around")
    [document] = encoder.encode(encoder.prepare([TextDocument("t", words, {})]))
    assert document.ids.tolist() == loaded(whole)["input_ids"]
    if words[-1].isalpha():
        assert folder.text.decode([document.ids[-2].item()]) == " ", "a space of its own before the end"


def test_a_published_folder_comes_back_without_codebooks(tmp_path: Path, folder):
    folder.save(tmp_path)
    loaded = VocabularyFolder.load(tmp_path)
    assert loaded.vocabulary == folder.vocabulary
    assert loaded.codebooks is None
    assert loaded.tokenizer_files == folder.tokenizer_files
    assert loaded.text.fingerprint == folder.text.fingerprint
    assert loaded.text.encode("Hello <|text_end|>") == folder.text.encode("Hello <|text_end|>")
    loaded.save(tmp_path / "copy")
    copied = VocabularyFolder.load(tmp_path / "copy").text
    assert isinstance(copied, HuggingFaceText)
    assert copied.named == folder.text.named


def test_a_folder_whose_tokenizer_is_another_is_refused(tmp_path: Path, marin_mimi, qwen3x_mimi):
    marin_mimi.save(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(qwen3x_mimi.tokenizer_files["tokenizer.json"])
    with pytest.raises(InputError, match=r"tokenizer\.json` must have the SHA-256 .* it is damaged, so restore it"):
        VocabularyFolder.load(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json` is missing, though `vocabulary\.json` lists it"):
        VocabularyFolder.load(tmp_path)


def test_the_tokens_of_another_model_are_refused(tokenizer_file: Path, marin_mimi):
    for name, tokens in (("marin-mimi", "the 128000 tokens of Llama-3"), ("qwen3x-mimi", "the 151643 tokens of Qwen3")):
        with pytest.raises(InputError, match=rf"must hold {tokens}, got \d+ tokens: they are in the package"):
            VocabularyFolder.published(name, tokenizer_file)
    with pytest.raises(InputError, match="must hold the 151643 tokens of Qwen3, got 128000"):
        VocabularyFolder.qwen3x_mimi("llama-models")
    with pytest.raises(InputError, match=r"must be one of \['marin-mimi', 'qwen3x-mimi'\], got 'marin'"):
        VocabularyFolder.published("marin", tokenizer_file)


@pytest.mark.long
def test_a_published_tokenizer_json_is_as_good_a_source_as_the_ranks(tmp_path: Path, folder):
    """Also the one of a folder that was made here, audio and all."""
    folder.save(tmp_path)
    again = VocabularyFolder.published(folder.vocabulary.name, tmp_path)
    assert again.vocabulary == folder.vocabulary
    assert again.tokenizer_files == folder.tokenizer_files


@pytest.mark.long
def test_a_codec_brings_its_codebooks_and_its_name(codec, marin_mimi):
    class Mimi(type(codec)):
        codec_id: str = "mimi-0123456789ab"
        num_codebooks: int = 9
        codebook_size: int = 2048

    found = VocabularyFolder.marin_mimi("llama-models", codec=Mimi())
    assert found.vocabulary.codec_id == "mimi-0123456789ab"
    assert found.codebooks is not None
    assert found.codebooks.shape == (8, 2048, 1)
    assert np.array_equal(found.codebooks, Mimi().codebook_vectors()[:8])
    with pytest.raises(InputError, match=r"at least 8 codebooks of 2048, as Mimi, got 'tiny-v1' with 8 of 16"):
        VocabularyFolder.marin_mimi("llama-models", codec=codec)
