"""The group of commands, and the way from an exception to an exit code."""

from __future__ import annotations

import click

from rerank_async.cli.auth import auth
from rerank_async.cli.bulk import bulk
from rerank_async.cli.evaluate import evaluate
from rerank_async.cli.exits import TABLE, Exit, report
from rerank_async.cli.models import models
from rerank_async.cli.rank import rank
from rerank_async.cli.serve import serve
from rerank_async.cli.streams import leave_unwritten, open_closed
from rerank_async.values.version import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=TABLE)
@click.version_option(VERSION, prog_name="rerank-async")
def group() -> None:
    """Rank texts by a reranker of watsonx.ai, or by a model on this machine.

    The service's address, key and project come from the environment: WATSONX_URL, WATSONX_APIKEY (or WATSONX_TOKEN),
    WATSONX_PROJECT_ID (or WATSONX_SPACE_ID). RERANK_ASYNC_LOG=debug logs what happens.
    """


for command in (rank, bulk, evaluate, models, serve, auth):
    group.add_command(command)


def run() -> int:
    """Runs the command that the arguments name and gives its exit code."""
    open_closed()
    try:
        return _run()
    finally:
        leave_unwritten()


def _run() -> int:
    try:
        code = group.main(prog_name="rerank-async", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the end of the line: everything becomes a sentence
        return report(error)
    return code if isinstance(code, int) else Exit.FINE
