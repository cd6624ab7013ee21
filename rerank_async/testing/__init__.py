"""For your own tests: a scripted server on loopback, a reranker in memory, and options that save time.

    def test_the_best_answer_comes_first(rerank_server):  # the fixture is there once the package is installed
        rerank_server.score = lambda query, text: len(text)
        rerank_server.script({2: "rate_limited"})
        ...
        assert rerank_server.requests[0].texts == ("short", "longer")

Names are loaded when they are first used, so a program that only annotates with `Reranker` loads no server.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank_async.testing.fake import FakeCall, FakeReranker
    from rerank_async.testing.options import QUICK_RETRIES, UNPACED, QuickOptions, quick_options
    from rerank_async.testing.recording import RecordedRequest
    from rerank_async.testing.reranker import Reranker
    from rerank_async.testing.scores import ScoreError
    from rerank_async.testing.server import RerankServer, rerank_server
else:
    _HOMES = {
        "QUICK_RETRIES": "options",
        "UNPACED": "options",
        "FakeCall": "fake",
        "FakeReranker": "fake",
        "QuickOptions": "options",
        "RecordedRequest": "recording",
        "Reranker": "reranker",
        "RerankServer": "server",
        "ScoreError": "scores",
        "quick_options": "options",
        "rerank_server": "server",
    }

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - as everything here, only when asked for

        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "QUICK_RETRIES",
    "UNPACED",
    "FakeCall",
    "FakeReranker",
    "QuickOptions",
    "RecordedRequest",
    "RerankServer",
    "Reranker",
    "ScoreError",
    "quick_options",
    "rerank_server",
]
