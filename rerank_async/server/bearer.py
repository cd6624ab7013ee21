"""The token of a request, checked: what every door asks first."""

from __future__ import annotations

from aiohttp import hdrs, web

from rerank_async.server import bodies
from rerank_async.server.issuing import TokenIssuer


def check_token(request: web.Request, issuer: TokenIssuer, now: float) -> None:
    """Let a request with a good bearer token, or with the Zen API key, pass.

    Args:
        request: The request.
        issuer: Knows the tokens.
        now: Seconds on the clock that the issuer is asked with.

    Raises:
        Refusal: The 401 for no token, for an unknown one or for one that has expired.
    """
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "zenapikey" and issuer.is_zen_key(token.strip()):
        return
    standing = issuer.standing(token.strip(), now) if scheme.lower() == "bearer" else "unknown"
    if standing == "expired":
        raise bodies.token_expired()
    if standing == "unknown":
        raise bodies.token_not_valid()
