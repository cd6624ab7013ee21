"""The window of starts: tables worked out by hand, and the one promise over random schedules, also while it changes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async.policy.window import GUARD, StartWindow


def begin(window, now):
    """A permit that is used at once."""
    window.grant()
    window.start(now)


def test_the_guard_is_what_the_decision_says():
    assert GUARD == 0.015
    assert StartWindow(8, 1.0).length == pytest.approx(1.015)


def test_two_a_second_by_hand():
    window = StartWindow(2, 1.0)
    assert window.opens_at() == -math.inf
    begin(window, 0.0)
    assert window.opens_at() == -math.inf
    begin(window, 0.5)
    assert window.opens_at() == pytest.approx(1.015), "a window after the first of the two"
    begin(window, 1.015)
    assert window.opens_at() == pytest.approx(1.515), "a window after the second"
    assert window.last() == 1.015


def test_permits_that_are_out_hold_a_place_until_they_start():
    window = StartWindow(2, 1.0)
    window.grant()
    begin(window, 0.5)
    assert window.opens_at() == pytest.approx(1.515), "one has started, one will"
    window.grant()
    assert window.opens_at() == math.inf
    window.start(100.0)
    window.give_back()
    assert window.opens_at() == pytest.approx(1.515), "100.0 and 0.5 are the last two"
    window.grant()
    window.grant()
    window.forget_granted()
    assert window.granted == 0
    assert window.opens_at() == pytest.approx(1.515)


@pytest.mark.parametrize(
    ("now", "free"), [(1.0, 0), (1.02, 1), (1.2, 1), (1.52, 2), (2.0, 3)], ids=["full", "a", "b", "c", "all"]
)
def test_free_places(now, free):
    window = StartWindow(3, 1.0)
    for at in (0.0, 0.5, 0.9):
        begin(window, at)
    assert window.free(now) == free
    window.grant()
    assert window.free(now) == max(0, free - 1)


def test_starts_since_a_moment():
    window = StartWindow(3, 1.0)
    for at in (0.0, 0.5, 0.5, 0.9):
        begin(window, at)
    assert [window.since(at) for at in (-1.0, 0.0, 0.4, 0.5, 0.9)] == [3, 3, 3, 1, 0], "of the last three"


def test_a_smaller_window_counts_what_started_in_the_larger_one():
    window = StartWindow(8, 1.0)
    for i in range(8):
        begin(window, i / 10)
    window.resize(4, 1.0)
    assert window.opens_at() == pytest.approx(0.4 + 1.015), "after the fourth last"
    window.resize(8, 1.0)
    assert window.opens_at() == pytest.approx(1.015)


def test_a_longer_window_knows_what_started_before_it_was_set():
    window = StartWindow(8, 1.0)
    for i in range(120):
        begin(window, i / 8)
    window.resize(120, 60.0)
    assert window.opens_at() == pytest.approx(60.0 * 1.015), "the 120 of this minute are spent"


def test_a_window_larger_than_what_was_remembered():
    window = StartWindow(1, 1.0)
    window.resize(5000, 1.0)
    for _ in range(5000):
        begin(window, 7.0)
    assert window.opens_at() == pytest.approx(8.015)


@pytest.mark.parametrize(
    ("ahead", "at"), [(0, 10.0), (1, 11.015), (2, 11.015), (3, 11.015), (4, 12.03)], ids=["0", "1", "2", "3", "4"]
)
def test_ready_at_by_hand(ahead, at):
    window = StartWindow(3, 1.0)
    begin(window, 0.0)
    begin(window, 10.0)
    begin(window, 10.0)
    assert window.ready_at(10.0, ahead, 10.0) == pytest.approx(at)


def test_a_pause_moves_what_is_ready_later():
    window = StartWindow(2, 1.0)
    assert [window.ready_at(0.0, ahead, 5.0) for ahead in range(4)] == pytest.approx([5.0, 5.0, 6.015, 6.015])


SIZES = st.integers(1, 12)
LENGTHS = st.sampled_from([0.25, 1.0, 3.0])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0, 5)),
        st.tuples(st.just("resize"), st.tuples(SIZES, LENGTHS)),
        st.tuples(st.sampled_from(["grant", "start", "give_back", "begin"]), st.none()),
    ),
    max_size=150,
)


@given(size=SIZES, seconds=LENGTHS, steps=STEPS, begins=st.floats(0, 1e6))
def test_at_every_start_no_more_than_n_in_the_window_that_holds(size, seconds, steps, begins):
    window, now, starts, out, late = StartWindow(size, seconds), begins, [], 0, False
    for what, value in steps:
        if what == "wait":
            now += value
            late = late or out > 0
        elif what == "resize":
            size, seconds = value
            window.resize(size, seconds)
            late = True  # permits that are out were granted under another size
        elif what in {"grant", "begin"} and window.opens_at() <= now:
            window.grant()
            out += 1
        if what in {"start", "begin"} and out:
            window.start(now)
            out -= 1
            starts.append(now)
            recent = sum(1 for at in starts if at > now - seconds)
            assert recent <= size or late, f"{recent} starts in {seconds} s"
        elif what == "give_back" and out:
            window.give_back()
            out -= 1
        if out == 0:
            late = sum(1 for at in starts if at > now - seconds) > size  # what went out before the change runs off
        assert window.granted == out


@given(size=SIZES, seconds=LENGTHS, steps=STEPS, ahead=st.integers(0, 40), pause=st.floats(0, 5))
def test_ready_at_is_when_stepping_gets_there(size, seconds, steps, ahead, pause):
    window, now, out = StartWindow(size, seconds), 0.0, 0
    for what, value in steps:
        if what == "wait":
            now += value
        elif what in {"begin", "grant"} and window.opens_at() <= now:
            window.grant()
            if what == "begin":
                window.start(now)
            else:
                out += 1
    begins = now + pause
    told, moment = window.ready_at(now, ahead, begins), begins
    for _ in range(out):
        window.start(now)
    for _ in range(ahead + 1):
        moment = max(moment, window.opens_at())
        begin(window, moment)
    assert told == pytest.approx(moment, abs=1e-6)
