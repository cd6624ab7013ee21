"""Tokens that live for 2 s under 30 s of steady load, and with a token endpoint that is down for 0.3 of each 0.5 s.

32 callers without a pause. No call may fail; what was asked of the token endpoint is counted by the server.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter

from rerank_async import AsyncRerank, Credentials, LimitOptions, RerankError
from rerank_async.server import Fault, serve

SECONDS, LIFETIME, CALLERS = 30.0, 2.0, 32
SCENES = {
    "endpoint up": (),
    "down 0.3 of each 0.5 s": (Fault("iam_unavailable", outage=(0.3, 0.5)),),
}


async def load(faults: tuple[Fault, ...]) -> list[str]:
    """Calls and failures, and what the token endpoint saw."""
    failures: Counter[str] = Counter()
    calls, longest = 0, 0.0
    async with (
        serve(token_lifetime=LIFETIME, faults=faults, latency=0.01) as server,
        AsyncRerank(
            "lexical",
            credentials=Credentials(server.url, server.api_key),
            project_id=server.project_id,
            limits=LimitOptions(requests_per_second=math.inf),
        ) as client,
    ):
        end = time.monotonic() + SECONDS

        async def caller() -> None:
            nonlocal calls, longest
            while (started := time.monotonic()) < end:
                calls += 1
                try:
                    await client.generate("bread", ["bread", "x"])
                except RerankError as exc:
                    failures[type(exc).__name__] += 1
                longest = max(longest, time.monotonic() - started)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        exchanges = client.api_client.channel().tokens.exchanges
    failed = ", ".join(f"{count} {name}" for name, count in failures.items()) or "0"
    asked = f"{server.counts.token_requests} requests, {server.counts.tokens} tokens"
    return [str(calls), failed, str(exchanges), asked, f"{longest * 1000:.0f} ms"]


async def main() -> None:
    print("| | calls | failed | exchanges | token endpoint | longest call |\n|---|---|---|---|---|---|")
    for name, faults in SCENES.items():
        print(f"| {name} | {' | '.join(await load(faults))} |", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
