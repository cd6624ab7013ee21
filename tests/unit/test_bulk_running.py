"""The runner of a job, over a service and a source that the test moves."""

import asyncio

import pytest

from rerank_async.bulk.items import Item
from rerank_async.bulk.runner import Runner
from rerank_async.bulk.settings import JobSettings
from rerank_async.errors import ConnectionFailedError
from rerank_async.many import RerankMany
from rerank_async.runtime.clock import MonotonicClock
from rerank_async.values.response import RerankResponse, RerankResult

RESPONSE = RerankResponse(model_id="m", results=(RerankResult(0, 1.0),))


class Engine:
    """Fails the first request and answers everything after it."""

    def __init__(self):
        self.sent = []

    def generate_many(self, requests, *, max_in_flight):
        return RerankMany(self.run, requests, lambda: None, ordered=False, max_in_flight=max_in_flight)

    async def run(self, request):
        self.sent.append(request.query)
        if len(self.sent) == 1:
            raise ConnectionFailedError("the connection broke", url="http://127.0.0.1")
        return RESPONSE

    def with_options(self):
        return self

    async def generate(self, query, inputs):
        return RESPONSE


class Reader:
    """One query; its end is found after so many turns of the event loop."""

    def __init__(self, turns):
        self.items = [Item(0, 1, "a", "query", ["text"], None)]
        self.turns = turns

    async def next(self):
        if self.items:
            return self.items.pop()
        for _ in range(self.turns):
            await asyncio.sleep(0)
        return None


class Ledger:
    def __init__(self):
        self.kept = []

    def takes(self, at, ahead):
        return True

    def keep(self, item, results):
        self.kept.append(item.id)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 50, 200])
async def test_a_query_that_goes_again_while_the_end_of_the_source_is_read_is_sent(turns):
    engine, ledger, told = Engine(), Ledger(), []
    runner = Runner(
        engine,
        Reader(turns),
        ledger,
        JobSettings(max_in_flight=4),
        tell=told.append,
        hand=None,
        clock=MonotonicClock(),
    )
    async with asyncio.timeout(5):
        await runner.run()
    assert engine.sent == ["query", "query"]
    assert ledger.kept == [event.id for event in told] == ["a"]
