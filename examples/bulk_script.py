"""A thousand queries over one client: each answer is printed as it comes, and never more than 32 are in memory."""

import asyncio

from rerank_async import AsyncRerank, LimitOptions, errors
from rerank_async.server import RateLimit, serve

ANIMALS = ["heron", "otter", "badger", "swift", "newt"]
PASSAGES = [f"Where the {animal} lives, and what it eats." for animal in ANIMALS]


async def main() -> None:
    queries = (f"{number}: what does a {ANIMALS[number % 5]} eat" for number in range(1000))  # or lines of a file
    async with (
        serve(limit=RateLimit(requests=500)) as server,
        AsyncRerank(
            "lexical",
            credentials={"url": server.url, "api_key": server.api_key},  # your url, your key
            project_id=server.project_id,  # your project
            limits=LimitOptions(requests_per_second=500),  # your instance's rate
        ) as client,
        asyncio.TaskGroup() as lanes,
    ):

        async def lane() -> None:
            for query in queries:  # all lanes share the iterator: each takes the next query when it is free
                try:
                    best = (await client.generate(query, PASSAGES)).results[0]
                    print(f"{query}? {PASSAGES[best.index]} ({best.score:.2f})", flush=True)
                except errors.RerankError as error:  # one query's failure is no reason to stop the others
                    print(f"{query}? failed: {error}", flush=True)

        for _ in range(32):
            lanes.create_task(lane())
    print(f"{server.counts.rerank} requests, at most {server.counts.max_in_flight} at once")


if __name__ == "__main__":
    asyncio.run(main())
