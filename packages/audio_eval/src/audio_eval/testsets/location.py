"""Where a published test set lies: a local folder, or a data set on the Hugging Face hub that is fetched to one."""

import collections
import csv
import dataclasses
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from audio_data import InputError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
# Small files say what the others are, so their content counts and not only their size.
_DESCRIBING = frozenset({".csv", ".lst", ".tsv", ".txt", ".json", ".jsonl"})


@dataclasses.dataclass(frozen=True)
class TestSetCard:
    """What is known of a published test set.

    Attributes:
        name: How people call it.
        where: Where it is published, and how to get it, in one line.
        expected: The layout that is read, in one line.
        hub_patterns: Files of a hub repository that are needed.
    """

    # Not a class of tests, whatever its name says to pytest.
    __test__ = False

    name: str
    where: str
    expected: str
    hub_patterns: tuple[str, ...] = ("*",)


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a test set holds one of for each item.

    Attributes:
        id: Unique in its test set.
    """

    id: str


_Entry = TypeVar("_Entry", bound=Entry)


def locate(source: str, card: TestSetCard) -> Path:
    """Returns the folder of a test set.

    Args:
        source: Local folder, or hub id such as "slprl/salmon", with "@REVISION" where a revision is wanted; empty for
            none.
        card: What is looked for.

    Raises:
        InputError: There is no such folder, the hub cannot be reached, or nothing was given; the message says what to
            get and how.
    """
    path = Path(source).expanduser()
    if source and path.is_dir():
        return path
    if source and _HUB_ID.fullmatch(source) and not source.startswith((".", "/")):
        return _from_hub(source, card)
    raise InputError(f"test set {card.name} must be a folder with {card.expected}, got {source!r}: {card.where}")


def _from_hub(source: str, card: TestSetCard) -> Path:
    repository, _, revision = source.partition("@")
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError as error:
        raise InputError(
            f"test set {card.name} at {source!r} needs huggingface-hub: `pip install 'audio-tokenize[hub]'`, or give a "
            f"folder: {card.where}"
        ) from error
    try:
        folder = snapshot_download(
            repository, repo_type="dataset", revision=revision or None, allow_patterns=list(card.hub_patterns)
        )
    # Not found, no network, gated: the hub's own errors, some of them ValueErrors, and those of the HTTP client.
    except (errors.HfHubHTTPError, errors.HTTPError, OSError, ValueError) as error:  # pyright: ignore[reportPrivateImportUsage]
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"test set {card.name} could not be had from the hub as {source!r} ({reason}): give a folder with "
            f"{card.expected}; {card.where}"
        ) from error
    return Path(folder)


def wrong_layout(folder: Path, card: TestSetCard, detail: str = "") -> InputError:
    """The error of a folder that holds something else: what was expected, what was found."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    found = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing"
    about = f" ({detail})" if detail else ""
    return InputError(f"`{folder}` must hold {card.name}: {card.expected}; got {found}{about}. {card.where}")


def fingerprint_folder(folder: Path) -> str:
    """Returns a SHA-256 over names and sizes of all files, and the content of those that describe the others.

    Raises:
        InputError: A link in it leads nowhere.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(at) / name for at, _, names in os.walk(folder, followlinks=True) for name in names):
        if not path.exists():
            raise InputError(f"`{path}` must lead to a file, got a broken link: fetch the test set again")
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        if path.suffix in _DESCRIBING:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def read_text(path: Path) -> str:
    """Reads a file that describes recordings.

    Raises:
        InputError: It is not UTF-8; the message names it.
    """
    try:
        # Spreadsheets put a mark at the beginning that is no part of the first name.
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        wrong = error.object[error.start : error.start + 1]
        raise InputError(
            f"`{path}` must be UTF-8, got {wrong!r} at byte {error.start:,}: convert it, or fetch it again"
        ) from error


def read_csv(path: Path, columns: Iterable[str]) -> tuple[list[dict[str, str]], list[str]]:
    """Reads a csv file.

    Args:
        path: The file.
        columns: Columns in which every row must have a value.

    Returns:
        Its rows; and which of the columns it lacks, when there are no rows.

    Raises:
        InputError: It is not UTF-8, or a row has no value in one of the columns; the message names it.
    """
    wanted = list(columns)
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if missing := [column for column in wanted if column not in (reader.fieldnames or ())]:
        return [], missing
    rows = []
    for row in reader:
        if short := [column for column in wanted if row[column] is None]:
            at = f"line {reader.line_num} of `{path}`"
            raise InputError(f"{at} must have a value of {short[0]!r}, got none: complete it")
        rows.append(row)
    return rows, []


def distinct(entries: Iterable[_Entry]) -> list[_Entry]:
    """Entries of a test set, a repeated id with a number after it, so that no entry takes another's place."""
    times: collections.Counter[str] = collections.Counter()
    found = []
    for entry in entries:
        times[entry.id] += 1
        again = times[entry.id]
        found.append(entry if again == 1 else dataclasses.replace(entry, id=f"{entry.id}#{again}"))
    return found


def read_tables(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Reads the rows of parquet files, a few at a time."""
    import pyarrow
    import pyarrow.parquet

    for file in files:
        try:
            table = pyarrow.parquet.ParquetFile(file)
            for batch in table.iter_batches(batch_size=64):
                yield from batch.to_pylist()
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise InputError(f"`{file}` must be a parquet file, got {error}: fetch it again") from error
