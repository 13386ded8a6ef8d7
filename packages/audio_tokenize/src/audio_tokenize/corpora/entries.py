"""What every reader yields, and the one place where entries become a corpus."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audio_data import InputError
from audio_tokenize.corpora.utterance import UNDETERMINED_LANGUAGE, UNKNOWN_SPEAKER, Corpus, Skipped, Utterance
from audio_tokenize.waveform import END_TOLERANCE_SECONDS, audio_info

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
OWN_LICENCE = "unknown"


@dataclass(frozen=True)
class Entry:
    """An utterance as a reader found it; nothing about its audio is known yet.

    Attributes:
        id: Unique in the corpus.
        text: Transcript, may be empty or padded.
        audio_path: The file that should hold it.
        recording: Id of its recording.
        where: File and line, or file, for messages.
        start_seconds: Where it begins in the file.
        end_seconds: Where it ends; None is the end of the file.
        speaker: As in `Utterance`.
        language: As in `Utterance`.
        split: As in `Utterance`.
        extra: As in `Utterance`.
    """

    id: str
    text: str
    audio_path: Path
    recording: str
    where: str
    start_seconds: float = 0.0
    end_seconds: float | None = None
    speaker: str = UNKNOWN_SPEAKER
    language: str = UNDETERMINED_LANGUAGE
    split: str = "train"
    extra: Mapping[str, Any] = field(default_factory=dict)


class _Durations:
    """Seconds of every audio file, or why it cannot be read; each header is read once."""

    def __init__(self) -> None:
        self._known: dict[Path, float | str] = {}

    def __call__(self, path: Path) -> float | str:
        if path not in self._known:
            self._known[path] = self._measure(path)
        return self._known[path]

    def _measure(self, path: Path) -> float | str:
        try:
            return audio_info(path).seconds
        except InputError as error:
            return error.message


def _resolve(entry: Entry, duration: float | str) -> Utterance | Skipped:
    """Checks an entry against its audio."""
    text = entry.text.strip()
    end = entry.end_seconds
    if not text:
        return Skipped(entry.id, f"{entry.where}: the text is empty")
    if isinstance(duration, str):
        return Skipped(entry.id, duration)
    if end is not None and end == entry.start_seconds:
        return Skipped(entry.id, f"{entry.where}: start and end are both {end} s")
    if entry.start_seconds >= duration or (end is not None and end > duration + END_TOLERANCE_SECONDS):
        return Skipped(entry.id, f"{entry.where}: ends after the {duration:.2f} s of `{entry.audio_path}`")
    return Utterance(
        id=entry.id,
        text=text,
        audio=entry.audio_path,
        recording=entry.recording,
        seconds=min(duration if end is None else end, duration) - entry.start_seconds,
        start_seconds=entry.start_seconds,
        end_seconds=end,
        speaker=entry.speaker,
        language=entry.language,
        split=entry.split,
        extra=entry.extra,
    )


def _require_unique_ids(entries: list[Entry]) -> None:
    first: dict[str, str] = {}
    for entry in entries:
        if entry.id in first:
            raise InputError(
                f"`id` {entry.id!r}: expected once in a corpus, got it in {first[entry.id]} and in {entry.where}; "
                "rename or remove one of them"
            )
        first[entry.id] = entry.where


def assemble(name: str, source: Path, found: Iterable[Entry | Skipped], licence: str = OWN_LICENCE) -> Corpus:
    """Checks what a reader found and sorts it into a corpus.

    An utterance without text, or whose audio is missing, unreadable or too short, is left out and named in `skipped`.
    Every audio file's header is read, once.

    Args:
        name: Name of the corpus.
        source: Folder or file it was read from, for messages.
        found: Entries, and what the reader already had to leave out.
        licence: Terms of the audio and the texts.

    Raises:
        InputError: If an id occurs twice, or nothing usable is left.
    """
    found = list(found)
    skipped = [item for item in found if isinstance(item, Skipped)]
    entries = [item for item in found if isinstance(item, Entry)]
    _require_unique_ids(entries)
    duration = _Durations()
    resolved = [_resolve(entry, duration(entry.audio_path)) for entry in entries]
    utterances = [item for item in resolved if isinstance(item, Utterance)]
    skipped += [item for item in resolved if isinstance(item, Skipped)]
    if not utterances:
        reasons = f"; {skipped[0].id!r}: {skipped[0].reason}" if skipped else ""
        raise InputError(
            f"`{source}`: expected at least 1 utterance with audio and text, got 0 of {len(skipped)}{reasons}"
        )
    utterances.sort(key=lambda utterance: (utterance.recording, utterance.start_seconds, utterance.id))
    return Corpus(name, licence, tuple(utterances), tuple(skipped))
