"""Every kind of error, provoked on the local server, and what a program does about each.

Retrying is not among the answers: what a retry can mend was retried before the error reached you.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from rerank_async import AsyncRerank, RetryOptions, errors
from rerank_async.server import Fault, LexicalScorer, Server, serve

TEXTS = ["A heron stands in the reeds.", "The reeds are cut in winter."]


def what_to_do(error: errors.RerankError) -> str:
    """The order matters where one class is another's child: the narrower one comes first."""
    match error:
        case errors.InvalidArgumentError():
            advice = f"a bug on our side: look at {error.argument}, item {error.index}; nothing was sent"
        case errors.InputTooLongError():
            advice = "cut the texts, or set truncate_input_tokens"
        case errors.ModelNotSupportedError():
            advice = "pick a model of `await client.model_specs()`"
        case errors.AuthenticationError():
            advice = f"stop and renew the key; IBM's code is {error.code}"
        case errors.PermissionDeniedError():
            advice = "stop and check project_id and the key's role in it"
        case errors.QuotaExceededError():
            advice = "stop until the plan has tokens again; waiting a minute is no use"
        case errors.DeadlineExceededError():
            advice = f"go on without reranking; {len(error.scored)} texts were scored in time"
        case errors.NoAnswerError() | errors.ServiceError() | errors.BadAnswerError():
            advice = f"go on without reranking, and tell operations; {error.attempts} attempts failed"
        case errors.StatusError():
            advice = f"report it to IBM with the trace {error.trace}"
        case _:
            advice = "a bug on our side: the client was closed, or two threads use it"
    return advice


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
    for title, fault, timeout in (("quota", "quota", 30), ("deadline", "hang", 0.2), ("failing", "unavailable", 30)):
        async with serve(faults=[Fault(fault, share=1)]) as server:
            await attempt(title, server, timeout=timeout)
    await attempt("server down", server)  # the last one, which no longer listens


if __name__ == "__main__":
    asyncio.run(main())
