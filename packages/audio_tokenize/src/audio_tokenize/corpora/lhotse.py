"""Manifests of lhotse: cuts, or recordings and supervisions side by side.

Source: lhotse 1.33's JSON lines, `MonoCut`, `Recording` and `SupervisionSegment`, https://lhotse.readthedocs.io.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from audio_data import InputError
from audio_tokenize.corpora.corpus import UNDETERMINED_LANGUAGE, UNKNOWN_SPEAKER, Skipped
from audio_tokenize.corpora.entries import Entry, unread_audio
from audio_tokenize.corpora.manifest import find_relative
from audio_tokenize.corpora.reader import first_string
from audio_tokenize.corpora.record_rules import KEYS, claimed_id, parse_json_object
from audio_tokenize.corpora.text_lines import numbered_lines
from audio_tokenize.corpora.times import seconds

_CUTS = "*cuts*.jsonl*"
_RECORDINGS = "*recordings*.jsonl*"
_SUPERVISIONS = "*supervisions*.jsonl*"
_OWN_KEYS = ("sources", "supervisions", "tracks", "recording_id")

Record = Mapping[str, Any]
_Numbered = Iterator[tuple[str, Record] | Skipped]


def is_lhotse_folder(folder: Path) -> bool:
    """Whether a folder holds cuts or recordings of lhotse, by the name and the first line of a file."""
    return any(is_lhotse_file(path) for glob in (_CUTS, _RECORDINGS) for path in sorted(folder.glob(glob))[:1])


def is_lhotse_file(path: Path) -> bool:
    """Whether the first line of a `.jsonl` file is a cut, a recording or a supervision."""
    first = next(_records(path), None)
    if first is None or isinstance(first, Skipped):
        return False
    names = first[1].keys()
    return names.isdisjoint(KEYS["audio"]) and not names.isdisjoint(_OWN_KEYS)


def read_lhotse(path: Path) -> Iterator[Entry | Skipped]:
    """Yield one utterance per supervision; cuts and recordings without any are utterances without transcript.

    Args:
        path: A folder with cuts, or with recordings and their supervisions; or one such file of cuts or recordings.

    Raises:
        InputError: If a file cannot be opened, is empty, cut short or of another encoding, or supervisions come without
            their recordings.
    """
    if path.is_file():
        yield from _read(path)
    elif cuts := sorted(path.glob(_CUTS)):
        for each in cuts:
            yield from _read(each)
    elif supervisions := sorted(path.glob(_SUPERVISIONS)):
        yield from _joined(sorted(path.glob(_RECORDINGS)), supervisions)
    else:
        for each in sorted(path.glob(_RECORDINGS)):
            yield from _read(each)


def _records(path: Path) -> _Numbered:
    for line in numbered_lines(path):
        try:
            if line.problem:
                raise InputError(f"{line.where}: {line.problem}")
            yield line.where, parse_json_object(line.text, line.where)
        except InputError as error:
            yield Skipped(claimed_id(line.text) or line.name, error.message)


def _read(path: Path) -> Iterator[Entry | Skipped]:
    """Yield the utterances of a file of cuts or of recordings."""
    for found in _records(path):
        if isinstance(found, Skipped):
            yield found
            continue
        where, record = found
        name = first_string(record, ("id",)) or where
        try:
            if "recording_id" in record and "sources" not in record and "supervisions" not in record:
                raise InputError(
                    f"{where}: expected a cut or a recording, got a supervision; give the folder that holds its "
                    "recordings too, or make cuts with `lhotse cut simple`"
                )
            if "sources" in record:
                yield _entry({"id": name}, record, path.parent, where)
                continue
            recording = record.get("recording")
            if record.get("type", "MonoCut") != "MonoCut" or not isinstance(recording, Mapping):
                kind = record.get("type", "a cut")
                raise InputError(
                    f"{where}: expected a MonoCut with a recording, got {kind!r}; save its audio first, for example "
                    "with lhotse's `CutSet.save_audios`"
                )
            start, length = (seconds(record.get(key), key, where) for key in ("start", "duration"))
            for part in record.get("supervisions") or [{"id": name, "start": 0.0, "duration": length}]:
                # Times of a supervision count from the beginning of its cut.
                moved = {**part, "start": start + seconds(part.get("start"), "start", where)}
                yield _entry(moved, recording, path.parent, where)
        except InputError as error:
            yield Skipped(name, error.message)


def _joined(recordings: list[Path], supervisions: list[Path]) -> Iterator[Entry | Skipped]:
    """Yield the supervisions with the audio of their recordings, then the recordings that none is of."""
    known: dict[str, tuple[Record, Path, str]] = {}
    for path in recordings:
        for found in _records(path):
            if isinstance(found, Skipped):
                yield found
            else:
                known[first_string(found[1], ("id",))] = (found[1], path.parent, found[0])
    used = set[str]()
    for path in supervisions:
        for found in _records(path):
            if isinstance(found, Skipped):
                yield found
                continue
            where, record = found
            wanted = first_string(record, ("recording_id",))
            used.add(wanted)
            try:
                if wanted not in known:
                    raise InputError(f"{where}: no recording has the id {wanted!r}; add it to the recordings")
                yield _entry(record, known[wanted][0], known[wanted][1], where)
            except InputError as error:
                yield Skipped(first_string(record, ("id",)) or where, error.message)
    for name in known.keys() - used:
        yield Skipped(name, f"{known[name][2]}: no supervision is of this recording")


def _entry(part: Record, recording: Record, folder: Path, where: str) -> Entry:
    """Return the utterance of a supervision, which may be all of its recording."""
    start = seconds(part.get("start", 0.0), "start", where)
    length = None if part.get("duration") is None else seconds(part["duration"], "duration", where)
    text, custom = part.get("text"), part.get("custom")
    if text is not None and not isinstance(text, str):
        raise InputError(f"{where}: expected `text` to be a string, got {text!r:.60}; correct it")
    return Entry(
        id=first_string(part, ("id",)),
        text=text,
        audio=_audio(recording, part.get("channel", 0), folder, where),
        recording=first_string(recording, ("id",)),
        where=where,
        start_seconds=start,
        end_seconds=None if length is None else start + length,
        speaker=first_string(part, ("speaker",)) or UNKNOWN_SPEAKER,
        language=first_string(part, ("language",)) or UNDETERMINED_LANGUAGE,
        extra=dict(custom) if isinstance(custom, Mapping) else {},
    )


def _audio(recording: Record, channel: object, folder: Path, where: str) -> Path:
    sources, channels = recording.get("sources"), recording.get("channel_ids") or [0]
    one = sources[0] if isinstance(sources, list) and len(sources) == 1 and isinstance(sources[0], Mapping) else {}
    if one.get("type") != "file" or not isinstance(one.get("source"), str):
        raise InputError(f"{where}: expected one source of type 'file', got {sources!r:.120}; save it as a file first")
    if recording.get("transforms"):
        raise InputError(f"{where}: the recording has transforms, which are not applied; save its audio first")
    if len(channels) > 1:
        raise InputError(
            f"{where}: channel {channel!r} is one of {len(channels)}, which would be mixed; split the file by channels"
        )
    if reason := unread_audio(one["source"]):
        raise InputError(f"{where}: {reason}")
    return find_relative(folder, one["source"])
