"""Round robin between requests, and each piece of work once."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_async.server.turns import Turns

# How fast a machine draws examples is no claim of ours.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def drained(turns):
    order = []
    while (key := turns.take()) is not None:
        order.append(key)
    return order


def test_lanes_take_turns_so_that_a_short_one_does_not_wait_for_a_long_one():
    turns = Turns()
    turns.add("long", ["a1", "a2", "a3", "a4"])
    turns.add("short", ["b1", "b2"])
    assert drained(turns) == ["a1", "b1", "a2", "b2", "a3", "a4"]


def test_a_key_that_two_lanes_want_is_handed_out_once_and_both_hear_of_it():
    turns = Turns()
    turns.add("one", ["x"])
    turns.add("two", ["x", "y"])
    assert drained(turns) == ["x", "y"]
    assert turns.done("x") == [("one", True), ("two", False)]
    assert turns.done("y") == [("two", True)]
    assert turns.lanes() == []


def test_a_lane_that_arrives_while_its_key_is_worked_on_hears_of_it():
    turns = Turns()
    turns.add("one", ["x"])
    assert turns.take() == "x"
    turns.add("two", ["x"])
    assert turns.take() is None
    assert turns.done("x") == [("one", True), ("two", True)]


def test_a_lane_that_leaves_takes_only_what_nobody_else_wants():
    turns = Turns()
    turns.add("one", ["x", "y", "z"])
    turns.add("two", ["y"])
    assert turns.take() == "x"
    assert turns.drop("one") == ["z"]
    assert drained(turns) == ["y"]
    assert turns.done("x") == []
    assert turns.done("y") == [("two", True)]


def test_leaving_twice_or_unknown_does_nothing():
    assert Turns().drop("nobody") == []


def test_a_lane_is_added_once_and_one_without_keys_is_none():
    turns = Turns()
    turns.add("none", [])
    assert turns.lanes() == []
    turns.add("one", ["x", "x"])
    with pytest.raises(ValueError, match="'one' is already there"):
        turns.add("one", ["y"])


wishes = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=6)


@patient
@given(wishes=wishes, data=st.data())
def test_in_any_order_of_events_each_lane_hears_of_each_of_its_keys_once(wishes, data):
    turns, heard, lacking, busy, todo, idle = Turns(), {}, {}, [], list(enumerate(wishes)), False
    while todo or busy or turns.lanes():
        # A lane may leave only as long as others arrive, so that this ends.
        open_steps = {"add": todo, "drop": todo and turns.lanes(), "done": busy, "take": not idle}
        step = data.draw(st.sampled_from([name for name, is_open in open_steps.items() if is_open]))
        if step == "take":
            key = turns.take()
            idle = key is None
            assert idle or (key not in busy and any(key in keys for keys in lacking.values()))
            busy += [] if idle else [key]
            continue
        idle = False
        if step == "add":
            lane, keys = todo.pop()
            turns.add(lane, keys)
            lacking[lane] = set(keys)
        elif step == "drop":
            lane = data.draw(st.sampled_from(turns.lanes()))
            others = set().union(*(lacking[other] for other in turns.lanes() if other != lane))
            assert set(turns.drop(lane)) == lacking.pop(lane) - others - set(busy)
        else:
            key = busy.pop(data.draw(st.integers(0, len(busy) - 1)))
            told = turns.done(key)
            assert {lane for lane, _ in told} == {lane for lane, keys in lacking.items() if key in keys}
            for lane, complete in told:
                lacking[lane].remove(key)
                heard.setdefault(lane, []).append(key)
                assert complete is (not lacking[lane])
    for lane in lacking:
        assert sorted(heard.get(lane, [])) == sorted(set(wishes[lane]))


@patient
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_between_two_turns_of_a_lane_every_other_has_at_most_one(sizes):
    turns = Turns()
    for lane, size in enumerate(sizes):
        turns.add(lane, [(lane, number) for number in range(size)])
    order = [lane for lane, _ in drained(turns)]
    for lane, size in enumerate(sizes):
        at = [place for place, taken in enumerate(order) if taken == lane]
        assert len(at) == size
        assert all(len(set(order[a:b])) == b - a for a, b in pairwise(at))
