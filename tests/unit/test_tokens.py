"""The token cache on a clock turned by hand."""

import asyncio
import logging

import pytest
from support.clock import FakeClock, settle

from rerank_async.auth import GivenToken
from rerank_async.auth.grant import TokenGrant
from rerank_async.errors import (
    ClientClosedError,
    ConnectionFailedError,
    ServiceError,
)
from rerank_async.runtime.tokens import GivenTokenCache, TokenCache
from rerank_async.values.secret import Secret


class Source:
    """Grants tokens t1, t2, ... when it is told to, or at once."""

    def __init__(self, lifetime=100.0, *, at_once=False):
        self.lifetime = lifetime
        self.at_once = at_once
        self.asked = 0
        self.open = []
        self.failure = None

    async def __call__(self):
        self.asked += 1
        number = self.asked
        if not self.at_once:
            gate = asyncio.get_running_loop().create_future()
            self.open.append(gate)
            await gate
        if self.failure is not None:
            raise self.failure
        return TokenGrant(Secret(f"Bearer t{number}"), self.lifetime)

    async def answer(self, failure=None):
        self.failure = failure
        self.open.pop(0).set_result(None)
        await settle()


def cache_of(*, at_once=False, lifetime=100.0, spread=lambda low, high: (low + high) / 2):
    source, clock = Source(lifetime, at_once=at_once), FakeClock()
    return TokenCache(source, clock, spread), source, clock


def word(token):
    return token.authorization.reveal()


async def waiting(cache, count=1):
    tasks = [asyncio.create_task(cache.get()) for _ in range(count)]
    await settle()
    return tasks


# One exchange for all


async def test_five_hundred_callers_are_one_exchange():
    cache, source, _ = cache_of()
    tasks = await waiting(cache, 500)
    assert source.asked == 1
    assert not any(task.done() for task in tasks)
    await source.answer()
    assert {word(task.result()) for task in tasks} == {"Bearer t1"}
    assert (source.asked, cache.exchanges) == (1, 1)
    assert word(await cache.get()) == "Bearer t1"
    assert cache.exchanges == 1


async def test_a_living_token_costs_no_round_of_the_loop():
    cache, _, _ = cache_of(at_once=True)
    first = await cache.get()
    assert cache.alive() is first
    getting = cache.get()
    with pytest.raises(StopIteration) as stopped:
        getting.send(None)
    assert stopped.value.value is first


async def test_without_a_token_nothing_is_alive_and_looking_starts_nothing():
    cache, source, _ = cache_of()
    assert cache.alive() is None
    await settle()
    assert source.asked == 0


# Cancellation


@pytest.mark.parametrize(
    "cancelled",
    [[0], [9], [0, 9], list(range(9)), list(range(1, 10))],
    ids=["first", "last", "both", "all but the last", "all but the first"],
)
async def test_callers_that_give_up_do_not_take_the_exchange_from_the_others(cancelled):
    cache, source, _ = cache_of()
    tasks = await waiting(cache, 10)
    for index in cancelled:
        tasks[index].cancel()
    await settle()
    assert [index for index, task in enumerate(tasks) if task.cancelled()] == cancelled
    await source.answer()
    assert all(word(task.result()) == "Bearer t1" for index, task in enumerate(tasks) if index not in cancelled)
    assert source.asked == 1


async def test_when_all_give_up_the_token_is_kept_for_the_next():
    cache, source, _ = cache_of()
    for task in await waiting(cache, 3):
        task.cancel()
    await settle()
    await source.answer()
    assert word(cache.alive()) == "Bearer t1"
    assert source.asked == 1


async def test_when_all_give_up_and_the_exchange_fails_nobody_hears_of_it():
    cache, source, _ = cache_of()
    for task in await waiting(cache, 3):
        task.cancel()
    await settle()
    await source.answer(ServiceError("down", status=503))
    # An exception that was never retrieved would be logged as an error; conftest's fixture looks for that.
    assert cache.alive() is None


# Failure


async def test_each_caller_gets_an_error_of_its_own_with_the_cause():
    cache, source, _ = cache_of()
    tasks = await waiting(cache, 3)
    root = OSError("refused")
    failure = ConnectionFailedError("no connection", url="https://iam.example")
    failure.__cause__ = root
    failure.attempts = 6
    await source.answer(failure)
    found = [task.exception() for task in tasks]
    assert len({id(error) for error in found}) == 3
    for error in found:
        assert type(error) is ConnectionFailedError
        assert (str(error), error.url, error.attempts) == ("no connection", "https://iam.example", 6)
        assert error.__cause__ is root


async def test_after_a_failure_the_next_caller_tries_again():
    cache, source, _ = cache_of()
    (task,) = await waiting(cache)
    await source.answer(ServiceError("down", status=503))
    assert isinstance(task.exception(), ServiceError)
    (task,) = await waiting(cache)
    await source.answer()
    assert word(task.result()) == "Bearer t2"


# Renewal


async def test_from_refresh_at_on_a_use_renews_in_the_background_while_the_old_token_serves():
    cache, source, clock = cache_of()
    (task,) = await waiting(cache)
    await source.answer()
    token = task.result()
    # Lives for 100 s from 1000; the spread of this test is the middle of half and three quarters.
    assert (token.refresh_at, token.expires_at) == (1062.5, 1100.0)
    await clock.advance_to(1062.4)
    assert cache.alive() is token
    await settle()
    assert source.asked == 1
    await clock.advance_to(1062.5)
    assert source.asked == 1, "time alone renews nothing"
    assert cache.alive() is token
    await settle()
    assert source.asked == 2
    assert cache.alive() is token
    assert word(await cache.get()) == "Bearer t1", "nobody waits for the renewal"
    await settle()
    assert source.asked == 2, "and it is one renewal"
    await source.answer()
    assert word(cache.alive()) == "Bearer t2"


@pytest.mark.parametrize(("part", "refresh_at"), [(0.5, 1050.0), (0.75, 1075.0)])
async def test_the_moment_of_renewal_is_drawn_between_half_and_three_quarters(part, refresh_at):
    asked_for = []

    def spread(low, high):
        asked_for.append((low, high))
        return part

    cache, _, _ = cache_of(at_once=True, spread=spread)
    assert (await cache.get()).refresh_at == refresh_at
    assert asked_for == [(0.5, 0.75)]


async def test_the_life_is_counted_from_the_answer():
    cache, source, clock = cache_of()
    (task,) = await waiting(cache)
    await clock.advance(7.0)
    await source.answer()
    assert task.result().expires_at == 1107.0


async def test_a_dead_token_does_not_serve_and_all_wait_for_one_new_one():
    cache, source, clock = cache_of(at_once=True)
    await cache.get()
    source.at_once = False
    await clock.advance_to(1100.0)
    assert cache.alive() is None
    tasks = await waiting(cache, 5)
    assert source.asked == 2
    await source.answer()
    assert {word(task.result()) for task in tasks} == {"Bearer t2"}


async def test_a_failed_renewal_is_harmless_until_the_old_token_is_dead(caplog):
    cache, source, clock = cache_of(at_once=True)
    token = await cache.get()
    source.failure = ServiceError("down", status=503)
    await clock.advance_to(1080.0)
    with caplog.at_level(logging.WARNING, "rerank_async"):
        assert cache.alive() is token
        await settle()
    assert source.asked == 2
    assert "old one serves for another 20 s: down" in caplog.text
    assert "Bearer" not in caplog.text
    assert cache.alive() is token
    assert await cache.get() is token
    await settle()
    assert source.asked == 2, "the next renewal waits a moment"
    await clock.advance_to(1080.99)
    assert cache.alive() is token
    await settle()
    assert source.asked == 2
    await clock.advance_to(1081.0)
    assert cache.alive() is token
    await settle()
    assert source.asked == 3
    await clock.advance_to(1100.0)
    with pytest.raises(ServiceError, match="down"):
        await cache.get()


async def test_a_caller_that_comes_when_the_token_dies_joins_the_renewal_under_way():
    cache, source, clock = cache_of(at_once=True)
    await cache.get()
    source.at_once = False
    await clock.advance_to(1090.0)
    cache.alive()
    await settle()
    await clock.advance_to(1100.0)
    (task,) = await waiting(cache)
    assert source.asked == 2
    await source.answer()
    assert word(task.result()) == "Bearer t2"


# drop


async def test_a_refused_token_is_dropped_only_if_it_is_the_cached_one():
    cache, source, _ = cache_of(at_once=True)
    old = await cache.get()
    cache.drop(old)
    assert cache.alive() is None
    new = await cache.get()
    assert (word(new), source.asked) == ("Bearer t2", 2)
    cache.drop(old)  # another batch that was sent with the old one hears its 401 only now
    assert cache.alive() is new
    assert await cache.get() is new
    assert source.asked == 2


# Closed


async def test_closed_while_they_wait():
    cache, _, _ = cache_of()
    tasks = await waiting(cache, 3)
    await cache.aclose()
    await settle()
    assert [type(task.exception()) for task in tasks] == [ClientClosedError] * 3


async def test_closed_with_nothing_under_way_and_closed_twice():
    cache, _, _ = cache_of(at_once=True)
    await cache.get()
    await cache.aclose()
    await cache.aclose()
    assert cache.exchanges == 1


async def test_a_closed_cache_starts_no_exchange():
    cache, source, clock = cache_of(at_once=True)
    await cache.get()
    await cache.aclose()
    await clock.advance_to(1070.0)
    cache.alive()
    await settle()
    assert source.asked == 1, "no renewal"
    await clock.advance_to(1200.0)
    with pytest.raises(ClientClosedError):
        await cache.get()
    assert source.asked == 1


async def test_one_s_own_cancellation_passes_even_while_the_client_is_being_closed():
    cache, _, _ = cache_of()
    (task,) = await waiting(cache)
    closing = asyncio.create_task(cache.aclose())
    while not closing.done():
        task.cancel()
        await asyncio.sleep(0)
    await settle()
    assert task.cancelled()


def test_the_exchange_of_a_loop_that_is_gone_is_dropped_and_the_token_stays():
    cache, source, _ = cache_of(at_once=True)
    token = asyncio.run(cache.get())
    cache.forget_loop()
    source.at_once = False

    async def leave_one_behind():
        cache.drop(token)
        return await waiting(cache)

    loop = asyncio.new_event_loop()
    (left,) = loop.run_until_complete(leave_one_behind())
    cache.forget_loop()
    source.at_once = True
    assert word(asyncio.run(cache.get())) == "Bearer t3"
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.gather(left, return_exceptions=True))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_the_token_outlives_its_loop():
    cache, source, _ = cache_of(at_once=True)
    first = asyncio.run(cache.get())
    cache.forget_loop()

    async def again():
        return await cache.get()

    assert asyncio.run(again()) is first
    assert source.asked == 1


async def test_a_given_token_has_the_same_face_and_is_never_renewed():
    cache = GivenTokenCache(GivenToken(Secret("made-up")))
    token = cache.alive()
    assert word(token) == "Bearer made-up"
    assert await cache.get() is token
    cache.drop(token)
    await cache.aclose()
    cache.forget_loop()
    assert cache.alive() is token
    assert cache.exchanges == 0
    assert "cannot be renewed" in cache.advice
    assert TokenCache.advice is None


async def test_no_repr_shows_the_token():
    cache, _, _ = cache_of(at_once=True)
    shown = repr(await cache.get()) + repr(TokenGrant(Secret("Bearer t9"), 1.0)) + repr(GivenToken(Secret("t9")))
    assert "t1" not in shown
    assert "t9" not in shown
