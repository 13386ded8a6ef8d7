"""The id ranges of text, special tokens and codebooks: the only place where a token id is computed.

A vocabulary is three ranges of integers: text ids from 0, six special ids, and `num_codebooks` consecutive blocks of
`codebook_size` audio ids. The SODA models have text 0..128255
(which contains its begin and end of text), four more specials, and audio from 128260: 144,644 ids in all.

Source: SODA (arXiv 2602.16687); flattening is frame-major, all codebooks of a frame before the next frame.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int8, Int32, Integer

from audio_data.errors import InputError
from audio_data.json_files import file_errors, from_json, read_json, write_sealed_json
from audio_data.storage import AnyPath

# Of a record's ids, which take 24 bits, and of a kind, which takes 8.
_MAX_SIZE = 2**24
_MAX_CODEBOOKS = 125
# Where a vocabulary.json names the checksums of the files beside it.
FILES_KEY = "files"
_SPECIALS = ("begin_of_text", "end_of_text", "text_start", "text_end", "audio_start", "audio_end")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Which integer means what.

    Attributes:
        name: A name for people, e.g. `"marin-mimi"`.
        num_text: Text ids are `0 .. num_text - 1`, the text tokenizer's own ids. They may include the begin and end
            of text, as in Llama-3's vocabulary.
        begin_of_text: Id that opens a document.
        end_of_text: Id that closes a document.
        text_start: Id that opens a transcript.
        text_end: Id that closes a transcript.
        audio_start: Id that opens a span of audio.
        audio_end: Id that closes a span of audio.
        audio_base: Id of code 0 of codebook 0; code `c` of codebook `k` is `audio_base + codebook_size * k + c`.
        num_codebooks: Number of codebooks, 0 for a vocabulary without audio.
        codebook_size: Codes per codebook.
        codec_id: The codec whose codes these are, e.g. `"mimi"`.
        text_tokenizer: What made the text ids, e.g. `"sentencepiece:0123456789ab"`.

    Raises:
        InputError: The ranges overlap or two specials share an id.
    """

    name: str
    num_text: int
    begin_of_text: int
    end_of_text: int
    text_start: int
    text_end: int
    audio_start: int
    audio_end: int
    audio_base: int
    num_codebooks: int
    codebook_size: int
    codec_id: str
    text_tokenizer: str

    def __post_init__(self):
        specials = self.special_ids
        if len(set(specials)) != len(_SPECIALS) or min(specials) < 0:
            raise InputError(
                f"vocabulary `{self.name}`: expected {len(_SPECIALS)} different special ids >= 0, got {specials!r}"
            )
        if self.num_text < 0 or self.num_codebooks < 0 or (self.num_codebooks and self.codebook_size < 1):
            sizes = (self.num_text, self.num_codebooks, self.codebook_size)
            raise InputError(
                f"vocabulary `{self.name}`: expected text, codebooks and codebook size >= 0, got {sizes!r}"
            )
        audio_stop = self.audio_base + self.num_codebooks * self.codebook_size
        if self.num_codebooks and self.audio_base < self.num_text:
            raise InputError(
                f"vocabulary `{self.name}`: expected `audio_base` >= {self.num_text}, got {self.audio_base!r}"
            )
        if self.num_codebooks > _MAX_CODEBOOKS or self.size > _MAX_SIZE:
            raise InputError(
                f"vocabulary `{self.name}`: expected at most {_MAX_SIZE:,} ids and {_MAX_CODEBOOKS} codebooks, "
                f"got {self.size:,} and {self.num_codebooks:,}"
            )
        inside = [
            name for name, value in zip(_SPECIALS, specials, strict=True) if self.audio_base <= value < audio_stop
        ]
        if inside:
            raise InputError(
                f"vocabulary `{self.name}`: {inside!r} lie inside the audio ids {self.audio_base}..{audio_stop - 1}"
            )

    @classmethod
    def compact(
        cls, name: str, num_text_pieces: int, codec_id: str, num_codebooks: int, codebook_size: int, text_tokenizer: str
    ) -> "Vocabulary":
        """Return the vocabulary without gaps: text pieces, the six specials, then audio.

        Args:
            name: A name for people.
            num_text_pieces: Number of ids of the text tokenizer.
            codec_id: The codec whose codes these are.
            num_codebooks: Number of codebooks.
            codebook_size: Codes per codebook.
            text_tokenizer: What made the text ids.
        """
        specials = {special: num_text_pieces + i for i, special in enumerate(_SPECIALS)}
        return cls(
            name=name,
            num_text=num_text_pieces,
            **specials,
            audio_base=num_text_pieces + len(_SPECIALS),
            num_codebooks=num_codebooks,
            codebook_size=codebook_size,
            codec_id=codec_id,
            text_tokenizer=text_tokenizer,
        )

    @property
    def special_ids(self) -> tuple[int, ...]:
        """The six special ids, in the order of the fields."""
        return tuple(getattr(self, name) for name in _SPECIALS)

    @property
    def size(self) -> int:
        """Number of rows an embedding needs: the largest id plus one."""
        return max(self.num_text, max(self.special_ids) + 1, self.audio_base + self.num_codebooks * self.codebook_size)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON: equal exactly when every field is equal."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the token kinds: text, special, and one for each codebook."""
        return ("text", "special", *(f"codebook_{k}" for k in range(self.num_codebooks)))

    def kind_of(self, ids: Integer[np.ndarray, " seq"]) -> Int8[np.ndarray, " seq"]:
        """Return the kind of every token, as an index into `kinds`.

        Args:
            ids: Token ids. A special id counts as special even where it lies among the text ids.

        Raises:
            InputError: An id means nothing in this vocabulary; the message names the first such position.
        """
        inside = not ids.size or (ids.min() >= 0 and ids.max() < self.size)
        kinds = self._kind_table.take(ids if inside else np.clip(ids, 0, self.size - 1))
        if not inside:
            kinds[(ids < 0) | (ids >= self.size)] = -1
        if kinds.size and kinds.min() < 0:
            position = int(np.argmin(kinds))
            gaps = [f"{start}" if stop == start + 1 else f"{start}..{stop - 1}" for start, stop in self.gaps]
            raise InputError(
                f"position `{position}` of {ids.size}: expected an id of vocabulary `{self.name}` "
                f"(0..{self.size - 1}{' without ' * bool(gaps)}{', '.join(gaps)}), got {int(ids[position])!r}; "
                f"use the vocabulary that made the ids"
            )
        return kinds

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """Ids below `size` that mean nothing, as half-open ranges: rows of an embedding that no token uses."""
        empty = np.concatenate([[False], self._kind_table < 0, [False]])
        starts, stops = np.flatnonzero(np.diff(empty.astype(np.int8))).reshape(-1, 2).T.tolist()
        return tuple(zip(starts, stops, strict=True))

    def audio_range(self, codebook: int) -> tuple[int, int]:
        """First id of a codebook and the id after its last.

        Args:
            codebook: 0 .. num_codebooks - 1.
        """
        if not 0 <= codebook < self.num_codebooks:
            raise InputError(f"`codebook`: expected 0..{self.num_codebooks - 1}, got {codebook!r}")
        start = self.audio_base + codebook * self.codebook_size
        return start, start + self.codebook_size

    @property
    def allowed_sets(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """The sets of ids that can stand at one place of a frame-major stream, each as half-open ranges.

        Text and specials; codebook 0 and the end of audio, either of which may follow a whole frame; one set for each
        further codebook. The sets part the vocabulary: an id belongs to exactly one. Streams that keep fewer codebooks
        obey the same sets.
        """
        if not self.num_codebooks:
            return (((0, self.size),),)
        end = (self.audio_end, self.audio_end + 1)
        codebooks = [self.audio_range(codebook) for codebook in range(self.num_codebooks)]
        taken = sorted([end, *codebooks])
        gaps = zip([0, *(stop for _, stop in taken)], [*(start for start, _ in taken), self.size], strict=True)
        rest = tuple((start, stop) for start, stop in gaps if start < stop)
        return (rest, (codebooks[0], end), *((codebook,) for codebook in codebooks[1:]))

    def audio_ids(self, codes: Integer[np.ndarray, "frames codebooks"]) -> Int32[np.ndarray, " seq"]:
        """Codes as ids, frame by frame: all codebooks of a frame, then the next frame.

        Args:
            codes: Codes of the leading codebooks, each 0 .. codebook_size - 1. There may be fewer columns than
                `num_codebooks`.

        Raises:
            InputError: Too many codebooks, or a code out of range.
        """
        num_codebooks = codes.shape[1]
        if num_codebooks > self.num_codebooks:
            raise InputError(f"`codes`: expected at most {self.num_codebooks} codebooks, got shape {codes.shape!r}")
        # A negative code is a huge one without its sign, so one pass finds both.
        if codes.view(f"u{codes.itemsize}").max(initial=0) >= self.codebook_size:
            frame, codebook = np.argwhere((codes < 0) | (codes >= self.codebook_size))[0]
            raise InputError(
                f"`codes`: expected 0..{self.codebook_size - 1}, got {int(codes[frame, codebook])!r} "
                f"at frame {frame}, codebook {codebook}"
            )
        ids = np.empty(codes.shape, np.int32)
        np.copyto(ids, codes, casting="same_kind")
        ids += self._codebook_bases[:num_codebooks]
        return ids.reshape(-1)

    def codes(
        self, ids: Integer[np.ndarray, " seq"], num_codebooks: int | None = None
    ) -> Int32[np.ndarray, "frames codebooks"]:
        """Ids as codes: the inverse of `audio_ids`.

        Args:
            ids: Audio ids in frame-major order, without the start and end of audio.
            num_codebooks: How many leading codebooks a frame has; all if None.

        Raises:
            InputError: The ids are not whole frames in codebook order; the message names the first wrong position.
        """
        num_codebooks = self.num_codebooks if num_codebooks is None else num_codebooks
        if not 1 <= num_codebooks <= self.num_codebooks:
            raise InputError(f"`num_codebooks`: expected 1..{self.num_codebooks}, got {num_codebooks!r}")
        codebook = np.arange(ids.size) % num_codebooks
        codes = ids.astype(np.int32) - self._codebook_bases[codebook]
        wrong = np.flatnonzero((codes < 0) | (codes >= self.codebook_size))
        if wrong.size:
            position = int(wrong[0])
            start, stop = self.audio_range(position % num_codebooks)
            raise InputError(
                f"position `{position}` of {ids.size}: expected an id of codebook {position % num_codebooks} "
                f"({start}..{stop - 1}), got {int(ids[position])!r}"
            )
        if ids.size % num_codebooks:
            raise InputError(
                f"position `{ids.size}`: expected whole frames of {num_codebooks} codes, got {ids.size!r} ids, "
                f"so the last frame ends early"
            )
        return codes.reshape(-1, num_codebooks)

    def to_json(self) -> dict[str, Any]:
        """All fields, as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Vocabulary":
        """Return the vocabulary that `to_json` described.

        Args:
            value: A mapping of exactly the fields of this class.

        Raises:
            InputError: A field is missing, unknown or of the wrong type.
        """
        return from_json(cls, dict(value), "vocabulary")

    @classmethod
    def read(cls, path: AnyPath) -> "Vocabulary":
        """Read a vocabulary file.

        Args:
            path: A JSON file with the fields of this class, or the manifest of a dataset, whose vocabulary it is then.

        Raises:
            InputError: There is no such file or it is no vocabulary; the message names the file.
        """
        value = read_json(path, remedy="restore it, or make the vocabulary again")
        with file_errors(path, "expected a vocabulary.json or a manifest.json"):
            if "schema_version" in value:
                return cls.from_json(from_json(dict[str, Any], value.get("vocabulary"), "vocabulary"))
            value.pop(FILES_KEY, None)
            return cls.from_json(value)

    def write(self, path: AnyPath) -> None:
        """Write a vocabulary file, readable by `read`.

        Args:
            path: The file; its folder must exist.
        """
        write_sealed_json(path, self.to_json())

    @functools.cached_property
    def _kind_table(self) -> Int8[np.ndarray, " vocab"]:
        table = np.full(self.size, -1, np.int8)
        table[: self.num_text] = 0
        audio_stop = self.audio_base + self.num_codebooks * self.codebook_size
        table[self.audio_base : audio_stop] = 2 + np.repeat(
            np.arange(self.num_codebooks, dtype=np.int8), self.codebook_size
        )
        table[list(self.special_ids)] = 1
        return table

    @functools.cached_property
    def _codebook_bases(self) -> Int32[np.ndarray, " codebooks"]:
        return (self.audio_base + self.codebook_size * np.arange(self.num_codebooks)).astype(np.int32)
