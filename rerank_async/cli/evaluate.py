"""``rerank-async eval``: how good runs are, and whether two of them really differ."""

from __future__ import annotations

import click

from rerank_async.cli.exits import TABLE, InputError, note
from rerank_async.cli.options import NAME
from rerank_async.cli.output import Column, write_json, write_rows

_MEASURES = "nDCG@10,RR@10,R@100,AP"
_SHOWN = 5


@click.command(name="eval", epilog=TABLE)
@click.argument("runs", type=NAME, nargs=-1, required=True, metavar="RUN...")
@click.option("--qrels", type=NAME, required=True, metavar="Q", help="Judgements, as TREC or BEIR write them.")
@click.option("--measures", default=_MEASURES, show_default=True, metavar="M,...", help="As ir-measures calls them.")
@click.option("--queries", "shown", type=click.IntRange(min=0), default=_SHOWN, show_default=True, metavar="N",
              help="How many wins and losses of single queries to show.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Everything, query by query, as JSON.")
def evaluate(*, runs: tuple[str, ...], qrels: str, measures: str, shown: int, as_json: bool) -> None:
    """Measure each RUN against judgements, and compare each further RUN with the first.

    A RUN is a TREC run, or JSON Lines that `bulk` wrote with ids; `-` is standard input. A query that a run lacks counts
    as 0. p is that of a paired randomisation test: how often chance alone would make a difference as large. Needs the
    extra 'eval'.

    \b
    rerank-async eval --qrels qrels.tsv bm25.run reranked.run
    """  # noqa: D301 - click reads the backspace: it keeps the lines below from being wrapped
    from rerank_async.bulk import evaluate as evaluation_of

    names = [name.strip() for name in measures.split(",") if name.strip()]
    if not names:
        raise InputError("--measures names none")
    if len(set(runs)) < len(runs):
        raise InputError("the same RUN is named twice")
    try:
        found = evaluation_of(qrels, runs, measures=names)
    except ImportError as exc:
        raise InputError(str(exc)) from exc
    for run, missing in found.missing.items():
        if missing:
            note(f"{run} lacks {missing} of {found.queries} judged queries; they count as 0")
    if as_json:
        write_json(found.to_dict())
        return
    columns = (Column("run"), *(Column(name, number=True) for name in found.measures))
    write_rows(columns, [[run, *(f"{found.means[run][name]:.4f}" for name in found.measures)] for run in runs])
    for run in runs[1:]:
        compared = [each for each in found.comparisons if each.run == run]
        write_rows(
            (
                Column(f"{run} against {runs[0]}"),
                *(Column(name, number=True) for name in ("difference", "p", "wins", "losses", "ties")),
            ),
            [
                [
                    each.measure,
                    f"{each.difference:+.4f}",
                    f"{each.p:.4f}",
                    str(len(each.wins)),
                    str(len(each.losses)),
                    str(each.ties),
                ]
                for each in compared
            ],
        )
        first = compared[0]
        changes = [("win", change) for change in first.wins[:shown]] + [
            ("loss", change) for change in first.losses[:shown]
        ]
        write_rows(
            (Column(first.measure), Column("query"), Column("before", number=True), Column("after", number=True)),
            [[kind, change.query, f"{change.before:.4f}", f"{change.after:.4f}"] for kind, change in changes],
        )
