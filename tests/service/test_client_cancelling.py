"""Cancellation at any moment, with hedging, isolation, a partial policy and faults all on: nothing stays behind."""

import asyncio
import math
from collections import Counter

import pytest
from support.clients import client_for, client_tasks
from support.passages import pairs, ranking
from support.tidiness import assert_tidy, cancelled_at_a_random_moment

from rerank_async import BatchOptions, HedgeOptions, LimitOptions, RerankRequest
from rerank_async.server import LexicalScorer, serve

LONG = " ".join(["long"] * 30)
TEXTS = (*(f"text {number}" for number in range(40)), LONG, *(f"more {number}" for number in range(20)), LONG)
FAULTS = {"server_error": 0.08, "reset_before": 0.05, "reset_inside": 0.03, "missing_result": 0.05, "pool_full": 0.03}


def server_of():
    return serve(scorers={"lexical": LexicalScorer(16)}, faults=FAULTS, latency=0.001, seed=6)


def client_of(server, limits):
    return client_for(
        server,
        limits=limits,
        batching=BatchOptions(max_inputs=8, overlength="isolate"),
        hedging=HedgeOptions(delay=0.002, budget=1),
        on_failure="partial",
    )


async def generate(client):
    response = await client.generate("text 7", TEXTS)
    assert len(response.results) + sum(len(failure.indices) for failure in response.failures) == len(TEXTS)
    return True


async def stream(client):
    async with client.stream("text 7", TEXTS) as landed:
        async for results in landed:
            assert results
    return True


async def many(client):
    requests = [RerankRequest("text 7", TEXTS[number : number + 20]) for number in range(0, 60, 10)]
    async with client.generate_many(requests, max_in_flight=4) as outcomes:
        async for outcome in outcomes:
            assert outcome.error is None
    return True


async def with_a_deadline(client):
    response = await client.generate("text 7", TEXTS, timeout=0.03)
    gone = {index for failure in response.failures for index in failure.indices}
    assert gone.isdisjoint(result.index for result in response.results)
    assert len(response.results) + len(gone) == len(TEXTS)
    return True


@pytest.mark.parametrize(
    "limits",
    [
        LimitOptions(requests_per_second=math.inf, max_concurrency=6),
        LimitOptions(requests_per_second=2000, burst=4, max_concurrency=6),
        LimitOptions(requests_per_second=None, max_concurrency=16),
    ],
    ids=["in flight", "paced", "unknown"],
)
async def test_cancelled_at_a_hundred_and_fifty_moments_nothing_stays_behind(limits):
    uses = (generate, stream, many, with_a_deadline)
    became = Counter()
    async with server_of() as server:
        async with client_of(server, limits) as client:
            for seed in range(150):
                became.update(await cancelled_at_a_random_moment(seed, server, client, uses[seed % len(uses)]))
            await generate(client)  # every permit is there for the next one
            assert_tidy(client)
            status = client.limit_status
            assert (status.in_flight, status.queued) == (0, 0)
            queries = [f"text {number}" for number in range(20)]
            responses = await asyncio.gather(*(client.generate(query, TEXTS[:40]) for query in queries))
        assert client_tasks() == []
    for query, response in zip(queries, responses, strict=True):
        gone = {index for failure in response.failures for index in failure.indices}
        assert pairs(response) == tuple(pair for pair in ranking(TEXTS[:40], None, query) if pair[0] not in gone)
    assert became["cancelled"] > 50
    assert server.counts.faults["server_error"] > 0
    assert server.counts.statuses[400] > 0, "some of them searched"
