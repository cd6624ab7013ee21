"""A service that refuses connections: who has time waits for it, few requests are spent, and nothing is lost.

While connections are refused, one request a second tries, so these tests take about a second each.
"""

import asyncio
import math
import socket
from contextlib import asynccontextmanager, contextmanager

import pytest
from support.bulk_jobs import queries, write_jsonl
from support.clients import client_for, until
from support.clock import FakeClock
from support.passages import pairs, ranking
from support.services import Service, service
from support.tidiness import assert_tidy

from rerank_async import BatchOptions, LimitOptions, RerankRequest, RetryOptions, Sent
from rerank_async.bulk import JobStoppedError, rerank_file
from rerank_async.bulk.engine import token_failure
from rerank_async.errors import ConnectionFailedError, DeadlineExceededError
from rerank_async.server import serve

TEXTS = tuple(f"text {number}" for number in range(4))
FEW_AT_ONCE = LimitOptions(requests_per_second=math.inf, max_concurrency=8)


@contextmanager
def kept_port():
    """A port at which nothing listens, kept from other processes; a service may listen there later."""
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


class Switched:
    """A service at a kept port that can be switched off and on again."""

    def __init__(self, port):
        self.port = port
        self.seen = 0
        self._running = None
        self._context = None

    @property
    def place(self):
        """What a client is made for."""
        return Service(url=f"http://127.0.0.1:{self.port}")

    async def on(self):
        self._context = service(port=self.port)
        self._running = await self._context.__aenter__()

    async def off(self):
        if self._running is not None:
            self.seen += len(self._running.seen)
            self._running = None
            await self._context.__aexit__(None, None, None)

    @property
    def requests(self):
        """Requests that reached the door so far."""
        return self.seen + (0 if self._running is None else len(self._running.seen))


@asynccontextmanager
async def switched():
    with kept_port() as port:
        switch = Switched(port)
        try:
            yield switch
        finally:
            await switch.off()


def given(switch):
    """Credentials that need no token door."""
    return {"url": switch.place.url, "token": "made-up-token"}


def sent(events):
    return sum(isinstance(event, Sent) for event in events)


def is_right(response):
    return pairs(response) == ranking(TEXTS, None, "text")


@pytest.mark.parametrize("seconds", [30, None], ids=["deadline", "no deadline"])
async def test_an_outage_in_the_middle_fails_no_call_that_has_time(seconds):
    events = []
    async with (
        switched() as switch,
        client_for(switch.place, limits=FEW_AT_ONCE, observer=events.append) as client,
    ):
        await switch.on()
        calls = [asyncio.create_task(client.generate("text", TEXTS, timeout=seconds)) for _ in range(300)]
        await until(lambda: switch.requests >= 100)
        await switch.off()
        before = sent(events)
        await asyncio.sleep(0.3)
        during = sent(events) - before
        assert client.limit_status.queued > 100, "they wait, and nothing is spent on them"
        await switch.on()
        responses = await asyncio.gather(*calls)
        assert_tidy(client)
        assert is_right(await client.generate("text", TEXTS))
    assert all(map(is_right, responses))
    assert during <= 2 * 8, "those that were cut, and those that were refused; then one a second"
    assert 300 < sent(events) <= 450
    assert switch.requests <= 450


async def test_a_service_that_comes_up_late_is_waited_for_until_the_deadline():
    events = []
    async with (
        switched() as switch,
        client_for(switch.place, credentials=given(switch), limits=FEW_AT_ONCE, observer=events.append) as client,
    ):
        calls = [asyncio.create_task(client.generate("text", TEXTS, timeout=30)) for _ in range(50)]
        await until(lambda: client.limit_status.queued >= 42)
        await asyncio.sleep(0.3)
        await switch.on()
        responses = await asyncio.gather(*calls)
        assert_tidy(client)
    assert all(map(is_right, responses))
    assert switch.requests == 50
    assert 50 < sent(events) <= 75


async def test_each_call_waits_for_an_outage_as_long_as_its_own_deadline():
    async with (
        switched() as switch,
        client_for(switch.place, credentials=given(switch), limits=FEW_AT_ONCE) as client,
    ):
        short = [asyncio.create_task(client.generate("text", TEXTS, timeout=0.3)) for _ in range(20)]
        long = [asyncio.create_task(client.generate("text", TEXTS, timeout=30)) for _ in range(20)]
        errors = await asyncio.gather(*short, return_exceptions=True)
        await switch.on()
        responses = await asyncio.gather(*long)
        assert_tidy(client)
    assert all(isinstance(error, DeadlineExceededError) for error in errors)
    told = [error for error in errors if "refused" in str(error)]
    assert told, "those that tried say what became of it"
    assert all(map(is_right, responses))
    assert switch.requests == 20


async def test_calls_without_a_deadline_end_after_max_elapsed():
    events = []
    retries = RetryOptions(max_attempts=10, base_delay=0.001, max_delay=0.004, max_elapsed=0.5)
    async with (
        switched() as switch,
        client_for(switch.place, limits=FEW_AT_ONCE, retries=retries, observer=events.append) as client,
    ):
        await switch.on()
        assert is_right(await client.generate("text", TEXTS))
        await switch.off()
        errors = await asyncio.gather(*(client.generate("text", TEXTS) for _ in range(60)), return_exceptions=True)
        assert_tidy(client)
        spent = sent(events) - 1
        await switch.on()
        responses = await asyncio.gather(*(client.generate("text", TEXTS, timeout=30) for _ in range(10)))
    assert all(isinstance(error, ConnectionFailedError) for error in errors)
    assert all("max_elapsed" in str(error) for error in errors)
    assert {error.url for error in errors} == {f"{switch.place.url}/ml/v1/text/rerank"}
    assert spent <= 30, "8 that were under way, and one a second"
    assert all(map(is_right, responses)), "and the client goes on when the service is back"


async def test_a_wrong_address_at_first_contact_fails_after_max_attempts():
    events = []
    retries = RetryOptions(max_attempts=3, base_delay=0.001, max_delay=0.002)
    async with (
        switched() as switch,
        client_for(switch.place, credentials=given(switch), retries=retries, observer=events.append) as client,
    ):
        with pytest.raises(ConnectionFailedError, match="gave up after 3 attempts") as caught:
            await client.generate("text", TEXTS)
        assert f"127.0.0.1:{switch.port}" in str(caught.value)
        assert (caught.value.refused, caught.value.attempts, sent(events)) == (True, 3, 3)
        errors = await asyncio.gather(*(client.generate("text", TEXTS) for _ in range(20)), return_exceptions=True)
        assert_tidy(client)
    assert all(isinstance(error, ConnectionFailedError) and error.attempts == 3 for error in errors)
    assert sent(events) == 3 + 60


async def test_a_wrong_address_of_the_token_route_fails_after_its_attempts(server):
    retries = RetryOptions(max_attempts=3, base_delay=0.001, max_delay=0.002)
    with kept_port() as port:
        auth_url = f"http://127.0.0.1:{port}/identity/token"
        credentials = {"url": server.url, "api_key": "made-up", "auth_url": auth_url}
        async with client_for(server, credentials=credentials, retries=retries) as client:
            with pytest.raises(ConnectionFailedError) as caught:
                await client.generate("text", TEXTS)
            assert_tidy(client)
    # Every call waits for the token, so it is tried five times as often as a batch: 1 + 5 * 2.
    assert (caught.value.url, caught.value.attempts, server.counts.rerank) == (auth_url, 11, 0)


async def test_a_single_attempt_is_a_single_attempt_in_an_outage_too():
    retries = RetryOptions(max_attempts=1, base_delay=0.0)
    events = []
    async with (
        switched() as switch,
        client_for(switch.place, credentials=given(switch), retries=retries, observer=events.append) as client,
    ):
        with pytest.raises(ConnectionFailedError):
            await client.generate("text", TEXTS, timeout=30)
    assert sent(events) == 1


async def test_a_long_list_loses_no_batch_to_an_outage():
    texts = tuple(f"text {number} of many" for number in range(400))
    batching = BatchOptions(max_inputs=4)
    async with (
        switched() as switch,
        client_for(switch.place, limits=FEW_AT_ONCE, batching=batching, on_failure="partial") as client,
    ):
        await switch.on()
        call = asyncio.create_task(client.generate("text 7", texts, timeout=30))
        await until(lambda: switch.requests >= 40)
        await switch.off()
        await asyncio.sleep(0.1)
        await switch.on()
        response = await call
        assert_tidy(client)
    assert response.failures == ()
    assert pairs(response) == ranking(texts, None, "text 7")
    assert 100 < response.stats.requests <= 150


async def test_many_requests_outlive_an_outage():
    requests = (RerankRequest("text", TEXTS, id=number) for number in range(200))
    async with switched() as switch, client_for(switch.place, limits=FEW_AT_ONCE) as client:
        await switch.on()
        got = []
        async with client.generate_many(requests, max_in_flight=16) as outcomes:
            async for outcome in outcomes:
                got.append(outcome)
                if len(got) == 50:
                    await switch.off()
                    await asyncio.sleep(0.1)
                    await switch.on()
        assert_tidy(client)
    assert [outcome.error for outcome in got] == [None] * 200
    assert all(is_right(outcome.response) for outcome in got)
    assert switch.requests <= 300


async def test_calls_that_wait_for_an_outage_to_end_can_be_cancelled_and_closed():
    async with (
        switched() as switch,
        client_for(switch.place, credentials=given(switch), limits=FEW_AT_ONCE) as client,
    ):
        calls = [asyncio.create_task(client.generate("text", TEXTS, timeout=30)) for _ in range(30)]
        await until(lambda: client.limit_status.queued >= 29)
        for call in calls:
            call.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert_tidy(client)
        await switch.on()
        assert is_right(await client.generate("text", TEXTS, timeout=30))


async def test_a_server_that_was_restarted_refuses_the_old_token_once():
    with kept_port() as port:
        async with serve(port=port) as first:
            client = client_for(first)
            assert is_right(await client.generate("text", TEXTS))
        async with client, serve(port=port) as second:
            assert is_right(await client.generate("text", TEXTS))
            assert dict(second.counts.statuses) == {401: 1, 200: 1}
            assert second.counts.token_requests == 1


async def test_a_job_that_gets_no_token_says_why_and_not_only_that_nothing_answers(tmp_path):
    source = write_jsonl(tmp_path / "q.jsonl", queries(1))
    patient, clock = RetryOptions(base_delay=60.0, max_delay=60.0), FakeClock()
    with kept_port() as port:
        async with client_for(Service(url=f"http://127.0.0.1:{port}"), retries=patient) as client:
            job = rerank_file(client, source, tmp_path / "out.jsonl", max_outage=0)
            job._clock = clock
            running = asyncio.ensure_future(_awaited(job))
            await until(lambda: token_failure(client) is not None)
            for _ in range(2):  # until nothing is answered for a moment, and until the tiny request has had its time
                await until(lambda: clock.pending)
                clock.stall(1.0)
                clock.run_due()
            with pytest.raises(
                JobStoppedError, match=r"so the job stops: cannot connect to .*/token: Connection refused"
            ) as caught:
                await running
    assert isinstance(caught.value.reason, ConnectionFailedError)


async def _awaited(job):
    return await job
