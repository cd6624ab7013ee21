"""The errors of rerank_async.

    RerankError                                    the root: one `except` for all of them
    ├── InvalidArgumentError   (ValueError)        what was handed in; nothing was sent
    │   └── InvalidTypeError   (TypeError)         ... and it has the wrong type
    ├── ClientStateError       (RuntimeError)      the client cannot be used here
    │   ├── ClientClosedError                      it was closed
    │   └── EventLoopError                         another event loop is using it
    ├── OverloadedError                            more requests wait than max_queued allows; nothing was sent
    ├── NoAnswerError                              no answer came
    │   ├── ConnectionFailedError (ConnectionError)  refused, reset, cut, name not found
    │   │   ├── CertificateError                   the TLS certificate was not accepted
    │   │   └── ProxyError                         the proxy refused
    │   ├── RequestTimeoutError   (TimeoutError)   one request took too long
    │   └── DeadlineExceededError (TimeoutError)   the call's deadline passed, or cannot be met
    ├── StatusError                                an answer with a bad status
    │   ├── BadRequestError    (ValueError)        400 and other 4xx
    │   │   ├── InputTooLongError                  a text is over the model's length
    │   │   ├── RequestTooLargeError               more inputs or bytes than one request may have
    │   │   └── ModelNotSupportedError             unknown model, or one that cannot rerank
    │   ├── AuthenticationError                    401, and a 400 of the token endpoint
    │   ├── PermissionDeniedError (PermissionError)  403: project, space or role
    │   ├── QuotaExceededError                     the plan's tokens are used up
    │   ├── RateLimitError                         429 for too long, or with too long a Retry-After
    │   ├── RedirectError                          3xx: redirects are not followed
    │   └── ServiceError                           5xx
    └── BadAnswerError                             an answer that makes no sense
        ├── AnswerTooLargeError                    larger than any honest one
        ├── DecodeError                            not the JSON that was expected
        └── IntegrityError                         indices or scores that cannot be right

Every error pickles, and holds neither a request object nor the text of a query or passage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rerank_async.values.response import ResponseStats

__all__ = [
    "AnswerTooLargeError",
    "AuthenticationError",
    "BadAnswerError",
    "BadRequestError",
    "CertificateError",
    "ClientClosedError",
    "ClientStateError",
    "ConnectionFailedError",
    "DeadlineExceededError",
    "DecodeError",
    "EventLoopError",
    "InputTooLongError",
    "IntegrityError",
    "InvalidArgumentError",
    "InvalidTypeError",
    "ModelNotSupportedError",
    "NoAnswerError",
    "OverloadedError",
    "PermissionDeniedError",
    "ProxyError",
    "QuotaExceededError",
    "RateLimitError",
    "RedirectError",
    "RequestTimeoutError",
    "RequestTooLargeError",
    "RerankError",
    "ServiceError",
    "StatusError",
]


class RerankError(Exception):
    """The root of all errors of this package.

    Attributes:
        scored: What the failed call had already scored: pairs of (index in the caller's ``inputs``, score), by index.
        others: Errors of further batches of the same call that had failed by the time the first failure was seen.
        attempts: Requests that were sent for the batch that failed, also those that cost no attempt: 429s, refused
            connections, second copies. Where a deadline ended several batches: for the one that was sent most often.
            Where there was no token: requests that failed for it. 0 if there was none.
        stats: What the failed call took until then: requests, waits, and status and trace id of each answer; None if it
            had not begun.
    """

    scored: tuple[tuple[int, float], ...] = ()
    others: tuple[RerankError, ...] = ()
    attempts: int = 0
    stats: ResponseStats | None = None


class InvalidArgumentError(RerankError, ValueError):
    """An argument that cannot be right. Nothing was sent.

    Attributes:
        argument: The name of the argument, such as ``"inputs"``.
        index: The position inside it, for lists; else None.
    """

    def __init__(self, message: str, *, argument: str | None = None, index: int | None = None) -> None:
        super().__init__(message)
        self.argument = argument
        self.index = index


class InvalidTypeError(InvalidArgumentError, TypeError):
    """An argument of the wrong type. Nothing was sent."""


class ClientStateError(RerankError, RuntimeError):
    """The client cannot be used here or any more."""


class ClientClosedError(ClientStateError):
    """The client was closed; make a new one."""


class EventLoopError(ClientStateError):
    """The client is in use by another event loop that is still running: one client per thread."""


class OverloadedError(RerankError):
    """More requests wait for the limiter than ``LimitOptions.max_queued`` allows. Nothing was sent; try later.

    Attributes:
        queued: How many waited.
    """

    def __init__(self, message: str, *, queued: int = 0) -> None:
        super().__init__(message)
        self.queued = queued


class NoAnswerError(RerankError):
    """No answer came.

    Attributes:
        url: The address that was asked; None if nothing was sent.
    """

    def __init__(self, message: str, *, url: str | None = None) -> None:
        super().__init__(message)
        self.url = url


class ConnectionFailedError(NoAnswerError, ConnectionError):
    """The connection was refused, reset or cut, or the name was not found.

    Attributes:
        refused: Whether nothing listened at the address, so that nothing was sent. Such a request costs no attempt.
        final: Whether trying again cannot mend it: the server does not speak TLS. Never retried.
    """

    def __init__(self, message: str, *, url: str | None = None, refused: bool = False, final: bool = False) -> None:
        super().__init__(message, url=url)
        self.refused = refused
        self.final = final


class CertificateError(ConnectionFailedError):
    """The TLS certificate was not accepted. Never retried, and never answered by verifying less."""


class ProxyError(ConnectionFailedError):
    """The proxy refused: it asks for a name and password, or does not let this host through. Never retried."""


class RequestTimeoutError(NoAnswerError, TimeoutError):
    """One request took longer than ``Timeouts.request`` (or its connection longer than ``Timeouts.connect``)."""


class DeadlineExceededError(NoAnswerError, TimeoutError):
    """The call's deadline passed, or it was clear that the call could not meet it."""


class StatusError(RerankError):
    """An answer with a bad status.

    Attributes:
        status: The HTTP status; 0 only on an error made without one.
        code: ``errors[0].code`` of the body (of the token endpoint: ``errorCode``); None if there was none.
        trace: The id that IBM's support asks for, from the body or a header; None if there was none.
        url: The address that was asked.
        retry_after: Seconds that the service asked to wait; None if it did not.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str | None = None,
        trace: str | None = None,
        url: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.trace = trace
        self.url = url
        self.retry_after = retry_after


class BadRequestError(StatusError, ValueError):
    """The service refused the request as wrong: 400, or another 4xx without a class of its own."""


class InputTooLongError(BadRequestError):
    """The query or a text is over the model's length, and ``truncate_input_tokens`` was not given."""


class RequestTooLargeError(BadRequestError):
    """A request had more inputs or bytes than the service takes, and could not be split: 413, or a 400 that says so."""


class ModelNotSupportedError(BadRequestError):
    """The model is unknown to this service, region or plan, or cannot rerank."""


class AuthenticationError(StatusError):
    """The token or the API key was not accepted."""


class PermissionDeniedError(StatusError, PermissionError):
    """Authenticated, but not allowed: the project, the space or the role."""


class QuotaExceededError(StatusError):
    """The plan's tokens are used up (``token_quota_reached``). Waiting a moment does not help."""


class RateLimitError(StatusError):
    """The service went on answering 429, or asked for a longer pause than ``RetryOptions.max_retry_after``."""


class RedirectError(StatusError):
    """The service answered with a redirect. Redirects are not followed, so no token was sent to the target."""


class ServiceError(StatusError):
    """The service failed (5xx), and went on failing."""


class BadAnswerError(RerankError):
    """An answer that makes no sense.

    Attributes:
        url: The address that was asked.
        trace: The id that IBM's support asks for; None if there was none.
    """

    def __init__(self, message: str, *, url: str | None = None, trace: str | None = None) -> None:
        super().__init__(message)
        self.url = url
        self.trace = trace


class AnswerTooLargeError(BadAnswerError):
    """The answer is larger than any honest one, and was not read to its end. Never retried."""


class DecodeError(BadAnswerError):
    """The body is not the JSON that was expected: cut, nonsense, or of another shape."""


class IntegrityError(BadAnswerError):
    """The answer decoded, but its indices or scores cannot be right: missing, repeated, out of range, not finite."""
