"""Passages out of a file or standard input: one a line, or a field of JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from rerank_async.cli.exits import InputError, note
from rerank_async.cli.streams import standard_input

FORMATS = ("auto", "lines", "jsonl")
_JSONL_NAMES = frozenset({".jsonl", ".ndjson"})
_BOM = b"\xef\xbb\xbf"


@attrs.frozen
class Passages:
    """What is to be ranked.

    Attributes:
        name: The file, for messages.
        texts: None of them blank, in the file's order.
        lines: The line of each, from 1.
    """

    name: str
    texts: tuple[str, ...]
    lines: tuple[int, ...]


def read_passages(file: str, file_format: str, field: str) -> Passages:
    """Reads a file.

    Args:
        file: A path, or ``-`` for standard input.
        file_format: One of `FORMATS`.
        field: Which field of a JSON object is the text.

    Raises:
        InputError: There is no such file, or a line is not UTF-8, not JSON, or without the field.
    """
    name = "standard input" if file == "-" else file
    lines = list(_decoded(_content(file), name))
    if file_format == "auto":
        file_format = _detected(file, lines, field, name)
    if file_format == "jsonl":
        lines = [(number, _field(line, field, f"{name}, line {number}")) for number, line in lines]
    kept = [(number, text) for number, text in lines if text.strip()]
    return Passages(name, tuple(text for _, text in kept), tuple(number for number, _ in kept))


def _content(file: str) -> bytes:
    if file == "-":
        content = standard_input()
        if content.isatty():
            note("reading one passage a line from the terminal; Ctrl-D ends the list")
        return content.read()
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise InputError(f"cannot read {file}: {reason}") from exc


def _decoded(content: bytes, name: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers: counted by line feeds alone, as editors and `sed` do."""
    for number, line in enumerate(content.removeprefix(_BOM).split(b"\n"), start=1):
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError as exc:
            raise InputError(
                f"{name}, line {number}: byte {exc.start + 1} is not UTF-8; convert the file, for example with iconv"
            ) from exc
        if text.strip():
            yield number, text


def _detected(file: str, lines: list[tuple[int, str]], field: str, name: str) -> str:
    if Path(file).suffix.lower() in _JSONL_NAMES:
        return "jsonl"
    if not lines:
        return "lines"
    number, first = lines[0]
    value = _json(first)
    if isinstance(value, dict) and field in value:
        return "jsonl"
    if isinstance(value, dict):
        note(
            f"{name}, line {number} is a JSON object without the field {field!r}, so lines are ranked as they stand; "
            "--field NAME ranks one of its fields"
        )
    return "lines"


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _field(line: str, field: str, where: str) -> str:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as exc:
        raise InputError(f"{where}: not JSON at character {exc.pos + 1}: {exc.msg}") from exc
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{where}: not JSON that can be read: {exc}") from exc
    if not isinstance(value, dict):
        raise InputError(f"{where}: a JSON {_kind(value)} where an object with the field {field!r} is needed")
    if field not in value:
        has = ", ".join(map(repr, value)) or "none"
        raise InputError(f"{where}: no field {field!r}; its fields: {has}. --field NAME takes another one")
    text = value[field]
    if not isinstance(text, str):
        raise InputError(f"{where}: the field {field!r} is a JSON {_kind(text)}, not a string")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InputError(f"{where}: the field {field!r} holds half of a surrogate pair, which is no text") from exc
    return text


def _kind(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
