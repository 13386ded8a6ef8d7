"""Documents, rows and datasets in words, for people who look into them."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, Int8

from audio_data.dataset import TokenDataset
from audio_data.mixture import Mixture
from audio_data.records import Document
from audio_data.vocabulary import Vocabulary

_SPECIAL_NAMES = ("begin_of_text", "end_of_text", "text_start", "text_end", "audio_start", "audio_end")


def describe_ids(ids: Int[np.ndarray, " seq"], vocabulary: Vocabulary, frame_rate_hz: int | float | None = None) -> str:
    """Token ids in words: each run of text or audio is one mark, each special token its name.

    Example: ``<|audio_start|><audio 3.2 s, 8 codebooks><|audio_end|><|text_start|><text 12 tokens><|text_end|>``

    Args:
        ids: Token ids.
        vocabulary: What they mean.
        frame_rate_hz: Frames of audio per second; if None, audio is given in frames.
    """
    names = dict(zip(vocabulary.special_ids, _SPECIAL_NAMES, strict=True))
    kinds = vocabulary.kind_of(ids)
    # text 0, special 1, any codebook 2; a special is a run of its own.
    group = np.minimum(kinds, 2)
    begins = np.flatnonzero((np.diff(group, prepend=-1) != 0) | (group == 1))
    parts = []
    for start, stop in itertools.pairwise([*begins, ids.size]):
        if group[start] == 1:
            parts.append(f"<|{names[int(ids[start])]}|>")
        elif group[start] == 0:
            parts.append(f"<text {stop - start} tokens>")
        else:
            parts.append(_describe_audio(kinds[start:stop] - 2, frame_rate_hz))
    return "".join(parts)


def _describe_audio(codebooks: Int8[np.ndarray, " seq"], frame_rate_hz: int | float | None) -> str:
    """One run of audio; its commonest codebook counts its frames, since a window may begin or end inside a frame."""
    frames = int(np.bincount(codebooks).max())
    length = f"{frames} frames" if frame_rate_hz is None else f"{frames / frame_rate_hz:.1f} s"
    num_codebooks = int(codebooks.max()) + 1
    return f"<audio {length}, {num_codebooks} codebook{'s' * (num_codebooks > 1)}>"


def describe_document(document: Document, dataset: TokenDataset) -> dict[str, Any]:
    """A document as JSON: its number of tokens, its tokens in words, its metadata.

    Args:
        document: The document.
        dataset: Where it is from.
    """
    targets = len(document) if document.loss_mask is None else int(document.loss_mask.sum())
    frame_rate_hz = dataset.manifest.codec.get("frame_rate_hz")
    return {
        "num_tokens": len(document),
        "num_targets": targets,
        "tokens": describe_ids(document.ids, dataset.vocabulary, frame_rate_hz),
        "metadata": document.metadata,
    }


def describe_datasets(
    datasets: Mapping[str, TokenDataset], mixture: Mixture | None = None, horizon_tokens: int | float | None = None
) -> dict[str, Any]:
    """Counts of every corpus as JSON, and how often a run would read each.

    Args:
        datasets: Datasets by corpus.
        mixture: What a run would draw from; its first stage is priced.
        horizon_tokens: Tokens the run would read.
    """
    weights = {} if mixture is None else mixture.weights(0)
    corpora: dict[str, dict[str, Any]] = {}
    for corpus, dataset in datasets.items():
        manifest = dataset.manifest
        corpora[corpus] = {
            "num_documents": manifest.num_documents,
            "num_tokens": manifest.num_tokens,
            "audio_seconds": manifest.audio_seconds,
            "tokens_by_kind": manifest.tokens_by_kind,
            "num_shards": len(manifest.shards),
            "codec": manifest.codec.get("id"),
            "fingerprint": manifest.fingerprint,
        }
        if corpus in weights:
            corpora[corpus]["weight"] = weights[corpus]
            if horizon_tokens is not None:
                corpora[corpus]["epochs"] = horizon_tokens * weights[corpus] / manifest.num_tokens
    totals = {name: sum(c[name] for c in corpora.values()) for name in ("num_documents", "num_tokens", "audio_seconds")}
    return {"corpora": corpora, "total": totals}
