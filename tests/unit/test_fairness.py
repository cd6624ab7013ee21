"""Whose turn it is: first come, first served in a flow, flows in turn, against a plain model."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rerank_async.policy.fairness import FairQueue


def filled(*entries):
    """A queue of (flow, ticket) pairs, which are their own items."""
    queue = FairQueue()
    for flow, ticket in entries:
        queue.push(flow, ticket, (flow, ticket))
    return queue


def drained(queue):
    return [queue.pop() for _ in range(len(queue))]


def test_one_flow_is_first_come_first_served():
    entries = [("a", ticket) for ticket in range(100)]
    assert drained(filled(*entries)) == entries


def test_within_a_flow_the_ticket_decides_whatever_the_order_of_coming():
    queue = filled(*(("a", ticket) for ticket in (5, 9, 2, 7, 0, 8)))
    assert drained(queue) == [("a", ticket) for ticket in (0, 2, 5, 7, 8, 9)]


def test_flows_take_turns():
    queue = filled(("a", 0), ("a", 1), ("a", 2), ("b", 3), ("b", 4), ("c", 5))
    assert drained(queue) == [("a", 0), ("b", 3), ("c", 5), ("a", 1), ("b", 4), ("a", 2)]


def test_five_hundred_flows_of_one_item_are_first_come_first_served():
    entries = [(f"call {number}", number) for number in range(500)]
    assert drained(filled(*entries)) == entries


@pytest.mark.parametrize("served", [0, 1, 999])
def test_a_new_flow_beside_one_of_thousands_is_among_the_next_two(served):
    queue = filled(*(("bulk", ticket) for ticket in range(5000)))
    for _ in range(served):
        queue.pop()
    queue.push("interactive", 5000, "mine")
    assert queue.ahead("another", 5001) == 2
    assert "mine" in [queue.pop(), queue.pop()]


def test_a_batch_that_goes_again_is_the_first_of_its_flow():
    queue = filled(("a", 0), ("a", 1), ("a", 2))
    assert queue.pop() == ("a", 0)
    queue.push("a", 0, ("a", 0))
    assert drained(queue) == [("a", 0), ("a", 1), ("a", 2)]


def test_a_flow_of_one_item_that_goes_again_keeps_its_place_before_those_that_asked_later():
    queue = filled(*((f"call {number}", number) for number in range(5)))
    assert [queue.pop(), queue.pop()] == [("call 0", 0), ("call 1", 1)]
    queue.push("call 1", 1, ("call 1", 1))
    queue.push("call 0", 0, ("call 0", 0))
    assert queue.ahead("call 0.5", 0) == 0
    assert drained(queue) == [(f"call {number}", number) for number in range(5)]


def test_a_flow_with_a_first_turn_has_one_and_then_stands_behind():
    queue = filled(("a", 0), ("b", 9))
    assert queue.pop() == ("a", 0)
    queue.pop()
    queue.push("c", 10, ("c", 10))
    for ticket in (1, 2, 3):
        queue.push("a", ticket, ("a", ticket))
    assert drained(queue) == [("a", 1), ("c", 10), ("a", 2), ("a", 3)]


def test_what_is_removed_is_not_served():
    queue = filled(("a", 0), ("a", 1), ("b", 2), ("a", 3))
    assert queue.remove("a", 0)
    assert queue.remove("b", 2)
    assert not queue.remove("b", 2)
    assert not queue.remove("a", 2)
    assert not queue.remove("nobody", 0)
    assert (len(queue), queue.flows()) == (2, 1)
    assert drained(queue) == [("a", 1), ("a", 3)]


def test_a_ticket_that_was_removed_may_come_again():
    queue = filled(("a", 0), ("a", 1))
    queue.remove("a", 0)
    queue.push("a", 0, "anew")
    assert drained(queue) == ["anew", ("a", 1)]


def test_the_same_ticket_twice_is_a_mistake():
    queue = filled(("a", 0), ("a", 1))
    with pytest.raises(ValueError, match="ticket 1 of this flow waits already"):
        queue.push("a", 1, "x")
    assert drained(queue) == [("a", 0), ("a", 1)]


def test_an_empty_queue_has_nothing_to_give():
    queue = filled(("a", 0))
    queue.pop()
    with pytest.raises(IndexError, match="empty"):
        queue.pop()
    assert (len(queue), queue.flows(), queue.others("a"), queue.clear()) == (0, 0, False, [])
    assert queue.ahead("a", 1) == 0


def test_clear_takes_everything_by_ticket():
    queue = filled(("b", 1), ("a", 0), ("a", 2))
    assert queue.clear() == [("a", 0), ("b", 1), ("a", 2)]
    assert len(queue) == 0
    queue.push("a", 3, "x")
    assert drained(queue) == ["x"]


def test_others_are_those_of_another_flow():
    queue = filled(("a", 0))
    assert not queue.others("a")
    assert queue.others("b")
    queue.push("b", 1, "x")
    assert queue.others("a")


# How many are ahead


@pytest.mark.parametrize(
    ("flow", "ticket", "own", "ahead"),
    [
        ("new", 10, 0, 3),  # a0 b3 c5
        ("new", 10, 1, 6),  # a0 b3 c5 new a1 b4
        ("new", 10, 2, 8),  # ... new a2
        ("c", 10, 0, 5),  # a0 b3 c5 a1 b4
        ("a", 10, 0, 6),
        ("b", 10, 0, 6),  # a0 b3 c5 a1 b4 a2
        ("a", -1, 0, 0),
        ("a", math.inf, 0, 6),
        ("new", math.inf, 2, 8),
    ],
)
def test_ahead_counts_the_turns_of_the_others(flow, ticket, own, ahead):
    queue = filled(("a", 0), ("a", 1), ("a", 2), ("b", 3), ("b", 4), ("c", 5))
    assert queue.ahead(flow, ticket, own) == ahead


# Cost, counted in comparisons


class Counted(int):
    """A ticket that counts how often tickets are compared."""

    compared = 0

    def __lt__(self, other):
        Counted.compared += 1
        return int(self) < int(other)

    def __gt__(self, other):
        Counted.compared += 1
        return int(self) > int(other)

    __hash__ = int.__hash__


@pytest.mark.parametrize("flows", [1, 50, 20_000])
@pytest.mark.parametrize("backwards", [False, True])
def test_neither_service_nor_cancelling_looks_through_the_queue(flows, backwards):
    Counted.compared, count = 0, 20_000
    entries = [(number % flows, Counted(number)) for number in range(count)]
    queue = filled(*entries)
    gone = [entry for number, entry in enumerate(entries) if number % 4]
    for flow, ticket in reversed(gone) if backwards else gone:
        queue.remove(flow, ticket)
    assert len(drained(queue)) == count // 4
    # Looking through them would be 20,000 times 10,000. Tidying sorts what is in order already.
    assert Counted.compared < 10 * count


# Against a model


class Model:
    """The rules in the plainest words."""

    def __init__(self):
        self.first, self.turns, self.served = [], [], -1  # flows in the order of their turns
        self.waiting = {}

    def push(self, flow, ticket):
        if not self.waiting.get(flow):
            (self.first if ticket <= self.served else self.turns).append(flow)
        self.waiting.setdefault(flow, []).append(ticket)

    def pop(self):
        if self.first:
            flow = min(self.first, key=lambda each: min(self.waiting[each]))
            self.first.remove(flow)
        else:
            flow = self.turns.pop(0)
        ticket = min(self.waiting[flow])
        self.waiting[flow].remove(ticket)
        self.served = max(self.served, ticket)
        if self.waiting[flow]:
            self.turns.append(flow)
        return flow, ticket

    def remove(self, flow, ticket):
        self.waiting[flow].remove(ticket)
        if not self.waiting[flow]:
            (self.first if flow in self.first else self.turns).remove(flow)

    def copy(self):
        other = Model()
        other.first, other.turns, other.served = [*self.first], [*self.turns], self.served
        other.waiting = {flow: [*tickets] for flow, tickets in self.waiting.items()}
        return other

    def all(self):
        return [(flow, ticket) for flow, tickets in self.waiting.items() for ticket in tickets]


class Storm(RuleBasedStateMachine):
    """Any order of joining, serving, cancelling and going again."""

    def __init__(self):
        super().__init__()
        self.queue, self.model = FairQueue(), Model()
        self.next_ticket, self.out = 0, []

    def put(self, flow, ticket):
        self.queue.push(flow, ticket, (flow, ticket))
        self.model.push(flow, ticket)

    @rule(flow=st.integers(0, 5), skipped=st.integers(0, 2))
    def join(self, flow, skipped):
        self.next_ticket += 1 + skipped
        self.put(flow, self.next_ticket)

    @rule(flow=st.integers(0, 5), back=st.integers(1, 6))
    def join_late(self, flow, back):
        ticket = self.next_ticket - back
        if ticket >= 0 and all(ticket != other for _, other in [*self.model.all(), *self.out]):
            self.put(flow, ticket)

    @precondition(lambda self: len(self.queue))
    @rule()
    def serve(self):
        expected = self.model.pop()
        assert self.queue.pop() == expected
        self.out.append(expected)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def go_again(self, data):
        entry = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        self.put(*entry)

    @precondition(lambda self: len(self.queue))
    @rule(data=st.data())
    def cancel(self, data):
        flow, ticket = data.draw(st.sampled_from(sorted(self.model.all())))
        assert self.queue.remove(flow, ticket)
        assert not self.queue.remove(flow, ticket)
        self.model.remove(flow, ticket)

    @precondition(lambda self: len(self.queue))
    @rule(flow=st.integers(0, 6), back=st.integers(-1, 8), own=st.integers(0, 3))
    def foresee(self, flow, back, own):
        ticket = self.next_ticket - back
        if ticket < 0 or any(ticket == other for _, other in self.model.all()):
            return
        if own and back >= 0:
            own = 0  # further ones of its flow have new tickets, as it has
        foreseen = self.queue.ahead(flow, ticket + own, own)
        future = self.model.copy()
        for number in range(own + 1):
            future.push(flow, ticket + number)
        served = [future.pop() for _ in range(len(future.all()))]
        assert served.index((flow, ticket + own)) == foreseen

    @invariant()
    def the_counts_agree(self):
        waiting = self.model.all()
        assert len(self.queue) == len(waiting)
        flows = {flow for flow, _ in waiting}
        assert self.queue.flows() == len(flows)
        for flow in range(7):
            assert self.queue.others(flow) == bool(flows - {flow})

    def teardown(self):
        assert drained(self.queue) == [self.model.pop() for _ in range(len(self.model.all()))]


TestStorm = Storm.TestCase
TestStorm.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_no_flow_starves(sizes):
    queue, ticket = FairQueue(), 0
    for flow, size in enumerate(sizes):
        for _ in range(size):
            queue.push(flow, ticket, flow)
            ticket += 1
    order = drained(queue)
    for flow, size in enumerate(sizes):
        places = [place for place, served in enumerate(order) if served == flow]
        assert len(places) == size
        assert places[0] < len(sizes)
        assert all(after - before <= len(sizes) for before, after in itertools.pairwise(places))
