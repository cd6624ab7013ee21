"""An answer with a bad status to the error that says what it means: by code first, then by status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, NamedTuple

from rerank_async.errors import (
    AuthenticationError,
    BadRequestError,
    InputTooLongError,
    ModelNotSupportedError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    RedirectError,
    RequestTooLargeError,
    ServiceError,
    StatusError,
)
from rerank_async.policy.json_codec import codec
from rerank_async.policy.refusals import is_about_count, is_about_length
from rerank_async.values import contract


class Meaning(NamedTuple):
    """What a code means: the class of the error, and what the reader should check."""

    kind: type[StatusError]
    advice: str = ""


_CHECK_ACCESS = "Check that the API key or token is valid and belongs to the same region and account as the URL"
_CHECK_PROJECT = "Check project_id / space_id, and that your user or key is a member of it"
CHECK_URL = "This does not look like the service: check the URL"
_CHECK_MODEL = "Check model_id; `await client.model_specs()` lists what this service can rerank with"

# Statuses for the codes differ between sources, so the code alone decides. Sources: values/contract.py.
_BY_CODE: Mapping[str, Meaning] = {
    contract.RATE_LIMITED: Meaning(RateLimitError),
    contract.POOL_FULL: Meaning(RateLimitError),
    contract.QUOTA_REACHED: Meaning(
        QuotaExceededError, "The plan's tokens are used up: waiting a moment does not help, another plan does"
    ),
    contract.TOKEN_EXPIRED: Meaning(AuthenticationError, _CHECK_ACCESS),
    contract.TOKEN_NOT_VALID: Meaning(AuthenticationError, _CHECK_ACCESS),
    contract.NOT_AUTHORIZED: Meaning(PermissionDeniedError, _CHECK_PROJECT),
    contract.USER_NOT_AUTHORIZED: Meaning(PermissionDeniedError, _CHECK_PROJECT),
    contract.NO_INSTANCE: Meaning(
        PermissionDeniedError, "Associate a watsonx.ai Runtime service with the project, or check project_id"
    ),
    contract.MODEL_NOT_SUPPORTED: Meaning(ModelNotSupportedError, _CHECK_MODEL),
    contract.MODEL_NO_FUNCTION: Meaning(ModelNotSupportedError, _CHECK_MODEL),
    contract.BACKEND_FAILED: Meaning(ServiceError),
}
_BY_STATUS: Mapping[int, Meaning] = {
    401: Meaning(AuthenticationError, _CHECK_ACCESS),
    403: Meaning(PermissionDeniedError, _CHECK_PROJECT),
    413: Meaning(RequestTooLargeError),
    429: Meaning(RateLimitError),
}
_BY_HUNDRED: Mapping[int, Meaning] = {
    3: Meaning(RedirectError, "Give the service's own address as url"),
    4: Meaning(BadRequestError),
    5: Meaning(ServiceError),
}
_TOO_LONG = Meaning(
    InputTooLongError,
    "The service does not say which text it was. Shorten the texts, or set params={'truncate_input_tokens': n}",
)

_ABOUT_INPUTS = frozenset({400, 413, 422})
"""Statuses with which servers refuse what a request holds."""

_MALFORMED = frozenset({contract.INVALID_REQUEST, contract.JSON_TYPE, contract.JSON_VALIDATION})
"""Codes of a body that is not of the right form, whatever its words. Source: IBM's Java SDK, as for the other codes."""


class _Said(NamedTuple):
    """What the body of an error says; None where it says nothing."""

    code: str | None = None
    message: str | None = None
    trace: str | None = None


def error_of(status: int, headers: Mapping[str, str], body: bytes, url: str) -> StatusError:
    """The error for an answer that is not a success.

    Args:
        status: The HTTP status.
        headers: By lower-case name.
        body: Whatever came: the documented JSON, another shape, HTML, nothing.
        url: For the message.
    """
    said = _read(body)
    meaning = _meaning(status, said)
    words = (said.message or "").rstrip(". ") or (
        f"a body that is not the service's JSON {described(headers, body)}" if body else "an empty body"
    )
    if meaning.kind is RedirectError:
        # Without its query, which may repeat what was sent.
        target = headers.get("location", "nowhere").partition("?")[0]
        words = f"redirects to {target!r}, and redirects are not followed"
    trace = said.trace or trace_of(headers, None)
    message = f"{url} answered {status}"
    message += f" {said.code}: {words}" if said.code else f": {words}"
    advice = meaning.advice or (CHECK_URL if is_foreign(status, body) else "")
    if advice:
        message += f". {advice}"
    if trace:
        message += f" [trace {trace}]"
    return meaning.kind(
        message, status=status, code=said.code, trace=trace, url=url, retry_after=retry_after_of(headers)
    )


def is_foreign(status: int, body: bytes) -> bool:
    """Whether a refusal looks like that of another server, which does not know the path: the address may be wrong."""
    said = _read(body)
    return said.code is None and (
        status in {404, 405} or (bool(body) and status in {400, 406, 410, 415, 421} and said == _Said())
    )


def _meaning(status: int, said: _Said) -> Meaning:
    if said.code is not None and said.code in _BY_CODE:
        return _BY_CODE[said.code]
    if status in _ABOUT_INPUTS and said.code not in _MALFORMED and is_about_length(said.message or ""):
        return _TOO_LONG
    if status == 400 and is_about_count(said.message or ""):
        return _BY_STATUS[413]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return _BY_HUNDRED.get(status // 100, Meaning(StatusError))


def _read(body: bytes) -> _Said:
    """Reads the shapes seen at IBM's services: errors[], IAM's, ``{code, message}``, ``{error: ...}``."""
    try:
        data = codec().loads(body)
    except ValueError:
        return _Said()
    if not isinstance(data, dict):
        return _Said()
    trace = _text(data.get("trace"))
    errors = data.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return _Said(_text(errors[0].get("code")), _text(errors[0].get("message")), trace)
    if "errorCode" in data:
        context = data.get("context")
        trace = trace or (_text(context.get("requestId")) if isinstance(context, dict) else None)
        return _Said(_text(data["errorCode"]), _text(data.get("errorMessage")), trace)
    inner = data.get("error")
    if isinstance(inner, dict):
        return _Said(_text(inner.get("code")), _text(inner.get("message")), trace)
    return _Said(
        _text(data.get("code")),
        _text(data.get("message")) or _text(inner) or _text(data.get("description")),
        trace,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def described(headers: Mapping[str, str], body: bytes) -> str:
    """What a body that cannot be read is, in brackets: its content type and length."""
    return f"({headers.get('content-type', 'no content type').partition(';')[0]}, {len(body)} bytes)"


def trace_of(headers: Mapping[str, str], data: Mapping[str, Any] | None) -> str | None:
    """The id of an exchange: from the body's ``trace``, else from a header; None if there is none."""
    trace = _text(data.get("trace")) if data else None
    return trace or headers.get("x-global-transaction-id") or headers.get("x-request-id") or None


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds from ``Retry-After`` (a number or an HTTP date) or ``Retry-After-Ms``; None if absent or nonsense.

    A date is compared with the answer's own ``Date``, so the client's wall clock does not matter; without ``Date`` it
    says nothing. A date in the past is 0; a negative number is nonsense.
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        given = headers.get(name)
        if given is None:
            continue
        try:
            seconds: float | None = float(given) * scale
        except ValueError:
            seconds = _seconds_until(given, headers.get("date")) if name == "retry-after" else None
        if seconds is not None and isfinite(seconds) and seconds >= 0:
            return seconds
    return None


def _seconds_until(date: str, now: str | None) -> float | None:
    try:
        then = _aware(parsedate_to_datetime(date))
        base = _aware(parsedate_to_datetime(now or ""))
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, (then - base).total_seconds())


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
