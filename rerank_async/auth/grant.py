"""What the ways in have in common: the request for a token, and the token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rerank_async.values.secret import Secret


class TokenRequest(NamedTuple):
    """A POST to a token endpoint.

    Attributes:
        url: The whole address.
        headers: Without secrets.
        body: The form, which holds the key.
    """

    url: str
    headers: Mapping[str, str]
    body: Secret


class TokenGrant(NamedTuple):
    """A token as the endpoint granted it.

    Attributes:
        authorization: The whole value of the Authorization header.
        lifetime: Seconds from the moment of the answer.
    """

    authorization: Secret
    lifetime: float
