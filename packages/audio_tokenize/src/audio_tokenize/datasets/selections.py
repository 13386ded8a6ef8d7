"""Which utterances of a corpus go into a dataset."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from audio_data import InputError, StoragePath, holdout
from audio_tokenize.encoding.encoded import EncodedUtterance


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
    """

    splits: tuple[str, ...] = ()
    speakers: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    frame_offsets: tuple[int, ...] = ()
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
        return not self.holdout_fraction or holdout(base_id, self.holdout_fraction) == self.heldout

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
