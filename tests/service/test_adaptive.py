"""Sizes chosen at the grant, as they reach the door: few inputs where the client is idle, full batches where it is busy."""

import asyncio
import math

import pytest
from support.clients import client_for, until
from support.passages import pairs, ranking
from support.services import honest, service
from support.tidiness import assert_tidy

from rerank_async import BatchOptions, LimitOptions
from rerank_async.server import Latency, serve

UNPACED = LimitOptions(requests_per_second=math.inf)


def texts_of(count):
    return tuple(f"text {number} of {count}" for number in range(count))


def sizes(running, query):
    return [len(seen.json["inputs"]) for seen in running.seen if seen.json["query"] == query]


@pytest.mark.parametrize(
    ("rate", "count", "expected"),
    [
        # The table of docs/batching.md, idle: before anything is measured.
        (2, 100, [100]),
        (8, 10, [10]),
        (8, 100, [50, 50]),
        (8, 1000, [250] * 4),
        (math.inf, 10, [10]),
        (math.inf, 31, [31]),
        (math.inf, 100, [50, 50]),
    ],
)
async def test_an_idle_client_cuts_as_the_table_says(rate, count, expected):
    texts = texts_of(count)
    async with (
        service() as running,
        client_for(running, limits=LimitOptions(requests_per_second=rate)) as client,
    ):
        plan = client.plan("text 7", texts)
        response = await client.generate("text 7", texts)
        assert_tidy(client)
    assert sorted(sizes(running, "text 7")) == sorted(expected)
    assert pairs(response) == ranking(texts, None, "text 7")
    assert plan.requests + plan.surplus >= len(running.seen)


@pytest.mark.parametrize("rate", [8, math.inf], ids=str)
async def test_adaptive_false_sends_full_batches_always(rate):
    texts = texts_of(250)
    batching = BatchOptions(max_inputs=100, adaptive=False)
    async with (
        service() as running,
        client_for(running, limits=LimitOptions(requests_per_second=rate), batching=batching) as client,
    ):
        plan = client.plan("text", texts)
        await client.generate("text", texts)
    assert sorted(sizes(running, "text")) == [50, 100, 100]
    assert (plan.requests, plan.surplus) == (3, 0)


async def test_a_busy_client_sends_full_batches():
    """Every place is taken and somebody waits: a permit is the scarce good."""
    release = asyncio.Event()

    async def answer(seen):
        if seen.json["query"] == "slow":
            await release.wait()
        return honest(seen)

    texts = texts_of(1000)
    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=4)
    async with service(answer) as running, client_for(running, limits=limits) as client:
        before = [asyncio.create_task(client.generate("slow", ["a"])) for _ in range(12)]
        await until(lambda: len(running.seen) == 4 and client.limit_status.queued == 8)
        large = [asyncio.create_task(client.generate(f"large {number}", texts)) for number in range(2)]
        await until(lambda: client.limit_status.queued == 10)
        assert client.plan("large 0", texts).surplus == 0
        release.set()
        responses = await asyncio.gather(*large)
        await asyncio.gather(*before)
        assert_tidy(client)
    assert sizes(running, "large 0") == [1000], "the other one waits behind it"
    assert sum(sizes(running, "large 1")) == 1000
    assert [pairs(response) for response in responses] == [
        ranking(texts, None, f"large {number}") for number in range(2)
    ]


async def test_half_of_what_is_free_stays_for_others():
    texts = texts_of(1000)
    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=6)
    async with serve(latency=0.05) as server, client_for(server, limits=limits) as client:
        response = await client.generate("text", texts)
    assert len(response.results) == 1000
    assert server.counts.rerank == 3
    assert server.counts.max_in_flight == 3


@pytest.mark.parametrize("count", [10, 32, 100, 1000, 5000])
@pytest.mark.parametrize("rate", [500, None, math.inf], ids=str)
async def test_a_plan_and_its_surplus_bound_what_is_sent(rate, count):
    texts = texts_of(count)
    async with (
        serve(latency=Latency(base=0.002, per_input=0.00002)) as server,
        client_for(server, limits=LimitOptions(requests_per_second=rate)) as client,
    ):
        for _ in range(3):  # before anything is measured, and after
            plan = client.plan("text 7", texts)
            before = server.counts.rerank
            response = await client.generate("text 7", texts)
            sent = server.counts.rerank - before
            assert plan.requests <= sent <= plan.requests + plan.surplus
            assert sent == response.stats.requests
            assert pairs(response) == ranking(texts, None, "text 7")
        assert_tidy(client)


async def test_bytes_bound_every_size():
    texts = tuple("x" * (100 + number % 7) + str(number) for number in range(600))
    batching = BatchOptions(max_bytes=8000)
    async with service() as running, client_for(running, limits=UNPACED, batching=batching) as client:
        plan = client.plan("text", texts)
        await client.generate("text", texts)
    assert all(len(seen.body) <= 8000 for seen in running.seen)
    assert sum(sizes(running, "text")) == 600
    assert plan.requests <= len(running.seen) <= plan.requests + plan.surplus


async def test_what_was_measured_decides_of_the_next_call():
    """What was measured meanwhile decides of the next call, within what its plan says."""
    texts = texts_of(400)
    async with service() as running, client_for(running, limits=UNPACED) as client:
        await client.generate("first", texts)
        first = len(sizes(running, "first"))
        for number in range(50):
            await client.generate(f"warm {number}", texts[: 1 + number % 2 * 31])
        plan = client.plan("last", texts)
        await client.generate("last", texts)
    # 20 ms + 0.2 ms an input are reckoned: sqrt(80 ms / 1 ms) = 9, but none whose inputs take less than half the base.
    assert first == 8
    assert len(sizes(running, "last")) <= plan.requests + plan.surplus
