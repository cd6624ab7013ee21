"""Texts by id, out of a corpus or a file of queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from rerank_async.bulk.documents import documents_of, stands_twice
from rerank_async.bulk.lines import digest_of


class LackingError(LookupError):
    """There is no text with the id that is the message."""


class Texts(ABC):
    """Texts by id.

    Attributes:
        path: The file.
        digest: The SHA-256 of the file.
        built_seconds: How long the index took to build; 0.0: it was there, or none is needed.
    """

    def __init__(self, path: str, digest: str, built_seconds: float) -> None:
        self.path = path
        self.digest = digest
        self.built_seconds = built_seconds

    @abstractmethod
    def fetch(self, ids: Sequence[str]) -> list[str]:
        """The text of each id, in order.

        Raises:
            LackingError: There is none for one of them; the first such id is the message.
        """

    @property
    def changed(self) -> bool:
        """Whether the file has changed since it was opened; False where it is not read any more."""
        return False

    def close(self) -> None:  # noqa: B027 - most hold nothing open
        """Closes what is open. Harmless when repeated."""


class TextsInMemory(Texts):
    """A small file, held whole."""

    def __init__(self, path: str) -> None:
        """Reads it.

        Raises:
            SourceError: It cannot be read, a line is no document, or an id stands there twice.
        """
        super().__init__(path, digest_of(path), 0.0)
        self._texts: dict[str, str] = {}
        lines: dict[str, int] = {}
        for number, document, text in documents_of(path):
            if document in lines:
                raise stands_twice(path, document, lines[document], number)
            lines[document] = number
            self._texts[document] = text

    def fetch(self, ids: Sequence[str]) -> list[str]:
        """As the base class says."""
        return found_of(self._texts, ids)


def found_of(texts: Mapping[str, str], ids: Sequence[str]) -> list[str]:
    """The text of each id.

    Raises:
        LackingError: There is none for one of them.
    """
    try:
        return [texts[each] for each in ids]
    except KeyError as exc:
        raise LackingError(exc.args[0]) from None
