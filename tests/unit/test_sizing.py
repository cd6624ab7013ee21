"""How many inputs ride on a permit: the table of docs/batching.md, and the bounds over random calls."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async.policy.latency import LatencyModel
from rerank_async.policy.planning import Load, requests_needed, take
from rerank_async.policy.sizing import LEAST_INPUTS, adaptive_surplus, batch_size

PAGE = Path(__file__).parents[2] / "docs" / "batching.md"
UNPACED = 10**9


def call(count, *, free, lanes=128, waiting=0, latency=None, max_inputs=1000):
    """The sizes that a call sends when all its permits are asked for in one moment; beyond those free, others wait."""
    sizes, left = [], count
    while left:
        sent = len(sizes)
        size = batch_size(
            left,
            free=max(1, free - sent),
            lanes=max(1, lanes - sent),
            waiting=waiting,
            latency=latency or LatencyModel(),
            max_inputs=max_inputs,
            taken=count - left,
            sent=sent,
        )
        assert 1 <= size <= min(left, max_inputs)
        sizes.append(size)
        left -= size
    return sizes


# Rate, inputs, then requests and the largest size: idle, and busy.
TABLE = [
    ("2 a second", 2, 10, (1, 10), (1, 10)),
    ("2 a second", 2, 100, (1, 100), (1, 100)),
    ("2 a second", 2, 1000, (1, 1000), (1, 1000)),
    ("2 a second", 2, 20000, (20, 1000), (20, 1000)),
    ("8 a second", 8, 10, (1, 10), (1, 10)),
    ("8 a second", 8, 100, (2, 50), (1, 100)),
    ("8 a second", 8, 1000, (4, 250), (1, 1000)),
    ("8 a second", 8, 20000, (20, 1000), (20, 1000)),
    ("no pacing", UNPACED, 10, (1, 10), (1, 10)),
    ("no pacing", UNPACED, 100, (2, 50), (1, 100)),
    ("no pacing", UNPACED, 1000, (14, 72), (1, 1000)),
    ("no pacing", UNPACED, 20000, (63, 318), (20, 1000)),
]


@pytest.mark.parametrize(("rate", "free", "count", "idle", "busy"), TABLE)
def test_what_is_chosen_before_anything_is_measured(rate, free, count, idle, busy):
    sizes = call(count, free=free)
    assert (len(sizes), max(sizes)) == idle
    sizes = call(count, free=free, waiting=1)
    assert (len(sizes), max(sizes)) == busy


def test_the_page_shows_the_same_table():
    rows = re.findall(
        r"^\| ([\w ]+?) \| ([\d,]+) \| (\d+) of ([\d,]+) \| (\d+) of ([\d,]+) \|$", PAGE.read_text(), re.MULTILINE
    )
    shown = [(rate, *(int(number.replace(",", "")) for number in numbers)) for rate, *numbers in rows]
    assert shown == [(rate, count, *idle, *busy) for rate, _, count, idle, busy in TABLE]


@pytest.mark.parametrize("rate", [2, 8])
def test_a_long_list_at_a_rate_takes_no_more_requests_than_full_batches_and_what_was_free(rate):
    # Permits come back while the call runs: as many as were sent, in the worst case.
    count, left, sizes = 20000, 20000, []
    while left:
        for free in range(rate, 0, -1):
            if left:
                size = batch_size(
                    left,
                    free=free,
                    lanes=128,
                    waiting=0,
                    latency=LatencyModel(),
                    max_inputs=1000,
                    taken=count - left,
                    sent=len(sizes),
                )
                sizes.append(size)
                left -= size
    assert 20 <= len(sizes) <= 20 + rate


def test_the_sizes_of_one_call_are_even():
    assert call(1000, free=8) == [250, 250, 250, 250]
    sizes = call(20000, free=UNPACED)
    assert max(sizes) - min(sizes) <= 1


def test_half_of_the_free_lanes_stay_too():
    assert len(call(1000, free=UNPACED, lanes=6)) == 3
    assert len(call(1000, free=UNPACED, lanes=1)) == 1


def test_a_permit_that_was_waited_for_is_full():
    # What is free now is this one alone.
    assert batch_size(4500, free=1, lanes=128, waiting=0, latency=LatencyModel(), max_inputs=1000) == 1000


def test_nothing_left_is_nothing():
    assert batch_size(0, free=8, lanes=8, waiting=0, latency=LatencyModel(), max_inputs=1000) == 0


@pytest.mark.parametrize(
    ("base", "per_input", "count", "requests"),
    [
        # sqrt(per_input * count / 1 ms): of 2 s of work for 1,000 inputs, 45.
        (0.02, 0.002, 1000, 45),
        # Of 5 s, 71; but 62 have 16 inputs each, and 64 are half of the lanes.
        (0.02, 0.005, 1000, 62),
        # A request must have half its base of work, 500 ms: 2 s of work are 4 of those, where the root says 45.
        (1.0, 0.002, 1000, 4),
        # A service for which the number of inputs hardly counts is asked once.
        (0.1, 0.000001, 1000, 1),
    ],
)
def test_the_choice_follows_what_was_measured(base, per_input, count, requests):
    model = LatencyModel()
    for _ in range(32):
        for inputs in (10, 100, 1000):
            model.observe(inputs, base + per_input * inputs)
    assert len(call(count, free=UNPACED, latency=model)) == pytest.approx(requests, rel=0.1)


STATES = st.fixed_dictionaries(
    {
        "free": st.integers(1, 200) | st.just(UNPACED),
        "lanes": st.integers(1, 200),
        "waiting": st.sampled_from([0, 0, 0, 1, 50]),
    }
)
LATENCIES = st.lists(st.tuples(st.integers(1, 1000), st.floats(1e-4, 10)), max_size=20)


def taught(samples):
    model = LatencyModel()
    for inputs, seconds in samples:
        model.observe(inputs, seconds)
    return model


@given(count=st.integers(1, 30000), max_inputs=st.integers(1, 1000), state=STATES, samples=LATENCIES)
def test_half_of_what_is_free_stays_for_others_or_the_batches_are_full(count, max_inputs, state, samples):
    sizes = call(count, **state, latency=taught(samples), max_inputs=max_inputs)
    assert sum(sizes) == count
    needed = -(-count // max_inputs)
    if len(sizes) > needed:
        assert len(sizes) <= max(1, min(state["free"], state["lanes"]) // 2)
        assert state["waiting"] == 0
        assert min(sizes) >= LEAST_INPUTS or max_inputs < LEAST_INPUTS * 2
    assert len(sizes) >= needed


def a_load(sizes, *, max_inputs, room):
    return Load([""] * len(sizes), None, sizes, len(sizes), max_inputs, room)


def stop_of(load, start, *, latency, sent, **moment):
    """Where the batch that begins at ``start`` ends, as a call cuts it: by the moment, and by the bytes."""
    left = len(load.texts) - start
    size = batch_size(left, latency=latency, max_inputs=load.max_inputs, taken=start, sent=sent, **moment)
    return take(load, start, size)


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=300),
    max_inputs=st.integers(1, 100),
    measured=st.booleans(),
    states=st.lists(STATES, min_size=1, max_size=40),
    samples=LATENCIES,
)
def test_size_and_bytes_bound_together_and_everything_is_taken_once(sizes, max_inputs, measured, states, samples):
    load = a_load(sizes, max_inputs=max_inputs, room=60)
    if not measured:
        load = load._replace(sizes=None)
    latency = taught(samples)
    start = sent = 0
    while start < len(sizes):
        stop = stop_of(load, start, **states[sent % len(states)], latency=latency, sent=sent)
        assert start < stop <= min(len(sizes), start + max_inputs)
        assert not measured or sum(sizes[start:stop]) <= 60
        start, sent = stop, sent + 1
    assert sent >= requests_needed(load)


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=300),
    max_inputs=st.integers(1, 300),
    room=st.integers(60, 6000),
    measured=st.booleans(),
    state=STATES,
    samples=LATENCIES,
)
def test_no_more_requests_than_full_batches_and_the_stated_surplus(sizes, max_inputs, room, measured, state, samples):
    load = a_load(sizes, max_inputs=max_inputs, room=room)
    if not measured:
        load = load._replace(sizes=None)
    latency = taught(samples)
    surplus = adaptive_surplus(load, **state, latency=latency)
    start = sent = 0
    while start < len(sizes):
        now = {
            "free": max(1, state["free"] - sent),
            "lanes": max(1, state["lanes"] - sent),
            "waiting": state["waiting"],
        }
        start = stop_of(load, start, **now, latency=latency, sent=sent)
        sent += 1
    assert sent <= requests_needed(load) + surplus
    if not measured:
        assert sent == requests_needed(load) + surplus


def test_the_surplus_of_the_table():
    for _, free, count, (idle, _), (busy, _) in TABLE:
        load = Load([""] * count, None, None, count, 1000, 10**9)
        state = {"free": free, "lanes": 128, "latency": LatencyModel()}
        assert adaptive_surplus(load, waiting=0, **state) == idle - requests_needed(load)
        assert adaptive_surplus(load, waiting=1, **state) == busy - requests_needed(load) == 0
