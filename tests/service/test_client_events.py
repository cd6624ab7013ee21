"""The events of a call, in their order; statistics and log lines that are made of them; and observers that fail."""

import asyncio
import logging
import math
import subprocess
import sys
from collections import Counter

import pytest
from aiohttp import web
from support.clients import client_for, until
from support.passages import QUERY, pairs, passages, ranking
from support.services import honest, refusal, service, too_many

from rerank_async import (
    Answered,
    BatchOptions,
    Failed,
    LimitOptions,
    Merged,
    Queued,
    Retried,
    RetryOptions,
    Sent,
    Throttled,
)
from rerank_async.errors import DeadlineExceededError, InvalidArgumentError, RerankError
from rerank_async.server import Fault, RateLimit, serve

ONE_LANE = LimitOptions(requests_per_second=math.inf, max_concurrency=1)
TWO_EACH = BatchOptions(max_inputs=2)
TEXTS = ["bread", "x", "y", "x", "z"]


def told(event):
    """An event in a few words: its kind, and what is the same in every run."""
    match event:
        case Queued():
            return ("queued", event.inputs, event.unique, event.requests)
        case Sent():
            return ("sent", event.batch, event.inputs, event.attempt)
        case Answered():
            return ("answered", event.batch, event.inputs, event.status)
        case Throttled():
            return ("throttled", event.batch, event.retry_after)
        case Retried():
            return ("retried", event.batch, event.attempt, event.reason)
        case Merged():
            return ("merged", event.results)
        case Failed():
            return ("failed", event.reason)
    raise AssertionError(event)


async def story(answer, texts=("bread", "x"), *, error=None, token=None, **options):
    """The events of one call over one lane, in their order, checked for what holds of all of them."""
    events = []
    options = {"limits": ONE_LANE, "batching": TWO_EACH, "observer": events.append, **options}
    routes = {} if token is None else {"token": token}
    async with service(answer, **routes) as running, client_for(running, **options) as client:
        if error is None:
            await client.generate("bread", texts)
        else:
            with pytest.raises(error):
                await client.generate("bread", texts)
    assert len({event.call for event in events}) == 1
    moments = [event.at for event in events]
    assert moments == sorted(moments)
    return [told(event) for event in events]


async def test_one_batch():
    assert await story(honest) == [
        ("queued", 2, 2, 1),
        ("sent", 0, 2, 1),
        ("answered", 0, 2, 200),
        ("merged", 2),
    ]


async def test_several_batches():
    assert await story(honest, TEXTS) == [
        ("queued", 5, 4, 2),
        ("sent", 0, 2, 1),
        ("answered", 0, 2, 200),
        ("sent", 1, 2, 1),
        ("answered", 1, 2, 200),
        ("merged", 5),
    ]


async def test_a_429_is_told_and_does_not_count_as_an_attempt():
    assert await story(lambda seen: too_many(0.001) if seen.number <= 2 else honest(seen)) == [
        ("queued", 2, 2, 1),
        ("sent", 0, 2, 1),
        ("answered", 0, 2, 429),
        ("throttled", 0, 0.001),
        ("sent", 0, 2, 1),
        ("answered", 0, 2, 429),
        ("throttled", 0, 0.001),
        ("sent", 0, 2, 1),
        ("answered", 0, 2, 200),
        ("merged", 2),
    ]


async def test_retries_count_up_and_name_the_code_or_the_class():
    def answer(seen):
        if seen.number == 1:
            return refusal(500, "downstream_request_failed")
        return web.Response(body=b"made up") if seen.number == 2 else honest(seen)

    assert await story(answer) == [
        ("queued", 2, 2, 1),
        ("sent", 0, 2, 1),
        ("answered", 0, 2, 500),
        ("retried", 0, 1, "downstream_request_failed"),
        ("sent", 0, 2, 2),
        ("answered", 0, 2, 200),
        ("retried", 0, 2, "DecodeError"),
        ("sent", 0, 2, 3),
        ("answered", 0, 2, 200),
        ("merged", 2),
    ]


async def test_a_new_token_is_told_as_a_retry():
    def answer(seen):
        return refusal(401, "authentication_token_expired") if seen.number == 1 else honest(seen)

    assert await story(answer) == [
        ("queued", 2, 2, 1),
        ("sent", 0, 2, 1),
        ("answered", 0, 2, 401),
        ("retried", 0, 1, "authentication_token_expired"),
        ("sent", 0, 2, 2),
        ("answered", 0, 2, 200),
        ("merged", 2),
    ]


async def test_a_connection_that_breaks_has_no_answer():
    def broken(seen):
        reply = web.Response(body=b"{}")
        reply.headers["Content-Encoding"] = "gzip"
        return reply if seen.number == 1 else honest(seen)

    assert await story(broken) == [
        ("queued", 2, 2, 1),
        ("sent", 0, 2, 1),
        ("retried", 0, 1, "ConnectionFailedError"),
        ("sent", 0, 2, 2),
        ("answered", 0, 2, 200),
        ("merged", 2),
    ]


async def test_a_failure_ends_the_call():
    def answer(seen):
        return honest(seen) if seen.number == 1 else refusal(400, "made_up_code")

    assert await story(answer, TEXTS, error=RerankError) == [
        ("queued", 5, 4, 2),
        ("sent", 0, 2, 1),
        ("answered", 0, 2, 200),
        ("sent", 1, 2, 1),
        ("answered", 1, 2, 400),
        ("failed", "made_up_code"),
    ]


async def test_giving_up_is_a_failure_too():
    retries = RetryOptions(max_attempts=2, base_delay=0.001)
    assert await story(lambda _: refusal(503, "made_up_code"), error=RerankError, retries=retries) == [
        ("queued", 2, 2, 1),
        ("sent", 0, 2, 1),
        ("answered", 0, 2, 503),
        ("retried", 0, 1, "made_up_code"),
        ("sent", 0, 2, 2),
        ("answered", 0, 2, 503),
        ("failed", "made_up_code"),
    ]


async def test_no_token_means_nothing_sent():
    def token(_):
        return web.json_response({"errorCode": "BXNIM0415E", "errorMessage": "No such key"}, status=400)

    assert await story(honest, error=RerankError, token=token) == [("queued", 2, 2, 1), ("failed", "BXNIM0415E")]


async def test_cancellations_and_deadlines_are_failures(server):
    events = []
    limits = LimitOptions(requests_per_second=0.01, burst=1)
    async with client_for(server, observer=events.append, limits=limits) as client:
        await client.generate("bread", ["x"])
        call = asyncio.create_task(client.generate("bread", ["x"]))
        await until(lambda: client.limit_status.queued)
        call.cancel()
        await asyncio.wait([call])
        with pytest.raises(DeadlineExceededError):
            await client.generate("bread", ["x"], timeout=1)
    assert [told(event) for event in events[4:]] == [
        ("queued", 1, 1, 1),
        ("failed", "CancelledError"),
        ("queued", 1, 1, 1),
        ("failed", "DeadlineExceededError"),
    ]
    assert len({event.call for event in events}) == 3


async def test_bad_input_and_empty_lists_have_no_events(server):
    events = []
    async with client_for(server, observer=events.append) as client:
        with pytest.raises(InvalidArgumentError):
            await client.generate("", ["x"])
        await client.generate("bread", [])
        client.plan("bread", ["x"])
    assert events == []


async def test_statistics_are_what_the_server_counted():
    events = []
    faults = [
        *(Fault(name, share=0.08) for name in ("server_error", "truncated_json", "rate_limited")),
        Fault("token_expired", nth=(5,)),
    ]
    limits = LimitOptions(requests_per_second=2000, burst=100)
    async with (
        serve(faults=faults, seed=4) as server,
        client_for(server, batching=BatchOptions(max_inputs=3), limits=limits, observer=events.append) as client,
    ):
        response = await client.generate(QUERY, passages(200))
    stats, counts = response.stats, server.counts
    assert pairs(response) == ranking(passages(200))
    assert stats.requests == counts.rerank == sum(isinstance(event, Sent) for event in events)
    assert stats.throttled == counts.statuses[429] == sum(isinstance(event, Throttled) for event in events) > 0
    assert stats.retries == sum(counts.faults.values()) - counts.faults["rate_limited"] > 0
    assert stats.requests == math.ceil(len(set(passages(200))) / 3) + stats.retries + stats.throttled
    assert stats.hedges == 0
    assert Counter(each.status for each in stats.exchanges) == counts.statuses
    assert Counter(each.trace for each in stats.exchanges) == Counter(each.trace for each in server.requests)
    known = {arrival.trace: arrival for arrival in server.requests}
    assert all(known[each.trace].status == each.status for each in stats.exchanges)
    assert sum(each.inputs for each in stats.exchanges if each.status == 200) >= len(set(passages(200)))
    assert 0 <= max(each.seconds for each in stats.exchanges) <= stats.seconds
    assert events[-1].seconds == stats.seconds


async def test_waiting_for_the_limiter_is_counted():
    async with serve() as server:
        limits = LimitOptions(requests_per_second=200, burst=1)
        async with client_for(server, limits=limits, batching=BatchOptions(max_inputs=1)) as client:
            response = await client.generate("bread", [f"text {number}" for number in range(10)])
    # One request of the call waits at a time: nine of the ten, for an interval of 5 ms each.
    assert response.stats.waited >= 9 * 0.005 * 0.9
    assert response.stats.seconds >= 9 * 0.005


async def test_an_observer_that_raises_disturbs_nobody(server, caplog):
    def broken(event):
        raise LookupError("the observer's own")

    async with client_for(server, observer=broken, batching=BatchOptions(max_inputs=10)) as client:
        response = await client.generate(QUERY, passages(60))
    assert pairs(response) == ranking(passages(60))
    assert {record.levelname for record in caplog.records} == {"ERROR"}
    assert "the observer's own" in caplog.text


async def test_observers_see_events_synchronously_in_the_loop(server):
    places = set()
    loop = asyncio.get_running_loop()

    def observe(event):
        places.add(asyncio.get_running_loop())

    async with client_for(server, observer=observe) as client:
        await client.generate("bread", ["x"])
    assert places == {loop}


async def test_log_lines_at_debug_hold_numbers_and_no_words(caplog):
    caplog.set_level(logging.DEBUG, "rerank_async")
    faults = [Fault("server_error", nth=(1,)), Fault("rate_limited", nth=(3,)), Fault("token_expired", nth=(5,))]
    limit = RateLimit(requests=1000, retry_after=0.001)
    async with (
        serve(faults=faults, limit=limit, api_key="made-up-key-WOMBAT") as server,
        client_for(server, batching=BatchOptions(max_inputs=1), limits=ONE_LANE) as client,
    ):
        await client.generate("the QUOKKA", [f"the NUMBAT {number}" for number in range(6)])
        token = client.api_client._channel.tokens.alive().authorization.reveal().removeprefix("Bearer ")
    ours = [record for record in caplog.records if record.name == "rerank_async"]
    kinds = Counter(record.getMessage().partition("(")[0] for record in ours)
    assert kinds == {"Queued": 1, "Sent": 9, "Answered": 9, "Throttled": 1, "Retried": 2, "Merged": 1}
    assert {record.levelname for record in ours} == {"DEBUG"}
    everything = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert not any(word in everything for word in ("WOMBAT", "QUOKKA", "NUMBAT", token))


async def test_without_debug_nothing_is_logged(server, caplog):
    caplog.set_level(logging.INFO)
    async with client_for(server) as client:
        await client.generate("bread", ["x"])
    assert [record for record in caplog.records if record.name == "rerank_async"] == []


async def test_a_renewal_that_fails_is_a_warning_while_the_old_token_serves(caplog):
    faults = [Fault("iam_error", nth=tuple(range(2, 50)))]
    async with (
        serve(token_lifetime=2.0, faults=faults) as server,
        client_for(server, retries=RetryOptions(max_attempts=1)) as client,
    ):
        async with asyncio.timeout(30):
            while "could not be renewed" not in caplog.text:
                await client.generate("bread", ["x"])
    assert server.counts.token_requests == 2
    assert {record.levelname for record in caplog.records if record.name == "rerank_async"} == {"WARNING"}


SCRIPT = """
import asyncio
from rerank_async import AsyncRerank
from rerank_async.server import serve

async def main():
    async with serve(api_key="made-up-key-WOMBAT") as server:
        async with AsyncRerank("lexical", credentials={"url": server.url, "api_key": server.api_key},
                               project_id=server.project_id) as client:
            await client.generate("the QUOKKA", ["the NUMBAT"])
        async with AsyncRerank("lexical", credentials={"url": server.url, "api_key": server.api_key},
                               project_id=server.project_id) as client:
            await client.generate("the QUOKKA", ["the NUMBAT"])

asyncio.run(main())
"""


@pytest.mark.parametrize(("level", "lines"), [("debug", 8), ("DEBUG ", 8), ("info", 0), ("", 0), (None, 0)])
def test_rerank_async_log_writes_to_standard_error(level, lines, monkeypatch):
    if level is not None:
        monkeypatch.setenv("RERANK_ASYNC_LOG", level)
    program = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    ours = [line for line in program.stderr.splitlines() if " rerank_async DEBUG " in line]
    assert len(ours) == lines
    assert program.stdout == ""
    assert not any(word in program.stderr for word in ("WOMBAT", "QUOKKA", "NUMBAT", "Bearer"))
    if lines:
        assert "Queued(call=1, " in ours[0]
        assert "Merged(call=2, " in ours[-1]


def test_rerank_async_log_with_another_word_says_what_it_may_be(monkeypatch):
    monkeypatch.setenv("RERANK_ASYNC_LOG", "loud")
    with pytest.raises(InvalidArgumentError, match="debug, info, warning, error") as caught:
        client_for(None, credentials={"url": "http://127.0.0.1:9", "token": "made-up"}, project_id="p")
    assert caught.value.argument == "RERANK_ASYNC_LOG"
