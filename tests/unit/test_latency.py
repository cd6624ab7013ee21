"""The latency model: what it begins with, what it learns, and what does not bend it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async.policy.latency import Latencies, LatencyModel


def taught(samples):
    model = LatencyModel()
    for inputs, seconds in samples:
        model.observe(inputs, seconds)
    return model


def test_it_begins_with_20_ms_and_a_fifth_of_a_millisecond_per_input():
    model = LatencyModel()
    assert (model.base, model.per_input) == (0.02, 0.0002)
    assert model.predict(0) == 0.02
    assert model.predict(1000) == pytest.approx(0.22)


def test_one_size_alone_keeps_the_proportion_of_the_first_guess():
    # 100 inputs at the first guess take 40 ms; 80 ms is twice that, so base and slope are doubled.
    model = taught([(100, 0.08)])
    assert model.base == pytest.approx(0.04)
    assert model.per_input == pytest.approx(0.0004)


@pytest.mark.parametrize(
    ("base", "per_input"),
    [(0.02, 0.0002), (0.2, 0.005), (0.001, 0.01), (0.5, 0.00001), (0.0005, 0.00005)],
)
def test_a_steady_service_is_learned_from_answers_of_three_sizes(base, per_input):
    model = taught([(n, base + per_input * n) for _ in range(32) for n in (10, 100, 1000)])
    for inputs in (1, 10, 50, 100, 500, 1000):
        assert model.predict(inputs) == pytest.approx(base + per_input * inputs, rel=0.15)


def test_slow_answers_do_not_bend_the_line():
    fast = taught([(n, 0.02 + 0.0002 * n) for _ in range(20) for n in (10, 100, 1000)])
    mixed = taught([(n, (0.02 + 0.0002 * n) * (50 if i % 3 == 0 else 1)) for i in range(20) for n in (10, 100, 1000)])
    for inputs in (1, 100, 1000):
        assert mixed.predict(inputs) == pytest.approx(fast.predict(inputs))


def test_a_queue_that_most_requests_meet_does_not_bend_it():
    # Four of five answers waited for as long as five times their own work.
    model = taught([(500, 0.12 * (1 + i % 5)) for i in range(30)] + [(10, 0.022 * (1 + i % 5)) for i in range(30)])
    assert model.predict(500) == pytest.approx(0.12, rel=0.01)
    assert model.predict(10) == pytest.approx(0.022, rel=0.01)


def test_three_answers_that_are_too_fast_to_be_true_do_not_decide_among_32():
    model = taught([(100, 0.001)] * 3 + [(100, 0.04)] * 29)
    assert model.predict(100) == pytest.approx(0.04)


def test_a_service_that_became_slower_is_believed_after_32_answers():
    model = taught([(100, 0.04)] * 1000 + [(100, 0.4)] * 32)
    assert model.predict(100) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("inputs", "seconds"),
    [(0, 1.0), (-1, 1.0), (10, 0.0), (10, -1.0), (10, math.inf), (10, math.nan)],
)
def test_what_cannot_be_an_answer_is_ignored(inputs, seconds):
    model = taught([(inputs, seconds)])
    assert model.predict(100) == LatencyModel().predict(100)


@given(
    st.lists(
        st.tuples(st.integers(1, 1000), st.floats(1e-6, 1e4)),
        min_size=1,
        max_size=100,
    )
)
def test_whatever_it_hears_it_predicts_a_finite_time_above_zero_that_never_falls_with_the_size(samples):
    model = taught(samples)
    times = [model.predict(inputs) for inputs in (1, 2, 10, 100, 1000)]
    assert all(0 < each < math.inf for each in times)
    assert times == sorted(times)
    assert model.base >= 0
    assert model.per_input >= 0


def test_the_first_answer_brings_the_prediction_to_it():
    assert taught([(10, 0.5)]).predict(10) == pytest.approx(0.5)


def test_each_model_has_a_line_of_its_own():
    latencies = Latencies()
    latencies.of("a").observe(10, 1.0)
    assert latencies.of("a").predict(10) == pytest.approx(1.0)
    assert latencies.of("b").predict(10) == pytest.approx(0.022)
    assert latencies.of("a") is latencies.of("a")
