"""Results on standard output: a table for a terminal, tab-separated lines for a pipe, JSON on request."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import attrs

from rerank_async.cli.streams import writing


@attrs.frozen
class Column:
    """One column of a table.

    Attributes:
        title: Its heading on a terminal.
        number: Whether it is set flush right, and always whole.
        last: Whether it takes the rest of a terminal's width and is cut at the edge; others are wrapped.
    """

    title: str
    number: bool = False
    last: bool = False


def write_json(body: Any) -> None:
    """Writes a JSON value, indented, as UTF-8 whatever the terminal's encoding: that is what JSON is.

    The bytes of a file's name that are not UTF-8 become escapes of half of a surrogate pair, as Python has them.
    """
    content = json.dumps(body, ensure_ascii=False, indent=2).encode(errors="backslashreplace")
    with writing() as output:
        output.buffer.write(content + b"\n")
        output.buffer.flush()


def write_rows(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Writes rows: a table if standard output is a terminal, else one line each, separated by tabs, without heading.

    Control characters inside a cell, tabs and line breaks among them, become spaces: a line stays a line, and no text
    can steer the terminal. Bytes of a file's name that are not UTF-8 become escapes.
    """
    cleaned = [[_printable(cell) for cell in row] for row in rows]
    with writing() as output:
        if output.isatty():
            _write_table(columns, cleaned)
            output.flush()
        else:
            _write(output, "".join("\t".join(row) + "\n" for row in cleaned))


def write_text(text: str) -> None:
    """Writes text as it is; letters that the terminal's encoding lacks become escapes."""
    with writing() as output:
        _write(output, text)


def _write(output: TextIO, text: str) -> None:
    output.buffer.write(text.encode(output.encoding or "utf-8", "backslashreplace"))
    output.buffer.flush()


def _write_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    # Where a column takes the rest of the width, the others keep theirs: numbers are never cut.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=any(column.last for column in columns))
    for column in columns:
        table.add_column(
            Text(_printable(column.title)),
            justify="right" if column.number else "left",
            no_wrap=column.number or column.last,
            overflow="ellipsis" if column.last else "fold",
            ratio=1 if column.last else None,
        )
    for row in rows:
        table.add_row(*map(Text, row))  # Text, so that brackets in a passage are no markup
    Console().print(table)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    spaced = "".join(" " if unicodedata.category(char) in {"Cc", "Zl", "Zp"} else char for char in text)
    return spaced.encode(errors="backslashreplace").decode()
