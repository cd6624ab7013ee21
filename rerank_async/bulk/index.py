"""Texts of a large file by id: the file stays on the disk, and an index says where the line of each id begins.

The index is a file itself: a head, then a table of slots of 64 bits. A slot holds, from the high bits down, where the
line begins (38), its bytes (14), and the low bits of the id's CRC-32 (12); a slot of zeros is empty. The CRC as a whole
says where to look first; the entries lie in its order, each in the first free slot from there. So the table is written
from one end to the other after a sort on the disk, needs no memory to build, and is looked up with about two glances at
memory that the system shares with the file. The line itself has the last word on whether it is the document meant.

The head holds a CRC-32 of the table, which is compared whenever an index is used again: a loss of power or a bad disk may
leave a file of the right size with other content. That is one read of the table.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import sqlite3
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from rerank_async.bulk.documents import layout_of, stands_twice
from rerank_async.bulk.errors import OutputError, SourceError
from rerank_async.bulk.lines import digest_of, has_changed
from rerank_async.bulk.scratch import AGAIN, no_scratch
from rerank_async.bulk.texts import LackingError, Texts

_HEAD_BYTES = 4096
_SLOTS_PER_DOCUMENT = 2
_TAG_BITS, _SIZE_BITS, _PLACE_BITS = 12, 14, 38
_TAG = 2**_TAG_BITS - 1
_SIZE = 2**_SIZE_BITS - 1
_LONG = _SIZE  # such a line is read up to its end, as is a longer one
_WORDS_AT_ONCE = 2**17
_BLOCK = 2**20
_BOM = b"\xef\xbb\xbf"
_RESIDENT = 48 * 2**20
"""Bytes of the table that may stay in this process's memory; a larger one is let go of now and then."""
_FETCHES = 256
"""After so many fetches. What is let go of stays in the system's cache, from where it comes back as it is needed."""


class TextsOnDisk(Texts):
    """A plain file with an index."""

    def __init__(self, path: str, index: Path, *, built_seconds: float) -> None:
        """Opens both.

        Args:
            path: The file.
            index: The index that `build` made; from then on it may lose its name.
            built_seconds: How long it took to build.
        """
        with index.open("rb") as file:
            head = json.loads(file.read(_HEAD_BYTES))
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        super().__init__(path, head["sha256"], built_seconds)
        self._slots: int = head["slots"]
        self._words = memoryview(self._map)[_HEAD_BYTES:].cast("Q")
        self._layout = layout_of(path)
        self._file = os.open(path, os.O_RDONLY)
        self._status = os.fstat(self._file)
        self._fetches = 0
        self._too_large = len(self._map) > _RESIDENT

    def fetch(self, ids: Sequence[str]) -> list[str]:
        """As the base class says."""
        self._fetches += 1
        if self._too_large and self._fetches % _FETCHES == 0:
            self._map.madvise(mmap.MADV_DONTNEED)
        words, slots = self._words, self._slots
        found = []
        for crc in map(crc32, map(str.encode, ids)):
            place = crc * slots >> 32
            word = words[place]
            while (word ^ crc) & _TAG and word:
                place += 1
                word = words[place]
            found.append(word)
        sizes = [word >> _TAG_BITS & _SIZE for word in found]
        if 0 in found or _LONG in sizes:
            return [self._text(each) for each in ids]
        starts = [word >> _TAG_BITS + _SIZE_BITS for word in found]
        lines = list(map(os.pread, repeat(self._file), sizes, starts))
        texts = self._layout.texts(lines, ids)
        return [self._text(each) for each in ids] if texts is None else texts

    @property
    def changed(self) -> bool:
        """As the base class says."""
        return has_changed(self._status, os.fstat(self._file))

    def close(self) -> None:
        """As the base class says."""
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1
        self._words.release()
        self._map.close()

    def _text(self, document: str) -> str:
        """The text of one id, by the slow and sure way."""
        crc = crc32(document.encode())
        place = crc * self._slots >> 32
        while word := self._words[place]:
            if word & _TAG == crc & _TAG:
                line = _line_at(self._file, word)
                try:
                    found, text = self._layout.one(line)
                except ValueError as exc:
                    raise SourceError(f"{self.path} has changed while it was read: {exc}") from exc
                if found == document:
                    return text
            place += 1
        raise LackingError(document)


def _line_at(file: int, word: int) -> bytes:
    """The line that a slot points to."""
    start, size = word >> _TAG_BITS + _SIZE_BITS, word >> _TAG_BITS & _SIZE
    if size < _LONG:
        return os.pread(file, size, start)
    line = b""
    while (end := line.find(b"\n")) < 0 and (block := os.pread(file, _BLOCK, start + len(line))):
        line += block
    return line if end < 0 else line[:end]


def is_current(index: Path, stamp: str) -> bool:
    """Whether there is an index, and it belongs to the file as it is now."""
    try:
        with index.open("rb") as file:
            head = json.loads(file.read(_HEAD_BYTES))
            if head["stamp"] != stamp or os.fstat(file.fileno()).st_size != head["bytes"]:
                return False
            found = 0
            while block := file.read(_BLOCK):  # not by the map, which would count as this process's memory
                found = crc32(block, found)
            return bool(found == head["crc"])
    except (OSError, ValueError, KeyError, TypeError):
        return False  # none, or one that was cut or damaged: it is made anew


def build(path: str, index: Path, stamp: str, check: Callable[[], object]) -> None:
    """Writes the index of a plain file.

    Args:
        path: The file.
        index: What to write.
        stamp: What `is_current` compares.
        check: Called now and then; may raise to end the work.

    Raises:
        SourceError: The file cannot be read, a line is no document, or an id stands there twice.
        OutputError: There is no room for the index, or for sorting it.
    """
    if Path(path).stat().st_size >= 2**_PLACE_BITS:
        raise SourceError(f"{path} is over {2**_PLACE_BITS // 10**9} GB, which an index cannot tell apart; split it")
    digest = digest_of(path)
    try:
        with contextlib.closing(sqlite3.connect("", isolation_level=None)) as sorting, index.open("wb") as file:
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE", "cache_size = -16000"):
                sorting.execute(f"PRAGMA {pragma}")
            sorting.execute("BEGIN")
            sorting.execute("CREATE TABLE found (crc INTEGER, start INTEGER, size INTEGER)")
            sorting.executemany("INSERT INTO found VALUES (?, ?, ?)", _places(path, check))
            (count,) = sorting.execute("SELECT count(*) FROM found").fetchone()
            slots = count * _SLOTS_PER_DOCUMENT + 1
            file.write(b" " * _HEAD_BYTES)
            rows = sorting.execute("SELECT crc, start, size FROM found ORDER BY crc, start")
            table_crc = _write_table(file, _each_once(path, rows), slots)
            head = {"stamp": stamp, "sha256": digest, "slots": slots, "bytes": file.tell(), "crc": table_crc}
            file.seek(0)
            file.write(json.dumps(head).encode().ljust(_HEAD_BYTES - 1) + b"\n")
    except sqlite3.Error as exc:
        raise no_scratch(f"the index of {path}", exc) from exc
    except OSError as exc:
        raise OutputError(
            f"cannot write the index of {path} in {index.parent}: {exc.strerror or exc}; make room there, {AGAIN}"
        ) from exc


def _write_table(file: BinaryIO, rows: Iterator[tuple[int, int, int]], slots: int) -> int:
    """Writes the table, and gives its CRC-32."""
    words = array("Q")
    free = crc_so_far = 0
    for crc, start, size in rows:
        slot = crc * slots >> 32
        if slot > free:
            words.frombytes(bytes(8 * (slot - free)))
            free = slot
        words.append((start << _SIZE_BITS | min(size, _LONG)) << _TAG_BITS | crc & _TAG)
        free += 1
        if len(words) > _WORDS_AT_ONCE:
            file.write(words)
            crc_so_far = crc32(words, crc_so_far)
            words = array("Q")
    # At least one empty slot behind the last entry ends every search.
    words.frombytes(bytes(8 * (max(slots, free) + 1 - free)))
    file.write(words)
    return crc32(words, crc_so_far)


def _places(path: str, check: Callable[[], object]) -> Iterator[tuple[int, int, int]]:
    """Of each document: the CRC-32 of its id, where its line begins, the line's bytes."""
    one = layout_of(path).one
    start = number = 0
    try:
        with Path(path).open("rb") as file:
            if file.read(len(_BOM)) == _BOM:
                start = len(_BOM)
            file.seek(start)
            for line in file:
                number += 1
                if not number & 1023:
                    check()
                size = len(line)
                if not line.isspace():
                    yield crc32(one(line)[0].encode()), start, size
                start += size
    except OSError as exc:
        raise SourceError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise exc if isinstance(exc, SourceError) else SourceError(f"{path}, line {number}: {exc}") from exc


def _each_once(path: str, rows: Iterator[Any]) -> Iterator[tuple[int, int, int]]:
    """The rows as they come, in the order of their CRC; those with one CRC must be of different ids."""
    same: list[tuple[int, int, int]] = []
    for row in rows:
        if same and same[-1][0] != row[0]:
            same.clear()
        same.append(row)
        if len(same) > 1:
            _check_different(path, same)
        yield row


def _check_different(path: str, rows: Sequence[tuple[int, int, int]]) -> None:
    one = layout_of(path).one
    with Path(path).open("rb") as file:
        *others, last = [one(os.pread(file.fileno(), size, start))[0] for _, start, size in rows]
        if last in others:
            numbers = [_line_number(file, start) for start in (rows[others.index(last)][1], rows[-1][1])]
            raise stands_twice(path, last, *numbers)


def _line_number(file: BinaryIO, start: int) -> int:
    file.seek(0)
    number, left = 1, start
    while left and (block := file.read(min(left, 2**20))):
        number += block.count(b"\n")
        left -= len(block)
    return number
