"""Who goes first at the service's door: calls take turns, and a small one does not wait behind a large one."""

import asyncio
import math

import pytest
from support.clients import client_for, client_tasks, until
from support.passages import pairs, ranking
from support.services import honest, refusal, service
from support.tidiness import assert_tidy

from rerank_async import BatchOptions, LimitOptions, RerankRequest, Sent
from rerank_async.errors import OverloadedError

SMALL = tuple(f"small {number}" for number in range(10))
FULL = BatchOptions(max_inputs=20, adaptive=False)
RATES = [
    pytest.param(LimitOptions(requests_per_second=200, burst=8), id="paced"),
    pytest.param(LimitOptions(requests_per_second=math.inf, max_concurrency=4), id="in flight"),
]


def queries(seen):
    return [each.json["query"] for each in seen]


def sent(events):
    return sum(isinstance(event, Sent) for event in events)


def place(running, query, start):
    """Which of the requests that reached the door after the first ``start`` this one is, from 1."""
    return queries(running.seen).index(query) + 1 - start


@pytest.mark.parametrize("limits", RATES)
async def test_a_small_call_beside_a_held_large_one_is_among_the_next_four(limits):
    events = []
    texts = tuple(f"text {number}" for number in range(6000))
    async with (
        service() as running,
        client_for(running, limits=limits, batching=FULL, observer=events.append) as client,
    ):
        large = asyncio.create_task(client.generate("large", texts))
        for number in range(5):
            await until(lambda number=number: sent(events) >= 30 + 20 * number and client.limit_status.queued)
            start = sent(events)  # what has started by now may reach the door before it
            response = await client.generate(f"small {number}", SMALL)
            assert pairs(response) == ranking(SMALL, None, f"small {number}")
            assert not large.done()
            assert place(running, f"small {number}", start) <= 4
        response = await large
        assert_tidy(client)
    assert pairs(response) == ranking(texts, None, "large")
    assert queries(running.seen).count("large") == 300


@pytest.mark.parametrize("limits", RATES)
async def test_a_small_call_beside_many_requests_is_among_the_next_four(limits):
    def requests():
        for number in range(100_000):
            yield RerankRequest("bulk", [f"text {number}"])

    async def read(outcomes):
        async for outcome in outcomes:
            assert outcome.error is None

    events = []
    async with service() as running, client_for(running, limits=limits, observer=events.append) as client:
        async with client.generate_many(requests(), max_in_flight=64) as outcomes:
            reading = asyncio.create_task(read(outcomes))
            for number in range(5):
                await until(lambda number=number: sent(events) >= 70 + 20 * number and client.limit_status.queued > 32)
                start = sent(events)
                await client.generate(f"small {number}", SMALL)
                assert place(running, f"small {number}", start) <= 4
            assert not reading.done()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        assert_tidy(client)
    assert client_tasks() == []


@pytest.mark.parametrize("limits", RATES)
async def test_calls_of_one_batch_are_served_first_come_first_served(limits):
    events = []
    async with service() as running, client_for(running, limits=limits, observer=events.append) as client:
        await client.generate("first", SMALL)
        await asyncio.gather(*(client.generate(f"query {number}", ["text"]) for number in range(500)))
    calls = [event.call for event in events if isinstance(event, Sent)]
    assert calls == sorted(calls)
    assert len(set(calls)) == 501
    # At the door those that were under way together may change places, and no others.
    order = [int(query.split()[1]) for query in queries(running.seen)[1:]]
    together = 8
    assert max(abs(number - at) for at, number in enumerate(order)) < together


async def test_first_come_is_first_served_also_where_calls_must_go_again():
    """A call that met a 429 goes again before those that asked after it."""
    throttled = set()

    def answer(seen):
        query = seen.json["query"]
        if query.endswith("7") and query not in throttled:
            throttled.add(query)
            return refusal(429, "made_up", "Rate limit of 1000 requests per 1s was reached")
        return honest(seen)

    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=1)
    async with service(answer) as running, client_for(running, limits=limits) as client:
        await asyncio.gather(*(client.generate(f"query {number}", ["text"]) for number in range(30)))
    expected = [number for number in range(30) for _ in range(2 if number % 10 == 7 else 1)]
    assert [int(query.split()[1]) for query in queries(running.seen)] == expected


async def test_large_calls_take_turns():
    events = []
    texts = tuple(f"text {number}" for number in range(400))
    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=1)
    async with (
        service() as running,
        client_for(running, limits=limits, batching=FULL, observer=events.append) as client,
    ):
        await client.generate("first", SMALL)
        await asyncio.gather(*(client.generate(f"query {number}", texts) for number in range(4)))
    order = queries(running.seen)[1:]
    assert len(order) == 80
    # Each has as many answers as the others, or one less, until the last turn.
    for end in range(4, 81, 4):
        counts = [order[:end].count(f"query {number}") for number in range(4)]
        assert max(counts) - min(counts) <= 1


async def test_a_stream_and_a_run_of_many_are_one_flow_each():
    texts = tuple(f"text {number}" for number in range(400))
    requests = [RerankRequest("many", [f"text {number}"]) for number in range(60)]
    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=1)
    async with service() as running, client_for(running, limits=limits, batching=FULL) as client:
        await client.generate("first", SMALL)
        async with client.stream("stream", texts) as stream, client.generate_many(requests) as outcomes:
            assert len([outcome async for outcome in outcomes]) == 60
            await stream.response()
    order = queries(running.seen)[1:]
    assert (order.count("stream"), order.count("many")) == (20, 60)
    # While both wait they alternate; that takes 20 turns of each.
    both = order[4:36]
    assert abs(both.count("stream") - both.count("many")) <= 2


async def test_max_queued_of_0_refuses_whoever_would_wait_and_says_so():
    release = asyncio.Event()

    async def answer(seen):
        await release.wait()
        return honest(seen)

    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=2, max_queued=0)
    async with service(answer) as running, client_for(running, limits=limits) as client:
        first = [asyncio.create_task(client.generate("query", SMALL)) for _ in range(2)]
        await until(lambda: len(running.seen) == 2)
        with pytest.raises(OverloadedError) as caught:
            await client.generate("query", SMALL)
        assert "0 requests wait for their turn" in str(caught.value)
        assert "LimitOptions.max_queued = 0" in str(caught.value)
        assert "Nothing was sent" in str(caught.value)
        assert (caught.value.queued, len(running.seen)) == (0, 2)
        release.set()
        await asyncio.gather(*first)
        assert pairs(await client.generate("query", SMALL)) == ranking(SMALL, None, "query")
        assert_tidy(client)


async def test_max_queued_bounds_who_waits_and_the_rest_is_served():
    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=1, max_queued=10)
    async with service() as running, client_for(running, limits=limits) as client:
        await client.generate("query", SMALL)
        outcomes = await asyncio.gather(*(client.generate("query", SMALL) for _ in range(50)), return_exceptions=True)
        assert_tidy(client)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert all(isinstance(error, OverloadedError) for error in refused)
    assert {error.queued for error in refused} == {10}
    assert len(refused) == 50 - 1 - 10
    assert len(running.seen) == 1 + 11


async def test_a_large_call_alone_is_not_refused_for_its_own_batches():
    texts = tuple(f"text {number}" for number in range(400))
    limits = LimitOptions(requests_per_second=200, burst=4, max_queued=0)
    async with service() as running, client_for(running, limits=limits, batching=FULL) as client:
        response = await client.generate("query 7", texts)
    assert pairs(response) == ranking(texts, None, "query 7")
    assert len(running.seen) == 20


async def test_outcomes_of_many_are_never_overloaded():
    """A run's requests wait for each other, whatever others may."""
    requests = (RerankRequest("query", SMALL, id=number) for number in range(200))
    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=1, max_queued=0)
    async with service() as running, client_for(running, limits=limits) as client:
        async with client.generate_many(requests, max_in_flight=32) as outcomes:
            first = await anext(outcomes)
            with pytest.raises(OverloadedError):
                await client.generate("query", SMALL)
            got = [first, *[outcome async for outcome in outcomes]]
        assert_tidy(client)
    assert [outcome.error for outcome in got] == [None] * 200
    assert len(running.seen) == 200
