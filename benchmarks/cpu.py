"""CPU per call of `generate`, as a ratio to a bare aiohttp loop that posts the same bodies with the standard JSON.

10 inputs a call, 32 calls at a time, no pacing, no latency, with orjson and without it, each in a process of its own. The
server writes one canned answer and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp
from bare import post
from bare_server import INPUTS, bare_server
from harness import QUERY, Place, Scenario, client, main, passages
from report import Figure

from rerank_async import LimitOptions

CALLS, CONCURRENT, ROUNDS = 320, 32, 41  # short rounds in turns, so that both sides meet the same noise
TEXTS = passages(INPUTS, 250)


async def cpu(call: Callable[[], Awaitable[None]], calls: int = CALLS) -> float:
    """CPU seconds of this process per call, with `CONCURRENT` workers."""
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await call()

    started = time.process_time()
    await asyncio.gather(*(worker() for _ in range(CONCURRENT)))
    return (time.process_time() - started) / calls


async def compare(rounds: int = ROUNDS) -> dict[str, float]:
    """The ratio, both sides in microseconds, and what the client's own counters say."""
    with bare_server() as url:
        async with (
            aiohttp.ClientSession() as session,
            client(url, limits=LimitOptions(requests_per_second=math.inf)) as ours_at,
        ):

            async def raw() -> None:
                assert len(await post(session, url, QUERY, TEXTS)) == INPUTS

            async def ours() -> None:
                response = await ours_at.generate(QUERY, TEXTS)
                assert len(response.results) == INPUTS

            await cpu(raw, 300), await cpu(ours, 300)
            channel = ours_at.api_client.channel()
            before = channel.gate.granted, channel.checks.passed
            rows = [(await cpu(raw), await cpu(ours)) for _ in range(rounds)]
            granted, checked = channel.gate.granted - before[0], channel.checks.passed - before[1]
    return {
        "ratio": statistics.median(mine / bare for bare, mine in rows),
        "bare": statistics.median(bare for bare, _ in rows) * 1e6,
        "ours": statistics.median(mine for _, mine in rows) * 1e6,
        "calls": rounds * CALLS,
        "granted": granted,
        "checked": checked,
    }


def _with(codec: str, bound: float) -> Scenario:
    async def run(_: Place) -> list[Figure]:
        command = (sys.executable, __file__, "run", codec)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"the run ended with {process.returncode}")
        found = json.loads(said)
        context = f"{found['ours']:.0f} µs to {found['bare']:.0f} µs"
        off = abs(found["granted"] - found["calls"]) + abs(found["checked"] - found["calls"])
        beside = f"{found['calls']} calls, {found['granted']} permits, {found['checked']} answers checked"
        return [
            Figure(point=point, what=f"{what} / bare loop", value=found["ratio"], bound=bound, context=context),
            Figure(point=point, what=f"{what}: permits and checks that are not one a call", value=off, bound=0, worst=True, context=beside),
        ]  # fmt: skip

    point, what = "batches 1, limits 8", f"CPU per call, {codec}"
    return Scenario(point, what, run)


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        if sys.argv[2] == "json":
            sys.modules["orjson"] = None  # looked for at the first call
        print(json.dumps(asyncio.run(compare())))
    else:
        main(others=[[_with("orjson", 1.05)], [_with("json", 1.15)]])
