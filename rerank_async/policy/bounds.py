"""Bounds of one request that the service has and does not document: learned when it refuses a batch as too large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rerank_async.errors import RequestTooLargeError
from rerank_async.policy.planning import Load, fits_surely, most_bytes, room_in, sizes_of
from rerank_async.policy.refusals import stated_count


class LearnedBounds:
    """The bounds that the service showed, for one client, by model.

    A refusal that is about the number of inputs names the bound, or else half of what was refused is taken for it; one
    about bytes (413) never names it. A text that is refused alone shows none: it may be the text that is at fault. So a
    bound falls only, but for what was accepted in spite of it.

    Attributes:
        learned: Whether there is one.
    """

    __slots__ = ("_accepted", "_bytes", "_inputs", "learned")

    def __init__(self) -> None:
        self.learned = False
        self._inputs: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        self._accepted: dict[str, tuple[int, int]] = {}

    def copy(self) -> LearnedBounds:
        """The same bounds, which from now on learn apart."""
        other = LearnedBounds()
        other.learned = self.learned
        other._inputs, other._bytes = dict(self._inputs), dict(self._bytes)
        other._accepted = dict(self._accepted)
        return other

    def refused(self, model_id: str, error: RequestTooLargeError, *, inputs: int, body_bytes: int) -> None:
        """Hears of a batch that was too large: what it held."""
        if inputs < 2:
            return
        self.learned = True
        most_inputs, largest = self._accepted.get(model_id, (1, 1))
        if error.status == 413:
            known = self._bytes.get(model_id, body_bytes)
            self._bytes[model_id] = max(largest, min(known, body_bytes // 2))
        else:
            known = self._inputs.get(model_id, inputs)
            self._inputs[model_id] = max(most_inputs, min(known, stated_count(error, inputs) or inputs // 2))

    def accepted(self, model_id: str, *, inputs: int, body_bytes: int) -> None:
        """Hears of a batch that was not too large, of a call that had another one refused."""
        before = self._accepted.get(model_id, (1, 1))
        most_inputs, largest = self._accepted[model_id] = max(before[0], inputs), max(before[1], body_bytes)
        if model_id in self._inputs:
            self._inputs[model_id] = max(self._inputs[model_id], most_inputs)
        if model_id in self._bytes:
            self._bytes[model_id] = max(self._bytes[model_id], largest)

    def inputs(self, model_id: str) -> int | None:
        """The inputs of one request, at most; None: the service has shown no bound."""
        return self._inputs.get(model_id)

    def narrowed(self, model_id: str, load: Load, head: Mapping[str, Any]) -> Load:
        """The load within the learned bounds; the same object if they change nothing.

        A text that alone is over a learned bound still goes, by itself: the bound is a guess.
        """
        most = self._inputs.get(model_id)
        if most is not None and most < load.max_inputs:
            load = load._replace(max_inputs=most)
        bound = self._bytes.get(model_id)
        if bound is None or (load.sizes is None and fits_surely(load.texts, load.max_inputs, most_bytes(head), bound)):
            return load
        room = max(1, room_in(bound, head))
        if load.sizes is not None and room >= load.room:
            return load
        return load._replace(sizes=load.sizes or sizes_of(load.texts), room=room)
