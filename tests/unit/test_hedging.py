"""When a request is hedged: fixed, learned, within the budget, and what it does to the slowest of a thousand calls."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async.policy.hedging import LEAST_SAMPLES, HedgeBudget, HedgeModel
from rerank_async.policy.latency import LatencyModel
from rerank_async.values.options import HedgeOptions


def learned(ratios, inputs=10):
    """A model that heard answers that took so many times the first guess, which the latency model keeps to."""
    model = HedgeModel(HedgeOptions(), LatencyModel())
    for ratio in ratios:
        model.observe(inputs, ratio * LatencyModel().predict(inputs))
    return model


# The delay


def test_a_fixed_delay_holds_at_once_and_whatever_is_heard():
    model = HedgeModel(HedgeOptions(delay=0.25), LatencyModel())
    for _ in range(100):
        assert model.delay(10) == 0.25
        model.observe(10, 5.0)
        model.observe_loser(10, 5.0)


def test_a_learned_delay_is_known_from_16_answers_on():
    assert learned([1.0] * (LEAST_SAMPLES - 1)).delay(10) is None
    # Twice the predicted 22 ms.
    assert learned([1.0] * LEAST_SAMPLES).delay(10) == pytest.approx(0.044)
    assert LEAST_SAMPLES == 16


def test_the_delay_grows_with_the_size():
    model = learned([1.5] * 20)
    assert model.delay(10) == pytest.approx(3 * 0.022)
    assert model.delay(1000) == pytest.approx(3 * 0.22)


@pytest.mark.parametrize("slow", [0, 1, 3, 10, 20])
def test_up_to_a_fifth_of_slow_answers_does_not_move_it(slow):
    ratios = [1.0] * (100 - slow) + [50.0] * slow
    Random(7).shuffle(ratios)
    assert learned(ratios).delay(10) == pytest.approx(0.044)


def test_what_was_learned_is_forgotten_after_128_answers():
    assert learned([1.0] * 500 + [3.0] * 128).delay(10) == pytest.approx(6 * 0.022)


def test_a_loser_counts_as_slow_however_early_it_was_cancelled():
    model = learned([1.0] * 70 + [2.0] * 10)
    assert model.delay(10) == pytest.approx(2 * 0.022)
    for _ in range(20):
        model.observe_loser(10, 1.5 * 0.022)
    # Of 100, the 80th is the last of those at 2; counted as answers of 1.5 the losers would have put 1.5 there.
    assert model.delay(10) == pytest.approx(4 * 0.022)


def test_a_loser_that_was_cancelled_before_it_could_be_slow_says_nothing():
    model = learned([1.0] * 50 + [2.0] * 50)
    before = model.delay(10)
    for _ in range(100):
        model.observe_loser(10, 0.5 * 0.022)
    assert model.delay(10) == before


def test_losers_alone_never_make_a_delay():
    model = HedgeModel(HedgeOptions(), LatencyModel())
    for _ in range(100):
        model.observe_loser(10, 1.0)
    assert model.delay(10) is None


def test_where_nearly_everything_loses_nothing_is_hedged():
    model = learned([1.0] * 16)
    for _ in range(128):
        model.observe_loser(10, 1.0)
    assert model.delay(10) is None


@pytest.mark.parametrize(("inputs", "seconds"), [(0, 1.0), (10, 0.0), (10, -1.0), (10, math.inf), (10, math.nan)])
def test_what_cannot_be_an_answer_is_ignored(inputs, seconds):
    model = learned([1.0] * 16)
    for _ in range(50):
        model.observe(inputs, seconds)
        model.observe_loser(inputs, seconds)
    assert model.delay(10) == pytest.approx(0.044)


# The budget


def test_one_hedge_for_twenty_requests():
    budget = HedgeBudget(HedgeOptions(budget=0.05))
    allowed = 0
    for _ in range(100):
        budget.sent()
        if budget.may_hedge():
            budget.hedged()
            allowed += 1
    assert allowed == 5


def test_a_whole_budget_is_a_hedge_for_each_request():
    budget = HedgeBudget(HedgeOptions(budget=1))
    for _ in range(10):
        assert not budget.may_hedge()
        budget.sent()
        assert budget.may_hedge()
        budget.hedged()


def test_a_quiet_time_saves_up_ten():
    budget = HedgeBudget(HedgeOptions(budget=0.5))
    for _ in range(10_000):
        budget.sent()
    allowed = 0
    while budget.may_hedge():
        budget.hedged()
        allowed += 1
    assert allowed == 10


@given(st.floats(0.001, 1), st.lists(st.booleans(), max_size=300))
def test_the_hedges_are_never_more_than_the_share(share, moves):
    budget = HedgeBudget(HedgeOptions(budget=share))
    sent = hedged = 0
    for send in moves:
        if send:
            budget.sent()
            sent += 1
        elif budget.may_hedge():
            budget.hedged()
            hedged += 1
        assert hedged <= sent * share + 1e-9


# A thousand calls


def calls(draw, slow_share, *, inputs=10, count=1000, seed=1):
    """Times of calls made one after the other, as a client would make them, and the requests they took."""
    random = Random(seed)
    latency = LatencyModel()
    options = HedgeOptions()
    model, budget = HedgeModel(options, latency), HedgeBudget(options)

    def request():
        return draw(random) * (50 if random.random() < slow_share else 1)

    times, requests = [], 0
    for _ in range(count):
        first, delay = request(), model.delay(inputs)
        budget.sent()
        requests += 1
        seconds = first
        if delay is not None and first > delay and budget.may_hedge():
            budget.hedged()
            requests += 1
            second = request()
            seconds = min(first, delay + second)
            if delay + second < first:
                model.observe_loser(inputs, seconds)
                latency.observe(inputs, second)
                model.observe(inputs, second)
            else:
                model.observe_loser(inputs, first - delay)
        if seconds == first:
            latency.observe(inputs, first)
            model.observe(inputs, first)
        times.append(seconds)
    return times, requests


def p99(times):
    return sorted(times)[math.ceil(0.99 * len(times)) - 1]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "draw",
    [lambda _: 0.02, lambda random: random.uniform(0.018, 0.022), lambda random: 0.02 * random.lognormvariate(0, 0.25)],
    ids=["steady", "even", "lognormal"],
)
def test_two_slow_requests_in_a_hundred_do_not_reach_the_99th_percentile(draw, seed):
    times, requests = calls(draw, 0.02, seed=seed)
    assert p99(times[20:]) <= 0.1
    assert requests <= 1.05 * len(times)


def test_without_hedges_they_would():
    random = Random(1)
    assert p99([0.02 * (50 if random.random() < 0.02 else 1) for _ in range(1000)]) > 0.1


@pytest.mark.parametrize("seed", range(5))
def test_latencies_that_spread_widely_by_nature_stay_within_the_budget(seed):
    times, requests = calls(lambda random: 0.005 + random.expovariate(1 / 0.02), 0.0, seed=seed)
    assert requests <= 1.05 * len(times)
    assert max(times) > 0


@pytest.mark.parametrize("seed", range(5))
def test_a_service_that_becomes_slow_as_a_whole_is_not_sent_twice_the_load(seed):
    state = {"calls": 0}

    def draw(random):
        state["calls"] += 1
        return random.uniform(0.018, 0.022) * (30 if state["calls"] > 500 else 1)

    _, requests = calls(draw, 0.0, seed=seed)
    assert requests <= 1.05 * 1000
