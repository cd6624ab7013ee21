"""A bearer token from elsewhere: used as it is."""

from __future__ import annotations

from typing import ClassVar

import attrs

from rerank_async.auth.jwt import claims_of, is_jwt
from rerank_async.auth.lifetimes import utc
from rerank_async.values.secret import Secret

_SCHEMES = ("Bearer ", "Basic ", "ZenApiKey ")


@attrs.frozen(eq=False)
class GivenToken:
    """A token that cannot be renewed here.

    Attributes:
        token: With or without its scheme in front: a leading ``Bearer``, ``Basic`` or ``ZenApiKey``.
    """

    name: ClassVar[str] = "bearer"

    token: Secret

    def authorization(self) -> Secret:
        """The whole value of the Authorization header."""
        if self.token.reveal().strip().startswith(_SCHEMES):
            return Secret(" ".join(self.token.reveal().split()))
        return Secret("Bearer " + self.token.reveal().strip())

    def expires_at(self) -> float | None:
        """When it ends, in Unix time; None: it does not say."""
        return claims_of(Secret(self.authorization().reveal().partition(" ")[2])).expires_at

    def advice(self, at: float) -> str:
        """What to say after a 401, at a Unix time."""
        end = self.expires_at()
        words = "the token was given and cannot be renewed here"
        if end is not None and end <= at:
            words = f"the token that was given ended at {utc(end)} and cannot be renewed here"
        elif not is_jwt(Secret(self.authorization().reveal().partition(" ")[2])):
            words += ", and it is not a JWT: should it be an API key, it goes into api_key="
        return f"{words}: pass a new one, or api_key= to have tokens renewed"
