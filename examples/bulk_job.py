"""A whole file of queries reranked into another, with progress: stop it at any time, and run it again to go on."""

import asyncio
import json
import tempfile
from pathlib import Path

from rerank_async import AsyncRerank, LimitOptions
from rerank_async.bulk import Started, rerank_file
from rerank_async.server import serve

ANIMALS = ["heron", "otter", "badger", "swift", "newt"]


def watch(event: object) -> None:
    """Takes the events of the job, and of its client."""
    if isinstance(event, Started):
        print(f"{event.queries} queries, {event.done} of them done before")


async def main(folder: Path) -> None:
    inputs = [{"id": animal, "text": f"Where the {animal} lives, and what it eats."} for animal in ANIMALS]
    queries = [{"id": n, "query": f"what does a {ANIMALS[n % 5]} eat", "inputs": inputs} for n in range(200)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    async with (
        serve() as server,
        AsyncRerank(
            "lexical",
            {"return_options": {"top_n": 2}},
            credentials={"url": server.url, "api_key": server.api_key},  # your url, your key
            project_id=server.project_id,  # your project
            limits=LimitOptions(requests_per_second=500),  # your instance's rate
        ) as client,
    ):
        source, output = folder / "queries.jsonl", folder / "ranked.jsonl"
        for most in (60, 200):  # the first job is left half-way, the second goes on with it
            job = rerank_file(client, source, output, resume=True, max_in_flight=16, observer=watch)
            async with job:
                seen = 0
                async for done in job:
                    if done.response is None:
                        print(f"query {done.id} failed: {done.error}")
                    seen += 1
                    if seen == most:
                        break
        print(f"{job.summary.done} done, {job.summary.resumed} of them before, {server.counts.rerank} requests")
    print((folder / "ranked.jsonl").read_text().splitlines()[-1][:60], "...")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
