"""`AsyncRerank.generate_many` against a live server: right answers, bounded numbers, errors, and nothing left behind."""

import asyncio
import math
import weakref
from contextlib import nullcontext
from itertools import cycle

import pytest
from support.clients import client_for, client_tasks, until
from support.passages import QUERY, pairs, passages, ranking
from support.services import honest, refusal, service
from support.tidiness import assert_tidy, cancelled_at_a_random_moment, leave

import rerank_async.client
from rerank_async import (
    BatchOptions,
    LimitOptions,
    Merged,
    Queued,
    RerankMany,
    RerankOutcome,
    RerankRequest,
)
from rerank_async.call import Call
from rerank_async.errors import (
    BadRequestError,
    ClientClosedError,
    InvalidArgumentError,
    InvalidTypeError,
)
from rerank_async.server import RateLimit, serve

TEXTS = passages(60)
SMALL = BatchOptions(max_inputs=25)


def requests(count, asked=None):
    """Requests whose query is their number, and whose second passage alone holds it."""
    for number in range(count):
        if asked is not None:
            asked.append(number)
        yield RerankRequest(f"query{number}", ["other words", f"it is query{number}"], id=number)


async def later(count, asked=None):
    for request in requests(count, asked):
        await asyncio.sleep(0)
        yield request


def is_right(outcome):
    return outcome.error is None and pairs(outcome.response) == ((1, 1.0), (0, 0.0))


@pytest.mark.parametrize("ordered", [False, True], ids=["completed", "ordered"])
@pytest.mark.parametrize("source", [requests, later], ids=["sync", "async"])
async def test_every_request_has_the_outcome_that_generate_would_have(server, source, ordered):
    async with (
        client_for(server) as client,
        client.generate_many(source(300), ordered=ordered, max_in_flight=16) as outcomes,
    ):
        assert isinstance(outcomes, RerankMany)
        got = [outcome async for outcome in outcomes]
    assert all(isinstance(outcome, RerankOutcome) and is_right(outcome) for outcome in got)
    numbers = [outcome.request.id for outcome in got]
    assert numbers == list(range(300)) if ordered else sorted(numbers) == list(range(300))
    assert (server.counts.rerank, server.counts.token_requests) == (300, 1)
    assert server.counts.max_in_flight <= 16
    assert client_tasks() == []


async def test_long_lists_are_cut_and_merged_as_everywhere(server):
    async with (
        client_for(server, batching=SMALL) as client,
        client.generate_many([RerankRequest(QUERY, TEXTS), RerankRequest(QUERY, iter(TEXTS[:30]))]) as outcomes,
    ):
        got = [outcome async for outcome in outcomes]
    assert {pairs(outcome.response) for outcome in got} == {ranking(TEXTS), ranking(TEXTS[:30])}


async def test_a_request_brings_params_and_an_id_of_any_kind(server):
    mark = object()
    asked = [
        RerankRequest("bread", ["x", "bread"], mark, {"return_options": {"top_n": 1, "inputs": True}}),
        RerankRequest("bread", ["x", "bread"]),
    ]
    async with (
        client_for(server, params={"return_options": {"query": True}}) as client,
        client.generate_many(asked, ordered=True) as outcomes,
    ):
        first, second = [outcome async for outcome in outcomes]
    assert first.request is asked[0]
    assert first.request.id is mark
    assert ([each.input for each in first.response.results], first.response.query) == (["bread"], None)
    assert (len(second.response.results), second.response.query) == (2, "bread")


async def test_back_pressure_reaches_the_producer(server):
    asked = []
    async with client_for(server) as client, client.generate_many(requests(1000, asked), max_in_flight=5) as outcomes:
        await until(lambda: server.counts.statuses[200] == 5)
        assert asked == list(range(5))
        for taken in range(1, 8):
            assert is_right(await anext(outcomes))
            await until(lambda taken=taken: server.counts.statuses[200] == 5 + taken)
            assert len(asked) == 5 + taken


async def test_a_slow_head_holds_back_the_producer_and_not_the_answers():
    release = asyncio.Event()

    async def answer(seen):
        if seen.json["query"] == "query0":
            await release.wait()
        return honest(seen)

    asked = []
    async with (
        service(answer) as running,
        client_for(running) as client,
        client.generate_many(requests(50, asked), ordered=True, max_in_flight=4) as outcomes,
    ):
        head = asyncio.create_task(anext(outcomes))
        await until(lambda: client.limit_status.in_flight == 1 and len(running.seen) == 4)
        assert (len(asked), head.done()) == (4, False)
        release.set()
        assert is_right(await head)
        rest = [outcome async for outcome in outcomes]
    assert [outcome.request.id for outcome in rest] == list(range(1, 50))
    assert all(is_right(outcome) for outcome in rest)


@pytest.mark.parametrize("ordered", [False, True], ids=["completed", "ordered"])
async def test_what_was_handed_out_is_not_kept(server, ordered):
    alive = weakref.WeakSet()
    most = 0

    def watched():
        for request in requests(600):
            alive.add(request)
            yield request
            del request

    async with (
        client_for(server) as client,
        client.generate_many(watched(), ordered=ordered, max_in_flight=8) as outcomes,
    ):
        async for outcome in outcomes:
            assert is_right(outcome)
            del outcome
            most = max(most, len(alive))
    assert most <= 8
    assert len(alive) == 0


async def test_a_view_runs_with_its_own_options_and_events_are_those_of_generate():
    events = []
    async with service() as running, client_for(running) as client:
        view = client.with_options(
            extra_headers={"x-own": "1"}, observer=events.append, params={"return_options": {"top_n": 1}}
        )
        async with view.generate_many(requests(10)) as outcomes:
            got = [outcome async for outcome in outcomes]
    assert [len(outcome.response.results) for outcome in got] == [1] * 10
    assert all(seen.header("x-own") == ["1"] for seen in running.seen)
    assert len({event.call for event in events}) == 10
    assert (
        sum(isinstance(event, Queued) for event in events) == sum(isinstance(event, Merged) for event in events) == 10
    )


async def test_one_run_is_one_flow_and_a_call_of_its_own_is_another(server, monkeypatch):
    flows = []

    class Watched(Call):
        def __init__(self, channel, job, *others):
            flows.append(job.flow)
            super().__init__(channel, job, *others)

    monkeypatch.setattr(rerank_async.client, "Call", Watched)
    async with client_for(server) as client:
        for _ in range(2):
            async with client.generate_many(requests(3)) as outcomes:
                assert len([outcome async for outcome in outcomes]) == 3
        await client.generate("q", ["a"])
    assert [flows.count(flow) for flow in flows] == [3] * 6 + [1]
    assert flows[-1] is None


# Errors


async def test_wrong_requests_and_refused_ones_are_outcomes_of_their_own():
    def own_inputs():
        yield "a"
        raise LookupError("the caller's own")

    def answer(seen):
        return refusal(400, "invalid_request_entity") if seen.json["query"] == "refuse me" else honest(seen)

    asked = [
        RerankRequest("", ["a"], "no query"),
        RerankRequest("q", "abc", "a bare string"),
        RerankRequest("q", ["a", 5], "a number"),
        RerankRequest("q", None, "nothing"),
        RerankRequest(None, ["a"], "no str"),
        RerankRequest("q", ["a"], "params", {"top_n": 1}),
        RerankRequest("q", own_inputs(), "raises"),
        RerankRequest("refuse me", ["a"], "refused"),
        RerankRequest("q", [], "empty"),
        RerankRequest("q", ["a", "q"], "good"),
    ]
    async with (
        service(answer) as running,
        client_for(running) as client,
        client.generate_many(asked, max_in_flight=3) as outcomes,
    ):
        got = {outcome.request.id: outcome async for outcome in outcomes}
    assert {name: type(outcome.error) for name, outcome in got.items()} == {
        "no query": InvalidArgumentError,
        "a bare string": InvalidTypeError,
        "a number": InvalidTypeError,
        "nothing": InvalidTypeError,
        "no str": InvalidTypeError,
        "params": InvalidArgumentError,
        "raises": LookupError,
        "refused": BadRequestError,
        "empty": type(None),
        "good": type(None),
    }
    assert (got["a number"].error.argument, got["a number"].error.index) == ("inputs", 1)
    assert got["empty"].response.results == ()
    assert pairs(got["good"].response) == ((1, 1.0), (0, 0.0))
    assert all((outcome.response is None) != (outcome.error is None) for outcome in got.values())


@pytest.mark.parametrize("ordered", [False, True], ids=["completed", "ordered"])
async def test_a_producer_that_raises_and_garbage_end_the_run_after_what_came_before(server, ordered):
    class OwnError(Exception):
        pass

    async def raising():
        for request in requests(20):
            yield request
        raise OwnError

    async with client_for(server) as client:
        for source, error in ((raising(), OwnError), ([*requests(20), "garbage"], InvalidTypeError)):
            async with client.generate_many(source, ordered=ordered, max_in_flight=7) as outcomes:
                got = [await anext(outcomes) for _ in range(20)]
                with pytest.raises(error) as caught:
                    await anext(outcomes)
            assert all(is_right(outcome) for outcome in got)
            assert_tidy(client)
        assert (caught.value.argument, caught.value.index) == ("requests", 20)
        assert pairs(await client.generate(QUERY, TEXTS)) == ranking(TEXTS)


async def test_wrong_arguments_are_refused_at_once(server):
    async with client_for(server) as client:
        for arguments, words in [
            ({"requests": 5}, "requests must be an iterable"),
            ({"requests": [], "max_in_flight": 0}, "max_in_flight must be at least 1"),
            ({"requests": [], "ordered": "yes"}, "ordered must be True or False"),
        ]:
            with pytest.raises(InvalidArgumentError, match=words):
                client.generate_many(**arguments)


async def test_closing_the_client_ends_the_run(server):
    asked = []
    client = client_for(server, limits=LimitOptions(requests_per_second=0.01, burst=2))
    late = client.generate_many(requests(3))
    async with client.generate_many(requests(10**6, asked), max_in_flight=5) as outcomes:
        assert is_right(await anext(outcomes))
        assert is_right(await anext(outcomes))
        await until(lambda: client.limit_status.queued == 5)
        await client.aclose()
        errors = [(await anext(outcomes)).error for _ in range(5)]
        with pytest.raises(ClientClosedError):
            await anext(outcomes)
    assert {type(error) for error in errors} == {ClientClosedError}
    assert len(asked) == 7
    with pytest.raises(ClientClosedError):
        async with late:
            pass
    assert client_tasks() == []


# Leaving


@pytest.mark.parametrize("source", [requests, later], ids=["sync", "async"])
@pytest.mark.parametrize("way", ["break", "aclose", "error"])
async def test_leaving_early_leaves_nothing_and_the_next_call_gets_its_permit(server, way, source):
    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=2)
    async with client_for(server, batching=SMALL, limits=limits) as client:
        for _ in range(5):
            with pytest.raises(LookupError) if way == "error" else nullcontext():
                await leave(client.generate_many(source(100)), way)
            assert_tidy(client)
        assert pairs(await client.generate(QUERY, TEXTS)) == ranking(TEXTS)


@pytest.mark.parametrize("block", range(10))
async def test_cancelling_at_any_moment_leaves_nothing_behind(block):
    async def read(client, source, ordered):
        async with client.generate_many(source(25), ordered=ordered, max_in_flight=8) as outcomes:
            got = [outcome async for outcome in outcomes]
            return len(got) == 25 and all(is_right(outcome) for outcome in got)

    async with (
        serve(
            limit=RateLimit(requests=3000, headers=False),  # not met: what a 429 that comes by chance names
            faults={"server_error": 0.1, "rate_limited": 0.02},
            token_latency=0.001,
            latency=0.001,
        ) as server,
        client_for(server, limits=LimitOptions(requests_per_second=3000, burst=30, max_concurrency=6)) as client,
    ):
        met = set()
        for seed in range(block * 50, block * 50 + 50):
            source, ordered = (requests, later)[seed % 2], seed % 4 > 1
            met.update(
                await cancelled_at_a_random_moment(
                    seed, server, client, lambda client, source=source, ordered=ordered: read(client, source, ordered)
                )
            )
        assert pairs(await client.generate(QUERY, TEXTS)) == ranking(TEXTS)
    assert met == {"cancelled", "done"}
    assert client_tasks() == []


async def test_a_reader_that_gives_up_waiting_loses_no_outcome(server):
    got = []
    async with client_for(server) as client, client.generate_many(later(40), max_in_flight=4) as outcomes:
        turns = cycle(range(30))
        while len(got) < 40:
            reader = asyncio.create_task(anext(outcomes))
            for _ in range(next(turns)):
                await asyncio.sleep(0)
            reader.cancel()
            await asyncio.wait([reader])
            got += [] if reader.cancelled() else [reader.result()]
    assert sorted(outcome.request.id for outcome in got) == list(range(40))


async def test_two_runs_and_calls_share_a_client(server):
    async def run(client, ordered):
        async with client.generate_many(requests(50), ordered=ordered) as outcomes:
            return [outcome async for outcome in outcomes]

    async with client_for(server) as client:
        *runs, response = await asyncio.gather(
            run(client, ordered=False), run(client, ordered=True), client.generate(QUERY, TEXTS)
        )
    assert [len(run) for run in runs] == [50, 50]
    assert all(is_right(outcome) for run in runs for outcome in run)
    assert pairs(response) == ranking(TEXTS)
    assert server.counts.rerank == 101
