"""The folder that gives ids their meaning: `vocabulary/` beside the datasets.

vocabulary.json           id ranges and the fingerprints of what made the ids (`audio_data.Vocabulary`)
text.model                the SentencePiece model, of a vocabulary with one
tokenizer.json            the vocabulary as `transformers.AutoTokenizer` loads it, text tokenizer included, with
tokenizer_config.json     its begin, end and padding, and
special_tokens_map.json   the same for older programs
codebooks.safetensors     tensor `codebooks`, float32 [codebooks, codebook_size, dim]: where each code lies in a space
                          in which distance is acoustic similarity, to start a model's audio embeddings from; absent
                          where the codec's weights were not available
merges.safetensors        byte-pair merges of codes, where some were learned

`vocabulary.json` also has the checksums of all other files, under `files`; a file is compared with its own when it is
read. Older versions wrote none.

Beside a SentencePiece model these three are written where both libraries give every document the same ids, as they do
for a model that is trained here, see `audio_tokenize.text.sentencepiece_model`; beside any other they are left out.
"""

import hashlib
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy
from jaxtyping import Float32

from audio_data import (
    InputError,
    StoragePath,
    Vocabulary,
    file_errors,
    from_json,
    make_folder,
    read_bytes,
    read_json,
    storage_path,
    write_bytes,
    write_sealed_json,
)
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.text.huggingface_text import HuggingFaceText
from audio_tokenize.text.sentencepiece_text import FILE_NAME as TEXT_NAME
from audio_tokenize.text.sentencepiece_text import SentencePieceText, TextTokenizer
from audio_tokenize.vocabularies import document_tokenizer
from audio_tokenize.vocabularies.merges import AudioMerges, read_tensors
from audio_tokenize.vocabularies.published import CODEBOOK_SIZE, NUM_CODEBOOKS, published_vocabulary

# Loading and building need no codec, and a codec brings jax: a second that every `build` would pay.
if TYPE_CHECKING:
    import audio_tokenize.codecs.base

FOLDER_NAME = "vocabulary"
VOCABULARY_NAME = "vocabulary.json"
CODEBOOKS_NAME = "codebooks.safetensors"
MERGES_NAME = "merges.safetensors"
_REMEDY = "restore it, or make the vocabulary again with `audio-tokenize vocabulary`"


@dataclass(frozen=True, eq=False)
class VocabularyFolder:
    """A vocabulary with the files that make and explain its ids.

    Attributes:
        vocabulary: Id ranges.
        text: The text tokenizer.
        codebooks: A vector for each code; None where the codec's weights were not available.
        merges: Merges of codes, whose symbol s has the id `audio_base + s`; None where there are none.
        tokenizer_files: Content by name of the files of `transformers`, where the text ids are read from them; those
            beside a SentencePiece model follow from it and are made by `save`.
    """

    vocabulary: Vocabulary
    text: TextTokenizer
    codebooks: Float32[np.ndarray, "codebooks codebook_size dim"] | None = None
    merges: AudioMerges | None = None
    tokenizer_files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def train(
        cls,
        corpora: Sequence[EncodedCorpus],
        codec: "audio_tokenize.codecs.base.AbstractCodec",
        *,
        num_pieces: int = 128,
        name: str = "compact",
    ) -> "VocabularyFolder":
        """Learn text pieces from the transcripts of encoded corpora and place them before the codec's codes.

        Transcripts of split `train` are used, each once, or those of all splits where none is called so. Where no
        utterance has a transcript, every letter, digit and punctuation mark of ASCII becomes a piece, so that prompts
        can be written.

        Args:
            corpora: Encoded by `codec`.
            codec: Whose codes they hold.
            num_pieces: Learned text pieces at most, beside 256 bytes.
            name: Of the vocabulary, for people.

        Returns:
            The folder's content; `save` writes it.

        Raises:
            InputError: Codes of another codec.
        """
        records = [
            (u.split, u.text) for corpus in corpora for u in _of_codec(corpus, codec.codec_id) if u.frame_offset == 0
        ]
        train = [text for split, text in records if split == "train"]
        texts = train if any(train) else [text for _, text in records]
        text = SentencePieceText.train(texts if any(texts) else string.printable.split(), num_pieces)
        vocabulary = Vocabulary.compact(
            name, text.num_ids, codec.codec_id, codec.num_codebooks, codec.codebook_size, text.fingerprint
        )
        return cls(vocabulary, text, np.asarray(codec.codebook_vectors(), np.float32))

    @classmethod
    def marin_mimi(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        codec: "audio_tokenize.codecs.base.AbstractCodec | None" = None,
    ) -> "VocabularyFolder":
        """Return the 144,644 ids of the released SODA models: Llama 3's text, then Mimi's codes; see `published`."""
        return cls.published("marin-mimi", source, revision=revision, codec=codec)

    @classmethod
    def qwen3x_mimi(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        codec: "audio_tokenize.codecs.base.AbstractCodec | None" = None,
    ) -> "VocabularyFolder":
        """Return the 168,059 ids of the SODA models from Qwen 3: its text, then Mimi's codes; see `published`."""
        return cls.published("qwen3x-mimi", source, revision=revision, codec=codec)

    @classmethod
    def published(
        cls,
        name: str,
        source: str | Path,
        *,
        revision: str | None = None,
        codec: "audio_tokenize.codecs.base.AbstractCodec | None" = None,
    ) -> "VocabularyFolder":
        """Return a published vocabulary, id for id, over text tokens that you have.

        Args:
            name: `marin-mimi` or `qwen3x-mimi`.
            source: Where the text tokens are: a `tokenizer.json`, a file of tiktoken ranks, a folder with one of them,
                the package `llama-models` or `dashscope`, or a hub id. Any with the right tokens makes the same folder.
            revision: Of a hub id.
            codec: Whose codes are meant and whose codebooks go into the folder: at least 8 codebooks of 2,048. Those
                of codec `mimi`, without their codebooks, if None.

        Raises:
            InputError: No such name, no tokenizer there, one with other tokens, or a codec of another shape.
        """
        published = published_vocabulary(name)
        text = published.read_text(source, revision=revision)
        codebooks = None if codec is None else _leading_codebooks(codec)
        vocabulary = published.vocabulary(text, "mimi" if codec is None else codec.codec_id)
        files = published.tokenizer_files(text, vocabulary)
        return cls(vocabulary, text, codebooks, tokenizer_files=files)

    def with_merges(self, corpora: Iterable[EncodedCorpus], num_merges: int) -> "VocabularyFolder":
        """Add merges of codes, learned from the utterances of split `train`, or from all where none is called so.

        Args:
            corpora: Encoded by the vocabulary's codec.
            num_merges: Merges at most.

        Raises:
            InputError: Codes of another codec, or none.
        """
        size, count = self.vocabulary.codebook_size, self.vocabulary.num_codebooks
        utterances = [(u.split, u.codes[:, :count]) for c in corpora for u in _of_codec(c, self.vocabulary.codec_id)]
        train = [codes for split, codes in utterances if split == "train"]
        return replace(self, merges=AudioMerges.learn(train or [codes for _, codes in utterances], num_merges, size))

    @classmethod
    def load(cls, folder: str | StoragePath) -> "VocabularyFolder":
        """Read and check a vocabulary folder.

        Args:
            folder: What `save` wrote.

        Raises:
            InputError: A file is missing or belongs to another vocabulary.
        """
        files = _Files.open(storage_path(folder))
        text, tokenizer_files = _load_text(files)
        return cls(files.vocabulary, text, _load_codebooks(files), _load_merges(files), tokenizer_files)

    def save(self, folder: str | StoragePath) -> None:
        """Write the folder; `vocabulary.json` comes last, say that it is whole, and has the others' checksums.

        A folder that already holds this vocabulary keeps its files and gets those that it lacks.

        Args:
            folder: Created if need be.

        Raises:
            InputError: `folder` holds another vocabulary or someone else's files, or the disk refuses.
        """
        folder = storage_path(folder)
        whole = (folder / VOCABULARY_NAME).is_file()
        checksums = self._agree(folder) if whole else {}
        make_folder(folder)
        known = dict(checksums)
        for name, content in self._files().items():
            if not (folder / name).exists():
                write_bytes(folder / name, content)
                known[name] = hashlib.sha256(content).hexdigest()
            elif not whole and read_bytes(folder / name) != content:
                raise InputError(
                    f"`{folder / name}` exists and belongs to no vocabulary of this folder: move it, or choose another "
                    "folder"
                )
            elif not whole:
                known[name] = hashlib.sha256(content).hexdigest()
        if not whole or known != checksums:
            write_sealed_json(folder / VOCABULARY_NAME, {**self.vocabulary.to_json(), "files": known})

    def _files(self) -> dict[str, bytes]:
        files = dict(self.tokenizer_files)
        if isinstance(self.text, SentencePieceText):
            files[TEXT_NAME] = self.text.model
            if self.text.unigram.obstacle is None:
                files |= document_tokenizer.tokenizer_files(self.text, self.vocabulary)
        if self.codebooks is not None:
            files[CODEBOOKS_NAME] = safetensors.numpy.save({"codebooks": self.codebooks})
        if self.merges is not None:
            files[MERGES_NAME] = self.merges.to_bytes()
        return files

    def _agree(self, folder: StoragePath) -> Mapping[str, str]:
        """Refuse a folder with another vocabulary; return the checksums of the files that it has."""
        files = _Files.open(folder)
        found = files.vocabulary.to_json()
        for name, here in self.vocabulary.to_json().items():
            if found[name] != here:
                raise _another(folder, f"its `{name}` is {found[name]!r}, this one's is {here!r}")
        if self.merges is not None and files.read(MERGES_NAME) not in (None, self.merges.to_bytes()):
            raise _another(folder, f"its merges in `{MERGES_NAME}` are others")
        return files.checksums


def _another(folder: StoragePath, difference: str) -> InputError:
    return InputError(
        f"`{folder}` already holds another vocabulary: {difference}. "
        "Datasets below one folder share one vocabulary: use that one, or choose another folder"
    )


def _of_codec(corpus: EncodedCorpus, codec_id: str) -> EncodedCorpus:
    if corpus.manifest.codec["id"] != codec_id:
        raise InputError(
            f"codes in `{corpus.path}` must be of codec {codec_id!r}, "
            f"got {corpus.manifest.codec['id']!r}: encode them with this codec"
        )
    return corpus


def _leading_codebooks(
    codec: "audio_tokenize.codecs.base.AbstractCodec",
) -> Float32[np.ndarray, "codebooks codebook_size dim"]:
    if codec.num_codebooks < NUM_CODEBOOKS or codec.codebook_size != CODEBOOK_SIZE:
        raise InputError(
            f"`codec` must have at least {NUM_CODEBOOKS} codebooks of {CODEBOOK_SIZE}, as Mimi, "
            f"got {codec.codec_id!r} with {codec.num_codebooks} of {codec.codebook_size}"
        )
    return np.asarray(codec.codebook_vectors()[:NUM_CODEBOOKS], np.float32)


@dataclass(frozen=True)
class _Files:
    """The files of a vocabulary folder, each compared with its checksum when it is read."""

    folder: StoragePath
    vocabulary: Vocabulary
    checksums: Mapping[str, str]

    @classmethod
    def open(cls, folder: StoragePath) -> "_Files":
        path = folder / VOCABULARY_NAME
        if not path.is_file():
            raise InputError(f"no vocabulary at `{path}`: make one with `audio-tokenize vocabulary`")
        value = read_json(path, remedy=_REMEDY)
        with file_errors(path, _REMEDY):
            checksums = from_json(dict[str, str], value.pop("files", {}), "files")
            return cls(folder, Vocabulary.from_json(value), checksums)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None where there is none and never was."""
        path, expected = self.folder / name, self.checksums.get(name)
        if not path.is_file():
            if expected is not None:
                raise InputError(f"`{path}` is missing, though `{VOCABULARY_NAME}` lists it: {_REMEDY}")
            return None
        content = read_bytes(path)
        found = hashlib.sha256(content).hexdigest()
        if expected not in (None, found):
            raise InputError(f"`{path}` must have the SHA-256 {expected}, got {found}: it is damaged, so {_REMEDY}")
        return content


def _load_text(files: _Files) -> tuple[TextTokenizer, dict[str, bytes]]:
    vocabulary = files.vocabulary
    kind = vocabulary.text_tokenizer.partition(":")[0]
    names = {"sentencepiece": (TEXT_NAME,), "huggingface": document_tokenizer.FILE_NAMES}.get(kind)
    if names is None:
        raise InputError(
            f"`text_tokenizer` of `{files.folder / VOCABULARY_NAME}` must begin with `sentencepiece:` or "
            f"`huggingface:`, got {vocabulary.text_tokenizer!r}: make the vocabulary again"
        )
    contents = {name: content for name in names if (content := files.read(name)) is not None}
    if missing := [name for name in names if name not in contents]:
        raise InputError(f"no `{missing[0]}` at `{files.folder / missing[0]}`: {_REMEDY}")
    if kind == "sentencepiece":
        path = files.folder / TEXT_NAME
        text, contents = SentencePieceText.read(contents[TEXT_NAME], str(path)), {}
    else:
        path = files.folder / document_tokenizer.TOKENIZER_NAME
        text = HuggingFaceText(contents[path.name], vocabulary.num_text, where=str(path))
    if (text.fingerprint, text.num_ids) != (vocabulary.text_tokenizer, vocabulary.num_text):
        raise InputError(
            f"`{path}` must be {vocabulary.text_tokenizer} with {vocabulary.num_text} ids, "
            f"got {text.fingerprint} with {text.num_ids}: it belongs to another vocabulary"
        )
    return text, contents


def _load_codebooks(files: _Files) -> Float32[np.ndarray, "codebooks codebook_size dim"] | None:
    path, vocabulary, content = files.folder / CODEBOOKS_NAME, files.vocabulary, files.read(CODEBOOKS_NAME)
    if content is None:
        return None
    with file_errors(path, _REMEDY):
        codebooks = read_tensors(content, "codebooks")["codebooks"]
        if codebooks.dtype != np.float32 or codebooks.ndim != 3 or not np.isfinite(codebooks).all():
            raise InputError(f"`codebooks` must be float32 in three axes, got {codebooks.dtype} {codebooks.shape!r}")
    if codebooks.shape[:2] != (vocabulary.num_codebooks, vocabulary.codebook_size):
        raise InputError(
            f"`{path}` must hold {vocabulary.num_codebooks} codebooks of {vocabulary.codebook_size}, "
            f"got {codebooks.shape!r}: it belongs to another vocabulary"
        )
    return codebooks


def _load_merges(files: _Files) -> AudioMerges | None:
    path, vocabulary, content = files.folder / MERGES_NAME, files.vocabulary, files.read(MERGES_NAME)
    if content is None:
        return None
    merges = AudioMerges.read(content, str(path))
    if (merges.num_codebooks, merges.codebook_size) != (vocabulary.num_codebooks, vocabulary.codebook_size):
        raise InputError(
            f"`{path}` must merge codes of {vocabulary.num_codebooks} codebooks of {vocabulary.codebook_size}, "
            f"got {merges.num_codebooks} of {merges.codebook_size}: it belongs to another vocabulary"
        )
    return merges
