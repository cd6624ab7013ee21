"""A typed use of `rerank_async.bulk`. mypy checks it (``mypy tests/typing``); it is never run."""

# mypy: warn-unused-ignores

from __future__ import annotations

import sys
from pathlib import Path
from typing import assert_type

from rerank_async import AsyncRerank, RerankResponse
from rerank_async.bulk import (
    BulkEvent,
    BulkJob,
    BulkPlan,
    Comparison,
    Evaluation,
    JobStoppedError,
    Outage,
    QueryDone,
    Started,
    Summary,
    evaluate,
    plan_file,
    rerank_file,
)
from rerank_async.errors import RerankError
from rerank_async.values.events import Event


def observe(event: BulkEvent | Event) -> None:
    if isinstance(event, Started):
        assert_type(event.queries, int | None)
    elif isinstance(event, QueryDone):
        assert_type(event.response, RerankResponse | None)
    elif isinstance(event, Outage):
        assert_type(event.seconds, float)


async def use(client: AsyncRerank) -> None:
    job = rerank_file(client, "q.jsonl", Path("out.jsonl"), resume=True, observer=observe)
    assert_type(job, BulkJob)
    async with job:
        async for done in job:
            assert_type(done, QueryDone)
    assert_type(job.summary, Summary)
    assert_type(await rerank_file(client, None, sys.stdout.buffer, run="r", corpus="c", queries="q"), Summary)
    assert_type(await plan_file(client, Path("q.jsonl"), depth=10), BulkPlan)
    await rerank_file(client, "q.jsonl")  # type: ignore[call-arg]
    rerank_file(client, "q.jsonl", "out", max_in_flight="many")  # type: ignore[arg-type]


def measure() -> None:
    found = evaluate("qrels.tsv", {"first": "a.run", "second": {"q": {"d": 1.0}}}, measures=["AP"])
    assert_type(found, Evaluation)
    assert_type(found.comparisons, tuple[Comparison, ...])
    evaluate({"q": {"d": 1}}, ["a.run", Path("b.run")])


def stopped(error: JobStoppedError) -> None:
    assert_type(error.reason, RerankError | None)
