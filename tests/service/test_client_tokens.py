"""One token for everyone, against the live server: cold starts, cancelled callers, loops that end, revocation, outages."""

import asyncio
import gc
import math
import warnings

import pytest
from support.clients import QUICK, client_for, client_tasks, until
from support.passages import pairs
from support.threads import in_thread

from rerank_async import BatchOptions, LimitOptions, RetryOptions
from rerank_async.errors import AuthenticationError, DecodeError, RedirectError
from rerank_async.server import Fault, serve

WIDE = LimitOptions(requests_per_second=math.inf, max_concurrency=200)
BREAD = ((0, 1.0), (1, 0.0))


async def rank_bread(client):
    return pairs(await client.generate("bread", ["bread", "x"]))


async def cold_start(client, count):
    return [asyncio.create_task(rank_bread(client)) for _ in range(count)]


@pytest.mark.parametrize("position", [0, -1], ids=["first", "last"])
async def test_two_hundred_callers_of_whom_one_leaves_in_the_middle_of_the_exchange(position):
    async with serve(token_latency=0.1) as server, client_for(server, limits=WIDE) as client:
        calls = await cold_start(client, 200)
        await until(lambda: server.counts.token_requests)
        calls[position].cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    left = outcomes.pop(position)
    assert isinstance(left, asyncio.CancelledError)
    assert outcomes == [BREAD] * 199
    assert (server.counts.token_requests, server.counts.tokens) == (1, 1)


async def test_all_callers_leave_and_the_next_one_still_gets_a_token():
    async with serve(token_latency=0.05) as server, client_for(server) as client:
        calls = await cold_start(client, 50)
        await until(lambda: server.counts.token_requests)
        for call in calls:
            call.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert await rank_bread(client) == BREAD
        assert client_tasks() == []
    assert server.counts.token_requests == 1, "the exchange went on without them"


def test_a_loop_that_ends_in_the_middle_of_an_exchange_leaves_no_trace():
    async def leave(client, server):
        calls = await cold_start(client, 20)
        await until(lambda: server.counts.token_requests)
        return calls

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with in_thread(faults=[Fault("iam_hang", nth=(1,))]) as server:
            client = client_for(server)
            calls = asyncio.run(leave(client, server))
            assert all(call.cancelled() for call in calls)
            assert asyncio.run(rank_bread(client)) == BREAD
            assert asyncio.run(rank_bread(client)) == BREAD
            asyncio.run(client.aclose())
        del calls, client
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    assert (server.counts.token_requests, server.counts.tokens) == (2, 1)


async def test_a_token_revoked_under_two_hundred_calls_in_flight():
    texts = [f"text {number}" for number in range(5)]
    async with (
        serve(latency=0.02) as server,
        client_for(server, limits=WIDE, batching=BatchOptions(max_inputs=1)) as client,
    ):
        calls = [asyncio.create_task(client.generate("text 3", texts)) for _ in range(200)]
        # The calls wait their turn: each request that comes from now on brings a token that is good no more.
        await until(lambda: server.counts.rerank >= 200)
        server.revoke_tokens()
        outcomes = await asyncio.gather(*calls)
    assert {pairs(outcome)[0][0] for outcome in outcomes} == {3}
    assert len(outcomes) == 200
    assert server.counts.statuses[401] > 0
    assert server.counts.tokens == 2, "one at the start, one after the revocation"


async def test_a_token_that_is_revoked_again_and_again_is_an_error_in_the_end():
    async with serve(faults={"token_expired": 1.0}) as server, client_for(server) as client:
        with pytest.raises(AuthenticationError) as caught:
            await rank_bread(client)
    assert (caught.value.status, caught.value.code) == (401, "authentication_token_expired")
    assert (server.counts.tokens, server.counts.rerank) == (2, 2)


async def steady_load(server, client, tokens):
    """Four callers without a pause until so many tokens were given out; each call has to succeed."""

    async def load():
        while server.counts.tokens < tokens:
            assert await rank_bread(client) == BREAD

    async with asyncio.timeout(120):
        await asyncio.gather(*(load() for _ in range(4)))


async def test_short_lives_under_steady_load():
    async with serve(token_lifetime=1) as server, client_for(server) as client:
        await steady_load(server, client, 4)
    assert server.counts.token_requests == server.counts.tokens


async def test_an_endpoint_that_is_down_more_often_than_not_is_noticed_by_no_call():
    outage = Fault("iam_unavailable", outage=(0.3, 0.5))
    async with (
        serve(token_lifetime=2, faults=[outage]) as server,
        client_for(server, retries=RetryOptions()) as client,
    ):
        await steady_load(server, client, 3)
    assert server.counts.faults["iam_unavailable"] > 0
    assert server.counts.token_requests == server.counts.tokens + server.counts.faults["iam_unavailable"]


@pytest.mark.parametrize("name", ["iam_error", "iam_rate_limited", "iam_html", "iam_unavailable", "iam_reset"])
async def test_what_iam_may_do_twice_without_any_caller_noticing(name):
    async with serve(faults=[Fault(name, nth=(1, 2))]) as server, client_for(server) as client:
        assert await asyncio.gather(*(rank_bread(client) for _ in range(20))) == [BREAD] * 20
    assert (server.counts.token_requests, server.counts.tokens) == (3, 1)


@pytest.mark.parametrize(
    ("name", "kind", "requests"),
    [
        # An exchange serves everybody, so it has five times the retries of a batch.
        ("iam_nonsense", DecodeError, 1 + 5 * (QUICK.max_attempts - 1)),
        ("iam_no_token", DecodeError, 1 + 5 * (QUICK.max_attempts - 1)),
        ("iam_expired_token", DecodeError, 1 + 5 * (QUICK.max_attempts - 1)),
        ("iam_redirect", RedirectError, 1),
    ],
)
async def test_what_iam_may_not_do_is_bounded_and_reported(name, kind, requests):
    async with serve(faults={name: 1.0}) as server, client_for(server) as client:
        outcomes = await asyncio.gather(*(rank_bread(client) for _ in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {kind}
    assert all(server.token_url in str(outcome) for outcome in outcomes)
    assert (server.counts.token_requests, server.counts.rerank) == (requests, 0)


async def test_a_refused_key_is_asked_about_once_for_everyone():
    async with serve() as server:
        client = client_for(server, credentials={"url": server.url, "api_key": "another"})
        async with client:
            outcomes = await asyncio.gather(*(rank_bread(client) for _ in range(100)), return_exceptions=True)
    assert {(type(outcome), outcome.status, outcome.code) for outcome in outcomes} == {
        (AuthenticationError, 400, "BXNIM0415E")
    }
    assert server.counts.token_requests == 1
