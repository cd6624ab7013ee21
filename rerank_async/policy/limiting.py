"""When the next request may start: the instance's limit as far as it is known, and the pace within it. Pure."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import attrs

from rerank_async.errors import InvalidArgumentError
from rerank_async.policy.heard import Heard, Limit
from rerank_async.policy.limiter import UNPACED, Limiter
from rerank_async.policy.pace import IMPATIENCE, PATIENCE, Pace
from rerank_async.policy.window import GUARD, StartWindow
from rerank_async.values.checks import integer, number

__all__ = ["GUARD", "LearningLimiter", "Limiter"]

_MOST_AT_ONCE: Final = 10_000
"""Requests in one window of ours, so that the memory of it stays small."""

_FASTEST: Final = 1e9
"""Requests a second. Beyond it floats cannot tell one start from the next; whoever means "no limit" says ``math.inf``."""

_BELIEF: Final = 8.0
"""Requests a second, the documented default of an instance: where nothing is known, learning starts at least there."""

_PROBE_EVERY: Final = 30.0
"""Seconds after a 429 until its number is doubted, so that at most one 429 in that time comes of doubting."""

_PROBE_LEARNED_EVERY: Final = 12.0
"""As `_PROBE_EVERY`, for a number which is only our own guess."""

_PROBE_WINDOWS: Final = 8
"""Windows for which the first request above the number is tried: a bucket with tokens to spare hides the limit."""

_SPREAD: Final = 0.02
"""Of a window, at most a second: how far apart requests start that take places which have just become free. A client that
started a whole burst at once again and again would leave others no moment to begin in. Once, it costs `_SPREAD_MOST`."""

_SPREAD_MOST: Final = 0.12
"""Of a window, at most a second: over how much of it a burst is spread in this way."""


_PATIENCE: Final = {"header": PATIENCE, "429": PATIENCE, "option": 22.0, "learned": IMPATIENCE}
"""As `pace.PATIENCE`. Where the service never named a number, 429s may mean that the option is above the limit, and what is
left of it has to be found."""

_BLIND_PAUSE: Final = 0.125
"""Seconds: the first pause after a 429 without a Retry-After where nothing paces; a request of the default rate. Each 429
that follows without an answer in between doubles it."""

_BLIND_DOUBLINGS: Final = 5


class LearningLimiter:
    """Keeps a ceiling that it believes to be the instance's limit, and a pace at most as high that it learns.

    The ceiling is the number of ``x-requests-limit-rate``, else the lower of the option and the last 429's number, which
    is doubted upwards from time to time. The pace is `Pace`: others use the same instance. Where neither the option nor
    the service names a number, the ceiling is infinite until the first 429, and then the requests of the second before it.

    Attributes:
        ceiling: As `Limiter.ceiling`; ``share`` is taken into account.
        source: As `Limiter.source`.
        paused_until: As `Limiter.paused_until`.
        paced: As `Limiter.paced`.
        limit_known: As `Limiter.limit_known`.
    """

    def __init__(
        self, requests_per_second: float | None = _BELIEF, burst: int | None = None, share: float = 1.0
    ) -> None:
        """Sets what is believed at the beginning.

        Args:
            requests_per_second: Above 0. None: unknown, the gate starts with few requests in flight. ``math.inf``: no
                pacing unless the service names a limit; a 429 that names none is a pause and no more.
            burst: How many requests may start at once after a pause, at least 1; a limit that is heard bounds it. None:
                the requests of one window.
            share: The fraction of the ceiling that is this client's, above 0 and at most 1.

        Raises:
            InvalidArgumentError: A value out of range.
            InvalidTypeError: A value of the wrong type.
        """
        _check(requests_per_second, burst, share)
        self.ceiling = math.inf
        self.source = "option"
        self.paused_until = -math.inf
        self.paced = False
        self.limit_known = requests_per_second is not None
        self._option = math.inf if requests_per_second is None else float(requests_per_second)
        self._unpaced = requests_per_second == math.inf
        self._streak = 0  # 429s without an answer in between, where nothing paces
        self._throttled_at = -math.inf
        self._burst = burst
        self._share = share
        self._told: Limit | None = None
        self._told_at = -math.inf  # when the request was sent whose answer said so
        self._promise: Limit | None = None  # to be told with the next answer
        self._extra = 0  # requests in a window above what the last 429 said
        self._probe_at = math.inf
        self._left = 0  # the last x-requests-limit-remaining
        self._left_at = -math.inf
        self._spread = 0.0
        self._passed: deque[float] = deque(maxlen=_MOST_AT_ONCE)  # when answers came, while nothing is known
        self._window = StartWindow(_MOST_AT_ONCE, 1.0)
        self._pace = Pace(_BELIEF)
        self._settle(-math.inf)

    @property
    def rate(self) -> float:
        """As `Limiter.rate`."""
        return self.ceiling * self._pace.fraction

    def wait(self, now: float) -> float:
        """As `Limiter.wait`."""
        ready_at = self.paused_until
        if self.paced:
            ready_at = max(ready_at, self._opens_at(now))
        return ready_at - now if ready_at > now else 0.0

    def free(self, now: float) -> int:
        """As `Limiter.free`."""
        if self.wait(now):
            return 0
        if not self.paced:
            return UNPACED
        if self._window.opens_at() > now - 5 * self._spread:
            return 1
        free = self._window.free(now)
        if self._pace.lowered:
            size, length = self._pace.bounds()
            free = min(free, size - self._window.granted - self._window.since(now - length))
        if now < self._left_at + self._window.length:
            back = int((now - self._left_at) * self.ceiling / (1 + GUARD) + 1e-6)
            free = min(free, self._left + back - self._window.since(self._left_at) - self._window.granted)
        return max(1, free)

    def grant(self) -> None:
        """As `Limiter.grant`."""
        self._window.grant()

    def start(self, now: float) -> None:
        """As `Limiter.start`."""
        self._window.start(now)

    def give_back(self) -> None:
        """As `Limiter.give_back`."""
        self._window.give_back()

    def forget_granted(self) -> None:
        """As `Limiter.forget_granted`."""
        self._window.forget_granted()

    def ready_at(self, now: float, ahead: int) -> float:
        """As `Limiter.ready_at`."""
        ready_at = max(now, self.paused_until)
        if not self.paced:
            return ready_at
        opens_at = self._opens_at(now)
        first = max(ready_at, opens_at) if opens_at < math.inf else ready_at
        if self._pace.lowered:
            size, length = self._pace.bounds()
            spare = size - 1 - self._window.granted - self._window.since(first - length)
            return first + self._pace.seconds_for(first, max(0, ahead - max(0, spare)))
        return (
            max(first, self._window.ready_at(now, ahead, ready_at))
            if not ahead
            else self._window.ready_at(now, ahead, ready_at)
        )

    def answered(self, now: float, sent_at: float, heard: Heard | None) -> None:
        """As `Limiter.answered`."""
        if heard is not None:
            self._hear(now, sent_at, heard)
        if not self.limit_known:
            self._passed.append(now)
        elif self._pace.troubled:
            self._pace.answered(now)
        if self._streak and sent_at >= self._throttled_at:
            self._streak = 0
        if now >= self._probe_at:
            self._probe(now)

    def throttled(self, now: float, sent_at: float, retry_after: float | None, heard: Heard | None) -> float:
        """As `Limiter.throttled`."""
        ceiling, new = self.ceiling, self._pace.is_news(sent_at)
        if heard is not None:
            self._hear(now, sent_at, heard, refused=True)
        if self._extra and self._told is not None:  # it names no number, and the last doubt was wrong
            self._told = attrs.evolve(self._told, requests=self._told.requests + (self._extra - 1) // 2)
            self._extra = 0
            self._settle(now)
        if not self.paced:
            if self._unpaced:
                return self._pause_blindly(now, sent_at, retry_after)
            self._learn(now)
        if self.ceiling < ceiling:
            new = True
        else:
            slots = self._pace.slots
            self._pace.throttled(now, sent_at)
            if self.source == "learned" and self._pace.slots < slots < self._pace.most:
                self._learn_less(now, slots)
        if self._told is not None and self._told.source != "header" and self._promise is None:
            self._probe_at = now + (_PROBE_EVERY if self._told.source == "429" else _PROBE_LEARNED_EVERY)
        if retry_after is None:
            retry_after = self._pace.pause() if new else 0.0  # nothing new, and there is no new pause
        self.paused_until = max(self.paused_until, now + retry_after)
        return max(0.0, self.paused_until - now)

    def _pause_blindly(self, now: float, sent_at: float, retry_after: float | None) -> float:
        """A 429 where no pacing is wanted and no limit was named: 429s of one burst are one pause."""
        if sent_at >= self._throttled_at:
            self._streak += 1
            self._throttled_at = now
            if retry_after is None:
                retry_after = _BLIND_PAUSE * 2 ** min(self._streak - 1, _BLIND_DOUBLINGS)
        self.paused_until = max(self.paused_until, now + (retry_after or 0.0))
        return max(0.0, self.paused_until - now)

    def _opens_at(self, now: float) -> float:
        """When the window, the pace and the number of requests that the service has left allow the next start."""
        window = self._window
        opens_at = window.opens_at()
        if self._pace.lowered:
            opens_at = max(opens_at, window.opens_after(*self._pace.bounds()))
        if now - 5 * self._spread < opens_at < math.inf:
            opens_at = max(opens_at, window.last() + self._spread)
        if self._left < window.size and now < self._left_at + window.length:
            # What it had left when that request came, less those that started since, plus what came back since.
            beyond = window.since(self._left_at) + window.granted + 1 - self._left
            opens_at = max(opens_at, self._left_at + min(beyond * (1 + GUARD) / self.ceiling, window.length))
        return opens_at

    def _hear(self, now: float, sent_at: float, heard: Heard, *, refused: bool = False) -> None:
        """Takes what an answer says, unless the answer to a later request was heard before."""
        left = heard.remaining
        if left is not None and (sent_at > self._left_at or (sent_at == self._left_at and left < self._left)):
            self._left, self._left_at = left, sent_at
        limit, told = heard.limit, self._told
        if limit is None or sent_at < self._told_at:
            return
        self._told_at = sent_at
        if told is not None and told.requests == limit.requests:
            # Only a 429 says for how many seconds the number holds, and only an answer's header that it is not bounded.
            seconds = limit.seconds if refused else told.seconds
            source = told.source if told.source == "header" else limit.source
            limit = told if (seconds, source) == (told.seconds, told.source) else Limit(told.requests, seconds, source)
        if limit is told and not (refused and self._extra):
            return
        if refused and limit.requests / limit.seconds * self._share > self.ceiling:
            self._promise = limit  # a 429 raises nothing: the next answer that is none does
            self._probe_at = -math.inf
            return
        self._told = limit
        self._extra = 0
        self._settle(now)

    def _settle(self, now: float) -> None:
        """Sets the ceiling from what was told and from the option."""
        told, option = self._told, self._option
        if told is not None and told.source != "header" and (told.requests + self._extra) / told.seconds >= option:
            told = self._told = None
            self._extra = 0
        if told is not None:
            requests = told.requests + self._extra
            rate = requests / told.seconds * self._share
            size = min(self._burst or requests, max(1, math.floor(requests * self._share + 1e-9)))
            self.source = told.source
        elif math.isinf(option):
            return
        else:
            rate = option * self._share
            size = self._burst or max(1, math.floor(rate + 1e-9))
            self.source = "option"
        if told is None or told.source == "header":
            self._probe_at = math.inf
        size = min(size, _MOST_AT_ONCE)
        if rate < self.ceiling:
            self._pace.excuse(now)
        self.ceiling = rate
        self.paced = self.limit_known = True
        self._window.resize(size, size / rate)
        self._pace.resize(rate)
        self._pace.patience = _PATIENCE[self.source]
        self._spread = min(_SPREAD, _SPREAD_MOST / size) * min(1.0, size / rate)

    def _learn(self, now: float) -> None:
        """The first 429 names no number: what passed in the last second is about what is allowed."""
        passed = sum(at > now - 1.0 for at in self._passed)
        self._passed.clear()
        self._told = Limit(max(int(_BELIEF), int(passed / self._share)), 1.0, "learned")
        self._settle(now)

    def _learn_less(self, now: float, slots: float) -> None:
        """So many slots were too many: what was measured was not the limit either."""
        kept = self._pace.slots
        requests = max(1, math.floor(self.ceiling * slots / self._pace.most / self._share + 1e-9))
        self._told = Limit(requests, 1.0, "learned")
        self._settle(now)
        self._pace.take(kept)

    def _probe(self, now: float) -> None:
        """Doubts the number that is not a header's: one request more in a window, and if that passes 3, 7, ..."""
        if self._promise is not None:
            self._told, self._promise, self._extra = self._promise, None, 0
            self._probe_at = now + _PROBE_EVERY
            self._settle(now)
            return
        window = self._window
        full = window.since(now - window.length) >= max(1, window.size - 1)
        if self._pace.lowered or not full:  # it would prove nothing
            self._probe_at = now + window.length
            return
        windows = _PROBE_WINDOWS if not self._extra else 2
        self._extra = 2 * self._extra + 1
        self._settle(now)
        if self._told is not None:
            self._probe_at = now + windows * window.length


def _check(requests_per_second: float | None, burst: int | None, share: float) -> None:
    if requests_per_second is not None:
        name = "requests_per_second"
        if number(requests_per_second, name) <= 0:
            raise InvalidArgumentError(f"{name} must be above 0, not {requests_per_second!r}", argument=name)
        if requests_per_second > _FASTEST and requests_per_second != math.inf:
            raise InvalidArgumentError(f"{name} must be at most {_FASTEST:g}, or math.inf", argument=name)
    if burst is not None and integer(burst, "burst") < 1:
        raise InvalidArgumentError(f"burst must be at least 1, not {burst}", argument="burst")
    if not 0 < number(share, "share") <= 1:
        raise InvalidArgumentError(f"share must be above 0 and at most 1, not {share!r}", argument="share")
