"""What faults and an outage cost: 500 calls in a storm of 20 %, and a server that refuses connections for 10 s."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from typing import Any

from bare import with_backoff
from door import FAULTS
from harness import QUERY, Door, Place, Scenario, client, crowd, is_right, main, outcomes, passages, scenario
from report import Figure

from rerank_async import LimitOptions, Sent
from rerank_async.errors import RerankError

TEXTS = passages(10)
CALLS, WORKERS = 500, 32
DOWN_AFTER, DOWN_FOR, DEADLINE = 1.0, 10.0, 30.0


async def _storm(place: Place, told: float, what: str, door: dict[str, Any]) -> list[Figure]:
    ours_at, bare_at = await place.open(faults=FAULTS, **door), await place.open(faults=FAULTS, **door)
    wrong = 0

    async def bare(number: int) -> None:
        await with_backoff(place.session, bare_at.url, f"{QUERY} {number}", TEXTS)

    began_at = time.monotonic()
    bare_failed = await crowd(bare, CALLS, WORKERS)
    bare_seconds = time.monotonic() - began_at
    async with client(ours_at.url, limits=LimitOptions(requests_per_second=told)) as ours:

        async def call(number: int) -> None:
            nonlocal wrong
            wrong += not is_right(await ours.generate(f"{QUERY} {number}", TEXTS), TEXTS)

        began_at = time.monotonic()
        failed = await crowd(call, CALLS, WORKERS)
        seconds = time.monotonic() - began_at
    log = await ours_at.log()
    met = len(log) - outcomes(log)["ok"]
    beside = f"{seconds:.2f} s to {bare_seconds:.2f} s, in which the bare loop lost {bare_failed.total()}"
    point = "limits 4"
    return [
        Figure(point=point, what=f"{what}: failed or wrong", value=failed.total() + wrong, bound=0, worst=True, context=str(dict(failed) or "")),
        Figure(point=point, what=f"{what}: requests beyond calls + faults met", value=abs(len(log) - CALLS - met), bound=0, worst=True, context=f"{len(log)} requests, {met} faults"),
        Figure(point=point, what=f"{what}: wall / bare loop with usual backoff", value=seconds / bare_seconds, bound=2, context=beside),
    ]  # fmt: skip


def _scenario(what: str, told: float, **door: Any) -> Scenario:
    async def run(place: Place) -> list[Figure]:
        return await _storm(place, told, what, door)

    return Scenario("limits 4", what, run)


@scenario("limits 4", "down for 10 s")
async def outage(place: Place) -> list[Figure]:
    ours_at, bare_at = await place.open(), await place.open()
    calls, rate = 200, 40
    sent: Counter[int] = Counter()
    late: list[RerankError] = []

    def count(event: object) -> None:
        if isinstance(event, Sent):
            sent[event.call] += 1

    async with client(ours_at.url, limits=LimitOptions(requests_per_second=rate, burst=4), observer=count) as ours:

        async def call(number: int) -> None:
            try:
                await ours.generate(f"{QUERY} {number}", TEXTS, timeout=DEADLINE)
            except RerankError as error:
                late.append(error)
                raise

        async def bare(number: int) -> None:
            await with_backoff(place.session, bare_at.url, f"{QUERY} {number}", TEXTS)

        began_at = time.monotonic()
        failed, bare_failed, *_ = await asyncio.gather(
            crowd(call, calls, WORKERS), crowd(bare, calls, WORKERS), _shut(ours_at), _shut(bare_at)
        )
        seconds = time.monotonic() - began_at
    point, what = "limits 4", f"down for {DOWN_FOR:g} s, {calls} calls with {DEADLINE:g} s each"
    context = f"{seconds:.1f} s; a bare loop lost {bare_failed.total()}; at the door {len(await ours_at.log())}"
    why = str(dict(failed)) if failed else ""
    return [
        Figure(point=point, what=f"{what}: failed", value=failed.total(), bound=0, worst=True, context=why),
        Figure(point=point, what=f"{what}: requests, refused ones included / calls", value=sent.total() / calls, bound=1.5, context=context),
    ]  # fmt: skip


async def _shut(door: Door) -> None:
    await asyncio.sleep(DOWN_AFTER)
    await door.shut(DOWN_FOR)


if __name__ == "__main__":
    main(
        others=[
            [_scenario("20 % faults, no pacing", math.inf)],
            [_scenario("20 % faults, no pacing, stray 429s with a header that says 0", math.inf, stray_header="0")],
            [outage],
        ],
        limited=[
            [_scenario("20 % faults, told 100/s", 100, rate=100, text=True)],
            [
                _scenario(
                    "20 % faults, told 100/s, stray 429s with a header that says 0",
                    100,
                    rate=100,
                    text=True,
                    header=True,
                    stray_header="0",
                )
            ],
        ],
    )
