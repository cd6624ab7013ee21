"""A typed use of `rerank_async.testing`. mypy checks it; it is never run."""

# mypy: warn-unused-ignores

from __future__ import annotations

from typing import assert_type

from rerank_async import AsyncRerank, RerankMany, RerankRequest, RerankResponse, RerankStream, errors
from rerank_async.server import RateLimit
from rerank_async.testing import (
    QUICK_RETRIES,
    UNPACED,
    FakeCall,
    FakeReranker,
    RecordedRequest,
    Reranker,
    RerankServer,
    ScoreError,
    quick_options,
    rerank_server,
)


async def service(reranker: Reranker) -> RerankResponse:
    return await reranker.generate("q", ["a", {"text": "b"}], {"return_options": {"top_n": 1}}, timeout=2)


async def right() -> None:
    client = AsyncRerank("m", project_id="p", **quick_options())
    AsyncRerank("m", limits=UNPACED, retries=QUICK_RETRIES)
    assert_type(await service(client), RerankResponse)
    fake = FakeReranker(score=lambda query, text: len(text))
    assert_type(await service(fake), RerankResponse)
    assert_type(fake.stream("q", ["a"], score_threshold=0.5), RerankStream)
    assert_type(fake.generate_many([RerankRequest("q", ["a"])], ordered=True), RerankMany)
    fake.fail(errors.DeadlineExceededError("late"), on=(1, 2))
    assert_type(fake.calls, list[FakeCall])
    async with rerank_server(scores=lambda query, texts: [1, 2.5], limit=RateLimit(), script={1: "quota"}) as server:
        assert_type(server, RerankServer)
        assert_type(server.requests, tuple[RecordedRequest, ...])
        assert_type(server.requests[0].texts, tuple[str, ...])
        assert_type(server.requests[0].status, int | None)
        assert_type(server.errors, list[ScoreError])
        assert_type(server.client("m"), AsyncRerank)
        server.score = lambda query, text: float(len(text))
        server.fail("hang", on=range(1, 3), seconds=1)
    with rerank_server(limit=5) as server:
        assert_type(server.url, str)


async def wrong(server: RerankServer) -> None:
    await service(object())  # type: ignore[arg-type]
    server.score = lambda query: 1.0  # type: ignore[assignment]
    server.script({"1": "quota"})  # type: ignore[dict-item]
    server.url = "x"  # type: ignore[misc]
    rerank_server(score=5)  # type: ignore[arg-type]
    FakeReranker().fail(ValueError)  # type: ignore[arg-type]
