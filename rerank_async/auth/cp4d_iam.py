"""Cloud Pak for Data with the IAM integration.

A user name and password for a token of the foundational services, and that for one of the Cloud Pak.
Source: ibm-watsonx-ai 1.8.1, ``utils/auth/icp_auth.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlencode

import attrs

from rerank_async.auth.answers import FORM_HEADERS, Ask, granted, read_token
from rerank_async.auth.cp4d import CloudPak
from rerank_async.auth.grant import Steps, TokenRequest
from rerank_async.auth.identity import password_digest
from rerank_async.errors import ClientStateError, RerankError
from rerank_async.values.secret import SealedHeaders, Secret
from rerank_async.values.version import USER_AGENT

_HEADERS: Mapping[str, str] = {**FORM_HEADERS, "Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}


@attrs.frozen(eq=False)
class CloudPakIam:
    """Two requests; where the address of the first was a guess that failed, the older sign-in instead.

    Attributes:
        url: The whole address of the foundational services' sign-in.
        validate_url: Where their token is changed for one of the Cloud Pak.
        username: The user.
        password: The user's password.
        account_id: The account, where there are several.
        fallback: The older sign-in; None: there is none, because ``bedrock_url`` was given.
    """

    name: ClassVar[str] = "cp4d_iam"
    advice: ClassVar[str | None] = None

    url: str
    validate_url: str
    username: str
    password: Secret
    account_id: str | None
    fallback: CloudPak | None

    def exchange(self) -> Steps:
        """Both requests, or the first one and the older sign-in. Which one worked is remembered by the grant."""
        try:
            return (yield from self._exchange())
        except RerankError as error:
            if self.fallback is None or isinstance(error, ClientStateError):
                raise
            first = str(error)
        try:
            grant = yield from self.fallback.exchange()
        except RerankError as error:
            before = f"before it, {self.url}, which was guessed from the address of the service, failed: {first}"
            error.args = (f"{error.args[0]} ({before}; give bedrock_url if it is another one)", *error.args[1:])
            raise
        return grant._replace(next_flow=self.fallback)

    def _exchange(self) -> Steps:
        answer = yield TokenRequest(self.url, _HEADERS, self._form())
        advice = "Check username, password and bedrock_url"
        ask = Ask(self.name, self.url, "the user name and password", advice, (self.password,))
        first = read_token(answer, ask, "access_token")
        headers: Mapping[str, str | Secret] = {
            "username": self.username,
            "iam-token": first.token,
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
        }
        answer = yield TokenRequest(self.validate_url, SealedHeaders(headers), None, "GET")
        ask = ask._replace(
            url=self.validate_url,
            what="the token of the foundational services",
            advice="Check that this user may use the Cloud Pak, and bedrock_url",
            secrets=(self.password, first.token),
        )
        last = read_token(answer, ask, "accessToken")
        if last.expires_in is None and last.expires_at is None:  # it ends with the one that it was changed for
            last = last._replace(expires_in=first.expires_in, expires_at=first.expires_at)
        return granted(last, answer, ask)._replace(url=self.url)

    def identity(self) -> str:
        """Of the user, the account and the password."""
        return password_digest(self.password, self.url, self.validate_url, self.username, self.account_id or "")

    def _form(self) -> Secret:
        fields = {"grant_type": "password", "username": self.username, "password": self.password.reveal()}
        fields["scope"] = "openid"
        if self.account_id is not None:
            fields["account_id"] = self.account_id
        return Secret(urlencode(fields))
