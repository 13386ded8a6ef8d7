"""Entries, which every reader yields; the rules for transcripts; and their conversion to utterances."""

import errno
import hashlib
import math
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from audio_data import InputError
from audio_tokenize.audio_files.contents import AUDIO_SUFFIXES as AUDIO_SUFFIXES
from audio_tokenize.corpora.corpus import UNDETERMINED_LANGUAGE, UNKNOWN_SPEAKER, Corpus, Skipped, Utterance
from audio_tokenize.corpora.record_rules import (
    MAX_AUDIO_BYTES,
    MAX_TEXT_BYTES,
    size_problem,
    text_problem,
    value_problem,
)
from audio_tokenize.waveform import END_TOLERANCE_SECONDS, AudioBytes, AudioInfo, AudioSource, audio_info

TranscriptRule = Callable[[str], str]


def _without_one_space(text: str) -> str:
    return text.removeprefix(" ").removesuffix(" ")


def _with_leading_space(text: str) -> str:
    return " " + text.removeprefix(" ")


def _lower_case(text: str) -> str:
    return text.strip().lower()


def _unquoted(text: str) -> str:
    return text.strip().strip('"').strip("'")


def _verbatim(text: str) -> str:
    return text


TRANSCRIPT_RULES: Mapping[str, TranscriptRule] = {
    "verbatim": _verbatim,
    "stripped": str.strip,
    "one-space": _without_one_space,
    "leading-space": _with_leading_space,
    "lower-case": _lower_case,
    "unquoted": _unquoted,
}
"""By name.

- `verbatim`: every character. Emilia's transcripts begin with a space, which the released SODA models were trained
  on.
- `stripped`: no white space at either end.
- `one-space`: one space less at either end, where there is one: as in the published `emilia-mm-pretrain-fix`.
- `leading-space`: a space at the beginning, where there is none: Emilia as the released SODA models were trained on it,
  from codes whose transcripts were read without the space.
- `lower-case`: stripped and lower-cased, for the capitals of LibriSpeech.
- `unquoted`: stripped, then without the quotation marks at either end: as in the published `libritts-r-mm-tts0`.
"""


def transcript_rule(name: str) -> TranscriptRule:
    """Return the rule of that name.

    Raises:
        InputError: If there is none; lists the names.
    """
    if name not in TRANSCRIPT_RULES:
        raise InputError(f"`transcripts`: expected one of {', '.join(TRANSCRIPT_RULES)}, got {name!r}")
    return TRANSCRIPT_RULES[name]


OWN_LICENCE = "unknown"
_OTHER_AUDIO_SUFFIXES = (".m4a", ".m4b", ".mp4", ".aac", ".webm", ".mka", ".wma", ".amr", ".3gp", ".ape", ".wv")

# Captions end up to this much after the last sample, and tables round: less is missing than a word. Where more is, the
# transcript says what the audio does not.
STATED_TOLERANCE_SECONDS = 0.5


@dataclass(frozen=True)
class Entry:
    """An utterance as a reader found it; nothing about its audio is known yet.

    Attributes:
        id: Unique in the corpus.
        text: Transcript, may be empty or padded; None where the corpus has none for this audio.
        audio: The file that should hold it, or that file's bytes.
        recording: Id of its recording.
        where: File and line, or file and member, for messages.
        start_seconds: Where it begins in the file.
        end_seconds: Where it ends; None is the end of the file.
        stated_seconds: How long the whole file is, says the corpus; None where it does not say.
        is_stated_exactly: Whether a file that is longer than stated is refused, since the text may be of a part.
        end_tolerance_seconds: How far behind the end of the file `end_seconds` may lie; it is moved to the end then.
        speaker: As in `Utterance`.
        language: As in `Utterance`.
        split: As in `Utterance`.
        extra: As in `Utterance`.
    """

    id: str
    text: str | None
    audio: AudioSource
    recording: str
    where: str
    start_seconds: float = 0.0
    end_seconds: float | None = None
    stated_seconds: float | None = None
    is_stated_exactly: bool = False
    end_tolerance_seconds: float = END_TOLERANCE_SECONDS
    speaker: str = UNKNOWN_SPEAKER
    language: str = UNDETERMINED_LANGUAGE
    split: str = "train"
    extra: Mapping[str, Any] = field(default_factory=dict)


def unread_audio(name: str) -> str | None:
    """Why a file is not read although its suffix says audio; None for any other file.

    Args:
        name: Of the file, or its path.
    """
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    if suffix not in _OTHER_AUDIO_SUFFIXES or suffix in AUDIO_SUFFIXES:
        return None
    return f"{suffix} is not read; convert it, for example with `ffmpeg -i {path.name} {path.stem}.flac`"


def _measure(audio: AudioSource) -> AudioInfo | str:
    """Return what an audio file holds, or why it cannot be read."""
    if isinstance(audio, AudioBytes):
        problem = size_problem(len(audio.content), MAX_AUDIO_BYTES)
    else:
        problem = _file_problem(audio)
    if problem is not None:
        return f"`{audio}`: {problem}"
    try:
        return audio_info(audio)
    except InputError as error:
        return error.message


def _file_problem(path: Path) -> str | None:
    """Why a path cannot be opened as a file: opening a pipe would block, and a device never ends."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        # What is missing `audio_info` says, with what to do about it.
        return None if error.errno in (errno.ENOENT, errno.ENOTDIR) else error.strerror
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else "it is a pipe, a socket or a device, expected a file"


def _record_problem(entry: Entry) -> str | None:
    """Why an entry cannot be written down, whatever its audio is."""
    if not entry.id:
        return "the id is empty"
    fields = {"id": entry.id, "text": entry.text or "", "speaker": entry.speaker, "language": entry.language}
    fields |= {"split": entry.split, "recording": entry.recording}
    if "\0" in str(entry.audio):
        return "the name of its audio has a zero character"
    for name, value in fields.items():
        if problem := size_problem(len(value), MAX_TEXT_BYTES) or text_problem(value, is_name=name != "text"):
            return f"`{name}` has {problem}"
    for name, value in entry.extra.items():
        if problem := value_problem({name: value}):
            return f"`{name}` has {problem}"
    return None


def _times_problem(entry: Entry) -> str | None:
    """Why no audio can have the times of an entry."""
    start, end = entry.start_seconds, entry.end_seconds
    if not (math.isfinite(start) and start >= 0) or (end is not None and not math.isfinite(end)):
        return f"the times are {start!r} to {end!r} s"
    if end is not None and end == start:
        return f"start and end are both {end} s"
    if end is not None and end < start:
        return f"starts at {start} s, after its end at {end} s"
    return None


def _audio_problem(entry: Entry, info: AudioInfo) -> str | None:
    """Why an audio file of that length cannot hold an entry."""
    stated, end, duration = entry.stated_seconds, entry.end_seconds, info.seconds
    # A transcript of the whole file says what is missing from it.
    if info.fault and (end is None or end > duration):
        return f"`{entry.audio}` is {info.fault} ({duration:.2f} s can be read)"
    if entry.start_seconds >= duration or (end is not None and end > duration + entry.end_tolerance_seconds):
        return f"ends after the {duration:.2f} s of `{entry.audio}`"
    if stated is not None and stated > duration + STATED_TOLERANCE_SECONDS:
        return f"`{entry.audio}` has {duration:.2f} s of the {stated:.2f} s that are stated"
    if stated is not None and entry.is_stated_exactly and duration > stated + STATED_TOLERANCE_SECONDS:
        return (
            f"`{entry.audio}` has {duration:.2f} s, more than the {stated:.2f} s that are stated; give `start` and "
            "`end` if the text is of a part"
        )
    return None


def _resolve(entry: Entry, info: AudioInfo | str, rule: TranscriptRule) -> Utterance | Skipped:
    """Check an entry, which holds no problem by itself, against its audio."""
    text = "" if entry.text is None else rule(entry.text)
    if entry.text is not None and not text.strip():
        return Skipped(entry.id, f"{entry.where}: the text is empty; leave it out where nobody transcribed the audio")
    if isinstance(info, str):
        return Skipped(entry.id, info)
    problem = _times_problem(entry) or _audio_problem(entry, info)
    if problem:
        return Skipped(entry.id, problem if entry.where in problem else f"{entry.where}: {problem}")
    end, duration = entry.end_seconds, info.seconds
    if end is not None and end > duration + END_TOLERANCE_SECONDS:
        end = duration
    return Utterance(
        id=entry.id,
        text=text,
        audio=entry.audio,
        recording=entry.recording,
        seconds=min(duration if end is None else end, duration) - entry.start_seconds,
        start_seconds=entry.start_seconds,
        end_seconds=end,
        speaker=entry.speaker,
        language=entry.language,
        split=entry.split,
        extra=entry.extra,
    )


def resolve_stream(
    found: Iterable[Entry | Skipped],
    rule: TranscriptRule,
    measure: Callable[[AudioSource], AudioInfo | str] = _measure,
) -> Iterator[Utterance | Skipped]:
    """Check what a reader found by itself and against its audio, one at a time: the one rule of all readers.

    What cannot be used is skipped with its reason, and so is a second entry of an id. An audio file is looked at once
    for a run of entries that share it.

    Args:
        found: Entries, and what the reader already had to leave out.
        rule: Makes the text of an utterance of its transcript.
        measure: Says what an audio file holds, or why it cannot be read.
    """
    audio: AudioSource | None = None
    info: AudioInfo | str = ""
    seen: set[bytes] = set()
    for entry in found:
        if isinstance(entry, Skipped):
            yield entry
            continue
        if problem := _record_problem(entry):
            yield Skipped(entry.id or entry.where, f"{entry.where}: {problem}")
            continue
        digest = hashlib.blake2b(entry.id.encode(), digest_size=16).digest()
        if digest in seen:
            yield Skipped(entry.id, f"{entry.where}: the id occurred before; give each utterance an id of its own")
            continue
        seen.add(digest)
        if entry.audio is not audio:
            audio, info = entry.audio, measure(entry.audio)
        yield _resolve(entry, info, rule)


def assemble(
    name: str,
    source: Path,
    found: Iterable[Entry | Skipped],
    licence: str = OWN_LICENCE,
    rule: TranscriptRule = str.strip,
    language: str | None = None,
) -> Corpus:
    """Check what a reader found and sorts it into a corpus in memory.

    What cannot be used is left out and named in `skipped`; see `resolve_stream`. Every audio file is looked at once,
    without decoding it.

    Args:
        name: Name of the corpus.
        source: Folder or file it was read from, for messages.
        found: Entries, and what the reader already had to leave out.
        licence: Terms of the audio and the texts.
        rule: Makes the text of an utterance of its transcript.
        language: BCP 47 code of the utterances where none of them states a language.

    Raises:
        InputError: If nothing usable is left.
    """
    resolved = list(resolve_stream(found, rule, cache(_measure)))
    utterances = [item for item in resolved if isinstance(item, Utterance)]
    if language is not None and all(item.language == UNDETERMINED_LANGUAGE for item in utterances):
        utterances = [replace(item, language=language) for item in utterances]
    skipped = [item for item in resolved if isinstance(item, Skipped)]
    if not utterances:
        reasons = f"; {skipped[0].id!r}: {skipped[0].reason}" if skipped else ""
        raise InputError(
            f"`{source}`: expected at least 1 utterance whose audio can be read, got 0 of {len(skipped)}{reasons}"
        )
    utterances.sort(key=lambda utterance: (utterance.recording, utterance.start_seconds, utterance.id))
    return Corpus(name, licence, tuple(utterances), tuple(skipped))
