"""The command line in a process that kills itself at a moment: ``python -m support.killed MOMENT ARGS...``.

Every corpus is looked up on the disk, however small it is.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

from rerank_async.bulk import copied, index
from rerank_async.bulk.lookup import open_texts
from rerank_async.bulk.results import JsonResults, RunResults
from rerank_async.cli import main


def die(*_args, **_more):
    os.kill(os.getpid(), signal.SIGKILL)


def never():
    """The job is not disturbed."""


def index_is_half_written():
    def half(file, rows, _slots):
        next(rows)
        file.write(bytes(100))
        file.flush()
        die()

    index._write_table = half


def copy_is_not_committed():
    copied.digest_of = die


def third_result_is_assembled():
    for kind in (JsonResults, RunResults):
        kind.from_record = _dying_at(3, kind.from_record)


def before_name(ending, number="1"):
    """A file is whole, and is about to take its name, for the so manieth time."""
    _at_replace(ending, _dying_at(int(number)), lambda: None)


def after_name(ending, number="1"):
    """A file has just taken its name."""
    _at_replace(ending, lambda: None, _dying_at(int(number)))


def _dying_at(number, function=lambda: None):
    """The function, but its so manieth call is the end."""
    calls = itertools.count(1)
    return lambda *args: die() if next(calls) == number else function(*args)


def _at_replace(ending, before, after):
    replace = Path.replace

    def watched(path, target):
        ours = str(target).endswith(ending)
        if ours:
            before()
        found = replace(path, target)
        if ours:
            after()
        return found

    Path.replace = watched


if __name__ == "__main__":
    open_texts.__kwdefaults__["in_memory"] = 0
    name, *arguments = sys.argv.pop(1).split(":")
    globals()[name](*arguments)
    sys.exit(main())
