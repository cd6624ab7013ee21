"""Whose failure an error is: the query's, the job's, or that of the moment."""

from __future__ import annotations

from enum import Enum

from rerank_async.errors import (
    AuthenticationError,
    BadAnswerError,
    BadRequestError,
    CertificateError,
    ClientStateError,
    ConnectionFailedError,
    InvalidArgumentError,
    ModelNotSupportedError,
    NoAnswerError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    RedirectError,
    RerankError,
    ServiceError,
    StatusError,
)


class Verdict(Enum):
    """Whose failure it is."""

    QUERY = "query"
    """This query cannot be ranked; others can."""
    JOB = "job"
    """No query can be ranked until somebody puts something right."""
    MOMENT = "moment"
    """It may pass: an outage, or bad luck."""


_BY_KIND: tuple[tuple[type[RerankError], Verdict], ...] = (
    (InvalidArgumentError, Verdict.QUERY),
    (ClientStateError, Verdict.JOB),
    (CertificateError, Verdict.JOB),
    (ModelNotSupportedError, Verdict.JOB),
    (AuthenticationError, Verdict.JOB),
    (PermissionDeniedError, Verdict.JOB),
    (QuotaExceededError, Verdict.JOB),
    (RedirectError, Verdict.JOB),
    (BadRequestError, Verdict.QUERY),
    (NoAnswerError, Verdict.MOMENT),
    (ServiceError, Verdict.MOMENT),
    (RateLimitError, Verdict.MOMENT),
    (BadAnswerError, Verdict.MOMENT),
)


def verdict(error: Exception) -> Verdict:
    """Judges an error that the client's own retries did not mend.

    What is no error of this package, such as one of the machine, is the job's.
    """
    if isinstance(error, ConnectionFailedError) and error.final:
        return Verdict.JOB
    return next((found for kind, found in _BY_KIND if isinstance(error, kind)), Verdict.JOB)


def code_of(error: Exception) -> str:
    """The service's code, that of a bad line, or the name of the error's class."""
    return getattr(error, "code", None) or type(error).__name__


def trace_of(error: Exception) -> str | None:
    """The service's id of the exchange, if it gave one."""
    return error.trace if isinstance(error, StatusError | BadAnswerError) else None
