"""Services that misbehave for ever: bounded numbers of requests, an error that says what happened, and no wedged client."""

import asyncio
import math
from email.utils import formatdate

import pytest
from support.clients import client_for
from support.passages import pairs, ranking
from support.services import honest, http_answer, raw_service, refusal, service
from support.tidiness import assert_tidy

from rerank_async import BatchOptions, LimitOptions, RetryOptions, Throttled, Timeouts
from rerank_async.errors import ConnectionFailedError, DeadlineExceededError, RateLimitError, RequestTimeoutError
from rerank_async.server import Fault, serve

TEXTS = ("text 0", "text 1", "other")
RIGHT = ranking(TEXTS, None, "text")
ONE_EACH = BatchOptions(max_inputs=1)


def throttle(retry_after=None):
    """A 429 whose words name a rate that slows no test."""
    words = "Rate limit of 1000 requests per 1s was reached for instance id X"
    return refusal(
        429, "rate_limit_reached_requests", words, None if retry_after is None else {"Retry-After": retry_after}
    )


@pytest.mark.parametrize("status", [429, 503])
async def test_a_retry_after_of_a_day_fails_at_once_and_names_it(status):
    def answer(_):
        return refusal(status, "made_up", "Rate limit of 1000 requests per 1s was reached", {"Retry-After": "86400"})

    async with service(answer) as running, client_for(running) as client:
        with pytest.raises(Exception, match=r"86400 s, above RetryOptions\.max_retry_after = 60") as caught:
            await client.generate("text", TEXTS)
        assert_tidy(client)
        assert client.limit_status.paused == 0
    assert caught.value.retry_after == 86_400
    assert (caught.value.status, caught.value.attempts, len(running.seen)) == (status, 1, 1)


@pytest.mark.parametrize(
    ("value", "heard"),
    [
        ("-1", None),
        ("soon", None),
        ("", None),
        ("0", 0.0),
        (formatdate(0, usegmt=True), 0.0),
        (formatdate(1_000_000_000, usegmt=True), 0.0),
        ("Wed, 32 Oct 2015 07:28:00 GMT", None),
    ],
    ids=["negative", "text", "empty", "zero", "1970", "2001", "no date"],
)
async def test_a_retry_after_that_makes_no_sense_holds_nobody_for_long(value, heard):
    def answer(seen):
        return throttle(value) if seen.number <= 2 else honest(seen)

    events = []
    async with service(answer) as running, client_for(running, observer=events.append) as client:
        assert pairs(await client.generate("text", TEXTS)) == RIGHT
    assert len(running.seen) == 3
    throttled = [event for event in events if isinstance(event, Throttled)]
    assert [event.retry_after for event in throttled] == [heard, heard]
    assert all(event.delay <= 1.02 for event in throttled), "one window of the limit at most"


@pytest.mark.parametrize("retry_after", ["0.001", None], ids=["asked", "not asked"])
async def test_429s_for_ever_end_and_the_error_says_how_many_and_how_long(retry_after):
    def answer(_):
        return throttle(retry_after)

    retries = RetryOptions(max_throttled=5, base_delay=0.001)
    async with service(answer) as running, client_for(running, retries=retries) as client:
        with pytest.raises(
            RateLimitError, match=r"met 6 of them in \d+\.\d s, more than RetryOptions\.max_throttled = 5 allows"
        ) as caught:
            await client.generate("text", TEXTS)
        assert_tidy(client)
    error = caught.value
    assert (len(running.seen), error.attempts, error.stats.requests, error.stats.throttled) == (6, 6, 6, 5)
    assert "Rate limit of 1000 requests per 1s" in str(error)
    assert (error.code, error.status) == ("rate_limit_reached_requests", 429)


async def test_429s_for_ever_end_many_calls_within_the_bound_of_each():
    retries = RetryOptions(max_throttled=3, base_delay=0.001)
    async with (
        service(lambda _: throttle("0.001")) as running,
        client_for(running, retries=retries, limits=LimitOptions(requests_per_second=math.inf)) as client,
    ):
        outcomes = await asyncio.gather(*(client.generate("text", TEXTS) for _ in range(20)), return_exceptions=True)
        assert_tidy(client)
    assert all(isinstance(outcome, RateLimitError) and outcome.attempts == 4 for outcome in outcomes)
    assert len(running.seen) == 80


async def test_429s_for_ever_end_at_the_deadline_too():
    async with service(lambda _: throttle("0.05")) as running, client_for(running) as client:
        with pytest.raises(DeadlineExceededError) as caught:
            await client.generate("text", TEXTS, timeout=0.5)
        assert_tidy(client)
    assert 1 <= len(running.seen) <= 11
    assert caught.value.stats.requests == len(running.seen)


async def test_a_service_that_never_answers_is_asked_max_attempts_times():
    retries = RetryOptions(max_attempts=3, base_delay=0.001, max_delay=0.002)
    async with (
        serve(faults={"hang": 1.0}) as server,
        client_for(server, retries=retries, timeouts=Timeouts(request=0.1)) as client,
    ):
        with pytest.raises(RequestTimeoutError, match="gave up after 3 attempts") as caught:
            await client.generate("text", TEXTS)
        assert_tidy(client)
    assert (server.counts.rerank, caught.value.attempts) == (3, 3)
    assert (caught.value.stats.requests, caught.value.stats.exchanges) == (3, ())


async def test_a_request_that_is_never_answered_is_sent_again():
    async with (
        serve(faults=[Fault("hang", nth=(1, 3))]) as server,
        client_for(server, batching=ONE_EACH, timeouts=Timeouts(request=0.3)) as client,
    ):
        assert pairs(await client.generate("text", TEXTS)) == RIGHT
        assert_tidy(client)
    assert server.counts.rerank == 5


async def test_a_service_below_http_that_never_answers():
    async def talk(number, writer):
        await asyncio.sleep(3600)

    retries = RetryOptions(max_attempts=2, base_delay=0.001, max_delay=0.002)
    async with raw_service(talk) as running:
        credentials = {"url": running.url, "token": "made-up-token"}
        async with client_for(
            running, credentials=credentials, retries=retries, timeouts=Timeouts(request=0.1)
        ) as client:
            with pytest.raises(RequestTimeoutError):
                await client.generate("text", TEXTS)
            assert_tidy(client)
    assert len(running.seen) == 2


@pytest.mark.parametrize("said", [True, False], ids=["connection: close", "without a word"])
async def test_a_service_that_closes_each_connection_after_a_request(said):
    """As a proxy does: no request is lost to a connection that was closed, or else it is sent again."""

    def body(number):
        return b'{"model_id": "lexical", "results": [{"index": 0, "score": %d}]}' % number

    async def talk(number, writer):
        writer.write(http_answer(body(number), headers=["Connection: close"] if said else []))
        await writer.drain()
        writer.close()

    async with raw_service(talk) as running:
        credentials = {"url": running.url, "token": "made-up-token"}
        limits = LimitOptions(requests_per_second=math.inf, max_concurrency=4)
        async with client_for(running, credentials=credentials, limits=limits) as client:
            responses = await asyncio.gather(*(client.generate("text", ["a"]) for _ in range(40)))
            assert_tidy(client)
    scores = [response.results[0].score for response in responses]
    assert len(set(scores)) == 40
    spent = sum(response.stats.requests for response in responses)
    # One that went into a closed connection was never read by the service.
    assert len(running.seen) == 40 <= spent
    if said:
        assert spent == 40


async def test_a_service_that_closes_each_connection_before_it_answers():
    async def talk(number, writer):
        writer.close()

    retries = RetryOptions(max_attempts=3, base_delay=0.001, max_delay=0.002)
    async with raw_service(talk) as running:
        credentials = {"url": running.url, "token": "made-up-token"}
        async with client_for(running, credentials=credentials, retries=retries) as client:
            with pytest.raises(ConnectionFailedError, match="gave up after 3 attempts") as caught:
                await client.generate("text", TEXTS)
            assert_tidy(client)
    assert not caught.value.refused
    assert len(running.seen) == 3


async def test_an_answer_that_drips_is_read_whole():
    async with (
        serve(faults=[Fault("drip", nth=(1, 2), seconds=0.0005)]) as server,
        client_for(server, batching=ONE_EACH) as client,
    ):
        assert pairs(await client.generate("text", TEXTS)) == RIGHT
    assert server.counts.rerank == 3


async def test_an_answer_that_drips_too_slowly_is_a_timeout_and_sent_again():
    async with (
        serve(faults=[Fault("drip", nth=(1,), seconds=1.0)]) as server,
        client_for(server, timeouts=Timeouts(request=0.3)) as client,
    ):
        response = await client.generate("text", TEXTS)
        assert_tidy(client)
    assert pairs(response) == RIGHT
    assert (server.counts.rerank, response.stats.retries) == (2, 1)
    assert response.stats.again[0].reason == "RequestTimeoutError"


async def test_a_deadline_ends_a_drip():
    async with (
        serve(faults=[Fault("drip", share=1.0, seconds=1.0)]) as server,
        client_for(server) as client,
    ):
        with pytest.raises(DeadlineExceededError):
            await client.generate("text", TEXTS, timeout=0.3)
        assert_tidy(client)
    assert server.counts.rerank == 1


async def test_a_budget_of_nothing_delays_and_does_not_fail():
    """Without a retry to spend, one request a second goes again; the first is let go at once."""
    retries = RetryOptions(budget=0, base_delay=0.001, max_delay=0.002)
    async with (
        serve(faults=[Fault("server_error", nth=(1,)), Fault("reset_before", nth=(4,))]) as server,
        client_for(server, retries=retries) as client,
    ):
        for _ in range(3):
            assert pairs(await client.generate("text", TEXTS)) == RIGHT
        assert_tidy(client)
    assert server.counts.rerank == 5


async def test_an_empty_budget_ends_at_max_elapsed_and_says_so():
    """Twenty calls to a service that is broken: what was saved goes out, then one request a second."""
    retries = RetryOptions(max_attempts=50, budget=0, base_delay=0.001, max_delay=0.002, max_elapsed=0.4)
    async with serve(faults={"backend_failed": 1.0}) as server, client_for(server, retries=retries) as client:
        outcomes = await asyncio.gather(*(client.generate("text", TEXTS) for _ in range(20)), return_exceptions=True)
        assert_tidy(client)
    assert (
        sum("the retry budget was empty for RetryOptions.max_elapsed = 0.4 s" in str(each) for each in outcomes) >= 19
    )
    assert 20 <= server.counts.rerank <= 22
