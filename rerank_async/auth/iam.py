"""IBM Cloud IAM: an API key for a token.

Source: cloud.ibm.com/docs, ``iamtoken_from_apikey``; the shapes also in the tests of IBM's Java SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs

from rerank_async.auth.grant import TokenGrant, TokenRequest
from rerank_async.errors import AuthenticationError, DecodeError, RateLimitError, StatusError
from rerank_async.policy.json_codec import codec
from rerank_async.policy.wire_errors import error_of
from rerank_async.values.contract import APIKEY_GRANT_TYPE, IAM_TEST_URL, IAM_URL, REGIONS, TOKEN_PATH
from rerank_async.values.secret import Secret
from rerank_async.values.urls import host_of, is_loopback
from rerank_async.values.version import USER_AGENT

_HEADERS: Mapping[str, str] = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Accept": "application/json",
    "User-Agent": USER_AGENT,
}
_HOSTS = frozenset(f"{prefix}{region}.ml.cloud.ibm.com" for prefix in ("", "private.") for region in REGIONS)

DEFAULT_LIFETIME = 3600.0
"""Seconds, where the answer does not say: "expires after 1 hour at the latest" (cloud.ibm.com)."""


def token_url(service_url: str) -> str | None:
    """The default token endpoint for a service; None: none is known.

    Loopback servers are asked themselves, so that no key leaves the machine.
    """
    host = host_of(service_url)
    if is_loopback(host):
        parts = urlsplit(service_url)
        return f"{parts.scheme}://{parts.netloc}{TOKEN_PATH}"
    if host in _HOSTS:
        return IAM_URL
    return IAM_TEST_URL if host.endswith(".cloud.ibm.com") else None


@attrs.frozen(eq=False)
class IamApiKey:
    """The exchange of an API key for a token.

    Attributes:
        url: The whole address of the token endpoint.
        api_key: The key.
    """

    url: str
    api_key: Secret

    def request(self) -> TokenRequest:
        """The request to send."""
        return TokenRequest(
            self.url,
            _HEADERS,
            Secret(urlencode({"grant_type": APIKEY_GRANT_TYPE, "apikey": self.api_key.reveal()})),
        )

    def parse(self, status: int, headers: Mapping[str, str], body: Secret) -> TokenGrant:
        """The token in an answer.

        Args:
            status: The HTTP status.
            headers: By lower-case name.
            body: The answer, which may hold a token, decoded as Latin-1 so that no byte is lost.

        Raises:
            AuthenticationError: The key was refused: IAM says so with a 400.
            StatusError: Any other bad status.
            DecodeError: Not a token answer, or a token that has already expired.
        """
        if status != 200:
            raise self._refusal(error_of(status, headers, body.reveal().encode("latin-1"), self.url))
        try:
            answer = _granted(codec().loads(body.reveal().encode("latin-1")))
        except ValueError:
            answer = None
        if answer is None:
            raise DecodeError(f"{self.url} answered 200 without an access_token", url=self.url)
        token, lifetime = answer
        if lifetime <= 0:
            raise DecodeError(f"{self.url} granted a token that has already expired", url=self.url)
        return TokenGrant(token, lifetime)

    def _refusal(self, error: StatusError) -> StatusError:
        if isinstance(error, RateLimitError) or not 400 <= error.status < 500 or error.status == 408:
            return error
        advice = (
            "" if isinstance(error, AuthenticationError) else ". Check the API key, and that it is one of this cloud"
        )
        return AuthenticationError(
            f"no token for the API key: {error}{advice}",
            status=error.status,
            code=error.code,
            trace=error.trace,
            url=error.url,
        )


def _granted(data: Any) -> tuple[Secret, float] | None:
    if not isinstance(data, dict) or not isinstance(data.get("access_token"), str) or not data["access_token"]:
        return None
    if not data["access_token"].isascii() or not data["access_token"].isprintable():
        return None  # no header can carry it
    return Secret("Bearer " + data["access_token"]), _lifetime(data.get("expires_in"))


def _lifetime(said: Any) -> float:
    try:
        seconds = float(said) if type(said) in {int, float} else DEFAULT_LIFETIME
    except OverflowError:
        return DEFAULT_LIFETIME
    return seconds if isfinite(seconds) else DEFAULT_LIFETIME
