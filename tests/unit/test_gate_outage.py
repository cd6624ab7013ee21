"""The gate while connections are refused: one probe a second, who is waited for, and how it ends."""

import logging

import pytest
from support.clock import settle
from support.gates import Askers, gate_of

from rerank_async.errors import ConnectionFailedError

REFUSED = ConnectionFailedError("http://x: connection refused", url="http://x", refused=True)


@pytest.fixture
async def down():
    """A gate with ten requests that wait, of a service that has just refused the first."""
    gate, clock = gate_of(patience=30.0)
    askers = Askers(gate, clock)
    await askers.ask("first")
    gate.refused(askers.permits["first"], REFUSED)
    askers.leave("first")
    for number in range(10):
        await askers.ask(number, flow=number)
    yield gate, clock, askers
    await askers.cancel_rest()


def refuse(gate, askers, *names):
    for name in names:
        gate.refused(askers.permits[name], REFUSED)
        askers.leave(name)


async def test_one_probe_a_second_goes_out_and_everything_else_waits(down):
    gate, clock, askers = down
    assert gate.enter_now() is None
    assert askers.order == ["first"]
    await clock.advance(0.999)
    assert askers.order == ["first"]
    for second in range(5):
        await clock.advance(0.001 if not second else 1.0)
        assert askers.order == ["first", *range(second + 1)], "first come, first served"
        refuse(gate, askers, second)
        await settle()
    assert gate.queued == 5


async def test_a_probe_that_no_answer_comes_to_does_not_stop_the_next(down):
    _, clock, askers = down
    await clock.advance(3.5)
    assert askers.order == ["first", 0, 1, 2], "none of them has heard anything"


async def test_any_answer_ends_it_and_lets_all_go(down):
    gate, clock, askers = down
    await clock.advance(1.0)
    assert askers.order == ["first", 0]
    assert not gate.answers
    gate.answered(askers.permits[0], clock.now())
    assert gate.answers
    await settle()
    assert askers.order == ["first", *range(10)]
    assert clock.pending == []
    assert gate.enter_now() is not None


async def test_a_429_is_an_answer_too_and_its_pause_holds(down):
    gate, clock, askers = down
    await clock.advance(1.0)
    gate.throttled(askers.permits[0], 3.0)
    await clock.advance(2.99)
    assert askers.order == ["first", 0]
    await clock.advance(60.0)
    assert askers.order == ["first", *range(10)]


async def test_a_refusal_of_what_was_sent_before_the_answer_does_not_begin_it_anew(down):
    gate, clock, askers = down
    await clock.advance(2.0)
    assert askers.order == ["first", 0, 1]
    gate.answered(askers.permits[0], clock.now() + 0.1)
    gate.refused(askers.permits[1], REFUSED)
    await settle()
    assert askers.order == ["first", *range(10)]


async def test_those_without_a_deadline_fail_after_the_patience_and_those_with_one_stay():
    gate, clock = gate_of(patience=5.0)
    askers = Askers(gate, clock)
    await askers.ask("first")
    refuse(gate, askers, "first")
    for number in range(8):
        await askers.ask(number, flow=number)
    await askers.ask("patient", deadline=clock.now() + 3600.0, flow="patient")
    for second in range(1, 6):
        await clock.advance(1.0)
        refuse(gate, askers, second - 1)
        await settle()
        assert gate.queued == 9 - second, "after 5 s nobody fails, only after more"
    await clock.advance(1.0)
    refuse(gate, askers, 5)
    await settle()
    assert gate.queued == 1
    errors = [askers.error(number) for number in (6, 7)]
    assert all(type(error) is ConnectionFailedError and error.refused for error in errors)
    assert errors[0] is not errors[1], "each has its own, for its own traceback"
    assert "connections were refused for 6 s, longer than RetryOptions.max_elapsed = 5 s" in str(errors[0])
    assert errors[0].url == "http://x"
    assert askers.order == ["first", *range(6)]
    await clock.advance(1.0)
    assert askers.order[-1] == "patient"
    assert clock.pending == []


async def test_without_patience_nobody_fails():
    gate, clock = gate_of(patience=None)
    askers = Askers(gate, clock)
    await askers.ask("first")
    refuse(gate, askers, "first")
    for number in range(3):
        await askers.ask(number)
    for number in range(3):
        await clock.advance(10_000.0 if number == 0 else 1.0)
        for name in askers.order:
            gate.refused(askers.permits[name], REFUSED)
        await settle()
    assert [askers.error(number) for number in range(3)] == [None] * 3


async def test_one_that_is_cancelled_in_the_moment_of_losing_its_patience(down):
    gate, clock, askers = down
    await clock.advance(1.0)
    clock.stall(60.0)
    gate.refused(askers.permits[0], REFUSED)  # fails 1 to 9
    askers.tasks[5].cancel()
    await settle()
    assert askers.tasks[5].cancelled()
    assert type(askers.error(6)) is ConnectionFailedError
    assert gate.queued == 0
    assert clock.pending == []


async def test_a_probe_that_is_cancelled_at_its_grant_gives_way_to_the_next(down):
    gate, clock, askers = down
    clock.stall(1.0)
    clock.run_due()  # grants 0
    askers.tasks[0].cancel()
    await settle()
    await clock.advance(1.0)
    assert askers.order == ["first", 1]
    assert gate.granted == 2
    assert gate.queued == 8


async def test_a_refusal_of_an_unsent_permit_is_none():
    gate, clock = gate_of()
    permit = gate.enter_now()
    gate.refused(permit, REFUSED)
    gate.leave(permit)
    assert gate.enter_now() is not None
    assert clock.pending == []


async def test_it_is_said_once_in_the_log(down, caplog):
    gate, clock, askers = down
    with caplog.at_level(logging.WARNING, "rerank_async"):
        for second in range(3):
            await clock.advance(1.0)
            refuse(gate, askers, second)
        assert caplog.records == [], "when it began, before this test listened, it was said"
        await clock.advance(1.0)
        gate.answered(askers.permits[3], clock.now())
        await clock.advance(1.0)
        permit = gate.enter_now()
        gate.sent(permit)
        gate.refused(permit, REFUSED)
        gate.refused(permit, REFUSED)
    (record,) = caplog.records
    assert "connection refused; one request a second will try" in record.getMessage()


async def test_the_rate_holds_when_the_service_is_back():
    gate, clock = gate_of(4.0, patience=30.0)
    askers = Askers(gate, clock)
    await askers.ask("first")
    refuse(gate, askers, "first")
    for number in range(20):
        await askers.ask(number)
    await clock.advance(3.0)
    assert askers.order == ["first", 0, 1, 2]
    gate.answered(askers.permits[2], clock.now())
    await clock.advance(10.0)
    starts = sorted(permit.sent_at for permit in askers.permits.values())
    assert len(starts) == 21
    assert all(later - earlier > 1.0 for earlier, later in zip(starts, starts[4:], strict=False))
    await askers.cancel_rest()


async def test_closing_ends_those_who_wait_for_a_probe(down):
    gate, clock, askers = down
    gate.close()
    await settle()
    assert all(task.done() for task in askers.tasks.values())
    assert clock.pending == []
