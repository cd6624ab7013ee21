"""SQLite's temporary files: where they lie, and what is said when there is no room for them."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from rerank_async.bulk.errors import OutputError

AGAIN = "then give the same command again, with --resume if the job had begun"
"""How to go on from where there was no room."""


def scratch_folder() -> str:
    """Where SQLite puts its temporary files: the first folder that can be written.

    Source: https://www.sqlite.org/tempfiles.html#temporary_file_storage_locations
    """
    named = (os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108 - SQLite's
    return next((each for each in named if each and Path(each).is_dir() and os.access(each, os.W_OK | os.X_OK)), ".")


def no_scratch(what: str, exc: sqlite3.Error) -> OutputError:
    """The error of temporary files that cannot be written."""
    return OutputError(
        f"cannot write the temporary files for {what} in {scratch_folder()}: {exc}; make room there, or name another "
        f"folder in SQLITE_TMPDIR, {AGAIN}"
    )
