"""Texts by id: corpora and queries, as BEIR's JSON Lines or as MS MARCO's lines with a tab.

A small file is held in memory. A large one stays on the disk: an index, itself a file, says where the text of each id
begins, so that millions of passages need no memory. A compressed file cannot be entered half-way, so its texts are
copied into the index.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rerank_async.bulk.errors import OutputError, SourceError
from rerank_async.bulk.lines import STANDARD_INPUT, decoded, digest_of, is_gzip, json_object, kind_of, numbered_lines
from rerank_async.policy.json_codec import codec

IN_MEMORY = 16 * 2**20
"""Bytes up to which a plain file is held in memory."""

_FORMAT = "1"
_AT_ONCE = 500  # names in one query; SQLite takes 999 in its oldest versions that Python accepts
_BOM = b"\xef\xbb\xbf"
_SUFFIX = ".rerank-index"


class Texts(ABC):
    """Texts by id.

    Attributes:
        path: The file.
        digest: The SHA-256 of the file.
        built_seconds: How long the index took to build; 0.0: it was there, or none is needed.
    """

    def __init__(self, path: str, digest: str, built_seconds: float = 0.0) -> None:
        self.path = path
        self.digest = digest
        self.built_seconds = built_seconds

    @abstractmethod
    def fetch(self, ids: Sequence[str]) -> list[str | None]:
        """The text of each id, in order; None: there is none."""

    def close(self) -> None:
        """Closes what is open. Harmless when repeated."""


class TextsInMemory(Texts):
    """A small file, held whole."""

    def __init__(self, path: str) -> None:
        super().__init__(path, digest_of(path))
        self._texts: dict[str, str] = {}
        lines: dict[str, int] = {}
        for number, document, text in _documents(path):
            if document in lines:
                raise _twice(path, document, lines[document], number)
            lines[document] = number
            self._texts[document] = text

    def fetch(self, ids: Sequence[str]) -> list[str | None]:
        """As the base class says."""
        return list(map(self._texts.get, ids))


class TextsOnDisk(Texts):
    """A file that stays on the disk, and the index beside it."""

    def __init__(self, path: str, index: Path, *, keep: bool, built_seconds: float) -> None:
        self._index = index
        self._keep = keep
        self._connection = sqlite3.connect(index, check_same_thread=False)
        self._connection.execute("PRAGMA cache_size = -8000")
        meta = dict(self._connection.execute("SELECT name, value FROM meta"))
        super().__init__(path, meta["digest"], built_seconds)
        self._compressed = is_gzip(path)
        self._file = -1 if self._compressed else os.open(path, os.O_RDONLY)
        self._parse = _parser_of(path)
        self._columns = "id, text" if self._compressed else "id, at, size"

    def fetch(self, ids: Sequence[str]) -> list[str | None]:
        """As the base class says."""
        found: dict[str, Any] = {}
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            marks = ",".join("?" * len(part))
            rows = self._connection.execute(f"SELECT {self._columns} FROM texts WHERE id IN ({marks})", part)  # noqa: S608 - only marks
            if self._compressed:
                found.update(rows)
            else:
                file, pread, parse = self._file, os.pread, self._parse
                found.update([(document, parse(pread(file, size, at))[1]) for document, at, size in rows])
        return list(map(found.get, ids))

    def close(self) -> None:
        """As the base class says; an index in the folder for temporary files goes."""
        self._connection.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if not self._keep:
            with contextlib.suppress(OSError):
                self._index.unlink()


def open_texts(path: str, *, in_memory: int = IN_MEMORY) -> Texts:
    """Opens a corpus, or queries.

    The index of a large file lies beside it as ``NAME.rerank-index``, and is used again as long as the file keeps its
    size and time. Where that folder cannot be written, it lies among the temporary files until `Texts.close`.

    Args:
        path: JSON Lines with ``_id`` (or ``id``), ``text`` and perhaps ``title``, which then stands before the text;
            or lines of id, tab, text. Compressed by gzip if the name ends in ``.gz``.
        in_memory: Bytes up to which a plain file is held in memory.

    Raises:
        SourceError: It cannot be read, a line is not of this form, or an id stands there twice.
        OutputError: There is no room for the index.
    """
    if path == STANDARD_INPUT:
        raise SourceError("a corpus and its queries are looked up, which standard input does not allow; name a file")
    try:
        facts = os.stat(path)
    except OSError as exc:
        raise SourceError(f"cannot read {path}: {exc.strerror}") from exc
    if facts.st_size <= in_memory and not is_gzip(path):
        return TextsInMemory(path)
    stamp = f"{_FORMAT} {facts.st_size} {facts.st_mtime_ns}"
    beside = Path(path + _SUFFIX)
    if _is_current(beside, stamp):
        return TextsOnDisk(path, beside, keep=True, built_seconds=0.0)
    started = time.perf_counter()
    keep = os.access(beside.parent, os.W_OK)
    folder = beside.parent if keep else Path(tempfile.gettempdir())
    handle, name = tempfile.mkstemp(prefix=beside.name, suffix=".new", dir=folder)
    os.close(handle)
    made = Path(name)
    try:
        _build(path, made, stamp)
        if keep:
            made.replace(beside)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    return TextsOnDisk(path, beside if keep else made, keep=keep, built_seconds=time.perf_counter() - started)


def _is_current(index: Path, stamp: str) -> bool:
    if not index.is_file():
        return False
    try:
        with contextlib.closing(sqlite3.connect(index)) as connection:
            return dict(connection.execute("SELECT name, value FROM meta")).get("stamp") == stamp
    except sqlite3.Error:
        return False  # not an index, or one that was cut: it is made anew


def _build(path: str, index: Path, stamp: str) -> None:
    """Sorts the ids on the disk, and writes the index in their order: little memory, and no page is written twice."""
    compressed = is_gzip(path)
    columns, marks = ("id, text, line", "?, ?, ?") if compressed else ("id, at, size, line", "?, ?, ?, ?")
    digest = digest_of(path)
    rows: Iterator[Sequence[Any]] = (
        ((document, text, number) for number, document, text in _documents(path)) if compressed else _places(path)
    )
    connection = sqlite3.connect(index, isolation_level=None)
    try:
        with contextlib.closing(connection):
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE", "cache_size = -16000"):
                connection.execute(f"PRAGMA {pragma}")
            kept = columns.removesuffix(", line")
            connection.execute("BEGIN")
            connection.execute(f"CREATE TEMP TABLE found ({columns})")
            connection.executemany(f"INSERT INTO found VALUES ({marks})", rows)  # noqa: S608 - our own words
            connection.execute(f"CREATE TABLE texts ({kept}, PRIMARY KEY (id)) WITHOUT ROWID")
            try:
                connection.execute(f"INSERT INTO texts SELECT {kept} FROM found ORDER BY id")  # noqa: S608 - likewise
            except sqlite3.IntegrityError:
                twice = "SELECT id, min(line), max(line) FROM found GROUP BY id HAVING count(*) > 1 ORDER BY 2 LIMIT 1"
                raise _twice(path, *connection.execute(twice).fetchone()) from None
            connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT)")
            meta = {"stamp": stamp, "digest": digest}
            connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            connection.execute("COMMIT")
    except sqlite3.Error as exc:
        raise OutputError(f"cannot write the index of {path} in {index.parent}: {exc}") from exc


def _places(path: str) -> Iterator[tuple[str, int, int, int]]:
    """Of each document of a plain file: id, where its line begins, the line's bytes, its number."""
    parse = _parser_of(path)
    at = number = 0
    try:
        with Path(path).open("rb") as file:
            for line in file:
                number += 1
                size = len(line)
                if number == 1 and line.startswith(_BOM):
                    line, at, size = line[3:], 3, size - 3
                if not line.isspace():
                    yield parse(line)[0], at, size, number
                at += size
    except OSError as exc:
        raise SourceError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise SourceError(f"{path}, line {number}: {exc}") from exc


def _documents(path: str) -> Iterator[tuple[int, str, str]]:
    """Of each document: the line's number, id, text."""
    parse: Callable[[bytes], tuple[str, str]] | None = None
    for number, line in numbered_lines(path):
        if parse is None:
            parse = _json_document if line.lstrip().startswith(b"{") else _tab_document
        try:
            document, text = parse(line)
        except ValueError as exc:
            raise SourceError(f"{path}, line {number}: {exc}") from exc
        yield number, document, text


def _parser_of(path: str) -> Callable[[bytes], tuple[str, str]]:
    first = next(numbered_lines(path), (0, b""))[1]
    return _json_document if first.lstrip().startswith(b"{") else _tab_document


def _json_document(line: bytes) -> tuple[str, str]:
    try:
        value = codec().loads(line)
        document, text, title = value.get("_id"), value["text"], value.get("title")
        if type(document) is str and type(text) is str:
            if not title:
                return document, text
            if type(title) is str:
                return document, f"{title} {text}".strip()
    except (ValueError, KeyError, AttributeError, TypeError):
        pass
    return _odd_document(line)


def _odd_document(line: bytes) -> tuple[str, str]:
    value = json_object(line, "'_id' and 'text'")
    name = "_id" if "_id" in value else "id"
    for field in (name, "text"):
        if field not in value:
            raise ValueError(f"no field {field!r}; its fields: {', '.join(map(repr, value)) or 'none'}")
    document, text, title = value[name], value["text"], value.get("title") or ""
    if type(document) is int:
        document = str(document)
    for field, content in ((name, document), ("text", text), ("title", title)):
        if type(content) is not str:
            raise ValueError(f"the field {field!r} is a JSON {kind_of(content)}, not a string")
    return document, f"{title} {text}".strip() if title else text


def _tab_document(line: bytes) -> tuple[str, str]:
    document, tab, text = decoded(line.rstrip(b"\r\n")).partition("\t")
    if not tab:
        raise ValueError("no tab; a line of id, tab, text is needed, or a JSON object with '_id' and 'text'")
    return document, text.replace("\t", " ")


def _twice(path: str, document: str, first: int, again: int) -> SourceError:
    return SourceError(f"{path}, line {again}: the id {document!r} stands in line {first} too")
