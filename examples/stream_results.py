"""Show what has been scored while the rest is still on its way: 4,000 passages, batches of 1,000, results as they land."""

import asyncio
import heapq

from rerank_async import AsyncRerank
from rerank_async.server import Latency, serve

PASSAGES = [f"Room {number} is in the {number % 50}. house on the left." for number in range(4000)]


async def main() -> None:
    async with (
        serve(latency=Latency(per_input=0.0002)) as server,
        AsyncRerank(
            "lexical",
            credentials={"url": server.url, "api_key": server.api_key},  # your url, your key
            project_id=server.project_id,  # your project
        ) as client,
        client.stream("where is room 3141", PASSAGES) as stream,
    ):
        best: list[tuple[float, int]] = []
        scored = 0
        async for results in stream:  # a tuple for each batch, in the order in which they land
            scored += len(results)
            best = heapq.nlargest(1, [*best, *((result.score, -result.index) for result in results)])
            print(f"{scored} of {len(PASSAGES)} scored; the best so far: {PASSAGES[-best[0][1]]}")
        response = await stream.response()  # one ranking over all of them, as `generate` gives it
        print(f"the best of all: {PASSAGES[response.results[0].index]}")


if __name__ == "__main__":
    asyncio.run(main())
