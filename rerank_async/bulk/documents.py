"""Documents and queries as lines: BEIR's JSON objects, or MS MARCO's id, tab, text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import repeat
from operator import itemgetter

from rerank_async.bulk.errors import SourceError
from rerank_async.bulk.lines import decoded, json_object, kind_of, loads, numbered_lines

_id_of, _text_of = itemgetter("_id"), itemgetter("text")


class Layout(ABC):
    """How a line holds a document. Lines come without blanks before them, with or without their line feed."""

    @abstractmethod
    def one(self, line: bytes) -> tuple[str, str]:
        """The id and the text.

        Raises:
            ValueError: The line is not of this layout; the message says what it is, without where.
        """

    @abstractmethod
    def texts(self, lines: Sequence[bytes], ids: Sequence[str]) -> list[str] | None:
        """The texts of many lines at once; None: one is odd, or is not the document with the id of the same place."""


class JsonLayout(Layout):
    """``{"_id", "title", "text"}``, where ``title`` may be missing, and ``_id`` may be called ``id``."""

    def one(self, line: bytes) -> tuple[str, str]:
        """As the base class says."""
        try:
            value = loads(line)
            document, text, title = value.get("_id"), value["text"], value.get("title")
            if type(document) is str and type(text) is str:
                if not title:
                    return document, text
                if type(title) is str:
                    return document, _joined(title, text)
        except (ValueError, KeyError, AttributeError, TypeError):
            pass
        return _odd_document(line)

    def texts(self, lines: Sequence[bytes], ids: Sequence[str]) -> list[str] | None:
        """As the base class says."""
        try:
            values = loads(b"[%b]" % b",".join(lines))
            if list(map(_id_of, values)) != ids:
                return None
            found = list(map(_text_of, values))
            if any(map(dict.get, values, repeat("title"))):
                found = [
                    _joined(value["title"], text) if value.get("title") else text
                    for value, text in zip(values, found, strict=True)
                ]
            "".join(found)  # refuses what is no string
        except (ValueError, KeyError, AttributeError, TypeError):
            return None
        return found


class TabLayout(Layout):
    """Id, tab, text; further tabs become spaces."""

    def one(self, line: bytes) -> tuple[str, str]:
        """As the base class says."""
        document, tab, text = decoded(line.rstrip(b"\r\n")).partition("\t")
        if not tab:
            raise ValueError("no tab; a line of id, tab, text is needed, or a JSON object with '_id' and 'text'")
        return document, text.replace("\t", " ")

    def texts(self, lines: Sequence[bytes], ids: Sequence[str]) -> list[str] | None:
        """As the base class says."""
        try:
            whole = b"".join(lines).decode()
        except UnicodeDecodeError:
            return None
        whole = whole.removesuffix("\n")
        if "\r" in whole or whole.count("\n") != len(ids) - 1 or whole.count("\t") != len(ids):
            return None
        parts = whole.replace("\n", "\t").split("\t")
        return parts[1::2] if parts[0::2] == ids else None


def layout_of(path: str) -> Layout:
    """What a file's first line looks like.

    Raises:
        SourceError: The file cannot be read.
    """
    first = next(numbered_lines(path), (0, b""))[1]
    return JsonLayout() if first.lstrip().startswith(b"{") else TabLayout()


def documents_of(path: str) -> Iterator[tuple[int, str, str]]:
    """Of each document of a file: the line's number, id, text.

    Raises:
        SourceError: The file cannot be read, or a line is no document.
    """
    layout = layout_of(path)
    for number, line in numbered_lines(path):
        try:
            document, text = layout.one(line)
        except ValueError as exc:
            raise SourceError(f"{path}, line {number}: {exc}") from exc
        yield number, document, text


def stands_twice(path: str, document: str, first: int, again: int) -> SourceError:
    """The error of a file with two documents of one id, by the numbers of their lines."""
    return SourceError(f"{path}, line {again}: the id {document!r} stands in line {first} too")


def _joined(title: str, text: str) -> str:
    return f"{title} {text}".strip()


def _odd_document(line: bytes) -> tuple[str, str]:
    value = json_object(line, "'_id' and 'text'")
    name = "_id" if "_id" in value else "id"
    for field in (name, "text"):
        if field not in value:
            raise ValueError(f"no field {field!r}; its fields: {', '.join(map(repr, value)) or 'none'}")
    document, text, title = value[name], value["text"], value.get("title") or ""
    if type(document) is int:
        document = str(document)
    for field, content in ((name, document), ("text", text), ("title", title)):
        if type(content) is not str:
            raise ValueError(f"the field {field!r} is a JSON {kind_of(content)}, not a string")
    return document, _joined(title, text) if title else text
