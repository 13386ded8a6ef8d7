"""Utterances of published test sets: LibriSpeech, CoVoST 2 and Seed-TTS."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from audio_data import InputError
from audio_eval.testsets.location import (
    BenchmarkItem,
    TestSetCard,
    distinct,
    named_file,
    read_tables,
    read_text,
    wrong_layout,
)
from audio_eval.testsets.pairs import audio_cell
from audio_tokenize.waveform import AudioSource

LIBRISPEECH = TestSetCard(
    "LibriSpeech",
    "get test-clean.tar.gz and dev-clean.tar.gz from https://www.openslr.org/12, or the hub's openslr/librispeech_asr",
    "folders test-clean and dev-clean with SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt and .flac files; or parquet "
    "tables with the columns id, audio and text",
    ("*clean/test/*.parquet", "*clean/validation/*.parquet"),
    folder="librispeech",
)
COVOST2 = TestSetCard(
    "CoVoST 2",
    "get it as parquet tables from the hub's fixie-ai/covost2",
    "a folder for each pair of languages, such as de_en, with test-*.parquet and validation-*.parquet, columns audio, "
    "sentence and translation",
    ("*.parquet",),
    folder="covost2",
)
SEED_TTS = TestSetCard(
    "Seed-TTS",
    "get seedtts_testset from https://github.com/BytedanceSpeech/seed-tts-eval and give its folder en or zh",
    "meta.lst with lines ID|PROMPT TEXT|PROMPT WAV|TEXT, or with the wav of the text as a fifth part",
    folder="seed_tts",
)
# How LibriSpeech's splits are called on the hub.
_HUB_SPLITS = {"test": "test", "dev": "validation", "train": "train.100"}


@dataclasses.dataclass(frozen=True)
class BenchmarkUtterance(BenchmarkItem):
    """One utterance.

    Attributes:
        audio: Its recording.
        text: What is said, as published.
        translation: Text in the other language; empty where there is none.
        speaker: Who speaks.
    """

    audio: AudioSource
    text: str
    translation: str = ""
    speaker: str = ""


@dataclasses.dataclass(frozen=True)
class VoicePrompt(BenchmarkItem):
    """A text to be said in a voice.

    Attributes:
        text: What is to be said.
        prompt_text: What the prompt says.
        prompt: Recording of the voice.
        recording: The text as said by the same person, None where there is none.
    """

    text: str
    prompt_text: str
    prompt: AudioSource
    recording: AudioSource | None = None


def read_librispeech(folder: Path, split: str) -> list[BenchmarkUtterance]:
    """Read a split of LibriSpeech.

    Args:
        folder: That holds the split, or `LibriSpeech/`, or the hub's tables.
        split: Such as "test-clean".

    Raises:
        InputError: The folder holds something else.

    Source: Panayotov et al., LibriSpeech (2015).
    """
    for root in (folder / split, folder / "LibriSpeech" / split):
        if transcripts := sorted(root.glob("*/*/*.trans.txt")):
            found = [utterance for path in transcripts for utterance in _chapter(path)]
            if not found:
                raise wrong_layout(folder, LIBRISPEECH, f"the transcripts of split {split!r} are empty")
            return found
    kind, _, condition = split.partition("-")
    places = (
        f"{condition}/{_HUB_SPLITS.get(kind, kind)}/*.parquet",
        f"*{condition}.{kind}*.parquet",
        f"{split}*.parquet",
    )
    tables = sorted({path for place in places for path in folder.rglob(place)})
    rows = enumerate(read_tables(tables))
    found = distinct(_row(row, folder, number, LIBRISPEECH, ("audio", "text")) for number, row in rows)
    if not found:
        raise wrong_layout(folder, LIBRISPEECH, f"split {split!r} is wanted")
    return found


def _chapter(path: Path) -> Iterator[BenchmarkUtterance]:
    for line in read_text(path).splitlines():
        name, _, text = line.strip().partition(" ")
        if name:
            yield BenchmarkUtterance(
                name, named_file(path.parent, f"{name}.flac", f"a line of `{path}`"), text, speaker=name.split("-")[0]
            )


def read_covost2(folder: Path, languages: str, split: str) -> list[BenchmarkUtterance]:
    """Read a split of CoVoST 2.

    Args:
        folder: With a folder for each pair of languages, or that folder.
        languages: Such as "de_en": from, to.
        split: "test" or "validation".

    Raises:
        InputError: The folder holds something else.

    Source: Wang, Wu and Pino, CoVoST 2 (2020).
    """
    root = next((place for place in (folder / languages, folder) if any(place.glob(f"{split}-*.parquet"))), None)
    if root is None:
        raise wrong_layout(folder, COVOST2, f"split {split!r} of {languages!r} is wanted")
    rows = enumerate(read_tables(sorted(root.glob(f"{split}-*.parquet"))))
    return distinct(_row(row, folder, number, COVOST2, ("audio", "sentence", "translation")) for number, row in rows)


def _row(
    row: Mapping[str, Any], folder: Path, number: int, card: TestSetCard, columns: tuple[str, ...]
) -> BenchmarkUtterance:
    if any(column not in row for column in columns):
        raise wrong_layout(folder, card, f"columns {', '.join(row)}")
    identity = str(row.get("id") or row.get("file") or number)
    audio = audio_cell(row["audio"], identity, folder)
    speaker = str(row.get("speaker_id") or row.get("client_id") or "")
    return BenchmarkUtterance(identity, audio, str(row[columns[1]] or ""), str(row.get("translation") or ""), speaker)


def read_seed_tts(folder: Path) -> list[VoicePrompt]:
    """Read `meta.lst` of Seed-TTS's test set; paths in it are relative to the folder.

    Raises:
        InputError: There is none, or a line of it has another form; the message names it.

    Source: Anastassiou et al., Seed-TTS (2024); the layout of BytedanceSpeech/seed-tts-eval.
    """
    path = folder / "meta.lst"
    if not path.is_file():
        raise wrong_layout(folder, SEED_TTS)
    found = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        parts = line.strip().split("|")
        if len(parts) not in (4, 5):
            raise InputError(f"line {number} of `{path}` must be ID|PROMPT TEXT|PROMPT WAV|TEXT, got {line[:80]!r}")
        identity, prompt_text, prompt, text, *rest = parts
        # The test set names the recordings of the texts by their ids where it does not say.
        listed = f"line {number} of `{path}`"
        recording = named_file(folder, rest[0] if rest else f"wavs/{identity}.wav", listed)
        known = recording if rest or recording.is_file() else None
        found.append(VoicePrompt(identity, text, prompt_text, named_file(folder, prompt, listed), known))
    if not found:
        raise wrong_layout(folder, SEED_TTS, "meta.lst is empty")
    return distinct(found)
