"""How many retries the client can afford: a bucket that successes fill and retries empty. Pure: ``now`` in."""

from __future__ import annotations

import math
from typing import Literal

SAVED = 150
"""Successes that the bucket can hold the deposits of, and holds at first. At the default ratio of 0.3 that is 45
retries: what 128 requests in flight need if 20 % of them fail before the first succeeds (26 on average, and four standard
deviations), and little beside the requests of a job whose service is down."""

PROBE_INTERVAL = 1.0
"""Seconds between the requests that look whether the service is back, while the bucket is empty."""

_NEARLY_ONE = 1 - 1e-9  # sums of deposits such as 0.1 miss whole numbers by less

Kind = Literal["retry", "probe"]
"""What paid for a request that is sent again: a token of the bucket, or the second that went by since the last probe."""


class RetryBudget:
    """Says whether a batch may be sent again now. An empty bucket delays, it does not fail (docs/decisions.md, 14).

    A retry costs one token. A success deposits ``ratio`` of one, and a retry that succeeds has its own token back, as
    in the retry quota of botocore: so what is spent is spent on retries that failed, and their number is at most
    ``ratio`` times that of the successes, plus what was saved. Where each request fails with probability p, a call
    costs p**2 / (1 - p) tokens: 0.05 at 20 % faults, 0.3 at 41 %. Against a service that is down nothing is deposited:
    what was saved goes out, then one probe a second; the first of them that succeeds earns the next retry, and each
    retry that succeeds more than one, so the rest follows within a few round trips.
    """

    __slots__ = ("_most", "_probe_at", "_ratio", "_tokens")

    def __init__(self, ratio: float) -> None:
        """Fills the bucket.

        Args:
            ratio: Tokens a success deposits, 0 to 1; 0: nothing is sent again but probes.
        """
        self._ratio = ratio
        self._most = max(1.0, ratio * SAVED) if ratio else 0.0
        self._tokens = self._most
        self._probe_at = -math.inf

    @property
    def tokens(self) -> float:
        """Retries that could be paid for now."""
        return self._tokens

    def succeeded(self, kind: Kind | None = None) -> None:
        """Hears a request that succeeded.

        Args:
            kind: What `take` gave for it; None: it was the first request of its batch, or went again for free.
        """
        if self._tokens < self._most:
            self._deposit(self._ratio if kind is None else 1 + self._ratio)

    def take(self, now: float) -> Kind | None:
        """Takes what one request needs that goes again; None: `wait`, or until something succeeds."""
        if self._tokens >= _NEARLY_ONE:
            self._tokens -= 1
            self._probe_at = now + PROBE_INTERVAL
            return "retry"
        if now < self._probe_at:
            return None
        self._probe_at = now + PROBE_INTERVAL
        return "probe"

    def wait(self, now: float) -> float:
        """Seconds until `take` gives something if nothing succeeds before; 0: now."""
        return 0.0 if self._tokens >= _NEARLY_ONE else max(0.0, self._probe_at - now)

    def give_back(self, kind: Kind) -> None:
        """Takes back what `take` gave for a request that was then not sent."""
        if kind == "retry":
            self._deposit(1)
        else:
            self._probe_at -= PROBE_INTERVAL

    def _deposit(self, tokens: float) -> None:
        self._tokens = min(self._most, self._tokens + tokens)
