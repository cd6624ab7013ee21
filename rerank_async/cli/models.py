"""``rerank-async models``: what the service can rerank with now."""

from __future__ import annotations

import asyncio

import click

from rerank_async.cli.connection import Target, keyless_access
from rerank_async.cli.exits import TABLE, note
from rerank_async.cli.options import url_option
from rerank_async.cli.output import Column, write_json, write_rows
from rerank_async.values.response import ModelSpec

_COLUMNS = (
    Column("model"),
    Column("provider"),
    Column("tokens", number=True),
    Column("functions"),
    Column("lifecycle"),
)


@click.command(epilog=TABLE)
@click.option("--json", "as_json", is_flag=True, help="A list of the specs as the service wrote them.")
@url_option
@click.option("--local", is_flag=True, help="The models of the local server.")
def models(*, as_json: bool, url: str | None, local: bool) -> None:
    """List the models that can rerank: id, provider, longest text in tokens, functions, lifecycle.

    Needs no key. A terminal gets a table, a pipe gets tab-separated lines; "-" is what the service does not say.
    """
    specs = asyncio.run(_specs(Target(url=url, local=local)))
    if not specs:
        note("the service lists no model that can rerank")
    if as_json:
        write_json([spec.raw for spec in specs])
        return
    write_rows(
        _COLUMNS,
        [
            [
                spec.model_id,
                spec.provider or "-",
                str(spec.max_sequence_length or "-"),
                ", ".join(spec.functions) or "-",
                ", ".join(spec.lifecycle) or "-",
            ]
            for spec in specs
        ],
    )


async def _specs(target: Target) -> tuple[ModelSpec, ...]:
    from rerank_async.api_client import AsyncAPIClient

    async with (
        keyless_access(target) as way,
        AsyncAPIClient(way.credentials, way.project_id) as client,
    ):
        return await client.model_specs()
