"""From codes to token datasets: choose utterances, group them, lay them out, write documents.

One encoding serves many datasets: each is a choice of layout, codebooks, voices and held-out part of the same codes,
and building one takes seconds. Datasets of one folder share the vocabulary that lies beside them.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from audio_data import DatasetWriter, Document, InputError, Manifest, Progress, TokenDataset, holdout
from audio_tokenize.documents import Layout, Segment
from audio_tokenize.documents import layout as find_layout
from audio_tokenize.encoded import EncodedCorpus, EncodedUtterance
from audio_tokenize.vocabularies import FOLDER_NAME, VocabularyFolder

Grouping = Literal["utterance", "recording", "pair"]


@dataclass(frozen=True)
class Selection:
    """Which utterances go into a dataset. An empty tuple means all.

    Attributes:
        splits: Names of splits.
        speakers: Who speaks.
        languages: Codes of languages.
        phases: Indices of phases.
        holdout_fraction: Share of documents set apart by a hash of their base id, the same in every dataset that is
            built with this fraction, whatever its layout.
        heldout: Take the documents set apart instead of the others.
    """

    splits: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    phases: tuple[int, ...] = ()
    holdout_fraction: float = 0.0
    heldout: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.holdout_fraction < 1:
            raise InputError(f"`holdout` must be a fraction in [0, 1), got {self.holdout_fraction!r}")
        if self.heldout and not self.holdout_fraction:
            raise InputError("`heldout` takes the part that `holdout` sets apart: give `holdout` a fraction above 0")

    def takes(self, utterance: EncodedUtterance) -> bool:
        """Whether an utterance is chosen, the holdout aside."""
        return all(
            not wanted or value in wanted
            for wanted, value in (
                (self.splits, utterance.split),
                (self.speakers, utterance.speaker),
                (self.languages, utterance.language),
                (self.phases, utterance.phase),
            )
        )

    def keeps(self, base_id: str) -> bool:
        """Whether a document is on the right side of the holdout."""
        return not self.holdout_fraction or holdout(base_id, self.holdout_fraction) == self.heldout


def build_dataset(
    codes: str | Path,
    vocabulary: str | Path,
    out: str | Path,
    *,
    layout: str = "audio_first",
    num_codebooks: int = 8,
    selection: Selection | None = None,
    grouping: Grouping = "utterance",
    overwrite: bool = False,
) -> Manifest:
    """Builds a token dataset, or returns the one that is there if it was built from the same with the same choices.

    Args:
        codes: Folder that `encode` wrote.
        vocabulary: Vocabulary folder. A copy is put beside the dataset, as `vocabulary`, unless it is there already.
        out: Folder of the dataset; its name becomes the name of the corpus.
        layout: Name of a document layout.
        num_codebooks: Leading codebooks to keep.
        selection: Which utterances; all of them if `None`.
        grouping: One document an utterance, one a recording with its utterances in time order, or one a pair of
            parallel utterances, of which the first names the other as `target` in its `extra`.
        overwrite: Replace another dataset that is in `out`.

    Returns:
        What the dataset holds.

    Raises:
        InputError: Nothing is selected, the codes are of another codec than the vocabulary's, the folder around `out`
            holds another vocabulary, `out` holds another dataset, or the disk refuses.
    """
    corpus, folder, chosen, out = (
        EncodedCorpus.open(codes),
        VocabularyFolder.load(vocabulary),
        find_layout(layout),
        Path(out),
    )
    selection = selection or Selection()
    _check_codec(corpus, folder, num_codebooks)
    _check_grouping(chosen, grouping)
    provenance = {
        "codes": {"corpus": corpus.manifest.corpus, "fingerprint": corpus.manifest.fingerprint},
        "layout": layout,
        "num_codebooks": num_codebooks,
        "grouping": grouping,
        "selection": dataclasses.asdict(selection),
    }
    folder.save(out.parent / FOLDER_NAME)
    if (there := _same_dataset(out, provenance, folder)) is not None and not overwrite:
        return there
    documents = _documents(corpus, folder, chosen, num_codebooks, selection, grouping)
    # Before the writer opens: a folder begun for nothing would have to be overwritten by the next attempt.
    if (first := next(documents, None)) is None:
        raise InputError(_nothing(corpus, selection))
    writer = DatasetWriter(
        out,
        corpus=out.name,
        vocabulary=folder.vocabulary,
        provenance=provenance,
        codec=corpus.manifest.codec,
        overwrite=overwrite,
    )
    with Progress(f"build {out.name}", None, unit="documents") as progress, writer:
        for document in chain([first], documents):
            writer.write(document)
            progress.advance()
    return TokenDataset.open(out).manifest


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


def _check_grouping(layout: Layout, grouping: str) -> None:
    if grouping not in get_args(Grouping):
        raise InputError(f"`grouping` must be one of {', '.join(get_args(Grouping))}, got {grouping!r}")
    if layout.group_size == 2 and grouping != "pair":
        raise InputError(
            f"`grouping` of layout `{layout.name}` must be 'pair', since it takes utterances by two, got {grouping!r}"
        )


def _same_dataset(out: Path, provenance: dict[str, Any], folder: VocabularyFolder) -> Manifest | None:
    """The manifest of a finished dataset made from the same with the same choices, if that is what `out` holds."""
    if not (out / "manifest.json").is_file():
        return None
    manifest = TokenDataset.open(out).manifest
    same = manifest.vocabulary == folder.vocabulary and manifest.provenance == json.loads(json.dumps(provenance))
    return manifest if same else None


def _documents(
    corpus: EncodedCorpus,
    folder: VocabularyFolder,
    layout: Layout,
    num_codebooks: int,
    selection: Selection,
    grouping: Grouping,
) -> Iterator[Document]:
    for group in _groups(corpus, selection, grouping):
        base_id = group[0].recording if grouping == "recording" else group[0].id
        if selection.keeps(base_id):
            yield _document(group, base_id, folder, layout, num_codebooks)


def _groups(corpus: EncodedCorpus, selection: Selection, grouping: Grouping) -> Iterator[list[EncodedUtterance]]:
    """Utterances that form a document."""
    chosen = filter(selection.takes, corpus)
    match grouping:
        case "utterance":
            return ([utterance] for utterance in chosen)
        case "recording":
            return _recordings(chosen)
        case "pair":
            return _pairs(chosen, corpus)


def _recordings(utterances: Iterable[EncodedUtterance]) -> Iterator[list[EncodedUtterance]]:
    """Utterances of a recording, once a phase; they lie side by side in the codes."""
    for _, recording in groupby(utterances, key=lambda utterance: (utterance.split, utterance.recording)):
        by_phase: dict[int, list[EncodedUtterance]] = {}
        for utterance in recording:
            by_phase.setdefault(utterance.phase, []).append(utterance)
        yield from (by_phase[phase] for phase in sorted(by_phase))


def _pairs(
    utterances: Iterable[EncodedUtterance], corpus: Iterable[EncodedUtterance]
) -> Iterator[list[EncodedUtterance]]:
    """An utterance and the one it names as its target, selected or not; all targets are held in memory."""
    targets = {
        utterance.id: utterance for utterance in corpus if not utterance.extra.get("target") and not utterance.phase
    }
    for utterance in utterances:
        if target := utterance.extra.get("target"):
            if target not in targets:
                raise InputError(f"utterance `{utterance.id}` names {target!r} as its target, which was not encoded")
            yield [utterance, targets[target]]


def _document(
    group: Sequence[EncodedUtterance], base_id: str, folder: VocabularyFolder, layout: Layout, num_codebooks: int
) -> Document:
    speakers = list(dict.fromkeys(utterance.speaker for utterance in group))
    segments = [
        Segment(_text_ids(utterance, speakers.index(utterance.speaker), folder, layout), utterance.codes)
        for utterance in group
    ]
    first = group[0]
    identity = first.record_id if len(group) == 1 else f"{base_id}+{first.phase}of{first.num_phases}"
    return Document(
        ids=layout.build(segments, folder.vocabulary, num_codebooks),
        metadata={
            "id": identity,
            "base_id": base_id,
            "text": " ".join(utterance.text for utterance in group),
            "speaker": " ".join(speakers),
            "language": " ".join(dict.fromkeys(utterance.language for utterance in group)),
            "seconds": sum(utterance.seconds for utterance in group),
            "layout": layout.name,
            "split": first.split,
            "recording": first.recording,
            "phase": first.phase,
            "num_codebooks": min(num_codebooks, layout.max_codebooks or num_codebooks),
        },
    )


def _text_ids(utterance: EncodedUtterance, speaker: int, folder: VocabularyFolder, layout: Layout) -> np.ndarray:
    if not layout.has_text:
        return np.zeros(0, np.int32)
    return np.array(
        folder.text.encode(layout.spell(utterance.text, speaker=speaker, language=utterance.language)), np.int32
    )


def _nothing(corpus: EncodedCorpus, selection: Selection) -> str:
    """Why no document came out, with what there is to choose from."""
    utterances = list(corpus)
    chosen = {utterance.id for utterance in utterances if selection.takes(utterance)}
    if chosen and selection.holdout_fraction:
        part = "sets none apart" if selection.heldout else "sets all apart"
        return (
            f"`holdout` {selection.holdout_fraction} {part} of the {len(chosen)} utterances chosen from "
            f"`{corpus.path}`: the corpus is too short for it; add recordings, or choose another fraction"
        )
    known = {
        "split": {utterance.split for utterance in utterances},
        "speaker": {utterance.speaker for utterance in utterances},
        "language": {utterance.language for utterance in utterances},
        "phase": {str(utterance.phase) for utterance in utterances},
    }
    choices = "; ".join(f"{name}: {', '.join(sorted(values))}" for name, values in known.items())
    wanted = {name: value for name, value in dataclasses.asdict(selection).items() if value} or "the grouping"
    return f"no utterance of `{corpus.path}` fits {wanted}; it has {choices}: choose among these"
