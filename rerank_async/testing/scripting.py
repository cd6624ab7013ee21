"""Which request meets which fault, set while the server runs."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from random import Random

import attrs

from rerank_async.server.faults import FAULTS, Door, Drawn, Fault
from rerank_async.server.options import count


@attrs.define
class _State:
    """What is planned at one door. Numbers are absolute: the first request of the door is 1."""

    seen: int = 0
    numbered: dict[int, Fault] = attrs.Factory(dict)
    every: Fault | None = None


class Script:
    """Faults by number, for both doors; may be written to from any thread.

    Requests are counted as `rerank_async.server.Fault` counts them: those that would have been answered.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._doors: dict[Door, _State] = {"rerank": _State(), "token": _State()}

    def replace(self, faults: Mapping[int, str]) -> None:
        """Forget what is planned, and plan these: number to name, the next request is 1.

        Raises:
            TypeError: Not a mapping of whole numbers to names.
            ValueError: A number below 1, or an unknown fault.
        """
        if not isinstance(faults, Mapping):
            raise TypeError(
                f"a script maps numbers of requests to names of faults; it is not a {type(faults).__name__}"
            )
        checked = [(number, _fault(name, (number,), None)) for number, name in faults.items()]
        with self._lock:
            for state in self._doors.values():
                state.numbered.clear()
                state.every = None
            for number, fault in checked:
                self._plan(fault, (number,))

    def add(self, name: str, on: int | Iterable[int] | None, seconds: float | None) -> None:
        """Plan one more fault; ``on`` and ``seconds`` as in `RerankServer.fail`."""
        numbers = None if on is None else (on,) if isinstance(on, int) else tuple(on)
        if numbers == ():
            raise ValueError("on names no request")
        fault = _fault(name, numbers, seconds)
        with self._lock:
            self._plan(fault, numbers)

    def clear(self) -> None:
        """Forget what is planned, and count from 1 again."""
        with self._lock:
            self._doors = {"rerank": _State(), "token": _State()}

    def plan(self, door: Door) -> DoorPlan:
        """What the server asks at a door."""
        return DoorPlan(self, door)

    def next(self, door: Door) -> Drawn | None:
        """Count a request, and say which fault it meets."""
        with self._lock:
            state = self._doors[door]
            state.seen += 1
            fault = state.numbered.pop(state.seen, state.every)
            number = state.seen
        return None if fault is None else Drawn(fault, Random(f"{fault.name}:{number}"))  # noqa: S311 - no secret

    def waiting(self) -> list[str]:
        """The numbered faults that no request has met yet, in words."""
        with self._lock:
            return [
                f"{fault.name}, planned for {door} request {number} ({state.seen} came)"
                for door, state in self._doors.items()
                for number, fault in sorted(state.numbered.items())
            ]

    def _plan(self, fault: Fault, numbers: Iterable[int] | None) -> None:
        state = self._doors[FAULTS[fault.name].door]
        if numbers is None:
            state.every = fault
            return
        for number in numbers:
            state.numbered[state.seen + number] = fault


@attrs.frozen
class DoorPlan:
    """The part of a script that is about one door."""

    script: Script
    door: Door

    def next(self) -> Drawn | None:
        """Decide on the next request."""
        return self.script.next(self.door)


def _fault(name: object, numbers: tuple[int, ...] | None, seconds: float | None) -> Fault:
    if not isinstance(name, str):
        raise TypeError(f"a fault is named by a string, not by a {type(name).__name__}: {name!r}")
    for number in numbers or ():
        count(number, "The number of a request, the next one is 1,")
    if numbers is None:
        return Fault(name, share=1.0, seconds=seconds)
    # mypy leaves the type variable of the converter `tuple` unbound.
    return Fault(name, nth=numbers, seconds=seconds)  # type: ignore[arg-type]
