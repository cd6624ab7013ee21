"""`AsyncRerank.stream` against a live server: what lands when, what `top_n` cuts, errors, and nothing left behind."""

import asyncio
import math
from contextlib import nullcontext

import pytest
from support.clients import UNPACED, client_for, client_tasks
from support.passages import QUERY, pairs, passages, ranking
from support.services import honest, refusal, service
from support.tidiness import assert_tidy, cancelled_at_a_random_moment, leave

from rerank_async import (
    BatchOptions,
    Failed,
    LimitOptions,
    Merged,
    Queued,
    RerankStream,
    Sent,
)
from rerank_async.errors import (
    BadRequestError,
    ClientClosedError,
    DeadlineExceededError,
    InvalidArgumentError,
    InvalidTypeError,
)
from rerank_async.server import RateLimit, serve

TEXTS = passages(60)
SMALL = BatchOptions(max_inputs=5)


def spread(batches):
    """Pairs of (index, score) of all batches, by index."""
    return sorted((result.index, result.score) for batch in batches for result in batch)


async def test_the_batches_together_are_the_ranking_and_the_response_is_generate_s(server):
    async with client_for(server, batching=SMALL) as client:
        whole = await client.generate(QUERY, TEXTS)
        async with client.stream(QUERY, TEXTS) as stream:
            assert isinstance(stream, RerankStream)
            batches = [results async for results in stream]
            response = await stream.response()
    assert spread(batches) == sorted(ranking(TEXTS))
    assert len(batches) == response.stats.requests == whole.stats.requests > 5
    assert all(list(batch) == sorted(batch, key=lambda result: (-result.score, result.index)) for batch in batches)
    assert pairs(response) == pairs(whole)
    assert response.failures == stream.failures == ()


async def test_results_come_while_the_other_batches_are_not_answered_yet():
    seen_by_the_reader = asyncio.Event()

    async def answer(seen):
        if seen.json["inputs"][0]["text"] != "a":
            await seen_by_the_reader.wait()
        return honest(seen)

    async with (
        service(answer) as running,
        client_for(running, batching=BatchOptions(max_inputs=1)) as client,
        client.stream("c", ["b", "a", "c"]) as stream,
    ):
        first = await anext(stream)
        assert [(result.index, result.score) for result in first] == [(1, 0.0)]
        seen_by_the_reader.set()
        assert spread([results async for results in stream]) == [(0, 0.0), (2, 1.0)]


async def test_top_n_is_never_sent_and_cuts_the_response_alone():
    params = {"return_options": {"top_n": 2, "inputs": True, "query": True}}
    async with service() as running, client_for(running, params=params) as client:
        async with client.stream("bread", ["x", "bread", "y", "bread", "bread"]) as stream:
            (results,) = [results async for results in stream]
            response = await stream.response()
        await client.generate("bread", ["x", "bread", "y", "z"])
    assert [(each.index, each.input) for each in results] == [
        (1, "bread"),
        (3, "bread"),
        (4, "bread"),
        (0, "x"),
        (2, "y"),
    ]
    assert (pairs(response), response.query) == (((1, 1.0), (3, 1.0)), "bread")
    streamed, generated = [seen.json.get("parameters", {}) for seen in running.seen]
    assert "top_n" not in streamed.get("return_options", {})
    assert generated["return_options"]["top_n"] == 2


async def test_with_crypto_the_service_s_own_echo_is_handed_out(server):
    async with (
        client_for(server, batching=SMALL, params={"return_options": {"inputs": True}}) as client,
        client.stream(QUERY, TEXTS, None, {"key_ref": "crn:made:up"}) as stream,
    ):
        results = [result async for batch in stream for result in batch]
    assert sorted((each.index, each.input) for each in results) == list(enumerate(TEXTS))


async def test_a_reader_that_stops_does_not_stop_the_call(server):
    async with client_for(server, batching=SMALL) as client, client.stream(QUERY, TEXTS) as stream:
        await anext(stream)
        response = await stream.response()
        assert server.counts.statuses[200] == response.stats.requests
        assert len([results async for results in stream]) == response.stats.requests - 1


async def test_no_inputs_no_batches(server):
    async with (
        client_for(server, params={"return_options": {"query": True}}) as client,
        client.stream("q", []) as stream,
    ):
        assert [results async for results in stream] == []
        response = await stream.response()
    assert (response.results, response.query, response.input_token_count) == ((), "q", 0)
    assert server.counts.rerank == server.counts.token_requests == 0


async def test_events_are_those_of_generate(server):
    events = []
    async with client_for(server, batching=SMALL, observer=events.append) as client:
        async with client.stream(QUERY, TEXTS) as stream:
            async for _ in stream:
                pass
        first, *_, last = events
        assert isinstance(first, Queued)
        assert isinstance(last, Merged)
        assert sum(isinstance(event, Sent) for event in events) == first.requests
        assert len({event.call for event in events}) == 1
        events.clear()
        async with client.stream(QUERY, TEXTS) as stream:
            await anext(stream)
        assert isinstance(events[-1], Merged | Failed)


async def test_a_view_streams_with_its_own_options():
    async with service() as running, client_for(running) as client:
        view = client.with_options(batching=BatchOptions(max_inputs=2), extra_headers={"x-own": "1"})
        async with view.stream("q", ["a", "b", "c"], extra_headers={"x-more": "2"}) as stream:
            assert sorted([len(results) async for results in stream]) == [1, 2]
    assert all(seen.header("x-own") == ["1"] and seen.header("x-more") == ["2"] for seen in running.seen)


# Errors


async def test_what_landed_comes_first_and_then_the_error():
    landed = asyncio.Event()

    async def answer(seen):
        if seen.json["inputs"][0]["text"] == "good":
            return honest(seen)
        await landed.wait()
        return refusal(400, "invalid_request_entity")

    async with (
        service(answer) as running,
        client_for(running, batching=BatchOptions(max_inputs=1)) as client,
        client.stream("good", ["bad", "good", "worse"]) as stream,
    ):
        assert [result.index for result in await anext(stream)] == [1]
        landed.set()
        with pytest.raises(BadRequestError) as caught:
            await anext(stream)
        assert caught.value.scored == ((1, 1.0),)
        with pytest.raises(BadRequestError):
            await stream.response()


async def test_bad_input_is_refused_at_once_and_nothing_begins(server):
    async with client_for(server) as client:
        for arguments, error, name in [
            (("", ["a"]), InvalidArgumentError, "query"),
            (("q", ["a", 5]), InvalidTypeError, "inputs"),
            (("q", "abc"), InvalidTypeError, "inputs"),
            (("q", ["a"], {"top_n": 3}), InvalidArgumentError, None),
        ]:
            with pytest.raises(error) as caught:
                client.stream(*arguments)
            assert name is None or caught.value.argument == name
        with pytest.raises(InvalidArgumentError, match="timeout"):
            client.stream("q", ["a"], timeout=-1)
        small = client.with_options(batching=BatchOptions(max_bytes=300))
        with pytest.raises(InvalidArgumentError, match=r"inputs\[1\] needs a request of") as caught:
            small.stream("q", ["a", "b" * 400])
        assert caught.value.index == 1
    assert server.counts.rerank == 0
    assert client_tasks() == []


async def test_the_time_of_a_deadline_begins_with_async_with():
    async with serve(faults={"hang": 1.0}) as server, client_for(server) as client:
        stream = client.stream("q", ["a"], timeout=0.05)
        await asyncio.sleep(0.06)
        async with stream:
            with pytest.raises(DeadlineExceededError, match=r"deadline of 0\.05 s passed"):
                await anext(stream)


async def test_a_closed_client_says_so_when_the_stream_is_entered_or_read(server):
    client = client_for(server, batching=SMALL, limits=LimitOptions(requests_per_second=0.01, burst=1))
    late = client.stream(QUERY, TEXTS)
    async with client.stream(QUERY, TEXTS) as stream:
        await anext(stream)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await anext(stream)
    with pytest.raises(ClientClosedError):
        async with late:
            pass
    assert client_tasks() == []


# Leaving


@pytest.mark.parametrize("way", ["break", "aclose", "error"])
async def test_leaving_early_leaves_nothing_and_the_next_call_gets_its_permit(server, way):
    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=2)
    async with client_for(server, batching=SMALL, limits=limits) as client:
        for _ in range(5):
            with pytest.raises(LookupError) if way == "error" else nullcontext():
                await leave(client.stream(QUERY, TEXTS), way)
            assert_tidy(client)
        assert pairs(await client.generate(QUERY, TEXTS)) == ranking(TEXTS)


@pytest.mark.parametrize("block", range(10))
async def test_cancelling_at_any_moment_leaves_nothing_behind(block):
    async def read(client):
        async with client.stream(QUERY, TEXTS) as stream:
            batches = [results async for results in stream]
            assert spread(batches) == sorted(ranking(TEXTS))
            return pairs(await stream.response()) == ranking(TEXTS)

    async with (
        serve(
            limit=RateLimit(requests=3000, headers=False),  # not met: what a 429 that comes by chance names
            faults={"server_error": 0.1, "rate_limited": 0.02},
            token_latency=0.001,
            latency=0.001,
        ) as server,
        client_for(
            server,
            limits=LimitOptions(requests_per_second=3000, burst=30, max_concurrency=6),
            batching=SMALL,
        ) as client,
    ):
        met = [
            await cancelled_at_a_random_moment(seed, server, client, read)
            for seed in range(block * 50, block * 50 + 50)
        ]
        assert pairs(await client.generate(QUERY, TEXTS)) == ranking(TEXTS)
    assert {"cancelled", "done"} == {each for outcomes in met for each in outcomes}
    assert client_tasks() == []


async def test_a_stream_beside_calls_takes_nothing_from_them(server):
    async with client_for(server, batching=SMALL, limits=UNPACED) as client, client.stream(QUERY, TEXTS) as stream:
        responses = await asyncio.gather(*(client.generate(QUERY, TEXTS) for _ in range(3)))
        assert [pairs(response) for response in responses] == [ranking(TEXTS)] * 3
        assert spread([results async for results in stream]) == sorted(ranking(TEXTS))
