"""The rate: told, it is kept; a 429 pauses everything and costs no attempt; a deadline is not waited for in vain.

Moments are compared by the client's own clock, as its events give them, so that a busy machine changes nothing.
"""

import asyncio
import math
import time
from bisect import bisect_left
from itertools import pairwise

import attrs
import pytest
from support.clients import client_for, until
from support.passages import QUERY, pairs, passages, ranking
from support.services import honest, service, too_many

from rerank_async import (
    AsyncAPIClient,
    AsyncRerank,
    BatchOptions,
    LimitOptions,
    LimitStatus,
    Plan,
    RetryOptions,
    Sent,
    Throttled,
    Timeouts,
)
from rerank_async.errors import DeadlineExceededError, RateLimitError
from rerank_async.server import Fault, RateLimit, serve

TEXTS = tuple(f"text {number}" for number in range(8))
ONE_EACH = BatchOptions(max_inputs=1)
ONCE = RetryOptions(max_attempts=1, base_delay=0.0)


def most_in_a_window(moments, window):
    """The most moments in any half-open window of that length."""
    moments = sorted(moments)
    return max(bisect_left(moments, at + window) - index for index, at in enumerate(moments))


@pytest.mark.parametrize("kind", ["token_bucket", "fixed_window", "sliding_window"])
async def test_a_rate_that_was_told_is_kept_and_nothing_fails(kind):
    requests, window = 100, 0.5
    events = []
    async with (
        serve(limit=RateLimit(requests=requests, window=window, kind=kind)) as server,
        client_for(
            server,
            limits=LimitOptions(requests_per_second=requests / window, burst=requests),
            batching=ONE_EACH,
            observer=events.append,
            retries=ONCE,
        ) as client,
    ):
        texts = [tuple(f"{number} {part}" for part in range(60)) for number in range(5)]
        responses = await asyncio.gather(*(client.generate("1 2 3", each) for each in texts))
    assert [pairs(response) for response in responses] == [ranking(each, None, "1 2 3") for each in texts]
    sent = [event.at for event in events if isinstance(event, Sent)]
    assert len(sent) == server.counts.rerank == 300 + server.counts.throttled
    # Requests that this busy process held up on their way may bunch at the door; not by half a window.
    assert most_in_a_window([arrival.arrived_at for arrival in server.requests], window / 2) <= requests + 1
    assert server.counts.statuses[200] == 300


async def test_starts_are_counted_when_they_happen(server):
    events = []
    limits = LimitOptions(requests_per_second=200, burst=100)
    async with client_for(server, limits=limits, batching=ONE_EACH, observer=events.append) as client:
        call = asyncio.create_task(client.generate("text", [f"text {number}" for number in range(350)]))
        while not call.done():
            time.sleep(0.02)  # noqa: ASYNC251 - other work of the same loop, which holds up what was granted
            await asyncio.sleep(0.005)
        await call
    sent = [event.at for event in events if isinstance(event, Sent)]
    assert most_in_a_window(sent, 0.5) <= 100


async def test_a_burst_of_one_spaces_requests_evenly():
    events = []
    async with (
        serve() as server,
        client_for(
            server,
            limits=LimitOptions(requests_per_second=400, burst=1),
            batching=ONE_EACH,
            observer=events.append,
        ) as client,
    ):
        await client.generate("a", [f"text {number}" for number in range(40)])
    sent = [event.at for event in events if isinstance(event, Sent)]
    assert min(later - earlier for earlier, later in pairwise(sent)) >= 1 / 400
    assert server.counts.max_in_flight < 40


@pytest.mark.parametrize("bound", [1, 3])
async def test_max_concurrency_bounds_requests_in_flight_over_all_calls(bound):
    async with (
        serve(latency=0.002) as server,
        client_for(
            server,
            limits=LimitOptions(requests_per_second=math.inf, max_concurrency=bound),
            batching=ONE_EACH,
        ) as client,
    ):
        await asyncio.gather(*(client.generate(f"query {number}", TEXTS) for number in range(5)))
    assert server.counts.max_in_flight == bound
    assert server.counts.rerank == 40


async def test_a_429_is_not_a_retry_and_costs_no_attempt():
    async with (
        service(lambda seen: too_many(0.001) if seen.number <= 5 else honest(seen)) as running,
        client_for(running, retries=ONCE) as client,
    ):
        response = await client.generate("text", TEXTS)
    assert pairs(response) == ranking(TEXTS, None, "text")
    assert (response.stats.requests, response.stats.throttled, response.stats.retries) == (6, 5, 0)
    assert len(running.seen) == 6


@pytest.mark.parametrize("retry_after", [0.25, None])
async def test_a_429_pauses_every_lane(retry_after):
    first_answered = asyncio.Event()

    async def answer(seen):
        if seen.number == 1:
            return too_many(retry_after)
        if seen.number <= 4:
            await first_answered.wait()  # in flight while the 429 comes
        return honest(seen)

    events = []

    def observe(event):
        events.append(event)
        if isinstance(event, Throttled):
            first_answered.set()

    async with (
        service(answer) as running,
        client_for(
            running,
            limits=LimitOptions(requests_per_second=math.inf, max_concurrency=4),
            batching=ONE_EACH,
            observer=observe,
            retries=ONCE,
        ) as client,
    ):
        calls = [client.generate("text", TEXTS), client.generate("other", TEXTS)]
        responses = await asyncio.gather(*calls)
    assert pairs(responses[0]) == ranking(TEXTS, None, "text")
    (throttled,) = [event for event in events if isinstance(event, Throttled)]
    assert throttled.retry_after == retry_after
    assert throttled.delay > 0
    after = [event for event in events[events.index(throttled) :] if isinstance(event, Sent)]
    assert len(after) == 13
    assert all(event.at >= throttled.at + (retry_after or throttled.delay * 0.99) for event in after)
    # The batch that met it goes first, still on its first attempt.
    assert (after[0].call, after[0].batch, after[0].attempt) == (throttled.call, throttled.batch, 1)


async def test_retry_after_of_the_local_server_is_kept():
    events = []
    async with (
        serve(limit=RateLimit(requests=1, window=0.1, kind="sliding_window", retry_after=0.15)) as server,
        client_for(server, batching=ONE_EACH, observer=events.append, retries=ONCE) as client,
    ):
        response = await client.generate("text", TEXTS[:4])
    assert pairs(response) == ranking(TEXTS[:4], None, "text")
    throttled = [event for event in events if isinstance(event, Throttled)]
    assert len(throttled) == server.counts.throttled > 0
    assert {event.retry_after for event in throttled} == {0.15}
    for event in throttled:
        after = [later for later in events[events.index(event) :] if isinstance(later, Sent)]
        assert all(later.at >= event.at + 0.15 for later in after)


@pytest.mark.parametrize("value", [60.5, 1e9])
async def test_a_retry_after_above_the_bound_fails_at_once_and_names_it(value):
    async with (
        service(lambda _: too_many(value)) as running,
        client_for(running, retries=RetryOptions(max_retry_after=60.0)) as client,
    ):
        with pytest.raises(RateLimitError) as caught:
            await client.generate("text", TEXTS)
        assert f"{value:.12g} s" in str(caught.value)
        assert "max_retry_after = 60" in str(caught.value)
        assert "Rate limit of 8 requests per 1s was reached" in str(caught.value)
        assert (len(running.seen), caught.value.retry_after) == (1, value)
        assert client.limit_status.paused == 0, "a wait that was refused holds nobody"


@pytest.mark.parametrize("header", ["-5", "nan", "inf", "soon", "", "1e400", "Wed, 21 Oct 2099 07:28:00 GMT"])
async def test_a_hostile_retry_after_does_not_wedge_the_client(header):
    def answer(seen):
        reply = too_many()
        reply.headers["Retry-After"] = header
        return reply if seen.number == 1 else honest(seen)

    async with service(answer) as running, client_for(running) as client:
        try:
            await client.generate("text", TEXTS)
        except RateLimitError as error:
            assert "max_retry_after" in str(error)  # noqa: PT017 - both ends are right
    assert len(running.seen) <= 2


@pytest.mark.parametrize("bound", [0, 3])
async def test_max_throttled_bounds_the_429s_of_one_batch(bound):
    async with (
        service(lambda _: too_many(0.001)) as running,
        client_for(running, retries=RetryOptions(max_throttled=bound)) as client,
    ):
        with pytest.raises(RateLimitError, match="max_throttled") as caught:
            await client.generate("text", TEXTS)
    assert len(running.seen) == caught.value.attempts == bound + 1


async def test_a_retry_after_of_a_503_is_a_floor():
    events = []

    def answer(seen):
        reply = too_many(0.2)
        reply.set_status(503)
        reply.text = "busy"
        return reply if seen.number == 1 else honest(seen)

    async with service(answer) as running, client_for(running, observer=events.append) as client:
        await client.generate("text", TEXTS)
    first, second = [event for event in events if isinstance(event, Sent)]
    assert second.at >= first.at + 0.2
    assert second.attempt == 2


async def test_a_deadline_that_the_limiter_cannot_meet_fails_at_once(server):
    limits = LimitOptions(requests_per_second=0.01, burst=1)
    async with client_for(server, limits=limits) as client:
        await client.generate("text", ["a"])
        with pytest.raises(DeadlineExceededError, match=r"the limiter is \d+\.\d s behind") as caught:
            await client.generate("text", ["b"], timeout=5)
        assert isinstance(caught.value, TimeoutError)
        assert (caught.value.scored, caught.value.attempts) == ((), 0)
        assert server.counts.rerank == 1
        assert client.limit_status.queued == client.limit_status.in_flight == 0


async def test_a_list_whose_last_batch_would_start_too_late_spends_nothing(server):
    limits = LimitOptions(requests_per_second=0.1, burst=3)
    async with client_for(server, limits=limits, batching=ONE_EACH) as client:
        with pytest.raises(DeadlineExceededError):
            await client.generate("text", TEXTS[:4], timeout=5)
        assert (server.counts.rerank, server.counts.token_requests) == (0, 0)
        response = await client.generate("text", TEXTS[:3], timeout=5)
    assert len(response.results) == server.counts.rerank == 3


async def test_timeouts_total_is_the_deadline_of_calls_that_name_none(server):
    limits = LimitOptions(requests_per_second=0.01, burst=1)
    async with client_for(server, limits=limits, timeouts=Timeouts(total=5)) as client:
        await client.generate("text", ["a"])
        with pytest.raises(DeadlineExceededError):
            await client.generate("text", ["b"])
        with pytest.raises(DeadlineExceededError):
            await client.with_options(timeout=3).generate("text", ["b"])
    assert server.counts.rerank == 1


async def test_a_pause_beyond_the_deadline_fails_without_waiting_and_keeps_what_was_scored():
    async with (
        service(lambda seen: too_many(30) if seen.number == 3 else honest(seen)) as running,
        client_for(
            running,
            limits=LimitOptions(requests_per_second=math.inf, max_concurrency=1),
            batching=ONE_EACH,
        ) as client,
    ):
        with pytest.raises(DeadlineExceededError) as caught:
            await client.generate("text", TEXTS, timeout=20)
    assert [index for index, _ in caught.value.scored] == [0, 1]
    assert len(running.seen) == 3


async def test_a_retry_that_is_due_after_the_deadline_is_not_waited_for():
    def answer(_):
        reply = too_many(30)
        reply.set_status(503)
        reply.text = "busy"
        return reply

    async with service(answer) as running, client_for(running) as client:
        with pytest.raises(DeadlineExceededError, match="after the call's deadline") as caught:
            await client.generate("text", TEXTS, timeout=20)
    assert len(running.seen) == caught.value.attempts == 1
    assert "503" in str(caught.value)


async def test_a_deadline_in_the_middle_hands_over_what_was_scored():
    async with (
        serve(faults=[Fault("hang", nth=(3,))]) as server,
        client_for(
            server,
            limits=LimitOptions(requests_per_second=math.inf, max_concurrency=1),
            batching=BatchOptions(max_inputs=2),
        ) as client,
    ):
        with pytest.raises(DeadlineExceededError) as caught:
            await client.generate("text", [*TEXTS, "text 0"], timeout=0.75)
        assert client.limit_status.in_flight == 0
    # Batches of two: 0 and 1, 2 and 3 were answered, 4 and 5 was not; "text 0" stands at 0 and at 8.
    scores = dict(ranking(TEXTS, None, "text"))
    assert caught.value.scored == tuple((index, scores[index % 8]) for index in (0, 1, 2, 3, 8))
    assert caught.value.url == server.url + "/ml/v1/text/rerank"
    assert "deadline of 0.75 s" in str(caught.value)


@pytest.mark.parametrize(
    ("batching", "params", "crypto"),
    [
        (BatchOptions(), None, None),
        (BatchOptions(max_inputs=70), {"return_options": {"top_n": 5, "inputs": True}}, None),
        (BatchOptions(max_bytes=2500, dedupe=False), {"truncate_input_tokens": 5}, None),
        (BatchOptions(max_inputs=70), {"return_options": {"query": True}}, {"key_ref": "crn:v1:made-up"}),
    ],
)
async def test_a_plan_is_what_is_sent_and_sends_nothing(batching, params, crypto):
    texts, batching = passages(500), attrs.evolve(batching, adaptive=False)
    async with service() as running, client_for(running, batching=batching) as client:
        plan = client.plan(QUERY, texts, params, crypto)
        assert (running.seen, running.token_requests) == ([], [])
        await client.generate(QUERY, texts, params, crypto)
    sent = [len(seen.json["inputs"]) for seen in running.seen]
    bodies = sum(len(seen.body) for seen in running.seen)
    right = Plan(inputs=500, unique=sum(sent), requests=len(sent), body_bytes=bodies, seconds=0.0)
    assert attrs.asdict(plan) == attrs.asdict(right)


def test_a_plan_needs_no_loop_and_says_how_long_the_limiter_takes():
    shared = AsyncAPIClient(
        {"url": "http://127.0.0.1:9", "token": "made-up"}, "p", limits=LimitOptions(requests_per_second=2)
    )
    client = AsyncRerank("lexical", api_client=shared, batching=ONE_EACH)
    plans = {
        count: client.plan("text", [f"text {number}" for number in range(count)]) for count in (0, 1, 2, 3, 4, 5, 9)
    }
    assert {count: plan.requests for count, plan in plans.items()} == {count: count for count in plans}
    # Two at once, two more a second later (and the guard's 1.5 %), and so on.
    seconds = {0: 0, 1: 0, 2: 0, 3: 1.015, 4: 1.015, 5: 2.03, 9: 4.06}
    assert {count: plan.seconds for count, plan in plans.items()} == pytest.approx(seconds, abs=1e-3)


async def test_the_limit_status_follows_what_happens():
    release = asyncio.Event()

    async def answer(seen):
        await release.wait()
        return too_many(30) if seen.number == 3 else honest(seen)

    options = LimitOptions(requests_per_second=500, max_concurrency=2)
    async with service(answer) as running, client_for(running, limits=options, batching=ONE_EACH) as client:
        nothing = LimitStatus(
            requests_per_second=500,
            ceiling=500,
            source="option",
            concurrency=2,
            queued=0,
            in_flight=0,
            paused=0,
            outage=0,
            behind=0,
        )
        for status in (client.limit_status, client.api_client.limit_status):
            assert attrs.asdict(status) == attrs.asdict(nothing)
        calls = [asyncio.create_task(client.generate("text", TEXTS[:2])) for _ in range(2)]
        await until(lambda: len(running.seen) >= 2)
        assert (client.limit_status.in_flight, client.limit_status.queued) == (2, 2)
        release.set()
        await until(lambda: client.limit_status.paused)
        status = client.limit_status
        assert 29 < status.paused <= 30
        assert 29 < status.behind <= 30
        assert client.plan("text", ["a"]).seconds > 29
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert (client.limit_status.in_flight, client.limit_status.queued) == (0, 0)


async def test_calls_are_served_in_the_order_they_came(server):
    events = []
    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=1)
    async with client_for(server, limits=limits, observer=events.append) as client:
        await client.warm_up()
        await asyncio.gather(*(client.generate(f"query {number}", ["text"]) for number in range(20)))
    calls = [event.call for event in events if isinstance(event, Sent)]
    assert calls == sorted(calls)
    assert len(calls) == 20
