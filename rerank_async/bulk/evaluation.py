"""How good a ranking is: measures by ir-measures (extra ``eval``), and whether two runs really differ."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from rerank_async.bulk.errors import SourceError
from rerank_async.bulk.lines import STANDARD_INPUT, json_object, name_of, numbered_lines
from rerank_async.bulk.runs import read_qrels, read_scores
from rerank_async.bulk.significance import PERMUTATIONS, randomisation_test
from rerank_async.errors import InvalidArgumentError

MEASURES = ("nDCG@10", "RR@10", "R@100", "AP")
"""What is measured if nothing else is asked for."""

_MOST = 2**31 - 1
"""The largest cutoff, and the largest grade from which on a document counts: they become C's int."""

Qrels = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Mapping[str, float]]
StrPath = str | os.PathLike[str]


class QueryChange(NamedTuple):
    """One query of two runs."""

    query: str
    before: float
    after: float


class Comparison(NamedTuple):
    """Two runs by one measure.

    Attributes:
        measure: Its name.
        baseline: The name of the first run.
        run: The name of the other.
        difference: The mean of the other less that of the first.
        p: How often chance alone makes a difference as large, by a paired randomisation test.
        wins: Queries in which the other run is better, by most first.
        losses: Queries in which it is worse, by most first.
        ties: How many queries are the same.
    """

    measure: str
    baseline: str
    run: str
    difference: float
    p: float
    wins: tuple[QueryChange, ...]
    losses: tuple[QueryChange, ...]
    ties: int


class Evaluation(NamedTuple):
    """How good runs are.

    Attributes:
        queries: How many queries are judged. Each counts; a run that lacks one has 0 there.
        measures: Their names.
        means: The mean over the queries, by run and measure.
        by_query: The value, by run, measure and query.
        comparisons: Each further run against the first, by each measure.
        missing: How many judged queries a run lacks, by run.
    """

    queries: int
    measures: tuple[str, ...]
    means: Mapping[str, Mapping[str, float]]
    by_query: Mapping[str, Mapping[str, Mapping[str, float]]]
    comparisons: tuple[Comparison, ...]
    missing: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        comparisons = [
            {
                **each._asdict(),
                "wins": [change._asdict() for change in each.wins],
                "losses": [change._asdict() for change in each.losses],
            }
            for each in self.comparisons
        ]
        return {**self._asdict(), "comparisons": comparisons}


def evaluate(
    qrels: StrPath | Qrels,
    runs: Sequence[StrPath] | Mapping[str, StrPath | Run],
    *,
    measures: Sequence[str] = MEASURES,
    permutations: int = PERMUTATIONS,
) -> Evaluation:
    """Measures runs against judgements, and compares each further run with the first.

    Args:
        qrels: A file, as TREC (``qid 0 docid grade``) or BEIR (``query-id corpus-id score``) write it; or grades by
            query and document.
        runs: TREC runs, or JSON Lines that ``rerank_file`` wrote; at least one. Paths, which are the names too; or, by
            name, paths or scores by query and document. One of all files may be ``-``, standard input.
        measures: As ir-measures calls them, such as ``"nDCG@10"``, ``"RR@10"``, ``"R@100"`` (recall), ``"AP"``. A name
            that is repeated counts once; two names of one measure, such as ``"AP"`` and ``"MAP"``, have the same values.
        permutations: Random ones of the test, at least 1; the same runs always get the same p.

    Raises:
        InvalidArgumentError: A measure is unknown or cannot be computed, there is no run, or two files are standard input.
        SourceError: A file cannot be read, or nothing is judged.
        ImportError: The extra ``eval`` is not installed.
    """
    named = dict(runs) if isinstance(runs, Mapping) else {os.fspath(path): path for path in runs}
    if not named:
        raise InvalidArgumentError("runs is empty; at least one is needed", argument="runs")
    if permutations < 1:
        raise InvalidArgumentError(f"permutations must be at least 1, not {permutations}", argument="permutations")
    if [qrels, *named.values()].count(STANDARD_INPUT) > 1:
        raise InvalidArgumentError("standard input can be read as one file only; name the other ones", argument="runs")
    parsed = {name: _measure(name) for name in measures}
    judged = qrels if isinstance(qrels, Mapping) else read_qrels(os.fspath(qrels))
    if not judged:
        raise SourceError("no query is judged: the qrels are empty")
    by_query: dict[str, dict[str, dict[str, float]]] = {}
    missing: dict[str, int] = {}
    for name, run in named.items():
        scores = run if isinstance(run, Mapping) else read_results(os.fspath(run))
        missing[name] = sum(query not in scores for query in judged)
        by_query[name] = _measured(judged, scores, parsed)
    means = {
        name: {measure: sum(values.values()) / len(judged) for measure, values in found.items()}
        for name, found in by_query.items()
    }
    first, *others = named
    comparisons = tuple(
        _compared(measure, first, other, by_query, permutations) for other in others for measure in parsed
    )
    return Evaluation(len(judged), tuple(parsed), means, by_query, comparisons, missing)


def read_results(path: str) -> Run:
    """Scores by query and document, of a TREC run or of JSON Lines that ``rerank_file`` wrote; ``-``: standard input.

    An empty file is a run in which nothing was found, as a job leaves it where every query failed.

    Raises:
        SourceError: It cannot be read, or is neither.
    """
    lines = numbered_lines(path)
    first = next(lines, None)  # read once: a pipe gives no line twice
    if first is None:
        return {}
    lines = chain([first], lines)
    if not first[1].lstrip().startswith(b"{"):
        return read_scores(name_of(path), lines)
    found: dict[str, dict[str, float]] = {}
    for number, line in lines:
        try:
            value = json_object(line, "'id' and 'results'")
            query, results = str(value["id"]), value["results"]
            scores = {str(result["id"]): float(result["score"]) for result in results}
        except (KeyError, TypeError, ValueError) as exc:
            what = f"no field {exc}" if isinstance(exc, KeyError) else str(exc)
            raise SourceError(
                f"{name_of(path)}, line {number}: {what}; judgements need the ids of query and documents"
            ) from exc
        where = f"{name_of(path)}, line {number}"
        if query in found:
            raise SourceError(f"{where}: query {query} stands in an earlier line too")
        if len(scores) < len(results):
            names = [str(result["id"]) for result in results]
            twice = next(each for place, each in enumerate(names) if each in names[:place])
            raise SourceError(f"{where}: query {query} has the document {twice} twice")
        found[query] = scores
    return found


def _measure(name: str) -> Any:
    try:
        import ir_measures  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise ImportError("evaluation needs: pip install '.[eval]' in a checkout", name="ir_measures") from exc
    try:
        measure: Any = ir_measures.parse_measure(name)
    except (NameError, SyntaxError, ValueError, TypeError) as exc:
        raise InvalidArgumentError(
            f"measures: {name!r} is not one that ir-measures knows; such as {', '.join(MEASURES)}", argument="measures"
        ) from exc
    # A cutoff of 0 ends the whole process by an assertion in the C of pytrec_eval 0.5.
    for parameter in ("cutoff", "rel"):
        value = measure.params.get(parameter, 1)
        if type(value) is not int or not 1 <= value <= _MOST:
            words = f"measures: {parameter} of {name!r} is {value!r}; it must be a whole number from 1 to {_MOST}"
            raise InvalidArgumentError(words, argument="measures")
    try:
        measure.validate_params()
    except AssertionError as exc:
        words = f"measures: {name!r} cannot be computed: {exc}"
        raise InvalidArgumentError(words, argument="measures") from exc
    return measure


def _measured(qrels: Qrels, run: Run, parsed: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    import ir_measures  # noqa: PLC0415 - an extra, which is there: the measures came from it

    by_measure: dict[Any, dict[str, float]] = {measure: dict.fromkeys(qrels, 0.0) for measure in parsed.values()}
    # Of an empty run not every provider of ir-measures gives zeros.
    known = {query: dict(documents) for query, documents in run.items() if query in qrels and documents}
    if known:
        grades = {query: dict(of_query) for query, of_query in qrels.items()}
        try:
            evaluator = ir_measures.evaluator(list(by_measure), grades)
        except ValueError as exc:
            words = f"measures: ir-measures cannot compute all of {', '.join(parsed)} with what is installed: {exc}"
            raise InvalidArgumentError(words, argument="measures") from exc
        for metric in evaluator.iter_calc(known):
            by_measure[metric.measure][metric.query_id] = float(metric.value)
    return {name: by_measure[measure] for name, measure in parsed.items()}


def _compared(
    measure: str,
    first: str,
    other: str,
    by_query: Mapping[str, Mapping[str, Mapping[str, float]]],
    permutations: int,
) -> Comparison:
    before, after = by_query[first][measure], by_query[other][measure]
    changes = sorted(
        (QueryChange(query, before[query], after[query]) for query in before),
        key=lambda change: (change.before - change.after, change.query),
    )
    differences = [change.after - change.before for change in changes]
    wins = tuple(change for change in changes if change.after > change.before)
    losses = tuple(change for change in reversed(changes) if change.after < change.before)
    return Comparison(
        measure=measure,
        baseline=first,
        run=other,
        difference=sum(differences) / len(differences),
        p=randomisation_test(differences, permutations),
        wins=wins,
        losses=losses,
        ties=len(changes) - len(wins) - len(losses),
    )
