"""The journal: a file that is only ever appended to, one line for each finished query, handed to the system at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from rerank_async.bulk.errors import JobError, OutputError
from rerank_async.bulk.lines import json_object

_HOW_TO_GO_ON = (
    "make room or choose another place, then go on with the same command and --resume; a job that reads standard input "
    "begins anew, with --overwrite"
)
_LOOK_EVERY = 64
"""Lines after which it is looked whether the file still has its name: now and then costs nothing, and saves the rest."""


def cannot_write(path: Path, exc: OSError) -> OutputError:
    """The error of a file that cannot be written."""
    return OutputError(f"cannot write {path}: {exc.strerror or exc}; {_HOW_TO_GO_ON}")


class Journal:
    """Appends lines. What `append` has returned from survives the end of this process, however it comes."""

    def __init__(self, path: Path) -> None:
        """Opens the file, makes it if it is not there, and cuts off a line that was not finished.

        Raises:
            OutputError: It cannot be written.
            JobError: Another process writes it.
        """
        self.path = path
        self._file = -1
        self._appended = 0
        try:
            self._lock()
            if not self._is_there():  # another process has just removed it, being at its end
                self.close()
                self._lock()
            self.repaired = _repair(self._file, path)
        except BlockingIOError as exc:
            self.close()
            raise _another_writes(path) from exc
        except OSError as exc:
            self.close()
            raise cannot_write(path, exc) from exc

    def append(self, line: bytes) -> None:
        """Writes a line, which ends in a line feed.

        Raises:
            OutputError: There is no room, or the file cannot be written any more.
        """
        self._appended += 1
        if not self._appended % _LOOK_EVERY:
            self.check_there()
        try:
            written = os.write(self._file, line)
            while written < len(line):  # a disk that is nearly full takes a part
                written += os.write(self._file, line[written:])
        except OSError as exc:
            raise cannot_write(self.path, exc) from exc

    def clear(self) -> None:
        """Begins anew.

        Raises:
            OutputError: The file cannot be written any more.
        """
        try:
            os.ftruncate(self._file, 0)
        except OSError as exc:
            raise cannot_write(self.path, exc) from exc

    def sync(self) -> None:
        """Waits until the disk has it all.

        Raises:
            OutputError: The disk refuses.
        """
        try:
            os.fsync(self._file)
        except OSError as exc:
            raise cannot_write(self.path, exc) from exc

    def check_there(self) -> None:
        """Refuses to go on with a file that has lost its name: what is appended to it would be lost with it.

        Raises:
            OutputError: It was moved or removed.
        """
        if not self._is_there():
            raise OutputError(
                f"cannot write {self.path}: it was moved or removed while the job wrote it; put it back and go on with "
                "the same command and --resume, or begin anew with --overwrite"
            )

    def remove_if_empty(self) -> None:
        """Removes the file if nothing is in it."""
        with contextlib.suppress(OSError):
            if not os.fstat(self._file).st_size:
                self.path.unlink()

    def close(self) -> None:
        """Closes the file. Harmless when repeated."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _lock(self) -> None:
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _is_there(self) -> bool:
        """Whether the file still has its name."""
        try:
            return os.path.samestat(os.fstat(self._file), self.path.stat())
        except OSError:
            return False


def check_unlocked(path: Path) -> None:
    """Refuses a file that is the journal of another process; it need not be there.

    Raises:
        JobError: It is.
    """
    with contextlib.suppress(OSError):  # what cannot be opened is nobody's journal
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise _another_writes(path) from exc
        finally:
            os.close(file)


def _another_writes(path: Path) -> JobError:
    return JobError(f"another process writes {path}; let it finish, or stop it")


def read_back(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a journal with the places where they begin; an unfinished last line is left out."""
    at = 0
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield at, line
            at += len(line)


def _repair(file: int, path: Path) -> int:
    """Cuts off what follows the last whole line; returns how many bytes that were.

    A whole last line that is no JSON object goes too: after a loss of power a file may end in a block of zeros.
    """
    size = os.fstat(file).st_size
    if not size:
        return 0
    with path.open("rb") as reading:
        end = _last_feed(reading.fileno(), size) + 1
        if end:
            start = _last_feed(reading.fileno(), end - 1) + 1
            try:
                json_object(os.pread(reading.fileno(), end - start, start), "a result")
            except ValueError:
                end = start
    if end < size:
        os.ftruncate(file, end)
    return size - end


def _last_feed(file: int, stop: int) -> int:
    """Where the last line feed before ``stop`` is; -1: there is none."""
    block = 2**16
    while stop > 0:
        start = max(0, stop - block)
        found = os.pread(file, stop - start, start).rfind(b"\n")
        if found >= 0:
            return start + found
        stop = start
    return -1
