"""One call: its texts cut into batches, sent side by side as permits come, and merged."""

from __future__ import annotations

import asyncio
import logging
from bisect import insort
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from rerank_async.errors import AuthenticationError, DeadlineExceededError, RateLimitError, RerankError
from rerank_async.exchange import Batch, Channel, exchange
from rerank_async.policy.merging import BatchResult, merge_envelopes, rank, scored_pairs
from rerank_async.policy.planning import Load, pushed_top_n, requests_needed, take
from rerank_async.policy.retrying import Again, Decision, GiveUp, NewToken, Pause, decide
from rerank_async.policy.statistics import stats_of
from rerank_async.policy.wire import encode_body
from rerank_async.runtime.gate import Permit
from rerank_async.runtime.tokens import Token
from rerank_async.values.events import Event, Failed, Merged, Observer, Queued, Retried, Throttled
from rerank_async.values.response import NO_EXTRA, RerankResponse, RerankResult

_logger = logging.getLogger("rerank_async")
_numbers = count(1)


class Job(NamedTuple):
    """What a call is to do.

    Attributes:
        head: The body without its inputs.
        load: The texts.
        top_n: The cut after the merge; None: all.
        texts: The caller's texts, where the results are to carry them; else None.
        query: The query, where the response is to carry it; else None.
        echo: Whether the service was asked to echo the texts.
        headers: Of each request, without the token.
        deadline: On the monotonic clock; None: none.
        flow: With whom it takes turns; None: it is a flow of its own.
        whole: Whether every score is asked for, whatever ``top_n`` cuts in the end: batches are handed out as they land.
    """

    head: Mapping[str, Any]
    load: Load
    top_n: int | None
    texts: Sequence[str] | None
    query: str | None
    echo: bool
    headers: Mapping[str, str]
    deadline: float | None
    flow: Hashable | None = None
    whole: bool = False


class Call:
    """Runs one job over a channel, once."""

    def __init__(
        self,
        channel: Channel,
        job: Job,
        max_lanes: int,
        observers: Sequence[Observer],
        landed: Callable[[tuple[RerankResult, ...]], None] | None = None,
    ) -> None:
        """Prepares it.

        Args:
            channel: What the client shares.
            job: What to do.
            max_lanes: Batches under way at once, at most.
            observers: Hear of what happens.
            landed: Takes the results of each batch as they come, best first, with indices in the caller's list.
        """
        self._channel = channel
        self._landed = landed
        self._job = job
        self._max_lanes = max_lanes
        self._observers = observers
        self._number = next(_numbers)
        self._events: list[Event] = []
        self._emit: Callable[[Event], None] = self._tell if observers else self._events.append
        self._next_start = 0
        self._next_number = 0
        self._again: list[Batch] = []
        self._done: list[tuple[int, BatchResult]] = []
        self._failed: dict[RerankError, int] = {}
        self._last_failure = ""
        self._started_at = channel.clock.now()

    async def run(self) -> RerankResponse:
        """Sends everything and merges it.

        Raises:
            RerankError: The error of the lowest of the batches that had failed when the first failure was seen; the
                others, and what was scored, are attached.
        """
        job = self._job
        requests = requests_needed(job.load)
        self._emit(Queued(self._number, self._started_at, job.load.inputs, len(job.load.texts), requests))
        try:
            if job.deadline is None and requests == 1:
                await self._lane()
            elif job.deadline is None:
                await self._run_lanes(requests)
            else:
                await self._run_until(job.deadline, requests)
        except BaseException as exc:
            reason = getattr(exc, "code", None) or type(exc).__name__
            now = self._channel.clock.now()
            self._emit(Failed(self._number, now, reason, now - self._started_at))
            if isinstance(exc, RerankError):
                exc.scored = scored_pairs(self._done, job.load.positions)
            raise
        return self._merge()

    async def _run_until(self, deadline: float, requests: int) -> None:
        self._channel.gate.check(requests, deadline)
        late = False
        try:
            async with asyncio.timeout(max(0.0, deadline - self._channel.clock.now())) as scope:
                await self._run_lanes(requests)
        except TimeoutError as exc:
            if isinstance(exc, RerankError) or not scope.expired():
                raise
            late = True
        # Outside of the block, so that no context holds aiohttp's frames, which show the headers.
        if late:
            scored = sum(len(result.indices) for _, result in self._done)
            raise DeadlineExceededError(
                f"the call's deadline of {round(deadline - self._started_at, 3):g} s passed; {scored} of "
                f"{len(self._job.load.texts)} texts were scored by then, and are attached to this error"
                + (f". The last failure: {self._last_failure}" if self._last_failure else ""),
                url=self._channel.where,
            )

    async def _run_lanes(self, requests: int) -> None:
        lanes = min(requests, self._max_lanes)
        if lanes == 1:
            await self._lane()
            return
        chosen: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(lanes):
                    group.create_task(self._lane())
        except BaseExceptionGroup as failures:
            chosen = self._chosen(failures.exceptions)
        if chosen is not None:
            raise chosen

    def _chosen(self, failures: Sequence[BaseException]) -> BaseException:
        """The one error to raise: of the lowest failed batch, with those of the others attached."""
        for failure in failures:
            if not isinstance(failure, RerankError):
                return failure
        if not self._failed:
            return failures[0]  # no token, or no time: nothing about one batch
        first, *others = sorted(self._failed, key=self._failed.__getitem__)
        first.others = tuple(others)
        return first

    async def _lane(self) -> None:
        """Sends batch after batch until nothing is left. Those that must go again go first."""
        gate, tokens = self._channel.gate, self._channel.tokens
        ticket: int | None = None
        while self._again or self._next_start < len(self._job.load.texts):
            if ticket is None:
                ticket = self._again[0].ticket if self._again else gate.ticket()
            if tokens.alive() is None:
                await tokens.get()
            # The last await before sending: an IAM stall must not let granted permits fire together.
            permit = gate.enter_now() or await gate.enter(ticket, self._job.deadline)
            if await self._attempt(permit, ticket):
                ticket = None

    def _take(self, ticket: int) -> Batch | None:
        """The next batch: one that must go again, else one cut from what is left, else None."""
        if self._again:
            return self._again.pop(0)
        job = self._job
        start = self._next_start
        stop = take(job.load, start)
        if stop == start:
            return None
        texts = job.load.texts if stop - start == len(job.load.texts) else job.load.texts[start:stop]
        top_n = None if job.whole else pushed_top_n(job.top_n, stop - start)
        batch = Batch(self._next_number, start, stop - start, ticket, encode_body(job.head, texts, top_n), top_n)
        self._next_start = stop
        self._next_number += 1
        return batch

    async def _attempt(self, permit: Permit, ticket: int) -> bool:
        """Sends a batch with the permit; returns whether the permit was used."""
        channel = self._channel
        try:
            token = channel.tokens.alive()
            if token is None:  # it died, or was refused to another batch, while this one waited
                return False
            batch = self._take(ticket)
            if batch is None:  # another lane had it
                return False
            try:
                result = await exchange(
                    channel,
                    batch,
                    permit,
                    token,
                    headers=self._job.headers,
                    echo=self._job.echo,
                    call=self._number,
                    emit=self._emit,
                )
            except RerankError as error:
                failure = error
            else:
                self._done.append((batch.start, result))
                if self._landed is not None:
                    job = self._job
                    self._landed(rank(self._done[-1:], job.load.positions, top_n=None, texts=job.texts))
                return True
            # Before the permit leaves: a 429 must hold the next one that waits.
            decision = self._decide(batch, permit, failure)
        finally:
            channel.gate.leave(permit)
        await self._follow(decision, batch, token, failure)
        return True

    def _decide(self, batch: Batch, permit: Permit, error: RerankError) -> Decision:
        channel = self._channel
        self._last_failure = str(error)
        batch.throttled += isinstance(error, RateLimitError)
        decision = decide(
            error,
            attempts=batch.attempts,
            throttled=batch.throttled,
            renewed=batch.renewed or channel.tokens.advice is not None,
            options=channel.retries,
        )
        if isinstance(decision, Pause):
            delay = channel.gate.throttled(permit, decision.retry_after)
            self._emit(Throttled(self._number, channel.clock.now(), batch.number, delay, decision.retry_after))
        return decision

    async def _follow(self, decision: Decision, batch: Batch, token: Token, error: RerankError) -> None:
        """Does what was decided: puts the batch back at the head, at once or after a rest, or raises."""
        channel = self._channel
        if isinstance(decision, GiveUp):
            advice = channel.tokens.advice if isinstance(error, AuthenticationError) else None
            raise self._final(batch, error, decision.reason or advice)
        if isinstance(decision, NewToken):
            channel.tokens.drop(token)
            batch.renewed = True
        if not isinstance(decision, Pause):
            delay = decision.delay if isinstance(decision, Again) else 0.0
            reason = getattr(error, "code", None) or type(error).__name__
            self._emit(Retried(self._number, channel.clock.now(), batch.number, batch.attempts, delay, reason))
            if delay:
                await self._rest(delay, batch, error)
        insort(self._again, batch, key=lambda other: other.number)

    async def _rest(self, delay: float, batch: Batch, error: RerankError) -> None:
        deadline = self._job.deadline
        if deadline is not None and self._channel.clock.now() + delay > deadline:
            late = DeadlineExceededError(
                f"the next attempt is due in {delay:.1f} s, after the call's deadline; the last one failed: {error}",
                url=self._channel.where,
            )
            raise self._final(batch, late, None) from error
        await self._channel.gate.rest(delay)

    def _final(self, batch: Batch, error: RerankError, reason: str | None) -> RerankError:
        if reason:
            error.args = (f"{error.args[0]} ({reason})", *error.args[1:])
        error.attempts = batch.sent
        self._failed[error] = batch.number
        return error

    def _merge(self) -> RerankResponse:
        job = self._job
        results = rank(self._done, job.load.positions, top_n=job.top_n, texts=job.texts)
        now = self._channel.clock.now()
        self._emit(Merged(self._number, now, len(results), now - self._started_at))
        envelope = merge_envelopes([result.envelope for _, result in self._done])
        return RerankResponse(
            model_id=envelope.model_id or job.head["model_id"],
            results=results,
            created_at=envelope.created_at,
            input_token_count=envelope.input_token_count,
            model_version=envelope.model_version,
            query=envelope.query if job.query is None else job.query,
            warnings=envelope.warnings,
            stats=stats_of(self._events),
            extra=envelope.extra or NO_EXTRA,
        )

    def _tell(self, event: Event) -> None:
        self._events.append(event)
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                _logger.exception("an observer raised; the call goes on")
