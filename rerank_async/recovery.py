"""What a call does about a batch that failed."""

from __future__ import annotations

from rerank_async.errors import (
    AuthenticationError,
    ClientStateError,
    ConnectionFailedError,
    DeadlineExceededError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    RerankError,
    StatusError,
)
from rerank_async.exchange import Batch, Channel
from rerank_async.job import Job
from rerank_async.mending import Mending
from rerank_async.policy.retrying import Again, Decision, GiveUp, MakeRoom, NewToken, Pause, crowds, decide, throttles
from rerank_async.runtime.permits import Permit
from rerank_async.runtime.token_store import Token
from rerank_async.tally import Tally
from rerank_async.values.events import Retried, Throttled
from rerank_async.work import Work

FATAL = (AuthenticationError, PermissionDeniedError, QuotaExceededError, ClientStateError)
"""What is raised whatever the failure policy: the next call would fail of it too."""


class Recovery:
    """Decides what to do about a failed batch, and does it. Made at a call's first failure.

    Attributes:
        last: The last failure; None: there was none.
        unmended: The batches that failed, and are to be sent again or are on their way again.
        failed: The batches that failed for good, by their error: their numbers.
    """

    def __init__(self, channel: Channel, job: Job, work: Work, tally: Tally) -> None:
        self._channel = channel
        self._job = job
        self._work = work
        self._tally = tally
        self._mending = Mending(job, work)
        self.last: RerankError | None = None
        self.unmended: set[Batch] = set()
        self.failed: dict[RerankError, int] = {}

    def decide(self, batch: Batch, permit: Permit, error: RerankError) -> Decision:
        """What to do, and what the gate must know of it. Before the permit leaves: a 429 must hold the next one."""
        channel = self._channel
        gate, now = channel.gate, channel.clock.now()
        self.last = error
        self.unmended.add(batch)
        waits = self._job.terms.waits and (gate.answers or self._job.deadline is not None)
        if isinstance(error, RateLimitError):
            batch.throttled += 1
            batch.free += 1
            batch.throttled_at = now if batch.throttled_at is None else batch.throttled_at
        else:
            batch.failed_at = now if batch.failed_at is None else batch.failed_at
            if waits and isinstance(error, ConnectionFailedError) and error.refused:
                batch.refused += 1
                batch.free += 1
        decision = decide(
            error,
            attempts=batch.attempts,
            throttled=batch.throttled,
            renewed=batch.renewed or channel.tokens.advice is not None,
            options=channel.retries,
            refused=batch.refused,
            # Who was never answered may have a wrong address: then a refusal is a failure like others.
            elapsed=now - batch.failed_at if waits and batch.failed_at is not None else None,
            throttled_for=now - batch.throttled_at if batch.throttled_at is not None else 0.0,
        )
        if throttles(error, channel.retries):
            # Also if this batch has met too many of them: the others must wait all the same.
            delay = gate.throttled(permit, error.retry_after, batch.heard)
            if isinstance(decision, Pause):
                self._tally.again(Throttled(self._tally.call, now, batch.number, delay, decision.retry_after))
        elif isinstance(error, StatusError) and error.status == 429:
            gate.answered(permit, now, batch.heard)
        if waits and isinstance(error, ConnectionFailedError) and error.refused and channel.retries.max_attempts > 1:
            # Also if this batch has been tried for too long: those who wait behind it must hear of it.
            gate.refused(permit, error)
        elif isinstance(decision, MakeRoom):
            gate.crowded(permit)
        elif crowds(error):
            gate.strained(permit)
        return decision

    def landed(self, batch: Batch) -> None:
        """A batch was scored after another had failed."""
        self.unmended.discard(batch)
        self._mending.landed(batch)

    def finish(self, *, cut_off: bool) -> None:
        """Nothing is on its way any more; ``cut_off``: because the call ended early."""
        self._mending.finish(cut_off=cut_off)

    async def follow(self, decision: Decision, batch: Batch, token: Token, error: RerankError) -> None:
        """Does what was decided: puts the batch back at the head, at once or after a rest; or ends it.

        Raises:
            RerankError: The batch failed for good, and such a failure is not what the call returns beside its scores.
        """
        channel, tally = self._channel, self._tally
        if isinstance(decision, GiveUp):
            self.unmended.discard(batch)
            if self._mending.mended(batch, error):
                return
            advice = channel.tokens.advice if isinstance(error, AuthenticationError) else None
            self._end(batch, error, decision.reason or advice or self._mending.reason(batch, error))
            return
        if isinstance(decision, NewToken):
            channel.tokens.drop(token)
            batch.renewed = True
        if not isinstance(decision, Pause):
            # While connections are refused, the gate holds everything back.
            free = isinstance(decision, Again) and decision.free
            delay = decision.delay if isinstance(decision, Again | MakeRoom) and not free else 0.0
            reason = getattr(error, "code", None) or type(error).__name__
            tally.again(Retried(tally.call, channel.clock.now(), batch.number, batch.attempts, delay, reason))
            if not await self._rested(delay, batch, error):
                return
            if isinstance(decision, Again) and not free and not await self._allowed(batch, error):
                return
        self._work.put_back(batch)

    async def _rested(self, delay: float, batch: Batch, error: RerankError) -> bool:
        """Waits before the next attempt; False: that would be after the deadline."""
        deadline = self._job.deadline
        if deadline is not None and self._channel.clock.now() + delay > deadline:
            late = DeadlineExceededError(
                f"the next attempt is due in {delay:.1f} s, after the call's deadline; the last one failed: {error}",
                url=self._channel.where,
            )
            late.__cause__ = error
            self._end(batch, late, None)
            return False
        if delay:
            await self._channel.gate.rest(delay)
        return True

    async def _allowed(self, batch: Batch, error: RerankError) -> bool:
        """Waits for the retry budget; False: it took longer than a batch may be retried."""
        options = self._channel.retries
        until = None
        if options.max_elapsed is not None and batch.failed_at is not None:
            until = batch.failed_at + options.max_elapsed
        turn = await self._channel.retrying.turn(until)
        if turn is None:
            self._end(
                batch, error, f"the retry budget was empty for RetryOptions.max_elapsed = {options.max_elapsed:g} s"
            )
            return False
        batch.turn = turn
        batch.free += turn == "probe"
        return True

    def _end(self, batch: Batch, error: RerankError, reason: str | None) -> None:
        """The batch failed for good."""
        if reason:
            error.args = (f"{error.args[0]} ({reason})", *error.args[1:])
        error.attempts = batch.sent
        if not self._job.terms.partial or isinstance(error, FATAL):
            self.failed[error] = batch.number
            self._work.stop()
            raise error
        self._work.fail(batch.members, error)
        self._mending.dropped(batch)
