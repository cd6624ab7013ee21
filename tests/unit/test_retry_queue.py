"""Retries that wait for the budget: in order, one probe a second, up to a time, and given back when cancelled."""

import asyncio
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import FakeClock, settle

from rerank_async.errors import ClientClosedError
from rerank_async.policy.budget import RetryBudget
from rerank_async.runtime.retry_queue import RetryQueue


class Retries:
    """Tasks that ask for turns, and what they got, in order."""

    def __init__(self, ratio=0.0):
        self.clock = FakeClock()
        self.budget = RetryBudget(ratio)
        self.queue = RetryQueue(self.budget, self.clock)
        self.got = []
        self.tasks = {}

    def start(self, name, until=None):
        async def turn():
            self.got.append((name, await self.queue.turn(until)))

        self.tasks[name] = asyncio.create_task(turn())

    async def ask(self, *names, until=None):
        for name in names:
            self.start(name, until)
        await settle()

    def empty(self):
        """Takes all that the budget has, also the probe of this moment."""
        while self.budget.take(self.clock.now()) is not None:
            pass

    async def cancel_rest(self):
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


@pytest.fixture
async def retries():
    made = Retries()
    made.empty()
    yield made
    await made.cancel_rest()


async def test_what_the_budget_can_pay_goes_without_a_round_of_the_loop():
    retries = Retries(0.3)
    turning = retries.queue.turn()
    with pytest.raises(StopIteration) as stopped:
        turning.send(None)
    assert stopped.value.value == "retry"


async def test_an_empty_budget_lets_one_probe_a_second_go_in_order(retries):
    await retries.ask(*"abcd")
    assert retries.got == []
    await retries.clock.advance(0.999)
    assert retries.got == []
    await retries.clock.advance(0.001)
    assert retries.got == [("a", "probe")]
    await retries.clock.advance(1.0)
    assert retries.got == [("a", "probe"), ("b", "probe")]
    assert len(retries.clock.pending) == 1
    await retries.clock.advance(2.0)
    assert [name for name, _ in retries.got] == list("abcd")
    assert retries.clock.pending == []


async def test_who_comes_later_does_not_overtake(retries):
    await retries.ask("a")
    retries.clock.stall(1.5)  # a probe is due, but the timer has not run
    await retries.ask("b")
    assert retries.got == [("a", "probe")]
    await retries.clock.advance(1.0)
    assert retries.got == [("a", "probe"), ("b", "probe")]


async def test_a_success_earns_turns_for_those_who_wait():
    retries = Retries(1.0)
    retries.empty()
    await retries.ask(*"abcd")
    retries.queue.succeeded(None)  # deposits 1
    await settle()
    assert retries.got == [("a", "retry")]
    retries.queue.succeeded("retry")  # its own back, and 1
    await settle()
    assert [name for name, _ in retries.got] == list("abc")
    await retries.cancel_rest()


@pytest.mark.parametrize("kind", ["retry", "probe"])
async def test_a_turn_that_is_given_back_goes_to_the_next(kind):
    retries = Retries(0.3 if kind == "retry" else 0.0)
    turn = retries.budget.take(retries.clock.now())
    assert turn == kind
    while kind == "retry" and retries.budget.tokens >= 1:
        retries.budget.take(retries.clock.now())
    await retries.ask("a")
    assert retries.got == []
    retries.queue.give_back(turn)
    await settle()
    assert retries.got == [("a", kind)]


# Until


async def test_whose_time_is_up_gets_none_at_that_time(retries):
    await retries.ask("a")
    await retries.ask("b", until=1000.5)
    await retries.ask("c", until=1001.5)
    await retries.clock.advance(0.499)
    assert retries.got == []
    await retries.clock.advance(0.001)
    assert retries.got == [("b", None)]
    await retries.clock.advance(0.5)
    assert retries.got == [("b", None), ("a", "probe")]
    await retries.clock.advance(0.5)
    assert retries.got == [("b", None), ("a", "probe"), ("c", None)]
    assert retries.clock.pending == []
    await retries.ask("d")
    assert retries.got[-1] == ("b", None) or retries.got[-1] == ("c", None), "no probe before its second is over"
    await retries.clock.advance(0.5)
    assert retries.got[-1] == ("d", "probe"), "none was spent on those whose time was up"


async def test_a_time_that_is_past_ends_at_once_if_there_is_nothing_to_have(retries):
    await retries.ask("a", until=999.0)
    assert retries.got == [("a", None)]
    assert retries.clock.pending == []


# Cancelled


async def test_cancelled_while_waiting_its_turn_is_the_next_one_s(retries):
    await retries.ask(*"abc")
    retries.tasks["a"].cancel()
    await settle()
    await retries.clock.advance(1.0)
    assert retries.got == [("b", "probe")]


@pytest.mark.parametrize("ratio", [0.0, 0.3], ids=["probe", "retry"])
async def test_cancelled_in_the_moment_of_its_turn_it_gives_it_back(ratio):
    retries = Retries(ratio)
    retries.empty()
    await retries.ask(*"abc")
    retries.clock.stall(1.0)
    if ratio:
        for _ in range(4):
            retries.queue.succeeded(None)  # deposits 1.2: a has its turn, but its task has not run
    else:
        retries.clock.run_due()
    retries.tasks["a"].cancel()
    await settle()
    assert retries.tasks["a"].cancelled()
    assert [name for name, _ in retries.got][:1] == ["b"]
    await retries.cancel_rest()


async def test_cancelled_before_its_first_step_takes_nothing():
    retries = Retries(0.3)
    before = retries.budget.tokens
    retries.start("a")
    retries.tasks["a"].cancel()
    await settle()
    assert retries.budget.tokens == before


# Closed, and the next loop


async def test_closing_ends_those_who_wait_and_refuses_the_rest(retries):
    await retries.ask(*"ab")
    retries.queue.close()
    await settle()
    errors = [retries.tasks[name].exception() for name in "ab"]
    assert [type(error) for error in errors] == [ClientClosedError] * 2
    assert errors[0] is not errors[1]
    assert retries.clock.pending == []
    with pytest.raises(ClientClosedError):
        await retries.queue.turn()
    retries.queue.close()  # harmless when repeated
    retries.queue.give_back("probe")
    retries.queue.succeeded(None)


@pytest.mark.parametrize("order", ["cancelled first", "closed first"])
async def test_cancelled_in_the_moment_of_closing(retries, order):
    await retries.ask("a")
    ends = [retries.queue.close, retries.tasks["a"].cancel]
    for end in ends if order == "closed first" else reversed(ends):
        end()
    await settle()
    assert retries.tasks["a"].cancelled()


def test_the_next_loop_begins_without_those_of_the_last():
    retries = Retries.__new__(Retries)
    asyncio.run(_leave_behind(retries))
    retries.queue.forget_loop()
    assert retries.clock.pending == []

    async def next_loop():
        await retries.ask("new")
        await retries.clock.advance(1.0)
        assert retries.got == [("new", "probe")]

    asyncio.run(next_loop())


async def _leave_behind(retries):
    retries.__init__()
    retries.empty()
    waiting = [asyncio.ensure_future(retries.queue.turn()) for _ in range(3)]
    await settle()
    retries.queue.forget_loop()
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


# Random schedules


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), ratio=st.sampled_from([0.0, 0.1, 0.3, 1.0]))
def test_random_schedules_lose_no_turn_and_wedge_nobody(seed, ratio):  # noqa: C901 - one schedule, told in order
    rng = random.Random(seed)

    async def schedule():  # noqa: C901
        retries = Retries(ratio)
        retries.empty()
        taken = []

        async def use(until):
            turn = await retries.queue.turn(until)
            if turn is None:
                assert until is not None
                assert until <= retries.clock.now()
                return
            if rng.random() < 0.2:
                retries.queue.give_back(turn)
            elif rng.random() < 0.5:
                taken.append(retries.clock.now())
                retries.queue.succeeded(turn)
            else:
                taken.append(retries.clock.now())

        tasks = []
        for _ in range(50):
            drawn = rng.random()
            if drawn < 0.5:
                until = None if rng.random() < 0.6 else retries.clock.now() + rng.choice([0.0, 0.5, 3.0])
                tasks.append(asyncio.create_task(use(until)))
            elif drawn < 0.65 and tasks:
                rng.choice(tasks).cancel()
            elif drawn < 0.8:
                retries.queue.succeeded(None)
            else:
                await retries.clock.advance(rng.choice([0.0, 0.3, 1.0, 2.0]))
            if rng.random() < 0.3:
                await asyncio.sleep(0)
        await retries.clock.advance(200.0)
        assert all(task.done() for task in tasks), "somebody waits for ever"
        for task in tasks:
            assert task.cancelled() or task.exception() is None
        assert retries.clock.pending == []
        if ratio == 0:
            assert all(later - earlier >= 1.0 for earlier, later in pairwise(taken))

    asyncio.run(schedule())
