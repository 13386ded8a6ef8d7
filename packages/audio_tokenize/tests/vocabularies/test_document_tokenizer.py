from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from audio_data import InputError, Vocabulary
from audio_tokenize.documents.transcode import codes_to_characters
from audio_tokenize.text.byte_pairs import NamedToken
from audio_tokenize.text.huggingface_text import HuggingFaceText
from audio_tokenize.vocabularies.document_tokenizer import document_tokens, tokenizer_files


@pytest.fixture(scope="module")
def text(tokenizer_file: Path) -> HuggingFaceText:
    return HuggingFaceText.open(tokenizer_file)


@pytest.fixture(scope="module")
def vocabulary(text) -> Vocabulary:
    """The begin of text among the text ids, a gap after them, then the other specials and audio."""
    first = text.num_ids + 3
    return Vocabulary(
        name="small",
        num_text=text.num_ids,
        begin_of_text=text.num_ids - 1,
        end_of_text=first,
        text_start=first + 1,
        text_end=first + 2,
        audio_start=first + 3,
        audio_end=first + 4,
        audio_base=first + 5,
        num_codebooks=2,
        codebook_size=16,
        codec_id="tiny-v1",
        text_tokenizer=text.fingerprint,
    )


def test_every_id_without_a_text_token_has_a_name(text, vocabulary):
    named = document_tokens(vocabulary, text.named)
    assert [token.id for token in named] == list(range(text.num_ids - 1, vocabulary.size))
    names = [token.name for token in named]
    unused = [f"<|unused_{text.num_ids + i}|>" for i in range(3)]
    assert names[:9] == [
        "<|begin_of_text|>",
        *unused,
        *(f"<|{name}|>" for name in ("end_of_text", "text_start", "text_end", "audio_start", "audio_end")),
    ]
    assert "".join(names[9:]) == "".join(chr(0xE000 + i) for i in range(32))


@pytest.mark.parametrize("prepends", [True, False])
def test_the_tokenizers_library_reads_documents_alike(text, vocabulary, prepends):
    files = tokenizer_files(text, vocabulary, prepends_begin_of_text=prepends, padding="<|end_of_text|>")
    library = tokenizers.Tokenizer.from_buffer(files["tokenizer.json"])
    codes = np.array([[3, 5], [15, 0]])
    document = f"<|begin_of_text|><|text_start|> as it is<|text_end|><|audio_start|>{codes_to_characters(codes, 16)}"
    ids = [vocabulary.begin_of_text, vocabulary.text_start, *text.encode(" as it is"), vocabulary.text_end]
    ids += [vocabulary.audio_start, *vocabulary.audio_ids(codes).tolist()]
    assert library.encode(document, add_special_tokens=False).ids == ids
    assert library.encode(document).ids == [vocabulary.begin_of_text] * prepends + ids
    assert library.decode(ids, skip_special_tokens=False) == document
    assert library.get_vocab_size() == vocabulary.size


def test_ids_that_collide_are_refused(text, vocabulary):
    last = text.num_ids - 1
    taken = NamedToken(last, "<|somebody_else|>")
    with pytest.raises(InputError, match=rf"{last} must be `begin_of_text`, but is '<\|somebody_else\|>' of the token"):
        document_tokens(vocabulary, [taken])
    twin = replace(vocabulary, begin_of_text=text.num_ids + 1)
    with pytest.raises(InputError, match=rf"'<\|begin_of_text\|>' is both {last} and {last + 2}"):
        document_tokens(twin, text.named)
    inside = replace(vocabulary, begin_of_text=5)
    with pytest.raises(InputError, match="5 must be `begin_of_text`, but is a text token"):
        document_tokens(inside, text.named)
