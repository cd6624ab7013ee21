"""Two models over one `AsyncAPIClient`: one connection pool, one token and one rate limit for both.

The limit belongs to the service's instance, not to a model, so what uses the same instance should share a client.
"""

import asyncio

from rerank_async import AsyncAPIClient, AsyncRerank, LimitOptions
from rerank_async.server import LexicalScorer, RateLimit, serve

QUESTIONS = ["where is the harbour", "when does the market open", "who repairs bicycles", "which boat goes north"]
PASSAGES = [
    "The harbour lies behind the old customs house.",
    "Bicycles are repaired in the yard next to the station.",
    "The market opens at seven, on Sundays at nine.",
    "The white boat goes north, the blue one to the islands.",
]


async def main() -> None:
    # Short texts for the first model, longer ones for the second; at the service these are two model ids.
    scorers = {"small": LexicalScorer(max_sequence_length=64), "large": LexicalScorer(max_sequence_length=512)}
    async with serve(scorers=scorers, limit=RateLimit(requests=20)) as server:
        async with AsyncAPIClient(
            credentials={"url": server.url, "api_key": server.api_key},  # your url, your key
            project_id=server.project_id,  # your project
            limits=LimitOptions(requests_per_second=20),
        ) as shared:
            models = [AsyncRerank(name, api_client=shared) for name in scorers]
            answers = await asyncio.gather(
                *(model.generate(question, PASSAGES) for model in models for question in QUESTIONS)
            )
        for question, answer in zip(QUESTIONS * len(models), answers, strict=True):
            print(f"{answer.model_id}: {question}? {PASSAGES[answer.results[0].index]}")
        counts = server.counts
        print(f"{counts.rerank} requests, {counts.token_requests} token, {counts.throttled} answered with a 429")


if __name__ == "__main__":
    asyncio.run(main())
