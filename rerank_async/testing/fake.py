"""`FakeReranker`: ranks in memory, with the client's own checks and the server's own answers; no server, no socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import attrs

from rerank_async.errors import ClientClosedError, InputTooLongError
from rerank_async.many import RerankMany
from rerank_async.policy.merging import BatchResult, Envelope, merge_envelopes, rank
from rerank_async.policy.planning import Load, batches, check_query, load, texts_of
from rerank_async.policy.scores import above_threshold, score_threshold_of
from rerank_async.policy.wire import request_head
from rerank_async.server.answering import MODEL_VERSION, timestamp
from rerank_async.server.options import count
from rerank_async.server.scoring import OverlengthError
from rerank_async.streaming import Landed, RerankStream
from rerank_async.testing.scores import Score, ScoreFunction, Scores
from rerank_async.values.checks import header_fields, timeout_seconds
from rerank_async.values.models import RerankModels
from rerank_async.values.options import DEFAULT, BatchOptions, Default
from rerank_async.values.parameters import Crypto, RerankParameters, ReturnOptions, as_crypto, as_parameters
from rerank_async.values.requests import RerankRequest
from rerank_async.values.response import RerankResponse, ResponseStats


@attrs.frozen(kw_only=True)
class FakeCall:
    """One call of a `FakeReranker` whose arguments were good.

    Attributes:
        query: The query.
        texts: The texts, in the caller's order, repetitions included.
        params: What was in force: the call's, else the reranker's.
        crypto: The call's; None: none.
        timeout: Seconds; None: no bound; `DEFAULT`: not given.
        score_threshold: The call's; None: none.
        extra_headers: The call's; empty: none.
        extra_body: The call's; empty: none.
    """

    query: str
    texts: tuple[str, ...]
    params: RerankParameters
    crypto: Crypto | None
    timeout: float | Default | None
    score_threshold: float | None
    extra_headers: Mapping[str, str]
    extra_body: Mapping[str, Any]


class FakeReranker:
    """A `Reranker` in memory: the checks of ``AsyncRerank``, and the answer it gives with a `RerankServer`.

    Nothing takes time here, so ``timeout`` is checked and recorded, and never passes; use `fail` with a
    ``DeadlineExceededError`` for a call that is late. It needs no closing, but can be used with ``async with``.

    Attributes:
        calls: The calls so far, in order; those with bad arguments are not among them.
    """

    def __init__(
        self,
        model_id: str = RerankModels.MS_MARCO_MINILM_L_12_V2,
        params: RerankParameters | Mapping[str, Any] | None = None,
        *,
        score: Score | None = None,
        scores: Scores | None = None,
        batching: BatchOptions | None = None,
    ) -> None:
        """Takes the arguments of ``AsyncRerank`` that make sense without a service.

        Args:
            model_id: The model that answers name.
            params: As of ``AsyncRerank``.
            score: As of `rerank_server`; called in the caller's own thread.
            scores: As of `rerank_server`; called for one batch after the other.
            batching: As of ``AsyncRerank``.

        Raises:
            InvalidArgumentError: ``params`` are wrong.
            ValueError: Both kinds of score function are given.
            TypeError: A function cannot be called.
        """
        self.model_id = str(model_id)
        self.calls: list[FakeCall] = []
        self._params = as_parameters(params)
        self._function = ScoreFunction(score, scores)
        self._batching = batching or BatchOptions()
        self._numbered: dict[int, Exception] = {}
        self._every: Exception | None = None
        self._closed = False

    def fail(self, error: Exception, *, on: int | Iterable[int] | None = None) -> None:
        """Lets calls raise this error. A numbered one goes before one for every call, a later one before an earlier.

        Args:
            error: What to raise, such as ``errors.DeadlineExceededError("too late")``.
            on: The number or numbers of the calls, the next one is 1; None: every one from now on.

        Raises:
            TypeError: Not an exception, or not a whole number.
            ValueError: A number below 1.
        """
        if not isinstance(error, Exception):
            raise TypeError(f"error must be an exception that was made, such as ValueError('why'), not {error!r}")
        if on is None:
            self._every = error
            return
        numbers = [count(number, "The number of a call, the next one is 1,") for number in _listed(on)]
        self._numbered |= {len(self.calls) + number: error for number in numbers}

    def reset(self) -> None:
        """Forgets calls and errors to raise."""
        self.calls.clear()
        self._numbered.clear()
        self._every = None

    async def generate(
        self,
        query: str,
        inputs: Iterable[str | Mapping[str, Any]],
        params: RerankParameters | Mapping[str, Any] | None = None,
        crypto: Crypto | Mapping[str, Any] | None = None,
        *,
        timeout: float | Default | None = DEFAULT,  # noqa: ASYNC109 - the client's own signature
        score_threshold: float | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> RerankResponse:
        """Ranks as ``AsyncRerank.generate`` does.

        Raises:
            InvalidArgumentError: Bad input, as of ``AsyncRerank.generate``.
            InputTooLongError: Words are compared, and a text has more than 512 of them.
            ScoreError: The score function is wrong.
            Exception: Whatever `fail` was given.
        """
        call, planned = self._planned(
            query, inputs, params, crypto, timeout, score_threshold, extra_headers, extra_body
        )
        return await self._begin(call, planned)

    def stream(
        self,
        query: str,
        inputs: Iterable[str | Mapping[str, Any]],
        params: RerankParameters | Mapping[str, Any] | None = None,
        crypto: Crypto | Mapping[str, Any] | None = None,
        *,
        timeout: float | Default | None = DEFAULT,
        score_threshold: float | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> RerankStream:
        """Hands out batches as ``AsyncRerank.stream`` does, in their order: ``batching`` says how many texts are one.

        Raises:
            InvalidArgumentError: Bad input, at once; the other errors of `generate` come after what had landed.
        """
        call, planned = self._planned(
            query, inputs, params, crypto, timeout, score_threshold, extra_headers, extra_body
        )
        return RerankStream(lambda landed: self._begin(call, planned, landed))

    def generate_many(
        self,
        requests: Iterable[RerankRequest] | AsyncIterable[RerankRequest],
        *,
        ordered: bool = False,
        max_in_flight: int = 64,
    ) -> RerankMany:
        """Hands out outcomes as ``AsyncRerank.generate_many`` does; each request is a call of its own in `calls`.

        Raises:
            InvalidArgumentError: An argument is wrong. An error of one request is its outcome and ends nothing.
        """

        async def run(request: RerankRequest) -> RerankResponse:
            return await self.generate(request.query, request.inputs, request.params)

        return RerankMany(run, requests, self._check_open, ordered=ordered, max_in_flight=max_in_flight)

    async def aclose(self) -> None:
        """Refuses calls from now on, as a closed client does."""
        self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _planned(
        self,
        query: str,
        inputs: Iterable[str | Mapping[str, Any]],
        params: RerankParameters | Mapping[str, Any] | None,
        crypto: Crypto | Mapping[str, Any] | None,
        timeout: float | Default | None,
        score_threshold: float | None,
        extra_headers: Mapping[str, str] | None,
        extra_body: Mapping[str, Any] | None,
    ) -> tuple[FakeCall, Load]:
        """The arguments, checked, and what one request would hold."""
        call = FakeCall(
            crypto=as_crypto(crypto),
            query=check_query(query),
            texts=tuple(texts_of(inputs)),
            params=self._params if params is None else as_parameters(params),
            timeout=timeout if timeout is DEFAULT else timeout_seconds(timeout),
            score_threshold=score_threshold_of(score_threshold),
            extra_headers=dict(header_fields({} if extra_headers is None else extra_headers)),
            extra_body={} if extra_body is None else extra_body,
        )
        head = request_head(
            model_id=self.model_id,
            query=call.query,
            project_id="local-project",
            space_id=None,
            parameters=call.params,
            crypto=call.crypto,
            extra_body=extra_body,
        )
        return call, load(list(call.texts), self._batching, head, dedupe=self._batching.dedupe and call.crypto is None)

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosedError("this reranker was closed; make a new one")

    def _begin(
        self, call: FakeCall, planned: Load, landed: Landed | None = None
    ) -> Coroutine[Any, Any, RerankResponse]:
        """The call, to be awaited; counts at once."""
        self._check_open()
        self.calls.append(call)
        return self._run(call, planned, self._numbered.pop(len(self.calls), self._every), landed)

    async def _run(
        self, call: FakeCall, planned: Load, error: Exception | None, landed: Landed | None
    ) -> RerankResponse:
        await asyncio.sleep(0)  # gives way once, as a real call does
        if error is not None:
            raise error.with_traceback(None)
        created_at = timestamp(datetime.now(UTC))
        wanted = call.params.return_options or ReturnOptions()
        texts = call.texts if wanted.inputs else None
        done: list[tuple[range, BatchResult]] = []
        for start, stop in batches(planned):
            done.append((range(start, stop), self._batch(call, planned, start, stop, created_at)))
            if landed is not None:
                results = rank(done[-1:], planned.positions, top_n=None, texts=texts)
                if above := above_threshold(results, call.score_threshold):
                    landed(above)
                await asyncio.sleep(0)
        results = rank(done, planned.positions, top_n=wanted.top_n, texts=texts)
        envelope = merge_envelopes([batch.envelope for _, batch in done]) if done else None
        return RerankResponse(
            model_id=self.model_id,
            results=above_threshold(results, call.score_threshold),
            created_at=created_at,
            input_token_count=envelope.input_token_count if envelope is not None else 0,
            model_version=envelope.model_version if envelope is not None else None,
            query=call.query if wanted.query else None,
            stats=ResponseStats(requests=len(done)),
        )

    def _batch(self, call: FakeCall, planned: Load, start: int, stop: int, created_at: str) -> BatchResult:
        texts = planned.texts[start:stop]
        try:
            scored = self._function.of(call.query, texts, call.params.truncate_input_tokens)
        except OverlengthError as exc:
            error = InputTooLongError(str(exc), status=400, code="invalid_input_argument")
        else:
            envelope = Envelope(self.model_id, MODEL_VERSION, created_at, scored.input_token_count, None, (), None)
            return BatchResult(range(len(texts)), scored.scores, None, None, envelope)
        raise error


def _listed(on: int | Iterable[int]) -> Iterable[int]:
    return (on,) if isinstance(on, int) else on
