"""The limiter learns the instance's limit from headers, from the words of a 429, or from 429s alone; nothing fails."""

import asyncio
import math
import time
from bisect import bisect_left
from itertools import pairwise

import pytest
from support.clients import client_for, until
from support.passages import pairs, ranking
from support.services import honest, refusal, service
from support.tidiness import assert_tidy

from rerank_async import AsyncAPIClient, LimitOptions, RerankRequest, Sent
from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.server import RateLimit, serve
from rerank_async.server.limiters import limiter_for

TEXTS = ("text 0", "text 1")
RIGHT = ranking(TEXTS, None, "text")


class Door:
    """A bucket that a test changes while it runs, and what is said of it."""

    def __init__(self, requests, *, headers=False, words=False):
        self.requests, self.headers, self.words = requests, headers, words
        self.passed = self.refused = 0
        self._limiter = limiter_for(RateLimit(requests=requests))

    def set(self, requests):
        """Changes the limit; the bucket keeps its tokens, as far as it can hold them."""
        verdict = self._limiter.admit(time.monotonic())
        self.requests = requests
        self._limiter = limiter_for(RateLimit(requests=requests))
        for _ in range(requests - verdict.remaining):
            self._limiter.admit(time.monotonic())

    def __call__(self, seen):
        verdict = self._limiter.admit(time.monotonic())
        said = {}
        if self.headers:
            said = {"x-requests-limit-rate": str(self.requests), "x-requests-limit-remaining": str(verdict.remaining)}
        if verdict.allowed:
            self.passed += 1
            reply = honest(seen)
            reply.headers.update(said)
            return reply
        self.refused += 1
        words = "Too many requests"
        if self.words:
            words = f"Rate limit of {self.requests} requests per 1s was reached for instance id X"
        return refusal(429, "rate_limit_reached_requests", words, said)


def most_in_a_window(moments, window):
    """The most moments in any half-open window of that length."""
    moments = sorted(moments)
    return max(bisect_left(moments, at + window) - index for index, at in enumerate(moments))


async def call_all(client, count):
    """So many calls at once; all of them are right."""
    responses = await asyncio.gather(*(client.generate("text", TEXTS) for _ in range(count)))
    assert {pairs(response) for response in responses} == {RIGHT}


@pytest.mark.parametrize("kind", ["token_bucket", "fixed_window", "sliding_window"])
@pytest.mark.parametrize("believed", [8, None, 1000], ids=["too low", "unknown", "too high"])
async def test_the_header_is_believed(believed, kind):
    events = []
    limits = LimitOptions(requests_per_second=believed, max_concurrency=32)
    async with (
        serve(limit=RateLimit(requests=200, kind=kind)) as server,
        client_for(server, limits=limits, observer=events.append) as client,
    ):
        await call_all(client, 300)
        status = client.limit_status
        assert_tidy(client)
    assert (status.source, status.ceiling) == ("header", 200)
    assert most_in_a_window([event.at for event in events if isinstance(event, Sent)], 1.0) <= 200
    assert server.counts.rerank == 300 + server.counts.throttled


async def test_the_words_of_a_429_are_believed():
    limit = RateLimit(requests=100, headers=False)
    async with (
        serve(limit=limit) as server,
        client_for(server, limits=LimitOptions(requests_per_second=400, max_concurrency=16)) as client,
    ):
        await call_all(client, 250)
        status = client.limit_status
        assert_tidy(client)
    assert (status.source, status.ceiling) == ("429", 100)
    assert status.requests_per_second <= 100
    # Those that were under way when the first came, and what a pace that was too high by then lets through.
    assert 1 <= server.counts.throttled <= 16 + 8
    assert server.counts.rerank == 250 + server.counts.throttled


async def test_the_words_of_a_429_do_not_raise_what_was_told():
    async with (
        serve(limit=RateLimit(requests=1000, headers=False), faults=[]) as server,
        client_for(server, limits=LimitOptions(requests_per_second=100, burst=10)) as client,
    ):
        await call_all(client, 30)
        assert (client.limit_status.source, client.limit_status.ceiling) == ("option", 100)
    async with (
        serve(limit=RateLimit(requests=1000, headers=False), faults={"rate_limited": 0.05}, seed=1) as server,
        client_for(server, limits=LimitOptions(requests_per_second=100, burst=10)) as client,
    ):
        await call_all(client, 100)
        assert (client.limit_status.source, client.limit_status.ceiling) == ("option", 100)
    assert server.counts.faults["rate_limited"] > 0


async def test_429s_that_name_nothing_are_learned_from():
    door = Door(100)
    async with (
        service(door) as running,
        client_for(running, limits=LimitOptions(requests_per_second=None, max_concurrency=16)) as client,
    ):
        await call_all(client, 300)
        status = client.limit_status
        assert_tidy(client)
    assert status.source == "learned"
    assert status.requests_per_second <= status.ceiling < math.inf
    assert door.refused > 0
    assert (door.passed, len(running.seen)) == (300, 300 + door.refused)


@pytest.mark.parametrize(
    "value", ["banana", "0", "-5", "1000000000", "999999999", "", "1e3", "0.5", "nan", "inf", "8, 8", "٣"]
)
async def test_a_wrong_header_neither_wedges_nor_frees_the_client(value):
    events = []

    def answer(seen):
        reply = honest(seen)
        reply.headers["x-requests-limit-rate"] = value
        reply.headers["x-requests-limit-remaining"] = value
        return reply

    limits = LimitOptions(requests_per_second=500, burst=10)
    async with service(answer) as running, client_for(running, limits=limits, observer=events.append) as client:
        await call_all(client, 100)
        status = client.limit_status
        assert_tidy(client)
    assert (status.source, status.ceiling, status.requests_per_second) == ("option", 500, 500)
    assert len(running.seen) == 100
    assert most_in_a_window([event.at for event in events if isinstance(event, Sent)], 10 / 500) <= 10


@pytest.mark.parametrize("value", ["banana", "0", "-5", "1000000000"])
async def test_a_wrong_header_says_nothing_to_a_client_that_knows_no_limit(value):
    def answer(seen):
        reply = honest(seen)
        reply.headers["x-requests-limit-rate"] = value
        return reply

    limits = LimitOptions(requests_per_second=None)
    async with service(answer) as running, client_for(running, limits=limits) as client:
        await call_all(client, 50)
        status = client.limit_status
    assert (status.source, status.ceiling) == ("option", math.inf)
    assert 8 < status.concurrency <= 8 + 50, "clean answers alone make room"
    assert len(running.seen) == 50


async def test_share_is_a_part_of_the_ceiling_from_wherever_it_comes():
    events = []
    async with serve(limit=RateLimit(requests=200)) as server:
        limits = LimitOptions(requests_per_second=40, share=0.25)
        async with client_for(server, limits=limits, observer=events.append) as client:
            assert (client.limit_status.ceiling, client.limit_status.source) == (10, "option")
            await call_all(client, 1)
            assert (client.limit_status.ceiling, client.limit_status.source) == (50, "header")
            await call_all(client, 90)
            assert client.limit_status.requests_per_second == 50
    assert (server.counts.rerank, server.counts.throttled) == (91, 0)
    assert most_in_a_window([event.at for event in events if isinstance(event, Sent)], 1.0) <= 50


async def test_processes_that_share_by_parts_stay_within_the_limit_together():
    events = []
    limits = LimitOptions(requests_per_second=80, share=0.25)
    async with serve() as server:
        clients = [client_for(server, limits=limits, observer=events.append) for _ in range(4)]
        await asyncio.gather(*(call_all(client, 40) for client in clients))
        for client in clients:
            await client.aclose()
    assert server.counts.rerank == 160
    assert most_in_a_window([event.at for event in events if isinstance(event, Sent)], 1.0) <= 80


async def test_without_a_known_limit_eight_go_at_first_and_each_round_doubles_them():
    waiting = []

    async def answer(seen):
        release = asyncio.get_running_loop().create_future()
        waiting.append(release)
        await release
        return honest(seen)

    limits = LimitOptions(requests_per_second=None, max_concurrency=50)
    async with service(answer) as running, client_for(running, limits=limits) as client:
        calls = [asyncio.create_task(client.generate("text", TEXTS)) for _ in range(200)]
        for expected in (8, 16, 32, 50, 50):
            await until(lambda expected=expected: len(waiting) == expected)
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(waiting) == client.limit_status.in_flight == client.limit_status.concurrency == expected
            now, waiting[:] = waiting[:], []
            for release in now:
                release.set_result(None)
        await until(lambda: len(waiting) == 200 - 8 - 16 - 32 - 50 - 50)
        for release in waiting:
            release.set_result(None)
        await asyncio.gather(*calls)
        assert_tidy(client)


async def test_a_limit_that_is_heard_ends_the_slow_start():
    door = Door(300, headers=True)
    limits = LimitOptions(requests_per_second=None, max_concurrency=50)
    async with service(door) as running, client_for(running, limits=limits) as client:
        assert (client.limit_status.concurrency, client.limit_status.source) == (8, "option")
        await call_all(client, 1)
        assert client.limit_status.concurrency == 50
        assert (client.limit_status.ceiling, client.limit_status.source) == (300, "header")


async def test_the_status_tells_ceiling_source_pause_and_queue():
    """After a 429 that names 20 a second and asks for half a minute."""

    def answer(seen):
        if seen.number == 3:
            words = "Rate limit of 20 requests per 1s was reached"
            return refusal(429, "rate_limit_reached_requests", words, {"Retry-After": "30"})
        return honest(seen)

    limits = LimitOptions(requests_per_second=50, max_concurrency=1)
    async with service(answer) as running, client_for(running, limits=limits) as client:
        status = client.limit_status
        assert (status.requests_per_second, status.ceiling, status.source) == (50, 50, "option")
        assert (status.concurrency, status.queued, status.in_flight, status.paused, status.behind) == (1, 0, 0, 0, 0)
        calls = [asyncio.create_task(client.generate("text", TEXTS)) for _ in range(5)]
        await until(lambda: client.limit_status.paused)
        await until(lambda: client.limit_status.queued == 3)
        status = client.limit_status
        assert (status.ceiling, status.source) == (20, "429")
        assert status.requests_per_second <= 20
        assert (status.in_flight, len(running.seen)) == (0, 3)
        assert 29 < status.paused <= 30
        assert status.behind >= status.paused - 1
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert_tidy(client)


@pytest.mark.parametrize(
    ("headers", "words"), [(True, False), (False, True), (True, True)], ids=["header", "words", "both"]
)
async def test_a_limit_that_halves_and_doubles_again_is_followed(headers, words):
    """Counted at the door: what is refused at the halving is one window's surplus at most, and then a few."""
    door = Door(200, headers=headers, words=words)
    taken = 0

    def requests():
        while True:
            yield RerankRequest("text", TEXTS)

    limits = LimitOptions(requests_per_second=200, max_concurrency=32)
    async with service(door) as running, client_for(running, limits=limits) as client:
        async with client.generate_many(requests(), max_in_flight=32) as outcomes:

            async def read(until_passed):
                nonlocal taken
                while door.passed < until_passed:
                    outcome = await anext(outcomes)
                    assert outcome.error is None
                    assert pairs(outcome.response) == RIGHT
                    taken += 1

            await read(200)
            before = door.refused
            door.set(100)
            await read(door.passed + 200)
            assert door.refused - before <= 100 + 8
            assert (client.limit_status.ceiling, client.limit_status.source) == (100, "header" if headers else "429")
            before = door.refused
            door.set(200)
            await read(door.passed + 200)
            if headers:
                assert client.limit_status.ceiling == 200
            assert door.refused - before <= 100 + 8  # a bucket is empty, and the new window not yet full
        assert_tidy(client)
    assert door.passed - taken <= 32
    assert len(running.seen) - door.passed - door.refused <= 32


class Metronome:
    """A limiter of somebody else: a start every few milliseconds, and counts of what it was told."""

    rate = ceiling = 250.0
    source = "option"
    paused_until = -math.inf
    paced = limit_known = True

    def __init__(self):
        self.next_at = -math.inf
        self.out = self.granted = self.started = self.returned = self.heard = self.refused = 0

    def wait(self, now):
        return math.inf if self.out else max(0.0, self.next_at - now, self.paused_until - now)

    def free(self, now):
        return 0 if self.wait(now) else 1

    def grant(self):
        self.out += 1
        self.granted += 1

    def start(self, now):
        self.out -= 1
        self.started += 1
        self.next_at = now + 1 / self.rate

    def give_back(self):
        self.out -= 1
        self.returned += 1

    def forget_granted(self):
        self.out = 0

    def ready_at(self, now, ahead):
        return max(now, self.next_at, self.paused_until) + ahead / self.rate

    def answered(self, now, sent_at, heard):
        self.heard += 1

    def throttled(self, now, sent_at, retry_after, heard):
        self.refused += 1
        self.paused_until = now + 0.01
        return 0.01


async def test_a_limiter_of_ones_own_is_asked_and_told_of_everything():
    limiter = Metronome()
    events = []
    async with serve(limit=RateLimit(requests=1000), faults={"rate_limited": 0.1}, seed=3) as server:
        credentials = {"url": server.url, "api_key": server.api_key}
        async with AsyncAPIClient(credentials, server.project_id, limiter=limiter) as shared:
            client = client_for(server, api_client=shared, observer=events.append)
            await call_all(client, 60)
            assert client.limit_status.ceiling == 250
            assert client.limit_status.requests_per_second == 250
            cancelled = [asyncio.create_task(client.generate("text", TEXTS)) for _ in range(20)]
            await asyncio.sleep(0.01)
            for call in cancelled:
                call.cancel()
            await asyncio.gather(*cancelled, return_exceptions=True)
            assert_tidy(client)
            await call_all(client, 10)
    starts = sorted(event.at for event in events if isinstance(event, Sent))
    assert min(after - before for before, after in pairwise(starts)) >= 1 / 250
    assert limiter.out == 0
    assert limiter.granted == limiter.started + limiter.returned
    assert limiter.started == len(starts)
    assert limiter.refused == server.counts.faults["rate_limited"] > 0
    assert limiter.heard + limiter.refused <= limiter.started


async def test_one_limiter_serves_two_clients(server):
    limiter = Metronome()
    events = []
    credentials = {"url": server.url, "api_key": server.api_key}
    shared = [AsyncAPIClient(credentials, server.project_id, limiter=limiter) for _ in range(2)]
    clients = [client_for(server, api_client=each, observer=events.append) for each in shared]
    await asyncio.gather(*(call_all(client, 30) for client in clients))
    for each in shared:
        await each.aclose()
    starts = sorted(event.at for event in events if isinstance(event, Sent))
    assert len(starts) == 60
    assert min(after - before for before, after in pairwise(starts)) >= 1 / 250
    assert limiter.out == 0


def test_a_limiter_that_lacks_something_or_contradicts_an_option_is_refused():
    place = {"url": "http://127.0.0.1:9", "token": "made-up"}
    with pytest.raises(InvalidTypeError, match="limiter must have what the protocol Limiter lists"):
        AsyncAPIClient(place, "p", limiter=object())
    for options in ({"requests_per_second": 5}, {"burst": 3}, {"share": 0.5}):
        with pytest.raises(InvalidArgumentError, match=f"LimitOptions.{next(iter(options))}"):
            AsyncAPIClient(place, "p", limits=LimitOptions(**options), limiter=Metronome())
