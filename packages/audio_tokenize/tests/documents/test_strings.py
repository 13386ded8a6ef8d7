import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_data import InputError, Vocabulary
from audio_tokenize.documents.strings import DocumentTranscoder
from audio_tokenize.documents.transcode import codes_to_characters
from audio_tokenize.text.huggingface_text import HuggingFaceText
from audio_tokenize.vocabularies.document_tokenizer import tokenizer_files
from audio_tokenize.vocabularies.folder import VocabularyFolder
from audio_tokenize.vocabularies.merges import AudioMerges

BEGIN, END, AUDIO, AUDIO_END, TEXT, TEXT_END = (
    f"<|{name}|>" for name in ("begin_of_text", "end_of_text", "audio_start", "audio_end", "text_start", "text_end")
)
FRAMES = codes_to_characters(np.random.default_rng(0).integers(0, 2048, (3, 8)))
UTTERANCE = f"{AUDIO}{FRAMES}{AUDIO_END}{TEXT}hello there{TEXT_END}"
DOCUMENT = f"{BEGIN}{UTTERANCE}{END}"


# A small tokenizer, document strings, and what `transformers` makes of them; `python test_strings.py` writes it.
REFERENCE = Path(__file__).with_name("strings_reference.json")


def small_folder(tokenizer: dict[str, Any]) -> VocabularyFolder:
    """A vocabulary in the layout of the published ones, over few text tokens."""
    text = HuggingFaceText(json.dumps(tokenizer).encode())
    begin = text.num_ids - 2
    places = dict(zip(("text_start", "text_end", "audio_start", "audio_end"), range(begin + 2, begin + 6), strict=True))
    vocabulary = Vocabulary(
        name="small-mimi",
        num_text=text.num_ids,
        begin_of_text=begin,
        end_of_text=begin + 1,
        **places,
        audio_base=begin + 6,
        num_codebooks=8,
        codebook_size=2048,
        codec_id="mimi",
        text_tokenizer=text.fingerprint,
    )
    files = tokenizer_files(text, vocabulary, prepends_begin_of_text=True, padding=END)
    return VocabularyFolder(vocabulary, text, tokenizer_files=files)


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return json.loads(REFERENCE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def small(recorded) -> VocabularyFolder:
    return small_folder(recorded["tokenizer"])


@pytest.fixture(scope="module")
def marin(marin_mimi: VocabularyFolder) -> VocabularyFolder:
    return marin_mimi


@pytest.fixture(scope="module", params=["small", "marin"])
def folder(request) -> VocabularyFolder:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def reference(marin, tmp_path_factory):
    """The tokenizer as `transformers` loads it from the vocabulary's folder."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("marin") / "vocabulary"
    marin.save(folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def transcoder(marin) -> DocumentTranscoder:
    return DocumentTranscoder(marin)


def spans(text):
    codes = st.integers(0, 4).flatmap(
        lambda frames: st.lists(st.integers(0, 2047), min_size=8 * frames, max_size=8 * frames)
    )
    audio = codes.map(
        lambda codes: f"{AUDIO}{codes_to_characters(np.array(codes, np.int32).reshape(-1, 8))}{AUDIO_END}"
    )
    return st.lists(st.one_of(audio, text.map(lambda text: f"{TEXT}{text}{TEXT_END}"), text), max_size=5)


# Text of every kind that is no surrogate, characters of the audio range and pieces of markers among it.
any_text = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(
            [
                "\uff0c\u3002\ufb01",
                "\ufeff",
                "\ufffe\uffff",
                "\ue000",
                "😀",
                " <|",
                "|>",
                "<|text",
                "<|eot_id|>",
                "\n\n",
            ]
        ),
        st.characters(min_codepoint=0xE000, max_codepoint=0x12010),
    ),
    max_size=6,
).map("".join)
documents = spans(any_text).map(lambda spans: f"{BEGIN}{''.join(spans)}{END}") | spans(any_text).map("".join)


@pytest.mark.parametrize("begin_of_text", ["single", "double"])
def test_ids_are_those_recorded_of_transformers_and_go_back(small, recorded, begin_of_text):
    transcoder = DocumentTranscoder(small, begin_of_text=begin_of_text)
    strings = [case["document"] for case in recorded["cases"]]
    found = [ids for ids in transcoder.encode_batch(strings) if ids is not None]
    assert [ids.tolist() for ids in found] == [case[begin_of_text] for case in recorded["cases"]]
    assert [transcoder.decode(ids) for ids in found] == strings


@given(st.lists(documents, max_size=4))
@pytest.mark.long
def test_ids_are_those_of_transformers_and_go_back(transcoder, reference, documents):
    wanted = [reference(document, add_special_tokens=False)["input_ids"] for document in documents]
    found = transcoder.encode_batch(documents)
    assert [ids.tolist() for ids in found] == wanted
    assert all(ids.dtype == np.int32 for ids in found)
    assert [transcoder.decode(ids) for ids in found] == documents


@given(documents)
def test_the_double_begin_of_text_is_what_the_tokenizer_gives_by_default(marin, reference, document):
    transcoder = DocumentTranscoder(marin, begin_of_text="double")
    ids = transcoder.encode(document)
    assert ids.tolist() == reference(document)["input_ids"]
    assert transcoder.decode(ids) == document


@pytest.mark.slow
def test_ids_of_qwen3x_are_those_of_transformers(tmp_path):
    """Its tokenizer normalises text and has names that begin otherwise than `<|`."""
    transformers = pytest.importorskip("transformers")
    folder = VocabularyFolder.qwen3x_mimi("dashscope")
    folder.save(tmp_path)
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    strings = [
        DOCUMENT,
        f"{TEXT}e\u0301 <think>no</think> <|im_start|>x < y{TEXT_END}",
        f"plain \uff0c<|endoftext|>{END}",
    ]
    transcoder = DocumentTranscoder(folder)
    for document in strings:
        ids = transcoder.encode(document)
        assert ids.tolist() == reference(document, add_special_tokens=False)["input_ids"]
        assert transcoder.decode(ids) == document.replace("e\u0301", "\u00e9")


def test_a_published_document_begins_with_one_begin_of_text_or_as_marin_s_tokenizer_has_it_with_two(marin):
    assert DocumentTranscoder(marin).encode(DOCUMENT)[:2].tolist() == [128000, 128258]
    assert DocumentTranscoder(marin, begin_of_text="double").encode(DOCUMENT)[:3].tolist() == [128000, 128000, 128258]


def test_characters_of_the_audio_range_in_text_are_audio_tokens_and_counted(folder):
    transcoder = DocumentTranscoder(folder)
    ids = transcoder.encode(f"{TEXT}你好\uff0c再见{TEXT_END}")
    assert folder.vocabulary.audio_base + 0xFF0C - 0xE000 in ids.tolist()
    transcoder.encode_batch([f"{TEXT}你好\uff0c再见。{TEXT_END}", "\ufb01ne", DOCUMENT])
    assert transcoder.counts == {"documents": 3, "audio_characters_in_text": 2}


def codebook(k: int) -> str:
    return f"[{chr(0xE000 + 2048 * k)}-{chr(0xE000 + 2048 * k + 2047)}]"


# The grammar of documents of 8 codebooks, as one regular expression: naive, slow, and written without looking.
MARKER = r"<\|(?:begin_of_text|end_of_text|text_start|text_end|audio_start|audio_end)\|>"
TEXT_PART = rf"(?:(?!{MARKER})[^\ud800-\udfff])*"
GRAMMAR = re.compile(
    rf"(?s:(?:{re.escape(BEGIN)})?"
    rf"(?:{re.escape(AUDIO)}(?:{''.join(map(codebook, range(8)))})*{re.escape(AUDIO_END)}"
    rf"|{re.escape(TEXT)}{TEXT_PART}{re.escape(TEXT_END)}|(?!{MARKER})[^\ud800-\udfff])*"
    rf"(?:{re.escape(END)})?)"
)


def broken(seed: int) -> str:
    """A document in which something was deleted, doubled, swapped or put in."""
    chance = random.Random(seed)
    document = BEGIN + UTTERANCE * 2 + END
    cut = [part for part in re.split(f"({MARKER})|(.)", document) if part]
    for _ in range(chance.choice([0, 1, 1, 2])):
        at, other = chance.randrange(len(cut)), chance.randrange(len(cut))
        match chance.randrange(4):
            case 0:
                del cut[at]
            case 1:
                cut.insert(at, cut[other])
            case 2:
                cut[at], cut[other] = cut[other], cut[at]
            case 3:
                cut.insert(at, chance.choice(["\ud83d", "x", FRAMES[0], FRAMES[:8], AUDIO, END]))
    return "".join(cut)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=8))
def test_what_is_kept_is_what_the_grammar_says_whatever_else_is_in_the_batch(folder, seeds):
    broken_documents = [broken(seed) for seed in seeds]
    transcoder = DocumentTranscoder(folder, lenient=True, num_codebooks=8)
    found = transcoder.encode_batch(broken_documents)
    expected = [GRAMMAR.fullmatch(document) is not None for document in broken_documents]
    assert [ids is not None for ids in found] == expected
    dropped = {name: n for name, n in transcoder.counts.items() if name.startswith("dropped_")}
    assert sum(dropped.values()) == expected.count(False)
    for document, ids in zip(broken_documents, found, strict=True):
        if ids is None:
            with pytest.raises(InputError, match=r"the document, character \d+: expected "):
                transcoder.encode(document)
        else:
            assert np.array_equal(transcoder.encode(document), ids)


@pytest.mark.parametrize(
    ("before", "wrong", "message"),
    [
        (f"{BEGIN}{AUDIO}{FRAMES}", f"{TEXT}x{TEXT_END}", r"audio characters or <\|audio_end\|>, got <\|text_start"),
        (f"{BEGIN}{FRAMES}", f"{AUDIO_END}{END}", r"got <\|audio_end\|> outside every span"),
        (f"{BEGIN}{TEXT}x", f"{TEXT}y{TEXT_END}", r"text or <\|text_end\|>, got <\|text_start\|> inside a text"),
        (f"{TEXT}x{TEXT_END}", BEGIN, r"got <\|begin_of_text\|> outside every span"),
        ("", f"{END}x", r"got <\|end_of_text\|> outside"),
        (f"{BEGIN}{AUDIO}{FRAMES}", "", "the end of the span, got the end inside an audio span"),
        (f"{AUDIO}{FRAMES[:10]}", f"{FRAMES[11:]}{AUDIO_END}", r"codebook 2 in frames of 8, got U\+F[89A-F]"),
        (f"{AUDIO}{FRAMES[:8]}", f"xy{AUDIO_END}", r"codebook 0 in frames of 8, got U\+0078"),
        (f"{AUDIO}{FRAMES[:13]}", AUDIO_END, "frames of 8 characters, got 13 characters of audio from character 15 on"),
        (f"{TEXT}a", f"\ud83d{TEXT_END}", r"a Unicode character, got U\+D83D, half a pair"),
        (f"{BEGIN}a", f"\udfff{AUDIO}{FRAMES[:9]}{AUDIO_END}", r"U\+DFFF"),
    ],
    ids=range(11),
)
def test_a_fault_is_named_with_document_and_position(folder, before, wrong, message):
    transcoder = DocumentTranscoder(folder)
    with pytest.raises(InputError, match=rf"^document `b`, character {len(before)}: expected .*{message}"):
        transcoder.encode_batch([DOCUMENT, before + wrong], names=["a", "b"])
    with pytest.raises(InputError, match=rf"^document 1, character {len(before)}: "):
        transcoder.cut_batch([DOCUMENT, before + wrong])


def test_frames_have_as_many_codebooks_as_the_first_or_as_asked_for(folder):
    codes = np.random.default_rng(1).integers(0, 2048, (5, 8))
    mixed = [f"{AUDIO}{codes_to_characters(codes[:, :n])}{AUDIO_END}" for n in (8, 1, 3, 8)]
    found = DocumentTranscoder(folder).encode_batch(mixed)
    for n, ids in zip((8, 1, 3, 8), found, strict=True):
        assert np.array_equal(ids[1:-1], folder.vocabulary.audio_ids(codes[:, :n]))
    with pytest.raises(InputError, match=r"^document 1, character 16: .* codebook 1 in frames of 8, got U\+E"):
        DocumentTranscoder(folder, num_codebooks=8).encode_batch(mixed)


def test_a_vocabulary_or_an_argument_that_cannot_serve_is_refused(folder):
    begin, audio = folder.vocabulary.begin_of_text, folder.vocabulary.audio_start
    silent = Vocabulary.compact("silent", 10, "none", 0, 0, "test")
    with pytest.raises(InputError, match="`silent` must have codebooks"):
        DocumentTranscoder(VocabularyFolder(silent, folder.text))
    merges = AudioMerges(np.array([[0, 2048]], np.int32), 8, 2048)
    with pytest.raises(InputError, match="one id a code, got 1 merges"):
        DocumentTranscoder(VocabularyFolder(folder.vocabulary, folder.text, merges=merges))
    with pytest.raises(InputError, match=r"`num_codebooks` must be in 1\.\.8, got 9"):
        DocumentTranscoder(folder, num_codebooks=9)
    with pytest.raises(InputError, match=f"expected an id of vocabulary `{folder.vocabulary.name}`"):
        DocumentTranscoder(folder).decode(np.array([folder.vocabulary.size]))
    with pytest.raises(InputError, match=rf"`ids\[0\]` must be {begin}, .* got \[{audio}\]"):
        DocumentTranscoder(folder, begin_of_text="double").decode(np.array([audio]))


def write_reference() -> None:
    """Trains the small tokenizer and records what `transformers` makes of strings of every kind."""
    import tempfile

    import tokenizers
    import transformers
    from tokenizers import models, pre_tokenizers, trainers

    trained = tokenizers.Tokenizer(models.BPE())
    words = tokenizers.Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+")
    levels = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trained.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(words, "isolated"), levels])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(["hello there, say what it is in a few words, über alles 12"] * 4, trainer)
    trained.add_special_tokens([BEGIN, END])
    tokenizer = json.loads(trained.to_str())
    folder = small_folder(tokenizer)
    with tempfile.TemporaryDirectory() as name:
        folder.save(name)
        reference = transformers.AutoTokenizer.from_pretrained(name)
    found: list[str] = []
    kept = given(documents)(lambda document: found.append(document))
    settings(
        max_examples=90, database=None, derandomize=True, suppress_health_check=tuple(HealthCheck.__members__.values())
    )(kept)()
    transcoder = DocumentTranscoder(folder, lenient=True)
    chosen = sorted({document for document in found if len(document) < 200})
    chosen = [
        DOCUMENT,
        *(document for document, ids in zip(chosen, transcoder.encode_batch(chosen), strict=True) if ids is not None),
    ]
    cases = [
        {
            "document": document,
            "single": reference(document, add_special_tokens=False)["input_ids"],
            "double": reference(document)["input_ids"],
        }
        for document in chosen
    ]
    versions = f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}"
    made = f"`python {Path(__file__).name}` with {versions}"
    content = {"made": made, "tokenizer": tokenizer, "cases": cases}
    REFERENCE.write_text(json.dumps(content, ensure_ascii=True, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_reference()
