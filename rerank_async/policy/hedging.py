"""When a second copy of a slow request is worth sending, and how many of them are allowed."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from math import inf, isfinite
from typing import Final

from rerank_async.policy.latency import LatencyModel
from rerank_async.values.options import HedgeOptions

LEAST_SAMPLES: Final = 16
"""Answers that must be known before a learned delay is used."""

_KEPT = 128
_QUANTILE = 0.8
_MARGIN = 2.0
"""The delay is twice what four of five requests need: one slow request in five would not move it, and with latencies
spread as widely as an exponential distribution still only one request in 25 takes longer."""

_SAVED: Final = 10.0
"""Hedges that a quiet time can save up: enough for a streak of slow answers, too few to double a service's load when it
becomes slow as a whole."""


class HedgeModel:
    """After which delay a request counts as slow: a fixed one, or learned from the answers.

    What is learned is how much longer than predicted requests take, so that one number serves all sizes. Tell it of
    every good answer (`observe`), and of the copy that lost and was cancelled (`observe_loser`).
    """

    __slots__ = ("_fixed", "_latency", "_order", "_sorted")

    def __init__(self, options: HedgeOptions, latency: LatencyModel) -> None:
        self._fixed = options.delay
        self._latency = latency
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def delay(self, inputs: int) -> float | None:
        """Seconds after which a request of this size may be hedged; None: not known yet, so not at all."""
        if self._fixed is not None:
            return self._fixed
        ratio = self._slow_ratio()
        return None if ratio is None or ratio == inf else _MARGIN * ratio * self._latency.predict(inputs)

    def observe(self, inputs: int, seconds: float) -> None:
        """Hears of a good answer: how many inputs it had, and seconds from its own start."""
        if self._fixed is None and inputs >= 1 and seconds > 0 and isfinite(seconds):
            self._add(seconds / self._latency.predict(inputs))

    def observe_loser(self, inputs: int, seconds: float) -> None:
        """Hears of a copy that was cancelled: it would have taken longer than ``seconds``, nobody knows how much.

        Above the quantile that counts as slow. Below it, it says nothing and is left out; to count it as an answer of
        that length would pull the delay down, and with each hedge further.
        """
        if self._fixed is not None or inputs < 1 or not seconds > 0 or not isfinite(seconds):
            return
        ratio = self._slow_ratio()
        if ratio is not None and seconds / self._latency.predict(inputs) >= ratio:
            self._add(inf)

    def _slow_ratio(self) -> float | None:
        count = len(self._sorted)
        return None if count < LEAST_SAMPLES else self._sorted[int(_QUANTILE * (count - 1))]

    def _add(self, ratio: float) -> None:
        if len(self._order) == _KEPT:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]
        self._order.append(ratio)
        insort(self._sorted, ratio)


class HedgeBudget:
    """How many hedges are allowed: never more than ``HedgeOptions.budget`` of the other requests sent so far."""

    __slots__ = ("_saved", "_share")

    def __init__(self, options: HedgeOptions) -> None:
        self._share = options.budget
        self._saved = 0.0

    def sent(self) -> None:
        """A request went out that is no hedge."""
        self._saved = min(_SAVED, self._saved + self._share)

    def may_hedge(self) -> bool:
        """Whether there is enough left for a hedge."""
        return self._saved >= 1.0

    def hedged(self) -> None:
        """A hedge went out."""
        self._saved -= 1.0
