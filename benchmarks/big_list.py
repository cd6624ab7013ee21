"""One list of 20,000 inputs without pacing: wall and CPU, to a bare gather of twenty requests of 1,000."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Awaitable, Callable

from bare import post
from harness import QUERY, Place, client, is_right, main, outcomes, passages, scenario
from report import Figure

from rerank_async import LimitOptions

LIST, FULL = passages(20_000), 1_000
ROUNDS = 5  # in turns, so that both sides meet the same noise


async def _timed(call: Callable[[], Awaitable[object]]) -> tuple[float, float, object]:
    """Seconds of wall and of this process's CPU, and what came of it."""
    began_at, cpu_at = time.monotonic(), time.process_time()
    result = await call()
    return time.monotonic() - began_at, time.process_time() - cpu_at, result


@scenario("batches 2", "20,000 inputs without pacing")
async def big_list(place: Place) -> list[Figure]:
    times = {"base": 0.02, "per_input": 0.0002}
    ours_at, bare_at = await place.open(**times), await place.open(**times)

    async def bare() -> None:
        parts = (LIST[start : start + FULL] for start in range(0, len(LIST), FULL))
        await asyncio.gather(*(post(place.session, bare_at.url, QUERY, part) for part in parts))

    wrong = 0
    async with client(ours_at.url, limits=LimitOptions(requests_per_second=math.inf)) as ours:
        await bare()
        await ours.generate(QUERY, LIST)  # opens connections, and learns how long requests take
        warm = len(await ours_at.log())
        rounds = []
        for _ in range(ROUNDS):
            bare_wall, bare_cpu, _ = await _timed(bare)
            wall, cpu, response = await _timed(lambda: ours.generate(QUERY, LIST))
            wrong += not is_right(response, LIST)
            rounds.append((wall / bare_wall, cpu / bare_cpu, wall, bare_wall, cpu, bare_cpu))
    log = (await ours_at.log())[warm:]
    wall_ratio, cpu_ratio, wall, bare_wall, cpu, bare_cpu = (
        statistics.median(column) for column in zip(*rounds, strict=True)
    )
    requests = f"{wall:.3f} s to {bare_wall:.3f} s; {len(log) / ROUNDS:.0f} requests, {outcomes(log)['ok'] / ROUNDS:.0f} answered"
    what, point = f"{len(LIST):,} inputs, no pacing", "batches 2"
    return [
        Figure(point=point, what=f"{what}: wall / bare gather of twenty 1,000s", value=wall_ratio, bound=0.70, context=requests),
        Figure(point=point, what=f"{what}: CPU / bare gather of twenty 1,000s", value=cpu_ratio, bound=1.6, context=f"{cpu:.3f} s to {bare_cpu:.3f} s"),
        Figure(point=point, what=f"{what}: answers not globally sorted and right", value=wrong, bound=0, worst=True),
    ]  # fmt: skip


if __name__ == "__main__":
    main(others=[[big_list]])
