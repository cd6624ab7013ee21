"""How close `generate` comes to the instance's rate, and how many 429s it meets, when it is told the rate."""

from __future__ import annotations

import asyncio
import time

from rerank_async import AsyncRerank, Credentials, LimitOptions
from rerank_async.server import LexicalScorer, RateLimit, serve

LATENCY = 0.05


async def paced(calls: int, rate: int, concurrent: int, kind: str) -> tuple[float, int, int]:
    """Seconds, 429s and failed calls for this many calls of 10 inputs."""
    scorers = {"lexical": LexicalScorer()}
    async with (
        serve(limit=RateLimit(requests=rate, kind=kind), latency=LATENCY, scorers=scorers) as server,
        AsyncRerank(
            "lexical",
            credentials=Credentials(server.url, api_key=server.api_key),
            project_id=server.project_id,
            limits=LimitOptions(requests_per_second=rate),
        ) as client,
    ):
        left, failed = iter(range(calls)), 0

        async def worker() -> None:
            nonlocal failed
            for number in left:
                try:
                    await client.generate("a query", [f"text {number} {index}" for index in range(10)])
                except Exception as error:  # noqa: BLE001 - a failed call is what is counted
                    failed += 1
                    print(f"failed: {error}")

        started = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(concurrent)))
        return time.perf_counter() - started, server.counts.throttled, failed


async def compare() -> None:
    print("| calls | rate | server's limit | s | ideal | ratio | 429s | failed |\n|---|---|---|---|---|---|---|---|")
    for calls, rate in ((240, 8), (60, 3)):
        for kind in ("token_bucket", "fixed_window", "sliding_window"):
            seconds, throttled, failed = await paced(calls, rate, 32, kind)
            ideal = (calls - rate) / rate + LATENCY
            row = f"| {calls} | {rate}/s | {kind} | {seconds:.2f} | {ideal:.2f} | **{seconds / ideal:.3f}** "
            print(f"{row}| {throttled} | {failed} |", flush=True)


if __name__ == "__main__":
    asyncio.run(compare())
