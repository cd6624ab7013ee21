"""What holds for every test: nothing leaves this machine, no setting leaks in, and asyncio has nothing to complain of."""

import gc
import logging
import os

import pytest
from support.clients import client_for
from support.loopback import loopback_only

from rerank_async.server import serve

_PROXIES = frozenset({"http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "all_proxy", "no_proxy"})


@pytest.fixture(scope="session", autouse=True)
def _no_test_leaves_loopback():
    with loopback_only():
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("WATSONX_") or name == "RERANK_ASYNC_LOG" or name.lower() in _PROXIES:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _asyncio_complains_of_nothing(request):
    """Tasks destroyed while pending, exceptions never retrieved, sessions unclosed: asyncio logs them as errors."""
    complaints = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    try:
        yield complaints
        if "service" in request.path.parts:
            gc.collect()
    finally:
        logger.removeHandler(handler)
    assert complaints == []


@pytest.fixture
async def server():
    """A local server with the lexical scorer, without limit and faults."""
    async with serve() as running:
        yield running


@pytest.fixture
async def make_client():
    """Makes clients of a server, as `support.clients.client_for` does, and closes them after the test."""
    made = []

    def make(server, model_id="lexical", **options):
        made.append(client_for(server, model_id, **options))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()
