"""What to do about a failed request: `decide`. The only user of the library backoff."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

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
from rerank_async.values.contract import TOKEN_EXPIRED, TOKEN_NOT_VALID
from rerank_async.values.options import RetryOptions

_RETRYABLE = (ServiceError, ConnectionFailedError, RequestTimeoutError, BadAnswerError)
_FINAL = (CertificateError, ProxyError, AnswerTooLargeError)  # although their kind may mend
_TOKEN_CODES = frozenset({TOKEN_EXPIRED, TOKEN_NOT_VALID})
_RETRYABLE_STATUSES = frozenset({408, 425})  # timed out or too early at a gateway


class Again(NamedTuple):
    """Send the batch again after ``delay`` seconds."""

    delay: float


class Pause(NamedTuple):
    """A 429: hold the client, then send the batch first. ``retry_after``: seconds; None: the service did not say."""

    retry_after: float | None


class NewToken(NamedTuple):
    """Drop the token that was sent, and send the batch with a new one."""


class GiveUp(NamedTuple):
    """Raise the error. ``reason`` is added to its message; None: it says enough by itself."""

    reason: str | None = None


_MOST_DOUBLINGS = 64  # behind which any base delay is over any bound

Jitter = Callable[[float], float]
Decision = Again | Pause | NewToken | GiveUp


def backoff_delay(attempt: int, options: RetryOptions, jitter: Jitter | None = None) -> float:
    """Seconds before the retry that follows the ``attempt``-th request (from 1)."""
    import backoff  # noqa: PLC0415 - only a failure needs it

    waits = backoff.expo(base=2, factor=options.base_delay, max_value=options.max_delay)
    # backoff's generators yield None once before their first value.
    longest: float = next(islice(waits, min(attempt, _MOST_DOUBLINGS), None))
    return (jitter or backoff.full_jitter)(longest)


def decide(
    error: RerankError,
    *,
    attempts: int,
    throttled: int,
    renewed: bool,
    options: RetryOptions,
    jitter: Jitter | None = None,
) -> Decision:
    """Decides by the kind of error, which was chosen by code first, then status, then exception.

    Args:
        error: What happened.
        attempts: Requests sent for the batch that cost an attempt, this one included, at least 1.
        throttled: 429s that the batch has met, this one included.
        renewed: Whether the batch was already sent with a new token after a 401.
        options: The bounds.
        jitter: The longest wait to the wait; None: backoff's full jitter, anything between 0 and the longest.
    """
    if isinstance(error, RateLimitError):
        return _throttle(error, throttled, options)
    if isinstance(error, AuthenticationError) and (error.status == 401 or error.code in _TOKEN_CODES):
        return GiveUp() if renewed else NewToken()
    mendable = isinstance(error, _RETRYABLE) or (isinstance(error, StatusError) and error.status in _RETRYABLE_STATUSES)
    if not mendable or isinstance(error, _FINAL):
        return GiveUp()
    if attempts >= options.max_attempts:
        return GiveUp(f"gave up after {attempts} attempts" if attempts > 1 else None)
    delay = backoff_delay(attempts, options, jitter)
    asked = error.retry_after if isinstance(error, StatusError) else None
    if asked is not None:
        if asked > options.max_retry_after:
            return GiveUp(_too_long(asked, options))
        delay = max(delay, asked)
    return Again(delay)


def _throttle(error: RateLimitError, throttled: int, options: RetryOptions) -> Decision:
    if error.retry_after is not None and error.retry_after > options.max_retry_after:
        return GiveUp(_too_long(error.retry_after, options))
    if throttled > options.max_throttled:
        return GiveUp(f"this batch met {throttled} of them, more than RetryOptions.max_throttled allows")
    return Pause(error.retry_after)


def _too_long(asked: float, options: RetryOptions) -> str:
    return f"the service asks to wait for {asked:g} s, above RetryOptions.max_retry_after = {options.max_retry_after:g}"
