"""The vocabularies of the published models, id for id.

| ids                | marin-mimi                        | ids                | qwen3x-mimi                          |
| ------------------ | --------------------------------- | ------------------ | ------------------------------------ |
| 0 .. 128,255       | Llama 3, with 128,000 its begin   | 0 .. 151,668       | Qwen 3, with 151,643 its end of text |
|                    | and 128,001 its end of text       | 151,669            | not used                             |
|                    |                                   | 151,670            | begin of text                        |
| 128,256 .. 128,259 | start and end of text, of audio   | 151,671 .. 151,674 | start and end of text, of audio      |
| 128,260 .. 144,643 | Mimi, 8 codebooks of 2,048 codes  | 151,675 .. 168,058 | Mimi, 8 codebooks of 2,048 codes     |

Source: SODA (arXiv 2602.16687), whose tokenizers are `soda-research/marin-mimi-bpe-8cb-16k-tokenizer` and
`potsawee/qwen3x-mimi-bpe-8cb-16k-tokenizer`. Qwen3x renames Qwen's `<|endoftext|>` to `<|end_of_text|>`; its ids from
151,671 on follow from the length of the published tokenizer and the order in which it was made.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from audio_data import InputError, Vocabulary
from audio_tokenize.text.byte_pairs import dump
from audio_tokenize.text.families import LLAMA3, QWEN3, TextFamily
from audio_tokenize.text.huggingface_text import HuggingFaceText
from audio_tokenize.text.tokenizer_files import find_tokenizer, read_tokens
from audio_tokenize.vocabularies.document_tokenizer import SPECIALS, marker, tokenizer_files

NUM_CODEBOOKS = 8
CODEBOOK_SIZE = 2048


@dataclass(frozen=True)
class PublishedVocabulary:
    """Where a published vocabulary has its ids.

    Attributes:
        name: What it is called.
        family: Tokens and word rules of its text tokenizer.
        text_tokenizer: Repository of that tokenizer on the Hugging Face hub; `find_tokenizer` takes it.
        begin_of_text: Id that opens a document.
        end_of_text: Id that closes a document.
        text_start: Id that opens a transcript; the end of text, both of audio and the codes follow.
        prepends_begin_of_text: Whether its tokenizer puts the begin of text before every string.
        padding: Id that fills up a batch.
    """

    name: str
    family: TextFamily
    text_tokenizer: str
    begin_of_text: int
    end_of_text: int
    text_start: int
    prepends_begin_of_text: bool
    padding: int

    def read_text(self, source: str | Path, *, revision: str | None = None) -> HuggingFaceText:
        """Its text tokenizer, over tokens read from a file; equal for all files with the right tokens.

        Args:
            source: See `find_tokenizer`.
            revision: Of a hub id.

        Raises:
            InputError: Not found, or with other tokens.
        """
        path = find_tokenizer(source, revision=revision)
        pairs = self.family.byte_pairs(read_tokens(path.read_bytes(), str(path)), str(path))
        renamed = {getattr(self, special): marker(special) for special in ("begin_of_text", "end_of_text")}
        named = [replace(token, name=renamed.get(token.id, token.name)) for token in self.family.named]
        return HuggingFaceText(dump(pairs.to_json(named)), where=str(path))

    def vocabulary(self, text: HuggingFaceText, codec_id: str) -> Vocabulary:
        """Its id ranges, with codes of the codec that is named."""
        places = range(self.text_start, self.text_start + len(SPECIALS) - 2)
        return Vocabulary(
            name=self.name,
            num_text=text.num_ids,
            begin_of_text=self.begin_of_text,
            end_of_text=self.end_of_text,
            **dict(zip(SPECIALS[2:], places, strict=True)),
            audio_base=places.stop,
            num_codebooks=NUM_CODEBOOKS,
            codebook_size=CODEBOOK_SIZE,
            codec_id=codec_id,
            text_tokenizer=text.fingerprint,
        )

    def tokenizer_files(self, text: HuggingFaceText, vocabulary: Vocabulary) -> dict[str, bytes]:
        """Return the files that make it a tokenizer of `transformers`."""
        (padding,) = (token.name for token in text.named if token.id == self.padding)
        return tokenizer_files(text, vocabulary, prepends_begin_of_text=self.prepends_begin_of_text, padding=padding)


PUBLISHED = {
    published.name: published
    for published in (
        PublishedVocabulary(
            name="marin-mimi",
            family=LLAMA3,
            text_tokenizer="marin-community/marin-tokenizer",
            begin_of_text=128_000,
            end_of_text=128_001,
            text_start=128_256,
            prepends_begin_of_text=True,
            padding=128_009,
        ),
        PublishedVocabulary(
            name="qwen3x-mimi",
            family=QWEN3,
            text_tokenizer="potsawee/qwen3x-tokenizer",
            begin_of_text=151_670,
            end_of_text=151_643,
            text_start=151_671,
            prepends_begin_of_text=False,
            padding=151_643,
        ),
    )
}


def published_vocabulary(name: str) -> PublishedVocabulary:
    """Return a published vocabulary by its name.

    Raises:
        InputError: No such name; all are listed.
    """
    if name not in PUBLISHED:
        raise InputError(f"`kind` of vocabulary must be one of {sorted(PUBLISHED)!r}, got {name!r}")
    return PUBLISHED[name]
