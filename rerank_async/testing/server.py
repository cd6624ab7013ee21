"""`rerank_server`: a local server for tests, in a thread of its own, scripted and asked from the test."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import attrs

from rerank_async.client import AsyncRerank
from rerank_async.server.options import Latency, RateLimit, count, seconds
from rerank_async.server.record import Counts
from rerank_async.server.serving import Server
from rerank_async.server.settings import Settings
from rerank_async.testing.options import quick_options
from rerank_async.testing.recording import RecordedRequest, Recorder
from rerank_async.testing.report import report
from rerank_async.testing.scores import AnyModel, FunctionScorer, Score, ScoreError, ScoreFunction, Scores
from rerank_async.testing.scripting import Script
from rerank_async.testing.thread import LoopThread
from rerank_async.values.credentials import Credentials
from rerank_async.values.models import RerankModels
from rerank_async.values.options import BatchOptions

_HOST: Final = "127.0.0.1"
_API_KEY: Final = "local-api-key"
_PROJECT: Final = "local-project"


def rerank_server(
    *,
    score: Score | None = None,
    scores: Scores | None = None,
    script: Mapping[int, str] | None = None,
    limit: RateLimit | int | None = None,
    models: Collection[str] | None = None,
    latency: Latency | float = 0.0,
    retry_after: float | None = 0.0,
    api_key: str = _API_KEY,
    project_id: str = _PROJECT,
    token_lifetime: float = 3600.0,
) -> RerankServer:
    """Makes a server for tests, to be used with ``with`` or ``async with``.

    It listens on a free port of 127.0.0.1, from a thread with an event loop of its own, so it serves sync tests,
    async ones under any plugin, and code that blocks.

    Args:
        score: Gives the score of a query and one text; called in the server's thread, with texts whole, whatever
            ``truncate_input_tokens`` says. None: the share of the query's words that a text holds.
        scores: Instead of ``score``: gives the scores of a query and all texts of a request, in their order.
        script: Faults by number of request, the first is 1; see `RerankServer.script`.
        limit: Rerank requests a second, or a `rerank_async.server.RateLimit`; more are answered with a 429. None: any.
        models: Ids that are known; others get a 404. None: every id is known.
        latency: Seconds that an answer takes, or a `rerank_async.server.Latency`.
        retry_after: Seconds in the ``Retry-After`` of scripted 429s: with 0 the client goes on at once. None: no such
            header, as the service answers; the client then pauses by its own measure.
        api_key: The only key that is accepted.
        project_id: The only project that is accepted.
        token_lifetime: Seconds for which a token is good.

    Raises:
        ValueError: A value out of range, both kinds of score function, or an unknown fault: the message lists them.
        TypeError: A value of the wrong type.
    """
    return RerankServer(
        ScoreFunction(score, scores),
        {} if script is None else script,
        Settings(
            scorers={},
            limit=_limit(limit),
            latency=latency if isinstance(latency, Latency) else Latency(base=latency),
            api_key=_words(api_key, "api_key"),
            project_id=_words(project_id, "project_id"),
            space_id=None,
            token_lifetime=seconds(token_lifetime, "token_lifetime", positive=True),
            pause=None if retry_after is None else seconds(retry_after, "retry_after"),
        ),
        None if models is None else _ids(models),
    )


class RerankServer:
    """The handle to a server for tests; made by `rerank_server`, and safe to use from any thread.

    Leaving its context stops it at once. It then raises the first error of the score function, or adds it as a note
    to the exception that is on its way.

    Attributes:
        api_key: The key that it accepts.
        project_id: The project that it accepts.
        errors: Errors of the score function so far. Clear it where they were meant to happen.
    """

    def __init__(
        self,
        function: ScoreFunction,
        script: Mapping[int, str],
        settings: Settings,
        models: Collection[str] | None,
    ) -> None:
        self._running: tuple[Server, LoopThread] | None = None
        self._first_function = self._function = function
        self._script = Script()
        self._script.replace(script)
        self._first_script = dict(script)
        self._recorder = Recorder()
        self._forgotten_tokens = 0  # those before the last reset
        self.errors: list[ScoreError] = []
        self.api_key = settings.api_key
        self.project_id = str(settings.project_id)
        self._settings = settings
        self._models = models

    def __repr__(self) -> str:
        return f"RerankServer({self.url!r})"

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port``; empty before it runs."""
        return "" if self._running is None else self._running[0].url

    @property
    def credentials(self) -> Credentials:
        """For ``AsyncRerank(credentials=...)``."""
        return Credentials(self.url, self.api_key)

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that lead a client here: address, key and project; for ``monkeypatch.setenv``."""
        return {"WATSONX_URL": self.url, "WATSONX_APIKEY": self.api_key, "WATSONX_PROJECT_ID": self.project_id}

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The rerank requests since the start or the last `reset`, in the order in which they arrived."""
        return self._recorder.requests()

    @property
    def counts(self) -> Counts:
        """Live counters since the start, of the token route too."""
        return self._server.counts

    @property
    def score(self) -> Score | None:
        """The score function for one text; assigning one replaces either kind, None: the words count."""
        return self._function.score

    @score.setter
    def score(self, score: Score | None) -> None:
        self._function = ScoreFunction(score=score)

    @property
    def scores(self) -> Scores | None:
        """The score function for a list of texts; assigning one replaces either kind, None: the words count."""
        return self._function.scores

    @scores.setter
    def scores(self, scores: Scores | None) -> None:
        self._function = ScoreFunction(scores=scores)

    def client(self, model_id: str = RerankModels.MS_MARCO_MINILM_L_12_V2, **options: Any) -> AsyncRerank:
        """Makes a client of this server that never waits without need; close it, or use it with ``async with``.

        It sends full batches, so that a test can say how many requests a list makes.

        Args:
            model_id: The model.
            options: Further arguments of ``AsyncRerank``; they replace those of `quick_options`, the batching, and the
                credentials and project of this server.
        """
        ours: dict[str, Any] = {"batching": BatchOptions(adaptive=False)}
        if "api_client" not in options:
            ours |= quick_options()
            ours["credentials"] = self.credentials
            if "space_id" not in options:
                ours["project_id"] = self.project_id
        return AsyncRerank(model_id, **{**ours, **options})

    def script(self, faults: Mapping[int, str]) -> None:
        """Replaces what is scripted: ``{2: "rate_limited", 5: "reset_before"}``; ``{}``: no more faults.

        The next request is number 1. Faults of the token route count its requests, the others count rerank requests;
        those that are refused anyway (a bad token or body, the limit) are not counted.

        Args:
            faults: Names of `rerank_async.server.FAULTS` by number.

        Raises:
            ValueError: An unknown fault (the message suggests one and lists all), or a number below 1.
            TypeError: Not a mapping of whole numbers to names.
        """
        self._script.replace(faults)

    def fail(self, name: str, *, on: int | Iterable[int] | None = None, seconds: float | None = None) -> None:
        """Adds one fault to what is scripted. A numbered one goes before one for every request, a later one before an earlier.

        Args:
            name: A name of `rerank_async.server.FAULTS`.
            on: The number or numbers of the requests that meet it, the next one is 1; None: every one from now on.
            seconds: For ``slow`` the delay, for ``drip`` the pause between bytes; None: the fault's own.

        Raises:
            ValueError: An unknown fault (the message suggests one and lists all), or a number below 1.
            TypeError: A value of the wrong type.
        """
        self._script.add(name, on, seconds)

    def reset(self) -> None:
        """Goes back to how it was made: score function, script; forgets requests and errors. `counts` goes on."""
        self._function = self._first_function
        self._script.clear()
        self._script.replace(self._first_script)
        self._recorder.forget()
        self._forgotten_tokens = self._token_requests()
        self.errors.clear()

    def revoke_tokens(self) -> None:
        """Lets every token that is out be answered with a 401 ``authentication_token_expired``."""
        self._server.revoke_tokens()

    def report(self) -> str:
        """What it went through, in words: requests and answers, faults that nobody met, errors of the score function."""
        tokens = self._token_requests() - self._forgotten_tokens
        return report(self.url, self.requests, tokens, self._script.waiting(), self.errors)

    def _token_requests(self) -> int:
        return 0 if self._running is None else self._running[0].counts.token_requests

    def __enter__(self) -> Self:
        self._made().start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.stop()
        self._tell(exc)

    async def __aenter__(self) -> Self:
        await self._made().start_async()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._thread.stop_async()
        self._tell(exc)

    @property
    def _server(self) -> Server:
        if self._running is None:
            raise RuntimeError("the server does not run yet: enter it with `with` or `async with`")
        return self._running[0]

    @property
    def _thread(self) -> LoopThread:
        assert self._running is not None  # noqa: S101 - entered
        return self._running[1]

    def _made(self) -> LoopThread:
        if self._running is not None:
            raise RuntimeError("a server for tests runs once; make another one with rerank_server()")
        scorer = FunctionScorer(lambda: self._function, self.errors.append)
        server = Server(
            attrs.evolve(
                self._settings,
                scorers=AnyModel(scorer, self._models),
                plans={"rerank": self._script.plan("rerank"), "token": self._script.plan("token")},
                watcher=self._recorder,
            )
        )
        thread = LoopThread(lambda: server.running(_HOST, 0), "rerank-server")
        self._running = server, thread
        return thread

    def _tell(self, exc: BaseException | None) -> None:
        if not self.errors:
            return
        first, more = self.errors[0], len(self.errors) - 1
        if exc is None:
            if more:
                first.add_note(f"{more} more errors of the score function are in `errors`")
            raise first.with_traceback(None)
        exc.add_note(f"The server of this test: {first}" + (f" ({more} more errors in `errors`)" if more else ""))


def _limit(limit: object) -> RateLimit | None:
    if limit is None or isinstance(limit, RateLimit):
        return limit
    return RateLimit(requests=count(limit, "limit (unless it is a RateLimit)"))


def _words(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} is empty")
    return value


def _ids(models: object) -> tuple[str, ...]:
    if isinstance(models, str) or not isinstance(models, Iterable):
        raise TypeError(f"models must be a list of model ids, not {type(models).__name__}")
    return tuple(_words(model, "an id in models") for model in models)
