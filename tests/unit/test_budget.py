"""The retry budget: what it carries without a wait, what it refuses, and how it comes back."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async.policy.budget import PROBE_INTERVAL, SAVED, RetryBudget
from rerank_async.values.options import RetryOptions

DEFAULT = RetryOptions().budget


def emptied(ratio=DEFAULT, now=100.0):
    budget = RetryBudget(ratio)
    while budget.tokens >= 1:
        assert budget.take(now) == "retry"
    return budget


def test_a_fresh_budget_holds_what_its_successes_would_pay():
    budget = RetryBudget(0.3)
    taken = [budget.take(0.0) for _ in range(45)]
    assert taken == ["retry"] * 45
    assert budget.take(0.0) is None


@pytest.mark.parametrize(("ratio", "retries"), [(0, 0), (0.001, 1), (0.01, 1), (0.1, 15), (0.5, 75), (1, SAVED)])
def test_what_it_holds_follows_the_ratio(ratio, retries):
    budget = RetryBudget(ratio)
    taken = []
    while (kind := budget.take(0.0)) == "retry":
        taken.append(kind)
    assert len(taken) == retries


def test_a_success_deposits_the_ratio():
    budget = emptied(0.1)
    for _ in range(9):
        budget.succeeded()
    assert budget.take(100.5) is None
    budget.succeeded()
    assert budget.take(100.5) == "retry", "ten tenths are one"
    assert budget.take(100.5) is None


def test_it_holds_no_more_than_at_first():
    budget = RetryBudget(0.1)
    for _ in range(1000):
        budget.succeeded("retry")
    assert budget.tokens == 15


def test_a_retry_that_succeeds_is_free():
    budget = emptied(0.3)
    budget.succeeded("retry")
    assert budget.tokens == pytest.approx(1.3)


def test_without_a_budget_there_are_only_probes():
    budget = RetryBudget(0)
    assert budget.take(0.0) == "probe"
    for _ in range(1000):
        budget.succeeded("probe")
    assert budget.take(0.5) is None
    assert budget.wait(0.5) == 0.5
    assert budget.take(1.0) == "probe"


# Empty


def test_an_empty_budget_lets_one_probe_a_second_pass():
    budget = emptied(now=100.0)
    taken = [(now / 10, kind) for now in range(1000, 1041) if (kind := budget.take(now / 10))]
    assert taken == [(101.0, "probe"), (102.0, "probe"), (103.0, "probe"), (104.0, "probe")]


def test_the_wait_is_until_the_next_probe():
    budget = RetryBudget(0.3)
    assert budget.wait(100.0) == 0
    budget = emptied(now=100.0)
    assert budget.wait(100.25) == 0.75
    assert budget.wait(101.0) == budget.wait(200.0) == 0
    assert budget.take(101.5) == "probe"
    assert budget.wait(101.5) == PROBE_INTERVAL


def test_a_success_ends_the_wait():
    budget = emptied(now=100.0)
    budget.succeeded("probe")
    assert budget.wait(100.1) == 0
    assert budget.take(100.1) == "retry"


def test_what_was_not_sent_is_given_back():
    budget = emptied(now=100.0)
    budget.give_back("retry")
    assert budget.take(100.5) == "retry"
    assert budget.take(102.0) == "probe"
    assert budget.take(102.5) is None
    budget.give_back("probe")
    assert budget.take(102.5) == "probe"
    full = RetryBudget(0.3)
    full.give_back("retry")
    assert full.tokens == 45


# What the default carries


def served(faults, calls, *, lanes, seed, ratio=DEFAULT):
    """Sends calls in waves of ``lanes``, each answer faulty by chance; returns (requests, times that one had to wait).

    All faults of a wave are heard before its first success, which is the hardest order.
    """
    draw = random.Random(seed).random
    budget, requests, waits, left = RetryBudget(ratio), 0, 0, calls
    again = []
    for now in range(50 * calls):
        wave, again = again[:lanes], again[lanes:]
        fresh = min(left, lanes - len(wave))
        left -= fresh
        wave += [None] * fresh
        if not wave and not again:
            return requests, waits
        requests += len(wave)
        good = [kind for kind in wave if draw() >= faults]
        for _ in range(len(wave) - len(good)):
            kind = budget.take(now / 1000)
            while kind is None:
                waits += 1
                kind = budget.take(now / 1000 + budget.wait(now / 1000))
            again.append(kind)
        for kind in good:
            budget.succeeded(kind)
    raise AssertionError("it never ends")


@pytest.mark.parametrize("lanes", [1, 8, 32, 128])
@pytest.mark.parametrize("seed", range(5))
def test_the_default_carries_twenty_per_cent_of_faults_without_a_wait(lanes, seed):
    requests, waits = served(0.2, 5000, lanes=lanes, seed=seed)
    assert waits == 0
    assert 1.2 * 5000 < requests < 1.3 * 5000, "1 / 0.8 of the calls"


def test_a_twentieth_of_it_does_not():
    assert served(0.2, 5000, lanes=32, seed=1, ratio=0.015)[1] > 0


def test_what_most_requests_meet_is_too_much():
    _, waits = served(0.6, 500, lanes=8, seed=1)
    assert waits > 0


# A service that is down


def outage(calls, lanes, down, ratio=DEFAULT, took=0.05):
    """``lanes`` callers at a service that is down at first; returns (requests while down, in all, seconds after it)."""
    budget, now, requests, while_down = RetryBudget(ratio), 0.0, 0, 0
    fresh, waiting, sending = calls, 0, []
    done = 0
    while done < calls:
        if fresh and len(sending) + waiting < lanes:
            room = min(fresh, lanes - len(sending) - waiting)
            fresh -= room
            sending += [None] * room
        while waiting and (kind := budget.take(now)):
            waiting -= 1
            sending.append(kind)
        requests += len(sending)
        if now < down:
            while_down += len(sending)
            waiting += len(sending)
        else:
            done += len(sending)
            for kind in sending:
                budget.succeeded(kind)
        sending = []
        now += took
    return while_down, requests, now - down


@pytest.mark.parametrize("lanes", [1, 8, 32])
def test_a_dead_service_sees_little_more_than_the_callers_and_one_probe_a_second(lanes):
    while_down, requests, _ = outage(240, lanes, 10.0)
    assert while_down <= lanes + DEFAULT * SAVED + 10 / PROBE_INTERVAL + 1
    assert requests <= 1.5 * 240


@pytest.mark.parametrize("lanes", [32, 500])
def test_when_it_is_back_all_that_wait_are_served_within_seconds(lanes):
    _, _, after = outage(500, lanes, 10.0)
    # A second for the probe; then each round trip of 50 ms pays for 1.3 times as many retries, at most 45 of them.
    assert after <= 1 + 0.05 * (13 + 500 / 45 + 500 / lanes + 2)


def test_what_fails_for_ever_gets_what_was_saved_and_then_a_probe_a_second():
    budget = RetryBudget(DEFAULT)
    sent = [budget.take(tick / 20) for tick in range(60 * 20)]
    assert sent.count("retry") == 45
    assert sent.count("probe") <= 60


# Anything


STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "fail", "succeed", "first", "give_back"]), st.floats(0, 2)), max_size=200
)


@given(st.floats(0, 1), STEPS)
def test_retries_that_fail_are_paid_for_and_probes_are_a_second_apart(ratio, steps):
    budget, now, out = RetryBudget(ratio), 0.0, []
    spent = probes = successes = earned = 0
    for step, passed in steps:
        now += passed
        if step == "take":
            wait = budget.wait(now)
            kind = budget.take(now)
            assert (kind is None) == (wait > 0)
            if kind:
                out.append(kind)
            probes += kind == "probe"
        elif step == "first":
            budget.succeeded()
            successes += 1
        elif out:
            kind = out.pop()
            if step == "fail":
                spent += kind == "retry"
            elif step == "succeed":
                budget.succeeded(kind)
                successes += 1
                earned += kind == "probe"
            else:
                budget.give_back(kind)
                probes -= kind == "probe"
        assert budget.tokens + 1e-6 >= 0
        assert spent + out.count("retry") <= max(1, ratio * SAVED) + ratio * successes + earned + 1e-6
        assert probes <= now / PROBE_INTERVAL + 1


@given(st.floats(0, 1), STEPS)
def test_whatever_happened_before_a_wait_ends(ratio, steps):
    budget, now = RetryBudget(ratio), 0.0
    for step, passed in steps:
        now += passed
        if step == "take":
            budget.take(now)
        elif step == "first":
            budget.succeeded()
    wait = budget.wait(now)
    assert 0 <= wait <= PROBE_INTERVAL + 1e-9
    later = now + wait
    assert budget.take(later + budget.wait(later)) is not None
