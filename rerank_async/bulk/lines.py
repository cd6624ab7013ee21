"""Lines of files: plain, compressed by gzip (by name), or standard input; and what a whole file amounts to."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from rerank_async.bulk.errors import SourceError
from rerank_async.policy.json_codec import codec

STANDARD_INPUT = "-"
MOST_BYTES = 2**28
"""The longest line that is read. Over it, a file is not made of lines, and would fill the memory."""

_HALVES = (b"\\ud", b"\\uD")
"""How the standard library may come to half of a surrogate pair, which it cannot write again."""

_BOM = b"\xef\xbb\xbf"


def name_of(path: str) -> str:
    """The file as messages call it."""
    return "standard input" if path == STANDARD_INPUT else path


def is_gzip(path: str) -> bool:
    """Whether the file's name says that it is compressed."""
    return path.endswith(".gz")


def status_of(path: str) -> os.stat_result | None:
    """What the system knows of a file, or of standard input; None: it is not there."""
    try:
        return os.fstat(sys.stdin.fileno()) if path == STANDARD_INPUT else os.stat(path)  # noqa: PTH116 - as beside it
    except (OSError, ValueError, AttributeError):  # the last two: standard input may be closed, or be no file
        return None


def is_stream(path: str) -> bool:
    """Whether what a path names can be read once only: a pipe, a socket, a terminal."""
    status = status_of(path)
    return status is not None and not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode))


def open_binary(path: str) -> BinaryIO:
    """Opens a file for reading, decompressed.

    Raises:
        SourceError: There is no such file, or it cannot be read; standard input may be closed.
    """
    if path == STANDARD_INPUT:
        if sys.stdin is None:
            raise SourceError("standard input is closed, so there is nothing to read; name a file, or give it an input")
        return sys.stdin.buffer
    try:
        return cast("BinaryIO", gzip.open(path, "rb")) if is_gzip(path) else Path(path).open("rb")
    except (OSError, ValueError) as exc:
        raise SourceError(f"cannot read {path}: {getattr(exc, 'strerror', None) or exc}") from exc


def has_changed(then: os.stat_result, now: os.stat_result) -> bool:
    """Whether a file is another one, or holds something else, by its size and the time when it was last written.

    A file that only got another name, or lost it, is the same to who has it open.
    """
    return (then.st_size, then.st_mtime_ns) != (now.st_size, now.st_mtime_ns) or not os.path.samestat(then, now)


@contextlib.contextmanager
def reading(path: str, opened: BinaryIO | None = None) -> Iterator[BinaryIO]:
    """As `open_binary`; closed behind the block, except standard input.

    Args:
        path: The file, or ``-``.
        opened: The same, from `open_binary`; it stays its owner's to close.

    Raises:
        SourceError: It cannot be read, or is damaged.
    """
    file = open_binary(path) if opened is None else opened
    try:
        yield file
    except (OSError, EOFError, zlib.error) as exc:
        raise SourceError(f"{name_of(path)}: cannot be read: {exc}") from exc
    finally:
        if path != STANDARD_INPUT and opened is None:
            file.close()


def numbered_lines(
    path: str, opened: BinaryIO | None = None, *, each: Callable[[bytes], object] | None = None
) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, without their ends, with their numbers from 1 as editors count them.

    Args:
        path: The file, or ``-``.
        opened: The same, from `open_binary`; it stays its owner's to close.
        each: Takes every line as it lies there, blank ones too.

    Raises:
        SourceError: The file cannot be read, is damaged, or has a line over `MOST_BYTES`.
    """
    number = 0
    file = open_binary(path) if opened is None else opened
    try:
        readline = file.readline
        while line := readline(MOST_BYTES):
            number += 1
            if len(line) == MOST_BYTES:
                raise SourceError(f"{name_of(path)}, line {number}: over {MOST_BYTES // 2**20} MiB, so this is no line")
            if each is not None:
                each(line)
            if number == 1:
                line = line.removeprefix(_BOM)
            line = line.rstrip(b"\r\n")
            if line and not line.isspace():
                yield number, line
    except (OSError, EOFError, zlib.error) as exc:
        raise SourceError(f"{name_of(path)}: cannot be read behind line {number}: {exc}") from exc
    finally:
        if path != STANDARD_INPUT and opened is None:
            file.close()


def digest_of(path: str) -> str:
    """The SHA-256 of a file as it lies there.

    Raises:
        SourceError: It cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise SourceError(f"cannot read {path}: {exc.strerror}") from exc


def loads(line: bytes) -> Any:
    """A line as JSON, the same under either codec: half of a surrogate pair, NaN and infinities are refused.

    A whole number over 64 bits is a float. How deep objects may lie in one another is the library's: about 1,000.

    Raises:
        ValueError: It is none.
    """
    library = codec()
    value = library.loads_alike(line)
    if not library.strict and any(map(line.__contains__, _HALVES)):
        json.dumps(value, ensure_ascii=False).encode()
    return value


def json_object(line: bytes, needed: str) -> dict[str, Any]:
    """A line as a JSON object.

    Args:
        line: UTF-8.
        needed: What the object is to hold, for the message.

    Raises:
        ValueError: It is none; the message says what it is, without where.
    """
    try:
        value = loads(line)
    except ValueError:
        raise ValueError(_what_is_wrong(line)) from None
    if type(value) is not dict:
        raise ValueError(f"a JSON {kind_of(value)} where an object with {needed} is needed")
    return value


def decoded(data: bytes) -> str:
    """Bytes as text.

    Raises:
        ValueError: They are not UTF-8; the message says where.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise ValueError(f"byte {exc.start + 1} is not UTF-8; convert the file, for example with iconv") from None


def kind_of(value: object) -> str:
    """A decoded value in the words of JSON."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _what_is_wrong(line: bytes) -> str:
    text = decoded(line)
    try:
        json.loads(text)
    except json.JSONDecodeError as exc:
        return f"not JSON at character {exc.pos + 1}: {exc.msg}"
    except (ValueError, RecursionError) as exc:
        return f"not JSON that can be read: {exc}"
    return "JSON that the quick parser refuses, such as half of a surrogate pair or a number that is none or too large"
