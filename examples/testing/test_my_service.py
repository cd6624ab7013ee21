"""Tests of that service: over HTTP with the fixture `rerank_server`, and in memory with `FakeReranker`.

The fixture comes with the package: nothing is imported or configured for it. Run them with `pytest examples/testing`.
"""

import asyncio

import pytest
from my_service import best_passages

from rerank_async import errors
from rerank_async.testing import FakeReranker

PASSAGES = ["a gull", "a heron in the reeds", "a heron", "reeds"]


def words(query, text):
    """A score that the test knows: the words that query and text share."""
    return len(set(query.split()) & set(text.split()))


def ask(server, **options):
    """One call of the service, with a client that never waits without need."""

    async def call():
        async with server.client(**options) as client:
            return await best_passages(client, "heron reeds", PASSAGES, most=2)

    return asyncio.run(call())


def test_the_best_come_first(rerank_server):
    rerank_server.score = words
    assert ask(rerank_server) == ["a heron in the reeds", "a heron"]
    (request,) = rerank_server.requests
    assert request.query == "heron reeds"
    assert request.texts == tuple(PASSAGES)
    assert request.parameters == {"return_options": {"top_n": 2}}


def test_a_429_and_a_cut_connection_do_not_show(rerank_server):
    rerank_server.score = words
    rerank_server.script({1: "rate_limited", 2: "reset_inside"})
    assert ask(rerank_server) == ["a heron in the reeds", "a heron"]
    assert [request.fault for request in rerank_server.requests] == ["rate_limited", "reset_inside", None]


def test_a_service_that_stays_down_costs_the_ranking_only(rerank_server):
    rerank_server.fail("unavailable")
    assert ask(rerank_server) == PASSAGES[:2]
    assert {request.status for request in rerank_server.requests} == {503}


def test_a_wrong_project_is_not_hidden(rerank_server):
    with pytest.raises(errors.PermissionDeniedError):
        ask(rerank_server, project_id="another-project")


def test_in_memory_without_a_server():
    reranker = FakeReranker(score=words)
    reranker.fail(errors.DeadlineExceededError("too late"), on=2)

    async def twice():
        return [await best_passages(reranker, "heron reeds", PASSAGES, most=1) for _ in range(2)]

    assert asyncio.run(twice()) == [["a heron in the reeds"], ["a gull"]]
    assert [call.timeout for call in reranker.calls] == [2, 2]
