"""The command `vocabulary`: make a vocabulary of some kind, add merges, and describe it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_data import InputError, StoragePath
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.vocabularies.document_tokenizer import SPECIALS
from audio_tokenize.vocabularies.folder import VocabularyFolder
from audio_tokenize.vocabularies.merges import AudioMerges
from audio_tokenize.vocabularies.published import PUBLISHED

# jax comes with a codec, so that one is imported only where it is needed.
if TYPE_CHECKING:
    from audio_tokenize.codecs import AbstractCodec

COMPACT = "compact"
KINDS = (COMPACT, *PUBLISHED)


def make_vocabulary(
    codes: Sequence[str | StoragePath] = (),
    *,
    kind: str = COMPACT,
    pieces: int = 128,
    tokenizer: str | Path | None = None,
    revision: str | None = None,
    codec: str | None = None,
    weights: str | None = None,
    merges: int | None = None,
) -> VocabularyFolder:
    """Make a vocabulary; `save` writes it.

    Args:
        codes: Encoded corpora: text pieces of a compact vocabulary and merges are learned from them.
        kind: `compact`, whose text pieces are learned, or a published one: `marin-mimi`, `qwen3x-mimi`.
        pieces: Learned text pieces of a compact vocabulary at most, beside 256 bytes.
        tokenizer: Where the text tokens of a published vocabulary are, see `VocabularyFolder.published`.
        revision: Of `tokenizer`, if it is a hub id.
        codec: Codec whose codebooks go into the folder: that of `codes` for a compact vocabulary, where it need not be
            named; none for a published one if None.
        weights: Its weights, where they do not come with it.
        merges: Merges of codes to learn at most; none if None.

    Raises:
        InputError: Something that the kind needs is missing, or cannot be used.
    """
    if kind not in KINDS:
        raise InputError(f"`kind` of vocabulary must be one of {list(KINDS)!r}, got {kind!r}")
    corpora = [EncodedCorpus.open(folder) for folder in codes]
    if not corpora and (kind == COMPACT or merges is not None):
        learned = "text pieces" if kind == COMPACT else "merges"
        raise InputError(f"{learned} are learned from `codes`: name at least one folder of them, got none")
    if kind == COMPACT:
        made = _compact(corpora, pieces, tokenizer, _codec(codec, weights, corpora))
    else:
        named = None if codec is None and weights is None else _codec(codec or "mimi", weights, corpora)
        made = _published(kind, tokenizer, revision, named)
    return made if merges is None else made.with_merges(corpora, merges)


def describe_vocabulary(folder: VocabularyFolder) -> dict[str, Any]:
    """Where the ids of a vocabulary are, as JSON values; ranges are of the first and the last id."""
    vocabulary = folder.vocabulary
    audio = [vocabulary.audio_range(codebook) for codebook in range(vocabulary.num_codebooks)]
    ids: dict[str, Any] = {"text": [0, vocabulary.num_text - 1]}
    ids |= {special: getattr(vocabulary, special) for special in SPECIALS}
    ids |= {f"codebook_{codebook}": [start, stop - 1] for codebook, (start, stop) in enumerate(audio)}
    taken = {*vocabulary.special_ids, *range(vocabulary.num_text)}
    unused = [i for i in range(vocabulary.audio_base) if i not in taken]
    return {
        "name": vocabulary.name,
        "size": vocabulary.size,
        "fingerprint": vocabulary.fingerprint,
        "text_tokenizer": vocabulary.text_tokenizer,
        "codec_id": vocabulary.codec_id,
        "has_codebooks": folder.codebooks is not None,
        "num_merges": 0 if folder.merges is None else len(folder.merges.pairs),
        "ids": ids,
        "unused_ids": unused,
    }


def describe_merges(merges: AudioMerges, codes: Sequence[str | StoragePath]) -> dict[str, Any]:
    """Audio tokens of each split without and with merges, as JSON values.

    Args:
        merges: Of the codec's codes.
        codes: Encoded corpora.
    """
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    for corpus in map(EncodedCorpus.open, codes):
        for split in sorted({utterance.split for utterance in corpus}):
            spans = (u.codes[:, : merges.num_codebooks] for u in corpus if u.split == split)
            plain, merged = merges.counts(spans)
            before[split], after[split] = before[split] + plain, after[split] + merged
    return {
        split: {
            "tokens_before": before[split],
            "tokens_after": after[split],
            "fewer_fraction": round(1 - after[split] / max(before[split], 1), 6),
        }
        for split in before
    }


def _compact(
    corpora: Sequence[EncodedCorpus], pieces: int, tokenizer: str | Path | None, codec: "AbstractCodec"
) -> VocabularyFolder:
    if tokenizer is not None:
        raise InputError(
            f"`tokenizer` must be left out for kind {COMPACT!r}, whose text pieces are learned, got {tokenizer!r}; "
            f"the kinds {sorted(PUBLISHED)!r} need one"
        )
    return VocabularyFolder.train(corpora, codec, num_pieces=pieces)


def _published(
    kind: str, tokenizer: str | Path | None, revision: str | None, codec: "AbstractCodec | None"
) -> VocabularyFolder:
    if tokenizer is None:
        raise InputError(
            f"`tokenizer` must say where the text tokens of kind {kind!r} are, got none: "
            f"they are in {PUBLISHED[kind].family.sources}"
        )
    return VocabularyFolder.published(kind, tokenizer, revision=revision, codec=codec)


def _codec(name: str | None, weights: str | None, corpora: Sequence[EncodedCorpus]) -> "AbstractCodec":
    """Return the codec that is named, or that of the codes."""
    from audio_tokenize import codecs

    if name is None:
        return codecs.load_codec(codecs.CodecSpec.from_description(corpora[0].manifest.codec, weights=weights))
    return codecs.load_codec(codecs.CodecSpec(name, weights=weights))
