"""A bulk job, as its maker sees it: to be awaited, or iterated query by query."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rerank_async.bulk.engine import in_full
from rerank_async.bulk.errors import JobError
from rerank_async.bulk.events import BulkEvent, BulkObserver, QueryDone, Started, Summary
from rerank_async.bulk.ledger import Ledger
from rerank_async.bulk.reader import Reader
from rerank_async.bulk.runner import Counts, Runner
from rerank_async.bulk.settings import JobSettings
from rerank_async.bulk.source import HaltedError, Source, Survey
from rerank_async.client import AsyncRerank
from rerank_async.errors import ClientStateError
from rerank_async.handout import Handout
from rerank_async.runtime.clock import Clock, MonotonicClock, set_in_time
from rerank_async.values.events import Event, Observer
from rerank_async.values.options import LimitOptions

_logger = logging.getLogger("rerank_async")


class BulkJob(Handout[QueryDone]):
    """A job, made by `rerank_async.bulk.rerank_file`. It runs once, in one of two ways.

        summary = await job

        async with job:
            async for done in job:     # a QueryDone for each query, as it is finished
                ...
        job.summary

    Leaving the ``async with`` early ends the job, which can be resumed.
    """

    _maker = "rerank_file(...)"

    def __init__(
        self,
        client: AsyncRerank,
        source: Source,
        ledger: Ledger,
        settings: JobSettings,
        *,
        output_name: str,
        identity: dict[str, Any],
        observer: BulkObserver | None = None,
        clock: Clock | None = None,
    ) -> None:
        """For use by `rerank_async.bulk.rerank_file` alone: reads and sends nothing."""
        super().__init__()
        self._client = client
        self._source, self._ledger, self._settings = source, ledger, settings
        self._output_name, self._identity = output_name, identity
        self._observer = observer
        self._clock = clock or MonotonicClock()
        self._counts = Counts()
        self._reader: Reader | None = None
        self._runner: Runner | None = None
        self._queries: int | None = None
        self._before = 0
        self._began = self._ended = self._index_seconds = 0.0
        self._complete = self._begun = self._halted = False
        self._task: asyncio.Task[Summary] | None = None
        self._handed: deque[QueryDone] = deque()
        self._room = asyncio.Event()
        self._woken = asyncio.Event()

    def __await__(self) -> Generator[Any, None, Summary]:
        return self._run(iterated=False).__await__()

    def stop(self) -> None:
        """Takes up no more queries, and gives those under way a few seconds. The job can be resumed. From its loop."""
        self._halted = True
        self._woken.set()
        self._source.halt()
        if self._runner is not None:
            self._runner.stop()

    @property
    def summary(self) -> Summary:
        """What was done so far, and at the end."""
        ledger, runner, counts = self._ledger, self._runner, self._counts
        return Summary(
            queries=self._queries,
            done=ledger.done,
            failed=ledger.failed,
            resumed=self._before,
            inputs=0 if runner is None else runner.inputs,
            requests=counts.requests,
            retries=counts.retries,
            throttled=counts.throttled,
            tokens=0 if runner is None else runner.tokens,
            outages=0 if runner is None else runner.watch.outages,
            seconds=(self._ended or self._clock.now()) - self._began if self._began else 0.0,
            index_seconds=self._index_seconds,
            complete=self._complete,
            output=self._output_name,
            failures=ledger.failures,
        )

    async def _run(self, *, iterated: bool) -> Summary:
        if self._begun:
            raise ClientStateError(f"this job was begun before; make a new one with {self._maker}")
        self._begun = True
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="rerank_async bulk") as thread:
            try:
                survey = await loop.run_in_executor(thread, self._prepare)
                self._queries, self._index_seconds = survey.queries, self._source.built_seconds
                self._began = self._clock.now()
                ledger = self._ledger
                self._before = ledger.done + ledger.failed
                self._tell(Started(survey.queries, ledger.done, ledger.failed, self._index_seconds, ledger.repaired))
                if ledger.complete:
                    self._check_sum()
                elif not self._halted:
                    await self._rank(thread, iterated=iterated)
                self._complete = ledger.complete or not self._halted
            except HaltedError:
                pass  # stopped before the first query
            finally:
                self._source.halt()
                self._ended = self._clock.now()
                await loop.run_in_executor(thread, self._close)
        return self.summary

    async def _rank(self, thread: ThreadPoolExecutor, *, iterated: bool) -> None:
        self._reader = Reader(self._source, self._ledger.is_done, self._ledger.failed_lines, thread)
        self._runner = Runner(
            engine_of(self._client, self._hear),
            self._reader,
            self._ledger,
            self._settings,
            tell=self._tell,
            hand=self._hand if iterated else None,
            clock=self._clock,
        )
        if self._ledger.broken_off is not None:
            # What was just broken off may have spent all that the limit allows at the moment.
            window = _window(self._client.api_client.limits)
            await set_in_time(self._woken, self._clock, window - self._ledger.broken_off)
        await self._runner.run()
        self._halted = self._halted or self._runner.stopping
        if not self._halted:
            self._queries = self._reader.read
            self._check_sum()
            await asyncio.get_running_loop().run_in_executor(thread, self._ledger.finish)

    def _check_sum(self) -> None:
        """Refuses to call a job complete of which a query is neither finished nor failed, or is both."""
        done, failed = self._ledger.done, self._ledger.failed
        if self._queries is not None and done + failed != self._queries:
            raise JobError(
                f"{done} queries are finished and {failed} failed, but the source holds {self._queries}: a file beside "
                f"the output {self._output_name} is not as this job left it; begin anew with --overwrite"
            )

    def _prepare(self) -> Survey:
        """Everything before the first request; in a thread, because it may take a while."""
        settings = self._settings
        resume = settings.resume or settings.retry_failed
        if resume and self._source.is_pipe:
            raise JobError("standard input cannot be compared with that of the first run, so nothing can be resumed")
        self._ledger.check_apart(self._source.files)
        self._source.open()
        survey = self._source.survey()
        facts = {**self._identity, **self._source.identity(survey)}
        self._ledger.open(facts, resume=resume, overwrite=settings.overwrite, retry_failed=settings.retry_failed)
        return survey

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._ledger.close()
        self._source.close()

    def _tell(self, event: BulkEvent | Event) -> None:
        if self._observer is not None:
            try:
                self._observer(event)
            except Exception:
                _logger.exception("an observer raised; the job goes on")

    def _hear(self, event: Event) -> None:
        self._counts.hear(event)
        if self._runner is not None:
            self._runner.watch.hear(event)
        if self._observer is not None:
            self._tell(event)

    async def _hand(self, done: QueryDone) -> None:
        while len(self._handed) >= self._settings.max_in_flight:
            self._room.clear()
            await self._room.wait()
        self._handed.append(done)
        self._wake()

    # What `Handout` asks for

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(iterated=True), name="rerank_async bulk job")
        self._task.add_done_callback(lambda _: self._wake())

    def _take(self) -> QueryDone | None:
        if not self._handed:
            return None
        self._room.set()
        return self._handed.popleft()

    def _finished(self) -> bool:
        return self._task is not None and self._task.done() and not self._handed

    def _failure(self) -> BaseException | None:
        if self._task is None or self._task.cancelled():
            return ClientStateError("the job's task was cancelled")
        return self._task.exception()

    def _tasks(self) -> Iterable[asyncio.Task[Any]]:
        return () if self._task is None else (self._task,)

    def _drop(self) -> None:
        self._source.halt()
        self._handed.clear()


def _window(limits: LimitOptions) -> float:
    """Seconds in which the limit allows a burst once."""
    rate = limits.requests_per_second
    if not rate or rate == math.inf:
        return 0.0
    return (limits.burst or max(1, math.floor(rate))) / rate


def engine_of(client: AsyncRerank, observer: Observer) -> AsyncRerank:
    """The client as a job uses it, over the same session, token and limiter.

    No deadline, because a job waits for its turn, and full batches, because requests are what is scarce. A query is
    scored as a whole or has failed. Its own observer hears of everything as before.
    """
    engine = in_full(client)
    own = client._observer  # noqa: SLF001 - a view of it, made here
    if own is None:
        return engine.with_options(timeout=None, observer=observer)

    def both(event: Event) -> None:
        observer(event)
        own(event)

    return engine.with_options(timeout=None, observer=both)
