"""The gate: order, bounds, cancellation at every moment, pauses and deadlines, on a clock that is turned by hand."""

import asyncio
import random

import pytest
from support.clock import FakeClock, settle

from rerank_async.errors import DeadlineExceededError
from rerank_async.policy.limiting import WindowLimiter
from rerank_async.runtime.gate import Gate

INF = float("inf")


def gate_of(rate=INF, burst=None, most=128, start=1000.0):
    clock = FakeClock(start)
    return Gate(WindowLimiter(rate, burst), most, clock), clock


class Askers:
    """Tasks that ask a gate for permits, and what became of them, in order."""

    def __init__(self, gate, clock):
        self.gate, self.clock = gate, clock
        self.order = []
        self.permits = {}
        self.tasks = {}

    async def ask(self, name, ticket=None, deadline=None):
        ticket = self.gate.ticket() if ticket is None else ticket

        async def enter():
            permit = await self.gate.enter(ticket, deadline)
            self.order.append(name)
            self.permits[name] = permit

        self.tasks[name] = asyncio.create_task(enter())
        await settle()
        return ticket

    async def cancel_rest(self):
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


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
    assert (stopped.value.value.granted_at, stopped.value.value.waited) == (1000.0, 0.0)
    assert gate.granted == 1


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
    assert askers.permits["e"].granted_at == pytest.approx(1002.03)


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
    gate.leave()
    await settle()
    assert askers.order == ["a", "b", "c"]
    gate.leave()
    gate.leave()
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
    clock._now += 0.6  # one permit is due, that of c, but the timer has not run yet
    await askers.ask("late")
    assert askers.order == ["a", "b", "c"]
    await clock.advance(0.5)
    assert askers.order == ["a", "b", "c", "late"]


# Permits that come back


async def test_a_permit_that_was_not_used_is_granted_to_the_next_at_once(two_a_second):
    gate, _clock, askers = two_a_second
    for name in "abc":
        await askers.ask(name)
    gate.give_back(askers.permits["b"])
    await settle()
    assert askers.order == ["a", "b", "c"]
    assert gate.granted == 2, "one of the three was not used"
    assert gate.status().in_flight == 2


async def test_a_permit_that_was_used_is_gone(two_a_second):
    gate, _, askers = two_a_second
    for name in "abc":
        await askers.ask(name)
    gate.leave()
    await settle()
    assert askers.order == ["a", "b"]
    assert gate.granted == 2


async def test_leaving_too_often_does_not_make_room_for_more():
    gate, clock = gate_of(most=1)
    for _ in range(3):
        gate.leave()
    askers = Askers(gate, clock)
    for name in "ab":
        await askers.ask(name)
    assert askers.order == ["a"]
    await askers.cancel_rest()


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
    clock._now += 1.02
    gate.leave()  # grants c and d: their futures are done, their tasks have not run yet
    assert gate.granted == 4
    askers.tasks["c"].cancel()
    await settle()
    assert askers.tasks["c"].cancelled()
    assert askers.order == ["a", "b", "d"]
    assert gate.granted == 3, "the permit of the cancelled one was returned"
    await askers.ask("e")
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
    await askers.ask("a")
    assert not askers.tasks["a"].cancel(), "it has its permit"
    assert gate.granted == 1
    gate.give_back(askers.permits["a"])
    assert (gate.granted, gate.status().in_flight) == (0, 0)


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
            if rng.random() < 0.2:  # granted and unsent
                holding -= 1
                gate.give_back(permit)
                return
            starts.append(permit.granted_at)
            try:
                await clock.sleep(rng.choice([0.0, 0.1, 0.7]))
            finally:
                holding -= 1
                gate.leave()
            again = rng.random() < 0.15
            if again:
                gate.throttled(permit, rng.choice([None, 0.0, 0.4]))
            else:
                gate.answered(permit)

    tasks = []
    for _ in range(40):
        action = rng.random()
        if action < 0.6:
            tasks.append(asyncio.create_task(use(gate.ticket())))
        elif action < 0.8 and tasks:
            rng.choice(tasks).cancel()  # at once: before its first step, while waiting, or just granted
        else:
            await clock.advance(rng.choice([0.0, 0.05, 0.3, 1.0]))
        assert len(clock.pending) <= 1 + most, "one timer of the gate, and the sleeps of those who hold a permit"
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
    assert fresh.granted_at == clock.now()


# 429


async def test_a_429_holds_everyone_for_its_retry_after():
    gate, clock = gate_of()
    askers = Askers(gate, clock)
    await askers.ask("a")
    assert gate.throttled(askers.permits["a"], 2.0) == 2.0
    gate.leave()
    await askers.ask("a again", ticket=0)
    await askers.ask("b")
    assert gate.status().paused == 2.0
    assert gate.status().behind == 2.0
    await clock.advance(1.999)
    assert askers.order == ["a"]
    await clock.advance(0.001)
    assert askers.order == ["a", "a again", "b"]
    assert gate.status().paused == 0.0


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


async def test_a_429_without_retry_after_pauses_and_answers_end_the_streak():
    gate, clock = gate_of(8.0)
    permit = await gate.enter(gate.ticket())
    assert gate.throttled(permit, None) == pytest.approx(0.25)
    await clock.advance(1.0)
    second = await gate.enter(gate.ticket())
    assert gate.throttled(second, None) == pytest.approx(0.5)
    await clock.advance(1.0)
    gate.answered(await gate.enter(gate.ticket()))
    third = await gate.enter(gate.ticket())
    assert gate.throttled(third, None) == pytest.approx(0.25)


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

    async def leave_behind():
        tasks = [asyncio.create_task(gate.enter(gate.ticket())) for _ in range(5)]
        await settle()
        return tasks

    loop = asyncio.new_event_loop()
    tasks = loop.run_until_complete(leave_behind())
    assert (gate.status().queued, gate.status().in_flight) == (3, 2)
    gate.forget_loop()
    assert (gate.status().queued, gate.status().in_flight) == (0, 0)
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


async def test_status_of_a_gate_at_rest():
    status = gate_of(8.0)[0].status()
    assert (status.requests_per_second, status.source) == (8.0, "option")
    assert (status.queued, status.in_flight, status.paused, status.behind) == (0, 0, 0.0, 0.0)


async def test_tickets_only_rise():
    gate, _ = gate_of()
    tickets = [gate.ticket() for _ in range(10)]
    assert tickets == sorted(set(tickets))
