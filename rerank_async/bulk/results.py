"""Results as lines: JSON Lines, or the rows of a TREC run. They hold no times and no trace ids, so runs compare."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from pathlib import Path

from rerank_async.bulk.errors import SourceError
from rerank_async.bulk.files import replace_file
from rerank_async.bulk.items import Id, Item
from rerank_async.bulk.journal import read_back
from rerank_async.policy.json_codec import codec
from rerank_async.values.response import RerankResult

_NOTHING = -1
_BUFFER = 2**20


def id_text(name: Id) -> str:
    """An id as JSON."""
    return encode_basestring(name) if type(name) is str else str(name)


class Results(ABC):
    """How finished queries are written.

    Attributes:
        kind: The form's name in ``OUT.job.json``.
    """

    kind: str

    @abstractmethod
    def line(self, item: Item, results: Sequence[RerankResult]) -> bytes:
        """What a finished query adds to an output that is written as queries are completed."""

    @abstractmethod
    def record(self, item: Item, results: Sequence[RerankResult]) -> bytes:
        """The line of the journal, which begins ``{"at":N,``."""

    @abstractmethod
    def from_record(self, record: bytes) -> bytes:
        """What `line` would have given."""


class JsonResults(Results):
    """``{"id", "results": [{"id" | "index", "score"}]}``, best first."""

    kind = "jsonl"

    def line(self, item: Item, results: Sequence[RerankResult]) -> bytes:
        """As the base class says."""
        return f'{{"id":{id_text(item.id)},"results":[{_json_rows(item, results)}]}}\n'.encode()

    def record(self, item: Item, results: Sequence[RerankResult]) -> bytes:
        """As the base class says."""
        return f'{{"at":{item.at},"id":{id_text(item.id)},"results":[{_json_rows(item, results)}]}}\n'.encode()

    def from_record(self, record: bytes) -> bytes:
        """As the base class says."""
        return b"{" + record[record.index(b",") + 1 :]


class RunResults(Results):
    """A TREC run: ``qid Q0 docid rank score tag``, the rank from 1."""

    kind = "run"

    def __init__(self, tag: str) -> None:
        self._tag = tag

    def line(self, item: Item, results: Sequence[RerankResult]) -> bytes:
        """As the base class says."""
        return self._rows(item, results).encode()

    def record(self, item: Item, results: Sequence[RerankResult]) -> bytes:
        """As the base class says."""
        rows = codec().dumps(self._rows(item, results))
        return b'{"at":%d,"id":%b,"rows":%b}\n' % (item.at, id_text(item.id).encode(), rows)

    def from_record(self, record: bytes) -> bytes:
        """As the base class says."""
        rows: str = codec().loads(record)["rows"]
        return rows.encode()

    def _rows(self, item: Item, results: Sequence[RerankResult]) -> str:
        count = len(results)
        if not count:
            return ""
        names = item.names or range(len(item.inputs))
        head, tail = f"{item.id} Q0 ", f" {self._tag}\n"
        # One join over parts that are set slice by slice costs a third of a formatted string for each row.
        parts = [tail + head] * (4 * count)
        parts[0::4] = map(str, [names[result.index] for result in results])
        parts[1::4] = _ranks(count)
        parts[2::4] = _numbers([result.score for result in results])
        parts[-1] = tail
        return head + "".join(parts)


def _json_rows(item: Item, results: Sequence[RerankResult]) -> str:
    if not results:
        return ""
    names, count = item.names, len(results)
    parts = ["},{"] * (4 * count)
    if names is None:
        parts[0::4] = [f'"index":{result.index}' for result in results]
    else:
        keys = [f'"index":{index}' if name is None else f'"id":{id_text(name)}' for index, name in enumerate(names)]
        parts[0::4] = [keys[result.index] for result in results]
    parts[1::4] = [',"score":'] * count
    parts[2::4] = _numbers([result.score for result in results])
    parts[-1] = "}"
    return "{" + "".join(parts)


def _numbers(scores: list[float]) -> list[str]:
    """The shortest digits that give each number back, as Python writes them."""
    text = codec().dumps(scores).decode()
    # orjson writes the same digits several times as fast, but sets exponents otherwise, and later for small numbers.
    return list(map(repr, scores)) if "e" in text or "0.0000" in text else text[1:-1].split(",")


@lru_cache(maxsize=64)
def _ranks(count: int) -> list[str]:
    return [f" {rank} " for rank in range(1, count + 1)]


def done_id(line: bytes) -> bytes | None:
    """The id, as JSON, of a line of an output that is its own journal; None: it is none."""
    # A comma and a quote together cannot occur inside a JSON string, where the quote is escaped.
    end = line.find(b',"results":[')
    return line[6:end] if line.startswith(b'{"id":') and end > 6 and line.endswith(b"]}\n") else None


class Places:
    """Where in a journal the record of each query begins, by its place in the source: eight bytes each."""

    def __init__(self) -> None:
        self._starts = array("q")
        self.count = 0

    def add(self, at: int, start: int) -> None:
        """The record of query ``at`` begins at ``start``; of two, the first counts."""
        lacking = at + 1 - len(self._starts)
        if lacking > 0:
            self._starts.frombytes(array("q", [_NOTHING]).tobytes() * lacking)
        if self._starts[at] == _NOTHING:
            self._starts[at] = start
            self.count += 1

    def __contains__(self, at: object) -> bool:
        return isinstance(at, int) and at < len(self._starts) and self._starts[at] != _NOTHING

    def in_order(self) -> Iterable[int]:
        """The starts, by place in the source."""
        return (start for start in self._starts if start != _NOTHING)


def places_of(journal: Path) -> Places:
    """Reads a journal back.

    Raises:
        SourceError: A line is no record.
    """
    places = Places()
    for number, (start, line) in enumerate(read_back(journal), start=1):
        at = line[6 : line.find(b",")]
        if not line.startswith(b'{"at":') or not at.isdigit() or not line.endswith(b"}\n"):
            raise spoilt(journal, number)
        places.add(int(at), start)
    return places


def spoilt(journal: Path, number: int) -> SourceError:
    """The error of a journal with a line in it that this program did not write."""
    return SourceError(
        f"{journal}, line {number}: not a finished query of this job. Remove this line and those behind it, and go on "
        "with --resume; or begin anew with --overwrite"
    )


def assemble(journal: Path, output: Path, results: Results, *, compressed: bool = False) -> None:
    """Writes the output from the journal, in the order of the source, whole or not at all.

    Raises:
        OutputError: It cannot be written.
        SourceError: The journal is spoilt.
    """
    places = places_of(journal)
    with journal.open("rb", buffering=_BUFFER) as reading, replace_file(output, compressed=compressed) as file:
        for start in places.in_order():
            reading.seek(start)
            file.write(results.from_record(reading.readline()))
