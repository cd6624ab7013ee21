"""``rerank-async bulk``: every query of a file, reranked into another file, to the end, and no query lost."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import click

from rerank_async.cli.connection import Target, access
from rerank_async.cli.exits import TABLE, Exit, InputError, note
from rerank_async.cli.options import (
    LOCAL_MODEL,
    NAME,
    SERVICE_MODEL,
    model_option,
    project_option,
    space_option,
    url_option,
)
from rerank_async.cli.output import write_json, write_text
from rerank_async.cli.streams import leave_output, standard_output
from rerank_async.cli.wording import for_commands
from rerank_async.values.contract import DEFAULT_RATE
from rerank_async.values.options import LimitOptions
from rerank_async.values.parameters import RerankParameters, ReturnOptions, as_parameters

if TYPE_CHECKING:
    from rerank_async.bulk import BulkError, BulkJob, BulkPlan, Summary
    from rerank_async.client import AsyncRerank

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@attrs.frozen(kw_only=True)
class Wish:
    """What `bulk` was asked to do; ``files`` and ``how`` are arguments of `rerank_async.bulk.rerank_file`."""

    target: Target
    model: str
    params: RerankParameters
    requests_per_second: float
    source: str | None
    output: str
    files: dict[str, Any]
    how: dict[str, Any]
    dry_run: bool
    as_json: bool

    @property
    def reads_pipe(self) -> bool:
        """Whether the queries come from standard input, which can be read once only."""
        return "-" in (self.source, self.files["run"])


def _params(_: click.Context, __: click.Parameter, value: str | None) -> dict[str, Any]:
    """A JSON object."""
    if value is None:
        return {}
    try:
        found = json.loads(value)
    except ValueError as exc:
        raise click.BadParameter(f"not JSON: {exc}") from None
    if not isinstance(found, dict):
        raise click.BadParameter("a JSON object is needed, such as '{\"truncate_input_tokens\": 512}'")
    return found


@click.command(epilog=TABLE)
@click.argument("source", type=NAME, required=False)
@click.option(
    "-o", "--output", type=NAME, metavar="OUT", help="What to write; - for standard output, which keeps no journal."
)
@click.option("--run", type=NAME, metavar="RUN", help="A TREC run instead of SOURCE; needs --corpus and --queries.")
@click.option(
    "--corpus", type=NAME, metavar="C", help="Its documents: JSON Lines as BEIR has them, or lines of id, tab, text."
)
@click.option("--queries", type=NAME, metavar="Q", help="Its queries, likewise.")
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="Only the first N candidates.  [default: all]")
@click.option("--top-n", type=click.IntRange(min=1), metavar="N", help="Only the N best results.  [default: all]")
@click.option("--truncate", type=click.IntRange(min=1), metavar="N", help="Cut each text to N tokens.")
@click.option("--params", metavar="JSON", callback=_params, help="Parameters of the requests, as a JSON object.")
@model_option
@url_option
@project_option
@space_option
@click.option("--local", is_flag=True, help="Rank on this machine: starts a local server for the job, needs no key.")
@click.option(
    "--requests-per-second",
    type=float,
    metavar="R",
    help="The instance's rate limit.  [default: 8; with --local: none]",
)
@click.option(
    "--max-in-flight",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="N",
    help="Queries under way at the same time.",
)
@click.option(
    "--on-error",
    type=click.Choice(("skip", "stop")),
    default="skip",
    show_default=True,
    help="A query that fails: list it in OUT.failed.jsonl and go on, or stop.",
)
@click.option("--resume", is_flag=True, help="Go on with a job that was not finished, or begin it.")
@click.option("--retry-failed", is_flag=True, help="Go on, and take up again what failed.")
@click.option("--overwrite", is_flag=True, help="Begin anew, whatever is there.")
@click.option("--ordered", is_flag=True, help="Write JSON Lines in the order of SOURCE, at the end.")
@click.option(
    "--tag", type=NAME, metavar="WORD", help="The last column of a run that is written.  [default: rerank_async]"
)
@click.option(
    "--max-outage",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    metavar="S",
    help="Seconds for which a service that does not answer is waited for.",
)
@click.option("--dry-run", is_flag=True, help="Say how many requests it takes and how long; send nothing.")
@click.option("--json", "as_json", is_flag=True, help="The summary, or the plan, as JSON on standard output.")
def bulk(**options: Any) -> None:
    """Rerank every query of SOURCE (- for standard input) into OUT.

    SOURCE holds a JSON object a line: {"id", "query", "inputs": [texts, or {"id", "text"}]}. OUT gets {"id", "results":
    [{"id" or "index", "score"}]}, best first. With --run it is a TREC run that is reranked into a TREC run. Names that
    end in .gz are compressed files.

    What is finished is written at once: after a crash, a full disk or Ctrl-C the same command with --resume goes on,
    unless SOURCE is standard input.

    \b
    rerank-async bulk queries.jsonl -o ranked.jsonl --resume
    rerank-async bulk --run bm25.run --corpus corpus.jsonl --queries queries.jsonl -o reranked.run --depth 100
    """  # noqa: D301 - click reads the backspace: it keeps the lines below from being wrapped
    wish = _wish(options)
    if wish.dry_run:
        _show_plan(asyncio.run(_planned(wish)), wish)
        return
    for number in _SIGNALS:
        signal.signal(number, _interrupt)  # until there is a job that heeds them
    try:
        summary, interrupted, stopped = asyncio.run(_ranked(wish))
    except OSError as exc:
        if not isinstance(exc.__cause__, BrokenPipeError):
            raise
        leave_output()  # whoever reads standard output has seen enough
        return
    from rerank_async.bulk import JobStoppedError

    if stopped is None or isinstance(stopped, JobStoppedError):
        _show_summary(summary, wish)
    else:  # the error itself says how to go on
        write_json(summary.to_dict())
    if stopped is not None:
        raise stopped
    if interrupted:
        raise click.exceptions.Exit(Exit.INTERRUPTED)
    if summary.failed:
        raise click.exceptions.Exit(Exit.SOME_FAILED)


def _wish(options: dict[str, Any]) -> Wish:
    if options["source"] is None and options["run"] is None:
        raise InputError("nothing to rank: name SOURCE, or a run by --run, --corpus and --queries")
    output = options["output"]
    if output is None and not options["dry_run"]:
        raise InputError("nowhere to write to: name a file by -o, or - for standard output")
    if output == "-" and options["as_json"] and not options["dry_run"]:
        raise InputError("--json and -o - would both write to standard output; name a file by -o")
    if output == "-" and (options["resume"] or options["retry_failed"]):
        flag = "--resume" if options["resume"] else "--retry-failed"
        raise InputError(f"-o - keeps no journal, so there is nothing that {flag} could go on with; name a file by -o")
    if options["overwrite"] and (options["resume"] or options["retry_failed"]):
        raise InputError("--overwrite begins anew, so there is nothing to resume; leave one of them out")
    if options["dry_run"] and (options["resume"] or options["retry_failed"] or options["overwrite"]):
        raise InputError("--dry-run plans the whole of the source; leave --resume, --retry-failed, --overwrite out")
    if output == "-" or options["as_json"] or options["dry_run"]:
        standard_output()  # where it is closed, now is the time to say so, and not when the job is done
    local = options["local"]
    rate = options["requests_per_second"]
    return Wish(
        target=Target(url=options["url"], project_id=options["project_id"], space_id=options["space_id"], local=local),
        model=options["model"] or (LOCAL_MODEL if local else SERVICE_MODEL),
        params=_parameters(options),
        requests_per_second=(math.inf if local else DEFAULT_RATE) if rate is None else rate,
        source=options["source"],
        output=output or "-",
        files={name: options[name] for name in ("run", "corpus", "queries", "depth")},
        how={
            name: options[name]
            for name in (
                "tag",
                "ordered",
                "resume",
                "overwrite",
                "retry_failed",
                "on_error",
                "max_in_flight",
                "max_outage",
            )
        },
        dry_run=options["dry_run"],
        as_json=options["as_json"],
    )


def _parameters(options: dict[str, Any]) -> RerankParameters:
    params = as_parameters(options["params"], "--params")
    top_n, truncate = options["top_n"], options["truncate"]
    back = params.return_options or ReturnOptions()
    if top_n is not None and back.top_n is not None:
        raise InputError("--top-n and --params both set top_n; leave one of them out")
    if truncate is not None and params.truncate_input_tokens is not None:
        raise InputError("--truncate and --params both set truncate_input_tokens; leave one of them out")
    if back.inputs or back.query:
        raise InputError("--params: inputs and query are not written, so return_options may only hold top_n")
    return RerankParameters(
        truncate_input_tokens=truncate or params.truncate_input_tokens,
        return_options=ReturnOptions(top_n=top_n or back.top_n) if top_n or back.top_n else None,
    )


def _client(wish: Wish, way: Any) -> AsyncRerank:
    from rerank_async.client import AsyncRerank

    limits = LimitOptions(requests_per_second=wish.requests_per_second)
    return AsyncRerank(wish.model, wish.params, way.credentials, way.project_id, way.space_id, limits=limits)


async def _planned(wish: Wish) -> BulkPlan:
    from rerank_async.bulk import plan_file

    async with access(wish.target, preload=None) as way, _client(wish, way) as client:
        return await plan_file(client, wish.source, **wish.files)


async def _ranked(wish: Wish) -> tuple[Summary, bool, BulkError | None]:
    """What was done, whether somebody stopped the job, and what else did.

    Raises:
        BulkError: It was not the service, and no summary is wanted, or there is none.
    """
    from rerank_async.bulk import BulkError, JobStoppedError, rerank_file
    from rerank_async.cli.bulk_view import BulkView

    with BulkView(tell_all=wish.output == "-") as view:
        if wish.target.local:
            view.say(f"loading {wish.model}")
        async with access(wish.target, preload=wish.model) as way, _client(wish, way) as client:
            view.watch(client)
            output = sys.stdout.buffer if wish.output == "-" else wish.output
            job = rerank_file(client, wish.source, output, observer=view, **wish.files, **wish.how)
            interrupted = _heed_signals(job, view, wish)
            try:
                await job
            except BulkError as exc:
                if not isinstance(exc, JobStoppedError) and not (wish.as_json and view.began):
                    raise
                return job.summary, bool(interrupted), exc
    return job.summary, bool(interrupted), None


def _interrupt(_: int, __: Any) -> NoReturn:
    raise KeyboardInterrupt


def _heed_signals(job: BulkJob, view: Any, wish: Wish) -> list[int]:
    """The first Ctrl-C or SIGTERM stops the job in order, the second at once: nothing that is finished is lost."""
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            view.stop()
            note(f"interrupted again: gone at once; {_way_on(wish)}")
            os._exit(Exit.INTERRUPTED)
        view.say("stopping")
        job.stop()

    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    return received


def _show_plan(plan: BulkPlan, wish: Wish) -> None:
    from rerank_async.cli.bulk_view import length

    for problem in plan.first_problems:
        note(for_commands(problem))
    if plan.problems > len(plan.first_problems):
        note(f"and {plan.problems - len(plan.first_problems)} more queries that cannot be sent")
    if wish.as_json:
        write_json(plan.to_dict())
        return
    rate = wish.requests_per_second
    at = "without a limit" if rate == math.inf else f"at {rate:g} requests/s"
    write_text(
        f"{plan.queries} queries, {plan.inputs} inputs ({plan.unique} to send), {plan.requests} requests, "
        f"{plan.body_bytes / 1e6:.1f} MB; {length(plan.seconds)} {at}, beside the service's own time; nothing was sent\n"
    )


def _way_on(wish: Wish) -> str:
    """How a job that was not finished goes on."""
    if wish.output == "-":
        return "-o - keeps nothing to resume"
    if wish.reads_pipe:
        from rerank_async.bulk.files import JobFiles

        journal = JobFiles.of(wish.output, appended=False).journal
        return (
            f"what is finished is in {journal if journal.exists() else wish.output}, but standard input cannot be "
            "resumed: begin anew with --overwrite, or put the input into a file first, which can"
        )
    instead = " in the place of --overwrite" if wish.how["overwrite"] else ""
    return f"the same command with --resume{instead} goes on"


def _show_summary(summary: Summary, wish: Wish) -> None:
    from rerank_async.cli.bulk_view import length

    of = "" if summary.queries is None else f" of {summary.queries}"
    before = f" ({summary.resumed} of these before this start)" if summary.resumed else ""
    note(
        f"{summary.done}{of} queries done, {summary.failed} failed{before}; {summary.inputs} inputs in "
        f"{summary.requests} requests ({summary.retries} retries, {summary.throttled} times 429), "
        f"{summary.tokens} tokens, in {length(summary.seconds)}"
    )
    if summary.failures is not None:
        again = (
            "standard input cannot be read again, so put what is to be tried once more into a file"
            if wish.reads_pipe
            else "the same command with --retry-failed takes it up again"
        )
        note(f"what failed is in {summary.failures}; {again}")
    if not summary.complete:
        note(f"stopped: {_way_on(wish)}")
    elif wish.output != "-":
        note(f"written: {Path(summary.output)}")
    if wish.as_json:
        write_json(summary.to_dict())
