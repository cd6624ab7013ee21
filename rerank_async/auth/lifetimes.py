"""How long a token lives, from what its answer and the token itself say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from rerank_async.auth.jwt import claims_of
from rerank_async.values.secret import Secret

DEFAULT_LIFETIME = 3600.0
"""Seconds, where nothing says it: IAM's tokens expire "after 1 hour at the latest" (cloud.ibm.com,
``iamtoken_from_apikey``). One that dies earlier costs a 401 and a new exchange."""

LEAST_LIFETIME = 0.1
"""Seconds: a token that lives shorter may be dead before it is used, and the next one too."""


class Moment(NamedTuple):
    """A moment in Unix time, and whose clock said so."""

    at: float
    clock: str


class Life(NamedTuple):
    """A token's life.

    Attributes:
        seconds: From now on.
        problem: Why the token is of no use, in words that follow "a token that"; None: it is.
    """

    seconds: float
    problem: str | None


def moment_of(headers: Mapping[str, str], at: float) -> Moment:
    """The moment of an answer: by this machine, but within the second that the answer's own ``Date`` names.

    So a wrong clock here does no harm, and a right one gives the parts of the second.
    """
    try:
        date = parsedate_to_datetime(headers.get("date") or headers.get("Date") or "")
    except (TypeError, ValueError, OverflowError):
        return Moment(at, "this machine's clock")
    second = (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    held = min(max(at, second), second + 1.0)
    return Moment(held, "this machine's clock" if held == at else "the server's clock")


def life_of(token: Secret, now: Moment, *, expires_in: float | None = None, expires_at: float | None = None) -> Life:
    """By ``expires_in``, else by the moment of expiry, else by the ``exp`` of a JWT, else `DEFAULT_LIFETIME`.

    Args:
        token: As it was granted just now.
        now: When it was granted.
        expires_in: Seconds, if the answer says so.
        expires_at: Unix time, if the answer says so.
    """
    if expires_in is not None:
        return Life(expires_in, _problem(expires_in))
    claims = claims_of(token)
    end = expires_at if expires_at is not None else claims.expires_at
    if end is None:
        return Life(DEFAULT_LIFETIME, None)
    seconds = end - now.at
    if claims.issued_at is not None:  # where the clock is behind
        seconds = min(seconds, max(end - claims.issued_at, 0.0))
    problem = _problem(seconds)
    if problem is not None:
        problem += f": it ends at {utc(end)}, and by {now.clock} it is {utc(now.at)}"
    return Life(seconds, problem)


def _problem(seconds: float) -> str | None:
    if seconds <= 0:
        return "has already expired"
    return f"lives for only {seconds:g} s" if seconds < LEAST_LIFETIME else None


def utc(at: float) -> str:
    """A Unix time in words."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"Unix time {at:g}"
