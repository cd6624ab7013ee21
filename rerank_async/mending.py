"""What a call does about a batch that was refused for what it holds: a text that is too long, or too much of it."""

from __future__ import annotations

from collections.abc import Sequence

from rerank_async.errors import InputTooLongError, RequestTooLargeError, RerankError
from rerank_async.exchange import Batch
from rerank_async.job import Job
from rerank_async.policy.bounds import halves, slices
from rerank_async.policy.overlength import Isolation, failures_of, lengths_of
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

    def mended(self, batch: Batch, error: RerankError) -> bool:
        """Puts back what can be sent instead of the batch; returns whether that is all there is to do about it."""
        if isinstance(error, RequestTooLargeError):
            return self._halved(batch, error)
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
        terms = self._job.terms
        terms.bounds.accepted(terms.model_id, inputs=len(batch.members), body_bytes=len(batch.body))
        if self._isolation is not None:
            self._put_back(self._isolation.scored(batch.members), batch)

    def dropped(self, batch: Batch) -> None:
        """The batch failed for another reason, and the others go on."""
        if self._isolation is None:
            self._failed.append(batch.members)
        else:
            self._put_back(self._isolation.dropped(batch.members), batch)

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

    def _halved(self, batch: Batch, error: RequestTooLargeError) -> bool:
        terms = self._job.terms
        self.dropped(batch)
        terms.bounds.refused(terms.model_id, error, inputs=len(batch.members), body_bytes=len(batch.body))
        most = None if error.status == 413 else terms.bounds.inputs(terms.model_id)
        if most is not None and most < len(batch.members):
            parts: Sequence[Sequence[int]] = slices(batch.members, most)
        else:
            halved = halves(batch.members, self._measured())
            if halved is None:
                return False
            parts = halved
        self._put_back(parts, batch)
        self._work.narrow()
        return True

    def _truncated(self, batch: Batch, error: InputTooLongError) -> bool:
        job, work = self._job, self._work
        parameters = job.head.get("parameters", {})
        tokens = truncation_of(job.terms.model_id, error, parameters.get("truncate_input_tokens"))
        if batch.truncated or tokens is None:
            return False
        head = {**job.head, "parameters": {**parameters, "truncate_input_tokens": tokens}}
        texts = work.texts(batch.members)
        batch.body = encode_body(head, texts, batch.top_n)
        batch.truncated = True
        cut = [batch.members[place] for place in cut_for_certain(texts, job.head["query"], tokens)]
        work.warnings.append(truncated_warning(work.indices(cut), len(work.indices(batch.members)), tokens))
        work.put_back(batch)
        return True

    def _isolate(self, batch: Batch, error: InputTooLongError) -> None:
        self._refusal = error
        if self._isolation is None:
            scored = (members for members, _ in self._work.done)
            self._isolation = Isolation(self._measured(), scored=scored, failed=self._failed)
        self._put_back(self._isolation.split(batch.members), batch)

    def _put_back(self, parts: Sequence[Sequence[int]], batch: Batch) -> None:
        for members in parts:
            self._work.put_back(self._work.batch(members, batch.ticket))

    def _measured(self) -> Sequence[int]:
        """The texts' bytes."""
        if self._lengths is None:
            self._lengths = lengths_of(self._job.load.texts)
        return self._lengths
