"""A set of ids of any size in bounded memory, to find ids that occur twice."""

import hashlib
import sqlite3
from types import TracebackType

from audio_data.errors import InputError

# Of the table's pages; the rest lies in a temporary file without a name, which the kernel removes however we end.
_CACHE_KIB = 64 * 1024
_NUM_BYTES = 16


class SeenIds:
    """A set of ids on disk: 16 bytes of SHA-256 each, about 40 with the table around them; a context manager.

    Memory is bounded by 64 MiB. Two different ids are taken for one with a chance of 2**-75 among 10**8.
    """

    def __init__(self):
        self._table = sqlite3.connect("", isolation_level=None)
        for statement in (
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID",
            "BEGIN",
        ):
            self._table.execute(statement)

    def __enter__(self) -> "SeenIds":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._table.close()

    def add(self, name: str) -> bool:
        """Note an id; return whether it is new.

        Args:
            name: The id.

        Raises:
            InputError: The disk of temporary files is full.
        """
        key = hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:_NUM_BYTES]
        try:
            return self._table.execute("INSERT OR IGNORE INTO ids VALUES (?)", (key,)).rowcount == 1
        except sqlite3.OperationalError as error:
            raise InputError(
                f"cannot note the ids of documents ({error}): set SQLITE_TMPDIR to a folder with 50 bytes for each"
            ) from error
