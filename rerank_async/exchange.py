"""One batch from its permit to its result: one POST."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from yarl import URL

from rerank_async.errors import RateLimitError
from rerank_async.job import Job
from rerank_async.policy.budget import Kind
from rerank_async.policy.heard import Heard, heard_of
from rerank_async.policy.merging import BatchResult
from rerank_async.policy.wire import decode_answer
from rerank_async.policy.wire_errors import trace_of
from rerank_async.runtime.clock import Clock
from rerank_async.runtime.gate import Gate
from rerank_async.runtime.http import Http
from rerank_async.runtime.permits import Permit
from rerank_async.runtime.retry_queue import RetryQueue
from rerank_async.runtime.token_store import Token
from rerank_async.runtime.tokens import Tokens
from rerank_async.tally import Tally
from rerank_async.values.options import RetryOptions


class Checks:
    """Counts the answers that passed the integrity check, beside the gate's count of permits: for benchmarks and tests.

    Attributes:
        passed: Answers so far.
    """

    __slots__ = ("passed",)

    def __init__(self) -> None:
        self.passed = 0


@attrs.frozen(eq=False)
class Channel:
    """What every call of one `AsyncAPIClient` shares.

    Attributes:
        url: The whole address of text rerank.
        where: The same without its query, for messages.
    """

    http: Http
    tokens: Tokens
    gate: Gate
    retrying: RetryQueue
    clock: Clock
    retries: RetryOptions
    url: URL
    where: str
    checks: Checks


class Batch:
    """A part of a call's texts, and how it has fared.

    Attributes:
        number: From 0, in the order in which batches were cut.
        members: Its texts, as positions in the list that is sent, in the order of the body.
        ticket: Its place in its flow.
        body: The request's body.
        top_n: What the body asks for; None: all scores.
        sent: Requests sent.
        free: Those of them that cost no attempt: answered with a 429, refused, sent to probe, or a second copy that raced.
        throttled: 429s among their answers.
        refused: Connections that were refused, and cost no attempt.
        failed_at: When the first of them failed otherwise than with a 429; None: none did.
        throttled_at: When the first 429 came; None: none did.
        renewed: Whether it goes with a new token after a 401.
        truncated: The ``truncate_input_tokens`` with which it goes after a text was too long; None: as it was asked for.
        turn: What the retry budget let it go for; None: it costs no retry.
        heard: What its last 429 said of the limit.
    """

    __slots__ = (
        "body",
        "failed_at",
        "free",
        "heard",
        "members",
        "number",
        "refused",
        "renewed",
        "sent",
        "throttled",
        "throttled_at",
        "ticket",
        "top_n",
        "truncated",
        "turn",
    )

    def __init__(self, number: int, members: Sequence[int], ticket: int, body: bytes, top_n: int | None) -> None:
        self.number = number
        self.members = members
        self.ticket = ticket
        self.body = body
        self.top_n = top_n
        self.sent = 0
        self.free = 0
        self.throttled = 0
        self.refused = 0
        self.failed_at: float | None = None
        self.throttled_at: float | None = None
        self.renewed = False
        self.truncated: int | None = None
        self.turn: Kind | None = None
        self.heard: Heard | None = None

    @property
    def attempts(self) -> int:
        """Requests that count as attempts."""
        return self.sent - self.free


async def exchange(channel: Channel, batch: Batch, permit: Permit, token: Token, job: Job, tally: Tally) -> BatchResult:
    """Sends a batch with the permit, and checks the answer. The caller leaves the gate, after telling it of a failure.

    Args:
        channel: What the client shares.
        batch: What to send.
        permit: Granted just now.
        token: To send it with.
        job: What the call is to do.
        tally: Of the call.

    Raises:
        RerankError: What went wrong, by its class.
    """
    channel.http.check()  # first: a permit that cannot be used is returned
    gate = channel.gate
    size = len(batch.members)
    started_at = gate.sent(permit)
    turn, batch.turn = batch.turn, None  # it is used
    tally.sent(started_at, batch.number, size, batch.attempts + 1, permit.waited)
    batch.sent += 1
    status, headers, body = await channel.http.send(
        "POST", channel.url, headers=job.headers, authorization=token.authorization, body=batch.body
    )
    ended_at = channel.clock.now()
    tally.answered(ended_at, batch.number, size, status, ended_at - started_at, trace_of(headers, None))
    if status != 429:
        gate.answered(permit, ended_at, heard_of(headers, None))
    try:
        result = decode_answer(status, headers, body, url=channel.where, count=size, top_n=batch.top_n, echo=job.echo)
    except RateLimitError as error:
        batch.heard = heard_of(headers, str(error))
        raise
    channel.checks.passed += 1
    gate.landed(permit, ended_at)
    channel.retrying.succeeded(turn)
    job.terms.latency.observe(size, ended_at - started_at)
    return result
