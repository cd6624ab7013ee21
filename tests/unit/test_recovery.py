"""What a call does about batches that fail: again, later, with a new token, or not; and what the others hear of it."""

import asyncio

import pytest
from support.clock import settle
from support.wire import Service, bad, good, limited, refusal

from rerank_async.auth import GivenToken
from rerank_async.errors import (
    AuthenticationError,
    ConnectionFailedError,
    DeadlineExceededError,
    RateLimitError,
    RequestTimeoutError,
    ServiceError,
)
from rerank_async.runtime.http import Answer
from rerank_async.runtime.tokens import GivenTokenCache
from rerank_async.values.events import Retried, Sent, Throttled
from rerank_async.values.options import RetryOptions
from rerank_async.values.secret import Secret


async def outcome(service, call, seconds):
    """Runs a call for so long; its response or its error."""
    task = asyncio.ensure_future(call.run())
    await service.clock.advance(seconds)
    assert task.done(), "it never ends"
    return (await asyncio.gather(task, return_exceptions=True))[0]


def failing(times, reply, then=good):
    """The first requests are answered with ``reply()``."""
    return lambda seen: reply() if seen.number <= times else then(seen)


PLAIN = RetryOptions(base_delay=0.0, max_delay=0.0)


@pytest.mark.parametrize(
    "reply",
    [
        lambda: bad(500),
        lambda: bad(503),
        lambda: good_body("<html>"),
        lambda: good_body("[1"),
        lambda: ConnectionFailedError("reset"),
        lambda: RequestTimeoutError("late"),
    ],
    ids=["500", "503", "html", "cut", "reset", "timeout"],
)
async def test_what_a_retry_may_mend_goes_again_and_costs_one_request_each(reply):
    service = Service(failing(5, reply))
    response = await outcome(service, service.call("a"), 60.0)
    assert (response.stats.requests, response.stats.retries) == (6, 5)
    assert len(service.wire.seen) == 6
    service = Service(failing(6, reply))
    error = await outcome(service, service.call("a"), 60.0)
    assert "gave up after 6 attempts" in str(error)
    assert (error.attempts, error.stats.requests) == (6, 6)
    assert service.at_rest() == (0, 0, 0)


def good_body(text):
    return Answer(200, {}, text.encode())


# 429


async def test_429s_cost_no_attempt_and_no_budget():
    events = []
    service = Service(failing(5, limited), retries=RetryOptions(max_attempts=1), budget=0.0, rate=8.0)
    response = await outcome(service, service.call("a", observers=(events.append,)), 60.0)
    assert (response.stats.throttled, response.stats.retries) == (5, 0)
    assert [event.attempt for event in events if isinstance(event, Sent)] == [1] * 6
    assert all(event.delay > 0 for event in events if isinstance(event, Throttled))


async def test_429s_without_end_are_bounded_and_the_error_says_how_often_and_how_long():
    service = Service(lambda _: limited(1), retries=RetryOptions(max_throttled=4))
    error = await outcome(service, service.call("a"), 60.0)
    assert type(error) is RateLimitError
    assert "met 5 of them in 4.0 s, more than RetryOptions.max_throttled = 4" in str(error)
    assert error.attempts == 5


@pytest.mark.parametrize("retry_after", [61, 86_400])
async def test_a_retry_after_that_is_too_long_fails_at_once_and_holds_nobody(retry_after):
    service = Service(failing(1, lambda: limited(retry_after)))
    error = await outcome(service, service.call("a"), 0.0)
    assert f"wait for {retry_after} s" in str(error)
    assert service.gate.status().paused == 0.0
    assert len((await outcome(service, service.call("a"), 1.0)).results) == 1


async def test_a_full_pool_costs_no_attempt_halves_what_is_in_flight_and_pauses_nobody():
    service = Service(
        failing(3, lambda: bad(429, "consumption_limit_reached")), retries=RetryOptions(max_attempts=1), most=8
    )
    response = await outcome(service, service.call("a"), 60.0)
    assert response.stats.requests == 4
    assert service.gate.status().concurrency < 8
    assert (service.gate.status().paused, service.gate.status().source) == (0.0, "option")


async def test_a_429_about_the_quota_is_no_rate_limit():
    service = Service(failing(1, lambda: bad(429, "token_quota_reached")))
    error = await outcome(service, service.call("a"), 0.0)
    assert type(error).__name__ == "QuotaExceededError"
    assert service.gate.status().paused == 0.0
    assert service.gate.status().requests_per_second == float("inf")


# Deadlines


@pytest.mark.parametrize("partial", [False, True])
async def test_a_retry_that_is_due_after_the_deadline_is_not_waited_for(partial):
    service = Service(lambda _: bad(503, retry_after="30"))
    outcome_ = await outcome(service, service.call("a", deadline=20.0, partial=partial), 0.0)
    error = outcome_.failures[0].error if partial else outcome_
    assert type(error) is DeadlineExceededError
    assert "due in 30.0 s, after the call's deadline; the last one failed" in str(error)
    assert type(error.__cause__) is ServiceError
    assert len(service.wire.seen) == 1
    assert service.at_rest() == (0, 0, 0)


# The budget


async def test_an_empty_budget_delays_and_one_probe_a_second_goes():
    service = Service(failing(4, lambda: bad(503)), budget=0.0)
    response = await outcome(service, service.call("a"), 60.0)
    moments = [seen.at for seen in service.wire.seen]
    assert moments == [1000.0, 1000.0, 1001.0, 1002.0, 1003.0], "the first probe may go at once"
    assert response.stats.retries == 4


async def test_probes_cost_no_attempt():
    service = Service(failing(20, lambda: bad(503)), budget=0.0, retries=PLAIN)
    assert len((await outcome(service, service.call("a"), 60.0)).results) == 1
    assert len(service.wire.seen) == 21


async def test_what_waits_for_the_budget_for_too_long_fails_and_says_so():
    retries = RetryOptions(base_delay=0.0, max_delay=0.0, max_elapsed=2.5)
    service = Service(lambda _: bad(503), budget=0.0, retries=retries)
    calls = [asyncio.ensure_future(service.call(text).run()) for text in "abcdef"]
    await service.clock.advance(30.0)
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in errors] == [ServiceError] * 6
    assert any("the retry budget was empty for RetryOptions.max_elapsed = 2.5 s" in str(error) for error in errors)
    assert len(service.wire.seen) <= 6 + 4, "one probe at once, and one a second"
    assert service.at_rest() == (0, 0, 0)


async def test_a_turn_is_given_back_when_its_call_is_cancelled_before_it_is_sent():
    service = Service(lambda seen: (1.0, bad(503)) if seen.texts == ["a"] else (100.0, good(seen)), most=1)
    full = service.budget.tokens
    first, other = (asyncio.create_task(service.call([text]).run()) for text in "ab")
    await service.clock.advance(2.0)
    assert [seen.texts for seen in service.wire.seen] == [["a"], ["b"]]
    assert service.budget.tokens == full - 1, "the first has its turn, and waits for a permit"
    first.cancel()
    await settle()
    assert service.budget.tokens == full
    await service.clock.advance(100.0)
    assert len((await other).results) == 1


async def test_a_turn_is_given_back_when_the_call_fails_of_another_batch():
    def answer(seen):
        if seen.texts == ["a"]:
            return 1.0, bad(503)
        return 3.0, bad(400)

    service = Service(answer, most=2)
    full = service.budget.tokens
    blocker = asyncio.create_task(service.call("b").run())
    await settle()
    call = asyncio.create_task(service.call("ac").run())
    await service.clock.advance(10.0)
    await asyncio.gather(blocker, call, return_exceptions=True)
    assert call.done()
    # Each retry that was sent and failed costs one, nothing else does.
    retried = sum(seen.texts == ["a"] for seen in service.wire.seen) - 1
    assert service.budget.tokens == full - retried
    assert service.at_rest() == (0, 0, 0)


# Refused connections


async def answered_once(**options):
    """A service that has answered, and then refuses."""
    service = Service(**options)
    await service.call("z").run()
    service.wire.seen.clear()
    service.wire.answer = lambda _: refusal()
    return service


async def test_a_refused_connection_costs_no_attempt_once_the_service_has_answered():
    service = await answered_once()
    call = asyncio.create_task(service.call("a").run())
    await service.clock.advance(60.5)
    assert not call.done()
    assert len(service.wire.seen) == 61, "one a second"
    service.wire.answer = good
    await service.clock.advance(1.0)
    assert len((await call).results) == 1


async def test_when_the_service_comes_back_everybody_succeeds_with_few_requests():
    service = await answered_once()
    calls = [asyncio.create_task(service.call([str(number)]).run()) for number in range(50)]
    await service.clock.advance(9.5)
    service.wire.answer = good
    await service.clock.advance(1.0)
    assert [len(response.results) for response in await asyncio.gather(*calls)] == [1] * 50
    assert len(service.wire.seen) <= 50 + 50 + 10, "those in flight when it went down, one probe a second, all again"


async def test_who_waits_behind_a_batch_that_gives_up_fails_with_it_and_not_one_a_second():
    service = await answered_once(retries=RetryOptions(base_delay=0.0, max_delay=0.0, max_elapsed=5.0))
    calls = [asyncio.create_task(service.call([str(number)]).run()) for number in range(20)]
    await service.clock.advance(6.5)
    assert all(call.done() for call in calls)
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in errors} == {ConnectionFailedError}
    assert service.at_rest() == (0, 0, 0)
    assert service.clock.pending == []


async def test_a_call_with_a_deadline_is_waited_for_also_if_the_service_never_answered():
    service = Service(lambda seen: refusal() if seen.number < 10 else good(seen))
    call = asyncio.create_task(service.call("a", deadline=3600.0).run())
    await service.clock.advance(20.0)
    assert len((await call).results) == 1
    assert len(service.wire.seen) == 10


async def test_who_wants_one_attempt_has_one_and_holds_nobody():
    service = await answered_once(retries=RetryOptions(max_attempts=1))
    error = await outcome(service, service.call("a"), 0.0)
    assert type(error) is ConnectionFailedError
    assert len(service.wire.seen) == 1
    service.wire.answer = good
    assert len((await outcome(service, service.call("a"), 0.0)).results) == 1


# 401


class Renewed:
    """Serves the next token each time that one is dropped."""

    advice = None

    def __init__(self):
        self.token = GivenTokenCache(GivenToken(Secret("t"))).alive()
        self.dropped = []

    def alive(self):
        return self.token

    async def get(self):
        return self.token

    def drop(self, token):
        self.dropped.append(token)


async def test_a_401_goes_again_with_a_new_token_once_and_at_once():
    events, tokens = [], Renewed()
    service = Service(failing(1, lambda: bad(401, "authentication_token_expired")), tokens=tokens)
    response = await outcome(service, service.call("a", observers=(events.append,)), 0.0)
    assert len(response.results) == 1
    assert tokens.dropped == [tokens.token]
    (retried,) = [event for event in events if isinstance(event, Retried)]
    assert (retried.delay, retried.reason) == (0.0, "authentication_token_expired")
    service = Service(lambda _: bad(401), tokens=Renewed())
    assert type(await outcome(service, service.call("a"), 0.0)) is AuthenticationError
    assert len(service.wire.seen) == 2


# Waits


async def test_a_batch_that_rests_holds_neither_a_permit_nor_the_others():
    service = Service(
        lambda seen: bad(503, retry_after="10") if seen.texts == ["a"] and seen.number < 4 else good(seen), most=1
    )
    call = asyncio.create_task(service.call("abc").run())
    await service.clock.advance(5.0)
    assert [seen.texts for seen in service.wire.seen] == [["a"], ["b"], ["c"]]
    assert service.at_rest() == (0, 0, 0)
    await service.clock.advance(5.0)
    assert len((await call).results) == 3
