"""Which texts of a refused batch are longer than the model reads: searched by length, within a bound on requests."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import inf
from typing import Final, NamedTuple

from rerank_async.errors import InputTooLongError
from rerank_async.values.response import BatchFailure

MAX_REQUESTS: Final = 39
"""Requests that one call may spend on the search, beside those for its batches: a call of one batch takes 40 in all."""

_MAX_IN_VAIN = 20
"""Requests after which the search ends if no text of the whole call was scored: the query may be what is too long."""


_NEARLY_ALL = 0.9
"""Where lengths that were scored let through so large a part of what may be let through, it is cut there: no risk."""

_OUTLIER = 1.5
"""Times the next shorter text, from which on a text stands out."""

_MORE_CAUTION = 0.9
"""Times this, where it is cut next, after a part was refused that is shorter than a text that was scored."""


class _Open(NamedTuple):
    """A part on its way, and the longer texts of the group that it was cut from.

    Attributes:
        low: The part, by length.
        high: The rest of its group, by length. With a text too long among ``low`` and ``high`` together, it is here if
            ``low`` is scored.
        sure: Whether the group holds a text that is too long for certain.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    sure: bool


class Isolation:
    """One call's search for the texts that are too long.

    The service refuses a whole batch and does not name the text. Nearly always the too long ones are the longest, so a
    refused batch is sorted by length and the shorter half is sent. If it is scored, the fault is in the longer half
    (no request needed to know), which is halved in turn; if it is refused, the search goes on in the shorter half, and
    the longer one is put aside. That finds the shortest text that is too long and scores all shorter ones, in some
    log2(n) requests. What was put aside is then tried as well, the shortest first: where length in bytes and length in
    tokens disagree, it is scored after all. While the first search runs, further refused batches wait, because they
    are cut where it found the limit to be: one at first, and side by side once such a cut was scored. As long as
    batches of the call have no answer yet, the requests are kept for such cuts, each of which scores nearly all of a
    batch.

    For each answer to a batch or a part, call `split` (refused for its length), `scored`, or `dropped` (it failed in
    another way). Each returns parts to send now, side by side, in any order; none may be left out. A part holds its
    members in ascending order. When nothing is on its way any more, `over` and `unscored` say how it ended.

    Example:
        parts = isolation.split(batch)              # refused
        ...
        parts = isolation.scored(part)              # or isolation.split(part)
    """

    def __init__(
        self,
        lengths: Sequence[int],
        max_requests: int = MAX_REQUESTS,
        *,
        scored: Iterable[Sequence[int]] = (),
        failed: Iterable[Sequence[int]] = (),
    ) -> None:
        """Begins with nothing known but what became of other batches of the call.

        Args:
            lengths: From `lengths_of` the call's texts. A batch's members are positions in this list.
            max_requests: Parts that are handed out in all, at most.
            scored: Batches that were.
            failed: Batches that failed in another way.
        """
        self._lengths = lengths
        self._seen = {index for members in scored for index in members}  # of batches that have an answer
        self._left = max_requests
        self._in_vain = min(_MAX_IN_VAIN, max_requests)
        self._open: dict[tuple[int, ...], _Open] = {}
        self._batches: list[tuple[int, ...]] = []  # refused, and not cut yet
        self._sure: list[tuple[int, ...]] = []  # groups of those that were, with a text that is too long
        self._aside: list[tuple[int, ...]] = []  # groups of which nothing is known
        self._over: list[int] = []
        self._any_scored = bool(self._seen)
        self._seen.update(*failed)
        self._caution = 1.0
        self._trusted = False  # whether the last part that was cut by the limit was scored
        self._limit: float = inf  # the least length of a text that was too long
        self._longest: float = -inf  # the greatest length of a text of a part that was scored

    @property
    def requests(self) -> int:
        """Parts that may still be handed out."""
        return self._left

    def split(self, members: Sequence[int]) -> list[tuple[int, ...]]:
        """A batch or part was refused for its length; returns the parts to send next."""
        part = self._open.pop(tuple(members), None)
        if part is None:
            self._seen.update(members)
            group = self._by_length(members)
            if len(group) > 1:
                self._batches.append(group)
            else:
                self._add_sure(group)
        else:
            if self._lengths[part.low[-1]] <= self._longest:
                self._caution *= _MORE_CAUTION
            self._trusted = False
            self._add_sure(part.low)
            if part.high:
                self._aside.append(part.high)
        return self._next()

    def scored(self, members: Sequence[int]) -> list[tuple[int, ...]]:
        """A batch or part was scored; returns the parts to send next."""
        self._any_scored = True
        self._seen.update(members)
        self._longest = max(self._longest, *(self._lengths[index] for index in members))
        part = self._open.pop(tuple(members), None)
        if part is not None:
            self._trusted = self._limit < inf
            if part.high and part.sure:
                self._add_sure(part.high)
        return self._next()

    def dropped(self, members: Sequence[int]) -> list[tuple[int, ...]]:
        """A batch or part failed in another way, and its members are the caller's; returns the parts to send next."""
        self._seen.update(members)
        part = self._open.pop(tuple(members), None)
        if part is not None and part.high:
            self._aside.append(part.high)
        return self._next()

    def over(self) -> tuple[int, ...]:
        """Texts that are too long for certain: refused alone, or left over in a refused batch. Ascending."""
        return tuple(sorted(self._over))

    def unscored(self) -> tuple[int, ...]:
        """Texts of refused batches that are in no part on its way, neither scored nor found too long. Ascending.

        At the end: those for which there were no requests left.
        """
        waiting = [*self._batches, *self._sure, *self._aside, *(part.high for part in self._open.values())]
        return tuple(sorted(index for group in waiting for index in group))

    def _by_length(self, members: Sequence[int]) -> tuple[int, ...]:
        lengths = self._lengths
        return tuple(sorted(members, key=lambda index: (lengths[index], index)))

    def _add_sure(self, group: tuple[int, ...]) -> None:
        if len(group) > 1:
            self._sure.append(group)
            return
        self._over.extend(group)
        self._limit = min(self._limit, *(self._lengths[index] for index in group))

    def _next(self) -> list[tuple[int, ...]]:
        """The parts to send now."""
        parts: list[tuple[int, ...]] = []
        searching = any(part.sure for part in self._open.values())
        more_to_come = len(self._seen) < len(self._lengths)
        while self._may_send():
            if searching and not self._trusted:
                break  # one at a time, until a cut has proved good
            if self._limit == inf:
                groups: Sequence[tuple[int, ...]] = self._sure or self._batches
            else:
                groups = self._batches if more_to_come else [*self._batches, *self._sure]
            if not groups:
                break
            group = groups[0] if self._limit == inf else max(groups, key=self._worth)
            (self._batches if group in self._batches else self._sure).remove(group)
            cut = self._cut(group)
            parts.append(self._send(group[:cut], group[cut:], sure=True))
            searching = True
        if not self._open and not more_to_come:
            self._aside.sort(key=lambda group: self._lengths[group[0]])
            while self._aside and self._may_send():
                group = self._aside.pop(0)
                parts.append(self._send(group, (), sure=False))
        return parts

    def _may_send(self) -> bool:
        return self._left > 0 and (self._any_scored or self._in_vain > 0)

    def _send(self, low: tuple[int, ...], high: tuple[int, ...], *, sure: bool) -> tuple[int, ...]:
        self._left -= 1
        self._in_vain -= 1
        part = tuple(sorted(low))
        self._open[part] = _Open(low, high, sure)
        return part

    def _worth(self, group: tuple[int, ...]) -> tuple[int, int]:
        """How many texts a part of a group would probably score; the larger group first where it cannot be told."""
        return self._estimated(group), len(group)

    def _cut(self, group: tuple[int, ...]) -> int:
        """Where a group is cut: between the lengths that were scored and those that were not, else in the middle."""
        return self._estimated(group) or len(group) // 2

    def _estimated(self, group: tuple[int, ...]) -> int:
        """How many of a group are probably not too long; 0: it cannot be told, or none, or all."""
        if self._limit == inf:
            return 0
        most = self._shorter(group, self._limit)
        cut = self._shorter(group, min(self._limit, self._longest + 1) * self._caution)
        if 0 < most < len(group) and self._lengths[group[most]] > _OUTLIER * self._lengths[group[most - 1]]:
            cut = most  # all that may be too long stands out
        elif cut < _NEARLY_ALL * most:
            cut = self._shorter(group, (self._longest + self._limit) / 2 * self._caution)
        return cut if cut < len(group) else 0

    def _shorter(self, group: tuple[int, ...], length: float) -> int:
        return bisect_left(group, length, key=self._lengths.__getitem__)


def lengths_of(texts: Sequence[str]) -> list[int]:
    """For each text its bytes in UTF-8, which go with its tokens better than characters do."""
    return [len(text) if text.isascii() else len(text.encode()) for text in texts]


def failures_of(
    isolation: Isolation, error: InputTooLongError, positions: Sequence[Sequence[int]] | None
) -> tuple[BatchFailure, ...]:
    """What a search leaves for ``RerankResponse.failures``: texts that are too long, and apart from them those left open.

    Args:
        isolation: Ended: no part of it is on its way.
        error: The refusal of one of its batches.
        positions: As in ``planning.Load``.

    Returns:
        No, one or two failures, each with positions in the caller's list.
    """
    failures = []
    if over := isolation.over():
        failures.append(BatchFailure(_in_callers_list(over, positions), error))
    if unscored := isolation.unscored():
        left_open = InputTooLongError(
            f"not scored: the requests for the search were used up before it came to these {len(unscored)} texts of "
            f"refused batches; they may be too long as well. The refusal was: {error.args[0]}",
            status=error.status,
            code=error.code,
            trace=error.trace,
            url=error.url,
        )
        failures.append(BatchFailure(_in_callers_list(unscored, positions), left_open))
    return tuple(failures)


def _in_callers_list(members: Sequence[int], positions: Sequence[Sequence[int]] | None) -> tuple[int, ...]:
    if positions is None:
        return tuple(members)
    return tuple(sorted(position for member in members for position in positions[member]))
