"""Ways in. Each module builds a token request and parses its answer; nothing here talks or waits."""

from __future__ import annotations

from rerank_async.auth.bearer import GivenToken
from rerank_async.auth.iam import IamApiKey, token_url
from rerank_async.errors import InvalidArgumentError
from rerank_async.values.credentials import Credentials
from rerank_async.values.urls import host_of

__all__ = ["Flow", "GivenToken", "IamApiKey", "choose_flow"]

Flow = GivenToken | IamApiKey


def choose_flow(credentials: Credentials) -> Flow:
    """The way in for these credentials: a given token, else IAM by API key.

    Raises:
        InvalidArgumentError: There is neither, or no token endpoint is known for the host.
    """
    if credentials.token is not None:
        return GivenToken(credentials.token)
    if credentials.api_key is None:
        raise InvalidArgumentError(
            "credentials hold neither api_key nor token; give one of them", argument="credentials"
        )
    url = credentials.auth_url or token_url(credentials.url)
    if url is None:
        raise InvalidArgumentError(
            f"no token endpoint is known for {host_of(credentials.url)!r}, which is not a host of IBM Cloud: "
            "give Credentials(auth_url=...), the whole address of an IAM token endpoint, or a token",
            argument="credentials",
        )
    return IamApiKey(url, credentials.api_key)
