"""Reads a job's queries as they are wanted, and leaves out those that are finished."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

from rerank_async.bulk.errors import BadItemError, SourceError
from rerank_async.bulk.ids import IdSet
from rerank_async.bulk.items import BadItem, Item
from rerank_async.bulk.results import id_text
from rerank_async.bulk.source import Source

SLOW = 0.05
"""Seconds. A disk that takes longer for one helping would hold the event loop up, so the next one is read in a thread."""
HELPING = 32
"""Queries read in one go: alternating between reading and sending costs more than either."""
HELPING_CHARACTERS = 2**21
"""After so many characters a helping ends sooner."""


class Reader:
    """The queries that are still to be ranked, and those that cannot be.

    Attributes:
        read: How many queries were read, finished ones included.
    """

    def __init__(
        self, source: Source, is_done: Callable[[int, bytes], bool], failed_lines: set[int], thread: Executor
    ) -> None:
        """Reads nothing yet.

        Args:
            source: Opened.
            is_done: Whether the query at a place, with an id as JSON, is finished.
            failed_lines: Of queries that failed before and are not taken up again.
            thread: Where a slow disk is waited for.
        """
        self._source = source
        self._items = source.items(self._skip)
        self._unique = source.is_run  # the source has looked
        self._is_done = is_done
        self._failed_lines = failed_lines
        self._seen = IdSet()
        self._name = source.name
        self._thread = thread
        self._slow = True  # a job that is resumed may pass over much before its first query
        self._helping: deque[Item | BadItem] = deque()
        self._ended = False
        self._problem: SourceError | None = None
        self.read = 0

    async def next(self) -> Item | BadItem | None:
        """The next one; None: that was all.

        Raises:
            SourceError: The source cannot be read any further, or it has changed: then nothing comes of what was read
                since it was last seen to be as it was.
        """
        if not self._helping and not self._ended:
            started = time.perf_counter()
            if self._slow:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._read_helping)
            else:
                self._read_helping()
            self._slow = time.perf_counter() - started > SLOW
        if self._helping:
            return self._helping.popleft()
        if self._problem is not None:
            raise self._problem
        return None

    def _read_helping(self) -> None:
        characters = 0
        try:
            while len(self._helping) < HELPING and characters < HELPING_CHARACTERS:
                item = self.read_one()
                if item is None:
                    self._ended = True
                    break
                self._helping.append(item)
                if type(item) is Item:
                    characters += sum(map(len, item.inputs))
        except SourceError as exc:  # what was read before it comes first
            self._ended, self._problem = True, exc
        try:
            self._source.check_unchanged()
        except SourceError as exc:  # nobody knows of which content this helping is
            self._helping.clear()
            self._ended, self._problem = True, exc

    def read_one(self) -> Item | BadItem | None:
        """The next one, at once; None: that was all."""
        for found in self._items:
            item = found
            self.read += 1
            if type(item) is Item and not self._unique:
                key = id_text(item.id).encode()
                if not self._seen.add(key):
                    words = f"{self._name}, line {item.line}: the id {item.id!r} stands in an earlier line too"
                    if type(item.id) is int and 0 < item.id <= item.line:  # it may be nobody's own
                        words += "; where a line has no id, its number is its id, so give each line one"
                    item = BadItem(
                        item.at, item.line, item.id, BadItemError(words, code="duplicate_id", line=item.line)
                    )
                elif self._is_done(item.at, key):
                    continue
            if item.line not in self._failed_lines:
                return item
        return None

    def close(self) -> None:
        """Forgets everything. Harmless when repeated."""
        self._seen.close()

    def _skip(self, at: int, query: bytes) -> bool:
        """Of a run: whether the query at this place, with this id, need not be looked up."""
        # What is no UTF-8 stays as it is, and so is never taken for the id of a query that is finished.
        name = id_text(query.decode(errors="surrogateescape"))
        done = self._is_done(at, name.encode(errors="surrogateescape"))
        self.read += done
        return done
