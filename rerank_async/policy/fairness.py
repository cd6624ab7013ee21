"""Who is served next: first come, first served within a flow, and flows in turn. Pure: holds items, knows no time."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

_SLACK = 16  # tickets of items that are gone, kept before a line is tidied


class _Line(Generic[T]):
    """The items of one flow by ticket. Rising tickets are appended; the few that come back are in a heap."""

    __slots__ = ("_again", "_rising", "items")

    def __init__(self) -> None:
        self.items: dict[int, T] = {}
        self._rising: deque[int] = deque()  # may name items that are gone
        self._again: list[int] = []

    def push(self, ticket: int, item: T) -> None:
        rising = self._rising
        if not rising or ticket > rising[-1]:
            rising.append(ticket)
        else:
            heapq.heappush(self._again, ticket)
        self.items[ticket] = item

    def head(self) -> int:
        """The lowest ticket that waits."""
        rising, again, items = self._rising, self._again, self.items
        while rising and rising[0] not in items:
            rising.popleft()
        while again and again[0] not in items:
            heapq.heappop(again)
        if not again:
            return rising[0]
        return min(rising[0], again[0]) if rising else again[0]

    def remove(self, ticket: int) -> None:
        del self.items[ticket]
        if len(self._rising) + len(self._again) > 2 * len(self.items) + _SLACK:
            self._rising = deque(sorted(self.items))
            self._again = []

    def before(self, ticket: float) -> int:
        """How many wait with a lower ticket."""
        if not self._again and self._rising and ticket > self._rising[-1]:
            return len(self.items)
        return sum(other < ticket for other in self.items)


class FairQueue(Generic[T]):
    """A queue of items, each with the flow that it belongs to and a ticket that says when it first asked.

    Within a flow the lowest ticket goes first, so a batch that goes again, with its old ticket, precedes what the flow
    has not sent yet. Flows take turns, one item a turn; a flow that joins stands behind those that wait. If it joins
    with a ticket that is not above all that were served, it has its turn first, as it asked first: so among flows of
    one item, first come is first served also where one of them must go again.

    Attributes:
        size: How many wait.
    """

    def __init__(self) -> None:
        self._lines: dict[Hashable, _Line[T]] = {}
        self._turns: OrderedDict[Hashable, _Line[T]] = OrderedDict()
        self._first: dict[Hashable, _Line[T]] = {}  # flows whose turn comes before the others', by ticket
        self._served = -1  # the highest ticket so far
        self.size = 0

    def __len__(self) -> int:
        return self.size

    def push(self, flow: Hashable, ticket: int, item: T) -> None:
        """Adds an item.

        Args:
            flow: Whose it is.
            ticket: At least 0, unique within the flow.
            item: What `pop` returns.

        Raises:
            ValueError: An item of this flow waits with this ticket.
        """
        line = self._lines.get(flow)
        if line is None:
            line = self._lines[flow] = _Line()
            (self._first if ticket <= self._served else self._turns)[flow] = line
        elif ticket in line.items:
            raise ValueError(f"ticket {ticket} of this flow waits already")
        line.push(ticket, item)
        self.size += 1

    def pop(self) -> T:
        """Takes the item whose turn it is.

        Raises:
            IndexError: Nothing waits.
        """
        if not self.size:
            raise IndexError("pop from an empty queue")
        if self._first:
            flow = min(self._first, key=lambda each: self._first[each].head())
            line = self._first.pop(flow)
        else:
            flow, line = self._turns.popitem(last=False)
        ticket = line.head()
        item = line.items[ticket]
        line.remove(ticket)
        self.size -= 1
        self._served = max(self._served, ticket)
        if line.items:
            self._turns[flow] = line
        else:
            del self._lines[flow]
        return item

    def remove(self, flow: Hashable, ticket: int) -> bool:
        """Takes an item out of turn; returns whether it was there."""
        line = self._lines.get(flow)
        if line is None or ticket not in line.items:
            return False
        line.remove(ticket)
        self.size -= 1
        if not line.items:
            del self._lines[flow]
            if self._first.pop(flow, None) is None:
                del self._turns[flow]
        return True

    def clear(self) -> list[T]:
        """Takes everything, by ticket."""
        waiting = [(ticket, item) for line in self._lines.values() for ticket, item in line.items.items()]
        waiting.sort(key=lambda each: each[0])
        self._lines.clear()
        self._turns.clear()
        self._first.clear()
        self.size = 0
        return [item for _, item in waiting]

    def ahead(self, flow: Hashable, ticket: float, own: int = 0) -> int:
        """How many would be served before an item that joined now, if no other did.

        Args:
            flow: Whose it is.
            ticket: Its ticket; infinity: above all others.
            own: Further items of its flow that would join just before it.
        """
        line = self._lines.get(flow)
        turns = own if line is None else own + line.before(ticket)  # of its flow before its own
        first = ticket <= self._served if line is None else flow in self._first
        place = ticket if line is None else min(ticket, line.head())
        # Those with a first turn, by ticket, and then the others are one circle.
        ahead = turns
        for other, waiting in self._first.items():
            if other != flow:
                ahead += min(len(waiting.items), turns + (not first or waiting.head() < place))
        passed = first
        for other, waiting in self._turns.items():
            if other == flow:
                passed = True
            else:
                ahead += min(len(waiting.items), turns + (not passed))
        return ahead

    def flows(self) -> int:
        """How many flows wait."""
        return len(self._lines)

    def others(self, flow: Hashable) -> bool:
        """Whether anything of another flow waits."""
        return len(self._lines) > (flow in self._lines)
