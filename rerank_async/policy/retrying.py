"""What to do about a failed request: `decide`. The only user of the library backoff."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import NamedTuple, TypeGuard

from rerank_async.errors import (
    AnswerTooLargeError,
    AuthenticationError,
    BadAnswerError,
    CertificateError,
    ConnectionFailedError,
    ProxyError,
    RateLimitError,
    RequestTimeoutError,
    RerankError,
    ServiceError,
    StatusError,
)
from rerank_async.values.contract import POOL_FULL, TOKEN_EXPIRED, TOKEN_NOT_VALID
from rerank_async.values.options import RetryOptions

_RETRYABLE = (ServiceError, ConnectionFailedError, RequestTimeoutError, BadAnswerError)
_FINAL = (CertificateError, ProxyError, AnswerTooLargeError)  # although their kind may mend
_TOKEN_CODES = frozenset({TOKEN_EXPIRED, TOKEN_NOT_VALID})
_CROWDED_STATUSES = frozenset({503, 504})
_RETRYABLE_STATUSES = frozenset({408, 425})  # timed out or too early at a gateway


class Again(NamedTuple):
    """Send the batch again after ``delay`` seconds. ``free``: the request that failed costs no attempt."""

    delay: float
    free: bool = False


class Pause(NamedTuple):
    """A 429: hold the client, then send the batch first. ``retry_after``: seconds; None: the service did not say."""

    retry_after: float | None


class MakeRoom(NamedTuple):
    """The model's pool is full: fewer requests in flight, and send the batch again after ``delay`` seconds.

    Like a 429 it costs no attempt and no budget; unlike one it says nothing about the rate.
    """

    delay: float


class NewToken(NamedTuple):
    """Drop the token that was sent, and send the batch with a new one."""


class GiveUp(NamedTuple):
    """Raise the error. ``reason`` is added to its message; None: it says enough by itself."""

    reason: str | None = None


_MOST_DOUBLINGS = 64  # behind which any base delay is over any bound

Jitter = Callable[[float], float]
Decision = Again | Pause | MakeRoom | NewToken | GiveUp


def backoff_delay(attempt: int, options: RetryOptions, jitter: Jitter | None = None) -> float:
    """Seconds before the retry that follows the ``attempt``-th request (from 1)."""
    import backoff  # noqa: PLC0415 - only a failure needs it

    waits = backoff.expo(base=2, factor=options.base_delay, max_value=options.max_delay)
    # backoff's generators yield None once before their first value.
    longest: float = next(islice(waits, min(attempt, _MOST_DOUBLINGS), None))
    return (jitter or backoff.full_jitter)(longest)


def crowds(error: RerankError) -> bool:
    """Whether the error says that the service has more at once than it can carry: pool full, 503, or a timeout.

    504 is the timeout of a gateway. A full pool (`MakeRoom`) is for `ConcurrencyBound.crowded`; 503s and timeouts also
    come by chance, and are for `ConcurrencyBound.strained` (docs/decisions.md, 12).
    """
    if isinstance(error, StatusError):
        return error.code == POOL_FULL or (isinstance(error, ServiceError) and error.status in _CROWDED_STATUSES)
    return isinstance(error, RequestTimeoutError)


def throttles(error: RerankError, options: RetryOptions) -> TypeGuard[RateLimitError]:
    """Whether the error says that the rate is too high, and asks for a pause that is kept: not a full pool, not a day."""
    return (
        isinstance(error, RateLimitError)
        and error.code != POOL_FULL
        and (error.retry_after is None or error.retry_after <= options.max_retry_after)
    )


def decide(
    error: RerankError,
    *,
    attempts: int,
    throttled: int,
    renewed: bool,
    options: RetryOptions,
    refused: int = 0,
    elapsed: float | None = None,
    throttled_for: float = 0.0,
    jitter: Jitter | None = None,
) -> Decision:
    """Decides by the kind of error, which was chosen by code first, then status, then exception.

    Args:
        error: What happened.
        attempts: Requests sent for the batch that cost an attempt, this one included unless it was refused.
        throttled: 429s that the batch has met, this one included, those of a full pool too.
        renewed: Whether the batch was already sent with a new token after a 401.
        options: The bounds.
        refused: Connections that were refused to the batch and cost no attempt, this one included.
        elapsed: Seconds since the batch's first failure that was no 429; 0 if this is it. None: not known, and then a
            refused connection costs an attempt like any other failure, because nothing else would bound it.
        throttled_for: Seconds since the batch's first 429, for the message.
        jitter: The longest wait to the wait; None: backoff's full jitter, anything between 0 and the longest.
    """
    if isinstance(error, RateLimitError):
        return _throttle(error, throttled, throttled_for, options, jitter)
    if isinstance(error, AuthenticationError) and (error.status == 401 or error.code in _TOKEN_CODES):
        return GiveUp() if renewed else NewToken()
    if not mendable(error):
        return GiveUp()
    return _retry(error, attempts, refused, elapsed, options, jitter)


def mendable(error: RerankError) -> bool:
    """Whether the same request, sent once more or with a new token, may succeed."""
    if isinstance(error, RateLimitError):
        return True
    if isinstance(error, AuthenticationError) and (error.status == 401 or error.code in _TOKEN_CODES):
        return True
    retryable = isinstance(error, _RETRYABLE) or (
        isinstance(error, StatusError) and error.status in _RETRYABLE_STATUSES
    )
    final = isinstance(error, _FINAL) or (isinstance(error, ConnectionFailedError) and error.final)
    return retryable and not final


def _retry(
    error: RerankError,
    attempts: int,
    refused: int,
    elapsed: float | None,
    options: RetryOptions,
    jitter: Jitter | None,
) -> Decision:
    free = elapsed is not None and isinstance(error, ConnectionFailedError) and error.refused
    sent = attempts + refused
    # Who wants a single attempt wants none again, not even a free one.
    if options.max_attempts == 1 if free else attempts >= options.max_attempts:
        return GiveUp(f"gave up after {_count(attempts, refused)}" if sent > 1 else None)
    delay = backoff_delay(max(1, sent), options, jitter)
    asked = error.retry_after if isinstance(error, StatusError) else None
    if asked is not None:
        if asked > options.max_retry_after:
            return GiveUp(_too_long(asked, options))
        delay = max(delay, asked)
    if elapsed is not None and options.max_elapsed is not None and elapsed + delay > options.max_elapsed:
        return GiveUp(
            f"gave up after {_count(attempts, refused)} in {elapsed:.1f} s: the next would be due in {delay:.1f} s, over "
            f"RetryOptions.max_elapsed = {options.max_elapsed:g}"
        )
    return Again(delay, free)


def _count(attempts: int, refused: int) -> str:
    words = []
    if attempts:
        words.append(f"{attempts} attempt{'s' if attempts > 1 else ''}")
    if refused:
        words.append(f"{refused} refused connection{'s' if refused > 1 else ''}")
    return " and ".join(words)


def _throttle(
    error: RateLimitError, throttled: int, throttled_for: float, options: RetryOptions, jitter: Jitter | None
) -> Decision:
    asked = error.retry_after
    if asked is not None and asked > options.max_retry_after:
        return GiveUp(_too_long(asked, options))
    if throttled > options.max_throttled:
        return GiveUp(
            f"this batch met {throttled} of them in {throttled_for:.1f} s, more than RetryOptions.max_throttled = "
            f"{options.max_throttled} allows"
        )
    if error.code != POOL_FULL:
        return Pause(asked)
    # A pool takes time to drain, so no wait is shorter than half of the longest.
    met = max(1, throttled)
    longest = backoff_delay(met, options, lambda most: most)
    return MakeRoom(max(asked or 0.0, longest / 2, backoff_delay(met, options, jitter)))


def _too_long(asked: float, options: RetryOptions) -> str:
    return (
        f"the service asks to wait for {asked:.12g} s, above RetryOptions.max_retry_after = {options.max_retry_after:g}"
    )
