"""The heart of a job: `AsyncRerank.generate_many` between a reader and a ledger."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable

from rerank_async.bulk.engine import once, token_failure
from rerank_async.bulk.errors import JobStoppedError
from rerank_async.bulk.events import BulkEvent, QueryDone
from rerank_async.bulk.items import BadItem, Item
from rerank_async.bulk.ledger import Ledger
from rerank_async.bulk.outage import Watch
from rerank_async.bulk.reader import Reader
from rerank_async.bulk.settings import JobSettings
from rerank_async.bulk.verdicts import Verdict, verdict
from rerank_async.client import AsyncRerank
from rerank_async.errors import RerankError, StatusError
from rerank_async.many import RerankMany
from rerank_async.runtime.clock import Clock
from rerank_async.values.events import Event, Retried, Sent, Throttled
from rerank_async.values.requests import RerankOutcome, RerankRequest
from rerank_async.values.response import RerankResponse

GRACE = 5.0
"""Seconds that requests under way are given to end once a job is to stop."""
ROUNDS = 3
"""How often a query is sent, each time with the client's own retries, while the service answers others: then the query
is what fails."""
IN_VAIN = 20
"""So many refusals before the first success end the job: it is not the queries that are wrong."""

_SHORT_GRACE = 0.25  # seconds, where the service does not answer: for answers that have come and were not yet kept
_AHEAD = 4  # how far results in order may run ahead of the query they wait for, in units of max_in_flight


class Counts:
    """What the client did, from its events.

    Attributes:
        requests: Requests sent.
        retries: Requests sent again after a failure.
        throttled: Requests answered with a 429.
    """

    def __init__(self) -> None:
        self.requests = self.retries = self.throttled = 0

    def hear(self, event: Event) -> None:
        """Takes an event of the client."""
        kind = type(event)
        if kind is Sent:
            self.requests += 1
        elif kind is Retried:
            self.retries += 1
        elif kind is Throttled:
            self.throttled += 1


class Runner:
    """Runs the queries of a reader, once.

    Attributes:
        inputs: Candidates that were scored.
        tokens: Tokens billed.
        stopping: Whether no more queries are taken up.
    """

    def __init__(
        self,
        engine: AsyncRerank,
        reader: Reader,
        ledger: Ledger,
        settings: JobSettings,
        *,
        tell: Callable[[BulkEvent], object],
        hand: Callable[[QueryDone], Awaitable[object]] | None,
        clock: Clock,
    ) -> None:
        """Sends nothing.

        Args:
            engine: From `rerank_async.bulk.job.engine_of`.
            reader: What to rank.
            ledger: Opened.
            settings: How.
            tell: Hears of everything.
            hand: Takes each finished query, and may take its time.
            clock: To wait by.
        """
        self._engine, self._reader, self._ledger, self._settings = engine, reader, ledger, settings
        self._tell, self._hand = tell, hand
        self.watch = Watch(
            self._ask,
            settled=self._settle,
            tell=tell,
            stop=self._stop_at_once,
            clock=clock,
            max_outage=settings.max_outage,
            known=lambda: token_failure(engine),
        )
        self._doubtful: list[tuple[Item, int, Exception]] = []
        self._again: deque[tuple[Item, int]] = deque()
        self._flying = 0
        self._landed = asyncio.Event()
        self._scope: asyncio.Timeout | None = None
        self._reason: Exception | None = None
        self._refused = 0
        self._succeeded = False
        self.stopping = False
        self.inputs = self.tokens = 0

    async def run(self) -> None:
        """Returns when every query is finished or failed, or `stop` was called.

        Raises:
            JobStoppedError: The service ended the job.
            OutputError: The ledger cannot be written.
            SourceError: The source cannot be read any further, or a query of it cannot be sent and is to stop the job.
        """
        scope = asyncio.timeout(None)
        try:
            async with scope as self._scope, self._many() as outcomes:
                async for outcome in outcomes:
                    self._flying -= 1
                    done = self._land(outcome)
                    self._landed.set()
                    await self._report(done)
        except TimeoutError as exc:
            if isinstance(exc, RerankError) or not scope.expired():
                raise
        finally:
            await self.watch.aclose()
        if self._reason is not None:
            raise self._reason

    def stop(self, grace: float = GRACE) -> None:
        """Takes up no more queries, and gives those under way a few seconds."""
        if self.stopping:
            return
        self.stopping = True
        self.watch.clear.set()
        self._landed.set()
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time() + grace)

    def _many(self) -> RerankMany:
        return self._engine.generate_many(self._wanted(), max_in_flight=self._settings.max_in_flight)

    async def _wanted(self) -> AsyncGenerator[RerankRequest, None]:
        """The requests, as there is room for them; each carries its query of the source, and how often that failed."""
        clear = self.watch.clear
        ahead = _AHEAD * self._settings.max_in_flight
        next_one: Item | None = None
        while not self.stopping:
            if not clear.is_set():
                await clear.wait()
            elif self._again:
                yield self._request(*self._again.popleft())
            elif next_one is not None:
                if self._ledger.takes(next_one.at, ahead):
                    yield self._request(next_one, 0)
                    next_one = None
                else:
                    await self._landing()
            elif (found := await self._reader.next()) is None:
                if self._again:
                    continue  # the service answered while the end of the source was read
                if not self._flying and not self._doubtful:
                    return
                await self._landing()
            elif isinstance(found, BadItem):
                await self._report(self._fail(found, found.error))
            else:
                next_one = found

    def _request(self, item: Item, rounds: int) -> RerankRequest:
        self._flying += 1
        return RerankRequest(item.query, item.inputs, (item, rounds))

    async def _landing(self) -> None:
        self._landed.clear()
        await self._landed.wait()

    def _land(self, outcome: RerankOutcome) -> QueryDone | None:
        """Keeps what came back; None: it goes again."""
        item, rounds = outcome.request.id
        response, error = outcome.response, outcome.error
        if response is not None:
            self._ledger.keep(item, response.results)
            self._succeeded = True
            self.inputs += len(item.inputs)
            self.tokens += response.input_token_count or 0
            return QueryDone(item.id, item.line, response, None, len(item.inputs))
        assert error is not None  # noqa: S101 - one of the two
        judged = verdict(error)
        if self._reason is not None or (judged is not Verdict.QUERY and self.stopping):
            return None  # the job ends: what did not succeed is left for the next time
        if judged is Verdict.JOB:
            self._stop_for(JobStoppedError(f"the job stops: {error}", reason=_ours(error)), error)
            return None
        if judged is Verdict.MOMENT:
            self._doubtful.append((item, rounds + 1, error))
            self.watch.suspect(_ours(error))
            return None
        return self._fail(item, error)

    def _fail(self, item: Item | BadItem, error: Exception) -> QueryDone | None:
        """A query failed for good; None: it ends the job instead."""
        if self._settings.on_error == "stop":
            where = "" if isinstance(item, BadItem) else f"query {item.id!r} (line {item.line}): "
            words = f"{where}{error}; --on-error skip would list it and go on"
            self._stop_for(JobStoppedError(words, reason=_ours(error)), error)
            return None
        self._ledger.fail(item.at, item.line, item.id, error)
        if isinstance(error, StatusError) and not self._succeeded:
            self._refused += 1
            if self._refused == IN_VAIN:
                words = (
                    f"the service refused each of the first {IN_VAIN} queries, the last one so: {error}. Put that right, "
                    "and have them tried again; if it takes other parameters, another model or another source, that is "
                    "another job, which --overwrite begins anew"
                )
                self._stop_for(JobStoppedError(words, reason=error), error)
        return QueryDone(item.id, item.line, None, error)

    async def _settle(self, outage: bool) -> None:
        """The service answers: what failed meanwhile goes again, unless it is what fails while others do not."""
        doubtful, self._doubtful = self._doubtful, []
        for item, rounds, error in doubtful:
            if outage or rounds < ROUNDS:
                self._again.append((item, 0 if outage else rounds))
            else:
                await self._report(self._fail(item, error))
        self._landed.set()

    async def _report(self, done: QueryDone | None) -> None:
        if done is not None:
            self._tell(done)
            if self._hand is not None:
                await self._hand(done)

    def _stop_at_once(self, reason: Exception) -> None:
        """As `_stop_for`, where what is under way would not be answered."""
        self._stop_for(reason, grace=_SHORT_GRACE)

    def _stop_for(self, reason: Exception, cause: Exception | None = None, grace: float = GRACE) -> None:
        if self._reason is None:
            if isinstance(reason, JobStoppedError):
                reason.__cause__ = cause or reason.reason
            self._reason = reason
        self.stop(grace)

    async def _ask(self) -> RerankResponse:
        """The tiny request that tells whether the service answers."""
        return await once(self._engine).generate("does the service answer", ["yes"])


def _ours(error: Exception) -> RerankError | None:
    return error if isinstance(error, RerankError) else None
