"""The folder that gives ids their meaning: `vocabulary/` beside the datasets.

vocabulary.json         id ranges and the fingerprints of what made the ids (`audio_data.Vocabulary`)
text.model              the SentencePiece model
codebooks.safetensors   tensor `codebooks`, float32 [codebooks, codebook_size, dim]: where each code lies in a space in
                        which distance is acoustic similarity, to start a model's audio embeddings from
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float32

from audio_data import InputError, Vocabulary
from audio_tokenize.encoded import EncodedCorpus
from audio_tokenize.storage import disk_errors, write_bytes, write_json
from audio_tokenize.text import FILE_NAME as TEXT_NAME
from audio_tokenize.text import SentencePieceText

# Loading and building need no codec, and a codec brings jax: a second that every `build` would pay.
if TYPE_CHECKING:
    import audio_tokenize.codecs.base

FOLDER_NAME = "vocabulary"
VOCABULARY_NAME = "vocabulary.json"
CODEBOOKS_NAME = "codebooks.safetensors"


@dataclass(frozen=True, eq=False)
class VocabularyFolder:
    """A vocabulary with the files that make and explain its ids.

    Attributes:
        vocabulary: Id ranges.
        text: The text tokenizer.
        codebooks: A vector for each code.
    """

    vocabulary: Vocabulary
    text: SentencePieceText
    codebooks: Float32[np.ndarray, "codebooks codebook_size dim"]

    @classmethod
    def train(
        cls,
        corpora: Sequence[EncodedCorpus],
        codec: "audio_tokenize.codecs.base.AbstractCodec",
        *,
        num_pieces: int = 128,
        name: str = "compact",
    ) -> "VocabularyFolder":
        """Learns text pieces from the transcripts of encoded corpora and places them before the codec's codes.

        Transcripts of split `train` are used, each once, or those of all splits where none is called so.

        Args:
            corpora: Encoded by `codec`.
            codec: Whose codes they hold.
            num_pieces: Learned text pieces at most, beside 256 bytes.
            name: Of the vocabulary, for people.

        Returns:
            The folder's content; `save` writes it.

        Raises:
            InputError: Codes of another codec, or no text.
        """
        for corpus in corpora:
            if corpus.manifest.codec["id"] != codec.codec_id:
                raise InputError(
                    f"codes in `{corpus.path}` must be of codec {codec.codec_id!r}, "
                    f"got {corpus.manifest.codec['id']!r}: encode them with this codec"
                )
        records = [(u.split, u.text) for corpus in corpora for u in corpus if u.phase == 0]
        train = [text for split, text in records if split == "train"]
        text = SentencePieceText.train(train or [text for _, text in records], num_pieces)
        vocabulary = Vocabulary.compact(
            name, text.num_ids, codec.codec_id, codec.num_codebooks, codec.codebook_size, text.fingerprint
        )
        return cls(vocabulary, text, np.asarray(codec.codebook_vectors(), np.float32))

    @classmethod
    def load(cls, folder: str | Path) -> "VocabularyFolder":
        """Reads and checks a vocabulary folder.

        Args:
            folder: What `save` wrote.

        Raises:
            InputError: A file is missing or belongs to another vocabulary.
        """
        folder = Path(folder)
        vocabulary = _load_vocabulary(folder / VOCABULARY_NAME)
        text = SentencePieceText.load(folder / TEXT_NAME)
        if (text.fingerprint, text.num_ids) != (vocabulary.text_tokenizer, vocabulary.num_text):
            raise InputError(
                f"`{folder / TEXT_NAME}` must be {vocabulary.text_tokenizer} with {vocabulary.num_text} ids, "
                f"got {text.fingerprint} with {text.num_ids}: it belongs to another vocabulary"
            )
        codebooks = _load_codebooks(folder / CODEBOOKS_NAME)
        if codebooks.shape[:2] != (vocabulary.num_codebooks, vocabulary.codebook_size):
            raise InputError(
                f"`{folder / CODEBOOKS_NAME}` must hold {vocabulary.num_codebooks} codebooks of "
                f"{vocabulary.codebook_size}, got {codebooks.shape!r}: it belongs to another vocabulary"
            )
        return cls(vocabulary, text, codebooks)

    def save(self, folder: str | Path) -> None:
        """Writes the folder; `vocabulary.json` comes last and says that it is whole.

        A folder that already holds this vocabulary is left as it is.

        Args:
            folder: Created if need be.

        Raises:
            InputError: `folder` holds another vocabulary, or the disk refuses.
        """
        folder = Path(folder)
        if (folder / VOCABULARY_NAME).is_file():
            self._agree(folder)
            return
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.text.save(folder)
        write_bytes(folder / CODEBOOKS_NAME, safetensors.numpy.save({"codebooks": self.codebooks}))
        write_json(folder / VOCABULARY_NAME, self.vocabulary.to_json())

    def _agree(self, folder: Path) -> None:
        found = _load_vocabulary(folder / VOCABULARY_NAME).to_json()
        differing = {
            name: (found[name], value) for name, value in self.vocabulary.to_json().items() if found[name] != value
        }
        for name, (there, here) in differing.items():
            raise InputError(
                f"`{folder}` already holds another vocabulary: its `{name}` is {there!r}, this one's is {here!r}. "
                "Datasets below one folder share one vocabulary: use that one, or choose another folder"
            )


def _load_vocabulary(path: Path) -> Vocabulary:
    if not path.is_file():
        raise InputError(f"no vocabulary at `{path}`: make one with `audio-tokenize vocabulary`")
    try:
        return Vocabulary.from_json(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise InputError(f"`{path}` is no JSON ({error}): make the vocabulary again") from error


def _load_codebooks(path: Path) -> Float32[np.ndarray, "codebooks codebook_size dim"]:
    if not path.is_file():
        raise InputError(f"no codebooks at `{path}`: make the vocabulary again with `audio-tokenize vocabulary`")
    try:
        return safetensors.numpy.load_file(path)["codebooks"]
    except (safetensors.SafetensorError, KeyError) as error:
        raise InputError(f"`{path}` holds no tensor `codebooks` ({error}): make the vocabulary again") from error
