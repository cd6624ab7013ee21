"""The pytest plugin of rerank_async: the fixture `rerank_server`, its marker, and its section in failing reports.

It stands beside the package, not in it, because pytest imports it at every start: this way a test run that does not
use the fixture loads neither rerank_async nor aiohttp. It needs no other plugin.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rerank_async.testing import RerankServer

_SERVERS = pytest.StashKey["list[RerankServer]"]()
_FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker."""
    config.addinivalue_line(
        "markers",
        "rerank_server(**options): options of rerank_async.testing.rerank_server for the fixture of this test; "
        "the nearest marker wins, option by option",
    )


@pytest.fixture
def rerank_server(request: pytest.FixtureRequest) -> Iterator[RerankServer]:
    """A local rerank server for one test, in a thread of its own; see `rerank_async.testing.RerankServer`."""
    from rerank_async.testing import rerank_server as make  # noqa: PLC0415 - only a test that uses it pays for it

    options = {}
    for marker in reversed(list(request.node.iter_markers("rerank_server"))):
        if marker.args:
            raise pytest.UsageError(
                f"pytest.mark.rerank_server takes options by name only, such as limit=5, not {marker.args!r}"
            )
        options.update(marker.kwargs)
    with make(**options) as server:
        request.node.stash.setdefault(_SERVERS, []).append(server)
        yield server
        if request.node.stash.get(_FAILED, False):
            server.errors.clear()  # the report of the failure has shown them


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds what the test's servers went through to the report of a failure."""
    report = yield
    if report.failed and report.when != "teardown":
        item.stash[_FAILED] = True
        for server in _servers(item):
            report.sections.append(("rerank server", server.report()))
    return report


def _servers(item: pytest.Item) -> list[RerankServer]:
    """Of the fixture, and of fixtures of the user's own that give a `RerankServer`."""
    module = sys.modules.get("rerank_async.testing.server")
    if module is None:
        return []
    found = item.stash.get(_SERVERS, None) or []
    given = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, module.RerankServer)]
    return found + [server for server in given if server not in found]
