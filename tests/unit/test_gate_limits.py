"""What the gate hears of limits while others wait: of the rate, and of how many may be in flight."""

import pytest
from support.clock import settle
from support.gates import Askers, gate_of

from rerank_async.errors import DeadlineExceededError
from rerank_async.policy.concurrency import SLOW_START
from rerank_async.policy.heard import Heard, Limit


def header(requests):
    return Heard(Limit(requests, 1.0, "header"), None)


def words(requests):
    return Heard(Limit(requests, 1.0, "429"), None)


async def waiting(count, *arguments, **options):
    gate, clock = gate_of(*arguments, **options)
    askers = Askers(gate, clock)
    for number in range(count):
        askers.start(number)
    await settle()
    return gate, clock, askers


def starts_between(askers, since, until):
    return sum(since <= permit.sent_at < until for permit in askers.permits.values())


# The rate


async def test_a_higher_limit_that_is_heard_lets_those_go_who_wait():
    gate, clock, askers = await waiting(40, 2.0)
    assert len(askers.order) == 2
    await clock.advance(0.5)
    gate.answered(askers.permits[0], clock.now(), header(20))
    await settle()
    assert len(askers.order) == 20, "at once, not when the old timer would have come"
    status = gate.status()
    assert (status.requests_per_second, status.ceiling, status.source) == (20.0, 20.0, "header")
    await clock.advance(1.02)
    assert len(askers.order) == 40


async def test_a_lower_limit_that_is_heard_holds_those_who_wait():
    gate, clock, askers = await waiting(40, 20.0)
    assert len(askers.order) == 20
    gate.answered(askers.permits[0], clock.now(), header(2))
    await clock.advance(10.0)
    # The 20 that had started weigh on the windows that follow; then two in each.
    assert starts_between(askers, 1000.1, 1010.0) == 18
    assert starts_between(askers, 1003.0, 1004.0) == 2
    assert gate.status().source == "header"
    await askers.cancel_rest()


async def test_a_429_that_names_the_limit_holds_those_who_wait_to_it():
    gate, clock, askers = await waiting(60, 8.0)
    assert gate.throttled(askers.permits[7], 2.0, words(4)) == 2.0
    await clock.advance(1.999)
    assert len(askers.order) == 8
    await clock.advance(8.0)
    moments = sorted(permit.sent_at for permit in askers.permits.values())[8:]
    assert len(moments) == 32, "eight windows of four since the pause"
    assert all(later - earlier > 1.0 for earlier, later in zip(moments, moments[4:], strict=False))
    assert gate.status().source == "429"
    await askers.cancel_rest()


@pytest.mark.parametrize("heard", [None, Heard(None, 5)], ids=["nothing", "no limit"])
async def test_an_answer_without_a_limit_changes_nothing(heard):
    gate, clock, askers = await waiting(10, 2.0)
    before = gate.status()
    pending = clock.pending
    gate.answered(askers.permits[0], clock.now(), heard)
    after = gate.status()
    assert (after.requests_per_second, after.source, after.behind) == (
        before.requests_per_second,
        before.source,
        before.behind,
    )
    assert clock.pending == pending
    await askers.cancel_rest()


async def test_what_an_unsent_permit_hears_is_nothing():
    gate, clock = gate_of(2.0)
    permit = gate.enter_now()
    gate.answered(permit, clock.now(), header(20))
    gate.landed(permit, clock.now())
    gate.crowded(permit)
    gate.strained(permit)
    assert (gate.status().ceiling, gate.status().concurrency) == (2.0, 128)


async def test_a_remaining_of_none_holds_those_who_wait_no_longer_than_a_window():
    gate, clock, askers = await waiting(8, 8.0)
    more = [8, 9]
    gate.answered(askers.permits[0], clock.now(), Heard(Limit(8, 1.0, "header"), 0))
    for number in more:
        askers.start(number)
    await clock.advance(1.1)
    assert askers.order == list(range(10))


# In flight


async def test_a_full_pool_halves_what_may_be_in_flight_and_good_answers_restore_it():
    gate, clock, askers = await waiting(0, most=8)
    for number in range(100):
        askers.start(number)
    await settle()
    assert gate.status().in_flight == 8
    await clock.advance(0.1)
    for number in range(8):
        gate.crowded(askers.permits[number])  # all of the same moment: once
    assert gate.status().concurrency == 4
    for number in range(4):
        askers.leave(number)
        await settle()
        assert len(askers.order) == 8, "there are still as many as may be, or more"
    for number in range(4, 8):
        askers.leave(number)
    await settle()
    assert gate.status().in_flight == 4
    answered = 8
    while gate.status().concurrency < 8:
        await clock.advance(0.1)
        assert answered < 8 + 4 + 5 + 6 + 7 + 1, "each round trip restores one place"
        gate.landed(askers.permits[answered], clock.now())
        askers.leave(answered)
        answered += 1
        await settle()
        assert gate.status().in_flight == gate.status().concurrency
    await askers.cancel_rest()


async def test_one_503_among_good_answers_changes_nothing_and_a_row_of_them_halves():
    gate, clock, askers = await waiting(60, most=16)
    for number in range(10):
        gate.landed(askers.permits[number], clock.now())
    gate.strained(askers.permits[10])
    assert gate.status().concurrency == 16
    await clock.advance(0.1)
    for number in range(11, 16):  # all of one round trip: once
        gate.strained(askers.permits[number])
    assert gate.status().concurrency == 8
    await askers.cancel_rest()


@pytest.mark.parametrize("most", [1, 3, SLOW_START, 64])
async def test_without_a_rate_the_gate_starts_slowly_and_doubles_in_a_round_trip(most):
    gate, clock, askers = await waiting(200, None, most=most, slow_start=True)
    expected = min(SLOW_START, most)
    for _ in range(5):
        assert gate.status().in_flight == gate.status().concurrency == expected
        in_flight = [name for name in askers.order if askers.permits[name].era >= 0]
        await clock.advance(0.1)
        for name in in_flight[:expected]:
            gate.answered(askers.permits[name], clock.now())
            gate.landed(askers.permits[name], clock.now())
            askers.leave(name)
        await settle()
        expected = min(2 * expected, most)
    await askers.cancel_rest()


@pytest.mark.parametrize("told", [header(100), words(100)], ids=["header", "429"])
async def test_slow_start_ends_when_a_limit_is_heard_and_those_who_wait_go(told):
    gate, clock, askers = await waiting(200, None, most=64, slow_start=True)
    assert gate.status().in_flight == SLOW_START
    await clock.advance(0.1)
    if told.limit.source == "header":
        gate.answered(askers.permits[0], clock.now(), told)
    else:
        gate.throttled(askers.permits[0], 0.5, told)
        await clock.advance(0.5)
    await settle()
    assert gate.status().concurrency == 64
    assert gate.status().in_flight == 64
    await askers.cancel_rest()


async def test_a_429_that_says_nothing_ends_slow_start_with_a_pace():
    gate, clock, askers = await waiting(200, None, most=64, slow_start=True)
    gate.throttled(askers.permits[0], None)
    status = gate.status()
    assert (status.concurrency, status.source) == (64, "learned")
    assert 1.0 < status.requests_per_second <= 8.0
    await clock.advance(10.0)
    assert starts_between(askers, 1000.5, 1010.0) <= 8.0 * 9.5
    await askers.cancel_rest()


async def test_a_bound_that_was_halved_stays_so_when_a_limit_is_heard():
    gate, clock, askers = await waiting(100, None, most=64, slow_start=True)
    await clock.advance(0.1)
    gate.crowded(askers.permits[0])
    gate.answered(askers.permits[1], clock.now(), header(50))
    assert gate.status().concurrency == 4
    await askers.cancel_rest()


async def test_lanes_and_free_say_what_could_go_now():
    gate, clock = gate_of(4.0, most=3)
    assert (gate.free(), gate.lanes()) == (4, 3)
    permits = [gate.enter_now() for _ in range(2)]
    assert (gate.free(), gate.lanes()) == (2, 1)
    for permit in permits:
        gate.sent(permit)
    gate.leave(permits[0])
    assert (gate.free(), gate.lanes()) == (2, 2)
    gate.throttled(permits[1], 1.5)
    assert gate.free() == 0
    gate.leave(permits[1])
    await clock.advance(1.5)
    assert (gate.free(), gate.lanes()) == (4, 3)


async def test_a_pause_that_outlasts_a_deadline_ends_the_waiting_at_once():
    gate, clock = gate_of(most=1)
    askers = Askers(gate, clock)
    await askers.ask("in flight")
    await askers.ask("short", deadline=clock.now() + 20.0, flow="short")
    await askers.ask("long", deadline=clock.now() + 40.0, flow="long")
    await askers.ask("endless", flow="endless")
    gate.throttled(askers.permits["in flight"], 30.0)
    await settle()
    with pytest.raises(DeadlineExceededError, match=r"30\.0 s behind, the deadline is in 20\.0 s"):
        askers.tasks["short"].result()
    assert gate.queued == 2, "the others have the time"
    askers.leave("in flight")
    await clock.advance(30.0)
    assert askers.order == ["in flight", "long"]
    await askers.cancel_rest()
    assert gate.queued == 0
