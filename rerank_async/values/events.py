"""What happens to a call, as frozen events for an ``observer``: the seam for progress, statistics, logs and traces.

An observer is any callable that takes one event. It is called synchronously in the event loop, so it must be quick;
what it raises is logged and does not disturb the call. Times named ``_at`` are seconds of the monotonic clock.

The order for one call: `Queued`; for each request `Sent`, then `Answered` if an answer came, then perhaps `Throttled`
`Retried` or `Hedged`; at the end `Merged` or `Failed`. Events of concurrent batches interleave.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Queued(NamedTuple):
    """A call was accepted.

    Attributes:
        call: The call's number, unique in this process.
        at: When.
        inputs: Texts in the caller's list.
        unique: Texts that will be sent: without repetitions, where they are sent once.
        requests: Requests that will be needed if each succeeds at once.
    """

    call: int
    at: float
    inputs: int
    unique: int
    requests: int


class Sent(NamedTuple):
    """A request was given its permit and goes out.

    Attributes:
        batch: The batch's number inside the call, from 0, in the order of the inputs.
        inputs: Texts in it.
        attempt: 1 for the first request of this batch; a 429 does not count up.
        waited: Seconds between asking for the permit and getting it.
    """

    call: int
    at: float
    batch: int
    inputs: int
    attempt: int
    waited: float


class Answered(NamedTuple):
    """An answer came, good or bad.

    Attributes:
        status: The HTTP status.
        seconds: From sending to the answer's last byte.
        trace: The service's id of the exchange; None if it gave none.
    """

    call: int
    at: float
    batch: int
    inputs: int
    status: int
    seconds: float
    trace: str | None


class Throttled(NamedTuple):
    """The answer was a 429: every request of the client waits, and this batch goes again first.

    Attributes:
        delay: Seconds for which the client now holds its requests.
        retry_after: Seconds that the service asked for; None if it did not say.
    """

    call: int
    at: float
    batch: int
    delay: float
    retry_after: float | None


class Retried(NamedTuple):
    """A request failed in a way that a retry may mend, and the batch will be sent again.

    Attributes:
        attempt: The number of the request that failed, from 1.
        delay: Seconds until the batch asks for its next permit.
        reason: The service's code, or the name of our error class.
    """

    call: int
    at: float
    batch: int
    attempt: int
    delay: float
    reason: str


class Hedged(NamedTuple):
    """A request takes unusually long, and a second copy of it races it; the first good answer counts.

    Attributes:
        delay: Seconds for which the first was waited for.
    """

    call: int
    at: float
    batch: int
    delay: float


class Merged(NamedTuple):
    """The call is done.

    Attributes:
        results: Results in the response, after ``top_n``.
        seconds: From the call's start.
    """

    call: int
    at: float
    results: int
    seconds: float


class Failed(NamedTuple):
    """The call failed, or was cancelled.

    Attributes:
        reason: The service's code, or the name of the error's class.
        seconds: From the call's start.
    """

    call: int
    at: float
    reason: str
    seconds: float


Event = Queued | Sent | Answered | Throttled | Retried | Hedged | Merged | Failed
Observer = Callable[[Event], object]
