"""A deadline that passes: what the call waited for, what went wrong meanwhile, and how often it was tried."""

import asyncio
import socket

import pytest
from aiohttp import web
from support.clients import client_for
from support.services import RERANK, TOKEN, honest, refusal, service, too_many

from rerank_async import AsyncAPIClient, AsyncRerank, BatchOptions, LimitOptions, MemoryTokenStore, RetryOptions
from rerank_async.errors import ConnectionFailedError, DeadlineExceededError, RateLimitError, ServiceError

PATIENT = RetryOptions(max_attempts=1000, base_delay=0.05, max_delay=0.05)


async def late(client, inputs=("a",), seconds=0.3):
    with pytest.raises(DeadlineExceededError) as caught:
        await client.generate("bread", inputs, timeout=seconds)
    return caught.value


async def hang(_):
    await asyncio.sleep(60)


def free_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


# While it waits for the token


async def test_where_nobody_listens_it_says_so_and_where_it_waited():
    url = f"http://127.0.0.1:{free_port()}"
    async with AsyncRerank("m", credentials={"url": url, "api_key": "k"}, project_id="p") as client:
        error = await late(client)
    assert str(error).startswith("the call's deadline of 0.3 s passed while it waited for a token; nothing was scored")
    assert f"The last failure: cannot connect to {url}{TOKEN}: Connection refused" in str(error)
    assert "attached" not in str(error)
    assert isinstance(error.__cause__, ConnectionFailedError)
    assert error.url == url + TOKEN
    assert (error.attempts, error.stats.requests) == (error.__cause__.attempts, 0)
    assert error.attempts >= 1


async def test_a_token_endpoint_that_fails_is_quoted():
    async with (
        service(token=lambda _: web.Response(status=503)) as running,
        client_for(running, retries=PATIENT) as client,
    ):
        error = await late(client)
    assert f"The last failure: {running.url}{TOKEN} answered 503" in str(error)
    assert isinstance(error.__cause__, ServiceError)
    assert error.url == running.url + TOKEN
    assert not running.seen


async def test_who_waits_for_the_exchange_of_another_client_hears_of_it_too():
    store = MemoryTokenStore()
    async with service(token=lambda _: web.Response(status=503)) as running:
        given = {
            "credentials": {"url": running.url, "api_key": "k"},
            "project_id": "p",
            "tokens": store,
            "retries": PATIENT,
        }
        async with AsyncAPIClient(**given) as one, AsyncAPIClient(**given) as other:
            clients = [AsyncRerank("m", api_client=each) for each in (one, other)]
            errors = await asyncio.gather(*map(late, clients))
    assert all("answered 503" in str(error) for error in errors)
    assert errors[0].__cause__ is not errors[1].__cause__


async def test_a_token_endpoint_that_hangs_is_named():
    async with service(token=hang) as running, client_for(running, retries=PATIENT) as client:
        error = await late(client)
    assert "while it waited for a token" in str(error)
    assert "The last failure" not in str(error)
    assert (error.url, error.__cause__) == (running.url + TOKEN, None)


async def test_a_token_that_was_refused_and_cannot_be_renewed_is_waited_for_too():
    def once(seen):
        return (
            web.json_response({"access_token": "t", "expires_in": 3600})
            if seen.number == 1
            else web.Response(status=503)
        )

    async with (
        service(lambda _: refusal(401, "authentication_token_expired"), once) as running,
        client_for(running, retries=PATIENT) as client,
    ):
        error = await late(client)
    assert "The last failure: " + running.url + TOKEN in str(error)
    assert (error.url, error.stats.requests) == (running.url + TOKEN, 1)


# How often it was tried


async def test_a_request_that_hangs_was_sent_once():
    async with service(hang) as running, client_for(running, retries=PATIENT) as client:
        error = await late(client)
    assert (error.attempts, error.stats.requests, error.url) == (1, 1, running.url + RERANK)
    assert "passed; nothing was scored by then" in str(error)


async def test_a_batch_that_failed_before_it_hung_was_sent_so_often():
    def reply(seen):
        return web.Response(status=503) if seen.number <= 2 else hang(seen)

    async with service(reply) as running, client_for(running, retries=PATIENT) as client:
        error = await late(client)
    assert error.attempts == error.stats.requests == 3
    assert "The last failure: " in str(error)
    assert isinstance(error.__cause__, ServiceError)


async def test_a_batch_that_was_mended_is_not_the_one_that_was_late():
    """It goes again beside the other, which hangs meanwhile."""
    first = []

    def reply(seen):
        if {"text": "text 0"} not in seen.json["inputs"]:
            return hang(seen)
        first.append(seen)
        return honest(seen) if len(first) == 3 else web.Response(status=500)

    batching = BatchOptions(max_inputs=2, adaptive=False)
    async with service(reply) as running, client_for(running, retries=PATIENT, batching=batching) as client:
        error = await late(client, ["text 0", "text 1", "text 2"], seconds=0.5)
    assert "2 of 3 texts were scored by then, and are attached to this error" in str(error)
    assert error.attempts == 1


async def test_429s_until_the_deadline_are_counted():
    async with (
        service(lambda _: too_many(0.05)) as running,
        client_for(running, limits=None, retries=RetryOptions()) as client,
    ):
        error = await late(client, seconds=0.4)
    assert error.attempts == error.stats.requests == len(running.seen) >= 1
    assert "The last failure: " + running.url + RERANK + " answered 429" in str(error)
    assert (type(error.__cause__), error.url) == (RateLimitError, running.url + RERANK)


async def test_refused_connections_are_told_apart_from_attempts():
    """The server dies while the call is under way; without a deadline it waits for ``max_elapsed``."""
    retries = RetryOptions(max_attempts=3, base_delay=0.001, max_delay=0.002, max_elapsed=0.4)
    port = free_port()
    async with AsyncRerank(
        "m", credentials={"url": f"http://127.0.0.1:{port}", "token": "t"}, project_id="p", retries=retries
    ) as client:
        async with service(port=port):
            await client.generate("bread", ["a"])
        with pytest.raises(ConnectionFailedError, match=r"gave up after (\d+ attempts? and )?\d+ refused") as caught:
            await client.generate("bread", ["a"])
    assert caught.value.attempts == caught.value.stats.requests


# A deadline that the rate makes impossible


async def test_a_call_that_is_too_large_by_itself_says_what_it_needs():
    limits = LimitOptions(requests_per_second=3)
    async with service() as running, client_for(running, limits=limits) as client:
        error = await late(client, [f"text {number}" for number in range(9000)], seconds=1.5)
        assert not running.seen
    assert str(error).startswith("the call needs 9 requests, the last of which can start in 2.0 s at 3 a second; ")
    assert "behind" not in str(error)


async def test_one_that_stands_behind_others_says_so():
    limits = LimitOptions(requests_per_second=3, burst=1)
    async with service() as running, client_for(running, limits=limits) as client:
        await client.generate("bread", ["a"])
        error = await late(client, [f"text {number}" for number in range(9000)], seconds=1.5)
    assert str(error).startswith("the limiter is ")
