"""The gate: order, bounds, cancellation at every moment, pauses and deadlines, on a clock that is turned by hand."""

import asyncio
import gc
import random
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import settle
from support.gates import Askers, gate_of

from rerank_async.errors import ClientClosedError, DeadlineExceededError
from rerank_async.policy.heard import Heard, Limit

INF = float("inf")


@pytest.fixture
async def two_a_second():
    gate, clock = gate_of(2.0)
    askers = Askers(gate, clock)
    yield gate, clock, askers
    await askers.cancel_rest()


# Happy


async def test_a_free_permit_is_granted_without_a_round_of_the_loop():
    gate, _ = gate_of(8.0)
    entering = gate.enter(gate.ticket())
    with pytest.raises(StopIteration) as stopped:  # a coroutine that ends in its first step has waited for nothing
        entering.send(None)
    permit = stopped.value.value
    assert (permit.waited, permit.sent_at) == (0.0, None)
    assert gate.granted == 1
    assert gate.sent(permit) == permit.sent_at == 1000.0
    assert gate.granted == 1


async def test_a_permit_at_once_or_none_and_none_leaves_nothing_behind():
    gate, clock = gate_of(2.0, most=2)
    first = gate.enter_now()
    assert (first.waited, first.sent_at) == (0.0, None)
    assert gate.sent(first) == 1000.0
    second = gate.enter_now()
    assert (gate.granted, gate.status().in_flight) == (2, 2)
    assert gate.enter_now() is None, "two are in flight"
    gate.leave(first)
    assert gate.enter_now() is None, "a place in the window is held, the other is spent"
    gate.leave(second)
    third = gate.enter_now()
    assert third is not None, "what was not sent came back"
    gate.sent(third)
    gate.throttled(third, 3.0)
    gate.leave(third)
    await clock.advance_to(1002.9)
    assert gate.enter_now() is None, "every request is held"
    await clock.advance_to(1003.0)
    fourth = gate.enter_now()
    gate.leave(fourth)
    assert (gate.granted, gate.status().in_flight, gate.status().queued, clock.pending) == (2, 0, 0, [])
    gate.close()
    assert gate.enter_now() is None
    assert (gate.granted, gate.status().in_flight) == (2, 0)


async def test_a_permit_at_once_does_not_overtake_those_who_wait(two_a_second):
    gate, clock, askers = two_a_second
    for name in "abc":
        await askers.ask(name)
    clock.stall(1.02)  # c is due, but the timer has not run yet
    assert gate.enter_now() is None
    await clock.advance(0.0)
    assert askers.order == ["a", "b", "c"]
    await clock.advance(0.1)  # one after the other, not in one moment
    assert gate.enter_now().waited == 0.0


async def test_first_come_first_served_at_the_pace(two_a_second):
    gate, clock, askers = two_a_second
    for name in "abcde":
        await askers.ask(name)
    assert askers.order == ["a", "b"]
    assert gate.status().queued == 3
    await clock.advance_to(1001.014)
    assert askers.order == ["a", "b"]
    await clock.advance_to(1001.016)
    assert askers.order == ["a", "b", "c", "d"]
    await clock.advance_to(1002.031)
    assert askers.order == ["a", "b", "c", "d", "e"]
    assert askers.permits["a"].waited == 0.0
    assert askers.permits["c"].waited == pytest.approx(1.015)
    assert askers.permits["e"].waited == pytest.approx(2.03)
    assert [askers.permits[name].sent_at for name in "abcde"] == pytest.approx(
        [1000, 1000, 1001.015, 1001.015, 1002.03]
    )


async def test_there_is_one_timer_however_many_wait(two_a_second):
    gate, clock, askers = two_a_second
    for name in range(50):
        await askers.ask(name)
        assert len(clock.pending) <= 1
    await clock.advance(10.0)
    assert len(clock.pending) == 1
    # Two at each of 1000, 1001.015, ... 1009.135.
    assert askers.order == list(range(20))
    assert gate.status().queued == 30


async def test_when_nobody_waits_there_is_no_timer(two_a_second):
    _, clock, askers = two_a_second
    for name in "abc":
        await askers.ask(name)
    await clock.advance(5.0)
    assert askers.order == ["a", "b", "c"]
    assert clock.pending == []


async def test_no_more_requests_are_in_flight_than_allowed():
    gate, clock = gate_of(most=2)
    askers = Askers(gate, clock)
    for name in "abcd":
        await askers.ask(name)
    assert askers.order == ["a", "b"]
    assert (gate.status().in_flight, gate.status().queued) == (2, 2)
    assert clock.pending == [], "an answer wakes the next, not a timer"
    askers.leave("a")
    await settle()
    assert askers.order == ["a", "b", "c"]
    askers.leave("b")
    askers.leave("c")
    await settle()
    assert askers.order == ["a", "b", "c", "d"]
    assert gate.status().in_flight == 1


async def test_a_batch_that_keeps_its_ticket_goes_before_those_who_came_later(two_a_second):
    _gate, clock, askers = two_a_second
    first = await askers.ask("first")
    for name in ("b", "c", "d"):
        await askers.ask(name)
    await askers.ask("first again", ticket=first)
    await clock.advance(1.02)
    assert askers.order == ["first", "b", "first again", "c"]


async def test_a_newcomer_does_not_overtake_those_who_wait(two_a_second):
    _, clock, askers = two_a_second
    await askers.ask("a")
    await clock.advance(0.5)
    for name in "bc":
        await askers.ask(name)
    clock.stall(0.6)  # one permit is due, that of c, but the timer has not run yet
    await askers.ask("late")
    assert askers.order == ["a", "b", "c"]
    await clock.advance(0.5)
    assert askers.order == ["a", "b", "c", "late"]


# Permits that come back


async def test_a_permit_that_was_not_used_is_granted_to_the_next_at_once(two_a_second):
    gate, _clock, askers = two_a_second
    for name in "abc":
        await askers.ask(name, hold=name == "b")
    assert askers.order == ["a", "b"]
    askers.leave("b")
    await settle()
    assert askers.order == ["a", "b", "c"]
    assert gate.granted == 2, "one of the three was not used"
    assert gate.status().in_flight == 2


async def test_a_permit_that_was_used_is_gone(two_a_second):
    gate, _, askers = two_a_second
    for name in "abc":
        await askers.ask(name)
    askers.leave("a")
    await settle()
    assert askers.order == ["a", "b"]
    assert gate.granted == 2
    assert gate.status().in_flight == 1


@pytest.mark.parametrize("hold", [False, True])
async def test_leaving_too_often_does_not_make_room_for_more(hold):
    gate, clock = gate_of(2.0, most=1)
    askers = Askers(gate, clock)
    await askers.ask("first", hold=hold)
    for _ in range(3):
        askers.leave("first")
    assert gate.status().in_flight == 0
    assert gate.granted == (0 if hold else 1)
    await clock.advance(5.0)
    for name in "ab":
        await askers.ask(name)
    assert askers.order == ["first", "a"]
    await askers.cancel_rest()


# The start is what counts


async def test_a_start_counts_when_it_happens_and_not_when_it_was_granted(two_a_second):
    gate, clock, askers = two_a_second
    for name in "abcd":
        await askers.ask(name, hold=name in "ab")
    await clock.advance_to(1000.9)
    assert gate.sent(askers.permits["a"]) == askers.permits["a"].sent_at == 1000.9
    await clock.advance_to(1000.95)
    assert gate.sent(askers.permits["b"]) == askers.permits["b"].sent_at == 1000.95
    assert [askers.permits[name].waited for name in "ab"] == [0.0, 0.0], "the delay is not the queue's"
    await clock.advance_to(1001.914)
    assert askers.order == ["a", "b"], "a window after the grants at 1000 nothing is due"
    await clock.advance_to(1001.916)
    assert askers.order == ["a", "b", "c"]
    await clock.advance_to(1001.966)
    assert askers.order == ["a", "b", "c", "d"]
    assert [askers.permits[name].sent_at for name in "cd"] == pytest.approx([1001.915, 1001.965])


async def test_a_loop_that_was_busy_does_not_turn_two_grants_into_a_burst(two_a_second):
    """The timer's grant comes in time, but the tasks get to send only after a stall."""
    gate, clock, askers = two_a_second
    for name in "abcd":
        await askers.ask(name)
    clock.stall(1.02)
    askers.leave("a")  # grants c and d: their tasks have not run yet
    clock.stall(0.9)
    await askers.ask("e")
    assert [askers.permits[name].sent_at for name in "cd"] == pytest.approx([1001.92, 1001.92])
    await clock.advance_to(1002.934)
    assert askers.order == ["a", "b", "c", "d"]
    await clock.advance_to(1002.936)
    assert askers.order == ["a", "b", "c", "d", "e"]
    assert gate.status().queued == 0


async def test_granted_and_unsent_permits_hold_the_others_without_a_timer_until_one_is_sent(two_a_second):
    gate, clock, askers = two_a_second
    for name in "abcd":
        await askers.ask(name, hold=name in "ab")
    assert clock.pending == [], "no moment is known at which one could start"
    await clock.advance(100.0)
    assert askers.order == ["a", "b"]
    gate.sent(askers.permits["a"])
    assert clock.pending == [pytest.approx(1101.015)], "the start of a wakes the queue: c is due a window later"
    await clock.advance(0.5)
    gate.sent(askers.permits["b"])
    assert clock.pending == [pytest.approx(1101.015)], "and there is still one timer"
    await clock.advance_to(1101.02)
    assert askers.order == ["a", "b", "c"]
    await clock.advance_to(1101.52)
    assert askers.order == ["a", "b", "c", "d"]
    assert clock.pending == []


async def test_granted_and_unsent_permits_hold_the_others_until_one_leaves(two_a_second):
    gate, clock, askers = two_a_second
    for name in "abcd":
        await askers.ask(name, hold=True)
    await clock.advance(100.0)
    askers.leave("b")
    await settle()
    assert askers.order == ["a", "b", "c"], "the next has it at once"
    assert (gate.granted, gate.status().in_flight, clock.pending) == (2, 2, [])
    askers.leave("a")
    askers.leave("c")
    await settle()
    assert askers.order == ["a", "b", "c", "d"]
    assert (gate.granted, gate.status().in_flight) == (1, 1)


async def test_one_that_is_sent_and_one_that_leaves_unsent_are_told_apart(two_a_second):
    gate, clock, askers = two_a_second
    for name in "abcd":
        await askers.ask(name, hold=name in "ab")
    gate.sent(askers.permits["a"])
    askers.leave("a")
    await settle()
    assert askers.order == ["a", "b"], "what was sent is spent, answered or not"
    askers.leave("b")
    await settle()
    assert askers.order == ["a", "b", "c"]
    await clock.advance(1.0)
    assert askers.order == ["a", "b", "c"]
    await clock.advance(0.02)
    assert askers.order == ["a", "b", "c", "d"]


async def test_a_newcomer_waits_for_permits_that_are_out_too(two_a_second):
    gate, clock, askers = two_a_second
    for name in "ab":
        await askers.ask(name, hold=True)
    await clock.advance(50.0)
    await askers.ask("late")
    assert askers.order == ["a", "b"]
    assert gate.ready_at(0) == pytest.approx(1051.015), "as the late one, a window later, if a and b start now"
    assert gate.ready_at(1) == pytest.approx(1052.03)
    with pytest.raises(DeadlineExceededError):
        await gate.enter(gate.ticket(), 1051.0)
    askers.leave("a")
    await settle()
    assert askers.order == ["a", "b", "late"]


async def test_without_a_rate_unsent_permits_hold_nobody():
    gate, clock = gate_of(most=10)
    askers = Askers(gate, clock)
    for name in range(10):
        await askers.ask(name, hold=True)
    assert askers.order == list(range(10))
    for name in range(10):
        askers.leave(name)
    assert (gate.granted, gate.status().in_flight) == (0, 0)


# Cancellation


async def test_cancelled_while_waiting(two_a_second):
    gate, clock, askers = two_a_second
    for name in "abcde":
        await askers.ask(name)
    askers.tasks["c"].cancel()
    await settle()
    assert askers.tasks["c"].cancelled()
    assert gate.status().queued == 2
    await clock.advance(1.02)
    assert askers.order == ["a", "b", "d", "e"], "its permit went to the next"


async def test_cancelled_in_the_moment_of_the_grant(two_a_second):
    gate, clock, askers = two_a_second
    for name in "abcd":
        await askers.ask(name)
    clock.stall(1.02)
    askers.leave("a")  # grants c and d: their futures are done, their tasks have not run yet
    assert gate.granted == 4
    askers.tasks["c"].cancel()
    await settle()
    assert askers.tasks["c"].cancelled()
    assert askers.order == ["a", "b", "d"]
    assert gate.granted == 3, "the permit of the cancelled one was returned"
    assert gate.status().in_flight == 2
    await askers.ask("e")
    await clock.advance(0.1)
    assert askers.order == ["a", "b", "d", "e"], "and can be had"


async def test_cancelled_before_its_task_ever_ran():
    gate, clock = gate_of(2.0)
    task = asyncio.create_task(gate.enter(gate.ticket()))
    task.cancel()
    await settle()
    assert task.cancelled()
    assert (gate.granted, gate.status().in_flight, gate.status().queued) == (0, 0, 0)
    assert clock.pending == []


async def test_cancelled_after_the_grant_the_permit_is_the_holder_s_to_return():
    gate, clock = gate_of(2.0)
    askers = Askers(gate, clock)
    await askers.ask("a", hold=True)
    assert not askers.tasks["a"].cancel(), "it has its permit"
    assert gate.granted == 1
    askers.leave("a")
    assert (gate.granted, gate.status().in_flight) == (0, 0)
    for name in "bcd":
        await askers.ask(name)
    assert askers.order == ["a", "b", "c"], "the whole rate can be had"
    await askers.cancel_rest()


async def test_when_the_last_who_waits_is_cancelled_the_timer_goes_too(two_a_second):
    _gate, clock, askers = two_a_second
    for name in "abc":
        await askers.ask(name)
    assert len(clock.pending) == 1
    askers.tasks["c"].cancel()
    await settle()
    assert clock.pending == []
    await askers.ask("d")
    await clock.advance(1.02)
    assert askers.order == ["a", "b", "d"]


@pytest.mark.parametrize("seed", range(60))
async def test_random_schedules_lose_no_permit_and_wedge_nobody(seed):  # noqa: C901 - one schedule, told in order
    rng = random.Random(seed)
    most = rng.choice([1, 2, 5])
    rate = rng.choice([2.0, 8.0, INF])
    gate, clock = gate_of(rate, most=most)
    holding, starts = 0, []

    async def use(ticket):
        nonlocal holding
        again = True
        while again:
            permit = await gate.enter(ticket)
            holding += 1
            assert holding <= most
            try:
                if rng.random() < 0.3:  # late, and perhaps cancelled meanwhile
                    await clock.sleep(rng.choice([0.0, 0.02, 0.6]))
                if rng.random() < 0.2:  # granted and unsent
                    return
                starts.append(gate.sent(permit))
                await clock.sleep(rng.choice([0.0, 0.1, 0.7]))
                again = rng.random() < 0.15
                if again:
                    gate.throttled(permit, rng.choice([None, 0.0, 0.4]))
                else:
                    gate.answered(permit, clock.now())
            finally:
                holding -= 1
                gate.leave(permit)
            if again and rng.random() < 0.5:
                await gate.rest(rng.choice([0.0, 0.3]))

    tasks = []
    for _ in range(40):
        action = rng.random()
        if action < 0.6:
            tasks.append(asyncio.create_task(use(gate.ticket())))
        elif action < 0.8 and tasks:
            rng.choice(tasks).cancel()  # at once: before its first step, while waiting, or just granted
        elif action < 0.85:
            clock.stall(rng.choice([0.05, 0.3, 1.0]))
        else:
            await clock.advance(rng.choice([0.0, 0.05, 0.3, 1.0]))
        sleeps = most + len(gate._resting)
        assert len(clock.pending) <= 1 + sleeps, "one timer of the gate, and the sleeps of those who hold a permit"
    await clock.advance(200.0)
    assert all(task.done() for task in tasks), "somebody waits for ever"
    for task in tasks:
        assert task.cancelled() or task.exception() is None
    status = gate.status()
    assert (status.queued, status.in_flight, holding) == (0, 0, 0)
    assert gate.granted == len(starts), "every permit was used or came back"
    assert clock.pending == []
    if rate != INF:
        size = int(rate)
        for first, beyond in zip(starts, starts[size:], strict=False):
            assert beyond - first > 1.0, f"{size + 1} starts within a second"
    # And it works as on the first day.
    fresh = await asyncio.wait_for(gate.enter(gate.ticket()), 1)
    assert (fresh.waited, gate.sent(fresh)) == (0.0, clock.now())


class Asker:
    """One permit of a random schedule: asked for at a time, used or not after a while, cancelled or not."""

    def __init__(self, after, delay, answer, use, cancel):
        self.after, self.delay, self.answer, self.use, self.cancel = after, delay, answer, use, cancel

    def __repr__(self):
        return f"Asker({self.after}, {self.delay}, {self.answer}, {self.use!r}, {self.cancel})"


ASKERS = st.lists(
    st.builds(
        Asker,
        after=st.just(0.0) | st.floats(0.0, 1.5),
        delay=st.none() | st.just(0.0) | st.floats(0.0, 0.05) | st.floats(0.0, 3.0),
        answer=st.just(0.0) | st.floats(0.0, 2.0),
        use=st.sampled_from(["answered", "answered", "answered", "unsent", 0.0, 0.7, None]),
        cancel=st.none() | st.none() | st.floats(0.0, 3.0),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(
    rate=st.sampled_from([0.5, 1.0, 2.0, 8.0]) | st.floats(0.2, 50.0),
    burst=st.none() | st.integers(1, 6),
    most=st.integers(1, 8),
    askers=ASKERS,
    stalls=st.lists(st.integers(0, 39), max_size=5),
)
def test_never_more_than_n_are_sent_in_any_window_however_late_each_is(rate, burst, most, askers, stalls):
    gate, clock = gate_of(rate, burst, most)
    starts, granted, returned = [], [], 0

    async def use(number, asker, ticket):
        nonlocal returned
        permit = await gate.enter(ticket)
        granted.append((clock.now(), number))
        assert gate.status().in_flight <= most
        sent = False
        try:
            if asker.delay is not None:
                await clock.sleep(asker.delay)
            if asker.use == "unsent":
                return
            starts.append(gate.sent(permit))
            sent = True
            await clock.sleep(asker.answer)
            if asker.use == "answered":
                gate.answered(permit, clock.now())
            else:
                gate.throttled(permit, asker.use)
        finally:
            returned += not sent
            gate.leave(permit)

    async def schedule():
        tasks = []
        for number, asker in enumerate(askers):
            await clock.advance(asker.after)
            if number in stalls:
                clock.stall(0.5)
            tasks.append(asyncio.create_task(use(number, asker, gate.ticket())))
            if asker.cancel is not None:
                clock.call_at(clock.now() + asker.cancel, tasks[-1].cancel)
        await clock.advance(100_000.0)  # 429s by the dozen slow it down to a hundredth
        assert all(task.done() for task in tasks), "somebody waits for ever"
        assert [task.exception() for task in tasks if not task.cancelled()] == [None] * sum(
            not task.cancelled() for task in tasks
        )

    asyncio.run(schedule())
    # Of those who are granted a permit in the same moment, one that asks just now may come to send first.
    served = [number for _, number in sorted(granted)]
    assert served == sorted(served), "first come, first served"
    status = gate.status()
    assert (status.queued, status.in_flight, gate.granted) == (0, 0, len(granted) - returned)
    assert gate.granted == len(starts), "every permit was used or came back"
    assert clock.pending == []
    size = burst or max(1, int(rate))
    for first, beyond in zip(starts, starts[size:], strict=False):
        assert beyond - first > size / rate, f"{size + 1} starts in {beyond - first} s"


# Rests


async def test_a_rest_lasts_as_long_as_it_should_and_leaves_nothing():
    gate, clock = gate_of()
    long, short = (asyncio.create_task(gate.rest(delay)) for delay in (2.0, 0.5))
    await clock.advance(0.499)
    assert not short.done()
    await clock.advance(0.001)
    assert short.done()
    assert clock.pending == [1002.0]
    await clock.advance(1.499)
    assert not long.done()
    await clock.advance(0.001)
    assert long.done()
    assert await asyncio.gather(long, short) == [None, None]
    assert (clock.pending, gate._resting) == ([], set())


async def test_a_rest_of_nothing_ends_in_the_next_round():
    gate, clock = gate_of()
    task = asyncio.create_task(gate.rest(0.0))
    await settle()
    assert task.done()
    assert await task is None
    assert (clock.pending, gate._resting) == ([], set())


async def test_a_rest_holds_no_permit_and_no_place_in_the_queue(two_a_second):
    gate, _, askers = two_a_second
    task = asyncio.create_task(gate.rest(5.0))
    await settle()
    assert (gate.granted, gate.status().in_flight, gate.status().queued, gate.status().behind) == (0, 0, 0, 0.0)
    await askers.ask("a")
    assert askers.order == ["a"]
    task.cancel()


async def test_a_cancelled_rest_leaves_nothing_behind():
    gate, clock = gate_of()
    tasks = [asyncio.create_task(gate.rest(delay)) for delay in (0.0, 1.0, 2.0, 2.0)]
    tasks[0].cancel()  # before its first step
    await settle()
    assert clock.pending == [1001.0, 1002.0, 1002.0]
    futures = [weakref.ref(future) for future in gate._resting]
    tasks[1].cancel()
    await settle()
    assert clock.pending == [1002.0, 1002.0], "its timer is called off, and no other"
    clock.stall(2.0)
    due = [timer for when, _, timer in sorted(clock._timers, key=lambda entry: entry[1]) if when == 1002.0]
    due[0].run()
    tasks[2].cancel()  # just after it was woken
    tasks[3].cancel()  # and just before
    due[1].run()
    await settle()
    assert [task.cancelled() for task in tasks] == [True, True, True, True]
    assert (clock.pending, gate._resting) == ([], set())
    del tasks, due
    await clock.advance(5.0)
    gc.collect()
    assert [future() for future in futures] == [None, None, None]
    gate.close()  # finds nobody


# Closing


def ends_in_its_first_step(coroutine):
    with pytest.raises(ClientClosedError, match="closed"):
        coroutine.send(None)


async def test_closing_ends_those_who_wait_and_those_who_rest():
    gate, clock = gate_of(2.0)
    askers = Askers(gate, clock)
    for name in "abcd":
        await askers.ask(name)
    rests = [asyncio.create_task(gate.rest(delay)) for delay in (1.0, 9.0)]
    await settle()
    assert len(clock.pending) == 3
    gate.close()
    assert gate.status().queued == 0
    await settle()
    errors = [task.exception() for task in (askers.tasks["c"], askers.tasks["d"], *rests)]
    assert [type(error) for error in errors] == [ClientClosedError] * 4
    assert len({id(error) for error in errors}) == 4, "each has its own, for its own traceback"
    assert (clock.pending, gate._resting) == ([], set())
    assert (gate.granted, gate.status().in_flight) == (2, 2), "requests in flight are the session's to end"
    gate.close()  # harmless when repeated
    askers.leave("a")
    askers.leave("b")
    await clock.advance(10.0)
    assert askers.order == ["a", "b"]
    assert (gate.granted, gate.status().in_flight, clock.pending) == (2, 0, [])


async def test_closing_ends_those_who_wait_for_permits_that_are_out_or_for_room():
    for gate, clock in (gate_of(2.0, most=1), gate_of(2.0)):
        askers = Askers(gate, clock)
        for name in "abcd":
            await askers.ask(name, hold=True)
        assert clock.pending == []
        gate.close()
        await settle()
        assert type(askers.tasks["d"].exception()) is ClientClosedError
        assert type(askers.tasks["c"].exception()) is ClientClosedError
        for name in tuple(askers.permits):
            askers.leave(name)
        await asyncio.gather(*askers.tasks.values(), return_exceptions=True)
        assert (gate.granted, gate.status().in_flight) == (0, 0), "those who held one could still return it"


async def test_a_closed_gate_refuses_at_once_and_spends_nothing():
    gate, clock = gate_of(8.0)
    gate.close()
    ends_in_its_first_step(gate.enter(gate.ticket()))
    ends_in_its_first_step(gate.enter(gate.ticket(), 0.0))
    ends_in_its_first_step(gate.rest(1.0))
    ends_in_its_first_step(gate.rest(0.0))
    assert (gate.granted, gate.status().in_flight, gate.status().queued) == (0, 0, 0)
    assert (clock.pending, gate._resting) == ([], set())


async def test_a_permit_that_was_granted_in_the_moment_of_closing_is_had_and_a_late_429_does_no_harm(two_a_second):
    gate, clock, askers = two_a_second
    for name in "abcde":
        await askers.ask(name)
    clock.stall(1.02)
    askers.leave("a")  # grants c and d
    gate.close()
    await settle()
    assert askers.order == ["a", "b", "c", "d"]
    assert type(askers.tasks["e"].exception()) is ClientClosedError
    gate.throttled(askers.permits["b"], 2.0)
    for name in "bcd":
        askers.leave(name)
    assert (gate.granted, gate.status().in_flight, clock.pending) == (4, 0, [])


@pytest.mark.parametrize("order", ["cancelled first", "closed first"])
async def test_cancelled_in_the_moment_of_closing(order, two_a_second):
    gate, clock, askers = two_a_second
    for name in "abc":
        await askers.ask(name)
    rest = asyncio.create_task(gate.rest(1.0))
    await settle()
    ends = [gate.close, askers.tasks["c"].cancel, rest.cancel]
    for end in ends if order == "closed first" else reversed(ends):
        end()
    await settle()
    assert askers.tasks["c"].cancelled()
    assert rest.cancelled()
    assert (gate.granted, gate.status().in_flight, gate.status().queued) == (2, 2, 0)
    assert (clock.pending, gate._resting) == ([], set())
    askers.tasks.pop("c")
    del rest, ends
    gc.collect()  # an error that nobody took would be complained of now


# 429


async def test_a_429_holds_everyone_for_its_retry_after():
    gate, clock = gate_of(8.0)
    askers = Askers(gate, clock)
    await askers.ask("a")
    assert gate.throttled(askers.permits["a"], 2.0) == 2.0
    askers.leave("a")
    await askers.ask("a again", ticket=0)
    await askers.ask("b")
    assert gate.status().paused == 2.0
    assert gate.status().behind == 2.0
    await clock.advance(1.999)
    assert askers.order == ["a"]
    await clock.advance(0.001)
    assert askers.order == ["a", "a again", "b"]
    assert gate.status().paused == 0.0


async def test_a_429_holds_the_one_who_waits_for_the_place_of_the_refused():
    gate, clock = gate_of(most=1)
    askers = Askers(gate, clock)
    for name in "ab":
        await askers.ask(name)
    assert gate.throttled(askers.permits["a"], 2.0) == 2.0
    askers.leave("a")
    await clock.advance(1.999)
    assert askers.order == ["a"]
    await clock.advance(0.001)
    assert askers.order == ["a", "b"]


async def test_a_429_while_all_places_are_held_unsent_sets_no_timer_and_still_holds(two_a_second):
    gate, clock, askers = two_a_second
    await askers.ask("refused")
    await clock.advance(2.0)
    for name in "abc":
        await askers.ask(name, hold=name in "ab")
    assert gate.throttled(askers.permits["refused"], 5.0) == 5.0
    assert clock.pending == []
    askers.leave("b")
    assert clock.pending == [1007.0], "there is a place, at the end of the pause"
    await clock.advance_to(1006.99)
    assert askers.order == ["refused", "a", "b"]
    await clock.advance_to(1007.0)
    assert askers.order == ["refused", "a", "b", "c"]


async def test_a_429_is_judged_by_its_start_and_not_by_its_grant():
    """The first says that the limit is 4 a second, which explains all that was sent before it came."""
    gate, clock = gate_of(8.0)
    four = Heard(Limit(4, 1.0, "429"), None)
    first, late, old = [await gate.enter(gate.ticket()) for _ in range(3)]
    gate.sent(first)
    gate.sent(old)
    await clock.advance(0.01)
    assert gate.throttled(first, None, four) == pytest.approx(1.015 / 4), "until the next is due at that pace"
    await clock.advance(0.1)
    assert gate.throttled(old, None, four) == pytest.approx(1.015 / 4 - 0.1), "it was on the way: no new evidence"
    await clock.advance(1.0)
    gate.sent(late)  # granted before the first refusal, but started after it
    assert gate.throttled(late, None, four) == pytest.approx(1.015 / 4)


async def test_a_429_that_comes_while_others_wait_moves_their_timer(two_a_second):
    gate, clock, askers = two_a_second
    for name in "abc":
        await askers.ask(name)
    assert clock.pending == [pytest.approx(1001.015)]
    gate.throttled(askers.permits["a"], 5.0)
    assert clock.pending == [pytest.approx(1005.0)], "one timer, for the end of the pause"
    await clock.advance(4.9)
    assert askers.order == ["a", "b"]
    await clock.advance(0.2)
    assert askers.order == ["a", "b", "c"]


async def test_429s_without_retry_after_pause_until_the_next_permit_is_due_and_then_lower_the_pace():
    gate, clock = gate_of(8.0)
    pauses, rates = [], []
    for _ in range(10):
        permit = await gate.enter(gate.ticket())
        gate.sent(permit)
        pauses.append(gate.throttled(permit, None))
        rates.append(gate.status().requests_per_second)
        gate.leave(permit)
        await clock.advance(2.0)
    assert pauses[0] == pytest.approx(1.015 / 8), "one may be chance"
    assert pauses == sorted(pauses)
    assert rates == sorted(rates, reverse=True)
    assert pauses[-1] > 2 * pauses[0]
    assert all(pause >= 1 / rate for pause, rate in zip(pauses, rates, strict=True))
    assert gate.status().ceiling == 8.0, "what is believed of the limit is another number"


# Deadlines


async def test_a_deadline_that_the_limiter_cannot_meet_fails_at_once_and_spends_nothing(two_a_second):
    gate, clock, askers = two_a_second
    for name in "abcd":
        await askers.ask(name)
    # Two wait before it, so it would start at 1002.03.
    entering = gate.enter(gate.ticket(), 1002.0)
    with pytest.raises(DeadlineExceededError, match=r"2\.0 s behind, the deadline is in 2\.0 s"):
        entering.send(None)
    assert (gate.status().queued, gate.granted) == (2, 2)
    await clock.advance(1.02)
    assert askers.order == ["a", "b", "c", "d"]


async def test_a_deadline_that_can_be_met_is_waited_for(two_a_second):
    _, clock, askers = two_a_second
    for name in "abc":
        await askers.ask(name)
    await askers.ask("d", deadline=1001.02)
    await clock.advance(1.02)
    assert askers.order == ["a", "b", "c", "d"]


async def test_a_ticket_at_the_head_is_judged_by_its_place(two_a_second):
    gate, clock, askers = two_a_second
    head = gate.ticket()
    for name in "abcdef":
        await askers.ask(name)
    with pytest.raises(DeadlineExceededError):
        await gate.enter(gate.ticket(), 1001.5)
    await askers.ask("head", ticket=head, deadline=1001.5)
    await clock.advance(1.02)
    assert askers.order[:3] == ["a", "b", "head"]


async def test_a_pause_counts_against_the_deadline():
    gate, _ = gate_of()
    permit = await gate.enter(gate.ticket())
    gate.sent(permit)
    gate.throttled(permit, 30.0)
    with pytest.raises(DeadlineExceededError, match=r"30\.0 s behind"):
        await gate.enter(gate.ticket(), 1010.0)


@pytest.mark.parametrize(
    ("requests", "deadline", "fine"),
    [
        (2, 1000.0, True),
        (3, 1001.0, False),
        (3, 1001.02, True),
        (4, 1001.02, True),
        (5, 1001.02, False),
        (5, 1002.04, True),
    ],
)
async def test_a_whole_call_is_judged_by_its_last_request(requests, deadline, fine):
    gate, _ = gate_of(2.0)
    if fine:
        gate.check(requests, deadline)
    else:
        with pytest.raises(DeadlineExceededError, match="Nothing was sent"):
            gate.check(requests, deadline)
    assert gate.granted == 0


async def test_ready_at_counts_the_queue(two_a_second):
    gate, _, askers = two_a_second
    assert gate.ready_at(0) == 1000.0
    for name in "abc":
        await askers.ask(name)
    assert gate.ready_at(0) == pytest.approx(1001.015), "c and this one"
    assert gate.ready_at(1) == pytest.approx(1002.03)
    assert gate.status().behind == pytest.approx(1.015)


# Loops


def test_forget_loop_drops_what_belonged_to_the_loop_that_is_gone():
    gate, clock = gate_of(2.0, most=3)

    async def use():
        gate.sent(await gate.enter(gate.ticket()))

    async def leave_behind():
        tasks = [asyncio.create_task(use()) for _ in range(5)]
        tasks.append(asyncio.create_task(gate.rest(7.0)))
        await settle()
        assert len(clock.pending) == 2
        return tasks

    loop = asyncio.new_event_loop()
    tasks = loop.run_until_complete(leave_behind())
    assert (gate.status().queued, gate.status().in_flight) == (3, 2)
    gate.forget_loop()
    assert (gate.status().queued, gate.status().in_flight) == (0, 0)
    assert clock.pending == [1007.0], "the timer of the queue is called off"
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
    assert (gate.status().queued, gate.status().in_flight) == (0, 0)

    async def next_loop():
        askers = Askers(gate, clock)
        for name in "ab":
            await askers.ask(name)
        assert askers.order == [], "the starts of the last second count whoever made them"
        await clock.advance(1.02)
        assert askers.order == ["a", "b"]
        assert len(clock.pending) == 0

    asyncio.run(next_loop())


async def test_closing_touches_nothing_of_a_loop_that_is_gone(two_a_second):
    """Its futures call back into a loop that may be closed."""
    gate, clock, askers = two_a_second
    for name in "abc":
        await askers.ask(name)
    rest = asyncio.create_task(gate.rest(7.0))
    await settle()
    gate.forget_loop()
    gate.close()
    await settle()
    assert not askers.tasks["c"].done()
    assert not rest.done()
    rest.cancel()
    await askers.cancel_rest()
    assert rest.cancelled()
    assert (gate.status().queued, gate.status().in_flight, clock.pending) == (0, 0, [])


@pytest.mark.parametrize("rate", [2.0, INF])
@pytest.mark.parametrize("hold", [False, True])
def test_permits_that_leave_after_their_loop_is_gone_make_no_room_in_the_next(rate, hold):
    gate, clock = gate_of(rate, most=2)
    permits = []

    async def leave_behind():
        for _ in range(2):
            permits.append(await gate.enter(gate.ticket()))
            if not hold:
                gate.sent(permits[-1])

    async def next_loop():
        askers = Askers(gate, clock)
        if not hold:
            await clock.advance(1.02)
        for name in "abcd":
            await askers.ask(name)
        await clock.advance(0.1)
        assert askers.order == ["a", "b"], "the whole rate can be had: what was not sent does not count"
        for permit in permits:  # a task of the last loop is cleaned up late
            gate.leave(permit)
        await clock.advance(5.0)
        assert askers.order == ["a", "b"], "two are in flight, as many as may"
        assert gate.status().in_flight == 2
        askers.leave("a")
        askers.leave("b")
        await clock.advance(0.1)
        assert askers.order == ["a", "b", "c", "d"]
        askers.leave("c")
        askers.leave("d")
        assert gate.status().in_flight == 0
        for name in "efg":
            await askers.ask(name, hold=True)
        await clock.advance(5.0)
        assert askers.order == ["a", "b", "c", "d", "e", "f"]
        await askers.cancel_rest()

    asyncio.run(leave_behind())
    gate.forget_loop()
    asyncio.run(next_loop())


async def test_status_of_a_gate_at_rest():
    status = gate_of(8.0)[0].status()
    assert (status.requests_per_second, status.source) == (8.0, "option")
    assert (status.queued, status.in_flight, status.paused, status.behind) == (0, 0, 0.0, 0.0)


async def test_tickets_only_rise():
    gate, _ = gate_of()
    tickets = [gate.ticket() for _ in range(10)]
    assert tickets == sorted(set(tickets))
