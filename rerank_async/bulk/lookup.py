"""Opens a corpus or a file of queries for looking texts up, in memory or on the disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rerank_async.bulk import copied, index
from rerank_async.bulk.copied import TextsCopied
from rerank_async.bulk.errors import OutputError, SourceError
from rerank_async.bulk.index import TextsOnDisk
from rerank_async.bulk.lines import STANDARD_INPUT, has_changed, is_gzip, is_stream
from rerank_async.bulk.scratch import AGAIN
from rerank_async.bulk.texts import Texts, TextsInMemory

IN_MEMORY = 16 * 2**20
"""Bytes up to which a plain file is held in memory."""
SUFFIX = ".rerank-index"

_FORMAT = 3


def open_texts(path: str, *, in_memory: int = IN_MEMORY, check: Callable[[], object] = lambda: None) -> Texts:
    """Opens a corpus, or queries.

    The index of a large file lies beside it as ``NAME.rerank-index``, and is used again as long as the file keeps its
    size and time. Where that folder cannot be written, it has its place among the temporary files, without a name, until
    `Texts.close`; where its name cannot be had, because a folder or a file of somebody else has it, it stays without one
    in the file's folder. What a process that was killed while it built an index has left is removed.

    Args:
        path: JSON Lines with ``_id`` (or ``id``), ``text`` and perhaps ``title``, which then stands before the text;
            or lines of id, tab, text. Compressed by gzip if the name ends in ``.gz``.
        in_memory: Bytes up to which a plain file is held in memory.
        check: Called now and then while an index is built; may raise to end the work.

    Raises:
        SourceError: It cannot be read, a line is not of this form, an id stands there twice, or it changed meanwhile.
        OutputError: There is no room for the index.
    """
    if path == STANDARD_INPUT:
        raise SourceError("a corpus and its queries are looked up, which standard input does not allow; name a file")
    facts = _facts(path)
    if is_stream(path):
        raise SourceError(
            f"{path} is a pipe or a device; corpus and queries are looked up, so write it into a file first"
        )
    compressed = is_gzip(path)
    if facts.st_size <= in_memory and not compressed:
        return _unchanged(TextsInMemory(path), facts)
    kind, build, is_current = (
        (TextsCopied, copied.copy_texts, copied.is_current)
        if compressed
        else (TextsOnDisk, index.build, index.is_current)
    )
    stamp = f"{_FORMAT} {facts.st_size} {facts.st_mtime_ns}"
    beside = Path(path + SUFFIX)
    keep = os.access(beside.parent, os.W_OK)
    folder = beside.parent if keep else Path(tempfile.gettempdir())
    _remove_abandoned(folder, beside.name)
    if is_current(beside, stamp):
        return _unchanged(kind(path, beside, built_seconds=0.0), facts)
    started = time.perf_counter()
    with _temporary(folder, beside.name) as (made, handle):
        build(path, made, stamp, check)
        if keep:
            _to_the_disk(handle, path, folder)
        texts = _unchanged(kind(path, made, built_seconds=time.perf_counter() - started), facts)
        if keep:
            _take_name(made, beside)
        return texts


def _facts(path: str) -> os.stat_result:
    try:
        return Path(path).stat()
    except OSError as exc:
        raise SourceError(f"cannot read {path}: {exc.strerror}") from exc


def _unchanged(texts: Texts, then: os.stat_result) -> Texts:
    """The texts, if their file is still as it was before they were read; else they are closed."""
    if has_changed(then, _facts(texts.path)):
        texts.close()
        raise SourceError(f"{texts.path} has changed while it was read; give the same command again")
    return texts


@contextlib.contextmanager
def _temporary(folder: Path, name: str) -> Iterator[tuple[Path, int]]:
    """A new file, and a descriptor of it, which is locked inside the block; with it the file loses its name."""
    made = folder / f".{name}.{secrets.token_hex(8)}.tmp"
    try:
        lock = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as exc:
        raise OutputError(f"cannot write {made}: {exc.strerror}") from exc
    try:
        with contextlib.suppress(OSError):  # not every file system can; then nobody takes it for abandoned either
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield made, lock
    finally:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
        os.close(lock)


def _to_the_disk(handle: int, path: str, folder: Path) -> None:
    """Before it takes its name, so that no loss of power leaves the name with half of an index."""
    try:
        os.fsync(handle)
    except OSError as exc:
        words = f"cannot write the index of {path} in {folder}: {exc.strerror}; make room there, {AGAIN}"
        raise OutputError(words) from exc


def _take_name(made: Path, beside: Path) -> None:
    """Gives an index its name, where that is to be had: not from a folder, nor from another's file in a place such as /tmp."""
    with contextlib.suppress(OSError):
        made.replace(beside)


def _remove_abandoned(folder: Path, name: str) -> None:
    """Removes temporary files that nobody locks: who made them was killed. Numbers of processes are used again."""
    ours = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]+\.tmp")
    try:
        found = [each for each in folder.iterdir() if ours.fullmatch(each.name)]
    except OSError:
        return  # a folder that cannot be listed
    for path in found:
        with contextlib.suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
