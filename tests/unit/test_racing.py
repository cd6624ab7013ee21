"""Hedging: who wins, who is cancelled, what the gate hears of the loser, and that nothing is left behind."""

import asyncio
import random

import pytest
from support.clients import client_tasks
from support.clock import settle
from support.wire import Service, bad, good, limited

from rerank_async.errors import BadRequestError, ServiceError
from rerank_async.policy.hedging import HedgeBudget, HedgeModel
from rerank_async.policy.latency import LatencyModel
from rerank_async.values.events import Hedged, Sent
from rerank_async.values.options import HedgeOptions, RetryOptions

ONCE = RetryOptions(max_attempts=1, base_delay=0.0)


def after(delay, budget=1.0):
    options = HedgeOptions(delay=delay, budget=budget)
    return HedgeModel(options, LatencyModel()), HedgeBudget(options)


def in_turn(*answers):
    """The first request gets the first answer, and so on; from then on all are good at once."""
    return lambda seen: answers[seen.number - 1](seen) if seen.number <= len(answers) else good(seen)


def good_after(delay, **said):
    return lambda seen: (delay, good(seen, **said))


def bad_after(delay, *what, **headers):
    return lambda _: (delay, bad(*what, **headers))


class Race:
    """A call of one text whose first copy is slow after half a second, in a task."""

    def __init__(self, *answers, texts="a", delay=0.5, budget=1.0, **options):
        self.events = []
        self.service = Service(in_turn(*answers), **{"retries": ONCE} | options)
        self.clock, self.gate, self.wire = self.service.clock, self.service.gate, self.service.wire
        self.hedging = after(delay, budget)
        self.task = asyncio.create_task(self.call(texts).run())

    def call(self, texts):
        return self.service.call(texts, hedging=self.hedging, observers=(self.events.append,))

    async def until(self, second):
        await self.clock.advance_to(1000.0 + second)
        return self.task.done()

    def hedges(self):
        return [(event.at - 1000.0, event.delay) for event in self.events if isinstance(event, Hedged)]

    async def over(self, requests, cancelled):
        """The response, once nothing is left of the race."""
        response = await self.task
        assert (len(self.wire.seen), self.wire.cancelled) == (requests, cancelled)
        self.left_nothing()
        assert [result.index for result in response.results] == [0], "scored once"
        assert (response.stats.requests, response.stats.hedges) == (requests, requests - 1)
        return response

    def left_nothing(self):
        assert self.service.at_rest() == (0, 0, 0)
        assert client_tasks() == []
        assert self.clock.pending == []


# Who wins


async def test_a_request_that_is_quick_enough_is_not_raced():
    race = Race(good_after(0.4))
    assert await race.until(0.4)
    assert race.hedges() == []
    await race.over(1, 0)


async def test_the_first_wins_and_the_second_is_cancelled():
    race = Race(good_after(1.0, model_version="1"), good_after(5.0))
    assert not await race.until(0.9)
    assert race.hedges() == [(0.5, 0.5)]
    assert race.gate.status().in_flight == 2
    assert await race.until(1.0)
    assert (await race.over(2, 1)).model_version == "1"


async def test_the_second_wins_and_the_first_is_cancelled():
    race = Race(good_after(50.0), good_after(0.2, model_version="2"))
    assert not await race.until(0.6)
    assert await race.until(0.7)
    assert (await race.over(2, 1)).model_version == "2"
    assert race.gate.granted == 2, "two permits, for two requests"


async def test_a_first_that_lost_counts_as_slow_in_what_is_learned(monkeypatch):
    heard = []
    monkeypatch.setattr(HedgeModel, "observe_loser", lambda _, size, seconds: heard.append((size, seconds)))
    race = Race(good_after(50.0), good_after(0.2))
    await race.until(0.7)
    await race.over(2, 1)
    assert heard == [(1, pytest.approx(0.7))]


async def test_both_answer_in_the_same_moment_and_the_first_counts():
    race = Race(good_after(1.0, model_version="1"), good_after(0.5, model_version="2"))
    await race.until(0.9)
    race.clock.stall(0.2)
    race.clock.run_due()
    assert (await race.over(2, 0)).model_version == "1"


async def test_the_first_fails_and_the_second_wins():
    race = Race(bad_after(1.0, 503), good_after(2.0))
    assert not await race.until(2.4)
    assert race.gate.status().in_flight == 2
    assert await race.until(2.5)
    response = await race.over(2, 0)
    assert response.stats.retries == 0


async def test_the_second_fails_and_the_first_wins():
    race = Race(good_after(2.0), bad_after(0.5, 500))
    assert not await race.until(1.9)
    assert await race.until(2.0)
    await race.over(2, 0)


@pytest.mark.parametrize(("first", "second"), [(1.0, 2.0), (3.0, 0.1)], ids=["first earlier", "second earlier"])
async def test_both_fail_and_the_error_is_that_which_no_copy_escapes(first, second):
    race = Race(bad_after(first, 400, "x", "of the first"), bad_after(second, 500, "x", "of the second"))
    await race.until(3.0)
    error = race.task.exception()
    assert type(error) is BadRequestError
    assert "of the first" in str(error)
    assert error.attempts == 2
    race.left_nothing()


async def test_a_request_that_fails_before_it_is_slow_is_retried_and_not_raced():
    race = Race(bad_after(0.3, 500), good_after(0.3), retries=RetryOptions(base_delay=0.0))
    await race.until(0.6)
    assert race.hedges() == []
    assert len((await race.task).results) == 1


async def test_each_batch_of_a_call_has_its_own_race_and_its_scores_once():
    race = Race(*[good_after(9.0 if number % 2 else 0.1) for number in range(6)], texts=["a", "bb", "ccc"] * 2)
    await race.until(20.0)
    assert [result.score for result in (await race.task).results] == [3.0, 3.0, 2.0, 2.0, 1.0, 1.0]
    race.left_nothing()


# Whether there is a second


async def test_no_second_where_no_place_is_free():
    race = Race(good_after(3.0), most=1)
    await race.until(3.0)
    assert race.hedges() == []
    await race.over(1, 0)


async def test_no_second_where_no_permit_is_free():
    race = Race(good_after(1.0), rate=1.0)
    await race.until(1.0)
    await race.over(1, 0)


async def test_no_second_where_somebody_waits():
    race = Race(good_after(3.0), good_after(3.0), good_after(3.0), rate=2.0)
    others = [asyncio.create_task(race.service.call("b").run()) for _ in range(4)]
    await race.until(20.0)
    assert race.hedges() == []
    await asyncio.gather(race.task, *others)
    race.left_nothing()


async def test_no_second_during_a_pause():
    race = Race(good_after(3.0), rate=8.0)
    await settle()
    other = race.gate.enter_now()
    race.gate.sent(other)
    race.gate.throttled(other, 5.0)
    race.gate.leave(other)
    await race.until(3.0)
    await race.over(1, 0)


async def test_no_more_than_the_budget_allows():
    race = Race(*[good_after(1.0)] * 100, budget=0.1, texts=[str(number) for number in range(40)], most=64)
    await race.until(100.0)
    response = await race.task
    assert 1 <= response.stats.hedges <= 4
    assert len(response.results) == 40
    race.left_nothing()


# What the gate hears


async def test_a_hedge_that_is_throttled_holds_the_client_and_the_first_goes_on():
    race = Race(good_after(3.0), lambda _: (0.1, limited(4)), rate=8.0)
    await race.until(0.7)
    assert race.gate.status().paused == pytest.approx(3.9)
    assert race.gate.status().in_flight == 2
    assert await race.until(3.0)
    await race.over(2, 0)


async def test_a_first_that_is_throttled_holds_the_client_though_the_second_wins():
    race = Race(lambda _: (1.0, limited(4)), good_after(1.0), rate=8.0)
    await race.until(1.0)
    assert race.gate.status().paused == pytest.approx(4.0), "at once, and not when the race is over"
    assert await race.until(1.5)
    await race.over(2, 0)
    assert race.gate.status().paused == pytest.approx(3.5)


async def test_a_first_that_is_throttled_is_heard_once_though_the_second_fails_as_well():
    race = Race(lambda _: (1.0, limited(4)), bad_after(1.0, 503), rate=8.0)
    await race.until(1.0)
    paused_until = race.gate.status().paused + race.clock.now()
    await race.until(1.5)
    assert type(race.task.exception()) is ServiceError, "the later one"
    assert race.gate.status().paused + race.clock.now() == pytest.approx(paused_until)
    race.left_nothing()


@pytest.mark.parametrize("answers", [(bad_after(1.0, 404), good_after(9.0)), (good_after(9.0), bad_after(0.5, 404))])
async def test_what_would_fail_in_either_copy_is_not_waited_for(answers):
    race = Race(*answers)
    assert await race.until(1.0)
    assert race.task.exception().status == 404
    assert race.wire.cancelled == 1
    race.left_nothing()


async def test_a_retry_that_its_second_copy_answers_has_its_turn_back():
    race = Race(bad_after(0.1, 500), good_after(9.0), good_after(0.1), retries=RetryOptions(base_delay=0.0))
    race.service.budget.take(0.0)
    before = race.service.budget.tokens
    assert await race.until(0.7)
    assert (await race.task).stats.hedges == 1
    assert race.service.budget.tokens == pytest.approx(before + 0.3), "and the deposit of a success"
    race.left_nothing()


async def test_429s_of_both_cost_no_attempt():
    race = Race(lambda _: (1.0, limited(0)), lambda _: (1.0, limited(0)), good_after(0.1), rate=8.0)
    await race.until(30.0)
    response = await race.task
    assert response.stats.requests == 3
    assert [event.attempt for event in race.events if isinstance(event, Sent)][-1] == 1
    race.left_nothing()


async def test_a_hedge_that_is_to_wait_for_a_day_holds_nobody():
    race = Race(good_after(3.0), lambda _: (0.1, limited(86_400)), rate=8.0)
    await race.until(1.0)
    assert race.gate.status().paused == 0.0
    await race.until(3.0)
    await race.over(2, 0)


async def test_a_hedge_that_meets_a_full_pool_halves_what_is_in_flight_and_pauses_nobody():
    race = Race(good_after(3.0), bad_after(0.1, 429, "consumption_limit_reached"), most=8)
    await race.until(1.0)
    assert (race.gate.status().concurrency, race.gate.status().paused) == (4, 0.0)
    await race.until(3.0)
    await race.over(2, 0)


async def test_a_failed_race_is_retried_like_any_request():
    race = Race(bad_after(1.0, 500), bad_after(1.0, 500), good_after(0.1), retries=RetryOptions(base_delay=0.0))
    await race.until(2.0)
    response = await race.task
    assert (response.stats.requests, response.stats.retries, response.stats.hedges) == (3, 1, 1)
    race.left_nothing()


# Cancelled


@pytest.mark.parametrize("moment", [0.0, 0.3, 0.5, 0.7, 1.0, 1.4])
async def test_cancelled_at_a_known_moment_both_are_ended(moment):
    race = Race(good_after(1.5), good_after(9.0))
    await race.until(moment)
    race.task.cancel()
    await settle()
    assert race.task.cancelled()
    race.left_nothing()
    assert race.wire.cancelled == len(race.wire.seen) == (1 if moment < 0.5 else 2)


@pytest.mark.parametrize("rounds", range(12))
@pytest.mark.parametrize("moment", ["begin", "hedge", "answer", "failure"])
async def test_cancelled_so_many_rounds_of_the_loop_after_something_happened(moment, rounds):
    first = bad_after(1.0, 503) if moment == "failure" else good_after(1.0)
    race = Race(first, good_after(9.0))
    if moment != "begin":
        clock_at = {"hedge": 0.5, "answer": 1.0, "failure": 1.0}[moment]
        await race.until(clock_at - 0.1)
        race.clock.stall(0.101)
        race.clock.run_due()
    for _ in range(rounds):
        await asyncio.sleep(0)
    race.task.cancel()
    await settle()
    assert race.task.done()
    if race.task.cancelled():
        race.left_nothing()
    else:
        assert moment == "answer", "it was done before"
        assert len(race.task.result().results) == 1
    assert race.gate.granted == len(race.wire.seen), "what was not sent came back"


@pytest.mark.parametrize("rounds", range(10))
async def test_cancelled_before_its_retry_went_out_the_turn_is_given_back(rounds):
    race = Race(bad_after(0.1, 503), good_after(9.0), retries=RetryOptions(base_delay=0.0, max_delay=0.0))
    full = race.service.budget.tokens
    await settle()
    race.clock.stall(0.2)
    race.clock.run_due()
    for _ in range(rounds):
        await asyncio.sleep(0)
    race.task.cancel()
    await settle()
    assert race.task.cancelled()
    assert race.service.budget.tokens == full - (len(race.wire.seen) - 1), "what was sent is spent, and no more"
    race.left_nothing()


async def test_hedges_that_meet_503s_count_as_strain():
    race = Race(*[good_after(2.0)] * 6, *[bad_after(0.1, 503)] * 6, texts="abcdef", most=16)
    await race.until(1.0)
    assert len(race.hedges()) == 6
    assert race.gate.status().concurrency < 16
    await race.until(2.0)
    assert len((await race.task).results) == 6
    race.left_nothing()


@pytest.mark.parametrize("seed", range(40))
async def test_cancelled_at_random_moments_leaves_no_task_and_no_permit(seed):
    rng = random.Random(seed)

    def answer(seen):
        delay = rng.choice([0.1, 0.5, 0.5, 1.0, 3.0])
        drawn = rng.random()
        if drawn < 0.15:
            return delay, bad(503)
        if drawn < 0.2:
            return delay, limited(rng.choice([None, 0.3]))
        if drawn < 0.25:
            return delay, bad(400)
        return delay, good(seen)

    service = Service(answer, rate=rng.choice([8.0, float("inf")]), most=rng.choice([2, 5, 64]))
    hedging = after(0.5)
    calls = [
        asyncio.create_task(service.call([f"{name}{number}" for number in range(5)], hedging=hedging).run())
        for name in "abcdefgh"
    ]
    for _ in range(10):
        await service.clock.advance(rng.choice([0.0, 0.1, 0.25, 0.5]))
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
        rng.choice(calls).cancel()
    await service.clock.advance(2000.0)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for each in outcomes:
        if isinstance(each, BaseException):
            assert isinstance(each, asyncio.CancelledError | BadRequestError | ServiceError)
        else:
            assert sorted(result.index for result in each.results) == list(range(5)), "each is scored once"
    assert service.at_rest() == (0, 0, 0)
    assert client_tasks() == []
    assert service.clock.pending == []
    assert service.gate.granted == len(service.wire.seen), "every permit was used or came back"
