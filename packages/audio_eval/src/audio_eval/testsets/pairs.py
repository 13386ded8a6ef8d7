"""Minimal pairs as published: ZeroSpeech's sWUGGY and sBLIMP, SALMon, and the StoryCloze family."""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from audio_data import InputError
from audio_eval.testsets.location import (
    BenchmarkItem,
    TestSetCard,
    distinct,
    named_file,
    read_csv,
    read_tables,
    read_text,
    wrong_layout,
)
from audio_tokenize.waveform import AudioBytes, AudioSource

_ZEROSPEECH = (
    "a gold.csv with the columns id, filename, voice, correct and {column}, and FILENAME.wav in the same folder; or "
    "parquet tables with the columns id, positive and negative"
)
SWUGGY = TestSetCard(
    "sWUGGY",
    "get `sLM21-dataset` from https://zerospeech.com (folder lexical/dev), or the hub's speed/sWUGGY",
    _ZEROSPEECH.format(column="word"),
    ("*.parquet", "*.csv", "*.wav"),
    folder="swuggy",
)
SBLIMP = TestSetCard(
    "sBLIMP",
    "get `sLM21-dataset` from https://zerospeech.com (folder syntactic/dev), or the hub's speed/sBLIMP",
    _ZEROSPEECH.format(column="transcription"),
    ("*.parquet", "*.csv", "*.wav"),
    folder="sblimp",
)
SALMON = TestSetCard(
    "SALMon",
    "get it from https://github.com/slp-rl/salmon, or the hub's slprl/salmon",
    "a folder for each part, such as speaker_consistency, with sample_N_0.wav (consistent) and sample_N_1.wav; or "
    "parquet tables with the columns ind, task, positive_audio and negative_audio",
    ("*.parquet", "*.wav"),
    folder="salmon",
)
STORY_CLOZE = TestSetCard(
    "StoryCloze",
    "get sStoryCloze or tStoryCloze from https://github.com/slp-rl/SpokenStoryCloze",
    "N_correct.wav and N_incorrect.wav, and N_mutual.wav where they are endings only; for text .txt files of the same "
    "names, or the csv of ROCStories with the columns InputStoryid, InputSentence1 to 4, RandomFifthSentenceQuiz1 and "
    "2, and AnswerRightEnding",
    folder="story_cloze",
)
_TRANSCRIPTS = ("word", "transcription")
_STORY = re.compile(r"(?P<id>.+)_(?P<kind>correct|incorrect|mutual)")
_ROC_SENTENCES = tuple(f"InputSentence{number}" for number in range(1, 5))
_ROC_ENDINGS = {"1": "RandomFifthSentenceQuiz1", "2": "RandomFifthSentenceQuiz2"}
_ROC_COLUMNS = ("InputStoryid", *_ROC_SENTENCES, *_ROC_ENDINGS.values(), "AnswerRightEnding")
_GOLD_COLUMNS = ("id", "filename", "correct")


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two of a pair: its audio, its text, or both.

    Attributes:
        audio: Recordings, to be joined; empty for text alone.
        text: Transcript; None where there is none.
    """

    audio: tuple[AudioSource, ...] = ()
    text: str | None = None


@dataclasses.dataclass(frozen=True)
class Pair(BenchmarkItem):
    """Two stimuli of which a model should find the first more likely.

    Attributes:
        part: The part of the test set it belongs to, empty where there is only one.
        positive: The one that is right.
        negative: The one that is not.
        extra: What else is known of it.
    """

    part: str
    positive: Side
    negative: Side
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_zerospeech(folder: Path, card: TestSetCard) -> list[Pair]:
    """Read sWUGGY or sBLIMP: the layout of ZeroSpeech 2021, or the hub's tables.

    Every right stimulus is paired with every wrong one of its id and voice. sWUGGY's parts are words that the frequency
    column knows and others, those of sBLIMP its types.

    Raises:
        InputError: The folder holds something else.

    Source: Nguyen et al., The Zero Resource Speech Benchmark 2021 (2020).
    """
    gold = next((path for path in _gold_files(folder, card) if path.is_file()), None)
    tables = sorted(folder.rglob("*.parquet")) if gold is None else []
    pairs = distinct(_from_tables(folder, tables, card) if gold is None else _from_gold(gold, card))
    if not pairs:
        raise wrong_layout(folder, card, "" if gold is None and not tables else "there is no pair of right and wrong")
    return pairs


def _gold_files(folder: Path, card: TestSetCard) -> Iterator[Path]:
    yield folder / "gold.csv"
    yield folder / ("lexical" if card is SWUGGY else "syntactic") / "dev" / "gold.csv"
    yield folder / "dev" / "gold.csv"


def _from_gold(gold: Path, card: TestSetCard) -> Iterator[Pair]:
    rows, missing = read_csv(gold, _GOLD_COLUMNS)
    if missing:
        raise wrong_layout(gold.parent, card, f"gold.csv has no column {', '.join(missing)}")
    groups: dict[tuple[str, str], dict[bool, list[dict[str, str]]]] = {}
    for number, row in enumerate(rows, start=1):
        if row["correct"].strip() not in ("0", "1"):
            raise InputError(
                f"`correct` in row {number} of `{gold}` must be 0 or 1, got {row['correct']!r}: fetch it again"
            )
        group = groups.setdefault((row["id"], row.get("voice") or ""), {True: [], False: []})
        group[row["correct"].strip() == "1"].append(row)
    for (identity, voice), group in groups.items():
        for number, (right, wrong) in enumerate(itertools.product(group[True], group[False])):
            name = "/".join(part for part in (identity, voice, str(number) if number else "") if part)
            extra = {"voice": voice, "frequency": right.get("frequency", "")}
            yield Pair(name, _part(right), _gold_side(gold, right), _gold_side(gold, wrong), extra)


def _gold_side(gold: Path, row: Mapping[str, str]) -> Side:
    name = row["filename"]
    audio = named_file(gold.parent, name if name.endswith(".wav") else f"{name}.wav", f"`filename` in `{gold}`")
    return Side((audio,), next((row[column] for column in _TRANSCRIPTS if row.get(column)), None))


def _part(row: Mapping[str, Any]) -> str:
    if row.get("type"):
        return str(row["type"])
    if row.get("frequency") in (None, ""):
        return ""
    return "out_of_vocabulary" if str(row["frequency"]).strip().lower() in ("0", "0.0", "oov") else "in_vocabulary"


def _from_tables(folder: Path, tables: list[Path], card: TestSetCard) -> Iterator[Pair]:
    for number, row in enumerate(read_tables(tables)):
        if "positive" not in row or "negative" not in row:
            raise wrong_layout(folder, card, f"columns {', '.join(row)}")
        voice = str(row.get("voice") or "")
        identity = "/".join(part for part in (str(row.get("id", number)), voice) if part)
        sides = []
        for side in ("positive", "negative"):
            texts = (row.get(f"{side}_{column}") for column in _TRANSCRIPTS)
            sides.append(
                Side((audio_cell(row[side], f"{identity}/{side}", folder),), next((t for t in texts if t), None))
            )
        yield Pair(f"{identity}#{number}", _part(row), sides[0], sides[1], {"voice": voice})


def audio_cell(value: Any, name: str, folder: Path) -> AudioSource:
    """Audio as `datasets` stores it: bytes, or the path of a file.

    Raises:
        InputError: It is neither.
    """
    if isinstance(value, Mapping) and value.get("bytes"):
        return AudioBytes(name, value["bytes"])
    path = value.get("path") if isinstance(value, Mapping) else value
    return named_file(folder, str(path or ""), f"the audio of {name!r} in `{folder}`")


def read_salmon(folder: Path, card: TestSetCard = SALMON) -> list[Pair]:
    """Read SALMon: wav files by part, or the hub's tables. Parts are those of the suite.

    Raises:
        InputError: The folder holds something else.

    Source: Maimon, Roth and Adi, SALMon: A Suite for Acoustic Language Model Evaluation (2024).
    """
    tables = sorted((folder / "all").glob("*.parquet")) or sorted(folder.rglob("*.parquet"))
    pairs = distinct(_salmon_tables(folder, tables, card) if tables else _salmon_files(folder))
    if not pairs:
        raise wrong_layout(folder, card)
    return pairs


def _salmon_tables(folder: Path, tables: list[Path], card: TestSetCard) -> Iterator[Pair]:
    for number, row in enumerate(read_tables(tables)):
        if "positive_audio" not in row or "negative_audio" not in row:
            raise wrong_layout(folder, card, f"columns {', '.join(row)}")
        part, index = str(row.get("task", "")), row.get("ind", number)
        right, wrong = (
            Side((audio_cell(row[f"{side}_audio"], f"{part}/{index}/{side}", folder),))
            for side in ("positive", "negative")
        )
        yield Pair(f"{part}/{index}", part, right, wrong)


def _salmon_files(folder: Path) -> Iterator[Pair]:
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        samples: dict[str, list[Path]] = {}
        for path in sorted(part.glob("sample_*.wav")):
            samples.setdefault(path.stem.split("_")[1], []).append(path)
        for index in sorted(samples, key=lambda name: (len(name), name)):
            right, wrong = (samples[index] + [part / f"sample_{index}_missing.wav"])[:2]
            yield Pair(f"{part.name}/{index}", part.name, Side((right,)), Side((wrong,)))


def read_story_cloze(folder: Path, card: TestSetCard = STORY_CLOZE, *, spoken: bool) -> list[Pair]:
    """Read a StoryCloze: whole stories with the right and a wrong ending, or a common beginning and two endings.

    Args:
        folder: Its files, in this folder or in folders below it.
        card: What is looked for, for messages.
        spoken: Whether to read the recordings or the texts.

    Raises:
        InputError: The folder holds something else.

    Source: Mostafazadeh et al. (2016); spoken by Hassid et al., Textually Pretrained Speech Language Models (2023).
    """
    pairs = list(_stories(folder, ".wav" if spoken else ".txt"))
    if not pairs and not spoken:
        pairs = distinct(pair for path in sorted(folder.glob("*.csv")) for pair in _roc_stories(path))
    if not pairs:
        raise wrong_layout(folder, card)
    return pairs


def _stories(folder: Path, suffix: str) -> Iterator[Pair]:
    stories: dict[Path, dict[str, Path]] = {}
    for path in folder.rglob(f"*{suffix}"):
        if match := _STORY.fullmatch(path.stem):
            stories.setdefault(path.parent / match["id"], {})[match["kind"]] = path
    for base in sorted(stories, key=lambda path: (path.parent, len(path.name), path.name)):
        found = stories[base]
        if "correct" not in found and "incorrect" not in found:
            continue
        sides = {kind: found.get(kind, base.with_name(f"{base.name}_{kind}{suffix}")) for kind in _ENDINGS}
        before = [found["mutual"]] if "mutual" in found else []
        read = _spoken_side if suffix == ".wav" else _written_side
        right, wrong = (read([*before, sides[kind]]) for kind in _ENDINGS)
        yield Pair(base.relative_to(folder).as_posix(), "", right, wrong)


_ENDINGS = ("correct", "incorrect")


def _spoken_side(files: list[Path]) -> Side:
    return Side(tuple(files))


def _written_side(files: Iterable[Path]) -> Side:
    if not all(path.is_file() for path in files):
        return Side()
    return Side(text=" ".join(read_text(path).strip() for path in files))


def _roc_stories(path: Path) -> Iterator[Pair]:
    rows, _ = read_csv(path, _ROC_COLUMNS)
    for row in rows:
        story, right = " ".join(row[name].strip() for name in _ROC_SENTENCES), row["AnswerRightEnding"].strip()
        if right not in _ROC_ENDINGS:
            raise InputError(
                f"`AnswerRightEnding` of {row['InputStoryid']!r} in `{path}` must be 1 or 2, got {right!r}"
            )
        (wrong,) = _ROC_ENDINGS.keys() - {right}
        one, other = (Side(text=f"{story} {row[_ROC_ENDINGS[number]].strip()}") for number in (right, wrong))
        yield Pair(row["InputStoryid"], "", one, other)
