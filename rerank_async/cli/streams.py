"""The standard streams as a command finds them: somebody may have closed one, and what is written may find no room."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO, TextIO

from rerank_async.cli.exits import InputError, UnwrittenError

_OUTPUT, _ERROR = 1, 2  # descriptors


def open_closed() -> None:
    """Puts the null device in the place of standard streams that are closed.

    Else the next file that is opened, such as a job's journal, would have their number, and get what libraries write to
    standard error. Standard error is then written to all the same; `standard_input` and `standard_output` refuse.
    """
    for number in (0, _OUTPUT, _ERROR):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, and the lower ones are not
    if sys.stderr is None:
        sys.stderr = open(_ERROR, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - a number, and open to the end


def standard_input() -> BinaryIO:
    """Standard input.

    Raises:
        InputError: It is closed.
    """
    if sys.stdin is None:
        raise InputError("standard input is closed, so there is nothing to read; name a file, or give it an input")
    return sys.stdin.buffer


def standard_output() -> TextIO:
    """Standard output.

    Raises:
        UnwrittenError: It is closed.
    """
    if sys.stdout is None:
        raise UnwrittenError("standard output is closed, so nothing can be written to it; send it to a file")
    return sys.stdout


@contextlib.contextmanager
def writing() -> Iterator[TextIO]:
    """Standard output. A reader that has seen enough, such as ``head``, is no error.

    Raises:
        UnwrittenError: It is closed, or there is no room for what was written.
    """
    try:
        yield standard_output()
    except BrokenPipeError:
        leave_output()
    except OSError as exc:
        leave_output()
        raise UnwrittenError(f"cannot write to standard output: {exc.strerror or exc}") from exc


def leave_output() -> None:
    """What is still written to standard output goes nowhere: nobody reads it, or there is no room."""
    # The interpreter flushes standard output once more at its end; source: Python's documentation of SIGPIPE.
    _leave(sys.stdout)


def leave_unwritten() -> None:
    """At the end of a command: what there is no room for is left, which the interpreter would else end with a code of its own."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except OSError:
                _leave(stream)


def _leave(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
