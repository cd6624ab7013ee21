"""A web service that ranks: FastAPI over one `AsyncRerank`, with deadlines, cancellation and a status for every error.

In one terminal `rerank-async serve --limit 50`, in another its line of `export`, and then

    export RERANK_MODEL=lexical RERANK_RPS=50
    python examples/fastapi_app.py      # or: uvicorn examples.fastapi_app:app
    curl localhost:8000/rerank --json '{"query": "tall birds", "passages": ["a mouse", "herons are tall birds"]}'

docs/fastapi.md says why it is made like this.
"""

import asyncio
import logging
import math
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict, TypeVar

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from rerank_async import AsyncRerank, LimitOptions, RerankModels, RetryOptions, Timeouts, errors

T = TypeVar("T")
log = logging.getLogger("uvicorn.error")


class Settings(BaseModel):
    """From the environment: RERANK_MODEL, RERANK_RPS and so on. Address, key and project are the client's WATSONX_*."""

    model: str = RerankModels.MS_MARCO_MINILM_L_12_V2.value
    rps: float = Field(8.0, gt=0, description="requests a second that this process may send")
    burst: int | None = Field(None, ge=1, description="of them at once; not set: those of a second")
    deadline: float = Field(10.0, gt=0, lt=math.inf, description="seconds for one call, waiting and retries included")

    @classmethod
    def from_env(cls) -> "Settings":
        """What is not set keeps its default; what makes no sense stops the app at its start."""
        names = {name: f"RERANK_{name.upper()}" for name in cls.model_fields}
        return cls.model_validate({name: os.environ[key] for name, key in names.items() if key in os.environ})


class State(TypedDict):
    """What lives as long as the app; requests see it as ``request.state``."""

    client: AsyncRerank
    settings: Settings


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[State]:
    """One client for the whole process: one connection pool, one token, one rate."""
    settings = Settings.from_env()
    async with AsyncRerank(
        settings.model,
        limits=LimitOptions(requests_per_second=settings.rps, burst=settings.burst),
        timeouts=Timeouts(total=settings.deadline),
        # Somebody waits, and each attempt takes a place in the same queue: once more, then say that it is down.
        retries=RetryOptions(max_attempts=2),
    ) as client:
        yield {"client": client, "settings": settings}


async def reranker(request: Request) -> AsyncRerank:
    """The dependency: where the client of a handler comes from."""
    client: AsyncRerank = request.state.client
    return client


Client = Annotated[AsyncRerank, Depends(reranker)]
app = FastAPI(title="Ranking", lifespan=lifespan)


class Question(BaseModel):
    """The body of a request; with top_n only the best n come back."""

    query: str = Field(min_length=1)
    passages: list[str] = Field(max_length=10_000)
    top_n: int | None = Field(None, ge=1)


class Ranked(BaseModel):
    """One passage by its place in the request."""

    index: int
    score: float


class Ranking(BaseModel):
    """The answer, best first."""

    model: str
    results: list[Ranked]


@app.post("/rerank")
async def rerank(question: Question, request: Request, client: Client) -> Ranking:
    """Ranks the passages by how well they answer the query."""
    call = client.generate(question.query, question.passages, {"return_options": {"top_n": question.top_n}})
    response = await while_connected(request, call)
    results = [Ranked(index=result.index, score=result.score) for result in response.results]
    return Ranking(model=response.model_id, results=results)


async def while_connected(request: Request, call: Coroutine[Any, Any, T]) -> T:
    """Awaits the call, and cancels it when the caller hangs up.

    FastAPI lets a handler run on when nobody waits for its answer any more, and a ranking that nobody reads would still
    cost requests of the limit. The server tells of it by ``http.disconnect``, which is all that ``receive`` can give
    once the body has been read, as it has been when a handler with a body begins.
    """
    work, gone = asyncio.create_task(call), asyncio.create_task(disconnected(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        gone.result()
        raise HTTPException(499, "the caller hung up")  # for middleware and logs: nobody is left to read it
    finally:
        work.cancel()
        gone.cancel()
        # Until both have ended: then the request is over at the service too, and its place in the limiter is free.
        await asyncio.gather(work, gone, return_exceptions=True)


async def disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@app.exception_handler(errors.RerankError)
async def failed(request: Request, error: errors.RerankError) -> JSONResponse:
    """The answer to the caller. The service's own words stay in the log: they name our address and our instance."""
    now = request.state.client.limit_status
    behind = now.behind
    wait = 0.0
    match error:
        case errors.InvalidArgumentError():
            status, detail = 422, str(error)  # ours: it names the argument and the index, and repeats no text
        case errors.InputTooLongError() | errors.BadRequestError(code="invalid_input_argument"):
            status, detail = 422, "the ranking service refused the input; is a text too long for the model?"
        case errors.QuotaExceededError():
            status, detail = 503, "the ranking service is out of quota"
        case errors.RateLimitError():
            status, detail, wait = 503, "the ranking service is busy", error.retry_after or max(behind, 1)
        case errors.OverloadedError():
            status, detail, wait = 503, "this service is busy", max(behind, 1)
        case errors.DeadlineExceededError():
            down = now.outage > 0  # the call waited for the service to come back
            status, detail = (
                (503, "the ranking service is not available") if down else (504, "the ranking took too long")
            )
            wait = max(behind, 1) if down else behind
        case errors.CertificateError() | errors.ProxyError():
            status, detail = 502, "the way to the ranking service is closed, or cannot be trusted"
        case errors.NoAnswerError() | errors.ServiceError() | errors.ClientStateError():
            status, detail, wait = 503, "the ranking service is not available", max(behind, 1)
        case _:  # our key, our project, our model, an address that redirects, answers that make no sense
            status, detail = 502, "the ranking service and this one do not understand each other"
    if status != 422:
        log.error("%s: %s", type(error).__name__, error)
    headers = {"Retry-After": str(math.ceil(wait))} if wait > 0 else None
    return JSONResponse({"detail": detail}, status, headers)


@app.exception_handler(RequestValidationError)
async def refused(_: Request, error: RequestValidationError) -> JSONResponse:
    """FastAPI's answer without the caller's texts: megabytes come back otherwise, and some cannot be written as JSON."""
    detail = [{name: part[name] for name in ("type", "loc", "msg")} for part in error.errors()]
    return JSONResponse({"detail": detail}, 422)


class Health(BaseModel):
    """How the limiter stands; requests_per_second is null without pacing."""

    requests_per_second: float | None
    queued: int
    in_flight: int
    paused: float
    behind: float


@app.get("/health")
async def health(request: Request, response: Response, client: Client) -> Health:
    """Sends nothing. 503 while a new call would have to wait for longer than it may take: send it to another process."""
    now = client.limit_status
    if now.behind >= request.state.settings.deadline:
        response.status_code = 503
    rate = now.requests_per_second
    return Health(
        requests_per_second=rate if math.isfinite(rate) else None,
        queued=now.queued,
        in_flight=now.in_flight,
        paused=now.paused,
        behind=now.behind,
    )


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
