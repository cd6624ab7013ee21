"""The named faults: one table of all of them, and the plan that says which request meets which."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Final, Literal, Protocol

import attrs

from rerank_async.server import misbehaviour as bad
from rerank_async.server.misbehaviour import Behaviour
from rerank_async.server.options import count, seconds
from rerank_async.values import contract

Door = Literal["rerank", "token"]


@attrs.frozen
class FaultKind:
    """One row of the table of faults.

    Attributes:
        description: What the client sees, in one line.
        behaviour: What the server does.
        door: Where it happens: at the rerank route or at the token route.
    """

    description: str
    behaviour: Behaviour
    door: Door = "rerank"


FAULTS: Final[Mapping[str, FaultKind]] = MappingProxyType(
    {
        "rate_limited": FaultKind("429 of the rate limit, although permits were left", bad.rate_limited),
        "pool_full": FaultKind(
            "429 consumption_limit_reached: the model's shared pool is full",
            bad.refusal(429, contract.POOL_FULL, "The model is busy: max 10 concurrent requests"),
        ),
        "quota": FaultKind(
            "403 token_quota_reached: the plan's tokens are used up",
            bad.refusal(403, contract.QUOTA_REACHED, "Request of 1 token(s) from quota was rejected"),
        ),
        "server_error": FaultKind(
            "500 with a documented body and a code that no one knows",
            bad.refusal(500, "internal_server_error", "The server failed"),
        ),
        "backend_failed": FaultKind(
            "500 downstream_request_failed: the model's backend failed",
            bad.refusal(500, contract.BACKEND_FAILED, "The downstream request failed"),
        ),
        "no_trace": FaultKind("500 with an error body without trace, and no content type", bad.no_trace),
        "empty_error": FaultKind("503 with no body at all", bad.empty_error),
        "unavailable": FaultKind("503 with an HTML page", bad.page(503, "503 Service Temporarily Unavailable")),
        "bad_gateway": FaultKind("502 with an HTML page", bad.page(502, "502 Bad Gateway")),
        "gateway_timeout": FaultKind("504 with an HTML page", bad.page(504, "504 Gateway Time-out")),
        "token_expired": FaultKind("401 authentication_token_expired, although the token is good", bad.token_expired),
        "token_rejected": FaultKind(
            "401 authentication_token_not_valid, although the token is good", bad.token_rejected
        ),
        "redirect": FaultKind("307 to a host that does not exist", bad.redirect),
        "reset_before": FaultKind("connection reset before the first byte", bad.reset_before),
        "reset_inside": FaultKind("headers and half of the body, then a connection reset", bad.reset_inside),
        "hang": FaultKind("no answer until the client leaves", bad.hang),
        "slow": FaultKind("an honest answer, `seconds` late (1.0)", bad.slow),
        "drip": FaultKind("an honest answer a byte at a time, `seconds` apart (0.001)", bad.drip),
        "truncated_json": FaultKind("200, complete as HTTP, with half a JSON document", bad.truncated_json),
        "nonsense_json": FaultKind("200 with JSON that is no rerank answer", bad.nonsense_json),
        "nonsense_html": FaultKind("200 with an HTML page", bad.page(200, "Welcome")),
        "missing_result": FaultKind("200 with one result left out", bad.altered(bad.missing_result)),
        "duplicate_index": FaultKind("200 with one result twice", bad.altered(bad.duplicate_index)),
        "wrong_index": FaultKind("200 with one index out of range", bad.altered(bad.wrong_index)),
        "nan_score": FaultKind("200 with one score NaN", bad.altered(bad.nan_score)),
        "unsorted": FaultKind("200 with the results shuffled, which is legal", bad.altered(bad.unsorted)),
        "extra_fields": FaultKind(
            "200 with unknown fields and a warning, which is legal", bad.altered(bad.extra_fields)
        ),
        "iam_error": FaultKind(
            "token route: 500 with an IAM error body", bad.identity(500, "BXNIM0513E", "Something failed"), "token"
        ),
        "iam_rate_limited": FaultKind(
            "token route: 429 with an IAM error body, and Retry-After if `seconds` are given",
            bad.identity(429, "BXNIM0429E", "Too many requests"),
            "token",
        ),
        "iam_html": FaultKind("token route: 502 with an HTML page", bad.page(502, "502 Bad Gateway"), "token"),
        "iam_unavailable": FaultKind(
            "token route: 503 with an HTML page", bad.page(503, "503 Service Temporarily Unavailable"), "token"
        ),
        "iam_nonsense": FaultKind("token route: 200 with an HTML page", bad.page(200, "Welcome"), "token"),
        "iam_no_token": FaultKind(
            "token route: 200 with everything but the token", bad.altered(bad.without_token), "token"
        ),
        "iam_expired_token": FaultKind(
            "token route: 200 with a token that has expired already", bad.altered(bad.expired_token), "token"
        ),
        "iam_redirect": FaultKind("token route: 307 to a host that does not exist", bad.redirect, "token"),
        "iam_reset": FaultKind("token route: connection reset before the first byte", bad.reset_before, "token"),
        "iam_slow": FaultKind("token route: an honest answer, `seconds` late (1.0)", bad.slow, "token"),
        "iam_hang": FaultKind("token route: no answer until the client leaves", bad.hang, "token"),
    }
)
"""Every fault by its name; the order is the order in which the command line lists them."""


@attrs.frozen
class Fault:
    """One fault, and which requests meet it: a share of them, those with these numbers, those in an outage, or all three.

    Only requests that would have been answered are counted and drawn: a good token, within the rate limit,
    a valid body (at the token route: every request).

    Attributes:
        name: A name in `FAULTS`.
        share: The share of requests, 0 to 1, drawn by a seeded generator.
        nth: Numbers of requests, the first is 1.
        outage: Two lengths of time, ``(down, every)``: from the first request on, every request meets it in the first
            ``down`` seconds of each ``every`` seconds.
        seed: Seeds the draw; None: the server's seed.
        seconds: For ``slow`` the delay, for ``drip`` the pause between bytes, for ``iam_rate_limited`` the Retry-After;
            None: the fault's own.

    Raises:
        ValueError: An unknown name, a share outside 0 to 1, a number below 1, an outage that is not within its period,
            or none of share, nth and outage.
        TypeError: A value of the wrong type.
    """

    name: str
    share: float = attrs.field(default=0.0, kw_only=True)
    nth: tuple[int, ...] = attrs.field(default=(), converter=tuple, kw_only=True)
    outage: tuple[float, float] | None = attrs.field(default=None, kw_only=True)
    seed: int | None = attrs.field(default=None, kw_only=True)
    seconds: float | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Check the values."""
        if self.name not in FAULTS:
            raise ValueError(_unknown(self.name))
        if isinstance(self.share, bool) or not isinstance(self.share, int | float):
            raise TypeError(f"Fault.share is a number from 0 to 1, not {self.share!r}")
        if not 0 <= self.share <= 1:
            raise ValueError(f"Fault.share is a number from 0 to 1, not {self.share!r}")
        for number in self.nth:
            count(number, "A number in Fault.nth")
        if self.seconds is not None:
            seconds(self.seconds, "Fault.seconds")
        if self.outage is not None:
            _check_outage(self.outage)
        if not self.share and not self.nth and self.outage is None:
            raise ValueError(
                f"Fault {self.name!r} needs a share above 0, nth or outage: as it is, no request would meet it"
            )

    def is_down(self, elapsed: float) -> bool:
        """Say whether so many seconds after the first request there is an outage."""
        return self.outage is not None and elapsed % self.outage[1] < self.outage[0]


def _check_outage(outage: object) -> None:
    if not isinstance(outage, tuple) or len(outage) != 2:
        raise TypeError(f"Fault.outage is a pair of seconds (down, every), not {outage!r}")
    down, every = (seconds(part, "Fault.outage", positive=True) for part in outage)
    if down > every:
        raise ValueError(f"Fault.outage is (down, every), and {down:g} s do not fit into {every:g} s")


def _unknown(name: object) -> str:
    close = difflib.get_close_matches(str(name), FAULTS, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"There is no fault {name!r}.{hint} The faults are: {', '.join(FAULTS)}."


def read_faults(faults: Mapping[str, float] | Iterable[Fault]) -> tuple[Fault, ...]:
    """Give the faults as values; a mapping gives shares by name, and a share of 0 is no fault.

    Raises:
        ValueError: An unknown name or a share outside 0 to 1.
        TypeError: Something that is no `Fault`.
    """
    if isinstance(faults, Mapping):
        for name in faults:
            if name not in FAULTS:
                raise ValueError(_unknown(name))
        return tuple(Fault(name, share=share) for name, share in faults.items() if share != 0)
    values = tuple(faults)
    for fault in values:
        if not isinstance(fault, Fault):
            raise TypeError(f"faults is a mapping of name to share or a sequence of Fault; it holds {fault!r}")
    return values


@attrs.frozen
class Drawn:
    """A fault that a request meets, with a generator for its behaviour: the same for the same seed and number."""

    fault: Fault
    random: Random


class Plan(Protocol):
    """Says for one request after the other which fault it meets, if any."""

    def next(self) -> Drawn | None:
        """Decide on the next request."""
        ...


class FaultPlan:
    """Says for one request after the other which fault it meets at one door.

    Every fault draws once for every request, from a generator of its own: another fault beside it changes nothing.
    Where two would hit the same request, the first given is taken.

    Args:
        faults: The faults, those of other doors too.
        door: The door.
        seed: For faults without a seed of their own.
        clock: Seconds, for outages.
    """

    def __init__(
        self, faults: Sequence[Fault], door: Door, seed: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        mine = [fault for fault in faults if FAULTS[fault.name].door == door]
        self._seeds = [f"{seed if fault.seed is None else fault.seed}:{fault.name}" for fault in mine]
        self._draws = [(fault, Random(words)) for fault, words in zip(mine, self._seeds, strict=True)]  # noqa: S311 - no secret
        self._count = 0
        self._clock = clock
        self._first_at: float | None = None

    def next(self) -> Drawn | None:
        """Draw for the next request."""
        self._count += 1
        now = self._clock()
        self._first_at = now if self._first_at is None else self._first_at
        elapsed = now - self._first_at
        # All of them draw, also behind the first hit: that keeps each one's sequence its own.
        hits = [
            draw.random() < fault.share or self._count in fault.nth or fault.is_down(elapsed)
            for fault, draw in self._draws
        ]
        if True not in hits:
            return None
        at = hits.index(True)
        return Drawn(self._draws[at][0], Random(f"{self._seeds[at]}:{self._count}"))  # noqa: S311 - no secret
