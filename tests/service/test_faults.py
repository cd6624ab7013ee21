"""Faults of every kind, by chance and seeded: no call fails, every ranking is right, and each fault costs one request."""

import asyncio
import math
from random import Random

import pytest
from aiohttp import web
from support.clients import client_for
from support.passages import pairs, ranking
from support.services import honest, refusal, service
from support.tidiness import assert_tidy

from rerank_async import BatchOptions, LimitOptions, RetryOptions
from rerank_async.errors import (
    BadAnswerError,
    ConnectionFailedError,
    DecodeError,
    IntegrityError,
    RateLimitError,
    ServiceError,
)
from rerank_async.server import Fault, RateLimit, serve

WORDS = ("words of query", "other words", "query 7 and 77")
STORM = {"server_error": 0.05, "unavailable": 0.05, "reset_before": 0.05, "truncated_json": 0.03, "rate_limited": 0.02}
ONCE = RetryOptions(max_attempts=1, base_delay=0.0)


async def rank_all(client, count, at_once=32):
    """So many calls over the client, each right or its error; returns the errors and the responses."""
    places = asyncio.Semaphore(at_once)
    texts = [(f"{number} is here", *WORDS) for number in range(count)]

    async def one(number):
        async with places:
            return await client.generate(f"query {number}", texts[number])

    outcomes = await asyncio.gather(*map(one, range(count)), return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    wrong = [
        number
        for number, outcome in enumerate(outcomes)
        if not isinstance(outcome, BaseException) and pairs(outcome) != ranking(texts[number], None, f"query {number}")
    ]
    assert wrong == []
    return errors, [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


def not_slow(requests):
    """A limit that is not met: so the words of a 429 that comes by chance name a rate that slows no test."""
    return RateLimit(requests=requests, headers=False)


@pytest.mark.parametrize("headers", [False, True], ids=["no headers", "headers"])
@pytest.mark.parametrize("told", [math.inf, None, 1000], ids=["unpaced", "unknown", "told"])
async def test_a_storm_fails_no_call_and_costs_one_request_for_each_fault(told, headers):
    async with (
        serve(faults=STORM, limit=RateLimit(requests=1000, headers=headers), seed=11) as server,
        client_for(server, limits=LimitOptions(requests_per_second=told)) as client,
    ):
        errors, responses = await rank_all(client, 500)
        assert_tidy(client)
    assert errors == []
    faults = server.counts.faults
    assert all(faults[name] > 0 for name in STORM)
    assert server.counts.throttled == 0
    assert server.counts.rerank == 500 + sum(faults.values())
    stats = [response.stats for response in responses]
    assert sum(each.requests for each in stats) == server.counts.rerank
    assert sum(each.throttled for each in stats) == faults["rate_limited"]
    assert sum(each.retries for each in stats) == sum(faults.values()) - faults["rate_limited"]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-requests-limit-remaining": "0"},
        {"x-requests-limit-rate": "1000", "x-requests-limit-remaining": "0"},
        {"x-requests-limit-rate": "0", "x-requests-limit-remaining": "0"},
        {"x-requests-limit-rate": "banana", "x-requests-limit-remaining": "-1"},
    ],
    ids=["nothing left", "rate and nothing left", "rate of 0", "nonsense"],
)
async def test_a_storm_whose_429s_say_that_nothing_is_left(headers):
    """A stray 429 that says 0 neither stops the client nor lets anything fail."""
    random = Random(5)
    met = {"429": 0, "503": 0, "500": 0, "cut": 0}

    async def answer(seen):
        draw = random.random()
        if draw < 0.02:
            met["429"] += 1
            message = "Rate limit of 1000 requests per 1s was reached for instance id X"
            return refusal(429, "rate_limit_reached_requests", message, headers)
        if draw < 0.07:
            met["503"] += 1
            return web.Response(status=503, text="<html>busy</html>", content_type="text/html")
        if draw < 0.12:
            met["500"] += 1
            return refusal(500, "downstream_request_failed")
        if draw < 0.15:
            met["cut"] += 1
            return web.Response(body=b'{"model_id": "lexical", "resu', content_type="application/json")
        return honest(seen)

    async with service(answer) as running, client_for(running, limits=LimitOptions(requests_per_second=1000)) as client:
        errors, _ = await rank_all(client, 500)
        assert_tidy(client)
    assert errors == []
    assert all(met.values())
    assert len(running.seen) == 500 + sum(met.values())


@pytest.mark.parametrize(
    "name",
    [
        "server_error",
        "backend_failed",
        "no_trace",
        "empty_error",
        "unavailable",
        "bad_gateway",
        "gateway_timeout",
        "nonsense_html",
        "reset_before",
        "reset_inside",
        "truncated_json",
        "nonsense_json",
        "missing_result",
        "duplicate_index",
        "wrong_index",
        "nan_score",
        "pool_full",
    ],
)
async def test_each_fault_alone_costs_one_request_and_no_call(name):
    async with (
        serve(faults={name: 0.2}, limit=not_slow(1000), seed=2) as server,
        client_for(server) as client,
    ):
        errors, responses = await rank_all(client, 100)
        assert_tidy(client)
    assert errors == []
    assert server.counts.faults[name] > 0
    assert server.counts.rerank == 100 + server.counts.faults[name]
    assert sum(response.stats.retries for response in responses) == server.counts.faults[name]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("backend_failed", ServiceError, "downstream_request_failed"),
        ("bad_gateway", ServiceError, r"502: a body that is not the service's JSON \(text/html, \d+ bytes\)"),
        ("empty_error", ServiceError, "503: an empty body"),
        ("nonsense_html", DecodeError, "text/rerank"),
        ("truncated_json", DecodeError, "text/rerank"),
        ("nonsense_json", BadAnswerError, "text/rerank"),
        ("missing_result", IntegrityError, "text/rerank"),
        ("duplicate_index", IntegrityError, "text/rerank"),
        ("wrong_index", IntegrityError, "text/rerank"),
        ("nan_score", BadAnswerError, "text/rerank"),
        ("reset_before", ConnectionFailedError, "text/rerank"),
        ("reset_inside", ConnectionFailedError, "text/rerank"),
    ],
)
async def test_a_fault_that_does_not_end_is_an_error_after_max_attempts(name, kind, words):
    retries = RetryOptions(max_attempts=4, base_delay=0.001, max_delay=0.002)
    async with serve(faults={name: 1.0}) as server, client_for(server, retries=retries) as client:
        with pytest.raises(kind, match=words) as caught:
            await client.generate("query", WORDS)
        assert_tidy(client)
    assert "gave up after 4 attempts" in str(caught.value)
    assert (server.counts.rerank, caught.value.attempts, caught.value.stats.requests) == (4, 4, 4)


async def test_long_lists_come_through_a_storm_whole():
    texts = tuple(f"text {number} of many" for number in range(2000))
    async with (
        serve(faults=STORM, limit=not_slow(1000), seed=4) as server,
        client_for(server, batching=BatchOptions(max_inputs=20, adaptive=False)) as client,
    ):
        responses = await asyncio.gather(*(client.generate(f"text {number}", texts) for number in range(3)))
        assert_tidy(client)
    for number, response in enumerate(responses):
        assert pairs(response) == ranking(texts, None, f"text {number}")
    assert server.counts.rerank == 300 + sum(server.counts.faults.values()) == sum(r.stats.requests for r in responses)


async def test_a_full_pool_costs_no_attempt_and_is_met_with_fewer_requests_at_once():
    """A pool of 4: what comes beyond is refused, and the client finds about that number."""
    now, refused = 0, 0

    async def answer(seen):
        nonlocal now, refused
        if now >= 4:
            refused += 1
            return refusal(429, "consumption_limit_reached", "The model is busy: max 4 concurrent requests")
        now += 1
        try:
            await asyncio.sleep(0.002)
            return honest(seen)
        finally:
            now -= 1

    retries = RetryOptions(max_attempts=1, base_delay=0.002, max_delay=0.01)
    async with service(answer) as running, client_for(running, retries=retries) as client:
        errors, responses = await rank_all(client, 300)
        status = client.limit_status
        assert_tidy(client)
    assert errors == []
    assert refused > 0
    assert len(running.seen) == 300 + refused
    assert status.concurrency <= 8
    assert status.requests_per_second == math.inf, "a full pool says nothing of the rate"
    assert sum(response.stats.throttled for response in responses) == 0


async def test_a_pool_that_stays_full_is_bounded_by_max_throttled():
    retries = RetryOptions(max_throttled=6, base_delay=0.001, max_delay=0.002)
    async with serve(faults={"pool_full": 1.0}) as server, client_for(server, retries=retries) as client:
        with pytest.raises(
            RateLimitError, match=r"met 7 of them in \d+\.\d s, more than .*max_throttled = 6"
        ) as caught:
            await client.generate("query", WORDS)
    assert caught.value.code == "consumption_limit_reached"
    assert server.counts.rerank == caught.value.attempts == 7


async def test_a_token_that_dies_again_and_again_costs_one_request_each_time():
    async with (
        serve(faults=[Fault("token_expired", nth=range(3, 60, 7))]) as server,
        client_for(server, retries=ONCE) as client,
    ):
        errors, _ = await rank_all(client, 50, at_once=1)
    assert errors == []
    assert server.counts.faults["token_expired"] == 8
    assert (server.counts.rerank, server.counts.token_requests) == (58, 9)
