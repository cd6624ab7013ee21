"""What a call does about a batch that was refused for what it holds: a text that is too long, or too much of it."""

from __future__ import annotations

from collections.abc import Sequence

from rerank_async.errors import InputTooLongError, RequestTooLargeError, RerankError
from rerank_async.exchange import Batch
from rerank_async.job import Job
from rerank_async.policy.bounds import LearnedBounds
from rerank_async.policy.overlength import Isolation, failures_of, lengths_of
from rerank_async.policy.splitting import Splitting, slices
from rerank_async.policy.truncating import cut_for_certain, truncated_warning, truncation_of
from rerank_async.policy.wire import encode_body
from rerank_async.work import Work


class Mending:
    """Sends what was refused in another form. Made at a call's first failure."""

    def __init__(self, job: Job, work: Work) -> None:
        self._job = job
        self._work = work
        self._lengths: Sequence[int] | None = None
        self._isolation: Isolation | None = None
        self._failed: list[Sequence[int]] = []
        self._refusal: InputTooLongError | None = None
        self._bounds: LearnedBounds | None = None
        self._shown: list[tuple[Batch, RequestTooLargeError]] = []
        self._splitting: Splitting | None = None

    def mended(self, batch: Batch, error: RerankError) -> bool:
        """Puts back what can be sent instead of the batch; returns whether that is all there is to do about it."""
        if isinstance(error, RequestTooLargeError):
            return self._split(batch, error)
        self._settle(batch)
        if not isinstance(error, InputTooLongError):
            return False
        overlength = self._job.terms.batching.overlength
        if overlength == "truncate":
            return self._truncated(batch, error)
        if overlength == "isolate":
            self._isolate(batch, error)
        return overlength == "isolate"

    def landed(self, batch: Batch) -> None:
        """The batch was scored."""
        self._learn()
        terms = self._job.terms
        for bounds in (terms.bounds, self._own_bounds()):
            bounds.accepted(terms.model_id, inputs=len(batch.members), body_bytes=len(batch.body))
        self._settle(batch)
        if self._isolation is not None:
            self._put_back(self._isolation.scored(batch.members), batch)

    def dropped(self, batch: Batch) -> None:
        """The batch failed for another reason, and the others go on."""
        self._settle(batch)
        self._leave_out(batch)

    def reason(self, batch: Batch, error: RerankError) -> str | None:
        """What to add to the error of a batch that is given up; None: nothing."""
        if not isinstance(error, RequestTooLargeError):
            return None
        query = len(self._job.head["query"].encode(errors="replace"))
        texts = f"{len(batch.members):,} text{'s' if len(batch.members) > 1 else ''}"
        return f"the request had {len(batch.body):,} bytes and {texts}; its query has {query:,} bytes"

    def finish(self, *, cut_off: bool) -> None:
        """Nothing is on its way any more: notes what has no score.

        Args:
            cut_off: Whether the call ended early: what the search had not come to failed of that, and not of its length.
        """
        if self._isolation is None or self._refusal is None:
            return
        failures = failures_of(self._isolation, self._refusal, self._job.load.positions)
        certain = bool(self._isolation.over())
        self._work.failures.extend(failures[:certain] if cut_off else failures)

    def _split(self, batch: Batch, error: RequestTooLargeError) -> bool:
        work = self._work
        self._leave_out(batch)
        self._refused(batch, error)
        bounds = self._own_bounds()
        most = None if error.status == 413 else bounds.inputs(self._job.terms.model_id)
        if most is not None and most < len(batch.members):
            self._put_back(slices(batch.members, most), batch)
            work.narrow(bounds)
            return True
        if self._splitting is None:
            self._splitting = Splitting(self._measured())
        scored = [members for members, _ in work.done]
        parts, lost = self._splitting.split(batch.members, body_bytes=len(batch.body), scored=scored)
        self._put_back(parts, batch)
        for members in lost:
            if members is not batch.members:
                work.fail(members, error)
        work.narrow(bounds)
        return batch.members not in lost

    def _refused(self, batch: Batch, error: RequestTooLargeError) -> None:
        """The bound holds for this call at once, and for others when it is known that the query is not what is too long."""
        bounds, model_id = self._own_bounds(), self._job.terms.model_id
        bounds.refused(model_id, error, inputs=len(batch.members), body_bytes=len(batch.body))
        self._shown.append((batch, error))
        if error.status != 413 or self._work.done:
            self._learn()

    def _learn(self) -> None:
        terms = self._job.terms
        for batch, error in self._shown:
            terms.bounds.refused(terms.model_id, error, inputs=len(batch.members), body_bytes=len(batch.body))
        self._shown.clear()

    def _own_bounds(self) -> LearnedBounds:
        if self._bounds is None:
            self._bounds = self._job.terms.bounds.copy()
        return self._bounds

    def _leave_out(self, batch: Batch) -> None:
        if self._isolation is None:
            self._failed.append(batch.members)
        else:
            self._put_back(self._isolation.dropped(batch.members), batch)

    def _settle(self, batch: Batch) -> None:
        if self._splitting is not None:
            self._put_back(self._splitting.settled(batch.members), batch)

    def _truncated(self, batch: Batch, error: InputTooLongError) -> bool:
        job, work = self._job, self._work
        asked = job.head.get("parameters", {}).get("truncate_input_tokens")
        tokens = truncation_of(job.terms.model_id, error, asked)
        if batch.truncated is not None or tokens is None:
            return False
        self._cut(batch, tokens)
        cut = [batch.members[at] for at in cut_for_certain(work.texts(batch.members), job.head["query"], tokens)]
        work.warnings.append(truncated_warning(work.indices(cut), len(work.indices(batch.members)), tokens))
        work.put_back(batch)
        return True

    def _cut(self, batch: Batch, tokens: int) -> None:
        head = self._job.head
        head = {**head, "parameters": {**head.get("parameters", {}), "truncate_input_tokens": tokens}}
        batch.body = encode_body(head, self._work.texts(batch.members), batch.top_n)
        batch.truncated = tokens

    def _isolate(self, batch: Batch, error: InputTooLongError) -> None:
        self._refusal = error
        if self._isolation is None:
            scored = (members for members, _ in self._work.done)
            self._isolation = Isolation(self._measured(), scored=scored, failed=self._failed)
        self._put_back(self._isolation.split(batch.members), batch)

    def _put_back(self, parts: Sequence[Sequence[int]], batch: Batch) -> None:
        for members in parts:
            part = self._work.batch(members, batch.ticket)
            if batch.truncated is not None:
                self._cut(part, batch.truncated)
            self._work.put_back(part)

    def _measured(self) -> Sequence[int]:
        """The texts' bytes."""
        if self._lengths is None:
            self._lengths = lengths_of(self._job.load.texts)
        return self._lengths
