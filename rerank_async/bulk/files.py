"""The files of one job, and how a file is replaced whole or not at all."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

import attrs

from rerank_async.bulk.errors import JobError, OutputError
from rerank_async.bulk.journal import cannot_write
from rerank_async.bulk.lines import STANDARD_INPUT, name_of, status_of

STANDARD_OUTPUT = STANDARD_INPUT


@attrs.frozen
class JobFiles:
    """Where a job leaves what.

    Attributes:
        output: The result.
        journal: What is appended to: the output itself, or a file beside it that goes when the output is written.
        other: What a job with the other order at the same output would append to.
        identity: Which job this is.
        failed: Queries that failed.
    """

    output: Path
    journal: Path
    other: Path
    identity: Path
    failed: Path

    @classmethod
    def of(cls, output: str, *, appended: bool) -> JobFiles:
        """The files beside an output; ``appended``: the output is its own journal.

        An output that is a symbolic link stays one: the file that it leads to is meant, and all others lie beside that,
        so that a second process is seen under whatever name it calls the output.
        """
        path = Path(output)
        link = os.path.islink(path)  # noqa: PTH114 - that of pathlib raises for a name that is too long
        if link and (path.is_file() or not path.exists()):  # a pipe at /dev/stdout has no name that it leads to
            path = Path(os.path.realpath(path))
        beside = {name: path.parent / f"{path.name}.{name}" for name in ("journal", "job.json", "failed.jsonl")}
        journal, other = (path, beside["journal"]) if appended else (beside["journal"], path)
        return cls(path, journal, other, beside["job.json"], beside["failed.jsonl"])

    def there(self) -> list[Path]:
        """Those that exist. An empty journal does not count: a job may have ended before it said which it is."""
        found = [path for path in (self.output, self.failed, self.identity) if path.exists() and path != self.journal]
        return [*found, *([self.journal] if self.journal.exists() and self.journal.stat().st_size else [])]

    def check_apart(self, inputs: Mapping[str, str]) -> None:
        """Refuses an output that would be written over what the job reads, under whatever name.

        Args:
            inputs: The files that are read, by what they are.

        Raises:
            JobError: A file of the job is one of them.
        """
        for path in (*self._all(), *self.temporaries()):
            role = "the output" if path == self.output else f"a file that the job with the output {self.output} keeps"
            check_not_read(f"{path}, {role},", status_of(str(path)), inputs)

    def temporaries(self) -> list[Path]:
        """What a process that was killed while it wrote the output, or which job it is, has left."""
        return [path for whole in (self.output, self.identity) for path in _temporaries_of(whole)]

    def remove(self, *, but: Path) -> None:
        """Removes all but one.

        Raises:
            OutputError: One cannot be removed.
        """
        for path in self._all():
            if path != but:
                _remove(path)

    def remove_failed(self) -> None:
        """Removes the list of failures, whose queries are then wanted again.

        Raises:
            OutputError: It cannot be removed.
        """
        _remove(self.failed)

    def remove_temporaries(self) -> None:
        """Removes what a process that was killed has left; for who holds the journal's lock, so that nobody else writes.

        Raises:
            OutputError: One cannot be removed.
        """
        for path in self.temporaries():
            _remove(path)

    def check_place(self) -> None:
        """Refuses an output that cannot be one, before anything is sent.

        Raises:
            JobError: It is a folder, a device or a pipe.
            OutputError: Its folder is missing or cannot be written, or its name is too long.
        """
        folder = self.output.parent
        longest = _temporary_of(self.identity)  # of all names
        try:
            longest.exists()
        except OSError as exc:
            raise OutputError(
                f"cannot write {self.output}: {exc.strerror}, counting what stands beside it, such as {longest.name}; "
                "choose a shorter one"
            ) from exc
        if self.output.exists() and not self.output.is_file():
            raise JobError(f"{self.output} is not a plain file; name one, or - for standard output")
        if not folder.is_dir():
            raise OutputError(f"cannot write {self.output}: the folder {folder} does not exist; make it first")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write {self.output}: the folder {folder} is not writable; choose another")

    def _all(self) -> tuple[Path, ...]:
        return (self.journal, self.other, self.identity, self.failed)


def check_not_read(what: str, written: os.stat_result | None, inputs: Mapping[str, str]) -> None:
    """Refuses to write over a file that is read.

    Args:
        what: Is written, as the message begins.
        written: The same as the system knows it; None: it is not there yet.
        inputs: The files that are read, by what they are.

    Raises:
        JobError: It is one of them.
    """
    for role, name in inputs.items():
        read = status_of(name)
        if read is not None and written is not None and os.path.samestat(read, written):
            words = f"{what} is the same file as {role}, {name_of(name)}, which would be lost; choose another output"
            raise JobError(words)


@contextlib.contextmanager
def replace_file(path: Path, *, compressed: bool = False) -> Iterator[BinaryIO]:
    """A file that takes its name when the block ends well, and vanishes when it does not.

    Raises:
        OutputError: It cannot be written.
    """
    temporary = _temporary_of(path)
    try:
        try:
            with temporary.open("wb") as file:
                if compressed:
                    # Neither time nor name inside, so that two runs can be compared.
                    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
                        yield cast("BinaryIO", packed)
                else:
                    yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OutputError:
        raise
    except OSError as exc:
        raise cannot_write(path, exc) from exc


def _temporary_of(path: Path) -> Path:
    # As long for every process, so that an output whose name was short enough is so when the job is resumed.
    return path.parent / f".{path.name}.{os.getpid():010}.tmp"


def _temporaries_of(path: Path) -> list[Path]:
    """What `replace_file` leaves behind when it is killed."""
    name = re.compile(rf"\.{re.escape(path.name)}\.\d+\.tmp")
    try:
        return [each for each in path.parent.iterdir() if name.fullmatch(each.name)]
    except OSError:
        return []  # no such folder: what is to be written says so


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise cannot_write(path, exc) from exc


def _sync_folder(folder: Path) -> None:
    """The new name survives a loss of power only when the folder is on the disk too."""
    with contextlib.suppress(OSError):  # not every file system can
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
