"""What the server remembers of its visitors: a bounded list of requests, and counters."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import attrs
from aiohttp import web


@attrs.define
class Visit:
    """What is known of a rerank request while it is worked on; the door writes to it as it learns more.

    Attributes:
        arrived_at: As in `Arrival`.
        headers: Headers of the answer.
        inputs: As in `Arrival`.
        model_id: As in `Arrival`.
        fault: As in `Arrival`.
        begun: The status of an answer that goes out in pieces, from before its first byte; else None.
        status: As in `Arrival`; set before the first byte of an answer in one piece.
    """

    arrived_at: float
    headers: dict[str, str]
    inputs: int | None = None
    model_id: str | None = None
    fault: str | None = None
    begun: int | None = None
    status: int | None = None


class Watcher(Protocol):
    """Is shown what the server itself keeps nothing of: for tests that ask what was sent."""

    def __call__(self, request: web.Request, body: bytes, visit: Visit) -> None:
        """Look at a rerank request.

        Called once for each, as soon as it is in whole and before anything is decided on it, in the order in which
        the faults are drawn. Must not raise.

        Args:
            request: The request, its token included.
            body: Its body.
            visit: Goes on being written to until the request is answered.
        """
        ...


@attrs.frozen(kw_only=True)
class Arrival:
    """One request that reached the rerank door. Never a token, never a text.

    Attributes:
        arrived_at: Seconds on the event loop's clock (``time.monotonic`` of a plain loop), when its headers were in.
        seconds: From then until it was answered.
        status: The status answered; None if the client left, or the connection was cut before a status.
        inputs: Number of inputs; None where the body was not read, as for a 429.
        model_id: The model asked for; None where the body was not read.
        fault: The name of the fault it met, or None.
        trace: The id in the ``x-global-transaction-id`` header.
    """

    arrived_at: float
    seconds: float
    status: int | None
    inputs: int | None
    model_id: str | None
    fault: str | None
    trace: str


@attrs.define
class Counts:
    """Live counters of a server; they only grow, but for `in_flight`.

    Attributes:
        rerank: Requests that reached the rerank door, whatever became of them.
        throttled: Of them, those that the rate limit refused; the fault ``rate_limited`` is counted in `faults`.
        inputs: Inputs scored and answered.
        tokens: Tokens given out at the token door.
        token_requests: Requests that reached the token door.
        specs: Requests for the model specs.
        platform: Requests for a project or a space.
        in_flight: Rerank requests being worked on now.
        max_in_flight: The most of them at once so far.
        statuses: Rerank answers by status.
        faults: Faults by name, of both doors.
    """

    rerank: int = 0
    throttled: int = 0
    inputs: int = 0
    tokens: int = 0
    token_requests: int = 0
    specs: int = 0
    platform: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    statuses: Counter[int] = attrs.Factory(Counter)
    faults: Counter[str] = attrs.Factory(Counter)
