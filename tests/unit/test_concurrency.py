"""The bound on requests in flight: slow start, halving, and the way back."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async.policy.concurrency import OUTWEIGHS, SLOW_START, ConcurrencyBound


def answer(bound, times, sent_at=10.0, now=11.0):
    for _ in range(times):
        bound.answered(sent_at, now)


# Slow start


@pytest.mark.parametrize(("most", "first"), [(128, 8), (8, 8), (7, 7), (1, 1)])
def test_slow_start_begins_with_a_second_s_worth_but_never_above_the_most(most, first):
    assert ConcurrencyBound(most, slow_start=True).bound == first
    assert ConcurrencyBound(most, slow_start=False).bound == most


def test_a_full_window_of_clean_answers_doubles_it_up_to_the_most():
    bound = ConcurrencyBound(100, slow_start=True)
    seen = []
    for _ in range(6):
        answer(bound, bound.bound)
        seen.append(bound.bound)
    assert seen == [16, 32, 64, 100, 100, 100]


def test_each_clean_answer_makes_room_for_one_more():
    bound = ConcurrencyBound(128, slow_start=True)
    answer(bound, 1)
    assert bound.bound == SLOW_START + 1


def test_a_limit_that_is_heard_ends_slow_start_at_the_most():
    bound = ConcurrencyBound(128, slow_start=True)
    bound.limit_heard()
    assert bound.bound == 128
    bound.crowded(1.0, 2.0)
    bound.limit_heard()
    assert bound.bound == 64, "it is heard again and again, and restores nothing"


def test_a_halving_ends_slow_start():
    bound = ConcurrencyBound(128, slow_start=True)
    bound.crowded(1.0, 2.0)
    assert bound.bound == 4
    answer(bound, 4)
    assert bound.bound == 5, "one place for a window of clean answers, not one for each"
    bound.limit_heard()
    assert bound.bound == 5


# Halving


def test_it_halves_down_to_one():
    bound = ConcurrencyBound(20, slow_start=False)
    seen = []
    for second in range(6):
        bound.crowded(second, second)
        seen.append(bound.bound)
    assert seen == [10, 5, 2, 1, 1, 1]


def test_what_was_in_flight_together_halves_once():
    bound = ConcurrencyBound(64, slow_start=False)
    for _ in range(64):
        bound.crowded(10.0, 10.5)
    assert bound.bound == 32
    bound.crowded(10.49, 12.0)
    assert bound.bound == 32, "sent before the halving"
    bound.crowded(10.5, 12.0)
    assert bound.bound == 16, "sent after it"


def test_it_is_restored_by_one_place_for_each_window_of_clean_answers():
    bound = ConcurrencyBound(8, slow_start=False)
    bound.crowded(1.0, 2.0)
    seen = []
    for _ in range(4 + 5 + 6 + 7):
        answer(bound, 1)
        seen.append(bound.bound)
    assert seen == [4] * 3 + [5] * 5 + [6] * 6 + [7] * 7 + [8]
    answer(bound, 100)
    assert bound.bound == 8


def test_answers_to_requests_from_before_the_halving_restore_nothing():
    bound = ConcurrencyBound(8, slow_start=False)
    bound.crowded(1.0, 2.0)
    answer(bound, 100, sent_at=1.9, now=3.0)
    assert bound.bound == 4


def test_a_halving_starts_the_count_of_clean_answers_anew():
    bound = ConcurrencyBound(8, slow_start=False)
    bound.crowded(1.0, 2.0)
    answer(bound, 3)
    bound.crowded(11.0, 12.0)
    answer(bound, 1, sent_at=12.0)
    assert bound.bound == 2
    answer(bound, 1, sent_at=12.0)
    assert bound.bound == 3


# 503s and timeouts, which also come by chance


def test_one_or_two_are_taken_for_chance_and_the_third_in_a_row_is_not():
    bound = ConcurrencyBound(128, slow_start=False)
    bound.strained(1.0, 2.0)
    bound.strained(1.0, 2.0)
    assert bound.bound == 128
    bound.strained(1.0, 2.0)
    assert bound.bound == 64
    bound.strained(1.5, 2.5)
    assert bound.bound == 64, "sent before the halving"
    bound.strained(2.0, 3.0)
    assert bound.bound == 32, "the strain goes on"


def test_clean_answers_outweigh_them():
    bound = ConcurrencyBound(128, slow_start=False)
    for _ in range(100):  # one in five
        bound.strained(1.0, 2.0)
        answer(bound, OUTWEIGHS)
    assert bound.bound == 128


@pytest.mark.parametrize("most", [16, 32, 128])
def test_five_per_cent_of_chance_leave_the_bound_nearly_whole(most):
    draw = random.Random(most).random
    bound, total = ConcurrencyBound(most, slow_start=False), 0
    for second in range(10_000):
        (bound.strained if draw() < 0.05 else bound.answered)(second, second + 1)
        total += bound.bound
    assert total / 10_000 > 0.8 * most


@pytest.mark.parametrize("call", ["crowded", "strained"])
def test_a_service_that_carries_ten_at_a_time_is_found(call):
    bound = ConcurrencyBound(128, slow_start=False)
    seen = []
    for second in range(200):  # each second a full window is sent, and what is above ten is refused
        window = bound.bound
        seen.append(window)
        for place in range(window):
            hear = bound.answered if place < 10 else getattr(bound, call)
            hear(second, second + 0.5)
    assert max(seen[10:]) <= 20, "no window that is twice what it carries"
    assert min(seen) >= 4, "and it does not starve"


# Anything


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["answered", "crowded", "strained", "limit_heard"]),
        st.floats(0, 3, allow_nan=False),
        st.floats(0, 1, allow_nan=False),
    ),
    max_size=300,
)


@given(st.integers(1, 200), st.booleans(), EVENTS)
def test_it_stays_within_its_bounds_and_comes_back_after_any_storm(most, slow_start, events):
    bound, now = ConcurrencyBound(most, slow_start=slow_start), 0.0
    for name, took, passed in events:
        now += passed
        before = bound.bound
        if name == "limit_heard":
            bound.limit_heard()
        else:
            getattr(bound, name)(now - took, now)
        assert 1 <= bound.bound <= most
        if name in ("crowded", "strained"):
            assert bound.bound in (before, max(1, before // 2))
        else:
            assert bound.bound >= before
    answer(bound, most * (most + 1) // 2 + most, sent_at=now, now=now + 1)
    assert bound.bound == most


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(1, 2))
def test_however_many_of_one_window_are_refused_it_halves_once(sent, heard_at):
    bound = ConcurrencyBound(64, slow_start=False)
    bound.crowded(-math.inf, heard_at)
    for sent_at in sent:
        if sent_at < heard_at:
            bound.crowded(sent_at, heard_at + sent_at)
    assert bound.bound == 32
