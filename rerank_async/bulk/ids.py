"""A set of ids that may be larger than the memory."""

from __future__ import annotations

import sqlite3

from rerank_async.bulk.scratch import no_scratch


class IdSet:
    """Remembers ids in a temporary file that SQLite makes, and removes, once they are many.

    Every use may raise `OutputError`: there is no room for that file.
    """

    def __init__(self) -> None:
        # An empty name is a private database on the disk; it is spilled there when the cache is full.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA cache_size = -4000")
        self._connection.execute("BEGIN")
        self._connection.execute("CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID")
        self._size = 0

    def add(self, each: bytes) -> bool:
        """Adds an id; returns whether it is new."""
        new = self._execute("INSERT OR IGNORE INTO ids VALUES (?)", each).rowcount == 1
        self._size += new
        return new

    def __contains__(self, each: bytes) -> bool:
        if not self._size:
            return False
        return self._execute("SELECT 1 FROM ids WHERE id = ?", each).fetchone() is not None

    def __len__(self) -> int:
        return self._size

    def close(self) -> None:
        """Removes the file. Harmless when repeated."""
        self._connection.close()

    def _execute(self, statement: str, each: bytes) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, (each,))
        except sqlite3.Error as exc:
            raise no_scratch("the ids that were read", exc) from exc
