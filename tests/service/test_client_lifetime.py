"""Loops, tasks, sessions, processes: what is shared, what is left behind (nothing), and who closes what."""

import asyncio
import copy
import gc
import math
import os
import pickle
import subprocess
import sys
import threading
import warnings
from random import Random

import aiohttp
import pytest
from support.clients import UNPACED, client_for, client_tasks, until
from support.passages import QUERY, pairs, passages, ranking
from support.services import honest, service
from support.threads import in_thread

from rerank_async import AsyncAPIClient, AsyncRerank, BatchOptions, LimitOptions, RetryOptions, Sent
from rerank_async.errors import BadRequestError, ClientClosedError, DeadlineExceededError, EventLoopError
from rerank_async.server import Fault, serve

TEXTS = passages(60)
SMALL = BatchOptions(max_inputs=5)
BREAD = ((0, 1.0), (1, 0.0))


async def rank_bread(client):
    return pairs(await client.generate("bread", ["bread", "x"]))


async def settled():
    """A few turns of the loop, in which callbacks and closed transports end."""
    for _ in range(5):
        await asyncio.sleep(0)


# One token, one limiter, one session


async def test_five_hundred_first_calls_at_once_make_one_token_request():
    async with serve(token_latency=0.02) as server, client_for(server) as client:
        responses = await asyncio.gather(*(client.generate(f"query {n}", [f"query {n}", "x"]) for n in range(500)))
    assert all(pairs(response) == BREAD for response in responses)
    assert (server.counts.token_requests, server.counts.rerank) == (1, 500)


async def test_short_lived_tokens_are_renewed_before_they_die():
    async with (
        serve(token_lifetime=0.2, latency=0.01) as server,
        client_for(server, limits=LimitOptions(requests_per_second=math.inf, max_concurrency=1)) as client,
    ):
        async with asyncio.timeout(60):
            while server.counts.tokens < 4:
                await rank_bread(client)
    assert set(server.counts.statuses) <= {200, 401}
    assert server.counts.token_requests < server.counts.rerank / 2


async def test_several_models_over_one_client_share_token_and_limiter(server):
    sent = []
    async with AsyncAPIClient(
        {"url": server.url, "api_key": server.api_key},
        server.project_id,
        limits=LimitOptions(requests_per_second=0.01, burst=3),
    ) as shared:
        first, second = (AsyncRerank("lexical", api_client=shared, observer=sent.append) for _ in range(2))
        assert first.api_client is second.api_client is shared
        assert await rank_bread(first) == await rank_bread(second) == BREAD
        await first.aclose()
        async with first:
            pass
        assert await rank_bread(second) == BREAD, "a client that was given stays open"
        for client in (first, second):
            with pytest.raises(DeadlineExceededError):
                await client.generate("bread", ["a"], timeout=1)
    assert (server.counts.token_requests, server.counts.rerank) == (1, 3)
    with pytest.raises(ClientClosedError):
        await rank_bread(second)


async def test_clients_that_were_handed_nothing_share_nothing(server):
    async with client_for(server) as first, client_for(server) as second:
        await rank_bread(first)
        await rank_bread(second)
    assert server.counts.token_requests == 2


async def test_a_view_shares_everything_and_closes_nothing(server):
    seen = []
    async with client_for(server) as client:
        view = client.with_options(
            params={"return_options": {"top_n": 1, "inputs": True}},
            observer=seen.append,
            batching=BatchOptions(max_inputs=1),
        )
        async with view:
            response = await view.generate("bread", ["x", "bread"])
            assert [(result.index, result.input) for result in response.results] == [(1, "bread")]
            assert response.stats.requests == 2
        assert await rank_bread(client) == BREAD
        assert sum(isinstance(event, Sent) for event in seen) == 2
        quiet = view.with_options(observer=None)
        await rank_bread(quiet)
        assert sum(isinstance(event, Sent) for event in seen) == 2
        assert (view.model_id, view.api_client) == (client.model_id, client.api_client)
    assert server.counts.token_requests == 1
    with pytest.raises(ClientClosedError):
        await rank_bread(view)


async def test_params_of_a_call_replace_those_of_the_client_as_a_whole(server):
    async with client_for(server, params={"return_options": {"top_n": 1, "inputs": True}}) as client:
        response = await client.generate("bread", ["x", "bread"], {"return_options": {"query": True}})
    assert (pairs(response), response.query) == (((1, 1.0), (0, 0.0)), "bread")
    assert response.results[0].input is None


async def test_warm_up_leaves_nothing_for_the_first_call_to_do(server):
    async with client_for(server) as client:
        await client.warm_up()
        assert (server.counts.token_requests, server.counts.rerank) == (1, 0)
        await rank_bread(client)
        assert next(spec.model_id for spec in await client.model_specs()) == "lexical"
    assert server.counts.token_requests == 1


async def test_a_session_that_was_given_is_used_and_not_closed(server):
    async with aiohttp.ClientSession() as session:
        async with client_for(server, session=session) as client:
            assert await rank_bread(client) == BREAD
        assert not session.closed
        async with session.get(server.url + "/ml/v1/foundation_model_specs?version=2024-10-18") as answer:
            assert answer.status == 200
    later = client_for(server, session=session)
    with pytest.raises(ClientClosedError, match="the aiohttp session that was given to this client is closed"):
        await rank_bread(later)
    assert later.limit_status.in_flight == 0


async def test_a_permit_that_could_not_be_used_is_returned(server):
    async with aiohttp.ClientSession() as session:
        pass
    limits = LimitOptions(requests_per_second=0.01)
    credentials = {"url": server.url, "token": server.issue_token()}
    client = client_for(server, session=session, limits=limits, credentials=credentials)
    with pytest.raises(ClientClosedError):
        await rank_bread(client)
    assert client.limit_status.behind == 0


# Closing


async def test_a_closed_client_says_so(server):
    client = client_for(server)
    await rank_bread(client)
    await client.aclose()
    for use in (rank_bread(client), client.warm_up(), client.model_specs(), client.__aenter__()):
        with pytest.raises(ClientClosedError, match="make a new one"):
            await use
    assert isinstance(client.plan("bread", ["a"]).requests, int)


async def test_closing_twice_and_closing_what_was_never_used_is_harmless(server):
    for use in (True, False):
        client = client_for(server)
        if use:
            await rank_bread(client)
        await client.aclose()
        await client.aclose()
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(client.aclose())
        with pytest.raises(ClientClosedError):
            await rank_bread(client)


async def test_closing_releases_the_connections(server):
    client = client_for(server)
    await asyncio.gather(*(client.generate(f"query {n}", ["x"]) for n in range(10)))
    connections = [transport for transport in map(_transport_of, gc.get_objects()) if transport is not None]
    assert connections
    await client.aclose()
    await settled()
    assert all(transport.is_closing() for transport in connections)


def _transport_of(thing):
    return thing.transport if isinstance(thing, aiohttp.client_proto.ResponseHandler) else None


@pytest.mark.parametrize(
    "moment", ["waiting for an answer", "waiting for a permit", "waiting for a token", "backing off"]
)
async def test_closing_ends_calls_in_flight_with_a_clear_error(moment):
    options = {
        "waiting for an answer": {"faults": {"hang": 1.0}},
        "waiting for a permit": {},
        "waiting for a token": {"faults": {"iam_hang": 1.0}},
        "backing off": {"faults": {"server_error": 1.0}},
    }[moment]
    async with serve(**options) as server:
        limits = LimitOptions(requests_per_second=0.01, burst=1) if moment == "waiting for a permit" else UNPACED
        client = client_for(server, limits=limits, batching=SMALL)
        if moment == "backing off":
            client = client_for(
                server, batching=SMALL, retries=RetryOptions(base_delay=1000, max_delay=1000, max_elapsed=None)
            )
        calls = [asyncio.create_task(client.generate(QUERY, TEXTS)) for _ in range(3)]
        door = "token_requests" if moment == "waiting for a token" else "rerank"
        await until(
            lambda: getattr(server.counts, door) and (moment != "waiting for a permit" or client.limit_status.queued)
        )
        await client.aclose()
        done, pending = await asyncio.wait(calls, timeout=2)
        for call in pending:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        before = server.counts.rerank
        await settled()
        assert not pending, "closing ends what waits"
        assert {type(call.exception()) for call in done} == {ClientClosedError}
        assert (client.limit_status.in_flight, client.limit_status.queued, client_tasks()) == (0, 0, [])
        assert server.counts.rerank == before


async def test_a_call_under_way_does_not_open_a_new_session_in_a_closed_client():
    release = asyncio.Event()

    async def answer(seen):
        await release.wait()
        return honest(seen)

    async with service(answer) as running:
        client = client_for(running)
        call = asyncio.create_task(rank_bread(client))
        await until(lambda: running.seen)
        await client.aclose()
        release.set()
        await asyncio.wait([call], timeout=2)
        call.cancel()
        (outcome,) = await asyncio.gather(call, return_exceptions=True)
        assert isinstance(outcome, ClientClosedError)
        assert len(running.seen) == 1


async def fail_inside(client):
    async with client:
        await client.generate(QUERY, TEXTS)
        raise LookupError


async def test_async_with_leaves_nothing_after_an_error(server):
    for model_id, error in (("lexical", LookupError), ("unknown", BadRequestError)):
        client = client_for(server, model_id, batching=SMALL)
        with pytest.raises(error):
            await fail_inside(client)
    with pytest.raises(ClientClosedError):
        await rank_bread(client)
    assert client_tasks() == []


# Cancelling


@pytest.mark.parametrize("block", range(4))
async def test_cancelling_at_any_moment_leaves_nothing_behind(block):
    moments = set()
    async with (
        serve(faults={"server_error": 0.1, "rate_limited": 0.02}, token_latency=0.001, latency=0.001) as server,
        client_for(
            server,
            limits=LimitOptions(requests_per_second=3000, burst=30, max_concurrency=6),
            batching=SMALL,
        ) as client,
    ):
        for seed in range(block * 25, block * 25 + 25):
            random = Random(seed)
            if random.random() < 0.3:
                server.revoke_tokens()
            calls = [asyncio.create_task(client.generate(QUERY, TEXTS)) for _ in range(random.randint(1, 3))]
            for _ in range(random.randint(0, 120)):
                await asyncio.sleep(0 if random.random() < 0.8 else 0.0003)
            for call in calls:
                call.cancel()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            for outcome in outcomes:
                moments.add(type(outcome).__name__)
                assert isinstance(outcome, asyncio.CancelledError) or pairs(outcome) == ranking(TEXTS)
            assert (client.limit_status.in_flight, client.limit_status.queued) == (0, 0)
            assert [task.get_name() for task in client_tasks()] in ([], ["rerank_async token"])
        assert pairs(await client.generate(QUERY, TEXTS)) == ranking(TEXTS)
    assert "CancelledError" in moments
    assert client_tasks() == []


async def test_one_cancelled_caller_does_not_take_the_token_from_the_others():
    async with serve(token_latency=0.05) as server, client_for(server) as client:
        calls = [asyncio.create_task(rank_bread(client)) for _ in range(10)]
        await until(lambda: server.counts.token_requests)
        calls[0].cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1:] == [BREAD] * 9
    assert server.counts.token_requests == 1


async def test_a_timeout_of_the_callers_own_is_the_callers_own():
    async with serve(faults={"hang": 1.0}) as server, client_for(server, batching=SMALL) as client:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.05):
                await client.generate(QUERY, TEXTS)
        assert type(caught.value) is TimeoutError
        assert client.limit_status.in_flight == 0
        assert client_tasks() == []


async def test_cancelled_while_queued_the_place_goes_to_the_next(server):
    limits = LimitOptions(requests_per_second=math.inf, max_concurrency=1)
    async with serve(faults=[Fault("hang", nth=(1,))]) as slow, client_for(slow, limits=limits) as client:
        calls = [asyncio.create_task(rank_bread(client)) for _ in range(5)]
        await until(lambda: client.limit_status.queued >= 4)
        calls[1].cancel()
        calls[2].cancel()
        await asyncio.wait(calls[1:3])
        assert client.limit_status.queued == 2
        calls[0].cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert outcomes[3:] == [BREAD] * 2
        assert (client.limit_status.in_flight, slow.counts.rerank) == (0, 3)


# Event loops


def test_one_client_serves_one_loop_after_another():
    with in_thread() as server:
        client = client_for(server, batching=SMALL)
        for _ in range(4):
            assert asyncio.run(rank_bread(client)) == BREAD
        asyncio.run(client.aclose())
        with pytest.raises(ClientClosedError):
            asyncio.run(rank_bread(client))
        assert server.counts.token_requests == 1, "the token outlives the loop"


def test_a_loop_that_ends_in_the_middle_of_calls_does_not_spoil_the_next():
    async def abandon(client):
        calls = [asyncio.create_task(client.generate(QUERY, TEXTS)) for _ in range(3)]
        await asyncio.sleep(0.01)
        return len(calls)

    with in_thread(latency=0.03) as server:
        client = client_for(server, batching=SMALL, limits=LimitOptions(requests_per_second=500, max_concurrency=3))
        assert asyncio.run(abandon(client)) == 3
        assert asyncio.run(rank_bread(client)) == BREAD
        assert asyncio.run(abandon(client)) == 3
        assert (client.limit_status.in_flight, client.limit_status.queued) == (0, 0)
        assert asyncio.run(rank_bread(client)) == BREAD
        asyncio.run(client.aclose())


def test_a_loop_that_was_driven_by_hand_does_not_spoil_the_next():
    with in_thread() as server:
        client = client_for(server)
        for _ in range(2):
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(rank_bread(client)) == BREAD
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        assert asyncio.run(rank_bread(client)) == BREAD
        asyncio.run(client.aclose())


def test_a_second_loop_while_the_first_runs_is_an_error():
    with in_thread() as server:
        client = client_for(server)
        inside, done = threading.Event(), threading.Event()

        async def hold():
            await rank_bread(client)
            inside.set()
            await asyncio.to_thread(done.wait)
            outcome = await rank_bread(client)
            await client.aclose()
            return outcome

        outcomes = []
        thread = threading.Thread(target=lambda: outcomes.append(asyncio.run(hold())))
        thread.start()
        try:
            assert inside.wait(30)
            with pytest.raises(EventLoopError, match="one client per thread"):
                asyncio.run(rank_bread(client))
        finally:
            done.set()
            thread.join()
        assert outcomes == [BREAD], "the first loop's calls go on"


def test_making_a_client_needs_no_loop():
    client = client_for(None, credentials={"url": "http://127.0.0.1:9", "token": "made-up"}, project_id="p")
    assert client.limit_status.in_flight == 0
    assert repr(client) == "AsyncRerank('lexical', AsyncAPIClient(url='http://127.0.0.1:9', project_id='p'))"


def test_a_client_that_was_never_used_needs_no_closing():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        client_for(None, credentials={"url": "http://127.0.0.1:9", "token": "made-up"}, project_id="p")
        gc.collect()
    assert heard == []


# Warnings


async def test_a_client_that_is_dropped_open_gives_one_warning_of_ours(server):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client = client_for(server)
        await rank_bread(client)
        del client
        gc.collect()
        await settled()
        gc.collect()
        await settled()
    (warning,) = caught
    assert warning.category is ResourceWarning
    assert "await client.aclose()" in str(warning.message)


SCRIPT = """
import asyncio, sys
from rerank_async import AsyncRerank
from rerank_async.server import serve

async def main(how):
    async with serve() as server:
        client = AsyncRerank("lexical", credentials={"url": server.url, "api_key": server.api_key},
                             project_id=server.project_id)
        if how == "with":
            async with client:
                await client.generate("bread", ["bread"])
        elif how == "cancelled":
            call = asyncio.create_task(client.generate("bread", ["bread"]))
            await asyncio.sleep(0.001)
            call.cancel()
            await asyncio.wait([call])
            await client.aclose()
        else:
            await client.generate("bread", ["bread"])
            if how == "closed":
                await client.aclose()
            elif how == "exit":
                sys.exit(3)
            elif how == "kept":
                kept.append(client)

kept = []
asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("how", "warned", "code"),
    [("with", 0, 0), ("closed", 0, 0), ("cancelled", 0, 0), ("kept", 0, 0), ("dropped", 1, 0), ("exit", None, 3)],
)
def test_a_program_in_development_mode_hears_of_it_only_when_it_forgets_to_close(how, warned, code):
    program = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "always::ResourceWarning", "-c", SCRIPT, how],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    words = ("Warning: ", "Unclosed", "Error", "never")
    lines = [line for line in program.stderr.splitlines() if any(word in line for word in words)]
    lines = [line for line in lines if "Enable tracemalloc" not in line]
    assert program.returncode == code, program.stderr
    assert all("A rerank_async client was dropped while open" in line for line in lines), program.stderr
    assert len(lines) == warned if warned is not None else len(lines) <= 1, program.stderr


# Processes


def test_clients_do_not_pickle_and_say_what_to_do():
    client = client_for(None, credentials={"url": "http://127.0.0.1:9", "token": "made-up"}, project_id="p")
    for each in (client, client.api_client, client.with_options(timeout=3)):
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=r"Credentials\.from_env\(\)"):
                take(each)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 and later, of fork beside threads
@pytest.mark.parametrize("inside", [False, True], ids=["between calls", "inside a running loop"])
def test_a_forked_child_works_and_leaves_the_parents_connection_alone(inside):
    with in_thread(service) as running:
        client = client_for(running, credentials={"url": running.url, "token": "made-up"})

        def fork():
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    code = 0 if asyncio.run(rank_bread(client)) == BREAD else 2
                    asyncio.run(client.aclose())
                finally:
                    os._exit(code)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        async def twice():
            assert await rank_bread(client) == BREAD
            if inside:
                assert fork() == 0
                assert await rank_bread(client) == BREAD

        with asyncio.Runner() as runner:
            runner.run(twice())
            if not inside:
                assert fork() == 0
                runner.run(twice())
            runner.run(client.aclose())
        # One connection of the parent, which served it before and after, and one of the child.
        assert (len(running.connections), len(running.seen)) == (2, 3)
