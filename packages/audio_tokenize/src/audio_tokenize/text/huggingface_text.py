"""Text tokenizers of published language models: byte-level BPE, run by the `tokenizers` library."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from audio_data import InputError
from audio_tokenize.text.byte_pairs import NamedToken, dump, unspell
from audio_tokenize.text.families import SINGLE_SPACE_BEGINS_WORD, byte_pairs_of_ranks
from audio_tokenize.text.tokenizer_files import is_ranks, read_tokenizer_json, read_tokens
from audio_tokenize.text.tokenizer_sources import find_tokenizer
from audio_tokenize.text.word_memo import WordMemo


class HuggingFaceText:
    """A byte-level BPE whose named tokens, such as `<|begin_of_text|>`, cannot be typed.

    They have ids, and decoding spells their names, but encoding knows no names: a text that holds one is spelled in
    text tokens, so that no transcript can forge the structure of a document. Nothing is put before or after a text.

    Decoding gives back every text where `normalizer` is None. Where it is `"NFC"`, as in Qwen's tokenizers, it gives
    the text in that form: the published ids are made of it, and so are these.
    """

    def __init__(self, tokenizer_json: bytes, num_ids: int | None = None, *, where: str = "tokenizer.json"):
        """Wrap the content of a `tokenizer.json`.

        Args:
            tokenizer_json: The whole of the file.
            num_ids: Leading ids that are text: those of the model, then named ones. Later names, such as those of
                audio, are no part of it. All ids if None.
            where: Name of the file, for messages.

        Raises:
            InputError: Not a byte-level BPE, or fewer ids than `num_ids`.
        """
        self.byte_pairs, named = read_tokenizer_json(tokenizer_json, where)
        num_tokens = len(self.byte_pairs.tokens)
        num_all = num_tokens + len(named)
        self.num_ids = num_all if num_ids is None else num_ids
        if not num_tokens <= self.num_ids <= num_all:
            raise InputError(f"`{where}` must hold {num_ids} text ids, got {num_tokens} tokens and {len(named)} names")
        self.named: tuple[NamedToken, ...] = named[: self.num_ids - num_tokens]
        self.fingerprint = f"huggingface:{self.byte_pairs.fingerprint[:12]}"
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_buffer(dump(self.byte_pairs.to_json()))
        except ValueError as error:
            raise InputError(f"`{where}` must be a byte-level BPE, got one that cannot be used ({error})") from error
        self._memo = WordMemo(self._merge) if self.byte_pairs.pattern in SINGLE_SPACE_BEGINS_WORD else None

    @classmethod
    def open(cls, source: str | Path, *, revision: str | None = None) -> "HuggingFaceText":
        """Read a tokenizer from wherever it is.

        Args:
            source: A `tokenizer.json`, a file of tiktoken ranks of a known tokenizer, a folder with one of them, a
                package that carries one, or a hub id; see `find_tokenizer`.
            revision: Of the hub id.

        Raises:
            InputError: Not found, or of another kind.
        """
        path = find_tokenizer(source, revision=revision)
        content = path.read_bytes()
        if is_ranks(content):
            pairs, named = byte_pairs_of_ranks(read_tokens(content, str(path)), str(path))
            content = dump(pairs.to_json(named))
        return cls(content, where=str(path))

    @property
    def normalizer(self) -> str | None:
        """The Unicode form that texts are brought to, `"NFC"`; None where they are left as they are."""
        return self.byte_pairs.normalizer

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; none for the empty text.

        Raises:
            InputError: `text` holds half of a surrogate pair, which is no character.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text.

        Short texts are put together from words met before, see `WordMemo`; others are encoded on all cores, or on as
        many as `RAYON_NUM_THREADS` says.

        Raises:
            InputError: A text holds half of a surrogate pair, which is no character.
        """
        try:
            return self._merge(texts) if self._memo is None else self._memo.encode_batch(texts)
        except TypeError:
            _refuse_surrogates(texts)
            raise

    def forget_words(self) -> None:
        """Empty the memo of words; ids stay what they are."""
        if self._memo is not None:
            self._memo.clear()

    def _merge(self, texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; bytes that are no UTF-8, as in a part of a character, are U+FFFD.

        Raises:
            InputError: An id is outside 0 to `num_ids - 1`.
        """
        for position, i in enumerate(ids):
            if not 0 <= i < self.num_ids:
                raise InputError(f"`ids[{position}]` must be a text id in 0..{self.num_ids - 1}, got {i!r}")
        return b"".join([self._bytes[i] for i in ids]).decode("utf-8", "replace")

    @cached_property
    def _bytes(self) -> list[bytes]:
        return unspell(self.byte_pairs.tokens) + [token.name.encode() for token in self.named]


def _refuse_surrogates(texts: Sequence[str]) -> None:
    for position, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"`texts[{position}]` must be Unicode text, got {text[error.start]!r} at character {error.start}: "
                "half of a surrogate pair"
            ) from error
