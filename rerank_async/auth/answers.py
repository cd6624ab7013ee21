"""An answer of a token endpoint to its token, or to the error that says what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from rerank_async.auth.grant import TokenAnswer, TokenGrant
from rerank_async.auth.jwt import number_in
from rerank_async.auth.lifetimes import life_of, moment_of
from rerank_async.errors import AuthenticationError, DecodeError, RateLimitError, StatusError
from rerank_async.policy.json_codec import codec
from rerank_async.policy.wire_errors import error_of, is_foreign
from rerank_async.values.secret import Secret
from rerank_async.values.version import USER_AGENT

_LEAST_HIDDEN = 4  # characters; shorter secrets are parts of ordinary words

_CHECK_ADDRESS = "The address of the token endpoint follows from url, unless auth_url says it"

FORM_HEADERS: Mapping[str, str] = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Accept": "application/json",
    "User-Agent": USER_AGENT,
}
JSON_HEADERS: Mapping[str, str] = {**FORM_HEADERS, "Content-Type": "application/json"}


class Ask(NamedTuple):
    """What was asked, for the errors.

    Attributes:
        flow: The way in.
        url: The endpoint.
        what: What was given for the token, such as ``"the API key"``.
        advice: What to check when it is refused.
        secrets: What was sent: hidden, should the endpoint say it back.
    """

    flow: str
    url: str
    what: str
    advice: str
    secrets: tuple[Secret, ...]


class Said(NamedTuple):
    """A token as the answer holds it; ``expires_in`` in seconds and ``expires_at`` in Unix time, None if not said."""

    token: Secret
    expires_in: float | None
    expires_at: float | None


def read_token(answer: TokenAnswer, ask: Ask, field: str) -> Said:
    """The token in an answer.

    Args:
        answer: Of the endpoint.
        ask: What was asked.
        field: The name under which the answer holds the token.

    Raises:
        AuthenticationError: Refused with a 4xx: IAM says so with a 400.
        StatusError: Any other bad status.
        DecodeError: Not a token answer.
    """
    if answer.status != 200:
        if is_foreign(answer.status, answer.body.reveal().encode("latin-1")):
            ask = ask._replace(advice=_CHECK_ADDRESS)
        raise _refusal(error_of(answer.status, answer.headers, answer.body.reveal().encode("latin-1"), ask.url), ask)
    said = _said(answer.body, field)
    if said is None:
        kind = answer.headers.get("content-type", "no content type").partition(";")[0]
        raise DecodeError(
            f"{ask.url} answered 200 without an {field} that can be used ({kind}, {len(answer.body.reveal())} bytes)",
            url=ask.url,
        )
    return said


def granted(said: Said, answer: TokenAnswer, ask: Ask) -> TokenGrant:
    """The grant of a token that was read.

    Raises:
        DecodeError: It has already expired, or as good as.
    """
    now = moment_of(answer.headers, answer.at)
    life = life_of(said.token, now, expires_in=said.expires_in, expires_at=said.expires_at)
    if life.problem is not None:
        raise DecodeError(f"{ask.url} granted a token that {life.problem}", url=ask.url)
    return TokenGrant(Secret("Bearer " + said.token.reveal()), life.seconds, ask.flow, ask.url)


def _said(body: Secret, field: str) -> Said | None:
    try:
        data: Any = codec().loads(body.reveal().encode("latin-1"))
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    token = data.get(field)
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable() or " " in token:
        return None  # no header can carry it
    return Said(Secret(token), number_in(data, "expires_in"), number_in(data, "expiration"))


def _refusal(error: StatusError, ask: Ask) -> StatusError:
    hide(error, ask.secrets)
    if isinstance(error, RateLimitError) or not 400 <= error.status < 500 or error.status in {408, 425}:
        return error
    advice = f". {ask.advice}" if ask.advice else ""
    return AuthenticationError(
        f"no token for {ask.what}: {error}{advice}",
        status=error.status,
        code=error.code,
        trace=error.trace,
        url=error.url,
    )


def hide(error: StatusError, secrets: Iterable[Secret]) -> None:
    """Strikes out the secrets that an endpoint said back in its refusal."""
    for secret in secrets:
        for shown in (secret, Secret(quote_plus(secret.reveal()))):
            if len(shown.reveal()) < _LEAST_HIDDEN:
                continue
            error.args = (str(error.args[0]).replace(shown.reveal(), "***"), *error.args[1:])
            error.code = error.code and error.code.replace(shown.reveal(), "***")
            error.trace = error.trace and error.trace.replace(shown.reveal(), "***")
