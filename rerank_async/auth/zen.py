"""Cloud Pak for Data by a user's platform API key, sent with each request: no token is asked for.

Source: IBM's Node and Java SDKs, which send ``Authorization: ZenApiKey base64(user:key)``.
"""

from __future__ import annotations

from base64 import b64encode
from typing import ClassVar

import attrs

from rerank_async.values.secret import Secret


@attrs.frozen(eq=False)
class ZenApiKey:
    """A user and the user's key.

    Attributes:
        username: The user.
        api_key: The key.
    """

    name: ClassVar[str] = "zen"

    username: str
    api_key: Secret

    def authorization(self) -> Secret:
        """The whole value of the Authorization header."""
        return Secret("ZenApiKey " + b64encode(f"{self.username}:{self.api_key.reveal()}".encode()).decode())

    def advice(self, at: float) -> str:  # noqa: ARG002 - a key has no end
        """What to say after a 401."""
        return "the user name and API key are sent with each request (flow='zen'): check both of them"
