"""What happens to a job, as frozen events: for an ``observer``, beside those of `rerank_async.values.events`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rerank_async.bulk.items import Id
from rerank_async.values.events import Event
from rerank_async.values.response import RerankResponse


class Started(NamedTuple):
    """The source was read once, and the job begins.

    Attributes:
        queries: How many the source holds; None: standard input, nobody knows.
        done: How many of them were finished before, by a job that is resumed.
        failed: How many of them failed before, and are not taken up again.
        index_seconds: How long the index of a large corpus took to build; 0.0: none was built.
        repaired: Bytes of a line that was not finished, cut off from the journal.
    """

    queries: int | None
    done: int
    failed: int
    index_seconds: float
    repaired: int


class QueryDone(NamedTuple):
    """A query is finished, and stands in the output or in its journal; or it failed for good.

    Attributes:
        id: What the source calls it; None if that cannot be told.
        line: Its line in the source, from 1.
        response: The ranking; None: it failed.
        error: Why; None: it did not fail.
        inputs: The candidates that were scored, however many results came back; 0: it failed.
    """

    id: Id | None
    line: int
    response: RerankResponse | None
    error: Exception | None
    inputs: int = 0


class Outage(NamedTuple):
    """The service does not answer; the job waits.

    Attributes:
        error: What came last.
        seconds: Since when, in seconds.
        most: After how many seconds the job stops.
    """

    error: Exception
    seconds: float
    most: float


class OutageOver(NamedTuple):
    """The service answers again.

    Attributes:
        seconds: How long it did not.
    """

    seconds: float


class Summary(NamedTuple):
    """What a job did, of a job that was resumed: since then.

    Attributes:
        queries: How many the source holds; None: it was not read to its end.
        done: Finished, those of before included.
        failed: Failed, those of before included.
        resumed: Finished or failed before this process began.
        inputs: Candidates that were scored.
        requests: Requests sent, retries included.
        retries: Requests sent again after a failure.
        throttled: Requests answered with a 429.
        tokens: Tokens billed, as far as the service said.
        outages: Outages that were waited out.
        seconds: From the first query to the end; the index's build is not in it.
        index_seconds: How long the index of a large corpus took to build.
        complete: Whether every query is finished or failed, and the output written.
        output: The file; ``-`` for standard output.
        failures: The file that lists what failed; None: nothing did.
    """

    queries: int | None
    done: int
    failed: int
    resumed: int
    inputs: int
    requests: int
    retries: int
    throttled: int
    tokens: int
    outages: int
    seconds: float
    index_seconds: float
    complete: bool
    output: str
    failures: str | None

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**self._asdict(), "seconds": round(self.seconds, 3), "index_seconds": round(self.index_seconds, 3)}


BulkEvent = Started | QueryDone | Outage | OutageOver
BulkObserver = Callable[[BulkEvent | Event], object]
