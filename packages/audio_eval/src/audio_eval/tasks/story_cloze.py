"""StoryCloze: which ending belongs to a story? Spoken, spoken with unrelated wrong endings, and written."""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

from audio_eval.tasks.minimal_pairs import PairsTask
from audio_eval.testsets.location import TestSetCard
from audio_eval.testsets.pairs import STORY_CLOZE, Pair, read_story_cloze


@dataclasses.dataclass(frozen=True)
class StoryClozeTask(PairsTask):
    """Spoken stories with the right ending against the same with the wrong one (sStoryCloze)."""

    name: ClassVar[str] = "story_cloze"
    test_set: ClassVar[str] = "story_cloze"
    card: ClassVar[TestSetCard] = STORY_CLOZE

    def read(self, folder: Path) -> list[Pair]:
        """Reads whole stories, or a beginning and two endings, which are heard one after the other."""
        return read_story_cloze(folder, spoken=self.modality == "audio")


@dataclasses.dataclass(frozen=True)
class TopicStoryClozeTask(StoryClozeTask):
    """As `story_cloze`, with wrong endings of other stories (tStoryCloze); only the data differ."""

    name: ClassVar[str] = "topic_story_cloze"
    test_set: ClassVar[str] = "topic_story_cloze"


@dataclasses.dataclass(frozen=True)
class TextStoryClozeTask(StoryClozeTask):
    """Written stories, lower-case: text files beside the recordings, or the csv of ROCStories."""

    name: ClassVar[str] = "text_story_cloze"
    modality: ClassVar[Literal["audio", "text"]] = "text"
