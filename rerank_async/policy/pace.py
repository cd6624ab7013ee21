"""The part of the limit that one client takes, learned from 429s alone: AIMD. Pure: ``now`` in, a fraction out.

Additive increase and multiplicative decrease is the form that brings clients which know nothing of one another to equal
parts (Chiu and Jain, "Analysis of the increase and decrease algorithms for congestion avoidance", 1989). The increase is
in time and not in answers, so it is the same for a fast client and a slow one. The decrease is half of the recent
fraction of 429s, as DCTCP does it (RFC 8257, 3.3), so that a light excess costs little and a heavy one halves. Some
429s are free: a service also refuses now and then for reasons of its own, and those say nothing about the pace.
"""

from __future__ import annotations

import math
from typing import Final

TOLERATED: Final = 0.03
"""429s per answer that cost nothing in the long run."""

CREDIT: Final = 5.0
"""429s that cost nothing when there was none for a while."""

INCREASE: Final = 0.0015
"""Fraction of the limit by which the pace grows in a second."""

PATIENCE: Final = 20.0
"""Seconds without a 429 after which the growth itself begins to grow: whoever took the rest of the limit is gone."""

DOUBLING: Final = 4.0
"""Seconds in which the growth then doubles."""

LEAST_DECREASE: Final = 0.15
MOST_DECREASE: Final = 0.5
_GAIN: Final = 1 / 12  # of the running fraction of 429s

LOWEST: Final = 0.01
"""Fraction of the limit below which the pace does not fall."""


def gain(seconds: float) -> float:
    """By how much the pace has grown so many seconds after the last 429."""
    grown = INCREASE * min(seconds, PATIENCE)
    if seconds > PATIENCE:
        doublings = min((seconds - PATIENCE) / DOUBLING, 60.0)
        grown += INCREASE * DOUBLING / math.log(2) * (2**doublings - 1)
    return grown


def gain_summed(seconds: float) -> float:
    """The integral of `gain`."""
    early = min(seconds, PATIENCE)
    summed = INCREASE * early * early / 2
    if seconds > PATIENCE:
        late = seconds - PATIENCE
        slope = DOUBLING / math.log(2)
        grown = 2 ** min(late / DOUBLING, 60.0) - 1
        summed += INCREASE * (PATIENCE * late + slope * (slope * grown - late))
    return summed


def _seconds_to_gain(fraction: float) -> float:
    if math.isinf(fraction):
        return math.inf
    late = fraction - INCREASE * PATIENCE
    if late <= 0:
        return fraction / INCREASE
    return PATIENCE + DOUBLING * math.log2(1 + late * math.log(2) / (INCREASE * DOUBLING))


class Pace:
    """A fraction of the limit, up to ``most``.

    Attributes:
        most: 1 where the limit is known; infinity where the pace is a fraction of what was once measured.
        lowered: Whether the fraction may be below ``most``.
        troubled: Whether `answered` has something to count.
    """

    __slots__ = ("_base", "_credit", "_lowered_at", "_refused", "_since", "lowered", "most", "troubled")

    def __init__(self) -> None:
        self.most = 1.0
        self.lowered = False
        self.troubled = False
        self._base = 1.0
        self._since = -math.inf
        self._lowered_at = -math.inf
        self._credit = CREDIT
        self._refused = 0.0  # running fraction of 429s

    def at(self, now: float) -> float:
        """The fraction at this moment."""
        if not self.lowered:
            return self.most
        fraction = self._base + gain(now - self._since)
        if fraction < self.most:
            return fraction
        self.lowered = False
        return self.most

    def answered(self) -> None:
        """Counts an answer that was no 429; needed only while `troubled`."""
        self._credit = min(CREDIT, self._credit + TOLERATED)
        self._refused -= self._refused * _GAIN
        self.troubled = self._credit < CREDIT or self._refused > 0.001

    def is_news(self, sent_at: float) -> bool:
        """Whether a 429 of a request that started then says something about the pace as it is now."""
        return sent_at >= self._lowered_at

    def throttled(self, now: float, sent_at: float) -> bool:
        """Counts a 429; returns whether it lowered the pace.

        Args:
            now: When it came.
            sent_at: When its request started: before the last decrease, it says nothing new.
        """
        self.troubled = True
        self._refused += (1 - self._refused) * _GAIN
        if not self.is_news(sent_at):
            return False
        fraction = self.at(now)
        if self._credit >= 1:
            self._credit -= 1
            self._set(fraction, now)
            return False
        self.lower(now)
        return True

    def lower(self, now: float) -> None:
        """Decreases the pace, by the recent fraction of 429s."""
        fraction = self.at(now)
        decrease = min(MOST_DECREASE, max(LEAST_DECREASE, self._refused / 2))
        self._set(max(min(LOWEST, fraction), fraction * (1 - decrease)), now)
        self._lowered_at = now

    def excuse(self, now: float) -> None:
        """The limit itself was found to be lower: 429s of requests sent until now are explained by that."""
        self._lowered_at = now

    def restart(self, now: float) -> None:
        """Takes a new measure, of which the fraction 1 was too much, and above which nothing is known."""
        self.most = math.inf
        self._set(1.0, now)
        self.lower(now)

    def bound(self) -> None:
        """From now on the fraction is one of a known limit: all of it."""
        self.most = 1.0
        self._base = 1.0
        self.lowered = False

    def seconds_for(self, now: float, requests: float, rate: float) -> float:
        """How long so many requests take from now on, at ``rate`` for the fraction 1 and with the growth to come."""
        if self.at(now) >= self.most:
            return requests / (rate * self.most)
        elapsed = now - self._since
        full = max(0.0, _seconds_to_gain(self.most - self._base) - elapsed)  # seconds until there
        done = gain_summed(elapsed)

        def sent(seconds: float) -> float:
            grown = gain_summed(elapsed + min(seconds, full)) - done
            return rate * (self._base * min(seconds, full) + grown + max(0.0, seconds - full) * min(self.most, 1e9))

        low, high = 0.0, requests / (rate * self.at(now))
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if sent(middle) < requests else (low, middle)
        return high

    def _set(self, fraction: float, now: float) -> None:
        self._base = fraction
        self._since = now
        self.lowered = fraction < self.most
