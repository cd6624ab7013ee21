"""The `Reranker` protocol: what a service needs of a client, for handing it one or the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from rerank_async.values.options import DEFAULT, Default
from rerank_async.values.parameters import Crypto, RerankParameters
from rerank_async.values.response import RerankResponse


@runtime_checkable
class Reranker(Protocol):
    """Anything that ranks as ``AsyncRerank.generate`` does, such as ``AsyncRerank`` and `FakeReranker`.

    Annotate what your service is given with it, and hand in the real client or a fake. ``isinstance`` looks only for
    a ``generate``; a type checker compares the whole signature.
    """

    async def generate(
        self,
        query: str,
        inputs: Iterable[str | Mapping[str, Any]],
        params: RerankParameters | Mapping[str, Any] | None = None,
        crypto: Crypto | Mapping[str, Any] | None = None,
        *,
        timeout: float | Default | None = DEFAULT,  # noqa: ASYNC109 - the client's own signature
        score_threshold: float | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> RerankResponse:
        """Ranks the inputs; see ``AsyncRerank.generate``."""
        ...
