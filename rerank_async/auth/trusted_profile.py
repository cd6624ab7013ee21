"""A trusted profile of IBM Cloud: the token of who may act as it for one of the profile.

Source: ibm-watsonx-ai 1.8.1, ``utils/auth/trusted_profile_auth.py``. The fields go into the form, as in IBM's cloud SDK
core: a token in a query would stay in the logs on its way.
"""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlencode

import attrs

from rerank_async.auth.answers import FORM_HEADERS, Ask, granted, read_token
from rerank_async.auth.grant import Steps, TokenRequest
from rerank_async.auth.iam import IamApiKey
from rerank_async.auth.identity import digest
from rerank_async.auth.jwt import claims_of
from rerank_async.values.secret import Secret

ASSUME_GRANT_TYPE = "urn:ibm:params:oauth:grant-type:assume"


@attrs.frozen(eq=False)
class TrustedProfile:
    """From an API key, whose token is asked for first, or from a token.

    Attributes:
        url: The whole address of the token endpoint.
        profile_id: The profile.
        source: Who asks.
    """

    name: ClassVar[str] = "trusted_profile"
    advice: ClassVar[str | None] = None

    url: str
    profile_id: str
    source: IamApiKey | Secret

    def exchange(self) -> Steps:
        """One request, after that for the key's own token."""
        secrets: tuple[Secret, ...]
        if isinstance(self.source, IamApiKey):
            said, _ = yield from self.source.token()
            token, what, secrets = said.token, "the trusted profile", (said.token, self.source.api_key)
            advice = "Check trusted_profile_id, and that the API key's owner may act as the profile"
        else:
            token, what, secrets = self.source, "the trusted profile by the token that was given", (self.source,)
            advice = (
                "Check trusted_profile_id. A token that was given cannot be renewed here: pass a new one, or api_key="
            )
        answer = yield TokenRequest(self.url, FORM_HEADERS, self._form(token))
        ask = Ask(self.name, self.url, what, advice, secrets)
        return granted(read_token(answer, ask, "access_token"), answer, ask)

    def identity(self) -> str:
        """Of the profile, and of the key or token."""
        secret = self.source.api_key if isinstance(self.source, IamApiKey) else self.source
        return digest(self.profile_id, type(self.source).__name__, secret)

    def _form(self, token: Secret) -> Secret:
        fields = {"grant_type": ASSUME_GRANT_TYPE, "access_token": token.reveal(), "profile_id": self.profile_id}
        return Secret(urlencode(fields))


def is_of_a_profile(token: Secret) -> bool:
    """Whether a token is already one of a trusted profile, and is used as it is."""
    return claims_of(token).kind == "Profile"
