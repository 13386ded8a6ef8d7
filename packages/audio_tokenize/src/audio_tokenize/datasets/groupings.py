"""Groupings and selections: the utterances of a dataset, and those that form a document.

    utterance           each alone
    recording           all of a recording, in the order of the codes
    prefix              all whose ids agree up to the last `_`, sorted by id
    gap                 an audiobook's original file sorted by time, cut where more than 0.2 s lie between utterances
    consecutive_pairs   each utterance of a chapter with the next: (0, 1), (1, 2), ...
    pair                an utterance and the one it names as its `target`

A group never mixes splits or frame offsets. `utterance` and `recording` stream. The others find their members wherever
they lie: one pass over the codes notes 16 bytes a record, then each group is read by itself, in the order in which the
groups first appear. Memory is bounded by that index and one group.

Source: how the corpora of SODA were prepared; each entry says for which.
"""

import dataclasses
import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Literal

import numpy as np

from audio_data import InputError, StoragePath, holdout
from audio_tokenize.encoding.encoded import EncodedCorpus, RecordReader
from audio_tokenize.encoding.records import EncodedUtterance


@dataclass(frozen=True)
class Selection:
    """Which utterances go into a dataset. An empty tuple means all.

    Attributes:
        splits: Names of splits; or of parts of a split, where utterances state a `subset` in their `extra`, as those of
            LibriSpeech do: `dev-clean`.
        speakers: Who speaks.
        languages: Codes of languages.
        frame_offsets: Indices of frame offsets.
        holdout_fraction: Share of documents set apart by a hash of their base id, the same in every dataset that is
            built with this fraction, whatever its layout.
        heldout: Take the documents set apart instead of the others.
        holdout_after: Of the documents set apart, leave out those that a holdout of this fraction takes. So two parts
            are set apart that share no document: 0 to 0.1 for a final score, 0.1 to 0.2 to choose a model by.
    """

    splits: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    frame_offsets: tuple[int, ...] = ()
    holdout_fraction: float = 0.0
    heldout: bool = False
    holdout_after: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.holdout_fraction < 1:
            raise InputError(f"`holdout` must be a fraction in [0, 1), got {self.holdout_fraction!r}")
        if self.heldout and not self.holdout_fraction:
            raise InputError("`heldout` takes the part that `holdout` sets apart: give `holdout` a fraction above 0")
        if self.holdout_after and not (self.heldout and 0 < self.holdout_after < self.holdout_fraction):
            raise InputError(
                "`holdout_after` divides the part that `heldout` takes: expected a fraction above 0 and below "
                f"`holdout` {self.holdout_fraction}, with `heldout`, got {self.holdout_after!r}"
            )

    def to_json(self) -> dict[str, Any]:
        """All fields, as JSON values; `holdout_after` where it leaves anything out."""
        value = dataclasses.asdict(self)
        return (
            value if self.holdout_after else {name: entry for name, entry in value.items() if name != "holdout_after"}
        )

    def takes(self, utterance: EncodedUtterance) -> bool:
        """Whether an utterance is chosen, the holdout aside."""
        return all(
            not wanted or not wanted.isdisjoint(values)
            for wanted, values in (
                (set(self.splits), (utterance.split, utterance.extra.get("subset"))),
                (set(self.speakers), (utterance.speaker,)),
                (set(self.languages), (utterance.language,)),
                (set(self.frame_offsets), (utterance.frame_offset,)),
            )
        )

    def keeps(self, base_id: str) -> bool:
        """Whether a document is on the right side of the holdout."""
        if not self.holdout_fraction:
            return True
        is_apart = holdout(base_id, self.holdout_fraction)
        return is_apart == self.heldout and not (self.holdout_after and holdout(base_id, self.holdout_after))

    def explain_nothing(self, utterances: Iterable[EncodedUtterance], path: StoragePath, grouping: str) -> InputError:
        """Why no document came out, with what there is to choose from.

        Args:
            utterances: All of the corpus.
            path: Where it lies.
            grouping: Name of the grouping.
        """
        known: dict[str, set[str]] = {"split": set(), "speaker": set(), "language": set(), "frame_offset": set()}
        num_chosen = 0
        for utterance in utterances:
            num_chosen += self.takes(utterance)
            for name, values in known.items():
                values.add(str(getattr(utterance, name)))
        if num_chosen and self.holdout_fraction:
            part = "sets none apart" if self.heldout else "sets all apart"
            return InputError(
                f"`holdout` {self.holdout_fraction} {part} of the {num_chosen} utterances chosen from `{path}`: "
                f"the corpus is too short for it; add recordings, or choose another fraction"
            )
        choices = "; ".join(f"{name}: {', '.join(sorted(values))}" for name, values in known.items())
        wanted = {name: value for name, value in dataclasses.asdict(self).items() if value}
        return InputError(
            f"no utterance of `{path}` fits {wanted or 'the selection'} and `grouping` {grouping}; "
            f"it has {choices}: choose among these"
        )


Takes = Callable[[EncodedUtterance], bool]
Members = list[EncodedUtterance]


@dataclass(frozen=True, eq=False)
class Group:
    """The utterances of one document.

    Attributes:
        id: Unique among the groups of a corpus, frame offsets included.
        base_id: What all groups share that hold renderings of the same utterances, whatever their offset or layout.
        utterances: In the order of the document.
    """

    id: str
    base_id: str
    utterances: tuple[EncodedUtterance, ...]


@dataclass(frozen=True)
class Grouping:
    """A rule.

    Attributes:
        name: As the command line and the dataset's provenance call it.
        summary: One line for people.
        source: Published datasets that are grouped by it.
        key: What the utterances of a group have in common.
        gather: Where they lie: each alone, side by side in the codes, anywhere in them, or at the `target` that the
            first of two names.
        order: By what they are sorted; `None` leaves them as they lie.
        max_gap_seconds: Cut where more than this lies between the end of an utterance and the beginning of the next,
            or where they overlap by more.
        overlapping_pairs: Make a group of each utterance and its follower.
    """

    name: str
    summary: str
    source: str
    key: Callable[[EncodedUtterance], str]
    gather: Literal["alone", "side by side", "anywhere", "target"]
    order: Callable[[EncodedUtterance], Any] | None = None
    max_gap_seconds: float | None = None
    overlapping_pairs: bool = False

    @property
    def size(self) -> int | None:
        """Utterances of every group, `None` where they vary."""
        if self.gather == "alone":
            return 1
        return 2 if self.overlapping_pairs or self.gather == "target" else None

    def groups(self, corpus: EncodedCorpus, takes: Takes) -> Iterator[Group]:
        """Return the groups of a corpus.

        Args:
            corpus: The codes.
            takes: Whether an utterance is chosen. The target of a chosen utterance is taken in any case.

        Returns:
            The groups, one at a time.

        Raises:
            InputError: An utterance lacks what the rule goes by, or the codes are in an order that the rule cannot
                use; the message names the utterance.
        """
        chosen = filter(takes, corpus)
        match self.gather:
            case "alone":
                return (Group(one.record_id, one.id, (one,)) for one in chosen)
            case "side by side":
                gathered = _side_by_side(chosen, self.key, self.name)
            case "anywhere":
                gathered = _anywhere(corpus, takes, self.key)
            case "target":
                gathered = _with_targets(corpus, takes)
        return (group for members in gathered for group in self._cut(members))

    def _cut(self, members: Members) -> Iterator[Group]:
        if self.order is not None:
            members = sorted(members, key=self.order)
        if self.overlapping_pairs:
            for two in pairwise(members):
                yield Group("#".join(one.record_id for one in two), self.key(two[0]), two)
        elif self.max_gap_seconds is not None:
            for part in _cut_at_gaps(members, self.max_gap_seconds):
                yield _whole(part, part[0].id)
        else:
            yield _whole(members, self.key(members[0]))


def _whole(members: Sequence[EncodedUtterance], base_id: str) -> Group:
    first = members[0]
    suffix = "" if first.num_frame_offsets == 1 else f"+{first.frame_offset}of{first.num_frame_offsets}"
    return Group(base_id + suffix, base_id, tuple(members))


def _cut_at_gaps(members: Members, max_gap_seconds: float) -> Iterator[Members]:
    part = members[:1]
    for previous, current in pairwise(members):
        if abs(_times(current)[0] - _times(previous)[1]) > max_gap_seconds:
            yield part
            part = []
        part.append(current)
    yield part


def _side_by_side(
    utterances: Iterable[EncodedUtterance], key: Callable[[EncodedUtterance], str], name: str
) -> Iterator[Members]:
    # Hashes, not keys: 8 bytes tell recordings apart, and a corpus may have millions of them.
    seen: set[int] = set()
    for common, run in groupby(utterances, key=key):
        by_part: dict[tuple[str, int], Members] = {}
        for utterance in run:
            by_part.setdefault((utterance.split, utterance.frame_offset), []).append(utterance)
        if _hash(common) in seen:
            first = next(iter(by_part.values()))[0]
            raise InputError(
                f"`grouping` {name} needs the utterances of a {name} side by side in the codes; {name} {common!r} "
                f"comes again with utterance `{first.id}` after another: sort the corpus by {name} and encode it again"
            )
        seen.add(_hash(common))
        yield from (by_part[part] for part in sorted(by_part))


def _anywhere(corpus: EncodedCorpus, takes: Takes, key: Callable[[EncodedUtterance], str]) -> Iterator[Members]:
    def part(utterance: EncodedUtterance) -> tuple[str, str, int]:
        return key(utterance), utterance.split, utterance.frame_offset

    hashes, positions = array("Q"), array("Q")
    for position, utterance in enumerate(corpus):
        if takes(utterance):
            hashes.append(_hash("\0".join(map(str, part(utterance)))))
            positions.append(position)
    if not positions:
        return
    _, first, which = np.unique(np.asarray(hashes), return_index=True, return_inverse=True)
    order = np.argsort(first[which], kind="stable")
    starts = np.flatnonzero(np.diff(first[which][order])) + 1
    with RecordReader(corpus) as reader:
        for run in np.split(np.asarray(positions)[order], starts):
            # Keys whose hashes collide come together; they part here.
            by_part: dict[tuple[str, str, int], Members] = {}
            for utterance in reader.read(run.tolist()):
                by_part.setdefault(part(utterance), []).append(utterance)
            yield from by_part.values()


def _with_targets(corpus: EncodedCorpus, takes: Takes) -> Iterator[Members]:
    targets = {
        utterance.id: position
        for position, utterance in enumerate(corpus)
        if not utterance.extra.get("target") and not utterance.frame_offset
    }
    with RecordReader(corpus) as reader:
        for utterance in filter(takes, corpus):
            if target := utterance.extra.get("target"):
                if target not in targets:
                    raise InputError(
                        f"utterance `{utterance.id}` names {target!r} as its target, which was not encoded"
                    )
                yield [utterance, *reader.read([targets[target]])]


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def _stated(utterance: EncodedUtterance, *names: str) -> list[str]:
    missing = [name for name in names if utterance.extra.get(name) in (None, "")]
    if missing:
        raise InputError(
            f"utterance `{utterance.id}` must state {', '.join(f'`{name}`' for name in missing)}, got "
            f"{sorted(utterance.extra)!r}: choose another `grouping`, or encode a corpus that states it"
        )
    return [str(utterance.extra[name]) for name in names]


def _times(utterance: EncodedUtterance) -> tuple[float, float]:
    stated = _stated(utterance, "begin_seconds", "end_seconds")
    try:
        begin, end = map(float, stated)
    except ValueError as error:
        raise InputError(f"times of utterance `{utterance.id}` must be seconds, got {stated!r}") from error
    if not begin <= end:
        raise InputError(f"utterance `{utterance.id}` must end after it starts, got {begin!r} s to {end!r} s")
    return begin, end


def _prefix(utterance: EncodedUtterance) -> str:
    prefix, underscore, _ = utterance.id.rpartition("_")
    if not underscore:
        raise InputError(
            f"utterance `{utterance.id}` must have an id like EN_B00000_S00000_W000000 for `grouping` prefix: choose "
            "another `grouping`"
        )
    return prefix


def _original_file(utterance: EncodedUtterance) -> str:
    return "/".join([utterance.speaker, *_stated(utterance, "book", "original_path")])


def _chapter(utterance: EncodedUtterance) -> str:
    return "/".join([utterance.speaker, *_stated(utterance, "chapter")])


GROUPINGS: dict[str, Grouping] = {
    rule.name: rule
    for rule in (
        Grouping(
            "utterance",
            "a document is an utterance",
            "LibriSpeech, LibriTTS-R, Common Voice, People's Speech",
            key=lambda utterance: utterance.id,
            gather="alone",
        ),
        Grouping(
            "recording",
            "a document is a recording, however long, with its utterances in the order of the codes",
            "YODAS2: a recording is a video",
            key=lambda utterance: utterance.recording,
            gather="side by side",
        ),
        Grouping(
            "prefix",
            "a document is all utterances whose ids agree up to the last `_`, sorted by id",
            "Emilia: what was cut from one clip, by file name",
            key=_prefix,
            gather="anywhere",
            order=lambda utterance: utterance.id,
        ),
        Grouping(
            "gap",
            "a document is a stretch of an original file without a gap of more than 0.2 s",
            "MLS: by speaker, book and original file, sorted by begin",
            key=_original_file,
            gather="anywhere",
            order=lambda utterance: _times(utterance)[0],
            max_gap_seconds=0.2,
        ),
        Grouping(
            "consecutive_pairs",
            "a document is two utterances of a chapter that follow each other; each but the ends stands in two",
            "LibriTTS-R: by speaker and chapter, in the order of the corpus",
            key=_chapter,
            gather="anywhere",
            overlapping_pairs=True,
        ),
        Grouping(
            "pair",
            "a document is an utterance and its translation, which it names as `target`",
            "CVSS",
            key=lambda utterance: utterance.id,
            gather="target",
        ),
    )
}


def grouping_rule(name: str) -> Grouping:
    """Return the grouping of that name.

    Args:
        name: A key of `GROUPINGS`.

    Raises:
        InputError: No such grouping; the message lists them.
    """
    if name not in GROUPINGS:
        raise InputError(f"`grouping` must be one of {', '.join(GROUPINGS)}, got {name!r}")
    return GROUPINGS[name]
