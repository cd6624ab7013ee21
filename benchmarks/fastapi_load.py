"""200 callers at once of the FastAPI example, at a limit of 50 requests/s: how long the slowest wait, and why.

With a burst of b, the last of n callers may start after the first b have gone and the others have followed at the rate r:
(n - b) / r seconds, which is the ideal for the slowest. The guard of 1.5 % and the app's own work come on top.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from rerank_async.server import LexicalScorer, RateLimit, Server, serve

ROOT = Path(__file__).parent.parent
CALLERS, RATE, LATENCY = 200, 50, 0.05
TEXTS = [f"passage {number} about bread and salt" for number in range(10)]


@contextmanager
def example(server: Server, burst: int) -> Iterator[str]:
    """The example in a process of its own, by uvicorn; gives its URL."""
    settings = {
        "WATSONX_URL": server.url,
        "WATSONX_APIKEY": server.api_key,
        "WATSONX_PROJECT_ID": str(server.project_id),
        "RERANK_MODEL": "lexical",
        "RERANK_RPS": str(RATE),
        "RERANK_BURST": str(burst),
    }
    command = [sys.executable, "-m", "uvicorn", "examples.fastapi_app:app", "--port", "0", "--no-access-log"]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr:
                if found := re.search(r"running on (http://\S+)", line):
                    yield found[1]
                    return
            raise RuntimeError("the example did not start")
        finally:
            process.terminate()


async def one(session: aiohttp.ClientSession, number: int) -> tuple[int, float]:
    """Status and seconds of one caller."""
    began_at = time.perf_counter()
    async with session.post("/rerank", json={"query": f"bread {number}", "passages": TEXTS}) as answer:
        await answer.read()
    return answer.status, time.perf_counter() - began_at


async def load(burst: int) -> str:
    """A row of the table."""
    limit = RateLimit(requests=RATE)
    async with serve(limit=limit, latency=LATENCY, scorers={"lexical": LexicalScorer()}) as server:
        with example(server, burst) as url:
            async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:
                answers = await asyncio.gather(*(one(session, number) for number in range(CALLERS)))
    failed = CALLERS - Counter(status for status, _ in answers)[200]
    seconds = sorted(seconds for _, seconds in answers)
    p50, p99 = seconds[CALLERS // 2], seconds[CALLERS * 99 // 100]
    ideal = (CALLERS - burst) / RATE + LATENCY
    row = f"| {burst} | {p50:.2f} | {p99:.2f} | {ideal:.2f} | **{p99 / ideal:.3f}** "
    return f"{row}| {server.counts.throttled} | {failed} |"


async def compare() -> None:
    print("| burst | p50, s | p99, s | ideal, s | p99 / ideal | 429s | failed |\n|---|---|---|---|---|---|---|")
    for burst in (RATE, RATE // 5):
        for _ in range(3):
            print(await load(burst), flush=True)


if __name__ == "__main__":
    asyncio.run(compare())
