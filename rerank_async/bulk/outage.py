"""Telling an outage from one query's misfortune, and waiting until it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rerank_async.bulk.errors import JobStoppedError
from rerank_async.bulk.events import Outage, OutageOver
from rerank_async.bulk.pulse import Pulse
from rerank_async.bulk.verdicts import Verdict, verdict
from rerank_async.errors import NoAnswerError, RerankError, StatusError
from rerank_async.runtime.clock import Clock, Timer, set_in_time
from rerank_async.values.events import Event

FIRST_PAUSE = 1.0
"""Seconds between the first two questions whether the service answers; doubled each time."""
LONGEST_PAUSE = 30.0
SUSPICIOUS = 2.0
"""Seconds without any answer, from a failure on, after which the service is asked. Where others are answered meanwhile,
a failure is bad luck."""
PATIENCE = 5.0
"""Seconds within which the tiny request has to be answered, or another one."""
_LEAST = 1.0  # seconds for either, also where the longest outage ends before


class Watch:
    """Holds new work back while the service does not answer.

    A query that failed in a way that may pass says little: the service may be down, or choke on this one query. Nor
    does a request that goes again, while others are answered; but the client's own retries may go on for minutes, so
    where nothing is answered for a moment after one, that is as suspicious. Then a tiny request is sent, once. If it or
    any other is answered, it was the query; if not, this is an outage, and one tiny request after the other is sent
    until one is answered. An outage counts from the first failure since the last answer.

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
        known: Callable[[], RerankError | None] = lambda: None,
    ) -> None:
        """Sends nothing.

        Args:
            ask: Sends the tiny request, and raises what `generate` raises.
            settled: Called when the service answers, with whether there was an outage, before work goes on.
            tell: Hears that there is an outage, again after each question, and that it is over.
            stop: Called once the job has to end, with the reason.
            clock: To wait by.
            max_outage: Seconds of an outage after which the job ends.
            known: What has failed so far where nothing is answered, such as the exchange of a token; None: nothing.
        """
        self._ask, self._settled, self._tell, self._stop = ask, settled, tell, stop
        self._clock, self._known = clock, known
        self._max_outage = max_outage
        self._pulse = Pulse()
        self._timer: Timer | None = None
        self._awake = asyncio.Event()
        self._last: RerankError | None = None
        self._suspected = self._closed = False
        self._task: asyncio.Task[None] | None = None
        self.outages = 0
        self.clear = asyncio.Event()
        self.clear.set()

    def hear(self, event: Event) -> None:
        """Takes an event of the client."""
        pulse = self._pulse
        since, answers = pulse.failing_since, pulse.answers
        pulse.hear(event, self._clock.now())
        if pulse.answers != answers:
            self._awake.set()
        if pulse.failing_since != since:
            self._cancel_timer()
            if pulse.failing_since is not None:
                due_at = pulse.failing_since + min(SUSPICIOUS, max(_LEAST, self._max_outage))
                self._timer = self._clock.call_at(due_at, self.suspect)

    def suspect(self, error: RerankError | None = None) -> None:
        """A query failed in a way that may pass, with this error; or nothing is answered any more."""
        if self._closed:
            return
        self._last = error or self._last
        self._suspected = True
        if self._task is None or self._task.done():
            self.clear.clear()
            self._task = asyncio.get_running_loop().create_task(self._settle(), name="rerank_async outage")

    async def aclose(self) -> None:
        """Ends the waiting. Harmless when repeated."""
        self._closed = True
        self._cancel_timer()
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
        failing_since = self._pulse.failing_since
        began = self._clock.now() if failing_since is None else failing_since
        pause = FIRST_PAUSE
        outage = False
        while (error := await self._failure(began + self._max_outage)) is not None:
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
            await self._rest(min(max(pause, asked), rest))
            pause = min(pause * 2, LONGEST_PAUSE)
        if outage:
            self._tell(OutageOver(self._clock.now() - began))
        return outage

    async def _failure(self, end: float) -> RerankError | None:
        """What speaks against sending more; None: the service answers, be it that it refuses the tiny request."""
        answers = self._pulse.answers
        now = self._clock.now()
        patience = min(PATIENCE, max(_LEAST, end - now))
        asking = asyncio.ensure_future(self._ask())

        def give_up() -> None:
            asking.cancel()

        giving_up = self._clock.call_at(now + patience, give_up)
        try:
            await asyncio.wait((asking,))
        finally:
            giving_up.cancel()
            asking.cancel()
            await asyncio.wait((asking,))
        if asking.cancelled():
            error: RerankError = (
                self._known()
                or self._last
                or NoAnswerError(
                    f"no answer to a tiny request within {patience:.2g} s. Check the URL, the network and that the service is up"
                )
            )
        else:
            failure = asking.exception()
            if failure is None:
                return None
            if not isinstance(failure, RerankError):
                raise failure
            error = self._last = failure
        return None if self._pulse.answers != answers or verdict(error) is Verdict.QUERY else error

    async def _rest(self, seconds: float) -> None:
        """Waits, at most until any request is answered."""
        self._awake.clear()
        await set_in_time(self._awake, self._clock, seconds)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
