"""From codes to token datasets: choose utterances, group them, lay them out, write documents.

One encoding serves many datasets: each is a choice of layouts, grouping, transcripts, codebooks, voices and held-out
part of the same codes. Datasets of one folder share the vocabulary that lies beside them.
"""

import abc
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np

from audio_data import (
    DatasetWriter,
    Document,
    InputError,
    Manifest,
    Progress,
    Quarantine,
    StoragePath,
    TokenDataset,
    finished_dataset,
    storage_path,
)
from audio_tokenize.corpora.entries import TranscriptRule, transcript_rule
from audio_tokenize.datasets.groupings import Group, Grouping, Selection, grouping_rule
from audio_tokenize.datasets.presets import DocumentRules, dataset_preset
from audio_tokenize.documents.layout import BeginOfText, Layout, Segment, check_beginning
from audio_tokenize.documents.layouts import TextSpaces, plain_text
from audio_tokenize.documents.layouts import layout as find_layout
from audio_tokenize.encoding.encoded import EncodedCorpus
from audio_tokenize.encoding.records import EncodedUtterance
from audio_tokenize.vocabularies.folder import FOLDER_NAME, VocabularyFolder

# Text tokenizers are several times faster on many texts at once; the codes of that many documents are in memory.
_DOCUMENTS_PER_BATCH = 64
_COUNTS = "counts"


def build_dataset(
    codes: str | StoragePath,
    vocabulary: str | StoragePath,
    out: str | StoragePath,
    *,
    preset: str | None = None,
    layout: str | Sequence[str] | None = None,
    grouping: str | None = None,
    transcript: str | None = None,
    num_codebooks: int | None = None,
    begin_of_text: BeginOfText = "single",
    text_spaces: TextSpaces = "none",
    selection: Selection | None = None,
    lenient: bool = False,
    overwrite: bool = False,
    documents_per_shard: int = 8192,
) -> Manifest:
    """Build a token dataset, or return the one that is there if it was built from the same with the same choices.

    Killed at any moment and called again, it goes on with the first shard that is missing.

    Args:
        codes: Folder that `encode` wrote.
        vocabulary: Vocabulary folder. A copy is put beside the dataset, as `vocabulary`, unless it is there already.
        out: Folder of the dataset; its name becomes the name of the corpus.
        preset: Name in `DATASET_PRESETS`, which sets layout, grouping, transcript and codebooks, and the splits where
            none are selected.
        layout: Name of a document layout, `audio_first` if `None`; or several, and every group becomes a document in
            each of them. Those share their `base_id`.
        grouping: Name in `GROUPINGS`, `utterance` if `None`.
        transcript: Name in `TRANSCRIPT_RULES`, `verbatim` if `None`.
        num_codebooks: Leading codebooks to keep, 8 if `None`.
        begin_of_text: `double` puts one more before each document, as the Marin tokenizer does.
        text_spaces: Spaces around each text of layout `text`, see `layouts.plain_text`.
        selection: Which utterances; all of them if `None`.
        lenient: Leave out utterances without a usable transcript or audio, and pairs with one of
            them; `provenance["num_dropped"]` says how many. Otherwise the first raises. Utterances that were encoded
            without transcript are left out of layouts that need one in any case, and counted in
            `provenance["counts"]["without_transcript"]`.
        overwrite: Replace another dataset that is in `out`.
        documents_per_shard: A shard of the dataset ends after this many documents.

    Returns:
        What the dataset holds.

    Raises:
        InputError: Nothing is selected, the codes are of another codec than the vocabulary's, an utterance cannot be
            laid out, the folder around `out` holds another vocabulary, `out` holds another dataset, or the disk
            refuses.
    """
    rules, selection = _settle(preset, layout, grouping, transcript, num_codebooks, selection or Selection())
    rules = dataclasses.replace(rules, begin_of_text=begin_of_text, text_spaces=text_spaces)
    corpus, folder, out = EncodedCorpus.open(codes), VocabularyFolder.load(vocabulary), storage_path(out)
    builder = _CodesBuilder.choose(corpus, folder, rules, selection, lenient)
    return write_dataset(
        builder,
        folder,
        out,
        builder.provenance(),
        codec=corpus.manifest.codec,
        documents_per_shard=documents_per_shard,
        overwrite=overwrite,
    )


class DocumentBuilder(abc.ABC):
    """Documents of a dataset in order, from any place on."""

    @abc.abstractmethod
    def require_some(self) -> None:
        """Look for the first document. Called once, before `documents`.

        Raises:
            InputError: There is none.
        """

    @abc.abstractmethod
    def documents(self, skip: int) -> Iterator[Document]:
        """Yield the documents after the first `skip`, whose text is not encoded again."""

    def counts(self) -> Mapping[str, int]:
        """Return what was read and what was left out, once all documents were made."""
        return {}


def write_dataset(
    builder: DocumentBuilder,
    folder: VocabularyFolder,
    out: StoragePath,
    provenance: Mapping[str, Any],
    *,
    codec: Mapping[str, Any] | None = None,
    quarantine: Quarantine | None = None,
    documents_per_shard: int,
    overwrite: bool,
) -> Manifest:
    """Write the documents that are not there yet, or return the dataset that is there if it is the same.

    Args:
        builder: Its documents.
        folder: Its vocabulary; a copy is put beside the dataset.
        out: Its folder.
        provenance: How it is made; `counts` is added at the end where there are any.
        codec: What its audio was encoded with.
        quarantine: The first of what is left out, with the reasons.
        documents_per_shard: As for `build_dataset`.
        overwrite: As for `build_dataset`.

    Raises:
        InputError: There is no document, another vocabulary or dataset is there, or the disk refuses.
    """
    folder.save(out.parent / FOLDER_NAME)
    writer = DatasetWriter(
        out,
        corpus=out.name,
        vocabulary=folder.vocabulary,
        provenance=provenance,
        codec=codec,
        documents_per_shard=documents_per_shard,
        overwrite=overwrite,
        quarantine=quarantine,
    )
    if not overwrite and (there := finished_dataset(out, writer.manifest, ignored={_COUNTS})) is not None:
        return there
    # Before the writer opens: a folder begun for nothing would have to be overwritten by the next attempt.
    builder.require_some()
    with writer:
        done = writer.skip_resumed()
        with Progress(f"build {out.name}", None, unit="documents", done=done) as progress:
            for document in builder.documents(done):
                writer.write(document)
                progress.advance()
        if counts := builder.counts():
            writer.add_provenance({_COUNTS: dict(sorted(counts.items()))})
    return TokenDataset.open(out).manifest


def _settle(
    preset: str | None,
    layout: str | Sequence[str] | None,
    grouping: str | None,
    transcript: str | None,
    num_codebooks: int | None,
    selection: Selection,
) -> tuple[DocumentRules, Selection]:
    """Return the rules asked for, by name of a published dataset or one by one."""
    layouts = (layout,) if isinstance(layout, str) else None if layout is None else tuple(layout)
    if preset is None:
        default = DocumentRules()
        rules = DocumentRules(
            layouts=default.layouts if layouts is None else layouts,
            grouping=default.grouping if grouping is None else grouping,
            transcript=default.transcript if transcript is None else transcript,
            num_codebooks=default.num_codebooks if num_codebooks is None else num_codebooks,
        )
        return rules, selection
    asked = {"layouts": layouts, "grouping": grouping, "transcript": transcript, "num_codebooks": num_codebooks}
    given = {name: value for name, value in asked.items() if value is not None}
    if given:
        names = ", ".join(f"`{name}`" for name in given)
        raise InputError(f"`preset` {preset!r} sets {names}, got {list(given.values())!r} beside it: give one or other")
    published = dataset_preset(preset)
    return published.rules, dataclasses.replace(selection, splits=selection.splits or published.splits)


class _Item(NamedTuple):
    """A document before its ids are made."""

    group: Group
    layout: Layout


@dataclass
class _CodesBuilder(DocumentBuilder):
    """A dataset as it was chosen, checked once."""

    corpus: EncodedCorpus
    folder: VocabularyFolder
    rules: DocumentRules
    layouts: tuple[Layout, ...]
    grouping: Grouping
    rule: TranscriptRule
    selection: Selection
    lenient: bool
    _found: Iterator[_Item] = field(init=False)

    @classmethod
    def choose(
        cls,
        corpus: EncodedCorpus,
        folder: VocabularyFolder,
        rules: DocumentRules,
        selection: Selection,
        lenient: bool,
    ) -> "_CodesBuilder":
        layouts, grouping = _layouts(rules), grouping_rule(rules.grouping)
        _check_no_merges(folder)
        _check_codec(corpus, folder, rules.num_codebooks)
        for name in {name for name in rules.layouts if rules.layouts.count(name) > 1}:
            raise InputError(f"`layout` {name} is given more than once: give each once")
        for layout in layouts:
            _check_grouping(layout, grouping)
        rule = transcript_rule(rules.transcript)
        return cls(corpus, folder, rules, layouts, grouping, rule, selection, lenient)

    def provenance(self) -> dict[str, Any]:
        """How the dataset is made; reads all codes once where some may be left out."""
        manifest = self.corpus.manifest
        chosen = filter(self.selection.takes, self.corpus if self.lenient else ())
        return {
            "command": "audio-tokenize build",
            "codes": {"corpus": manifest.corpus, "licence": manifest.licence, "fingerprint": manifest.fingerprint},
            **dataclasses.asdict(self.rules),
            "selection": self.selection.to_json(),
            "lenient": self.lenient,
            "num_dropped": sum(not self._is_usable(utterance) for utterance in chosen),
        }

    def items(self) -> Iterator[_Item]:
        """Every document to be made, group by group."""
        for group in self.grouping.groups(self.corpus, self.selection.takes):
            if not self.selection.keeps(group.base_id):
                continue
            kept = tuple(utterance for utterance in group.utterances if self._is_usable(utterance))
            for layout in self.layouts:
                usable = tuple(utterance for utterance in kept if utterance.text or not layout.needs_transcript)
                if usable and self.grouping.size in (None, len(usable)):
                    yield _Item(dataclasses.replace(group, utterances=usable), layout)

    def require_some(self) -> None:
        items = self.items()
        if (first := next(items, None)) is None:
            if (count := self._num_without_transcript()) and all(layout.needs_transcript for layout in self.layouts):
                names = ", ".join(layout.name for layout in self.layouts)
                raise InputError(
                    f"layout {names} needs transcripts, which {count:,} of the utterances chosen from "
                    f"`{self.corpus.path}` lack: choose a layout of audio alone, such as acoustic or semantic, or "
                    "encode the audio with its transcripts"
                )
            raise self.selection.explain_nothing(self.corpus, self.corpus.path, self.rules.grouping)
        self._found = chain([first], items)

    def documents(self, skip: int) -> Iterator[Document]:
        items = islice(self._found, skip, None)
        while batch := list(islice(items, _DOCUMENTS_PER_BATCH)):
            rendered = [self._rendered(item) for item in batch]
            texts = list(dict.fromkeys(chain.from_iterable(rendered)))
            ids = dict(zip(texts, self.folder.text.encode_batch(texts), strict=True))
            for item, strings in zip(batch, rendered, strict=True):
                yield self._document(item, [np.array(ids[string], np.int32) for string in strings])

    def counts(self) -> Mapping[str, int]:
        count = self._num_without_transcript()
        return {"without_transcript": count} if count else {}

    def _num_without_transcript(self) -> int:
        """How many of the chosen utterances a layout leaves out for want of a transcript; reads codes that have any."""
        if not self.corpus.manifest.num_without_transcript or not any(one.needs_transcript for one in self.layouts):
            return 0
        return sum(self.selection.takes(utterance) and not utterance.text for utterance in self.corpus)

    def _is_usable(self, utterance: EncodedUtterance) -> bool:
        problem = self._problem(utterance)
        if problem is None:
            return True
        if self.lenient:
            return False
        raise InputError(f"utterance `{utterance.id}` {problem}: leave such ones out with `lenient`")

    def _problem(self, utterance: EncodedUtterance) -> str | None:
        """Why no document can hold an utterance."""
        vocabulary, codes = self.folder.vocabulary, utterance.codes
        needs_text = utterance.text and any(layout.needs_transcript for layout in self.layouts)
        if needs_text and not self.rule(utterance.text).strip():
            return f"must have a transcript, got {utterance.text!r} (`transcript` {self.rules.transcript})"
        if not len(codes):
            return "must have audio, got 0 frames"
        if codes.shape[1] < self.rules.num_codebooks:
            return f"must have {self.rules.num_codebooks} codebooks, got {codes.shape[1]!r}"
        if codes.max() >= vocabulary.codebook_size:
            return f"must have codes 0..{vocabulary.codebook_size - 1}, got {int(codes.max())!r}"
        return None

    def _rendered(self, item: _Item) -> list[str]:
        """Return what the text span of each utterance holds; the empty string where the layout has none."""
        group, layout = item
        if not layout.has_text:
            return [""] * len(group.utterances)
        index = {speaker: i for i, speaker in enumerate(_speakers(group))}
        names = dict(self.rules.language_names)
        return [
            layout.render(
                self.rule(utterance.text),
                speaker=index[utterance.speaker],
                language=names.get(utterance.language, utterance.language),
            )
            for utterance in group.utterances
        ]

    def _document(self, item: _Item, text_ids: Sequence[np.ndarray]) -> Document:
        group, layout = item
        first = group.utterances[0]
        segments = [Segment(ids, one.codes) for ids, one in zip(text_ids, group.utterances, strict=True)]
        ids, loss_mask = layout.document(
            segments,
            self.folder.vocabulary,
            self.rules.num_codebooks,
            begin_of_text=self.rules.begin_of_text,
        )
        return Document(
            ids=ids,
            loss_mask=loss_mask,
            metadata={
                "id": group.id if len(self.layouts) == 1 else f"{group.id}:{layout.name}",
                "base_id": group.base_id,
                "text": " ".join(utterance.text for utterance in group.utterances if utterance.text),
                "speaker": " ".join(_speakers(group)),
                "language": _joined(utterance.language for utterance in group.utterances),
                "seconds": sum(utterance.seconds for utterance in group.utterances) if layout.has_audio else 0.0,
                "layout": layout.name,
                "split": first.split,
                "recording": first.recording,
                "frame_offset": first.frame_offset,
                "num_codebooks": layout.kept_codebooks(self.rules.num_codebooks),
            },
        )


def _layouts(rules: DocumentRules) -> tuple[Layout, ...]:
    """Return the layouts of a dataset, in which `begin_of_text` and `text_spaces` are checked."""
    check_beginning(rules.begin_of_text, has_plain_text="text" in rules.layouts)
    text = plain_text(rules.text_spaces)
    if rules.text_spaces != "none" and "text" not in rules.layouts:
        raise InputError(
            f"`text_spaces` is of layout 'text', got {rules.text_spaces!r} with {', '.join(rules.layouts)}: "
            "leave it out"
        )
    return tuple(text if name == text.name else find_layout(name) for name in rules.layouts)


def _speakers(group: Group) -> list[str]:
    """By first appearance."""
    return list(dict.fromkeys(utterance.speaker for utterance in group.utterances))


def _joined(values: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(values))


def _check_no_merges(folder: VocabularyFolder) -> None:
    if folder.merges is not None:
        raise InputError(
            f"vocabulary `{folder.vocabulary.name}` must have one id a code, got {len(folder.merges.pairs)} merges of "
            "codes, which are measured only: choose one without merges for datasets"
        )


def _check_codec(corpus: EncodedCorpus, folder: VocabularyFolder, num_codebooks: int) -> None:
    codec, vocabulary = corpus.manifest.codec, folder.vocabulary
    if codec["id"] != vocabulary.codec_id:
        raise InputError(
            f"codes in `{corpus.path}` must be of codec {vocabulary.codec_id!r} as the vocabulary says, "
            f"got {codec['id']!r}: encode with that codec, or make a vocabulary for these codes"
        )
    available = min(codec["num_codebooks"], vocabulary.num_codebooks)
    if not 1 <= num_codebooks <= available:
        raise InputError(f"`codebooks` must be in 1..{available}, as many as were encoded, got {num_codebooks!r}")


def _check_grouping(layout: Layout, grouping: Grouping) -> None:
    if layout.group_size == 2 and grouping.gather != "target":
        raise InputError(
            f"`grouping` of layout `{layout.name}` must be 'pair', since it takes utterances by two, "
            f"got {grouping.name!r}"
        )
    if not layout.repeats and grouping.size != 1:
        raise InputError(
            f"`grouping` of layout `{layout.name}` must be 'utterance', since nothing in it tells one text from the "
            f"next, got {grouping.name!r}"
        )
