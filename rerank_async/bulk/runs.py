"""TREC runs: a first stage's candidates, query by query, and judgements (qrels)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rerank_async.bulk.errors import BadItemError, SourceError
from rerank_async.bulk.items import BadItem, Id, Item
from rerank_async.bulk.lines import decoded, name_of, numbered_lines
from rerank_async.bulk.texts import Texts


class Candidates(NamedTuple):
    """The rows of one query in a run, which stand together.

    Attributes:
        line: The first of them, from 1.
        query: The query's id.
        documents: Ids, best first.
        problem: What is wrong with one of the rows, and its line; None: nothing.
    """

    line: int
    query: str
    documents: list[str]
    problem: tuple[int, str] | None


def read_run(path: str) -> Iterator[Candidates]:
    """The candidates of each query: ``qid Q0 docid rank score tag``, a row each.

    They are ordered as trec_eval does it, by score, whatever the rank says; rows of equal score by rank, then as they
    stand.

    Raises:
        SourceError: The file cannot be read.
    """
    query, first = "", 0
    rows: list[tuple[float, float, str]] = []
    problem: tuple[int, str] | None = None
    for number, line in numbered_lines(path):
        try:
            fields = line.decode().split()
            name, _, document, rank, score, _ = fields
            row = (-float(score), float(rank), document)
            if row[0] != row[0] or row[1] != row[1]:
                raise ValueError
        except ValueError:
            name = line.split(None, 1)[0].decode(errors="replace")
            row = None
        if name != query or not first:
            if first:
                yield _candidates(first, query, rows, problem)
            query, first, rows, problem = name, number, [], None
        if row is not None:
            rows.append(row)
        elif problem is None:
            problem = number, _problem(line)
    if first:
        yield _candidates(first, query, rows, problem)


def read_run_items(path: str, queries: Texts, corpus: Texts, depth: int | None) -> Iterator[Item | BadItem]:
    """The queries of a run with their texts.

    Args:
        path: The run.
        queries: The queries' texts.
        corpus: The documents' texts.
        depth: Only the best so many candidates of each query; None: all.

    Raises:
        SourceError: The file cannot be read.
    """
    name = name_of(path)
    for at, found in enumerate(read_run(path)):
        if found.problem is not None:
            number, words = found.problem
            yield _bad(at, found, f"{name}, line {number}: {words}", "bad_line", number)
            continue
        documents = found.documents if depth is None else found.documents[:depth]
        if len(set(documents)) < len(documents):
            again = next(each for place, each in enumerate(documents) if each in documents[:place])
            yield _bad(
                at, found, f"{name}: query {found.query} has the document {again} twice", "duplicate_id", found.line
            )
            continue
        (query,) = queries.fetch([found.query])
        if query is None:
            yield _bad(
                at, found, f"{name}, line {found.line}: {queries.path} lacks query {found.query}", "missing_query"
            )
            continue
        texts = corpus.fetch(documents)
        if None in texts:
            lacking = documents[texts.index(None)]
            words = f"{name}: query {found.query} names document {lacking}, which {corpus.path} lacks"
            yield _bad(at, found, words, "missing_document")
            continue
        names: list[Id | None] = list(documents)
        yield Item(at, found.line, found.query, query, texts, names)  # type: ignore[arg-type]  # no None is left


def read_scores(path: str) -> dict[str, dict[str, float]]:
    """A whole run: scores by query and document.

    Raises:
        SourceError: It cannot be read, or a row is not one of a run.
    """
    found: dict[str, dict[str, float]] = {}
    name = name_of(path)
    for number, line in numbered_lines(path):
        try:
            query, _, document, _, score, _ = line.decode().split()
            of_query = found.setdefault(query, {})
            if document in of_query:
                raise SourceError(f"{name}, line {number}: query {query} has the document {document} twice")
            of_query[document] = float(score)
        except SourceError:
            raise
        except ValueError as exc:
            raise SourceError(f"{name}, line {number}: {_problem(line)}") from exc
    return found


def read_qrels(path: str) -> dict[str, dict[str, int]]:
    """Judgements by query and document: TREC's ``qid 0 docid grade``, or BEIR's ``query-id corpus-id score``.

    BEIR's file has a line of headings, which is passed over.

    Raises:
        SourceError: It cannot be read, or a line is neither.
    """
    found: dict[str, dict[str, int]] = {}
    name = name_of(path)
    for number, line in numbered_lines(path):
        try:
            fields = decoded(line).split()
            if number == 1 and len(fields) == 3 and fields[0] == "query-id":
                continue
            query, document, grade = (fields[0], fields[2], fields[3]) if len(fields) == 4 else fields
            found.setdefault(query, {})[document] = int(grade)
        except ValueError as exc:
            words = "neither 'qid 0 docid grade' (TREC) nor 'query-id corpus-id score' (BEIR)"
            raise SourceError(f"{name}, line {number}: {words}") from exc
    return found


def _candidates(
    first: int, query: str, rows: list[tuple[float, float, str]], problem: tuple[int, str] | None
) -> Candidates:
    rows.sort(key=_order)
    return Candidates(first, query, [row[2] for row in rows], problem)


def _order(row: tuple[float, float, str]) -> tuple[float, float]:
    return row[:2]


def _problem(line: bytes) -> str:
    try:
        fields = decoded(line).split()
    except ValueError as exc:
        return str(exc)
    if len(fields) != 6:
        return f"{len(fields)} fields where 'qid Q0 docid rank score tag' has 6"
    return "rank and score have to be numbers: 'qid Q0 docid rank score tag'"


def _bad(at: int, found: Candidates, words: str, code: str, line: int | None = None) -> BadItem:
    number = found.line if line is None else line
    return BadItem(at, number, found.query, BadItemError(words, code=code, line=number))
