"""Four processes at one limit that know nothing of each other: how much of it is used, and how fairly."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

from harness import Place, Scenario, client, crowd, main, passages, used
from report import Figure

from rerank_async import LimitOptions

PROCESSES, RATE, WORKERS = 4, 8, 8
SETTLING, MINUTE = 10.0, 60.0
TEXTS = passages(10)


async def work(url: str, tag: str, until: float) -> None:
    """One of the processes: full load until a moment. Says what failed."""
    async with client(url, limits=LimitOptions(requests_per_second=RATE)) as ours:
        failed = await crowd(lambda _: ours.generate(tag, TEXTS), None, WORKERS, until)
    print(json.dumps(failed))


async def _spawn(url: str, tag: str, until: float) -> Counter[str]:
    command = (sys.executable, __file__, "work", url, tag, str(until))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"a worker ended with {process.returncode}")
    return Counter(json.loads(said))


def _shared(told: str, **door: Any) -> Scenario:
    async def run(place: Place) -> list[Figure]:
        at = await place.open(rate=RATE, **door)
        tags = [f"process {number}" for number in range(PROCESSES)]
        start = time.monotonic() + 5  # time to start in
        until = start + SETTLING + MINUTE
        failed = sum(await asyncio.gather(*(_spawn(at.url, tag, until) for tag in tags)), Counter())
        log = [each for each in await at.log() if start + SETTLING <= each.at < until]
        throttled = sum(each.outcome == "limited" for each in log)
        served = Counter(each.tag for each in log if each.outcome == "ok")
        fair = RATE * MINUTE / PROCESSES
        what, point = f"{PROCESSES} processes at {RATE}/s, {told}", "limits 7"
        context = f"parts of a fair share: {', '.join(f'{served[tag] / fair:.2f}' for tag in tags)}"
        return [
            Figure(point=point, what=f"{what}: failed", value=failed.total(), bound=0, worst=True, context=str(dict(failed) or "")),
            Figure(point=point, what=f"{what}: used", value=used(log, RATE, start + SETTLING, until), bound=0.85, at_least=True),
            Figure(point=point, what=f"{what}: 429s / requests", value=throttled / len(log), bound=0.05, context=f"{throttled} of {len(log)}"),
            Figure(point=point, what=f"{what}: the least share / a fair one", value=min(served[tag] for tag in tags) / fair, bound=0.5, at_least=True, context=context),
        ]  # fmt: skip

    return Scenario("limits 7", f"{PROCESSES} processes, {told}", run)


SCENARIOS = [_shared("429's text", text=True), _shared("header", header=True, text=True), _shared("told nothing")]

if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        asyncio.run(work(sys.argv[2], sys.argv[3], float(sys.argv[4])))
    else:
        main(limited=[SCENARIOS])
