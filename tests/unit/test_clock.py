"""The clock of the tests, which must itself be right; and the real one, which must have the same face."""

import asyncio

import pytest
from support.clock import FakeClock, settle

from rerank_async.runtime.clock import MonotonicClock


async def test_timers_run_in_the_order_of_their_times_and_at_their_times():
    clock, seen = FakeClock(0.0), []
    clock.call_at(2.0, lambda: seen.append(("b", clock.now())))
    clock.call_at(1.0, lambda: seen.append(("a", clock.now())))
    clock.call_at(2.0, lambda: seen.append(("c", clock.now())))
    clock.call_at(5.0, lambda: seen.append(("late", clock.now())))
    await clock.advance(3.0)
    assert seen == [("a", 1.0), ("b", 2.0), ("c", 2.0)]
    assert (clock.now(), clock.pending) == (3.0, [5.0])


async def test_a_timer_that_is_set_by_a_timer_runs_in_the_same_advance():
    clock, seen = FakeClock(0.0), []
    clock.call_at(1.0, lambda: clock.call_at(1.5, lambda: seen.append(clock.now())))
    await clock.advance(2.0)
    assert seen == [1.5]


async def test_a_past_time_is_due_in_the_next_round_and_not_at_once():
    clock, seen = FakeClock(10.0), []
    clock.call_at(9.0, lambda: seen.append(clock.now()))
    assert seen == []
    await settle()
    assert seen == [10.0]


async def test_a_cancelled_timer_and_a_cancelled_sleep_do_nothing():
    clock, seen = FakeClock(0.0), []
    clock.call_at(1.0, lambda: seen.append(1)).cancel()
    task = asyncio.create_task(clock.sleep(1.0))
    await settle()
    task.cancel()
    await clock.advance(2.0)
    assert seen == []
    assert task.cancelled()
    assert clock.pending == []


async def test_a_sleep_ends_at_its_time_and_not_before():
    clock = FakeClock(0.0)
    task = asyncio.create_task(clock.sleep(1.0))
    await clock.advance(0.999)
    assert not task.done()
    await clock.advance(0.001)
    assert task.done()


async def test_a_stall_lets_time_pass_and_nothing_run_and_what_was_due_runs_late():
    clock, seen = FakeClock(0.0), []
    clock.call_at(1.0, lambda: seen.append(clock.now()))
    clock.stall(2.5)
    await settle()
    assert (clock.now(), seen) == (2.5, [])
    await clock.advance(0.0)
    assert (clock.now(), seen) == (2.5, [2.5])


async def test_tasks_that_spin_are_found_out():
    async def spin():
        while True:  # noqa: ASYNC110 - the mistake itself
            await asyncio.sleep(0)

    task = asyncio.create_task(spin())
    with pytest.raises(AssertionError, match="never come to rest"):
        await settle()
    task.cancel()


async def test_the_real_clock_runs_a_past_timer_in_the_next_round_and_calls_off():
    clock, seen = MonotonicClock(), []
    clock.call_at(clock.now() - 1.0, lambda: seen.append("past"))
    clock.call_at(clock.now() - 1.0, lambda: seen.append("cancelled")).cancel()
    assert seen == []
    await asyncio.sleep(0)
    await clock.sleep(0)
    assert seen == ["past"]
