"""Telling an outage from one query's misfortune, and waiting until it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rerank_async.bulk.errors import JobStoppedError
from rerank_async.bulk.events import Outage, OutageOver
from rerank_async.bulk.verdicts import Verdict, verdict
from rerank_async.errors import RerankError, StatusError
from rerank_async.runtime.clock import Clock

FIRST_PAUSE = 1.0
"""Seconds between the first two questions whether the service answers; doubled each time."""
LONGEST_PAUSE = 30.0


class Watch:
    """Holds new work back while the service does not answer.

    A query that failed in a way that may pass says little: the service may be down, or choke on this one query. So a
    tiny request is sent. If it is answered, it was the query; if not, this is an outage, and one tiny request after the
    other is sent until one is answered.

    Attributes:
        outages: How many there were.
        clear: Set while new work may be sent.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[object]],
        *,
        settled: Callable[[bool], Awaitable[object]],
        tell: Callable[[Outage | OutageOver], object],
        stop: Callable[[Exception], object],
        clock: Clock,
        max_outage: float,
    ) -> None:
        """Sends nothing.

        Args:
            ask: Sends the tiny request, and raises what `generate` raises.
            settled: Called when the service answers, with whether there was an outage, before work goes on.
            tell: Hears that there is an outage, again after each question, and that it is over.
            stop: Called once the job has to end, with the reason.
            clock: To wait by.
            max_outage: Seconds of an outage after which the job ends.
        """
        self._ask, self._settled, self._tell, self._stop = ask, settled, tell, stop
        self._clock = clock
        self._max_outage = max_outage
        self._suspected = False
        self._task: asyncio.Task[None] | None = None
        self.outages = 0
        self.clear = asyncio.Event()
        self.clear.set()

    def suspect(self) -> None:
        """A query failed in a way that may pass."""
        self._suspected = True
        if self._task is None or self._task.done():
            self.clear.clear()
            self._task = asyncio.get_running_loop().create_task(self._settle(), name="rerank_async outage")

    async def aclose(self) -> None:
        """Ends the waiting. Harmless when repeated."""
        self.clear.set()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _settle(self) -> None:
        try:
            while self._suspected:  # once more, if a query failed while the last ones were settled
                self._suspected = False
                outage = await self._until_answered()
                if outage is None:
                    return
                await self._settled(outage)
        except Exception as exc:  # noqa: BLE001 - nobody awaits this task; the job must not wait for ever
            self._stop(exc)
        self.clear.set()

    async def _until_answered(self) -> bool | None:
        """Waits until the service answers; whether that was an outage. None: the job has to end."""
        began = self._clock.now()
        pause = FIRST_PAUSE
        outage = False
        while (error := await self._failure()) is not None:
            if verdict(error) is Verdict.JOB:
                self._stop(JobStoppedError(f"the job stops: {error}", reason=error))
                return None
            self.outages += not outage
            outage = True
            lasted = self._clock.now() - began
            asked = (error.retry_after or 0.0) if isinstance(error, StatusError) else 0.0
            rest = self._max_outage - lasted
            if rest <= 0 or asked > rest:
                words = f"the service has not answered for {lasted:.0f} s, so the job stops: {error}"
                self._stop(JobStoppedError(words, reason=error))
                return None
            self._tell(Outage(error, lasted, self._max_outage))
            await self._clock.sleep(min(max(pause, asked), rest))
            pause = min(pause * 2, LONGEST_PAUSE)
        if outage:
            self._tell(OutageOver(self._clock.now() - began))
        return outage

    async def _failure(self) -> RerankError | None:
        """What speaks against sending more; None: the service answers, be it that it refuses the tiny request."""
        try:
            await self._ask()
        except RerankError as error:
            return None if verdict(error) is Verdict.QUERY else error
        return None
