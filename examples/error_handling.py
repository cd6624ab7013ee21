"""What a program does about each class of error, with the most common ones provoked on the local server.

Retrying is not among the answers: what a retry can mend was retried before the error reached you.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from rerank_async import AsyncRerank, RetryOptions, errors
from rerank_async.server import Fault, LexicalScorer, Server, serve

TEXTS = ["A heron stands in the reeds.", "The reeds are cut in winter."]


def what_to_do(error: errors.RerankError) -> str:  # noqa: C901, PLR0912 - a branch for each kind is the point
    """The order matters where one class is another's child: the narrower one comes first."""
    match error:
        case errors.InvalidArgumentError():
            place = "" if error.index is None else f", item {error.index}"
            advice = f"a bug on our side: look at {error.argument or 'the arguments'}{place}; nothing was sent"
        case errors.InputTooLongError():
            advice = "cut the texts, or set truncate_input_tokens"
        case errors.ModelNotSupportedError():
            advice = "pick a model of `await client.model_specs()`"
        case errors.AuthenticationError():
            advice = f"stop and check the key or token; the answer was {error.code or error.status}"
        case errors.PermissionDeniedError():
            advice = "stop and check project_id and the key's role in it"
        case errors.QuotaExceededError():
            advice = "stop until the plan has tokens again; waiting a minute is no use"
        case errors.RateLimitError():
            advice = "send less, or let another process send less: they share the limit; go on without reranking now"
        case errors.OverloadedError():
            advice = f"go on without reranking, or try later: {error.queued} requests wait already"
        case errors.RequestTooLargeError():
            advice = "split the longest texts: a request with one of them alone is too large for the service"
        case errors.RedirectError():
            advice = "set url to the service's own address: something on the way sends requests elsewhere"
        case errors.CertificateError():
            advice = "give the CA file by verify=, or mend the certificate; do not go on without checking it"
        case errors.ProxyError():
            advice = "set the proxy's name and password, or ask who runs it to let the service's host through"
        case errors.DeadlineExceededError():
            advice = f"go on without reranking; {len(error.scored)} texts were scored in time"
        case errors.NoAnswerError() | errors.ServiceError():
            advice = f"go on without reranking, and tell operations; {error.attempts} attempts failed"
        case errors.BadAnswerError():
            advice = f"go on without reranking; check url, and report it{traced(error.trace)} if it is right"
        case errors.StatusError():  # another 4xx: what was sent is not what this service takes
            advice = f"look at what is sent, and at url; report it{traced(error.trace)} if both are right"
        case errors.ClientStateError():
            advice = "a bug on our side: the client was closed, or two threads use it"
        case _:
            advice = "go on without reranking, and look at the message"
    return advice


def traced(trace: str | None) -> str:
    return f" to IBM with the trace {trace}" if trace else ""


async def attempt(title: str, server: Server, inputs: list[Any] = TEXTS, **given: Any) -> None:
    """One call that fails; ``given`` replaces arguments that would work."""
    # For the service itself these are your url, key and project.
    call: Mapping[str, Any] = {
        "model_id": "lexical",
        "api_key": server.api_key,
        "project_id": server.project_id,
        **given,
    }
    client = AsyncRerank(
        call["model_id"],
        credentials={"url": server.url, "api_key": call["api_key"]},
        project_id=call["project_id"],
        retries=RetryOptions(max_attempts=2, base_delay=0.01),  # few and quick, for the sake of the demonstration
    )
    async with client:
        try:
            await client.generate("heron", inputs, timeout=call.get("timeout", 30))
        except errors.RerankError as error:
            print(f"{title}: {type(error).__name__}\n    said: {error}\n    do:   {what_to_do(error)}\n")


async def main() -> None:
    short = {"lexical": LexicalScorer(max_sequence_length=16)}
    async with serve(scorers=short) as server:
        await attempt("bad input", server, ["fine", 7])
        await attempt("over-length", server, ["reed " * 100])
        await attempt("unknown model", server, model_id="no/such-model")
        await attempt("bad key", server, api_key="not-the-key")
        await attempt("wrong project", server, project_id="not-the-project")
    for title, fault, timeout in (
        ("quota", "quota", 30),
        ("deadline", "hang", 0.2),
        ("redirect", "redirect", 30),
        ("failing", "unavailable", 30),
    ):
        async with serve(faults=[Fault(fault, share=1)]) as server:
            await attempt(title, server, timeout=timeout)
    await attempt("server down", server)  # the last one, which no longer listens


if __name__ == "__main__":
    asyncio.run(main())
