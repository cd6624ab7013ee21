"""One call: its texts cut into batches, sent side by side as permits come, and merged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rerank_async.errors import DeadlineExceededError, RerankError
from rerank_async.exchange import Batch, Channel, exchange
from rerank_async.job import Job
from rerank_async.policy.merging import BatchResult, merge_envelopes, rank, scored_pairs
from rerank_async.policy.planning import requests_needed
from rerank_async.policy.retrying import GiveUp
from rerank_async.policy.scores import above_threshold
from rerank_async.racing import race
from rerank_async.recovery import FATAL, Recovery
from rerank_async.runtime.permits import Permit
from rerank_async.runtime.token_store import Token
from rerank_async.tally import Tally
from rerank_async.values.response import NO_EXTRA, OpenResponse, RerankResponse, RerankResult, frozen
from rerank_async.work import Work


class Call:
    """Runs one job over a channel, once.

    One lane of a call waits at a time: for the token, then for a permit. When it has its permit and something is left,
    it opens the next lane. So a call has as many lanes as the moment allows, and one place in the queue.
    """

    __slots__ = (
        "_channel",
        "_flow",
        "_group",
        "_job",
        "_landed",
        "_recovery",
        "_scouting",
        "_started_at",
        "_tally",
        "_unanswered",
        "_work",
    )

    def __init__(
        self,
        channel: Channel,
        job: Job,
        landed: Callable[[tuple[RerankResult, ...]], None] | None = None,
    ) -> None:
        """Prepares it.

        Args:
            channel: What the client shares.
            job: What to do.
            landed: Takes the results of each batch as they come, best first, with indices in the caller's list.
        """
        self._channel = channel
        self._job = job
        self._landed = landed
        self._tally = Tally(job.terms.observers)
        self._work = Work(job)
        self._flow = self._tally.call if job.flow is None else job.flow
        self._recovery: Recovery | None = None
        self._group: asyncio.TaskGroup | None = None
        self._scouting = False
        self._unanswered = 0
        self._started_at = channel.clock.now()

    async def run(self) -> RerankResponse:
        """Sends everything and merges it.

        Raises:
            OverloadedError: More calls wait than may; nothing was sent.
            RerankError: The error of the lowest of the batches that had failed when the first failure was seen; the
                others, and what was scored, are attached.
        """
        job = self._job
        if job.flow is None:  # the calls of one run wait for each other, and not in the service's queue
            self._channel.gate.admit()
        if job.terms.observers:
            load = job.load
            self._tally.queued(self._started_at, load.inputs, len(load.texts), requests_needed(load))
        try:
            if job.deadline is None:
                await self._lane()
            else:
                await self._send_until(job.deadline)
            if self._recovery is not None:
                self._recovery.finish(cut_off=False)
        except BaseException as exc:
            self._give_back()
            if isinstance(exc, RerankError) and not exc.attempts:
                exc.attempts = self._most_sent()
            if isinstance(exc, DeadlineExceededError) and exc.__cause__ is None:
                self._explain(exc)
            if not (job.terms.partial and isinstance(exc, RerankError) and not isinstance(exc, FATAL)):
                self._note(exc)
                raise
            # Not about one batch: no token, or no time.
            if self._recovery is not None:
                self._recovery.finish(cut_off=True)
            self._work.fail(self._work.unscored(), exc)
        return self._merge()

    def _note(self, exc: BaseException) -> None:
        """The call fails with this error, which takes along what was scored."""
        seconds = self._channel.clock.now() - self._started_at
        reason = getattr(exc, "code", None) or type(exc).__name__
        self._tally.failed(self._started_at + seconds, reason, seconds)
        if isinstance(exc, RerankError):
            exc.scored = scored_pairs(self._work.done, self._job.load.positions)
            exc.stats = self._tally.stats(seconds)

    async def _send_until(self, deadline: float) -> None:
        self._channel.gate.check(requests_needed(self._job.load), deadline, self._flow)
        late = False
        try:
            async with asyncio.timeout(max(0.0, deadline - self._channel.clock.now())) as scope:
                await self._lane()
        except TimeoutError as exc:
            if isinstance(exc, RerankError) or not scope.expired():
                raise
            late = True
        # Outside of the block, so that no context holds aiohttp's frames, which show the headers.
        if late:
            error, cause = self._late(round(deadline - self._started_at, 3))
            raise error from cause

    def _late(self, seconds: float) -> tuple[DeadlineExceededError, RerankError | None]:
        """The error of a call whose deadline passed, and the last failure that it waited to see mended."""
        tokens = self._channel.tokens
        where, during = self._channel.where, ""
        last = self._recovery.last if self._recovery is not None else None
        waited_for_token = not self._unanswered and tokens.alive() is None
        if waited_for_token:
            failure = tokens.failure()
            where, during = getattr(failure, "url", None) or tokens.url or where, " while it waited for a token"
            last = failure or last
        scored = sum(len(result.indices) for _, result in self._work.done)
        error = DeadlineExceededError(
            f"the call's deadline of {seconds:g} s passed{during}; "
            + (
                f"{scored} of {len(self._job.load.texts)} texts were scored by then, and are attached to this error"
                if scored
                else "nothing was scored by then"
            )
            + (f". The last failure: {last}" if last is not None else ""),
            url=where,
        )
        if waited_for_token and last is not None:
            error.attempts = last.attempts
        return error, last

    def _explain(self, late: DeadlineExceededError) -> None:
        """Adds the last failure to an error of the gate, which does not know of it."""
        last = self._recovery.last if self._recovery is not None else None
        if last is not None:
            late.args = (f"{late.args[0]}. The last failure: {last}",)
            late.__cause__, late.url = last, self._channel.where

    def _most_sent(self) -> int:
        """How often the batch was sent that was sent most often without a result."""
        unmended = self._recovery.unmended if self._recovery is not None else ()
        return max(self._unanswered, max((batch.sent for batch in unmended), default=0))

    def _chosen(self, failures: Sequence[BaseException]) -> BaseException:
        """The one error to raise: of the lowest failed batch, with those of the others attached."""
        for failure in failures:
            if not isinstance(failure, RerankError):
                return failure
        failed = self._recovery.failed if self._recovery is not None else {}
        if not failed:
            return failures[0]  # no token, or no time: nothing about one batch
        first, *others = sorted(failed, key=failed.__getitem__)
        first.others = tuple(others)
        return first

    async def _lane(self) -> None:
        """Sends batch after batch until nothing is left, or another lane waits. Those that must go again go first."""
        channel, work = self._channel, self._work
        gate, tokens = channel.gate, channel.tokens
        while work.has_more() and not self._scouting:
            self._scouting = True
            try:
                token = tokens.alive() or await tokens.get()
                # The last await before sending: an IAM stall must not let granted permits fire together.
                permit = gate.enter_now()
                ticket = work.ticket
                if ticket is None:
                    ticket = gate.ticket()
                if permit is None:
                    permit = await gate.enter(ticket, self._job.deadline, self._flow)
                    # It may have died, or been refused to another batch, while this lane waited.
                    alive = tokens.alive()
                else:
                    alive = token
            finally:
                self._scouting = False
            batch = None if alive is None else work.take(ticket, gate)
            if batch is None or alive is None:
                gate.leave(permit)
            elif not work.has_more():
                await self._attempt(batch, permit, alive)
            elif self._group is None:
                await self._open_group(batch, permit, alive)
            else:
                self._group.create_task(self._lane())
                await self._attempt(batch, permit, alive)

    async def _open_group(self, batch: Batch, permit: Permit, token: Token) -> None:
        """Sends the batch, and the rest beside it in other lanes."""
        chosen: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._lane())
                await self._attempt(batch, permit, token)
                # This lane goes on as well: what must go again waits for no other lane's answer.
                await self._lane()
        except BaseExceptionGroup as failures:
            chosen = self._chosen(failures.exceptions)
        finally:
            self._group = None
        if chosen is not None:
            raise chosen

    async def _attempt(self, batch: Batch, permit: Permit, token: Token) -> None:
        """Sends a batch with its permit, and does what its answer asks for."""
        channel, job = self._channel, self._job
        try:
            try:
                if job.terms.hedging is None:
                    result = await exchange(channel, batch, permit, token, job, self._tally)
                else:
                    result = await race(channel, batch, permit, token, job, self._tally)
            except RerankError as error:
                failure = error
            except asyncio.CancelledError:
                self._unanswered = max(self._unanswered, batch.sent)
                raise
            else:
                self._work.done.append((batch.members, result))
                if self._recovery is not None:
                    self._recovery.landed(batch)
                if self._landed is not None and (results := self._rank([(batch.members, result)], None)):
                    self._landed(results)
                return
            if self._recovery is None:
                self._recovery = Recovery(channel, job, self._work, self._tally)
            # Before the permit leaves: a 429 must hold the next one that waits.
            decision = self._recovery.decide(batch, permit, failure)
            if isinstance(decision, GiveUp):
                # If the call fails of it, whoever has the permit next must find that nothing is left to send.
                await self._recovery.follow(decision, batch, token, failure)
                return
        finally:
            channel.gate.leave(permit)
        await self._recovery.follow(decision, batch, token, failure)

    def _give_back(self) -> None:
        for batch in self._work.drop():
            if batch.turn is not None:
                self._channel.retrying.give_back(batch.turn)

    def _rank(self, done: Sequence[tuple[Sequence[int], BatchResult]], top_n: int | None) -> tuple[RerankResult, ...]:
        job = self._job
        results = rank(done, job.load.positions, top_n=top_n, texts=job.texts)
        return results if job.score_threshold is None else above_threshold(results, job.score_threshold)

    def _merge(self) -> RerankResponse:
        job, work, tally = self._job, self._work, self._tally
        results = self._rank(work.done, job.top_n)
        now = self._channel.clock.now()
        seconds = now - self._started_at
        tally.merged(now, len(results), seconds)
        said = merge_envelopes([result.envelope for _, result in work.done])
        return frozen(
            OpenResponse(
                model_id=said.model_id or job.terms.model_id,
                results=results,
                created_at=said.created_at,
                input_token_count=said.input_token_count,
                model_version=said.model_version,
                query=said.query if job.query is None else job.query,
                warnings=(*said.warnings, *work.warnings) if work.warnings else said.warnings,
                failures=tuple(work.failures),
                stats=tally.stats(seconds),
                extra=said.extra or NO_EXTRA,
            )
        )
