"""The queries of a job, one after the other, out of JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from rerank_async.bulk.errors import BadItemError
from rerank_async.bulk.lines import json_object, kind_of, name_of, numbered_lines

Id = str | int


class Item(NamedTuple):
    """One query of the source.

    Attributes:
        at: Its place among the queries of the source, from 0.
        line: Its line, from 1; of a run: its first.
        id: What the source calls it; without an ``id`` there, the line's number.
        query: The query.
        inputs: The candidates, in the source's order.
        names: Their ids, None for one without; None: none of them has one.
    """

    at: int
    line: int
    id: Id
    query: str
    inputs: list[str]
    names: Sequence[Id | None] | None


class BadItem(NamedTuple):
    """A query of the source that cannot be sent, and why; ``id`` is None if that cannot be told."""

    at: int
    line: int
    id: Id | None
    error: BadItemError


def read_jsonl(path: str, depth: int | None, opened: BinaryIO | None = None) -> Iterator[Item | BadItem]:
    """Queries with their candidates: ``{"id", "query", "inputs": [str | {"id", "text"}]}``; other fields are ignored.

    Args:
        path: The file, or ``-``.
        depth: Only the first so many candidates of each query; None: all.
        opened: The same file, from `rerank_async.bulk.lines.open_binary`; it stays its owner's to close.

    Raises:
        SourceError: The file cannot be read.
    """
    name = name_of(path)
    for at, (number, line) in enumerate(numbered_lines(path, opened)):
        found_id: Id | None = None
        try:
            value = json_object(line, "'query' and 'inputs'")
            found_id = _id_of(value.get("id", number), "id")
            query, (texts, names) = _query_of(value), _candidates(_inputs_of(value)[:depth])
        except ValueError as exc:
            yield BadItem(at, number, found_id, BadItemError(f"{name}, line {number}: {exc}", line=number))
            continue
        yield Item(at, number, found_id, query, texts, names)


def _query_of(value: dict[str, Any]) -> str:
    query = value.get("query")
    if type(query) is not str:
        raise ValueError(_not_a("query", query, "string", value))
    return query


def _inputs_of(value: dict[str, Any]) -> list[Any]:
    inputs = value.get("inputs")
    if type(inputs) is not list:
        raise ValueError(_not_a("inputs", inputs, "array", value))
    return inputs


def _candidates(inputs: list[Any]) -> tuple[list[str], list[Id | None] | None]:
    if set(map(type, inputs)) <= {str}:
        return inputs, None
    texts: list[str] = []
    names: list[Id | None] = []
    text: Any
    for index, item in enumerate(inputs):
        where = f"inputs[{index}]"
        name: Id | None = None
        if type(item) is str:
            text = item
        elif type(item) is not dict:
            raise ValueError(f"{where} is a JSON {kind_of(item)}, not a string or an object with 'text'")
        else:
            text = item.get("text")
            if type(text) is not str:
                raise ValueError(_not_a(f"{where}.text", text, "string", item, field="text"))
            name = _id_of(item["id"], f"{where}.id") if "id" in item else None
        texts.append(text)
        names.append(name)
    known = [name for name in names if name is not None]
    if len(set(known)) < len(known):
        again = next(name for place, name in enumerate(known) if name in known[:place])
        raise ValueError(f"inputs[{names.index(again)}] and a later input have the same id {again!r}")
    return texts, names if known else None


def _id_of(value: object, where: str) -> Id:
    if type(value) is not str and type(value) is not int:
        raise ValueError(f"{where} is a JSON {kind_of(value)}, not a string or a whole number of 64 bits")
    return value


def _not_a(where: str, value: object, wanted: str, owner: dict[str, Any], field: str | None = None) -> str:
    if (field or where) in owner:
        return f"{where} is a JSON {kind_of(value)}, not a{'n' if wanted == 'array' else ''} {wanted}"
    return f"no field {field or where!r}; its fields: {', '.join(map(repr, owner)) or 'none'}"
