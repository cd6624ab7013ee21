"""IBM Cloud IAM: an API key for a token.

Source: cloud.ibm.com/docs, ``iamtoken_from_apikey``; the shapes also in the tests of IBM's Java SDK.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import ClassVar
from urllib.parse import urlencode

import attrs

from rerank_async.auth.answers import FORM_HEADERS, Ask, Said, granted, read_token
from rerank_async.auth.grant import Steps, TokenAnswer, TokenRequest
from rerank_async.auth.identity import digest
from rerank_async.values.contract import APIKEY_GRANT_TYPE
from rerank_async.values.secret import Secret


@attrs.frozen(eq=False)
class IamApiKey:
    """The exchange of an API key for a token.

    Attributes:
        url: The whole address of the token endpoint.
        api_key: The key.
    """

    name: ClassVar[str] = "iam"
    advice: ClassVar[str | None] = None

    url: str
    api_key: Secret

    def exchange(self) -> Steps:
        """One request."""
        said, answer = yield from self.token()
        return granted(said, answer, self.ask())

    def token(self) -> Generator[TokenRequest, TokenAnswer, tuple[Said, TokenAnswer]]:
        """The token, before its life is looked at: for those who only change it for another one."""
        form = Secret(urlencode({"grant_type": APIKEY_GRANT_TYPE, "apikey": self.api_key.reveal()}))
        answer = yield TokenRequest(self.url, FORM_HEADERS, form)
        return read_token(answer, self.ask(), "access_token"), answer

    def ask(self) -> Ask:
        """What is asked, for errors."""
        advice = "Check the API key, and that it is one of this cloud"
        return Ask(self.name, self.url, "the API key", advice, (self.api_key,))

    def identity(self) -> str:
        """Of the key."""
        return digest(self.api_key)
