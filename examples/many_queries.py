"""Rerank for a thousand queries from a generator: bounded memory, and a bad query is an outcome, not the end."""

import asyncio
from collections.abc import Iterator

from rerank_async import AsyncRerank, LimitOptions, RerankRequest
from rerank_async.server import RateLimit, serve

ANIMALS = ["heron", "otter", "badger", "swift", "newt"]
PASSAGES = [f"Where the {animal} lives, and what it eats." for animal in ANIMALS]


def requests() -> Iterator[RerankRequest]:
    """Reads on only as fast as outcomes are taken; here could be the lines of a file of any length."""
    for number in range(1000):
        query = f"what does a {ANIMALS[number % 5]} eat" if number != 500 else ""  # an empty query is refused
        yield RerankRequest(query, PASSAGES, id=number)


async def main() -> None:
    async with (
        serve(limit=RateLimit(requests=500)) as server,
        AsyncRerank(
            "lexical",
            credentials={"url": server.url, "api_key": server.api_key},  # your url, your key
            project_id=server.project_id,  # your project
            limits=LimitOptions(requests_per_second=500),  # your instance's rate
        ) as client,
        client.generate_many(requests(), ordered=True, max_in_flight=32) as outcomes,
    ):
        async for outcome in outcomes:
            number, query = outcome.request.id, outcome.request.query
            if outcome.response is None:
                print(f"{number}: failed: {outcome.error}")
                continue
            best = outcome.response.results[0]
            print(f"{number}: {query}? {PASSAGES[best.index]} ({best.score:.2f})")
    print(f"{server.counts.rerank} requests, at most {server.counts.max_in_flight} at once")


if __name__ == "__main__":
    asyncio.run(main())
