"""One batch from its permit to its result: one POST."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import attrs
from yarl import URL

from rerank_async.policy.merging import BatchResult
from rerank_async.policy.wire import decode_answer
from rerank_async.policy.wire_errors import trace_of
from rerank_async.runtime.clock import Clock
from rerank_async.runtime.gate import Gate, Permit
from rerank_async.runtime.http import Http
from rerank_async.runtime.token_store import Token
from rerank_async.runtime.tokens import Tokens
from rerank_async.values.events import Answered, Event, Sent
from rerank_async.values.options import RetryOptions


class Checks:
    """Counts the answers that passed the integrity check, beside the gate's count of permits: for benchmarks and tests.

    Attributes:
        passed: Answers so far.
    """

    __slots__ = ("passed",)

    def __init__(self) -> None:
        self.passed = 0


class Channel(NamedTuple):
    """What every call of one `AsyncAPIClient` shares.

    Attributes:
        url: The whole address of text rerank.
        where: The same without its query, for messages.
    """

    http: Http
    tokens: Tokens
    gate: Gate
    clock: Clock
    retries: RetryOptions
    url: URL
    where: str
    checks: Checks


@attrs.define(eq=False)
class Batch:
    """A part of a call's texts, and how it has fared.

    Attributes:
        number: From 0, in the order of the inputs.
        start: Its first text in the list that is sent.
        size: Texts in it.
        ticket: Its place in the gate's queue.
        body: The request's body.
        top_n: What the body asks for; None: all scores.
        sent: Requests sent.
        throttled: 429s among their answers.
        renewed: Whether it goes with a new token after a 401.
    """

    number: int
    start: int
    size: int
    ticket: int
    body: bytes
    top_n: int | None
    sent: int = 0
    throttled: int = 0
    renewed: bool = False

    @property
    def attempts(self) -> int:
        """Requests that count as attempts: a 429 does not."""
        return self.sent - self.throttled


async def exchange(
    channel: Channel,
    batch: Batch,
    permit: Permit,
    token: Token,
    *,
    headers: Mapping[str, str],
    echo: bool,
    call: int,
    emit: Callable[[Event], None],
) -> BatchResult:
    """Sends a batch with the permit, and checks the answer. The caller leaves the gate, after telling it of a 429.

    Args:
        channel: What the client shares.
        batch: What to send.
        permit: Granted just now.
        token: To send it with.
        headers: Of the request, without the token.
        echo: Whether the service was asked to echo the texts.
        call: The call's number, for events.
        emit: Takes the events.

    Raises:
        RerankError: What went wrong, by its class.
    """
    channel.http.check()  # first: a permit that cannot be used is returned
    started_at = channel.gate.sent(permit)
    emit(Sent(call, started_at, batch.number, batch.size, batch.attempts + 1, permit.waited))
    batch.sent += 1
    answer = await channel.http.send(
        "POST", channel.url, headers=headers, authorization=token.authorization, body=batch.body
    )
    ended_at = channel.clock.now()
    trace = trace_of(answer.headers, None)
    emit(Answered(call, ended_at, batch.number, batch.size, answer.status, ended_at - started_at, trace))
    if answer.status != 429:
        channel.gate.answered(permit)
    result = decode_answer(
        answer.status,
        answer.headers,
        answer.body,
        url=channel.where,
        count=batch.size,
        top_n=batch.top_n,
        echo=echo,
    )
    channel.checks.passed += 1
    return result
