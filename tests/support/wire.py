"""Calls over a service that is made up, on a clock that is turned by hand: what answers are, and when they come."""

import json
import math

from support.clock import FakeClock
from support.gates import gate_of
from yarl import URL

from rerank_async.auth import GivenToken
from rerank_async.call import Call
from rerank_async.errors import ClientClosedError, ConnectionFailedError
from rerank_async.exchange import Channel, Checks
from rerank_async.job import Job, Terms
from rerank_async.policy.bounds import LearnedBounds
from rerank_async.policy.budget import RetryBudget
from rerank_async.policy.latency import LatencyModel
from rerank_async.policy.planning import load, most_bytes
from rerank_async.runtime.http import Answer
from rerank_async.runtime.retry_queue import RetryQueue
from rerank_async.runtime.tokens import GivenTokenCache
from rerank_async.values.options import BatchOptions, RetryOptions
from rerank_async.values.parameters import RerankParameters
from rerank_async.values.secret import Secret

WHERE = "https://host.example/ml/v1/text/rerank"


def good(seen, **said):
    """Scores each text by its length."""
    scores = [(float(len(text)), index) for index, text in enumerate(seen.texts)]
    if "top_n" in seen.body.get("parameters", {}).get("return_options", {}):
        scores = sorted(scores, key=lambda each: -each[0])[: seen.body["parameters"]["return_options"]["top_n"]]
    results = [{"index": index, "score": score} for score, index in scores]
    return Answer(200, said.pop("headers", {}), json.dumps({"results": results} | said).encode())


def bad(status, code="x", message="words", **headers):
    """An answer with a bad status; header names are given with ``_`` for ``-``."""
    body = {"errors": [{"code": code, "message": message}], "trace": "t"}
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode())


def limited(retry_after=None):
    headers = {} if retry_after is None else {"retry_after": str(retry_after)}
    return bad(429, "rate_limit_reached_requests", "too many", **headers)


def refusal():
    return ConnectionFailedError(f"{WHERE}: connection refused", url=WHERE, refused=True)


def too_long():
    return bad(400, "invalid_input_argument", "Token sequence length is longer than the maximum sequence length")


class Seen:
    """A request that came."""

    def __init__(self, number, at, body):
        self.number, self.at, self.body = number, at, body
        self.texts = [each["text"] for each in body["inputs"]]


class Wire:
    """Stands where `rerank_async.runtime.http.Http` does. ``answer(seen)`` returns an `Answer` or an error to raise, or
    (seconds until then, one of the two); requests are counted from 1."""

    def __init__(self, clock, answer=good):
        self.clock, self.answer = clock, answer
        self.closed = False
        self.seen = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.cancelled = 0

    def check(self):
        if self.closed:
            raise ClientClosedError("closed")

    async def send(self, _method, _url, *, headers, authorization, body):
        assert authorization.reveal() == "Bearer t"
        assert headers == {}
        seen = Seen(len(self.seen) + 1, self.clock.now(), json.loads(body))
        self.seen.append(seen)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        done = False
        try:
            answer = self.answer(seen)
            delay, reply = answer if isinstance(answer, tuple) and not isinstance(answer, Answer) else (0.0, answer)
            await self.clock.sleep(delay)
            done = True
        finally:
            self.in_flight -= 1
            self.cancelled += not done
        if isinstance(reply, Exception):
            raise reply
        return reply


class Service:
    """A made-up service and what a client shares to call it.

    Attributes:
        clock: Turned by hand.
        wire: The service.
        gate: The client's.
        channel: The client's.
    """

    def __init__(self, answer=good, *, tokens=None, retries=None, budget=0.3, clock=None, **gate):
        self.clock = FakeClock() if clock is None else clock
        self.wire = Wire(self.clock, answer)
        retries = RetryOptions(base_delay=0.0, max_delay=0.0) if retries is None else retries
        gate.setdefault("rate", math.inf)
        self.gate, _ = gate_of(clock=self.clock, patience=retries.max_elapsed, **gate)
        self.budget = RetryBudget(budget)
        self.retrying = RetryQueue(self.budget, self.clock)
        self.bounds = LearnedBounds()
        self.latency = LatencyModel()
        self.channel = Channel(
            http=self.wire,
            tokens=GivenTokenCache(GivenToken(Secret("t"))) if tokens is None else tokens,
            gate=self.gate,
            retrying=self.retrying,
            clock=self.clock,
            retries=retries,
            url=URL(WHERE),
            where=WHERE,
            checks=Checks(),
        )

    def job(
        self, texts, *, partial=False, hedging=None, observers=(), query=None, deadline=None, flow=None, **batching
    ):
        options = BatchOptions(**{"max_inputs": 1} | batching)
        head = {"model_id": "asked-for", "query": "q"}
        terms = Terms(
            model_id="asked-for",
            params=RerankParameters(),
            head=head,
            head_bytes=most_bytes(head),
            batching=options,
            partial=partial,
            waits=True,
            observers=observers,
            latency=self.latency,
            bounds=self.bounds,
            hedging=hedging,
        )
        texts = list(texts)
        return Job(
            head=head,
            load=load(texts, options, head, dedupe=options.dedupe),
            top_n=None,
            texts=None,
            query=query,
            echo=False,
            headers={},
            deadline=None if deadline is None else self.clock.now() + deadline,
            score_threshold=None,
            terms=terms,
            flow=flow,
        )

    def call(self, texts, **options):
        return Call(self.channel, self.job(texts, **options))

    def call_of(self, job, landed=None):
        """A call with a job that was made before."""
        return Call(self.channel, job, landed)

    def at_rest(self):
        """(requests in flight by the gate's count, at the service, waiting): all 0 when nothing is left behind."""
        return self.gate.status().in_flight, self.wire.in_flight, self.gate.queued
