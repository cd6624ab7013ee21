"""The rate: a table worked out by hand, and the one promise over random schedules: never more than N in a window."""

import heapq
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async.policy.limiting import GUARD, WindowLimiter


def begin(limiter, now):
    """A permit that is used at once."""
    limiter.grant()
    limiter.start(now)


def paused(limiter, now):
    return max(0.0, limiter.paused_until - now)


# Size and window


@pytest.mark.parametrize(
    ("rate", "burst", "size", "window"),
    [
        (8.0, None, 8, 1.015),
        (2.0, None, 2, 1.015),
        (2.5, None, 2, 0.812),  # two requests at 2.5 a second take 0.8 s, and the guard
        (0.5, None, 1, 2.03),
        (1, None, 1, 1.015),
        (8.0, 1, 1, 0.126875),
        (8.0, 16, 16, 2.03),
    ],
)
def test_size_and_window(rate, burst, size, window):
    limiter = WindowLimiter(rate, burst)
    assert limiter.size == size
    assert limiter.window == pytest.approx(window, rel=1e-12)


def test_the_guard_is_what_the_decision_says():
    assert GUARD == 0.015


# Pacing


def test_two_a_second_by_hand():
    limiter = WindowLimiter(2.0)
    # The window is 1.015 s, so the third start is due 1.015 s after the first, the fourth after the second.
    for now, wait in [(0.0, 0.0), (0.5, 0.0)]:
        assert limiter.wait(now) == wait
        begin(limiter, now)
    for now, wait in [(0.5, 0.515), (1.0, 0.015), (1.01, 0.005)]:
        assert limiter.wait(now) == pytest.approx(wait)
    assert limiter.wait(1.015) == 0.0
    begin(limiter, 1.015)
    assert limiter.wait(1.015) == pytest.approx(0.5)
    assert limiter.wait(1.515) == 0.0
    begin(limiter, 1.515)
    assert limiter.wait(1.6) == pytest.approx(2.03 - 1.6)


def test_after_idling_a_whole_burst_may_start_but_no_more():
    limiter = WindowLimiter(3.0)
    for now in (0.0, 100.0):
        for _ in range(3):
            assert limiter.wait(now) == 0.0
            begin(limiter, now)
        assert limiter.wait(now) == pytest.approx(1.015)


def test_an_infinite_rate_never_waits():
    limiter = WindowLimiter(math.inf)
    for _ in range(1000):
        assert limiter.wait(5.0) == 0.0
        begin(limiter, 5.0)
    assert limiter.ready_at(5.0, 10**6) == 5.0


def test_in_the_long_run_nothing_is_lost_but_the_guard():
    limiter, now, starts = WindowLimiter(8.0), 0.0, 0
    while now < 100.0:
        if wait := limiter.wait(now):
            now += wait
        else:
            begin(limiter, now)
            starts += 1
    # A burst at each of 0, 1.015, 2.03, ... below 100: 99 bursts of 8.
    assert starts == 99 * 8


RATES = st.floats(0.1, 200.0) | st.sampled_from([1.0, 2.0, 8.0, 0.3])
BURSTS = st.none() | st.integers(1, 12)
PACES = st.lists(st.one_of(st.just(0.0), st.floats(0.0, 0.5), st.floats(0.0, 30.0)), max_size=120)


@given(rate=RATES, burst=BURSTS, idle=PACES, begins=st.floats(0, 1e6))
def test_never_more_than_n_starts_in_any_window(rate, burst, idle, begins):
    limiter, now, starts = WindowLimiter(rate, burst), begins, []
    for pause in idle:
        now += pause
        while wait := limiter.wait(now):
            assert now + wait > now, "waiting takes time, or the caller would spin"
            now += wait
        begin(limiter, now)
        starts.append(now)
    window = limiter.size / rate  # what the service counts; ours is longer by the guard
    for first, beyond in zip(starts, starts[limiter.size :], strict=False):
        assert beyond - first > window, f"{limiter.size + 1} starts in {beyond - first} s"


@given(rate=RATES, burst=BURSTS, idle=PACES)
def test_a_start_is_never_held_longer_than_the_window_needs(rate, burst, idle):
    limiter, now, starts = WindowLimiter(rate, burst), 0.0, []
    for pause in idle:
        now += pause
        expected = starts[-limiter.size] + limiter.window if len(starts) >= limiter.size else now
        assert limiter.wait(now) == pytest.approx(max(0.0, expected - now), abs=1e-9)
        now = max(now, expected)
        begin(limiter, now)
        starts.append(now)


@given(
    rate=RATES | st.just(math.inf),
    burst=BURSTS,
    idle=PACES,
    ahead=st.integers(0, 60),
    pause=st.none() | st.floats(0, 20),
    out=st.integers(0, 14),
)
def test_ready_at_is_when_stepping_the_limiter_gets_there(rate, burst, idle, ahead, pause, out):
    limiter, now, granted = WindowLimiter(rate, burst), 0.0, 0
    for seconds in idle:
        now += seconds
        if not limiter.wait(now):
            begin(limiter, now)
    while granted < out and not limiter.wait(now):
        limiter.grant()
        granted += 1
    if pause is not None:
        limiter.throttled(now, now, pause)
    told, moment = limiter.ready_at(now, ahead), now
    for _ in range(granted):  # as far as can be known: those whose permits are out start now
        limiter.start(now)
    for _ in range(ahead + 1):
        while wait := limiter.wait(moment):
            moment += wait
        begin(limiter, moment)
    assert told == pytest.approx(moment, abs=1e-6)


def test_asking_changes_nothing():
    limiter = WindowLimiter(2.0)
    begin(limiter, 0.0)
    for _ in range(5):
        assert limiter.ready_at(0.0, 1) == pytest.approx(1.015)
        assert limiter.wait(0.0) == 0.0
    limiter.grant()
    for _ in range(5):
        assert limiter.ready_at(0.5, 0) == pytest.approx(1.015)
        assert limiter.ready_at(0.5, 1) == pytest.approx(1.515), "the one that is out may start now"
        assert limiter.wait(0.5) == pytest.approx(0.515)


# Permits that are granted and not yet used


def test_a_start_is_counted_when_it_happens_and_not_when_it_was_granted():
    limiter = WindowLimiter(2.0)
    limiter.grant()
    limiter.grant()
    limiter.start(0.9)
    limiter.start(0.95)
    assert limiter.wait(1.015) == pytest.approx(0.9), "a window after 0.9, not after the grant at 0"
    assert limiter.wait(1.914) == pytest.approx(0.001)
    begin(limiter, 1.915)
    assert limiter.wait(1.915) == pytest.approx(0.05)


def test_granted_permits_take_their_places_until_they_start():
    limiter = WindowLimiter(2.0)
    limiter.grant()
    assert limiter.wait(0.0) == 0.0
    begin(limiter, 0.5)
    assert limiter.wait(0.5) == pytest.approx(1.015), "one has started, one will: the first of them counts"
    assert limiter.wait(1.515) == 0.0, "whose window is over, however late the other is"
    limiter.grant()
    assert limiter.wait(100.0) == math.inf, "both places are held by permits that have not started"
    limiter.start(100.0)
    assert limiter.wait(100.0) == pytest.approx(1.015)


def test_without_a_rate_permits_that_are_out_hold_nobody():
    limiter = WindowLimiter(math.inf)
    for _ in range(1000):
        limiter.grant()
    assert limiter.wait(0.0) == 0.0
    limiter.throttled(0.0, 0.0, 2.0)
    assert limiter.wait(0.0) == pytest.approx(2.0), "the pause is all"


def test_a_pause_does_not_hide_that_all_places_are_held():
    limiter = WindowLimiter(2.0)
    limiter.grant()
    limiter.grant()
    limiter.throttled(0.0, 0.0, 0.5)
    assert limiter.wait(0.0) == limiter.wait(0.6) == math.inf
    limiter.give_back()
    assert limiter.wait(0.0) == pytest.approx(0.5)
    assert limiter.wait(0.6) == 0.0


def test_a_permit_that_was_not_used_is_forgotten():
    limiter = WindowLimiter(2.0)
    begin(limiter, 0.0)
    limiter.grant()
    assert limiter.wait(0.25) > 0
    limiter.give_back()
    assert limiter.wait(0.25) == 0.0
    begin(limiter, 0.5)
    assert limiter.wait(0.5) == pytest.approx(0.515), "the start at 0 still counts"


def test_only_one_of_two_granted_at_the_same_time_is_given_back():
    limiter = WindowLimiter(2.0)
    limiter.grant()
    limiter.grant()
    assert limiter.wait(0.0) == math.inf
    limiter.give_back()
    assert limiter.wait(0.0) == 0.0
    limiter.grant()
    assert limiter.wait(0.0) == math.inf
    limiter.start(0.0)
    limiter.start(0.0)
    assert limiter.wait(0.0) == pytest.approx(1.015)


@pytest.mark.parametrize("rate", [2.0, math.inf])
def test_forgetting_what_was_granted_frees_its_places_and_no_others(rate):
    limiter = WindowLimiter(rate)
    limiter.forget_granted()
    begin(limiter, 0.0)
    limiter.grant()
    limiter.forget_granted()
    limiter.forget_granted()
    assert limiter.wait(0.0) == 0.0
    begin(limiter, 0.0)
    assert limiter.wait(0.0) == (pytest.approx(1.015) if rate == 2.0 else 0.0), "the starts count on"


DELAYS = st.just(0.0) | st.floats(0.0, 0.01) | st.floats(0.0, 3.0)


@given(
    rate=RATES,
    burst=BURSTS,
    asks=st.lists(st.tuples(st.just(0.0) | st.floats(0.0, 2.0), DELAYS, st.booleans() | st.just(True)), max_size=80),
    begins=st.floats(0, 1e6),
)
def test_never_more_than_n_starts_in_any_window_however_late_each_comes(rate, burst, asks, begins):
    """Each permit starts a while after its grant, or is given back: the window counts the starts alone."""
    limiter, now, starts = WindowLimiter(rate, burst), begins, []
    out = []  # when each permit that is out starts or comes back, and which of the two

    def turn_to(moment):
        nonlocal now
        while out and out[0][0] <= moment:
            now, used = heapq.heappop(out)
            if used:
                limiter.start(now)
                starts.append(now)
            else:
                limiter.give_back()
        now = moment

    for idle, delay, used in asks:
        turn_to(now + idle)
        while wait := limiter.wait(now):
            recent = [at for at in starts if at + limiter.window > now]
            assert len(recent) + len(out) >= limiter.size, "nobody waits while there is room"
            assert (wait == math.inf) == (len(out) >= limiter.size), "no timer helps only if all places are out"
            if wait < math.inf:
                assert now + wait > now, "waiting takes time, or the caller would spin"
            turn_to(min(now + wait, out[0][0]) if out else now + wait)
        limiter.grant()
        heapq.heappush(out, (now + delay, used))
    turn_to(math.inf)
    window = limiter.size / rate  # what the service counts; ours is longer by the guard
    for first, beyond in zip(starts, starts[limiter.size :], strict=False):
        assert beyond - first > window, f"{limiter.size + 1} starts in {beyond - first} s"


# Pauses


@pytest.mark.parametrize("rate", [8.0, 0.5, math.inf])
@pytest.mark.parametrize("retry_after", [0.0, 0.001, 2.0, 59.5])
def test_retry_after_is_kept_to_the_letter(rate, retry_after):
    limiter = WindowLimiter(rate)
    assert limiter.throttled(10.0, 9.9, retry_after) == pytest.approx(retry_after)
    assert limiter.wait(10.0) == pytest.approx(retry_after)
    assert limiter.wait(10.0 + retry_after + 1e-9) == 0.0


def test_a_shorter_retry_after_does_not_shorten_a_longer_one():
    limiter = WindowLimiter(8.0)
    limiter.throttled(10.0, 9.9, 5.0)
    assert limiter.throttled(11.0, 10.5, 1.0) == pytest.approx(4.0)
    assert limiter.paused_until == pytest.approx(15.0)


@pytest.mark.parametrize(
    ("rate", "burst", "pauses"),
    [
        # 2, 4 and 8 permits at 8 a second, and then no more than the window of 8 permits.
        (8.0, None, [0.25, 0.5, 1.0, 1.0, 1.0]),
        (2.0, None, [1.0, 1.0, 1.0]),
        (8.0, 16, [0.25, 0.5, 1.0, 2.0, 2.0]),
        # A window of one permit: half the pace is two permits, which is as far as it goes.
        (8.0, 1, [0.25, 0.25, 0.25]),
        (0.5, None, [4.0, 4.0]),
        # Without a rate: that of the documented default.
        (math.inf, None, [0.25, 0.5, 1.0, 1.0]),
    ],
)
def test_without_retry_after_the_pause_grows_with_the_streak_up_to_a_window(rate, burst, pauses):
    limiter, now = WindowLimiter(rate, burst), 100.0
    for pause in pauses:
        assert limiter.throttled(now, now, None) == pytest.approx(pause)
        now += pause


@pytest.mark.parametrize("rate", [8.0, 0.5, math.inf])
def test_a_thousand_refusals_in_a_row_do_not_wedge_the_client(rate):
    limiter, now = WindowLimiter(rate), 0.0
    for _ in range(2000):
        pause = limiter.throttled(now, now, None)
        assert pause <= max(1.0, 2 / rate) + 1e-9
        now += pause
    assert limiter.wait(now + 1e-9) == 0.0


def test_an_answer_ends_the_streak():
    limiter = WindowLimiter(8.0)
    limiter.throttled(0.0, 0.0, None)
    limiter.throttled(1.0, 1.0, None)
    limiter.answered(2.0)
    assert limiter.throttled(3.0, 3.0, None) == pytest.approx(0.25)


def test_an_answer_to_a_request_from_before_the_refusal_does_not_end_the_streak():
    limiter = WindowLimiter(8.0)
    limiter.throttled(1.0, 0.5, None)
    limiter.answered(0.9)  # sent before the refusal at 1.0 was heard
    assert limiter.throttled(2.0, 2.0, None) == pytest.approx(0.5)


def test_the_429s_of_requests_that_were_already_on_the_way_are_no_new_evidence():
    limiter = WindowLimiter(8.0)
    limiter.throttled(1.0, 0.0, None)
    for late in (1.05, 1.1, 1.2):
        limiter.throttled(late, 0.5, None)  # sent before the first refusal was heard
    assert limiter.paused_until == pytest.approx(1.25), "they do not draw the pause out"
    assert limiter.throttled(2.0, 2.0, None) == pytest.approx(0.5), "nor do they count for the streak"


def test_a_late_429_of_an_old_request_after_the_pause_pauses_no_more():
    limiter = WindowLimiter(8.0)
    limiter.throttled(1.0, 0.0, None)
    assert limiter.throttled(5.0, 0.5, None) == 0.0
    assert limiter.wait(5.0) == 0.0


def test_a_retry_after_counts_even_on_the_answer_to_an_old_request():
    limiter = WindowLimiter(8.0)
    limiter.throttled(1.0, 0.0, None)
    assert limiter.throttled(1.1, 0.5, 3.0) == pytest.approx(3.0)


def test_after_the_pause_the_window_counts_as_before():
    limiter = WindowLimiter(2.0)
    begin(limiter, 0.0)
    begin(limiter, 0.0)
    limiter.throttled(0.1, 0.0, 0.5)
    assert limiter.wait(0.1) == pytest.approx(0.915), "the window is longer than the pause"
    limiter.throttled(0.1, 0.0, 2.0)
    assert limiter.wait(0.1) == pytest.approx(2.0), "the pause is longer than the window"
    assert paused(limiter, 0.1) == pytest.approx(2.0)
