"""What every client is asked to do: the rankings that must be ours, and the situations that show its habits."""

import json
from contextlib import AsyncExitStack
from pathlib import Path

import attrs

from rerank_async.server import Fault, RateLimit, serve

COLLECTION = Path(__file__).parents[1] / "collection"
QUERIES = 3

# One refusal, with a Retry-After of 1 s: a client that would wait if it was told how long is told.
_SITUATIONS = {
    "honest": {},
    "refused once": {"faults": [Fault("rate_limited", nth=(1,))], "limit": RateLimit(requests=1000, retry_after=True)},
    "unsorted": {"faults": {"unsorted": 1.0}},
    "too many": {},
    "unknown authority": {},
    "wrong authority": {},
}


@attrs.frozen
class Call:
    """One ranking, as a driver reads it."""

    name: str
    url: str
    token_url: str
    api_key: str
    project_id: str
    model_id: str
    query: str
    texts: list[str]
    top_n: int | None = None


@attrs.frozen
class Scenes:
    """The servers of one client, one a situation, and what to ask of them.

    The last two calls are made by a client that was told of no authority, and of another one than the server's.
    """

    servers: dict[str, object]
    rankings: list[Call]
    habits: list[Call]
    untold: Call
    misled: Call


def collection():
    """Give three queries and all passages of the collection that the tests use."""
    rows = [json.loads(line) for line in (COLLECTION / "corpus.jsonl").read_text().splitlines()]
    queries = [json.loads(line)["text"] for line in (COLLECTION / "queries.jsonl").read_text().splitlines()]
    return queries[:QUERIES], [f"{row['title']}. {row['text']}" for row in rows]


async def scenes(stack: AsyncExitStack, client, scorers, files):
    """Start the servers of one client and write down its calls.

    Every server takes a key of its own: a client that remembers tokens by their key takes none to the wrong server.
    """
    servers = {}
    for situation, options in _SITUATIONS.items():
        key = f"made-up key for {client}, {situation}"
        listening = serve(scorers=scorers, api_key=key, tls_cert=files.cert, tls_key=files.key, **options)
        servers[situation] = await stack.enter_async_context(listening)
    queries, texts = collection()

    def call(situation, name, query=queries[0], model_id="lexical", texts=texts, top_n=None):
        server = servers[situation]
        return Call(
            name, server.url, server.token_url, server.api_key, server.project_id, model_id, query, texts, top_n
        )

    rankings = [call("honest", f"{model}: {query}", query, model) for model in scorers for query in queries]
    rankings += [call("honest", f"{model}, top_n 5: {queries[0]}", model_id=model, top_n=5) for model in scorers]
    many = [f"bread number {number}" for number in range(1001)]
    habits = [
        call("refused once", "refused once"),
        call("unsorted", "unsorted"),
        call("too many", "too many", texts=many),
    ]
    untold, misled = (call(situation, situation) for situation in ("unknown authority", "wrong authority"))
    return Scenes(servers, rankings, habits, untold, misled)
