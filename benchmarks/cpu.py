"""CPU per call of `generate`, as a ratio to a bare aiohttp loop that posts the same bodies, in the same run.

10 inputs a call, 32 calls at a time, no pacing, zero latency, the server in a process of its own, without orjson.
"""

from __future__ import annotations

import asyncio
import math
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp
from bare_server import INPUTS, bare_server

from rerank_async import AsyncRerank, Credentials, LimitOptions

CALLS, CONCURRENT, ROUNDS = 320, 32, 61  # short rounds in turns, so that both sides meet the same noise
QUERY = "how do I run a coroutine with a timeout"
TEXTS = [
    f"passage {number}: " + "some words that a passage of a usual length may have " * 4 for number in range(INPUTS)
]


async def bare(session: aiohttp.ClientSession, url: str) -> None:
    """What a program without a client would write."""
    headers = {"Authorization": "Bearer made-up", "Accept": "application/json"}
    body = {"model_id": "canned", "query": QUERY, "project_id": "p", "inputs": [{"text": text} for text in TEXTS]}
    async with session.post(url, json=body, headers=headers) as response:
        answer = await response.json()
    assert len(answer["results"]) == INPUTS


async def cpu(call: Callable[[], Awaitable[None]], calls: int = CALLS) -> float:
    """CPU seconds of this process per call, with `CONCURRENT` workers."""
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await call()

    started = time.process_time()
    await asyncio.gather(*(worker() for _ in range(CONCURRENT)))
    return (time.process_time() - started) / calls


async def compare() -> None:
    with bare_server() as url:
        credentials = Credentials(url, token="made-up")
        async with (
            aiohttp.ClientSession() as session,
            AsyncRerank(
                "canned", credentials=credentials, project_id="p", limits=LimitOptions(requests_per_second=math.inf)
            ) as client,
        ):
            target = f"{url}/ml/v1/text/rerank?version=2024-10-18"

            async def raw() -> None:
                await bare(session, target)

            async def ours() -> None:
                response = await client.generate(QUERY, TEXTS)
                assert len(response.results) == INPUTS

            await cpu(raw, 300), await cpu(ours, 300)
            channel = client.api_client.channel()
            before = channel.gate.granted, channel.checks.passed
            rows = [(await cpu(raw), await cpu(ours)) for _ in range(ROUNDS)]
            granted, checked = channel.gate.granted - before[0], channel.checks.passed - before[1]
    ratios = sorted(ours / raw for raw, ours in rows)
    print("| | us of CPU per call |\n|---|---|")
    print(f"| bare aiohttp | {statistics.median(raw for raw, _ in rows) * 1e6:.0f} |")
    print(f"| generate | {statistics.median(ours for _, ours in rows) * 1e6:.0f} |")
    print(
        f"| **ratio**, median of {ROUNDS} | **{statistics.median(ratios):.2f}** ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
    )
    print(f"calls: {ROUNDS * CALLS}, permits granted: {granted}, answers checked for integrity: {checked}")


sys.modules["orjson"] = None  # looked for at the first call: both sides use json

if __name__ == "__main__":
    asyncio.run(compare())
