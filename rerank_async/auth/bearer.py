"""A bearer token from elsewhere: used as it is."""

from __future__ import annotations

import attrs

from rerank_async.values.secret import Secret


@attrs.frozen(eq=False)
class GivenToken:
    """A token that cannot be renewed here.

    Attributes:
        token: With or without a leading ``Bearer ``.
    """

    token: Secret

    def authorization(self) -> Secret:
        """The whole value of the Authorization header."""
        return Secret("Bearer " + self.token.reveal().removeprefix("Bearer ").strip())
