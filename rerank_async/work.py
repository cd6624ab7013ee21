"""What one call has still to send, and what became of the rest."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from rerank_async.exchange import Batch
from rerank_async.job import Job
from rerank_async.policy.bounds import LearnedBounds
from rerank_async.policy.merging import BatchResult
from rerank_async.policy.planning import pushed_top_n, requests_needed, take
from rerank_async.policy.sizing import LEAST_INPUTS, adaptive_surplus, batch_size
from rerank_async.policy.wire import encode_body
from rerank_async.runtime.gate import Gate
from rerank_async.values.response import BatchFailure, ServiceWarning


class Work:
    """The texts of one call: cut into batches only when one may go, so that its size fits the moment.

    Attributes:
        done: Pairs of (positions in the list that is sent, their answer), in the order in which the answers came.
        failures: What has no score, for a call that returns what was scored.
        warnings: What the answer must say beside what the service says.
    """

    __slots__ = (
        "_again",
        "_cut",
        "_ended",
        "_job",
        "_load",
        "_most_cuts",
        "_next_number",
        "_next_start",
        "_size",
        "done",
        "failures",
        "warnings",
    )

    def __init__(self, job: Job) -> None:
        self._job = job
        self._load = job.load
        self._size = len(job.load.texts)
        self._next_start = 0
        self._next_number = 0
        self._cut = 0
        self._most_cuts = 0
        self._again: list[Batch] = []
        self._ended = False
        self.done: list[tuple[Sequence[int], BatchResult]] = []
        self.failures: list[BatchFailure] = []
        self.warnings: list[ServiceWarning] = []

    def has_more(self) -> bool:
        """Whether something is to be sent that is not on its way."""
        return not self._ended and (bool(self._again) or self._next_start < self._size)

    @property
    def ticket(self) -> int | None:
        """The place of the batch that must go again first; None: none must."""
        return self._again[0].ticket if self._again and not self._ended else None

    def take(self, ticket: int, gate: Gate) -> Batch | None:
        """The next batch: one that must go again, else one cut from what is left, else None."""
        if self._ended:
            return None
        if self._again:
            return self._again.pop(0)
        start = self._next_start
        left = self._size - start
        if not left:
            return None
        stop = self._stop(start, left, gate)
        self._next_start = stop
        return self.batch(range(start, stop), ticket)

    def batch(self, members: Sequence[int], ticket: int) -> Batch:
        """A new batch of these positions, with its body."""
        job = self._job
        size = len(members)
        top_n = None if job.whole else pushed_top_n(job.top_n, size)
        batch = Batch(self._next_number, members, ticket, encode_body(job.head, self.texts(members), top_n), top_n)
        self._next_number += 1
        return batch

    def texts(self, members: Sequence[int]) -> Sequence[str]:
        """The texts at these positions."""
        texts = self._job.load.texts
        if len(members) == self._size and type(members) is range:
            return texts
        return texts[members.start : members.stop] if type(members) is range else [texts[at] for at in members]

    def narrow(self, bounds: LearnedBounds) -> None:
        """The service has shown a smaller bound: what is not cut yet keeps to it."""
        self._load = bounds.narrowed(self._job.terms.model_id, self._load, self._job.head)

    def put_back(self, batch: Batch) -> None:
        """The batch must go again, before everything that is not cut yet."""
        insort(self._again, batch, key=lambda other: other.number)

    def fail(self, members: Sequence[int], error: Exception) -> None:
        """These texts will have no score."""
        self.failures.append(BatchFailure(tuple(self.indices(members)), error))

    def stop(self) -> None:
        """The call has failed: from now on there is nothing to take."""
        self._ended = True

    def drop(self) -> list[Batch]:
        """Forgets what is left; returns the batches that were to go again."""
        self.stop()
        again, self._again = self._again, []
        return again

    def unscored(self) -> list[int]:
        """Positions in the list that is sent that have neither a score nor a failure, ascending."""
        failed = {index for failure in self.failures for index in failure.indices}
        scored = {at for members, _ in self.done for at in members}
        return [at for at in range(self._size) if at not in scored and not failed.issuperset(self.indices((at,)))]

    def indices(self, members: Sequence[int]) -> list[int]:
        """Positions in the list that is sent to indices in the caller's list, ascending."""
        positions = self._job.load.positions
        if positions is None:
            return sorted(members)
        return sorted(index for at in members for index in positions[at])

    def _stop(self, start: int, left: int, gate: Gate) -> int:
        load, terms = self._load, self._job.terms
        most = load.max_inputs
        if left < 2 * LEAST_INPUTS:
            if left <= most and load.sizes is None:  # all of it, as in most calls
                self._cut += 1
                return self._size
        elif terms.batching.adaptive:
            free, lanes, waiting = gate.free() + 1, gate.lanes() + 1, gate.queued  # with this one, which is granted
            if not self._most_cuts:
                # What is measured meanwhile may call for finer cuts, but the plan of the beginning holds.
                surplus = adaptive_surplus(load, free=free, lanes=lanes, waiting=waiting, latency=terms.latency)
                self._most_cuts = requests_needed(load) + surplus
            size = batch_size(
                left,
                free=free,
                lanes=lanes,
                waiting=waiting,
                latency=terms.latency,
                max_inputs=most,
                taken=start,
                sent=self._cut,
            )
            most = min(most, max(size, -(-left // max(1, self._most_cuts - self._cut))))
        self._cut += 1
        return take(load, start, most)
