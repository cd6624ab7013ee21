"""Where a job keeps what is finished: a journal and what stands beside it, or a stream that keeps nothing."""

from __future__ import annotations

import heapq
import json
import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from rerank_async.bulk.errors import JobError, OutputError
from rerank_async.bulk.files import JobFiles, check_not_read
from rerank_async.bulk.identity import check_same, is_resumable, read_identity, write_identity
from rerank_async.bulk.ids import IdSet
from rerank_async.bulk.items import Id, Item
from rerank_async.bulk.journal import Journal, check_unlocked, read_back
from rerank_async.bulk.lines import is_gzip
from rerank_async.bulk.results import Places, Results, assemble, done_id, places_of, spoilt
from rerank_async.bulk.verdicts import code_of, trace_of
from rerank_async.values.response import RerankResult


class Ledger(ABC):
    """Takes what is finished.

    Attributes:
        done: Queries finished, those of before included.
        failed: Queries failed, those of before included.
        failed_lines: Lines of those that had failed before.
        repaired: Bytes of an unfinished line that were cut off.
        complete: Whether the job was complete before it began.
        broken_off: Seconds since something was last kept by a job that is gone on with; None: it begins.
    """

    def __init__(self) -> None:
        self.done = 0
        self.failed = 0
        self.failed_lines: set[int] = set()
        self.repaired = 0
        self.complete = False
        self.broken_off: float | None = None

    @abstractmethod
    def check_apart(self, inputs: Mapping[str, str]) -> None:
        """Refuses to write over a file that is read; ``inputs``: those, by what they are."""

    @abstractmethod
    def open(self, facts: dict[str, Any], *, resume: bool, overwrite: bool, retry_failed: bool) -> None:
        """Makes ready, or refuses."""

    @abstractmethod
    def is_done(self, at: int, key: bytes) -> bool:
        """Whether the query at a place, with an id as JSON, is finished."""

    @abstractmethod
    def keep(self, item: Item, results: Sequence[RerankResult]) -> None:
        """Takes a finished query."""

    @abstractmethod
    def fail(self, at: int, line: int, name: Id | None, error: Exception) -> None:
        """Takes a query that failed for good."""

    def takes(self, at: int, ahead: int) -> bool:  # noqa: ARG002 - of those that keep an order
        """Whether the query at a place may begin: results that have to come in order may be ``ahead`` places ahead."""
        return True

    def finish(self) -> None:  # noqa: B027 - a stream needs nothing
        """Every query is finished or failed: writes the output."""

    @property
    def failures(self) -> str | None:
        """The file that lists what failed, if something did."""
        return None

    def close(self) -> None:  # noqa: B027 - likewise
        """Lets go of everything. Harmless when repeated."""


class FileLedger(Ledger):
    """An output with its journal."""

    def __init__(self, output: str, results: Results, *, appended: bool) -> None:
        """Touches nothing yet; ``appended``: the output is its own journal."""
        super().__init__()
        self._files = JobFiles.of(output, appended=appended)
        self._results = results
        self._appended = appended
        self._compressed = is_gzip(output)
        self._facts: dict[str, Any] = {}
        self._journal: Journal | None = None
        self._failed_file: Journal | None = None
        self._ids: IdSet | None = None
        self._places = Places()

    def check_apart(self, inputs: Mapping[str, str]) -> None:
        """As the base class says.

        Raises:
            JobError: A file of the job is one that is read.
        """
        self._files.check_apart(inputs)

    def open(self, facts: dict[str, Any], *, resume: bool, overwrite: bool, retry_failed: bool) -> None:
        """As the base class says.

        Raises:
            JobError: The output exists, or belongs to another job, or another process writes it.
            OutputError: It cannot be written.
            SourceError: The journal is spoilt.
        """
        files = self._files
        files.check_place()
        # An output in the order of completion is its own journal, so that the other order would not find it.
        self._facts = facts = {**facts, "order": "completion" if self._appended else "source"}
        then = None if overwrite else read_identity(files.identity)
        if then is not None:
            check_same(files.identity, then, facts)
        if not overwrite:
            self._check_fresh(then, resume=resume)
        if then is not None and then["finished"] and files.output.exists() and not files.journal.exists():
            self.complete = True
            self.done = int(then["done"])
            return
        if then is not None and files.journal.exists():
            self.broken_off = max(0.0, time.time() - files.journal.stat().st_mtime)
        self._lock(then, overwrite=overwrite)
        assert self._journal is not None  # noqa: S101 - locked
        self.repaired = self._journal.repaired
        files.remove_temporaries()
        if overwrite:
            self._journal.clear()
            files.remove(but=files.journal)
        if then is None or then["finished"]:
            write_identity(files.identity, facts, finished=False)
        if retry_failed:
            files.remove_failed()
        self._repair_failed()
        self._read_back()

    def is_done(self, at: int, key: bytes) -> bool:
        """As the base class says."""
        return at in self._places if self._ids is None else key in self._ids

    def keep(self, item: Item, results: Sequence[RerankResult]) -> None:
        """As the base class says.

        Raises:
            OutputError: The journal cannot be written.
        """
        assert self._journal is not None  # noqa: S101 - opened, and not complete
        self._journal.append((self._results.line if self._appended else self._results.record)(item, results))
        self.done += 1

    def fail(self, at: int, line: int, name: Id | None, error: Exception) -> None:  # noqa: ARG002
        """As the base class says.

        Raises:
            OutputError: The file of failures cannot be written.
        """
        if self._failed_file is None:
            self._failed_file = Journal(self._files.failed)
        body = {"id": name, "line": line, "code": code_of(error), "message": str(error), "trace": trace_of(error)}
        self._failed_file.append(json.dumps(body, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")
        self.failed += 1

    def finish(self) -> None:
        """As the base class says.

        Raises:
            OutputError: It cannot be written.
        """
        if self._journal is None:
            return
        self._journal.sync()
        for each in (self._journal, self._failed_file):
            if each is not None:
                each.check_there()
        if not self._appended:
            assemble(self._files.journal, self._files.output, self._results, compressed=self._compressed)
        write_identity(self._files.identity, {**self._facts, "done": self.done}, finished=True)
        if not self._appended and not self.failed:
            self._files.journal.unlink(missing_ok=True)

    @property
    def failures(self) -> str | None:
        """As the base class says."""
        return str(self._files.failed) if self.failed else None

    def close(self) -> None:
        """As the base class says."""
        for each in (self._journal, self._failed_file, self._ids):
            if each is not None:
                each.close()

    def _lock(self, then: dict[str, Any] | None, *, overwrite: bool) -> None:
        """Opens the journal; nobody else has it open now, nor that of the other order.

        Who asks for the other one both before and behind the own one either sees a process at the same output, or is
        seen by it. A lock of its own would need one more file, and leave it behind after a kill.
        """
        check_unlocked(self._files.other)
        self._journal = Journal(self._files.journal)
        check_unlocked(self._files.other)
        if not overwrite and read_identity(self._files.identity) != then:
            if not self._appended:
                self._journal.remove_if_empty()
            raise JobError(f"another process has just worked at {self._files.output}; give the same command again")

    def _check_fresh(self, then: dict[str, Any] | None, *, resume: bool) -> None:
        there = self._files.there()
        if not there or (resume and then is not None):
            return
        if then is None:
            raise JobError(
                f"{there[0]} is there, but no {self._files.identity.name} that says of which job it is; choose another "
                "output, or begin anew with --overwrite"
            )
        what = "is there" if then["finished"] else "is of a job that was not finished"
        goes_on = "--resume goes on with it" if is_resumable(self._facts) else "standard input cannot be gone on with"
        raise JobError(f"{self._files.output} {what}: {goes_on}, --overwrite begins anew")

    def _repair_failed(self) -> None:
        """Cuts off a line that was not finished, and removes the file if nothing else is in it."""
        if not self._files.failed.exists():
            return
        Journal(self._files.failed).close()
        if not self._files.failed.stat().st_size:
            self._files.remove_failed()

    def _read_back(self) -> None:
        if self._appended:
            self._ids = IdSet()
            for number, (_, line) in enumerate(read_back(self._files.journal), start=1):
                key = done_id(line)
                if key is None:
                    raise spoilt(self._files.journal, number)
                self._ids.add(key)
            self.done = len(self._ids)
        else:
            self._places = places_of(self._files.journal)
            self.done = self._places.count
        for number, (_, line) in enumerate(read_back(self._files.failed), start=1):
            try:
                self.failed_lines.add(json.loads(line)["line"])
            except (ValueError, KeyError, TypeError):
                raise spoilt(self._files.failed, number) from None
        self.failed = len(self.failed_lines)


class StreamLedger(Ledger):
    """A stream, such as standard output: nothing is kept, so nothing can be resumed.

    Where an order is wanted, results wait until it is their turn.
    """

    def __init__(self, stream: BinaryIO, results: Results, *, ordered: bool) -> None:
        """The stream stays its owner's to close."""
        super().__init__()
        self._stream = stream
        self._results = results
        self._ordered = ordered
        self._waiting: list[tuple[int, bytes]] = []
        self._next = 0

    def check_apart(self, inputs: Mapping[str, str]) -> None:
        """As the base class says.

        Raises:
            JobError: The stream goes to a file that is read.
        """
        try:
            written = os.fstat(self._stream.fileno())
        except (OSError, ValueError, AttributeError):
            return  # it is no file
        if stat.S_ISREG(written.st_mode):  # a terminal or a socket may well be both
            check_not_read("the output", written, inputs)

    def open(self, facts: dict[str, Any], *, resume: bool, overwrite: bool, retry_failed: bool) -> None:  # noqa: ARG002
        """As the base class says.

        Raises:
            JobError: Something was asked for that needs a file.
        """
        if resume or retry_failed:
            raise JobError("an output that is a stream has no journal, so nothing can be resumed; name a file")

    def is_done(self, at: int, key: bytes) -> bool:  # noqa: ARG002
        """As the base class says."""
        return False

    def keep(self, item: Item, results: Sequence[RerankResult]) -> None:
        """As the base class says.

        Raises:
            OutputError: The stream does not take it.
        """
        self._put(item.at, self._results.line(item, results))
        self.done += 1

    def fail(self, at: int, line: int, name: Id | None, error: Exception) -> None:  # noqa: ARG002
        """As the base class says."""
        self._put(at, b"")
        self.failed += 1

    def takes(self, at: int, ahead: int) -> bool:
        """As the base class says."""
        return not self._ordered or at - self._next <= ahead

    def _put(self, at: int, line: bytes) -> None:
        if not self._ordered:
            self._write(line)
            return
        heapq.heappush(self._waiting, (at, line))
        while self._waiting and self._waiting[0][0] == self._next:
            self._next += 1
            self._write(heapq.heappop(self._waiting)[1])

    def _write(self, line: bytes) -> None:
        try:
            self._stream.write(line)
            self._stream.flush()
        except OSError as exc:
            raise OutputError(f"cannot write the results: {exc.strerror or exc}") from exc


def is_appended(output: str, results: Results, *, ordered: bool) -> bool:
    """Whether an output can be its own journal: plain JSON Lines, as queries are completed."""
    return results.kind == "jsonl" and not ordered and not is_gzip(output)
