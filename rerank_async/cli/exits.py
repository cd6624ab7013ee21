"""Exit codes, and the one sentence that an error becomes."""

from __future__ import annotations

import contextlib
import sys
import traceback
from enum import IntEnum

import click

from rerank_async.cli.wording import for_commands
from rerank_async.errors import (
    AuthenticationError,
    BadRequestError,
    ClientStateError,
    DeadlineExceededError,
    InvalidArgumentError,
    ModelNotSupportedError,
    PermissionDeniedError,
    QuotaExceededError,
    RequestTimeoutError,
    RerankError,
)
from rerank_async.runtime.logs import wanted


class Exit(IntEnum):
    """What the process ends with, for scripts."""

    FINE = 0
    UNEXPECTED = 1
    USAGE = 2
    REFUSED = 3
    SERVICE = 4
    TIMED_OUT = 5
    UNWRITTEN = 6
    SOME_FAILED = 7
    INTERRUPTED = 130


TABLE = """\b
Exit codes:
  0    fine
  1    unexpected: please report it
  2    wrong usage or input; an extra that is not installed
  3    the service refused: key, permission or quota
  4    the service or the network failed
  5    timed out
  6    the output cannot be written
  7    done, but some queries failed
  130  interrupted by Ctrl-C
"""
"""For the end of ``--help``; the first character keeps click from wrapping it."""


class InputError(Exception):
    """Something that the user can put right: a sentence, and exit code 2."""


class UnwrittenError(Exception):
    """Standard output does not take what is written: a sentence, and exit code 6."""


_BY_KIND: tuple[tuple[type[Exception], Exit], ...] = (
    (InputError, Exit.USAGE),
    (UnwrittenError, Exit.UNWRITTEN),
    (InvalidArgumentError, Exit.USAGE),
    (BadRequestError, Exit.USAGE),
    (AuthenticationError, Exit.REFUSED),
    (PermissionDeniedError, Exit.REFUSED),
    (QuotaExceededError, Exit.REFUSED),
    (RequestTimeoutError, Exit.TIMED_OUT),
    (DeadlineExceededError, Exit.TIMED_OUT),
    (ClientStateError, Exit.UNEXPECTED),
    (RerankError, Exit.SERVICE),
)
# What a command can do about it, beside what `for_commands` makes of the message.
_ON_THE_COMMAND_LINE: tuple[tuple[type[RerankError], str], ...] = (
    (ModelNotSupportedError, "`rerank-async models` lists what there is"),
    (DeadlineExceededError, "`--timeout` sets the deadline"),
)


def code_of(error: BaseException) -> Exit:
    """The exit code for an error."""
    bulk = sys.modules.get("rerank_async.bulk.errors")  # what was not imported cannot have been raised
    if bulk is not None:
        if isinstance(error, bulk.OutputError):
            return Exit.UNWRITTEN
        if isinstance(error, bulk.JobError | bulk.SourceError):
            return Exit.USAGE
        if isinstance(error, bulk.JobStoppedError) and error.reason is not None:
            return code_of(error.reason)
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Exit.INTERRUPTED
    return next((code for kind, code in _BY_KIND if isinstance(error, kind)), Exit.UNEXPECTED)


def sentence_of(error: BaseException) -> str:
    """The line that tells the user what happened."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "interrupted"
    if not isinstance(error, InputError | UnwrittenError | RerankError):
        return f"unexpected {type(error).__name__}: {error} (RERANK_ASYNC_LOG=debug shows where)"
    hint = next((hint for kind, hint in _ON_THE_COMMAND_LINE if isinstance(error, kind)), None)
    message = for_commands(str(error))
    return f"{message} ({hint})" if hint else message


def report(error: BaseException) -> Exit:
    """Says on standard error what happened, with the traceback where ``RERANK_ASYNC_LOG=debug`` asks for it."""
    if wanted() and not isinstance(error, click.Abort):
        traceback.print_exception(error)
    note(sentence_of(error))
    return code_of(error)


def note(sentence: str) -> None:
    """One line on standard error; nothing if there is no room for it, which is no reason to end a job."""
    line = " ".join(sentence.split())
    with contextlib.suppress(OSError):
        sys.stderr.write(f"rerank-async: {line}\n")
