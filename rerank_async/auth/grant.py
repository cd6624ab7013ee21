"""What the ways in have in common: a request for a token, its answer, and the token.

A way in is a generator without I/O: it yields a `TokenRequest`, is sent the `TokenAnswer` (or thrown the error of a
request that had none), and returns a `TokenGrant`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import NamedTuple, Protocol

from rerank_async.values.secret import Secret


class TokenRequest(NamedTuple):
    """A request to a token endpoint.

    Attributes:
        url: The whole address, without secrets.
        headers: Those that are secret are sealed.
        body: A form or JSON, which holds the key; None: no body.
        method: POST or GET.
    """

    url: str
    headers: Mapping[str, str]
    body: Secret | None
    method: str = "POST"


class TokenAnswer(NamedTuple):
    """The answer of a token endpoint.

    Attributes:
        status: The HTTP status.
        headers: By lower-case name, or looked up without regard to case.
        body: Decoded as Latin-1, so that no byte is lost. It may hold a token.
        at: When it came, in Unix time by this machine's clock.
    """

    status: int
    headers: Mapping[str, str]
    body: Secret
    at: float


class TokenGrant(NamedTuple):
    """A token as it was granted.

    Attributes:
        authorization: The whole value of the Authorization header.
        lifetime: Seconds from the moment of the answer.
        flow: The way in that granted it, as ``Credentials(flow=...)`` names it.
        url: The endpoint that granted it; empty where none was asked.
        next_flow: The way in to take from now on, where the first one led nowhere; None: the same again.
    """

    authorization: Secret
    lifetime: float
    flow: str = ""
    url: str = ""
    next_flow: ExchangeFlow | None = None


Steps = Generator[TokenRequest, TokenAnswer, TokenGrant]


class ExchangeFlow(Protocol):
    """A way in that asks an endpoint for a token, and for the next one when that is old."""

    @property
    def name(self) -> str:
        """As ``Credentials(flow=...)`` names it."""

    @property
    def url(self) -> str:
        """The whole address of the token endpoint, the first one where there are several."""

    @property
    def advice(self) -> str | None:
        """What to say of a token that was refused; None: a new one is asked for first."""

    def exchange(self) -> Steps:
        """The requests of one exchange."""

    def identity(self) -> str:
        """Who asks, as a digest: the same for the same secret, which it does not tell."""


class StaticFlow(Protocol):
    """A way in that asks nobody."""

    @property
    def name(self) -> str:
        """As ``Credentials(flow=...)`` names it."""

    def authorization(self) -> Secret:
        """The whole value of the Authorization header."""

    def advice(self, at: float) -> str:
        """What to say after a 401, at a Unix time."""
