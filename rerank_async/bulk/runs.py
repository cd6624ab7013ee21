"""TREC runs, a first stage's candidates query by query, and judgements (qrels)."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from operator import gt, itemgetter
from typing import BinaryIO, NamedTuple

from rerank_async.bulk.errors import BadItemError, SourceError
from rerank_async.bulk.ids import IdSet
from rerank_async.bulk.items import BadItem, Item
from rerank_async.bulk.lines import STANDARD_INPUT, decoded, is_gzip, name_of, numbered_lines, reading
from rerank_async.bulk.texts import LackingError, Texts
from rerank_async.policy.json_codec import codec

# The rows of one query: the first, and those behind it that begin with the same word.
_GROUP = re.compile(rb"(\S++)[ \t][^\n]*+\n(?:\1[ \t][^\n]*+\n)*+")
_BLOCK = 2**18
_BOM = b"\xef\xbb\xbf"
_COLUMNS = 6
_SEPARATORS = "\x1c\x1d\x1e\x1f"
"""Of ASCII, what only a str is split at; bytes are not."""
_NUMBERS = frozenset({float, int})
_best_first = itemgetter(0, 1)


class Rows(NamedTuple):
    """The rows of one query in a run, which stand together.

    Attributes:
        line: The first of them, from 1.
        query: The query's id, as it stands there.
        content: All of them.
    """

    line: int
    query: bytes
    content: bytes


def read_groups(
    path: str, opened: BinaryIO | None = None, *, each: Callable[[bytes], object] | None = None
) -> Iterator[Rows]:
    """A run, query by query; blank lines are passed over.

    Args:
        path: The file, or ``-``.
        opened: The same, from `rerank_async.bulk.lines.open_binary`; it stays its owner's to close.
        each: Takes the file as it lies there, piece by piece.

    Raises:
        SourceError: The file cannot be read.
    """
    held: Rows | None = None
    for number, content in _whole_lines(path, opened, each):
        for rows in _groups(content, number):
            if held is not None and held.query == rows.query:  # it goes on behind a block, or a blank line
                gap = b"\n" * (rows.line - held.line - held.content.count(b"\n"))
                held = Rows(held.line, held.query, held.content + gap + rows.content)
                continue
            if held is not None:
                yield held
            held = rows
    if held is not None:
        yield held


def read_groups_once(
    path: str, opened: BinaryIO | None = None, *, each: Callable[[bytes], object] | None = None
) -> Iterator[Rows]:
    """As `read_groups`, of a run in which the rows of each query stand together.

    Raises:
        SourceError: They do not, or the file cannot be read.
    """
    name = name_of(path)
    with contextlib.closing(IdSet()) as seen:
        for rows in read_groups(path, opened, each=each):
            if not seen.add(rows.query):
                words = f"{name}, line {rows.line}: query {rows.query.decode(errors='replace')} stands in two places"
                if path != STANDARD_INPUT:
                    how = f"zcat {name} | sort -s -k1,1 | gzip" if is_gzip(path) else f"sort -s -k1,1 {name}"
                    raise SourceError(f"{words}; bring its rows together, for example by: {how}")
                raise SourceError(
                    f"{words}, so its ranking would be of a part only; bring the rows together before the pipe, for "
                    "example by: sort -s -k1,1; then begin anew with --overwrite"
                )
            yield rows


def read_run_items(
    path: str,
    queries: Texts,
    corpus: Texts,
    depth: int | None,
    skip: Callable[[int, bytes], bool],
    opened: BinaryIO | None = None,
) -> Iterator[Item | BadItem]:
    """The queries of a run with their texts.

    The candidates are ordered as trec_eval orders them, by score, whatever the rank says; those of equal score by rank,
    then as they stand.

    Args:
        path: The run.
        queries: The queries' texts.
        corpus: The documents' texts.
        depth: Only the best so many candidates of each query; None: all.
        skip: Whether the query at a place, from 0, with an id as it stands there, is not wanted, and so not looked up.
        opened: The run, from `rerank_async.bulk.lines.open_binary`; it stays its owner's to close.

    Raises:
        SourceError: The file cannot be read, or it is standard input and the rows of a query do not stand together.
    """
    name = name_of(path)
    # A file was looked at as a whole before.
    for at, rows in enumerate(read_groups_once(path) if path == STANDARD_INPUT else read_groups(path, opened)):
        if skip(at, rows.query):
            continue
        query_id = rows.query.decode(errors="replace")
        try:
            documents = _documents(name, rows)[:depth]
            query, texts = _looked_up(name, rows, query_id, documents, queries, corpus)
        except BadItemError as exc:
            yield BadItem(at, exc.line, query_id, exc)
            continue
        yield Item(at, rows.line, query_id, query, texts, documents)


def read_scores(name: str, lines: Iterable[tuple[int, bytes]]) -> dict[str, dict[str, float]]:
    """A whole run: scores by query and document.

    Args:
        name: The file, for messages.
        lines: As `numbered_lines` gives them; the rows of a query may stand in several places.

    Raises:
        SourceError: It cannot be read, a row is not one of a run, or a query has a document twice.
    """
    found: dict[str, dict[str, float]] = {}
    for number, line in lines:
        try:
            query, document, _, score = _row(line)
        except ValueError as exc:
            raise SourceError(f"{name}, line {number}: {exc}") from None
        of_query = found.setdefault(query, {})
        if document in of_query:
            raise SourceError(f"{name}, line {number}: query {query} has the document {document} twice")
        of_query[document] = score
    return found


def read_qrels(path: str) -> dict[str, dict[str, int]]:
    """Judgements by query and document: TREC's ``qid 0 docid grade``, or BEIR's ``query-id corpus-id score``.

    BEIR's file begins with a line of headings, which is passed over.

    Raises:
        SourceError: It cannot be read, or a line is neither.
    """
    found: dict[str, dict[str, int]] = {}
    name = name_of(path)
    for place, (number, line) in enumerate(numbered_lines(path)):
        try:
            fields = _words(decoded(line))
            if place == 0 and len(fields) == 3 and fields[0] == "query-id":
                continue
            query, document, grade = (fields[0], fields[2], fields[3]) if len(fields) == 4 else fields
            found.setdefault(query, {})[document] = int(_plain(grade))
        except ValueError as exc:
            words = "neither 'qid 0 docid grade' (TREC) nor 'query-id corpus-id score' (BEIR)"
            raise SourceError(f"{name}, line {number}: {words}") from exc
    return found


def _whole_lines(
    path: str, opened: BinaryIO | None, each: Callable[[bytes], object] | None
) -> Iterator[tuple[int, bytes]]:
    """The file in pieces that end with a line, each with the number of its first line."""
    number, rest = 1, b""
    with reading(path, opened) as file:
        while block := file.read(_BLOCK):
            if each is not None:
                each(block)
            content = rest + block
            if number == 1:
                content = content.removeprefix(_BOM)
            end = content.rfind(b"\n") + 1
            if end:
                yield number, content[:end]
                number += content.count(b"\n", 0, end)
            rest = content[end:]
    if rest:
        yield number, rest + b"\n"


def _groups(content: bytes, number: int) -> Iterator[Rows]:
    at = 0
    while at < len(content):
        match = _GROUP.match(content, at)
        if match is not None:
            end, query = match.end(), match[1]
        else:  # a blank line, one that begins with a blank, or one word alone
            end = content.index(b"\n", at) + 1
            query = next(iter(content[at:end].split(None, 1)), b"").rstrip()
        if query:
            yield Rows(number, query, content[at:end])
        number += content.count(b"\n", at, end)
        at = end


def _columns(name: str, rows: Rows) -> tuple[list[str], list[str], list[float]]:
    """Documents, ranks and scores, as they stand.

    Raises:
        BadItemError: A row is not one of a run; the error names its line.
    """
    try:
        found = _columns_at_once(rows)
    except ValueError:
        found = None
    return _columns_row_by_row(name, rows) if found is None else found


def _columns_at_once(rows: Rows) -> tuple[list[str], list[str], list[float]] | None:
    """As `_columns`, for rows that were written alike; None: they were not.

    What repeats from row to row, the tag, the query and the second column, is cut out as a whole, which leaves three
    words a row to split.
    """
    content = rows.content.decode()
    query, second, first, _ = content.split(None, 3)
    tag = content[content.rstrip().rindex(" ") :].strip()
    count = content.count("\n")
    cells = _words(content.replace(f" {tag}\n{query} {second} ", " "))
    # The first row keeps its first two words, the last one its tag.
    if len(cells) != 3 * count + 3 or cells[2] != first or "\r" in content:
        return None
    # Were a row without its rank to be made up for by another with a word too much, ranks would not count upwards.
    ranks = cells[3::3]
    first_rank = int(ranks[0])
    if ranks != _counted(first_rank, count):
        return None
    scores = _scores(cells[4::3])
    return None if math.isnan(sum(scores)) else (cells[2:-1:3], ranks, scores)


def _scores(words: list[str]) -> list[float]:
    """As ``float`` reads them, but without its liberties.

    Raises:
        ValueError: One is no number.
    """
    try:  # as JSON, where numbers take orjson a fifth of the time
        found = codec().loads(f"[{','.join(words)}]".encode())
        if len(found) == len(words) and _NUMBERS.issuperset(map(type, found)):
            return list(map(float, found))
    except (ValueError, OverflowError):
        pass
    _plain("".join(words))
    return list(map(float, words))


def _plain(word: str) -> str:
    """The word, if it is written as numbers are: Python reads ``1_0`` and the digits of every script as numbers too.

    Raises:
        ValueError: It is not.
    """
    if "_" in word or not word.isascii():
        raise ValueError(f"{word!r} is no number")
    return word


def _words(text: str) -> list[str]:
    """Parted by ASCII's white space alone, as `read_groups` and trec_eval have it; an id may hold other."""
    if text.isascii() and not any(map(text.__contains__, _SEPARATORS)):
        return text.split()
    return b" ".join(text.encode().split()).decode().split(" ")


@lru_cache(maxsize=64)
def _counted(first: int, count: int) -> list[str]:
    return list(map(str, range(first, first + count)))


def _columns_row_by_row(name: str, rows: Rows) -> tuple[list[str], list[str], list[float]]:
    documents, ranks, scores = [], [], []
    for number, line in enumerate(rows.content.splitlines(), start=rows.line):
        if not line.strip():
            continue
        try:
            _, document, rank, score = _row(line)
        except ValueError as exc:
            raise BadItemError(f"{name}, line {number}: {exc}", line=number) from None
        documents.append(document)
        ranks.append(rank)
        scores.append(score)
    return documents, ranks, scores


def _row(line: bytes) -> tuple[str, str, str, float]:
    fields = _words(decoded(line))
    if len(fields) != _COLUMNS:
        raise ValueError(f"{len(fields)} fields where 'qid Q0 docid rank score tag' has {_COLUMNS}")
    try:
        score = float(_plain(fields[4]))
    except ValueError:
        raise ValueError("the score is no number; 'qid Q0 docid rank score tag' is needed") from None
    if math.isnan(score):
        raise ValueError("the score is NaN, which has no place in a ranking")
    return fields[0], fields[2], fields[3], score


def _looked_up(
    name: str, rows: Rows, query_id: str, documents: list[str], queries: Texts, corpus: Texts
) -> tuple[str, list[str]]:
    """The texts of a query and of its documents.

    Raises:
        BadItemError: One is not there.
    """
    try:
        (query,) = queries.fetch([query_id])
    except LackingError:
        words = f"{name}, line {rows.line}: {queries.path} lacks query {query_id}"
        raise BadItemError(words, code="missing_query", line=rows.line) from None
    try:
        return query, corpus.fetch(documents)
    except LackingError as exc:
        line = _line_of(rows, _columns(name, rows)[0].index(str(exc)))
        words = f"{name}, line {line}: query {query_id} names document {exc}, which {corpus.path} lacks"
        raise BadItemError(words, code="missing_document", line=rows.line) from None


def _documents(name: str, rows: Rows) -> list[str]:
    """The documents, best first.

    Raises:
        BadItemError: A row is not one of a run, or a document stands there twice.
    """
    documents, ranks, scores = _columns(name, rows)
    if len(set(documents)) < len(documents):
        place = next(place for place, each in enumerate(documents) if each in documents[:place])
        where = f"{name}, line {_line_of(rows, place)}"
        words = f"{where}: query {rows.query.decode()} has the document {documents[place]} twice"
        raise BadItemError(words, code="duplicate_id", line=rows.line)
    if all(map(gt, scores, scores[1:])):
        return documents
    try:
        _plain("".join(ranks))
        order = sorted(zip(map(float.__neg__, scores), map(float, ranks), documents, strict=True), key=_best_first)
    except ValueError:
        place = next(place for place, each in enumerate(ranks) if not _is_number(each))
        where = f"{name}, line {_line_of(rows, place)}"
        words = f"{where}: query {rows.query.decode()} has scores that tie, and the rank {ranks[place]!r} is no number"
        raise BadItemError(words, line=rows.line) from None
    return [document for _, _, document in order]


def _line_of(rows: Rows, place: int) -> int:
    """The line of the row at a place, from 0; blank lines are no rows."""
    lines = enumerate(rows.content.splitlines(), start=rows.line)
    return [number for number, line in lines if line.strip()][place]


def _is_number(word: str) -> bool:
    try:
        float(_plain(word))
    except ValueError:
        return False
    return True
