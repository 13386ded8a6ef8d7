"""Location of a published test set: a local folder, or a dataset on the Hugging Face hub that is downloaded to one."""

import collections
import csv
import dataclasses
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from audio_data import HubRepository, InputError, disk_errors, is_hub_id, listed, table_batches

# Small files describe the others, so their content is hashed, not only their size.
_DESCRIBING = frozenset({".csv", ".lst", ".tsv", ".txt", ".json", ".jsonl"})

_SAMPLE_BYTES = 4_096
# Bytes of a name in the common file systems.
_LONGEST_NAME = 255


@dataclasses.dataclass(frozen=True)
class TestSetCard:
    """What is known of a published test set.

    Attributes:
        name: How people call it.
        where: Where it is published, and how to get it, in one line.
        expected: The layout that is read, in one line.
        hub_patterns: Files of a hub repository that are needed.
        folder: Name of its folder among several test sets.
    """

    # Not a class of tests: pytest collects classes named Test*.
    __test__ = False

    name: str
    where: str
    expected: str
    hub_patterns: tuple[str, ...] = ("*",)
    folder: str = ""


@dataclasses.dataclass(frozen=True)
class BenchmarkItem:
    """What a test set holds one of for each item.

    Attributes:
        id: Unique in its test set.
    """

    id: str


_Item = TypeVar("_Item", bound=BenchmarkItem)


def locate(source: str, card: TestSetCard) -> Path:
    """Return the folder of a test set.

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
    repository, _, revision = source.partition("@")
    if is_hub_id(repository):
        what, instead = f"test set {card.name}", f"give DIR, a folder with {card.expected}; {card.where}"
        return HubRepository(repository, what, instead, revision or None, "dataset").fetch_files(*card.hub_patterns)
    raise InputError(f"test set {card.name} must be a folder with {card.expected}, got {source!r}: {card.where}")


def wrong_layout(folder: Path, card: TestSetCard, detail: str = "") -> InputError:
    """Return the error of a folder in another layout: what was expected, what was found."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    found = listed(names, 8) if names else "nothing"
    about = f" ({detail})" if detail else ""
    return InputError(f"`{folder}` must hold {card.name}: {card.expected}; got {found}{about}. {card.where}")


def fingerprint_folder(folder: Path) -> str:
    """Return a SHA-256 over names, sizes and a sample of all files, and all of those that describe the others.

    Raises:
        InputError: A link in it leads nowhere, or a name in it is not UTF-8.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(at) / name for at, _, names in os.walk(folder, followlinks=True) for name in names):
        if not path.exists():
            raise InputError(f"`{path}` must lead to a file, got a broken link: fetch the test set again")
        name = path.relative_to(folder).as_posix()
        try:
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        except UnicodeEncodeError as error:
            raw = os.fsencode(name)
            raise InputError(f"`{folder}` must hold files with names in UTF-8, got {raw!r}: rename it") from error
        with disk_errors(path, "read"):
            digest.update(hashlib.sha256(path.read_bytes() if path.suffix in _DESCRIBING else _sample(path)).digest())
    return digest.hexdigest()


def _sample(path: Path) -> bytes:
    """Return pieces of the beginning, middle and end: another recording of the same length differs in them."""
    size, pieces = path.stat().st_size, []
    with path.open("rb") as file:
        for start in (0, size // 2, max(0, size - _SAMPLE_BYTES)):
            file.seek(start)
            pieces.append(file.read(_SAMPLE_BYTES))
    return b"".join(pieces)


def read_text(path: Path) -> str:
    """Read a file that describes recordings.

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
    """Read a csv file.

    Args:
        path: The file.
        columns: Columns in which every row must have a value.

    Returns:
        Its rows; and which of the columns it lacks, when there are no rows.

    Raises:
        InputError: It is not UTF-8 or no csv file, or a row has no value in one of the columns; the message names it.
    """
    wanted = list(columns)
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    rows = []
    try:
        if missing := [column for column in wanted if column not in (reader.fieldnames or ())]:
            return [], missing
        for row in reader:
            if short := [column for column in wanted if row[column] is None]:
                at = f"line {reader.line_num} of `{path}`"
                raise InputError(f"{at} must have a value of {short[0]!r}, got none: complete it")
            rows.append(row)
    except csv.Error as error:
        raise InputError(f"`{path}` must be a csv file, got {error}: fetch it again") from error
    return rows, []


def named_file(folder: Path, name: str, listed: str) -> Path:
    """Return the path of a file that the list of a test set names.

    Args:
        folder: Folder that the name is relative to.
        name: As the list gives it.
        listed: Where it is listed, for the message.

    Raises:
        InputError: No file system can have such a file.
    """
    if not name.strip() or "\0" in name or any(len(os.fsencode(part)) > _LONGEST_NAME for part in name.split("/")):
        raise InputError(f"{listed} must name a file, got {name[:80]!r}: fetch it again")
    return folder / name


def distinct(entries: Iterable[_Item]) -> list[_Item]:
    """Return the entries of a test set, with a number after a repeated id, so that none replaces another."""
    times: collections.Counter[str] = collections.Counter()
    found = []
    for entry in entries:
        times[entry.id] += 1
        again = times[entry.id]
        found.append(entry if again == 1 else dataclasses.replace(entry, id=f"{entry.id}#{again}"))
    return found


def read_tables(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Read the rows of parquet files, a few at a time."""
    import pyarrow

    for file in files:
        try:
            for batch in table_batches(file, most_rows=64):
                if isinstance(batch, InputError):
                    raise batch
                yield from batch.to_pylist()
        except InputError as error:
            raise InputError(f"`{file}`: {error.message}") from error
        # Text that is not UTF-8 is only met when it is turned into Python's.
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"`{file}` must be a parquet file, got {reason}: fetch it again") from error
