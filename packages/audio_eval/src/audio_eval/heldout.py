"""Held-out speech for tasks: documents and their utterances, read from token datasets."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from audio_data import InputError, TokenDataset, Vocabulary
from audio_tokenize import Segment, TextTokenizer, layout

_STORED_ADVICE = "to score documents of any form as they are, run `nll` alone with `--set nll.documents=stored`"


@dataclasses.dataclass(frozen=True, eq=False)
class HeldoutDocument:
    """One document.

    Attributes:
        id: Unique in its dataset, and the same in every layout.
        dataset: Name of the dataset.
        segments: Its utterances in time order.
        metadata: What the dataset's builder recorded.
    """

    id: str
    dataset: str
    segments: tuple[Segment, ...]
    metadata: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class HeldoutUtterance:
    """One utterance.

    Attributes:
        id: Unique in its dataset; the document's id, with the utterance's index where there are several.
        dataset: Name of the dataset.
        base_id: Id of the utterance it was encoded from, in its corpus.
        text: Its transcript.
        speaker: Who speaks, as the dataset names them.
        segment: Its codes and its text ids.
    """

    id: str
    dataset: str
    base_id: str
    text: str
    speaker: str
    segment: Segment


def read_documents(name: str, dataset: TokenDataset, vocabulary: Vocabulary) -> list[HeldoutDocument]:
    """Read the documents of a dataset: each utterance once, in any orders and frame offsets.

    Args:
        name: Name of the dataset.
        dataset: Its records; documents hold both text and audio.
        vocabulary: Vocabulary of the model, which must be the dataset's own.

    Returns:
        Documents in the order of a hash of their ids, so that the first of them are a fair sample of voices and texts.

    Raises:
        InputError: The dataset has another vocabulary, no documents, or documents without text or audio.
    """
    check_vocabulary(name, dataset, vocabulary)
    documents: dict[str, HeldoutDocument] = {}
    for index in range(len(dataset)):
        document = dataset[index]
        metadata = document.metadata
        order = layout(str(metadata.get("layout", "audio_first")))
        identity = f"{metadata.get('base_id', metadata.get('id', index))}/{metadata.get('speaker', '')}"
        if identity in documents:
            continue
        try:
            segments = tuple(order.parse(document.ids, vocabulary))
        except InputError as error:
            raise InputError(
                f"document `{identity}` of dataset `{name}` must be of layout {order.name!r} to be evaluated, but "
                f"{error.message}: {_STORED_ADVICE}"
            ) from error
        if not all(segment.text_ids.size and segment.codes.size for segment in segments):
            raise InputError(
                f"document `{identity}` of dataset `{name}` must hold audio and text to be evaluated, got layout "
                f"{order.name!r}: build it with `--layout audio_first`; {_STORED_ADVICE}"
            )
        documents[identity] = HeldoutDocument(identity, name, segments, metadata)
    if not documents:
        raise InputError(f"dataset `{name}` must hold at least one document, got 0")
    return sorted(documents.values(), key=lambda document: hashlib.sha256(document.id.encode()).digest())


def check_vocabulary(name: str, dataset: TokenDataset, vocabulary: Vocabulary) -> None:
    """Refuse a dataset with another vocabulary than the model's.

    Raises:
        InputError: It has another vocabulary.
    """
    if dataset.vocabulary.fingerprint != vocabulary.fingerprint:
        raise InputError(
            f"dataset `{name}` must have the model's vocabulary {vocabulary.name!r} ({vocabulary.fingerprint[:12]}), "
            f"got {dataset.vocabulary.name!r} ({dataset.vocabulary.fingerprint[:12]}): build it anew"
        )


def utterances(documents: Sequence[HeldoutDocument], text: TextTokenizer) -> list[HeldoutUtterance]:
    """Split documents into utterances; a document of one utterance gives its recorded transcript.

    Args:
        documents: Documents.
        text: Tokenizer that decodes the transcripts of documents with several utterances.
    """
    found = []
    for document in documents:
        several = len(document.segments) > 1
        for index, segment in enumerate(document.segments):
            spelled = text.decode(segment.text_ids.tolist())
            found.append(
                HeldoutUtterance(
                    id=f"{document.id}#{index}" if several else document.id,
                    dataset=document.dataset,
                    base_id="" if several else str(document.metadata.get("base_id", "")),
                    text=spelled if several else str(document.metadata.get("text", spelled)),
                    speaker=str(document.metadata.get("speaker", "")),
                    segment=segment,
                )
            )
    return found
