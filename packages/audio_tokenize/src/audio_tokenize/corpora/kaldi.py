"""Data folders of Kaldi: `wav.scp`, with `segments`, `text`, `utt2spk` and `utt2lang` where there are any.

Source: "Data preparation" of Kaldi's documentation, https://kaldi-asr.org/doc/data_prep.html.
"""

from collections.abc import Iterator
from pathlib import Path

from audio_data import InputError
from audio_tokenize.corpora.corpus import UNDETERMINED_LANGUAGE, UNKNOWN_SPEAKER, Skipped
from audio_tokenize.corpora.entries import Entry, unread_audio
from audio_tokenize.corpora.manifest import find_relative
from audio_tokenize.corpora.text_lines import Line, numbered_lines
from audio_tokenize.corpora.times import seconds

RECORDINGS = "wav.scp"
_SEGMENTS = "segments"


def read_kaldi(folder: Path) -> Iterator[Entry | Skipped]:
    """Yield one utterance per line of `segments`, or of `wav.scp` where there are no segments.

    An utterance without a line in `text` has no transcript. Audio that a command makes (a line of `wav.scp` that ends
    in |) is skipped with its reason. Paths are relative to the data folder, or else to the working directory, as Kaldi
    has them.

    Args:
        folder: The data folder.

    Raises:
        InputError: If a file cannot be opened, is empty, cut short or of another encoding.
    """
    recordings = _table(folder / RECORDINGS)
    texts, speakers, languages = (_table(folder / name) for name in ("text", "utt2spk", "utt2lang"))
    lines = numbered_lines(folder / (_SEGMENTS if (folder / _SEGMENTS).is_file() else RECORDINGS))
    for line in lines:
        name = line.text.split(maxsplit=1)[0] if line.text.strip() else line.name
        try:
            if line.problem:
                raise InputError(f"{line.where}: {line.problem}")
            recording, start, end = _span(line) if (folder / _SEGMENTS).is_file() else (name, 0.0, None)
            yield Entry(
                id=name,
                text=texts.get(name),
                audio=_audio(recordings, recording, folder, line.where),
                recording=recording,
                where=line.where,
                start_seconds=start,
                end_seconds=end,
                speaker=speakers.get(name) or UNKNOWN_SPEAKER,
                language=languages.get(name) or UNDETERMINED_LANGUAGE,
            )
        except InputError as error:
            yield Skipped(name, error.message)


def _table(path: Path) -> dict[str, str]:
    """Return the rest of each line by its first word; nothing where there is no such file."""
    if not path.is_file():
        return {}
    words = (line.text.split(maxsplit=1) for line in numbered_lines(path) if not line.problem)
    return {name: " ".join(rest) for name, *rest in words}


def _span(line: Line) -> tuple[str, float, float | None]:
    columns = line.text.split()
    if len(columns) != 4:
        raise InputError(
            f"{line.where}: expected 4 columns `utterance recording start end`, got {len(columns)}; correct the line"
        )
    _, recording, start, end = columns
    # Kaldi writes -1 for the end of the recording.
    last = None if end in ("-1", "-1.0") else seconds(end, "end", line.where)
    return recording, seconds(start, "start", line.where), last


def _audio(recordings: dict[str, str], recording: str, folder: Path, where: str) -> Path:
    source = recordings.get(recording)
    if not source:
        raise InputError(f"{where}: expected recording {recording!r} in {RECORDINGS}, got none; add its line")
    if source.endswith("|"):
        raise InputError(
            f"{where}: the audio of {recording!r} is made by the command `{source[:60]}`, which is not run; "
            "run it yourself and name its file"
        )
    if reason := unread_audio(source):
        raise InputError(f"{where}: {reason}")
    return find_relative(folder, source)
