"""IBM's clouds on AWS: an API key for a token of their own exchange (MCSP).

Source: ibm-watsonx-ai 1.8.1, ``utils/auth/aws_auth.py``.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from rerank_async.auth.answers import JSON_HEADERS, Ask, granted, read_token
from rerank_async.auth.grant import Steps, TokenRequest
from rerank_async.auth.identity import digest
from rerank_async.policy.json_codec import codec
from rerank_async.values.secret import Secret


@attrs.frozen(eq=False)
class McspApiKey:
    """The exchange of an API key for a token.

    Attributes:
        url: The whole address of the token endpoint.
        api_key: The key.
    """

    name: ClassVar[str] = "mcsp"
    advice: ClassVar[str | None] = None

    url: str
    api_key: Secret

    def exchange(self) -> Steps:
        """One request."""
        body = Secret(codec().dumps({"apikey": self.api_key.reveal()}).decode())
        answer = yield TokenRequest(self.url, JSON_HEADERS, body)
        advice = "Check the API key, and that it is one of this cloud: keys of IBM Cloud are not known there"
        ask = Ask(self.name, self.url, "the API key", advice, (self.api_key,))
        return granted(read_token(answer, ask, "token"), answer, ask)

    def identity(self) -> str:
        """Of the key."""
        return digest(self.api_key)
