"""``rerank-async rank``: passages of a file, ranked against a query."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import attrs
import click

from rerank_async.cli.connection import Target, access
from rerank_async.cli.exits import TABLE, note
from rerank_async.cli.options import (
    LOCAL_MODEL,
    NAME,
    SERVICE_MODEL,
    model_option,
    project_option,
    space_option,
    url_option,
)
from rerank_async.cli.output import Column, write_json, write_rows
from rerank_async.cli.reading import FORMATS, Passages, read_passages
from rerank_async.errors import InvalidArgumentError
from rerank_async.values.contract import DEFAULT_RATE
from rerank_async.values.options import LimitOptions
from rerank_async.values.parameters import RerankParameters, ReturnOptions
from rerank_async.values.response import RerankResponse

_COLUMNS = (
    Column("rank", number=True),
    Column("score", number=True),
    Column("line", number=True),
    Column("text", last=True),
)


@attrs.frozen(kw_only=True)
class Wish:
    """What `rank` was asked to do."""

    query: str
    target: Target
    model: str
    params: RerankParameters
    requests_per_second: float
    timeout: float | None


@click.command(epilog=TABLE)
@click.argument("query")
@click.argument("file", type=NAME)
@click.option("--top-n", type=click.IntRange(min=1), metavar="N", help="Only the N best.")
@click.option(
    "--json", "as_json", is_flag=True, help="The body of the REST answer, with the text and line of each result."
)
@click.option("--local", is_flag=True, help="Rank on this machine: starts a local server for the call, needs no key.")
@model_option
@url_option
@project_option
@space_option
@click.option(
    "--format", "file_format", type=click.Choice(FORMATS), default="auto", help="What the file holds.  [default: auto]"
)
@click.option(
    "--field", default="text", metavar="NAME", help="The field of JSON Lines that is the text.  [default: text]"
)
@click.option("--truncate", type=click.IntRange(min=1), metavar="N", help="Cut each text to N tokens.")
@click.option(
    "--requests-per-second",
    type=float,
    metavar="R",
    help="The instance's rate limit.  [default: 8; with --local: none]",
)
@click.option("--timeout", type=float, metavar="S", help="Seconds for the whole ranking.  [default: no bound]")
def rank(
    *,
    query: str,
    file: str,
    top_n: int | None,
    as_json: bool,
    local: bool,
    model: str | None,
    url: str | None,
    project_id: str | None,
    space_id: str | None,
    file_format: str,
    field: str,
    truncate: int | None,
    requests_per_second: float | None,
    timeout: float | None,
) -> None:
    """Rank the passages of FILE (- for standard input) against QUERY, best first.

    FILE holds a passage a line, or JSON Lines with the passage in a field. Blank lines are skipped; line numbers count
    them. A terminal gets a table; a pipe gets rank, score, line number and text, separated by tabs. The key comes from
    WATSONX_APIKEY or WATSONX_TOKEN, never from the command line.

    \b
    rerank-async rank "how do I copy a folder" README.md --local --top-n 3
    grep -h . notes/*.txt | rerank-async rank "open invoices" - | head -n 5
    """  # noqa: D301 - click reads the backspace: it keeps the lines below from being wrapped
    default_rate = math.inf if local else DEFAULT_RATE
    wish = Wish(
        query=query,
        target=Target(url=url, project_id=project_id, space_id=space_id, local=local),
        model=model or (LOCAL_MODEL if local else SERVICE_MODEL),
        params=RerankParameters(
            truncate_input_tokens=truncate, return_options=ReturnOptions(top_n=top_n, inputs=as_json or None)
        ),
        requests_per_second=default_rate if requests_per_second is None else requests_per_second,
        timeout=timeout,
    )
    passages = read_passages(file, file_format, field)
    if not passages.texts:
        note(f"{passages.name} holds no passages, so the ranking is empty")
    response = asyncio.run(_ranked(wish, passages))
    for warning in response.warnings:
        note(f"the service warns: {warning.message}")
    if as_json:
        write_json(_body(response, passages))
    else:
        write_rows(_COLUMNS, _rows(response, passages))


async def _ranked(wish: Wish, passages: Passages) -> RerankResponse:
    from rerank_async.cli.progress import RankProgress
    from rerank_async.client import AsyncRerank

    with RankProgress() as progress:
        if wish.target.local:
            progress.say(f"loading {wish.model}")
        preload = wish.model if passages.texts else None
        async with (
            access(wish.target, preload=preload) as way,
            AsyncRerank(
                wish.model,
                wish.params,
                way.credentials,
                way.project_id,
                way.space_id,
                limits=LimitOptions(requests_per_second=wish.requests_per_second),
                observer=progress,
            ) as client,
        ):
            try:
                return await client.generate(wish.query, passages.texts, timeout=wish.timeout)
            except InvalidArgumentError as error:
                if error.index is not None:
                    error.args = (f"{passages.name}, line {passages.lines[error.index]}: {error}",)
                raise


def _rows(response: RerankResponse, passages: Passages) -> list[list[str]]:
    return [
        [str(place), f"{result.score:.4f}", str(passages.lines[result.index]), passages.texts[result.index]]
        for place, result in enumerate(response.results, start=1)
    ]


def _body(response: RerankResponse, passages: Passages) -> dict[str, Any]:
    body = response.to_dict()
    for result in body["results"]:
        result["line"] = passages.lines[result["index"]]
    return body
