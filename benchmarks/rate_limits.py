"""How close the client comes to the instance's rate: told, told by a header or a 429's text, told wrong, not told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import attrs
from bare import Pace, post, with_backoff
from door import Arrival
from harness import (
    QUERY,
    Door,
    Place,
    Scenario,
    client,
    crowd,
    is_right,
    main,
    most_in,
    outcomes,
    passages,
    scenario,
    used,
)
from report import Figure

from rerank_async import LimitOptions

TEXTS = passages(10)
CALLS, RATE, WORKERS, LATENCY = 240, 8, 32, 0.05


def ideal(calls: int, rate: int) -> float:
    """Seconds that a bucket which starts full makes so many calls take."""
    return (calls - rate) / rate + LATENCY


async def _told(place: Place, calls: int, rate: int) -> list[Figure]:
    door = await place.open(rate=rate, text=True)
    wrong = 0

    async def call(_: int) -> None:
        nonlocal wrong
        wrong += not is_right(await ours.generate(QUERY, TEXTS), TEXTS)

    async with client(door.url, limits=LimitOptions(requests_per_second=rate)) as ours:
        began_at = time.monotonic()
        failed = await crowd(call, calls, WORKERS)
        seconds = time.monotonic() - began_at
    log = await door.log()
    what, point = f"{calls} calls, told {rate}/s", "limits 1"
    return [
        Figure(point=point, what=f"{what}: failed or wrong", value=failed.total() + wrong, bound=0, worst=True, context=str(dict(failed) or "")),
        Figure(point=point, what=f"{what}: 429s", value=outcomes(log)["limited"], bound=1, worst=True),
        Figure(point=point, what=f"{what}: wall / ideal", value=seconds / ideal(calls, rate), bound=1.03, context=f"{seconds:.2f} s"),
        Figure(point="limits 6", what=f"{what}: most arrivals in 1 s", value=most_in([each.at for each in log], 1.0), bound=rate + 1, worst=True),
    ]  # fmt: skip


@scenario("limits 1", "240 calls, told 8/s")
async def told_the_limit(place: Place) -> list[Figure]:
    return await _told(place, CALLS, RATE)


@scenario("limits 1", "60 calls, told 3/s")
async def told_a_low_limit(place: Place) -> list[Figure]:
    return await _told(place, 60, 3)


@scenario("limits 1", "raw aiohttp")
async def by_hand(place: Place) -> list[Figure]:
    door, pace = await place.open(rate=RATE, text=True), Pace(RATE)

    async def call(_: int) -> None:
        await pace.turn()
        await post(place.session, door.url, QUERY, TEXTS)

    return await _raw(door, call, "raw aiohttp, paced by hand")


@scenario("limits 1", "raw aiohttp with backoff")
async def with_usual_backoff(place: Place) -> list[Figure]:
    door = await place.open(rate=RATE, text=True)

    async def call(_: int) -> None:
        await with_backoff(place.session, door.url, QUERY, TEXTS)

    return await _raw(door, call, "raw aiohttp, usual backoff")


async def _raw(door: Door, call: Any, what: str) -> list[Figure]:
    began_at = time.monotonic()
    failed = await crowd(call, CALLS, WORKERS)
    seconds = time.monotonic() - began_at
    throttled = outcomes(await door.log())["limited"]
    context = f"{seconds:.2f} s, {throttled} 429s, {failed.total()} failed"
    return [Figure(point="limits 1", what=f"{what}: wall / ideal", value=seconds / ideal(CALLS, RATE), context=context)]


@attrs.frozen(kw_only=True)
class Course:
    """Full load on a client that must find out the rate.

    Attributes:
        believed: What the client is told; None: nothing.
        rates: The server's rate, as pairs of a second and a number; the first is at 0.
        seconds: How long the load lasts.
        door: Further settings of the door.
    """

    believed: float | None
    rates: Sequence[tuple[float, int]]
    seconds: float
    door: dict[str, Any]


async def _follow(place: Place, course: Course) -> tuple[list[Arrival], list[float], int, str]:
    """Gives the door's log, the moments of the rates' changes with those of start and end, the failed calls and why."""
    door = await place.open(rate=course.rates[0][1], **course.door)
    began_at = time.monotonic()
    moments = [began_at]

    async def change() -> None:
        for at, rate in course.rates[1:]:
            await asyncio.sleep(began_at + at - time.monotonic())
            moments.append(await door.change(rate=rate))

    async with client(door.url, limits=LimitOptions(requests_per_second=course.believed)) as ours:

        async def call(number: int) -> None:
            response = await ours.generate(f"{QUERY} {number}", TEXTS)
            assert is_right(response, TEXTS)

        failed, _ = await asyncio.gather(crowd(call, None, WORKERS, began_at + course.seconds), change())
    return await door.log(), [*moments, began_at + course.seconds], failed.total(), str(dict(failed) or "")


def _header(rate: int, believed: float | None) -> Scenario:
    async def run(place: Place) -> list[Figure]:
        course = Course(believed=believed, rates=[(0, rate)], seconds=32, door={"header": True})
        log, (start, stop), failed, why = await _follow(place, course)
        what, point = f"header {rate}/s, client believes {_spoken(believed)}", "limits 2"
        share = used(log, rate, start + 2, stop)
        return [
            Figure(point=point, what=f"{what}: failed", value=failed, bound=0, worst=True, context=why),
            Figure(point=point, what=f"{what}: used after 2 s", value=share, bound=0.97, at_least=True),
            Figure(point=point, what=f"{what}: 429s", value=outcomes(log)["limited"], bound=8, worst=True),
        ]

    return Scenario("limits 2", f"header {rate}/s, client believes {_spoken(believed)}", run)


def _spoken(believed: float | None) -> str:
    return "nothing" if believed is None else f"{believed:g}/s"


@scenario("limits 2", "header, halved and doubled while running")
async def header_changes(place: Place) -> list[Figure]:
    course = Course(believed=8, rates=[(0, 8), (10, 4), (25, 8)], seconds=40, door={"header": True})
    log, (_, halved_at, doubled_at, stop), failed, why = await _follow(place, course)
    what, point = "header 8/s, then 4/s, then 8/s", "limits 2"
    halved, doubled = used(log, 4, halved_at + 3, doubled_at), used(log, 8, doubled_at + 3, stop)
    return [
        Figure(point=point, what=f"{what}: failed", value=failed, bound=0, worst=True, context=why),
        Figure(point=point, what=f"{what}: used from 3 s after halving", value=halved, bound=0.97, at_least=True),
        Figure(point=point, what=f"{what}: used from 3 s after doubling", value=doubled, bound=0.97, at_least=True),
        Figure(point=point, what=f"{what}: 429s", value=outcomes(log)["limited"], bound=8 + 4, worst=True, context="8, and a window's surplus"),
    ]  # fmt: skip


@scenario("limits 3", "the 429's text only, halved and doubled while running")
async def text_only(place: Place) -> list[Figure]:
    course = Course(believed=8, rates=[(0, 8), (20, 4), (60, 8)], seconds=160, door={"text": True})
    log, (start, halved_at, doubled_at, stop), failed, why = await _follow(place, course)
    what, point = "429's text 8/s, then 4/s, then 8/s", "limits 3"
    probes = [each.at for each in log if each.outcome == "limited" and each.at >= halved_at + 3]
    spans = [(8, start + 2, halved_at), (4, halved_at + 3, doubled_at), (8, doubled_at + 60, stop)]
    shares = [used(log, *span) for span in spans]
    context = f"before {shares[0]:.3f}, halved {shares[1]:.3f}, doubled {shares[2]:.3f}"
    return [
        Figure(point=point, what=f"{what}: failed", value=failed, bound=0, worst=True, context=why),
        Figure(point=point, what=f"{what}: used from 3 s after halving", value=shares[1], bound=0.95, at_least=True),
        Figure(point=point, what=f"{what}: used from 60 s after doubling", value=shares[2], bound=0.95, at_least=True),
        Figure(point=point, what=f"{what}: used, the least of the three spans", value=min(shares), bound=0.95, at_least=True, context=context),
        Figure(point=point, what=f"{what}: most 429s in 30 s, from 3 s after halving", value=most_in(probes, 30.0), bound=1, worst=True),
    ]  # fmt: skip


def _untold(point: str, what: str, believed: float | None, rate: int, **door: Any) -> Scenario:
    async def run(place: Place) -> list[Figure]:
        course = Course(believed=believed, rates=[(0, rate)], seconds=60, door=door)
        log, (start, stop), failed, why = await _follow(place, course)
        throttled = outcomes(log)["limited"]
        share, late = used(log, rate, start + 10, stop), outcomes(log, start + 10)
        return [
            Figure(point=point, what=f"{what}: failed", value=failed, bound=0, worst=True, context=why),
            Figure(point=point, what=f"{what}: used after 10 s", value=share, bound=0.8, at_least=True),
            Figure(point=point, what=f"{what}: 429s / requests", value=throttled / len(log), bound=0.05, context=f"{throttled} of {len(log)}; after 10 s {late['limited']} of {late.total()}"),
        ]  # fmt: skip

    return Scenario(point, what, run)


_HEADERS = [_header(rate, believed) for rate in (5, 20) for believed in (8.0, None)]
_UNTOLD = [
    _untold("limits 3", "no header, no text, 8/s, client believes nothing", None, 8),
    _untold("limits 3", "no header, no text, 5/s, client believes 8/s", 8.0, 5),
]
_WRONG = [
    _untold("limits told wrong", f"header says {said}, text 5/s, client believes 8/s", 8.0, 5, header=said, text=True)
    for said in ("banana", "0", "-5", "1000000000")
]

if __name__ == "__main__":
    main(
        limited=[
            [told_the_limit],  # alone, and the next too: here milliseconds count
            [told_a_low_limit],
            [by_hand, with_usual_backoff, *_HEADERS, header_changes, text_only, *_UNTOLD, *_WRONG],
        ]
    )
