"""The three limiters, by hand and by their bounds."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_async.server.limiters import FixedWindow, SlidingWindow, TokenBucket, limiter_for
from rerank_async.server.options import LIMIT_KINDS, RateLimit

# How fast a machine draws examples is no claim of ours.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# (now, allowed, remaining, retry_after) for 2 requests per 1 s, in the order of the clock.
TABLES = {
    # Starts with 2 tokens; a token every 0.5 s. At 0.25 there are 0.5 tokens, so the next is 0.25 s away.
    TokenBucket: [
        (0.0, True, 1, 0.0),
        (0.0, True, 0, 0.0),
        (0.0, False, 0, 0.5),
        (0.25, False, 0, 0.25),
        (0.5, True, 0, 0.0),
        (0.5, False, 0, 0.5),
        (9.0, True, 1, 0.0),  # full again, never above 2
        (9.0, True, 0, 0.0),
        (9.0, False, 0, 0.5),
    ],
    # Windows are [0, 1), [1, 2): two pass just before the edge and two more on it.
    FixedWindow: [
        (0.75, True, 1, 0.0),
        (0.75, True, 0, 0.0),
        (0.75, False, 0, 0.25),
        (1.0, True, 1, 0.0),
        (1.0, True, 0, 0.0),
        (1.5, False, 0, 0.5),
    ],
    # The one of 0.0 stops counting at exactly 1.0, the one of 0.75 at 1.75.
    SlidingWindow: [
        (0.0, True, 1, 0.0),
        (0.75, True, 0, 0.0),
        (0.75, False, 0, 0.25),
        (1.0, True, 0, 0.0),
        (1.5, False, 0, 0.25),
        (1.75, True, 0, 0.0),
    ],
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_limiter_gives_the_verdicts_worked_out_by_hand(kind):
    limiter = kind(2, 1.0)
    for now, allowed, remaining, retry_after in TABLES[kind]:
        verdict = limiter.admit(now)
        assert (now, verdict.allowed, verdict.remaining, verdict.retry_after) == (now, allowed, remaining, retry_after)


def test_each_kind_of_limit_makes_its_own_limiter():
    made = [type(limiter_for(RateLimit(kind=kind))) for kind in LIMIT_KINDS]
    assert made == [TokenBucket, FixedWindow, SlidingWindow]


gaps = st.lists(st.integers(0, 64).map(lambda n: n / 64), min_size=1, max_size=80)


def admitted(limiter, gaps):
    now, passed = 0.0, []
    for gap in gaps:
        now += gap
        if limiter.admit(now).allowed:
            passed.append(now)
    return passed


def most_within(times, window):
    return max((sum(start <= t < start + window for t in times) for start in times), default=0)


@patient
@given(gaps=gaps, requests=st.integers(1, 5))
def test_a_sliding_window_never_admits_more_than_its_number_in_any_window(gaps, requests):
    assert most_within(admitted(SlidingWindow(requests, 1.0), gaps), 1.0) <= requests


@patient
@given(gaps=gaps, requests=st.integers(1, 5))
def test_the_other_kinds_never_admit_more_than_twice_their_number_in_any_window(gaps, requests):
    assert most_within(admitted(FixedWindow(requests, 1.0), gaps), 1.0) <= 2 * requests
    assert most_within(admitted(TokenBucket(requests, 1.0), gaps), 1.0) <= 2 * requests


@patient
@given(kind=st.sampled_from(LIMIT_KINDS), gaps=gaps, requests=st.integers(1, 5))
def test_a_request_that_comes_back_after_retry_after_passes_and_remaining_ones_pass_at_once(kind, gaps, requests):
    limiter = limiter_for(RateLimit(requests=requests, kind=kind))
    now = 0.0
    for gap in gaps:
        now += gap
        verdict = limiter.admit(now)
    if verdict.allowed:
        assert verdict.retry_after == 0
        assert [limiter.admit(now).allowed for _ in range(verdict.remaining + 1)] == [True] * verdict.remaining + [
            False
        ]
    else:
        # A millionth more, since the sum of floats may fall just short.
        assert limiter.admit(now + verdict.retry_after + 1e-6).allowed
