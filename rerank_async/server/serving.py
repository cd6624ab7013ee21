"""Starting and stopping a local server, and the handle to a running one."""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from rerank_async.server.app import build_app
from rerank_async.server.doors import RerankDoor, SpecsDoor
from rerank_async.server.faults import Fault, read_faults
from rerank_async.server.identity import TokenDoors
from rerank_async.server.issuing import TokenIssuer
from rerank_async.server.lexical import LexicalScorer
from rerank_async.server.minilm import MiniLMScorer
from rerank_async.server.options import Latency, RateLimit, count, seconds
from rerank_async.server.platform import PROJECT_PATH, SPACE_PATH, PlatformDoor
from rerank_async.server.record import Arrival, Counts
from rerank_async.server.scoring import Scorer
from rerank_async.server.settings import Settings
from rerank_async.server.tls import server_context
from rerank_async.values import contract

logger: Final = logging.getLogger("rerank_async.server")

# Handlers are cancelled before the runner waits for them, so this bounds nothing but a handler that resists.
_SHUTDOWN_TIMEOUT: Final = 1.0


class Server:
    """A running server; made by `serve`.

    Attributes:
        url: ``http://host:port``, or ``https://host:port`` with TLS, for ``Credentials(url=...)``.
        token_url: The whole URL of IAM's token route, for ``Credentials(auth_url=...)``.
        api_key: The API key that the token routes take.
        username: The user of the routes of a Cloud Pak, and of the Zen API key.
        password: The user's password.
        profile_id: The trusted profile that is known; None: any.
        project_id: The project that is accepted; None: any.
        space_id: The space that is accepted; None: any.
        counts: Live counters.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.url = ""
        self.api_key = settings.api_key
        self.username = settings.username
        self.password = settings.password
        self.profile_id = settings.profile_id
        self.project_id = settings.project_id
        self.space_id = settings.space_id
        self.counts = Counts()
        self._issuer = TokenIssuer(settings.token_lifetime, (settings.username, settings.api_key))
        self._rerank = RerankDoor(settings, self._issuer, self.counts)
        self._tokens = TokenDoors(settings, self._issuer, self.counts)
        self._specs = SpecsDoor(settings, self.counts)
        self._project = PlatformDoor("project", settings, self._issuer, self.counts)
        self._space = PlatformDoor("space", settings, self._issuer, self.counts)

    def __repr__(self) -> str:
        return f"Server({self.url!r})"

    @property
    def token_url(self) -> str:
        """The whole URL of IAM's token route."""
        return self.url + contract.TOKEN_PATH

    @property
    def requests(self) -> deque[Arrival]:
        """The last 10,000 rerank requests, in the order in which they ended; those still worked on are not there yet."""
        return self._rerank.arrivals

    def issue_token(self, lifetime: float | None = None) -> str:
        """Give a bearer token without the token route.

        Args:
            lifetime: Seconds; None: the server's `token_lifetime`; 0: expired already.
        """
        return self._issuer.issue(time.monotonic(), time.time(), lifetime)

    def revoke_tokens(self) -> None:
        """Let every token that is out be answered with a 401 ``authentication_token_expired``."""
        self._issuer.revoke(time.monotonic())

    @asynccontextmanager
    async def running(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
        """Listen while the context is open; with a context for TLS, for nothing but TLS."""
        app = build_app(
            {
                ("POST", contract.RERANK_PATH): self._rerank.handle,
                **self._tokens.routes(),
                ("GET", contract.MODEL_SPECS_PATH): self._specs.handle,
                ("GET", PROJECT_PATH): self._project.handle,
                ("GET", SPACE_PATH): self._space.handle,
            },
            self._settings.max_body,
        )
        # A client that leaves cancels its handler, and with it the scoring.
        runner = web.AppRunner(
            app,
            handle_signals=False,
            handler_cancellation=True,
            access_log=None,
            logger=logger,
            shutdown_timeout=_SHUTDOWN_TIMEOUT,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
            bound = runner.addresses[0][1]
            scheme = "http" if tls is None else "https"
            self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{bound}"
            yield self
        finally:
            await runner.cleanup()


@asynccontextmanager
async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    scorers: Mapping[str, Scorer] | None = None,
    preload: Collection[str] = (),
    limit: RateLimit | None = None,
    latency: Latency | float = 0.0,
    faults: Mapping[str, float] | Iterable[Fault] = (),
    api_key: str = "local-api-key",
    username: str = "local-user",
    password: str = "local-password",  # noqa: S107 - a word that opens nothing but this server
    profile_id: str | None = "local-profile",
    project_id: str | None = "local-project",
    space_id: str | None = "local-space",
    token_lifetime: float = 3600.0,
    token_latency: float = 0.0,
    max_inputs: int = contract.MAX_INPUTS,
    seed: int = 0,
    tls_cert: str | os.PathLike[str] | None = None,
    tls_key: str | os.PathLike[str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    """Run a local server in this event loop for as long as the context is open.

    Leaving the context stops it at once: requests in flight are cancelled and their connections closed.

    Args:
        host: Where to listen. Not loopback: anyone who reaches it and knows the API key can use it,
            over plain HTTP unless there is a certificate.
        port: 0: any free port; see `Server.url`.
        scorers: Model id to scorer. None: ``lexical``, and ``sentence-transformers/all-minilm-l6-v2``, which is loaded
            when first asked for and needs the extra ``local``. Scorers given are not closed.
        preload: Ids of models to load before the context opens.
        limit: The rate limit of the rerank route; None: no limit and no rate headers.
        latency: Time an answer takes beside the scoring; a number is `Latency.base` in seconds.
        faults: Share by fault name, or `Fault` values; the names are in `FAULTS`.
        api_key: The API key that the token routes take: IAM's, AWS's (MCSP), and those of a Cloud Pak.
        username: The user of the routes of a Cloud Pak, and of its Zen API key, which is this user with `api_key`.
        password: The user's password.
        profile_id: The trusted profile that can be assumed; None: any.
        project_id: The project that is accepted; None: any.
        space_id: The space that is accepted; None: any.
        token_lifetime: Seconds for which a token is good.
        token_latency: Seconds that a token route takes.
        max_inputs: The most inputs of one request.
        seed: Seeds the faults.
        tls_cert: Listen with TLS: the PEM file of the server's certificate, and of the authorities between it and the
            root, if any. It has to be one for `host`. None: plain HTTP. Clients trust its authority by a CA file:
            ``verify="ca.pem"``.
        tls_key: The PEM file of its private key, without a passphrase; the same file, if it holds both.
        ssl_context: A server's context instead of the two files.

    Yields:
        The running server.

    Raises:
        ValueError: A value out of range, an unknown fault or model, or files for TLS that are missing or do not fit.
        TypeError: A value of the wrong type.
        ModelUnavailableError: A model in `preload` cannot be loaded.
        OSError: The address cannot be listened on.
    """
    tls = server_context(tls_cert, tls_key, ssl_context)
    own = {} if scorers is not None else _default_scorers()
    settings = Settings(
        scorers=own if scorers is None else dict(scorers),
        limit=limit,
        latency=latency if isinstance(latency, Latency) else Latency(base=latency),
        faults=read_faults(faults),
        api_key=api_key,
        username=username,
        password=password,
        profile_id=profile_id,
        project_id=project_id,
        space_id=space_id,
        token_lifetime=seconds(token_lifetime, "token_lifetime", positive=True),
        token_latency=seconds(token_latency, "token_latency"),
        max_inputs=count(max_inputs, "max_inputs"),
        seed=seed,
    )
    try:
        await _preload(settings.scorers, preload)
        async with Server(settings).running(host, port, tls) as server:
            yield server
    finally:
        for scorer in own.values():
            await scorer.close()


def _default_scorers() -> dict[str, Scorer]:
    scorers: tuple[Scorer, ...] = (LexicalScorer(), MiniLMScorer())
    return {scorer.model_id: scorer for scorer in scorers}


async def _preload(scorers: Mapping[str, Scorer], wanted: Collection[str]) -> None:
    for model_id in wanted:
        if model_id not in scorers:
            raise ValueError(f"preload names {model_id!r}; the models are: {', '.join(scorers)}")
        # Scoring anything loads the model, whatever scorer it is.
        await scorers[model_id].score("ready", ["ready"], None)
