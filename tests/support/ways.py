"""Every way in to a local server, as credentials; and the secrets of each."""

from collections.abc import Callable
from typing import Any

import attrs

from rerank_async.server import Server

API_KEY = "made-up-api-key-a1b2c3"
PASSWORD = "made-up-password-d4e5f6"
USERNAME = "made-up-user"


@attrs.frozen
class Way:
    """One way in.

    Attributes:
        fields: Of the credentials, for a server.
        path: Of the endpoint that is asked for a token, the first one; None: none is asked.
        requests: At token routes, for one token.
        flow: Its name, as errors and `auth check` tell it.
    """

    fields: Callable[[Server], dict[str, Any]]
    path: str | None
    requests: int
    flow: str


def _async_function(server):
    async def ask():
        return server.issue_token()

    return ask


IAM = "/identity/token"
AUTHORIZE = "/icp4d-api/v1/authorize"

WAYS = {
    "iam": Way(lambda server: {"api_key": API_KEY}, IAM, 1, "iam"),
    "bearer": Way(lambda server: {"token": server.issue_token()}, None, 0, "bearer"),
    "function": Way(lambda server: {"token_function": server.issue_token}, None, 0, "function"),
    "async_function": Way(lambda server: {"atoken_function": _async_function(server)}, None, 0, "function"),
    "profile_by_key": Way(
        lambda server: {"api_key": API_KEY, "trusted_profile_id": server.profile_id}, IAM, 2, "trusted_profile"
    ),
    "profile_by_token": Way(
        lambda server: {"token": server.issue_token(), "trusted_profile_id": server.profile_id},
        IAM,
        1,
        "trusted_profile",
    ),
    "cp4d_password": Way(lambda server: {"username": USERNAME, "password": PASSWORD}, AUTHORIZE, 1, "cp4d"),
    "cp4d_key": Way(lambda server: {"username": USERNAME, "api_key": API_KEY}, AUTHORIZE, 1, "cp4d"),
    "cp4d_iam": Way(
        lambda server: {"username": USERNAME, "password": PASSWORD, "bedrock_url": server.url},
        "/idprovider/v1/auth/identitytoken",
        2,
        "cp4d_iam",
    ),
    "zen": Way(lambda server: {"username": USERNAME, "api_key": API_KEY, "flow": "zen"}, None, 0, "zen"),
    "mcsp": Way(lambda server: {"api_key": API_KEY, "flow": "mcsp"}, "/api/2.0/apikeys/token", 1, "mcsp"),
}
SETTINGS = {"api_key": API_KEY, "username": USERNAME, "password": PASSWORD}
"""For `serve`."""
