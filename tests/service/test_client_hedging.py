"""Hedging against a live server: a slow request is raced by a second copy, within permits and budget, and scores once."""

import asyncio
import math

import pytest
from support.clients import client_for, client_tasks, until
from support.passages import pairs, ranking
from support.services import honest, refusal, service
from support.tidiness import assert_tidy

from rerank_async import BatchOptions, Hedged, HedgeOptions, LimitOptions, RetryOptions, Sent
from rerank_async.errors import ServiceError
from rerank_async.server import Fault, serve

TEXTS = ("text 0", "text 1", "other")
RIGHT = ranking(TEXTS, None, "text")
QUICK_HEDGE = HedgeOptions(delay=0.03, budget=1)


class Race:
    """Answers the first copy when told to, and the second at once or when told to."""

    def __init__(self, first=honest, second=honest, *, hold_second=False):
        self.replies = {1: first, 2: second}
        self.release = {1: asyncio.Event(), 2: asyncio.Event()}
        if not hold_second:
            self.release[2].set()
        self.left = []

    async def __call__(self, seen):
        if seen.number > 2:
            return honest(seen)
        try:
            await self.release[seen.number].wait()
        except asyncio.CancelledError:
            self.left.append(seen.number)
            raise
        return self.replies[seen.number](seen)


async def test_a_slow_request_is_raced_and_its_scores_count_once():
    race = Race()
    events = []
    async with service(race) as running, client_for(running, hedging=QUICK_HEDGE, observer=events.append) as client:
        response = await client.generate("text", TEXTS)
        assert_tidy(client)
        await until(lambda: race.left == [1])
        assert pairs(await client.generate("text", TEXTS)) == RIGHT
        assert client.api_client.gate.granted == 3
    assert pairs(response) == RIGHT
    assert (response.stats.requests, response.stats.hedges, response.stats.retries) == (2, 1, 0)
    assert len(response.stats.exchanges) == 1
    assert response.input_token_count == 3 + 6 - 1, "billed once as far as is known: 3 times the query, and the words"
    assert len(running.seen) == 3
    assert running.seen[0].body == running.seen[1].body
    assert [event.attempt for event in events if isinstance(event, Sent)] == [1, 1, 1]
    assert [(event.batch, event.delay) for event in events if isinstance(event, Hedged)] == [(0, 0.03)]


async def test_the_first_copy_may_still_win_and_the_second_is_cancelled():
    race = Race(hold_second=True)
    async with service(race) as running, client_for(running, hedging=QUICK_HEDGE) as client:
        call = asyncio.create_task(client.generate("text", TEXTS))
        await until(lambda: len(running.seen) == 2)
        assert client.limit_status.in_flight == 2, "a second copy has a permit of its own"
        race.release[1].set()
        response = await call
        assert_tidy(client)
        await until(lambda: race.left == [2])
    assert pairs(response) == RIGHT
    assert (response.stats.requests, response.stats.hedges) == (2, 1)


async def test_what_is_not_slow_is_not_hedged(server):
    async with client_for(server, hedging=HedgeOptions(delay=30, budget=1)) as client:
        responses = await asyncio.gather(*(client.generate("text", TEXTS) for _ in range(100)))
    assert {(pairs(response), response.stats.hedges) for response in responses} == {(RIGHT, 0)}
    assert server.counts.rerank == 100


@pytest.mark.parametrize(
    "limits",
    [
        LimitOptions(requests_per_second=math.inf, max_concurrency=1),
        LimitOptions(requests_per_second=0.01, burst=1),
    ],
    ids=["in flight", "rate"],
)
async def test_a_hedge_takes_no_permit_that_is_not_free(limits):
    race = Race()
    async with service(race) as running, client_for(running, hedging=QUICK_HEDGE, limits=limits) as client:
        call = asyncio.create_task(client.generate("text", TEXTS))
        await until(lambda: running.seen)
        await asyncio.sleep(0.1)
        race.release[1].set()
        response = await call
        assert_tidy(client)
    assert (pairs(response), len(running.seen), response.stats.hedges) == (RIGHT, 1, 0)


async def test_a_hedge_does_not_go_before_those_who_wait():
    """Two places, both taken by slow requests, and a queue: no hedge, until the queue is empty."""
    release = asyncio.Event()

    async def answer(seen):
        await release.wait()
        return honest(seen)

    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=2)
    async with service(answer) as running, client_for(running, hedging=QUICK_HEDGE, limits=limits) as client:
        calls = [asyncio.create_task(client.generate("text", TEXTS)) for _ in range(6)]
        await until(lambda: len(running.seen) == 2)
        await asyncio.sleep(0.1)
        assert (len(running.seen), client.limit_status.queued) == (2, 4)
        release.set()
        responses = await asyncio.gather(*calls)
        assert_tidy(client)
    assert sum(response.stats.hedges for response in responses) == 0
    assert len(running.seen) == 6


@pytest.mark.parametrize(("budget", "most"), [(0.05, 5), (0.2, 20)])
async def test_hedges_stay_within_the_budget_where_everything_is_slow(budget, most):
    hedging = HedgeOptions(delay=0.001, budget=budget)
    async with serve(latency=0.01) as server, client_for(server, hedging=hedging) as client:
        responses = [await client.generate("text", TEXTS) for _ in range(100)]
        assert_tidy(client)
    hedges = sum(response.stats.hedges for response in responses)
    assert 1 <= hedges <= most
    assert 100 < server.counts.rerank <= 100 + hedges
    assert {pairs(response) for response in responses} == {RIGHT}


async def test_a_learned_delay_hedges_the_slow_ones_within_the_budget():
    """Seven of 400 requests take three seconds: who is raced comes home by the second copy."""
    async with (
        serve(latency=0.004, faults=[Fault("slow", nth=range(100, 401, 50), seconds=3.0)]) as server,
        client_for(server, hedging=HedgeOptions()) as client,
    ):
        responses = [await client.generate("text", TEXTS) for _ in range(400)]
        assert_tidy(client)
        await until(lambda: server.counts.in_flight == 0)
    hedges = sum(response.stats.hedges for response in responses)
    # A copy that lost at once may never have reached the door.
    assert 407 <= server.counts.rerank <= 400 + hedges <= 420
    assert {pairs(response) for response in responses} == {RIGHT}
    slow = [arrival for arrival in server.requests if arrival.fault == "slow"]
    assert len(slow) == server.counts.faults["slow"] >= 6
    assert any(arrival.status is None for arrival in slow), "the client left them"


async def test_nothing_is_hedged_before_sixteen_answers_are_known():
    race = Race()
    async with service(race) as running, client_for(running, hedging=HedgeOptions(budget=1)) as client:
        call = asyncio.create_task(client.generate("text", TEXTS))
        await until(lambda: running.seen)
        await asyncio.sleep(0.3)
        race.release[1].set()
        assert (await call).stats.hedges == 0
    assert len(running.seen) == 1


async def test_if_the_first_copy_fails_the_second_is_waited_for():
    race = Race(first=lambda _: refusal(500, "made_up"), hold_second=True)
    async with service(race) as running, client_for(running, hedging=QUICK_HEDGE) as client:
        call = asyncio.create_task(client.generate("text", TEXTS))
        await until(lambda: len(running.seen) == 2)
        race.release[1].set()
        await asyncio.sleep(0.02)
        race.release[2].set()
        response = await call
        assert_tidy(client)
    assert (pairs(response), len(running.seen), response.stats.retries) == (RIGHT, 2, 0)
    assert [exchange.status for exchange in response.stats.exchanges] == [500, 200]


async def test_if_the_second_copy_fails_the_first_is_waited_for():
    race = Race(second=lambda _: refusal(500, "made_up"))
    async with service(race) as running, client_for(running, hedging=QUICK_HEDGE) as client:
        call = asyncio.create_task(client.generate("text", TEXTS))
        await until(lambda: len(running.seen) == 2)
        await asyncio.sleep(0.02)
        race.release[1].set()
        response = await call
        assert_tidy(client)
    assert (pairs(response), len(running.seen), response.stats.retries) == (RIGHT, 2, 0)


@pytest.mark.parametrize(("attempts", "requests"), [(1, 2), (2, 3)])
async def test_if_both_fail_it_is_one_attempt_and_the_error_of_the_first(attempts, requests):
    race = Race(first=lambda _: refusal(500, "first"), second=lambda _: refusal(500, "second"), hold_second=True)
    retries = RetryOptions(max_attempts=attempts, base_delay=0.0)
    async with service(race) as running, client_for(running, hedging=QUICK_HEDGE, retries=retries) as client:
        call = asyncio.create_task(client.generate("text", TEXTS))
        await until(lambda: len(running.seen) == 2)
        for event in race.release.values():
            event.set()
        if attempts == 1:
            with pytest.raises(ServiceError) as caught:
                await call
            assert caught.value.code == "first"
        else:
            response = await call
            assert pairs(response) == RIGHT
            assert [again.reason for again in response.stats.again] == ["first"]
        assert_tidy(client)
    assert len(running.seen) == requests


@pytest.mark.parametrize("which", ["first", "second"])
async def test_a_429_of_either_copy_is_heard(which):
    def throttle(_):
        return refusal(429, "rate_limit_reached_requests", "Rate limit of 50 requests per 1s was reached")

    race = Race(**{which: throttle}, hold_second=True)
    limits = LimitOptions(requests_per_second=200)
    async with service(race) as running, client_for(running, hedging=QUICK_HEDGE, limits=limits) as client:
        call = asyncio.create_task(client.generate("text", TEXTS))
        await until(lambda: len(running.seen) == 2)
        race.release[1 if which == "first" else 2].set()
        await asyncio.sleep(0.05)
        race.release[2 if which == "first" else 1].set()
        response = await call
        assert (client.limit_status.source, client.limit_status.ceiling) == ("429", 50)
        assert_tidy(client)
    assert (pairs(response), len(running.seen)) == (RIGHT, 2)


async def test_a_second_copy_that_is_told_to_wait_a_day_holds_nobody():
    def throttle(_):
        return refusal(429, "made_up", "Rate limit of 1000 requests per 1s was reached", {"Retry-After": "86400"})

    race = Race(second=throttle)
    async with service(race) as running, client_for(running, hedging=QUICK_HEDGE) as client:
        call = asyncio.create_task(client.generate("text", TEXTS))
        await until(lambda: len(running.seen) == 2)
        await asyncio.sleep(0.05)
        race.release[1].set()
        assert pairs(await call) == RIGHT
        assert client.limit_status.paused == 0
        assert pairs(await client.generate("text", TEXTS)) == RIGHT


async def test_a_full_pool_met_by_the_second_copy_makes_room_and_does_not_pause():
    race = Race(second=lambda _: refusal(429, "consumption_limit_reached"))
    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=16)
    async with service(race) as running, client_for(running, hedging=QUICK_HEDGE, limits=limits) as client:
        call = asyncio.create_task(client.generate("text", TEXTS))
        await until(lambda: len(running.seen) == 2)
        await asyncio.sleep(0.05)
        race.release[1].set()
        assert pairs(await call) == RIGHT
        status = client.limit_status
    assert (status.concurrency, status.source, status.ceiling, status.paused) == (8, "option", math.inf, 0)


async def test_each_batch_of_a_list_may_be_raced():
    texts = tuple(f"text {number}" for number in range(40))
    slow = set()

    async def answer(seen):
        first = seen.json["inputs"][0]["text"]
        if first not in slow and len(slow) < 2:
            slow.add(first)
            await asyncio.sleep(3600)
        return honest(seen)

    async with (
        service(answer) as running,
        client_for(running, hedging=QUICK_HEDGE, batching=BatchOptions(max_inputs=5, adaptive=False)) as client,
    ):
        response = await client.generate("text 7", texts)
        assert_tidy(client)
    assert pairs(response) == ranking(texts, None, "text 7")
    assert response.stats.hedges >= 2
    assert 10 <= len(running.seen) <= response.stats.requests == 8 + response.stats.hedges


async def test_who_is_cancelled_in_a_race_leaves_nothing():
    race = Race(hold_second=True)
    async with service(race) as running, client_for(running, hedging=QUICK_HEDGE) as client:
        call = asyncio.create_task(client.generate("text", TEXTS))
        await until(lambda: len(running.seen) == 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert_tidy(client)
        assert client_tasks() == []
        await until(lambda: sorted(race.left) == [1, 2])
        assert pairs(await client.generate("text", TEXTS)) == RIGHT
