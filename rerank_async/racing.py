"""A slow request raced by a second copy of itself: hedging."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from rerank_async.errors import RateLimitError, RerankError, StatusError
from rerank_async.exchange import Batch, Channel, exchange
from rerank_async.job import Job
from rerank_async.policy.hedging import HedgeModel
from rerank_async.policy.merging import BatchResult
from rerank_async.policy.retrying import crowds, mendable, throttles
from rerank_async.runtime.permits import Permit, wake
from rerank_async.runtime.token_store import Token
from rerank_async.tally import Tally
from rerank_async.values.contract import POOL_FULL


async def race(channel: Channel, batch: Batch, permit: Permit, token: Token, job: Job, tally: Tally) -> BatchResult:
    """As `exchange`, with a second copy of the request when the first takes unusually long.

    The copy takes a permit only if one is free and nobody waits for it. The first good answer counts, and the other
    request is cancelled. If one fails, the other is waited for, unless it would fail as well; if both do, the error of the
    later one is raised.
    """
    hedging = job.terms.hedging
    if hedging is None:
        return await exchange(channel, batch, permit, token, job, tally)
    model, budget = hedging
    size = len(batch.members)
    delay = model.delay(size)
    budget.sent()
    if delay is None:
        return await _observed(channel, batch, permit, token, job, tally, model)
    started_at = channel.clock.now()
    turn = batch.turn
    first = asyncio.ensure_future(_observed(channel, batch, permit, token, job, tally, model))
    permits: dict[asyncio.Future[BatchResult], Permit] = {first: permit}
    extra: Permit | None = None
    try:
        await _until(channel, first, delay)
        if not first.done() and budget.may_hedge() and (extra := channel.gate.enter_now()) is not None:
            budget.hedged()
            batch.free += 1
            tally.hedged(channel.clock.now(), batch.number, delay)
            batch.turn = turn  # whichever wins has it back
            second = asyncio.ensure_future(_observed(channel, batch, extra, token, job, tally, model))
            permits[second] = extra
            winner = await _winner(channel, batch, permits)
            if winner is second and not first.done():
                model.observe_loser(size, channel.clock.now() - started_at)
            return winner.result()
        return await first
    finally:
        try:
            await _end(list(permits))
        finally:
            if extra is not None:
                batch.turn = None
                channel.gate.leave(extra)


async def _winner(
    channel: Channel, batch: Batch, permits: Mapping[asyncio.Future[BatchResult], Permit]
) -> asyncio.Future[BatchResult]:
    """The copy whose result counts: the first that is good, or that fails in a way that both would, or the last.

    The gate hears at once of a failure that another copy is still waited for, or that does not count.
    """
    waiting = set(permits)
    while True:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        ended = [copy for copy in permits if copy in waiting and copy.done()]
        waiting.difference_update(ended)
        counts = next((copy for copy in ended if not _failed(copy)), None)
        if counts is None and not waiting:
            counts = ended[0]
        if counts is None:
            counts = next((copy for copy in ended if _in_vain(copy)), None)
        for copy in ended:
            if copy is not counts:
                _tell(channel, batch, permits[copy], copy)
        if counts is not None:
            return counts


async def _observed(
    channel: Channel, batch: Batch, permit: Permit, token: Token, job: Job, tally: Tally, model: HedgeModel
) -> BatchResult:
    started_at = channel.clock.now()
    result = await exchange(channel, batch, permit, token, job, tally)
    model.observe(len(batch.members), channel.clock.now() - started_at)
    return result


async def _until(channel: Channel, runner: asyncio.Future[BatchResult], delay: float) -> None:
    """Waits for the runner, for ``delay`` seconds at most."""
    due: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = channel.clock.call_at(channel.clock.now() + delay, lambda: wake(due))
    try:
        await asyncio.wait((runner, due), return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        due.cancel()


def _tell(channel: Channel, batch: Batch, permit: Permit, runner: asyncio.Future[BatchResult]) -> None:
    """Tells the gate of a failure that the call itself does not hear of."""
    error = None if runner.cancelled() else runner.exception()
    if not isinstance(error, RerankError):
        return
    gate = channel.gate
    if throttles(error, channel.retries):
        gate.throttled(permit, error.retry_after, batch.heard)
    elif isinstance(error, RateLimitError) and error.code == POOL_FULL:
        gate.crowded(permit)
    elif crowds(error):
        gate.strained(permit)


def _in_vain(runner: asyncio.Future[BatchResult]) -> bool:
    error = None if runner.cancelled() else runner.exception()
    return isinstance(error, StatusError) and not mendable(error)


def _failed(runner: asyncio.Future[BatchResult]) -> bool:
    return runner.cancelled() or runner.exception() is not None


async def _end(runners: Sequence[asyncio.Future[BatchResult]]) -> None:
    """Cancels who still runs, and looks at every failure, so that none is reported as unseen."""
    losers = [runner for runner in runners if not runner.done()]
    for loser in losers:
        loser.cancel()
    try:
        if losers:
            await asyncio.wait(losers)
    finally:
        for runner in runners:
            runner.add_done_callback(_look_at)


def _look_at(runner: asyncio.Future[BatchResult]) -> None:
    if not runner.cancelled():
        runner.exception()
