"""Texts of a compressed file by id. Such a file cannot be entered half-way, so its texts are copied into a database."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rerank_async.bulk.documents import documents_of, stands_twice
from rerank_async.bulk.errors import OutputError, SourceError
from rerank_async.bulk.lines import digest_of
from rerank_async.bulk.scratch import AGAIN, scratch_folder
from rerank_async.bulk.texts import Texts, found_of

_AT_ONCE = 500  # names in one query; SQLite takes 999 in its oldest versions that Python accepts


class TextsCopied(Texts):
    """A compressed file with its copy."""

    def __init__(self, path: str, copy: Path, *, built_seconds: float) -> None:
        """Opens the copy that `copy_texts` made; from then on it may lose its name."""
        self._connection = sqlite3.connect(copy, check_same_thread=False)
        self._connection.execute("PRAGMA cache_size = -8000")
        meta = dict(self._connection.execute("SELECT name, value FROM meta"))
        super().__init__(path, meta["sha256"], built_seconds)
        self._copy = copy

    def fetch(self, ids: Sequence[str]) -> list[str]:
        """As the base class says."""
        found: dict[str, str] = {}
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            try:
                found.update(self._connection.execute(f"SELECT id, text FROM texts WHERE id IN ({marks})", part))  # noqa: S608 - only marks
            except sqlite3.DatabaseError as exc:  # to look for damage beforehand, all of it would have to be read
                raise SourceError(
                    f"the copy of {self.path}, {self._copy}, cannot be read: {exc}; delete {self._copy}, {AGAIN}"
                ) from exc
        return found_of(found, ids)

    def close(self) -> None:
        """As the base class says."""
        self._connection.close()


def is_current(copy: Path, stamp: str) -> bool:
    """Whether there is a copy, and it belongs to the file as it is now."""
    if not copy.is_file():
        return False
    try:
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            return bool(dict(connection.execute("SELECT name, value FROM meta")).get("stamp") == stamp)
    except sqlite3.Error:
        return False  # none, or one that was cut: it is made anew


def copy_texts(path: str, copy: Path, stamp: str, check: Callable[[], object]) -> None:
    """Copies the texts, sorted by id on the disk, so that no page of the copy is written twice.

    Args:
        path: The file.
        copy: What to write.
        stamp: What `is_current` compares.
        check: Called now and then; may raise to end the work.

    Raises:
        SourceError: The file cannot be read, a line is no document, or an id stands there twice.
        OutputError: There is no room.
    """
    try:
        with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE", "cache_size = -16000"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN")
            connection.execute("CREATE TEMP TABLE found (id, text, line)")
            connection.executemany("INSERT INTO found VALUES (?, ?, ?)", _rows(path, check))
            connection.execute("CREATE TABLE texts (id TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID")
            try:
                connection.execute("INSERT INTO texts SELECT id, text FROM found ORDER BY id")
            except sqlite3.IntegrityError:
                twice = "SELECT id, min(line), max(line) FROM found GROUP BY id HAVING count(*) > 1 ORDER BY 3 LIMIT 1"
                raise stands_twice(path, *connection.execute(twice).fetchone()) from None
            connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT)")
            meta = {"stamp": stamp, "sha256": digest_of(path)}
            connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            connection.execute("COMMIT")
    except sqlite3.Error as exc:
        raise OutputError(
            f"cannot write the copy of {path} in {copy.parent}, or its temporary files in {scratch_folder()}: {exc}; "
            f"make room there, or name another folder in SQLITE_TMPDIR for the latter, {AGAIN}"
        ) from exc


def _rows(path: str, check: Callable[[], object]) -> Iterator[tuple[Any, ...]]:
    for number, document, text in documents_of(path):
        if not number & 1023:
            check()
        yield document, text, number
