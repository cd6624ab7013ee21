"""`RerankRequest` and `RerankOutcome`: what goes into ``AsyncRerank.generate_many`` and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from rerank_async.values.parameters import RerankParameters
from rerank_async.values.response import RerankResponse


@attrs.frozen(eq=False, repr=False)
class RerankRequest:
    """One query and its passages.

    Its fields are checked when the request is taken up, so that a wrong one is the outcome of this request and not the
    end of all.

    Attributes:
        query: As of ``AsyncRerank.generate``.
        inputs: As of ``AsyncRerank.generate``.
        id: Yours, of any type, to know the outcome by; never sent.
        params: As of ``AsyncRerank.generate``; None: those of the client.
    """

    query: str
    inputs: Iterable[str | Mapping[str, Any]]
    id: Any = None
    params: RerankParameters | Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        # Logs and tracebacks with locals show outcomes; they are not to show texts.
        return f"RerankRequest(id={self.id!r})"


@attrs.frozen(eq=False)
class RerankOutcome:
    """What became of one request: either a response or an error.

    Attributes:
        request: The very object that was yielded.
        response: The ranking; None if there is an error.
        error: What ``AsyncRerank.generate`` would have raised, or what reading ``request.inputs`` raised; else None.
    """

    request: RerankRequest
    response: RerankResponse | None = None
    error: Exception | None = None
