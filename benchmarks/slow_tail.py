"""What hedging makes of a slow tail: 2 % of the requests take 50 times as long."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bare import post
from harness import QUERY, Place, client, crowd, main, passages, scenario
from report import Figure

import rerank_async
from rerank_async import LimitOptions

TEXTS = passages(10)
CALLS, LEARNING, WORKERS = 1_000, 20, 8
DOOR = {"base": 0.02, "slow_share": 0.02, "slow_factor": 50.0}


async def _p99(call: Callable[[int], Awaitable[Any]]) -> tuple[float, int]:
    """The 99th percentile in seconds over the calls after the first 20, in the order they were made; failed calls."""
    seconds = [math.inf] * CALLS

    async def timed(number: int) -> None:
        began_at = time.monotonic()
        await call(number)
        seconds[number] = time.monotonic() - began_at

    failed = await crowd(timed, CALLS, WORKERS)
    kept = sorted(seconds[LEARNING:])
    return kept[math.ceil(len(kept) * 0.99) - 1], failed.total()


@scenario("batches 3", "learned hedging, 2 % of requests 50 times slower")
async def slow_tail(place: Place) -> list[Figure]:
    ours_at, plain_at, bare_at = [await place.open(**DOOR) for _ in range(3)]
    bare, _ = await _p99(lambda _: post(place.session, bare_at.url, QUERY, TEXTS))
    unpaced = LimitOptions(requests_per_second=math.inf)
    async with client(plain_at.url, limits=unpaced) as plain:
        unhedged, _ = await _p99(lambda _: plain.generate(QUERY, TEXTS))
    async with client(ours_at.url, limits=unpaced, hedging=rerank_async.HedgeOptions()) as ours:
        p99, failed = await _p99(lambda _: ours.generate(QUERY, TEXTS))
    requests = len(await ours_at.log())
    what, point = "2 % of requests 50 times slower, p50 20 ms, learned hedging", "batches 3"
    context = f"without hedging {unhedged * 1e3:.0f} ms, raw aiohttp {bare * 1e3:.0f} ms"
    return [
        Figure(point=point, what=f"{what}: p99 of calls 21 to 1,000, ms", value=p99 * 1e3, bound=100, context=context),
        Figure(point=point, what=f"{what}: requests / calls", value=requests / CALLS, bound=1.05, worst=True),
        Figure(point=point, what=f"{what}: failed", value=failed, bound=0, worst=True),
    ]


if __name__ == "__main__":
    main(others=[[slow_tail]])
