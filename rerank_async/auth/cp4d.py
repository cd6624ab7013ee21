"""Cloud Pak for Data: a user name with a password or an API key for a token.

Source: ibm-watsonx-ai 1.8.1, ``utils/auth/icp_auth.py``.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from rerank_async.auth.answers import JSON_HEADERS, Ask, granted, read_token
from rerank_async.auth.grant import Steps, TokenRequest
from rerank_async.auth.identity import digest, password_digest
from rerank_async.policy.json_codec import codec
from rerank_async.values.secret import Secret


@attrs.frozen(eq=False)
class CloudPak:
    """The sign-in of a Cloud Pak for Data.

    Attributes:
        url: The whole address of the sign-in.
        username: The user.
        api_key: The user's key; wins over the password.
        password: The user's password; with the key, None.
        account_id: The account, where there are several.
    """

    name: ClassVar[str] = "cp4d"
    advice: ClassVar[str | None] = None

    url: str
    username: str
    api_key: Secret | None
    password: Secret | None
    account_id: str | None

    def exchange(self) -> Steps:
        """One request."""
        answer = yield TokenRequest(self.url, JSON_HEADERS, self._body())
        by = "API key" if self.api_key is not None else "password"
        advice = f"Check username and {'api_key' if self.api_key is not None else 'password'}"
        ask = Ask(self.name, self.url, f"the user name and {by}", advice, self._secrets())
        return granted(read_token(answer, ask, "token"), answer, ask)

    def identity(self) -> str:
        """Of the user, the account and the key or password."""
        if self.api_key is not None:
            return digest(self.username, self.account_id or "", self.api_key)
        return password_digest(self.password or Secret(""), self.url, self.username, self.account_id or "")

    def _secrets(self) -> tuple[Secret, ...]:
        return tuple(secret for secret in (self.api_key, self.password) if secret is not None)

    def _body(self) -> Secret:
        fields = {"username": self.username}
        if self.api_key is not None:
            fields["api_key"] = self.api_key.reveal()
        elif self.password is not None:
            fields["password"] = self.password.reveal()
        if self.account_id is not None:
            fields["account_id"] = self.account_id
        return Secret(codec().dumps(fields).decode())
