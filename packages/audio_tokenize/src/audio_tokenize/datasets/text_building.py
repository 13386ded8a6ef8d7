"""From texts and published document strings to token datasets.

Form `text` lays a plain text out as `begin_of_text`, its ids, `end_of_text`. Form
`document` takes strings that are documents already, see `document_strings`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from audio_data import Document, InputError, Manifest, Quarantine, SeenIds, StoragePath, storage_path
from audio_tokenize.corpora.corpus import Skipped
from audio_tokenize.corpora.record_rules import printable
from audio_tokenize.corpora.text_files import TextDocument
from audio_tokenize.corpora.texts import TextCorpus, open_text_corpus
from audio_tokenize.datasets.building import DocumentBuilder, write_dataset
from audio_tokenize.datasets.groupings import Selection
from audio_tokenize.datasets.text_documents import Prepared, TextEncoder, TextForm, base_id, text_encoder
from audio_tokenize.documents.layout import BeginOfText
from audio_tokenize.documents.layouts import TextSpaces
from audio_tokenize.vocabularies.folder import VocabularyFolder

# A batch is what the text tokenizer's threads share, and all that is held in memory.
_BATCH_DOCUMENTS = 256
_BATCH_CHARACTERS = 1 << 22
_MAX_LISTED = 10_000


def build_text_dataset(
    source: str | StoragePath | TextCorpus,
    vocabulary: str | StoragePath,
    out: str | StoragePath,
    *,
    form: TextForm = "text",
    root: str | StoragePath | None = None,
    begin_of_text: BeginOfText = "single",
    text_spaces: TextSpaces = "none",
    lenient: bool = False,
    num_codebooks: int | None = None,
    frame_rate_hz: int | float = 12.5,
    holdout_fraction: int | float = 0.0,
    heldout: bool = False,
    documents_per_shard: int = 8192,
    overwrite: bool = False,
) -> Manifest:
    """Build a token dataset of texts or of document strings, or return the one that was built of the same alike.

    Killed at any moment and called again, it goes on with the first shard that is missing, and the result is the same,
    byte for byte. What was left out is counted in the manifest's `provenance["counts"]`, and the first 10,000 of it are
    listed with their reasons in `quarantine.jsonl`.

    Args:
        source: Name of a published corpus, a path of files, or an open corpus; see `open_text_corpus`.
        vocabulary: Vocabulary folder. A copy is put beside the dataset, as `vocabulary`, unless it is there already.
        out: Folder of the dataset; its name becomes the name of the corpus.
        form: `text` for plain texts, in which a marker is text like any other; `document` for document strings.
        root: Folder with the files of a named corpus.
        begin_of_text: Of document strings; `double` puts one more before each, as the Marin tokenizer does.
        text_spaces: Of plain texts: spaces that are encoded with each, see `layouts.plain_text`.
        lenient: Drop what cannot be encoded and count it, instead of raising: documents with a fault, empty texts.
        num_codebooks: Codebooks of every frame of the document strings; `None` reads it off each document.
        frame_rate_hz: Frames a second of the codec, for the documents' `seconds`.
        holdout_fraction: Share of documents set apart by a hash of their base id, so that the two orders of an
            utterance fall on the same side.
        heldout: Take the documents set apart instead of the others.
        documents_per_shard: A shard of the dataset ends after this many documents.
        overwrite: Replace another dataset that is in `out`.

    Returns:
        What the dataset holds.

    Raises:
        InputError: The source cannot be read, a document cannot be encoded and `lenient` is off, no document is left,
            the folder around `out` holds another vocabulary, `out` holds another dataset, or the disk refuses.
    """
    corpus = source if isinstance(source, TextCorpus) else open_text_corpus(source, root=root)
    folder, out = VocabularyFolder.load(vocabulary), storage_path(out)
    selection = Selection(holdout_fraction=holdout_fraction, heldout=heldout)
    encoder = text_encoder(
        form,
        folder,
        begin_of_text=begin_of_text,
        text_spaces=text_spaces,
        lenient=lenient,
        num_codebooks=num_codebooks,
        frame_rate_hz=frame_rate_hz,
    )
    choices = {
        "begin_of_text": begin_of_text,
        "text_spaces": text_spaces,
        "lenient": lenient,
        "num_codebooks": num_codebooks,
        "frame_rate_hz": frame_rate_hz,
    }
    builder = _TextBuilder(corpus, encoder, selection)
    provenance = {
        "command": "audio-tokenize build",
        "source": {"corpus": corpus.name, "fingerprint": corpus.fingerprint},
        "form": form,
        **choices,
        "selection": {"holdout_fraction": holdout_fraction, "heldout": heldout},
    }
    return write_dataset(
        builder,
        folder,
        out,
        provenance,
        quarantine=builder.left_out,
        documents_per_shard=documents_per_shard,
        overwrite=overwrite,
    )


class _TextBuilder(DocumentBuilder):
    """Documents of a corpus of texts.

    Attributes:
        left_out: The first of what the encoder dropped, with the reasons.
    """

    def __init__(self, corpus: TextCorpus, encoder: TextEncoder, selection: Selection):
        self._counts = encoder.counts
        self.left_out = Quarantine(1.0)
        self._corpus, self._encoder, self._selection = corpus, encoder, selection

    def require_some(self) -> None:
        if not any(map(self._prepare, self._batches())):
            raise InputError(
                f"corpus `{self._corpus.name}`: expected at least 1 document, got {dict(self._counts)}: "
                "look at what was dropped, or choose another `holdout_fraction`"
            )
        self._counts.clear()
        self.left_out.reasons.clear()

    def documents(self, skip: int) -> Iterator[Document]:
        for records in self._batches():
            prepared = self._prepare(records)
            passed = min(skip, len(prepared))
            skip -= passed
            yield from self._encoder.encode(prepared[passed:])

    def counts(self) -> Counter[str]:
        """Count the documents read, those on the other side of the holdout, and what the encoder dropped."""
        return self._counts

    def _prepare(self, records: Sequence[TextDocument | Skipped]) -> list[Prepared]:
        prepared = self._encoder.prepare(records)
        for name, why in self._encoder.dropped[: _MAX_LISTED - len(self.left_out)]:
            self.left_out.add(name, printable(why))
        self._encoder.dropped.clear()
        return prepared

    def _batches(self) -> Iterator[list[TextDocument | Skipped]]:
        batch: list[TextDocument | Skipped] = []
        room = _BATCH_CHARACTERS
        with SeenIds() as seen:
            for record in self._corpus:
                if not self._selection.keeps(base_id(record.id)):
                    self._counts["held_apart"] += 1
                    continue
                if isinstance(record, TextDocument) and not seen.add(record.id):
                    record = Skipped(record.id, "expected an `id` of its own, got that of a document before it")
                batch.append(record)
                room -= len(record.text) if isinstance(record, TextDocument) else 0
                if len(batch) == _BATCH_DOCUMENTS or room <= 0:
                    yield batch
                    batch, room = [], _BATCH_CHARACTERS
        if batch:
            yield batch
