"""The gate between flows: turns, who may still come, and permits that are lost at no moment, whoever is cancelled."""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import FakeClock, settle
from support.gates import Askers, gate_of

from rerank_async.errors import DeadlineExceededError, OverloadedError
from rerank_async.policy.limiting import LearningLimiter

# Turns


@pytest.mark.parametrize("bulk", [1, 40, 3000])
async def test_a_new_flow_beside_one_of_thousands_is_among_the_next_two(bulk):
    gate, clock = gate_of(8.0)
    askers = Askers(gate, clock)
    for number in range(bulk + 8):
        askers.start(number, flow="bulk")
    await settle()
    before = len(askers.order)
    assert before == 8
    await askers.ask("interactive", flow="mine")
    await clock.advance(1.02)
    assert "interactive" in askers.order[before : before + 2]
    await askers.cancel_rest()


async def test_a_new_flow_beside_several_busy_ones_waits_for_one_turn_of_each():
    gate, clock = gate_of(1.0)
    askers = Askers(gate, clock)
    for number in range(60):
        askers.start(number, flow=f"bulk {number % 3}")
    await settle()
    await askers.ask("interactive", flow="mine")
    await clock.advance(20.0)
    assert askers.order.index("interactive") <= 4
    await askers.cancel_rest()


async def test_five_hundred_flows_of_one_request_are_served_first_come_first_served():
    gate, clock = gate_of(100.0, most=1000)
    askers = Askers(gate, clock)
    for number in range(500):
        askers.start(number, flow=number)
    await clock.advance(6.0)
    assert askers.order == list(range(500))


async def test_flows_take_turns_and_none_of_them_starves():
    gate, clock = gate_of(10.0)
    askers = Askers(gate, clock)
    for flow, size in (("a", 200), ("b", 50), ("c", 50)):
        for number in range(size):
            askers.start((flow, number), flow=flow)
    await settle()
    before = len(askers.order)
    await clock.advance(12.0)
    turns = Counter(flow for flow, _ in askers.order[before : before + 60])
    assert turns == {"a": 20, "b": 20, "c": 20}
    for flow in "abc":
        numbers = [number for name, number in askers.order if name == flow]
        assert numbers == sorted(numbers), "first come, first served in each"
    await askers.cancel_rest()


async def test_what_must_go_again_is_the_next_of_its_flow_and_takes_no_turn_of_another():
    gate, clock = gate_of(1.0)
    askers = Askers(gate, clock)
    first = await askers.ask("a0", flow="a")
    for name in ("a1", "a2", "b1", "b2"):
        await askers.ask(name, flow=name[0])
    await askers.ask("a0 again", ticket=first, flow="a")
    await clock.advance(10.0)
    assert [name for name in askers.order if name[0] == "a"] == ["a0", "a0 again", "a1", "a2"]
    # Two of flow a before the first of b at the most: b waited when a0 came back.
    assert askers.order.index("b1") <= 3


async def test_a_deadline_is_judged_by_turns_and_not_by_the_length_of_the_queue():
    gate, clock = gate_of(1.0)
    askers = Askers(gate, clock)
    for number in range(100):
        askers.start(number, flow="bulk")
    await settle()
    gate.check(1, clock.now() + 4.0, "mine")
    with pytest.raises(DeadlineExceededError):
        gate.check(1, clock.now() + 4.0, "bulk")
    with pytest.raises(DeadlineExceededError):
        gate.check(10, clock.now() + 4.0, "mine")
    deadline = clock.now() + 4.0
    await askers.ask("interactive", deadline=deadline, flow="mine")
    await clock.advance_to(deadline)
    assert "interactive" in askers.order
    await askers.cancel_rest()


# Who may still come


@pytest.mark.parametrize("most", [0, 1, 3])
async def test_no_more_wait_than_may(most):
    gate, clock = gate_of(1.0, max_queued=most)
    askers = Askers(gate, clock)
    gate.admit()
    await askers.ask("sent")
    for number in range(most):
        gate.admit()
        await askers.ask(number, flow=number)
    with pytest.raises(OverloadedError, match=f"max_queued = {most} allows no more") as caught:
        gate.admit()
    assert caught.value.queued == gate.queued == most
    await clock.advance(1.02)
    if most:
        gate.admit()  # one of them has gone
    await clock.advance(10.0)
    assert gate.queued == 0
    gate.admit()
    await askers.cancel_rest()


async def test_with_none_that_may_wait_whoever_can_go_at_once_goes():
    gate, clock = gate_of(2.0, max_queued=0)
    for _ in range(3):
        for _ in range(2):
            gate.admit()
            gate.sent(gate.enter_now())
            await clock.advance(0.03)  # one after the other, not in one moment
        with pytest.raises(OverloadedError, match=r"0 requests wait .* the limiter is [01]\.\d s behind"):
            gate.admit()
        await clock.advance(1.02)


async def test_with_none_that_may_wait_a_full_house_and_a_pause_refuse():
    gate, clock = gate_of(max_queued=0, most=1)
    gate.admit()
    permit = gate.enter_now()
    gate.sent(permit)
    with pytest.raises(OverloadedError):
        gate.admit()
    gate.throttled(permit, 2.0)
    gate.leave(permit)
    with pytest.raises(OverloadedError):
        gate.admit()
    await clock.advance(2.0)
    gate.admit()


async def test_those_who_are_cancelled_make_room_for_others():
    gate, clock = gate_of(1.0, max_queued=1)
    askers = Askers(gate, clock)
    await askers.ask("sent")
    await askers.ask("waits")
    with pytest.raises(OverloadedError):
        gate.admit()
    askers.tasks["waits"].cancel()
    await settle()
    gate.admit()
    assert gate.queued == 0


# Cancellation, with flows


@pytest.mark.parametrize("rounds", range(8))
async def test_cancelled_so_many_rounds_of_the_loop_after_the_grant_its_permit_goes_to_the_next(rounds):
    gate, clock = gate_of(1.0)
    askers = Askers(gate, clock)
    for name in ("a0", "a1", "a2", "b1", "b2"):
        await askers.ask(name, flow=name[0], hold=name != "a0")
    clock.stall(1.02)
    clock.run_due()  # grants a1
    for _ in range(rounds):
        await asyncio.sleep(0)
    askers.tasks["a1"].cancel()
    await settle()
    if "a1" in askers.order:
        askers.leave("a1")
        await settle()
    assert askers.order[-1] == "b1", "the next in turn has it"
    assert (gate.granted, gate.status().in_flight) == (2, 2)
    await askers.cancel_rest()


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rate=st.sampled_from([2.0, 8.0, float("inf")]),
    most=st.sampled_from([1, 2, 5, 128]),
    flows=st.integers(1, 5),
    shared=st.booleans(),
)
def test_random_schedules_of_flows_lose_no_permit_and_wedge_nobody(seed, rate, most, flows, shared):  # noqa: C901
    rng = random.Random(seed)
    clock = FakeClock()
    limiter = LearningLimiter(rate)
    gates = [gate_of(most=most, clock=clock, limiter=limiter)[0] for _ in range(1 + shared)]
    starts, holding = [], Counter()
    waiting_since = {}

    async def use(gate, flow, ticket):
        again = True
        while again:
            waiting_since[gate, flow, ticket] = clock.now()
            try:
                permit = await gate.enter(ticket, flow=flow)
            finally:
                del waiting_since[gate, flow, ticket]
            holding[gate] += 1
            assert holding[gate] <= most
            try:
                if rng.random() < 0.2:  # late, and perhaps cancelled meanwhile
                    await clock.sleep(rng.choice([0.0, 0.02, 0.6]))
                if rng.random() < 0.1:  # granted and unsent
                    return
                starts.append(gate.sent(permit))
                await clock.sleep(rng.choice([0.0, 0.1, 0.7]))
                drawn = rng.random()
                again = drawn < 0.3
                if drawn < 0.1:
                    gate.throttled(permit, rng.choice([None, 0.0, 0.4]))
                elif drawn < 0.2:
                    gate.crowded(permit)
                else:
                    gate.answered(permit, clock.now())
                    gate.landed(permit, clock.now())
            finally:
                holding[gate] -= 1
                gate.leave(permit)

    async def schedule():  # noqa: C901
        tasks = []
        for _ in range(60):
            action = rng.random()
            gate = rng.choice(gates)
            if action < 0.6:
                tasks.append(asyncio.create_task(use(gate, rng.randrange(flows), gate.ticket())))
            elif action < 0.85 and tasks:
                rng.choice(tasks).cancel()  # at once: before its first step, while waiting, or just granted
                for _ in range(rng.randrange(3)):
                    await asyncio.sleep(0)
            elif action < 0.9:
                clock.stall(rng.choice([0.05, 0.3, 1.0]))
            else:
                await clock.advance(rng.choice([0.0, 0.05, 0.3, 1.0]))
        await clock.advance(5000.0)
        assert waiting_since == {}, "somebody waits for ever"
        assert all(task.done() for task in tasks)
        for task in tasks:
            assert task.cancelled() or task.exception() is None
        for gate in gates:
            assert (gate.queued, gate.status().in_flight) == (0, 0)
        assert sum(gate.granted for gate in gates) == len(starts), "every permit was used or came back"
        assert clock.pending == []
        if rate != float("inf"):
            for first, beyond in zip(starts, starts[int(rate) :], strict=False):
                assert beyond - first > 1.0, f"{int(rate) + 1} starts within a second"
        for gate in gates:  # and it works as on the first day
            await clock.advance(100.0)
            fresh = await asyncio.wait_for(gate.enter(gate.ticket(), flow="fresh"), 1)
            assert (fresh.waited, gate.sent(fresh)) == (0.0, clock.now())

    asyncio.run(schedule())


# One limiter for two gates


async def test_a_gate_whose_limiter_is_held_by_another_goes_on_when_that_one_has_sent():
    clock, limiter = FakeClock(), LearningLimiter(2.0)
    (one, _), (other, _) = (gate_of(clock=clock, limiter=limiter) for _ in range(2))
    held = [one.enter_now(), one.enter_now()]
    askers = Askers(other, clock)
    for name in "ab":
        await askers.ask(name)
    await clock.advance(10.0)
    assert askers.order == [], "both places are held, unsent"
    for permit in held:
        one.sent(permit)
    await clock.advance(1.0)
    assert askers.order == []
    await clock.advance(0.03)
    assert askers.order == ["a", "b"]
    assert clock.pending == []


async def test_a_429_that_one_gate_hears_holds_the_other():
    clock, limiter = FakeClock(), LearningLimiter(8.0)
    (one, _), (other, _) = (gate_of(clock=clock, limiter=limiter) for _ in range(2))
    permit = one.enter_now()
    one.sent(permit)
    one.throttled(permit, 3.0)
    askers = Askers(other, clock)
    await askers.ask("a")
    await clock.advance(2.99)
    assert askers.order == []
    await clock.advance(0.02)
    assert askers.order == ["a"]
