"""What a caller may set on the local server: its rate limit and its latency, as frozen values."""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

import attrs

LimitKind = Literal["token_bucket", "fixed_window", "sliding_window"]
LIMIT_KINDS: Final[tuple[str, ...]] = get_args(LimitKind)


def seconds(value: object, name: str, *, positive: bool = False) -> float:
    """Check a length of time.

    Args:
        value: What the caller gave.
        name: What the message calls it.
        positive: Refuse 0 too.

    Returns:
        The value as a float, in seconds.

    Raises:
        TypeError: It is not a number (a bool is not one).
        ValueError: It is negative, infinite or not a number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number of seconds, not {value!r}")
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise ValueError(f"{name} is a number of seconds {'above' if positive else 'of at least'} 0, not {value!r}")
    return float(value)


def count(value: object, name: str) -> int:
    """Check a number of things, which is at least 1.

    Raises:
        TypeError: It is not an int (a bool is not one).
        ValueError: It is below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} is at least 1, not {value!r}")
    return value


@attrs.frozen(kw_only=True)
class RateLimit:
    """How many rerank requests the server admits; those above it are answered with a 429.

    Attributes:
        requests: Requests for each window; of a token bucket also its capacity.
            8 is what a production instance answers with. Source: IBM/unitxt#1215.
        window: Seconds.
        kind: ``token_bucket`` refills ``requests / window`` tokens a second and starts full;
            ``fixed_window`` counts from multiples of ``window`` on the server's clock, so that twice
            ``requests`` may pass around an edge; ``sliding_window`` admits ``requests`` in any ``window``
            seconds. A refused request costs nothing in any of them.
        retry_after: Whether a 429 carries ``Retry-After``: ``False`` does not, as seen of the service;
            ``True`` gives the seconds until the next request is admitted, rounded up; a number is sent as it is.
        headers: Whether answers carry ``x-requests-limit-rate`` and ``x-requests-limit-remaining``.

    Raises:
        TypeError: A value of the wrong type.
        ValueError: A value out of range, or an unknown kind.
    """

    requests: int = attrs.field(default=8)
    window: float = attrs.field(default=1.0)
    kind: LimitKind = attrs.field(default="token_bucket")
    retry_after: bool | float = attrs.field(default=False)
    headers: bool = attrs.field(default=True)

    def __attrs_post_init__(self) -> None:
        """Check the values."""
        count(self.requests, "RateLimit.requests")
        seconds(self.window, "RateLimit.window", positive=True)
        if self.kind not in LIMIT_KINDS:
            raise ValueError(f"RateLimit.kind is one of {', '.join(LIMIT_KINDS)}, not {self.kind!r}")
        if not isinstance(self.retry_after, bool):
            seconds(self.retry_after, "RateLimit.retry_after")


@attrs.frozen(kw_only=True)
class Latency:
    """Seconds that an answer takes beside the scoring itself: ``base + per_input * len(inputs)``.

    Raises:
        TypeError: A value that is not a number.
        ValueError: A value that is negative or not finite.
    """

    base: float = attrs.field(default=0.0)
    per_input: float = attrs.field(default=0.0)

    def __attrs_post_init__(self) -> None:
        """Check the values."""
        seconds(self.base, "Latency.base")
        seconds(self.per_input, "Latency.per_input")

    def delay(self, inputs: int) -> float:
        """Give the seconds for a request of this many inputs."""
        return self.base + self.per_input * inputs
