"""An instance of the service on a hand-turned clock, and clients that know nothing of one another.

The limit is counted by the three rules of the local server. A client is a limiter in a loop: it has always something to
send, or a number of calls; a permit is used at once; a refused call goes again first.
"""

import heapq
import math
import random
from collections import deque
from itertools import count

import attrs

from rerank_async.policy.heard import heard_of
from rerank_async.policy.limiting import LearningLimiter
from rerank_async.server.limiters import limiter_for
from rerank_async.server.options import RateLimit

KINDS = ("token_bucket", "fixed_window", "sliding_window")


@attrs.define(kw_only=True)
class Told:
    """What answers say of the limit."""

    headers: bool = False
    text: bool = False

    def of(self, limit, remaining, *, refused):
        headers, message = {}, None
        if self.headers:
            headers = {"x-requests-limit-rate": str(limit.requests), "x-requests-limit-remaining": str(remaining)}
        if refused:
            message = "Too many requests"
            if self.text:
                message = f"Rate limit of {limit.requests} requests per {limit.window:g}s was reached for instance id x"
        return heard_of(headers, message)


HEADER, TEXT, BOTH, NEITHER = Told(headers=True), Told(text=True), Told(headers=True, text=True), Told()


class Instance:
    """One service instance: its limit, its latency, and what arrived."""

    def __init__(
        self, kind, requests, *, told=NEITHER, latency=0.1, jitter=0.05, stray=0.0, stray_headers=None, seed=0
    ):
        self.kind, self.told, self.latency, self.jitter = kind, told, latency, jitter
        self.stray, self.stray_headers = stray, stray_headers
        self.random = random.Random(seed)
        self.arrivals = []
        self.now = 0.0
        self._events = []
        self._order = count()
        self.limit = None
        self.set(requests)

    def set(self, requests):
        """Changes the limit at once; a window that is under way starts anew, as full as it was."""
        before, self.limit = self.limit, RateLimit(requests=requests, kind=self.kind)
        self._door = limiter_for(self.limit)
        if before is not None:
            used = sum(1 for at, _, passed, _ in self.arrivals if passed and at > self.now - 1.0)
            for _ in range(min(used, requests)):
                self._door.admit(self.now)

    def at(self, when, action):
        heapq.heappush(self._events, (when, next(self._order), action))

    def run(self, until):
        while self._events and self._events[0][0] <= until:
            when, _, action = heapq.heappop(self._events)
            self.now = max(self.now, when)
            action()
        self.now = max(self.now, until)

    def send(self, client):
        sent_at = self.now
        self.at(sent_at + self._travel(), lambda: self._arrive(client, sent_at))

    def _travel(self):
        return self.latency / 2 + self.random.random() * self.jitter

    def _arrive(self, client, sent_at):
        if self.stray and self.random.random() < self.stray:
            passed, heard = False, self.told.of(self.limit, 0, refused=True)
            if self.stray_headers is not None:
                heard = heard_of(self.stray_headers, "Too many requests")
            stray = True
        else:
            verdict = self._door.admit(self.now)
            passed, stray = verdict.allowed, False
            heard = self.told.of(self.limit, verdict.remaining, refused=not passed)
        self.arrivals.append((self.now, client, passed, stray))
        self.at(self.now + self._travel(), lambda: client.hear(sent_at, passed, heard))

    def passed(self, since=0.0, until=math.inf, client=None):
        return sum(1 for at, who, ok, _ in self.arrivals if ok and since <= at < until and client in (None, who))

    def refused(self, since=0.0, until=math.inf):
        return sum(1 for at, _, ok, _ in self.arrivals if not ok and since <= at < until)

    def used(self, since, until):
        """The part of the present limit that passed."""
        return self.passed(since, until) / ((until - since) * self.limit.requests)

    def refused_part(self, since, until=math.inf):
        total = self.refused(since, until) + self.passed(since, until)
        return self.refused(since, until) / total if total else 0.0

    def most_in_a_window(self, seconds=1.0):
        """The largest number of arrivals in any window."""
        recent, most = deque(), 0
        for at, *_ in self.arrivals:
            recent.append(at)
            while recent[0] <= at - seconds:
                recent.popleft()
            most = max(most, len(recent))
        return most


class Client:
    """Sends through its limiter to one instance as fast as it may, from ``begins`` on."""

    def __init__(self, instance, limiter=None, *, calls=None, concurrency=32, begins=0.0):
        self.instance = instance
        self.limiter = limiter or LearningLimiter()
        self.left = math.inf if calls is None else calls
        self.concurrency = concurrency
        self.slow_start = None if self.limiter.limit_known else 8
        self.in_flight = 0
        self.done_at = []
        self.lowered = []  # (time, rate) after each 429
        self._woken_at = math.inf
        instance.at(begins, self._pump)

    @property
    def _most(self):
        return self.concurrency if self.slow_start is None else min(self.slow_start, self.concurrency)

    def _pump(self):
        now = self.instance.now
        while self.left > 0 and self.in_flight < self._most:
            wait = self.limiter.wait(now)
            if wait:
                if math.isfinite(wait) and not now < self._woken_at <= now + wait:
                    self._woken_at = now + wait
                    self.instance.at(self._woken_at, self._pump)
                return
            self.limiter.grant()
            self.limiter.start(now)
            self.left -= 1
            self.in_flight += 1
            self.instance.send(self)

    def hear(self, sent_at, passed, heard):
        now = self.instance.now
        self.in_flight -= 1
        if passed:
            self.done_at.append(now)
            self.limiter.answered(now, sent_at, heard)
            if self.slow_start is not None and len(self.done_at) % self.slow_start == 0:
                self.slow_start *= 2
        else:
            self.left += 1
            before = self.limiter.rate
            self.limiter.throttled(now, sent_at, None, heard)
            self.lowered.append((now, before, self.limiter.rate))
        if self.limiter.limit_known:
            self.slow_start = None
        self._pump()
