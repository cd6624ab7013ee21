"""Opens a corpus or a file of queries for looking texts up, in memory or on the disk."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rerank_async.bulk import copied, index
from rerank_async.bulk.copied import TextsCopied
from rerank_async.bulk.errors import SourceError
from rerank_async.bulk.index import TextsOnDisk
from rerank_async.bulk.lines import STANDARD_INPUT, is_gzip, is_stream
from rerank_async.bulk.texts import Texts, TextsInMemory

IN_MEMORY = 16 * 2**20
"""Bytes up to which a plain file is held in memory."""
SUFFIX = ".rerank-index"

_FORMAT = 2


def open_texts(path: str, *, in_memory: int = IN_MEMORY, check: Callable[[], object] = lambda: None) -> Texts:
    """Opens a corpus, or queries.

    The index of a large file lies beside it as ``NAME.rerank-index``, and is used again as long as the file keeps its
    size and time. Where that folder cannot be written, it lies among the temporary files until `Texts.close`.

    Args:
        path: JSON Lines with ``_id`` (or ``id``), ``text`` and perhaps ``title``, which then stands before the text;
            or lines of id, tab, text. Compressed by gzip if the name ends in ``.gz``.
        in_memory: Bytes up to which a plain file is held in memory.
        check: Called now and then while an index is built; may raise to end the work.

    Raises:
        SourceError: It cannot be read, a line is not of this form, or an id stands there twice.
        OutputError: There is no room for the index.
    """
    if path == STANDARD_INPUT:
        raise SourceError("a corpus and its queries are looked up, which standard input does not allow; name a file")
    try:
        facts = Path(path).stat()
    except OSError as exc:
        raise SourceError(f"cannot read {path}: {exc.strerror}") from exc
    if is_stream(path):
        raise SourceError(
            f"{path} is a pipe or a device; corpus and queries are looked up, so write it into a file first"
        )
    compressed = is_gzip(path)
    if facts.st_size <= in_memory and not compressed:
        return TextsInMemory(path)
    kind, build, is_current = (
        (TextsCopied, copied.copy_texts, copied.is_current)
        if compressed
        else (TextsOnDisk, index.build, index.is_current)
    )
    stamp = f"{_FORMAT} {facts.st_size} {facts.st_mtime_ns}"
    beside = Path(path + SUFFIX)
    if is_current(beside, stamp):
        return kind(path, beside, keep=True, built_seconds=0.0)
    started = time.perf_counter()
    keep = os.access(beside.parent, os.W_OK)
    folder = beside.parent if keep else Path(tempfile.gettempdir())
    made = folder / f".{beside.name}.{os.getpid()}.tmp"
    try:
        build(path, made, stamp, check)
        if keep:
            made.replace(beside)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    return kind(path, beside if keep else made, keep=keep, built_seconds=time.perf_counter() - started)
