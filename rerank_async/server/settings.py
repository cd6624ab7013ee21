"""What `serve` was given, checked once, for the doors to read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import attrs

from rerank_async.server.faults import Door, Fault, FaultPlan, Plan
from rerank_async.server.options import Latency, RateLimit
from rerank_async.server.record import Watcher
from rerank_async.server.scoring import Scorer
from rerank_async.values import contract

BODY_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of a request's body; the service's own limit is unknown. A thousand inputs of 60 kB pass."""


@attrs.frozen(kw_only=True)
class Settings:
    """The settings of one server, in the words of `serve`, and three that only tests need.

    Attributes:
        plans: Instead of `faults`, for these doors.
        watcher: Is shown each rerank request, contents included; None: contents are forgotten.
        pause: Seconds in the ``Retry-After`` of a fault that answers 429; None: as the rate limit does.
    """

    scorers: Mapping[str, Scorer]
    limit: RateLimit | None = None
    latency: Latency = attrs.Factory(Latency)
    faults: tuple[Fault, ...] = ()
    api_key: str = attrs.field(default="local-api-key", repr=False)
    username: str = "local-user"
    password: str = attrs.field(default="local-password", repr=False)
    profile_id: str | None = "local-profile"
    project_id: str | None = "local-project"
    space_id: str | None = "local-space"
    token_lifetime: float = 3600.0
    token_latency: float = 0.0
    max_inputs: int = contract.MAX_INPUTS
    max_body: int = BODY_LIMIT
    seed: int = 0
    keep: int = 10_000
    plans: Mapping[Door, Plan] = attrs.Factory(dict)
    watcher: Watcher | None = None
    pause: float | None = None

    @property
    def advertised(self) -> RateLimit:
        """The limit that a ``rate_limited`` fault names: the server's own, else the documented default."""
        return self.limit or RateLimit()

    def plan(self, door: Door) -> Plan:
        """Give what says which request of a door meets which fault."""
        return self.plans[door] if door in self.plans else FaultPlan(self.faults, door, self.seed)

    def retry_after(self, delay: float) -> str | None:
        """Give the ``Retry-After`` of a 429, or None for no such header.

        Args:
            delay: Seconds until the next request would be admitted.
        """
        wanted = self.advertised.retry_after
        if wanted is False:
            return None
        return str(max(1, math.ceil(delay))) if wanted is True else f"{wanted:g}"
