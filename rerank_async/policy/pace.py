"""The part of an instance's limit that one client takes, learned from 429s alone: AIMD over slots. Pure.

Additive increase and multiplicative decrease brings clients that know nothing of one another to equal parts (Chiu and
Jain, "Analysis of the increase and decrease algorithms for congestion avoidance in computer networks", 1989). Heavy
excess decreases by half of the recent fraction of 429s, as DCTCP does (RFC 8257, 3.3).

The unit is the slot: a request in each window of a second. A client that starts again exactly one window after a start
that passed takes the same place of the service's window again, so parts that add up to the limit refuse nobody, even
where the service counts by a sliding window. What 429s there are come of trying one slot more, and trying is paid from a
credit that grows with time, faster for whoever has less: that bounds the 429s, and draws the parts together.

A service also refuses now and then for reasons of its own. At the whole limit, 429s that are rarer than `TOLERATED`
cost nothing.

The constants were found with simulated instances (tests/support/instance.py): four clients at a token bucket, a fixed and
a sliding window, and a lone client that meets 2 % stray 429s.
"""

from __future__ import annotations

import math
from typing import Final

from rerank_async.policy.window import GUARD

TOLERATED: Final = 0.03
"""429s per answer that cost nothing, at the whole limit, in the long run."""

TOLERATED_AT_ONCE: Final = 5.0
"""429s that cost nothing when there was none for a while."""

_SCATTERED: Final = 0.2
"""Recent fraction of 429s from which on they are no longer free: three in five answers are not chance."""

DECREASE: Final = 0.35
"""Of the slots, on a 429: of those that were held before the last increase, if that is recent."""

DECREASE_LARGE: Final = 0.1
"""As `DECREASE`, of more than half of the limit, which leaves the others little to gain of."""

MOST_DECREASE: Final = 0.5
_SMALL_DECREASE: Final = 0.1  # below one slot: each 429 asks a little later

_STEPS: Final = 8
"""Increases from nothing to the whole limit; one is at least a slot."""

_TRY: Final = 5.0
"""Windows between two increases: as long as it takes to hear whether the last one was too much."""

_RECENT: Final = 5.0
"""Windows in which a 429 is laid to the last increase: a bucket with tokens to spare hides it for a while."""

_CREDIT: Final = 0.0275
"""Increases a second that are paid for, for a client which has a quarter of the limit."""

_RELEASE: Final = 24.0
"""Seconds after which a slot is given back without being asked, by whoever has a quarter of the limit and knows of others;
faster, with the square, for whoever has more. Places of a sliding window that are held are never refused, so their holder
hears nothing of those who find none."""

_RELEASE_FROM: Final = 2.5
"""Slots from which on some are given back."""

_RELEASE_UP_TO: Final = 0.8
"""Fraction of the limit up to which; above it only while 429s are not rare, since then there may be no others."""

_CREDIT_MOST: Final = 2.0  # a 429 costs one

_FIND: Final = 12.0
"""Seconds after the first 429 in which increases are free, to find a place among others quickly."""

_QUIET: Final = 60.0
"""Seconds without a 429 after which the next one is a first again."""

PATIENCE: Final = 30.0
"""Seconds without a 429 after which increases are free: whoever took the rest of the limit is gone. Twice as long it is
believed that there are others."""

IMPATIENCE: Final = 5.0
"""The same where the limit is a guess, and has still to be found."""

_RARE: Final = 3.0
"""Of the tolerance: 429s are so rare that increases are free."""

_KNOCK: Final = 0.5
"""Slots that are kept in any case, so that a client which nothing is left for goes on asking."""

_GAIN: Final = 1 / 12  # of the running fraction of 429s


class Pace:
    """Slots of a limit.

    Attributes:
        most: The slots of the whole limit, at least 1, not always a whole number.
        slots: Those that this client takes, at most ``most``.
        window: Seconds of a slot, the guard included.
        lowered: Whether ``slots`` is below ``most``.
        patience: Seconds, `PATIENCE` or `IMPATIENCE`.
        troubled: Whether `answered` has something to count.
    """

    __slots__ = (
        "_before",
        "_credit",
        "_credit_at",
        "_excused_at",
        "_first_at",
        "_last_at",
        "_lowered_at",
        "_raised_at",
        "_refused",
        "_released",
        "_released_at",
        "_streak",
        "_tolerance",
        "_try_at",
        "lowered",
        "most",
        "patience",
        "slots",
        "troubled",
        "window",
    )

    def __init__(self, rate: float) -> None:
        """Takes the whole limit of ``rate`` requests a second."""
        self.most = self.slots = self.window = 1.0
        self.lowered = self.troubled = False
        self._tolerance = TOLERATED_AT_ONCE
        self._credit = _CREDIT_MOST
        self._credit_at = 0.0
        self._before = 1.0  # slots before the last increase
        self._raised_at = self._lowered_at = self._excused_at = self._first_at = self._last_at = -math.inf
        self._try_at = math.inf
        self.patience = PATIENCE
        self._released = self._released_at = 0.0
        self._streak = 0
        self._refused = 0.0  # running fraction of 429s
        self.resize(rate)

    def resize(self, rate: float) -> None:
        """The limit is another one: keeps the fraction of it that is taken."""
        seconds = max(1.0, 1 / rate)
        most = rate * seconds
        self.slots = self.slots * most / self.most if self.lowered else most
        self._before *= most / self.most
        self.most = most
        self.window = seconds * (1 + GUARD)

    @property
    def fraction(self) -> float:
        """The part of the limit that is taken, above 0 and at most 1."""
        return self.slots / self.most

    def bounds(self) -> tuple[int, float]:
        """So many starts in so many seconds; the guard is included."""
        if self.slots < 1:
            return 1, self.window / self.slots
        return int(self.slots + 0.5), self.window

    def answered(self, now: float) -> None:
        """Counts an answer that was no 429; needed only while `troubled`."""
        self._streak = 0
        self._refused -= self._refused * _GAIN
        self._tolerance = min(TOLERATED_AT_ONCE, self._tolerance + TOLERATED)
        if self.slots < 1:
            self.take(1.0)  # the slot that just passed is kept
        if now >= self._try_at and self._may_try(now):
            self._before, self._raised_at = self.slots, now
            self._try_at = now + _TRY * self.window
            self.take(self.slots + self._step)
        if self.lowered:
            self._release(now)
        self.troubled = self.lowered or self._tolerance < TOLERATED_AT_ONCE or self._refused > 0.001

    def take(self, slots: float) -> None:
        """Takes so many slots from now on, or all."""
        self.lowered = slots < self.most
        self.slots = slots if self.lowered else self.most
        if not self.lowered:
            self._try_at = math.inf

    def is_news(self, sent_at: float) -> bool:
        """Whether a 429 of a request that started then says something about the pace as it is now."""
        return sent_at >= self._lowered_at

    def throttled(self, now: float, sent_at: float) -> None:
        """Counts a 429.

        Args:
            now: When it came.
            sent_at: When its request started: before the last decrease, and it says nothing new.
        """
        if sent_at < self._excused_at:
            return
        self.troubled = True
        self._refused += (1 - self._refused) * _GAIN
        if not self.is_news(sent_at):
            return
        self._streak += 1
        if now - self._last_at > _QUIET:
            self._first_at = now
        self._last_at = now
        recent = self._raised_at <= sent_at < self._raised_at + _RECENT * self.window
        tolerated = self._tolerance >= 1
        self._tolerance = max(0.0, self._tolerance - 1)
        if tolerated and not recent and self._refused < _SCATTERED and self.slots > self.most - 0.5:
            return
        self._earn(now)
        self._credit = max(0.0, self._credit - 1)
        self._lower(now, self._before if recent else self.slots)

    def excuse(self, now: float) -> None:
        """The limit was found to be lower, which explains the 429s of requests sent until now."""
        self._lowered_at = self._excused_at = now
        self._refused = 0.0

    def pause(self) -> float:
        """Seconds after a 429 until the next permit is due; each further one doubles them, up to a window's."""
        due = self.window / self.slots
        return max(due, min(self.window, due * math.ldexp(1.0, min(self._streak, 20) - 1)))

    def seconds_for(self, now: float, requests: float) -> float:
        """How long so many requests take from now on, if every increase to come is as good as it can be."""
        slots, passed, until = self.slots, 0.0, max(now, self._try_at) - now
        while slots < self.most:
            due = (until - passed) * slots / self.window
            if due >= requests:
                break
            requests -= due
            passed, until = until, until + _TRY * self.window
            slots = min(self.most, max(1.0, slots) + self._step)
        return passed + requests * self.window / slots

    @property
    def _step(self) -> float:
        return self.most / _STEPS if self.most > _STEPS else 1.0

    def _may_try(self, now: float) -> bool:
        self._earn(now)
        finding, quiet = now - self._first_at < _FIND, now - self._last_at > self.patience
        return self._credit >= 1 or finding or quiet or self._tolerance >= _RARE

    def _earn(self, now: float) -> None:
        less = self.most / 4 / max(1.0, self.slots)  # than a quarter, by this factor
        speed: float = min(4.0, max(0.1, less * less))
        self._credit = min(_CREDIT_MOST, self._credit + _CREDIT * speed * (now - self._credit_at))
        self._credit_at = now

    def _release(self, now: float) -> None:
        """Gives a slot back now and then, while others are about."""
        passed, self._released_at = min(5.0, now - self._released_at), now
        if self.slots < _RELEASE_FROM or now - self._last_at > 2 * self.patience:
            return
        part = self.slots / self.most
        if part > _RELEASE_UP_TO and self._tolerance >= _RARE - 1:
            return
        speed = 16 * part * part if part <= _RELEASE_UP_TO else 1.0
        self._released += passed / _RELEASE * speed
        if self._released >= 1:
            self._released = 0.0
            self._try_at = now + _TRY * self.window
            self.take(self.slots - 1)

    def _lower(self, now: float, slots: float) -> None:
        finding = now - self._first_at < _FIND
        decrease = DECREASE if finding or slots < self.most / 2 else DECREASE_LARGE
        decrease = min(MOST_DECREASE, max(decrease, self._refused / 2)) if slots > 1 else _SMALL_DECREASE
        lowered = slots * (1 - decrease)
        whole = int(self.slots + 0.5)
        if whole > 2:  # at least one slot is given back: not so of two, which would halve the small
            lowered = max(1.0, min(lowered, whole - 0.51))
        least = 1.0 if finding else _KNOCK
        self.take(min(self.slots, max(least, lowered)))
        self._lowered_at = now
        self._raised_at = -math.inf
        self._try_at = now + _TRY * self.window
