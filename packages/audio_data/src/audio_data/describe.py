"""Descriptions of documents, rows and datasets, for `inspect`."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, Int8

from audio_data.dataset import TokenDataset
from audio_data.errors import InputError
from audio_data.mixture import Mixture
from audio_data.records import Document
from audio_data.text_decoders import TextDecoder
from audio_data.vocabulary import Vocabulary
from audio_data.windows import AbstractRows

_SPECIAL_NAMES = ("begin_of_text", "end_of_text", "text_start", "text_end", "audio_start", "audio_end")


def describe_ids(
    ids: Int[np.ndarray, " seq"],
    vocabulary: Vocabulary,
    frame_rate_hz: int | float | None = None,
    text: TextDecoder | None = None,
) -> str:
    """Token ids in words: each run of audio is one mark, each special token its name, and text is text or a mark.

    Example: `<|audio_start|><audio 3.2 s, 8 codebooks><|audio_end|><|text_start|><text 12 tokens><|text_end|>`

    Args:
        ids: Token ids.
        vocabulary: What they mean.
        frame_rate_hz: Frames of audio per second; if None, audio is given in frames.
        text: Makes text of text ids; if None, a run of text is a mark with its number of tokens.
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
            parts.append(f"<text {stop - start} tokens>" if text is None else text(ids[start:stop]))
        else:
            parts.append(_describe_audio(kinds[start:stop] - 2, frame_rate_hz))
    return "".join(parts)


def _describe_audio(codebooks: Int8[np.ndarray, " seq"], frame_rate_hz: int | float | None) -> str:
    """One run of audio; its commonest codebook counts its frames, since a window may begin or end inside a frame."""
    frames = int(np.bincount(codebooks).max())
    length = f"{frames} frames" if frame_rate_hz is None else f"{frames / frame_rate_hz:.1f} s"
    num_codebooks = int(codebooks.max()) + 1
    return f"<audio {length}, {num_codebooks} codebook{'s' * (num_codebooks > 1)}>"


def describe_document(document: Document, dataset: TokenDataset, text: TextDecoder | None = None) -> dict[str, Any]:
    """Return a document as JSON: its number of tokens, its tokens in words, its metadata.

    Args:
        document: The document.
        dataset: Where it is from.
        text: Makes text of text ids, see `describe_ids`.
    """
    targets = len(document) if document.loss_mask is None else int(document.loss_mask.sum())
    frame_rate_hz = dataset.manifest.codec.get("frame_rate_hz")
    return {
        "num_tokens": len(document),
        "num_targets": targets,
        "tokens": describe_ids(document.ids, dataset.vocabulary, frame_rate_hz, text),
        "metadata": document.metadata,
    }


def describe_row(
    rows: AbstractRows, index: int, dataset: TokenDataset, text: TextDecoder | None = None
) -> dict[str, Any]:
    """Return a row as JSON: its segments in order, each with its documents, positions, targets, and tokens in words.

    Args:
        rows: The rows of a corpus.
        index: Which of them.
        dataset: The corpus.
        text: Makes text of text ids, see `describe_ids`.
    """
    row = rows[index]
    document_of_tokens = rows.document_of_tokens(index)
    ids = row["segment_ids"]
    bounds = np.flatnonzero(np.diff(ids, prepend=0, append=0)).tolist()
    segments = []
    for start, stop in itertools.pairwise(bounds):
        documents = list(dict.fromkeys(document_of_tokens[start:stop].tolist()))
        segments.append(
            {
                "segment": int(ids[start]),
                "start": start,
                "stop": stop,
                "documents": [{"document": i, "id": dataset.metadata(i).get("id")} for i in documents],
                "positions": [int(row["positions"][start]), int(row["positions"][stop - 1])],
                "num_targets": int(row["loss_mask"][start:stop].sum()),
                "tokens": describe_ids(
                    row["tokens"][start:stop], dataset.vocabulary, dataset.manifest.codec.get("frame_rate_hz"), text
                ),
            }
        )
    return {
        "num_targets": int(row["loss_mask"].sum()),
        "num_padding": int((ids == 0).sum()),
        "quarantined": index in rows.quarantined,
        "segments": segments,
    }


def describe_datasets(
    datasets: Mapping[str, TokenDataset], mixture: Mixture | None = None, horizon_tokens: int | float | None = None
) -> dict[str, Any]:
    """Return the counts of every corpus as JSON, and how often a run would read each.

    Args:
        datasets: Datasets by corpus.
        mixture: What a run would draw from; its first stage is priced.
        horizon_tokens: Tokens the run would read.

    Raises:
        InputError: The mixture draws from a corpus whose documents are all empty.
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
            "num_quarantined": manifest.num_quarantined,
            "num_shards": len(manifest.shards),
            "codec": manifest.codec.get("id"),
            "fingerprint": manifest.fingerprint,
        }
        if corpus in weights:
            corpora[corpus]["weight"] = weights[corpus]
            if horizon_tokens is not None:
                _check_not_empty(corpus, dataset)
                corpora[corpus]["epochs"] = horizon_tokens * weights[corpus] / manifest.num_tokens
    totals = {name: sum(c[name] for c in corpora.values()) for name in ("num_documents", "num_tokens", "audio_seconds")}
    return {"corpora": corpora, "total": totals}


def _check_not_empty(corpus: str, dataset: TokenDataset) -> None:
    if not dataset.num_tokens:
        raise InputError(
            f"corpus `{corpus}` in `{dataset.path}`: expected at least 1 token to read, got "
            f"{len(dataset)!r} empty documents; build it again, or leave it out of the mixture"
        )


def document_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    """Lines for people about one document.

    Args:
        entry: What `describe_document` says, with its number as `document`.
    """
    yield f"document {entry['document']}: {entry['num_tokens']:,} tokens, {entry['num_targets']:,} targets"
    yield f"  {entry['tokens']}"
    for key, value in entry["metadata"].items():
        yield f"  {key}: {value}"


def row_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    """Lines for people about one row.

    Args:
        entry: What `describe_row` says, with its number as `window`.
    """
    padding = f", {entry['num_padding']:,} of padding" if entry["num_padding"] else ""
    padding += ", quarantined" if entry["quarantined"] else ""
    yield f"window {entry['window']}: {len(entry['segments'])} segments, {entry['num_targets']:,} targets{padding}"
    for segment in entry["segments"]:
        names = ", ".join(str(d["document"] if d["id"] is None else d["id"]) for d in segment["documents"])
        first, last = segment["positions"]
        tokens = f"tokens {segment['start']}..{segment['stop'] - 1}, positions {first}..{last}"
        yield f"  segment {segment['segment']}: {tokens}, {segment['num_targets']:,} targets, of {names}"
        yield f"    {segment['tokens']}"


def dataset_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Lines for people about datasets.

    Args:
        report: What `describe_datasets` says.
    """
    for corpus, entry in report["corpora"].items():
        drawn = f", weight {entry['weight']:.4f}" if "weight" in entry else ""
        drawn += f", {entry['epochs']:.3g} epochs" if "epochs" in entry else ""
        drawn += f", {entry['num_quarantined']:,} documents left out" if entry["num_quarantined"] else ""
        hours = entry["audio_seconds"] / 3600
        yield f"{corpus}: {entry['num_documents']:,} documents, {entry['num_tokens']:,} tokens, {hours:,.2f} h{drawn}"
        for kind, count in entry["tokens_by_kind"].items():
            yield f"  {kind:12} {count:>16,} {count / max(entry['num_tokens'], 1):7.2%}"
