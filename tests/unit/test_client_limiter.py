"""A limiter that is handed to the client: what it must have, what else may then be set, and one for two clients."""

import pytest

from rerank_async import AsyncAPIClient, LimitOptions
from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.policy.limiter import Limiter
from rerank_async.policy.limiting import LearningLimiter

NAMES = (
    "answered",
    "ceiling",
    "forget_granted",
    "free",
    "give_back",
    "grant",
    "limit_known",
    "paced",
    "paused_until",
    "rate",
    "ready_at",
    "source",
    "start",
    "throttled",
    "wait",
)


def client_with(limiter, **limits):
    return AsyncAPIClient(
        {"url": "http://localhost:1", "token": "t"},
        project_id="p",
        limits=LimitOptions(**limits) if limits else None,
        limiter=limiter,
    )


class Foreign:
    """Passes everything on to another limiter, and is of no class of ours."""

    def __init__(self, limiter, without=None):
        self._limiter = limiter
        self._without = without

    def __getattr__(self, name):
        if name.startswith("_") or name == self._without:
            raise AttributeError(name)
        return getattr(self._limiter, name)


def test_the_names_are_those_of_the_protocol():
    assert tuple(sorted(name for name in vars(Limiter) if not name.startswith("_"))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_limiter_that_lacks_something_is_refused_and_the_error_names_it(name):
    with pytest.raises(InvalidTypeError, match=rf"a Foreign has no {name}\b") as caught:
        client_with(Foreign(LearningLimiter(2.0), without=name))
    assert caught.value.argument == "limiter"


@pytest.mark.parametrize("value", [8.0, "8", object(), LearningLimiter], ids=["number", "str", "object", "class"])
def test_what_is_no_limiter_is_refused(value):
    with pytest.raises(InvalidTypeError, match="limiter must have what the protocol Limiter lists"):
        client_with(value)


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("requests_per_second", {"requests_per_second": 2.0}),
        ("requests_per_second", {"requests_per_second": None}),
        ("burst", {"burst": 3}),
        ("share", {"share": 0.5}),
    ],
    ids=["rate", "unknown", "burst", "share"],
)
def test_what_the_limiter_decides_may_not_be_set_beside_it(name, limits):
    with pytest.raises(InvalidArgumentError, match=f"limiter decides what LimitOptions.{name} would set") as caught:
        client_with(LearningLimiter(2.0), **limits)
    assert caught.value.argument == "limiter"


def test_what_it_does_not_decide_may_be_set_beside_it():
    client = client_with(LearningLimiter(2.0), max_concurrency=3, max_queued=5)
    status = client.limit_status
    assert (status.requests_per_second, status.concurrency) == (2.0, 3)


def test_the_status_is_that_of_the_limiter():
    status = client_with(Foreign(LearningLimiter(5.0, share=0.5))).limit_status
    assert (status.requests_per_second, status.ceiling, status.source) == (2.5, 2.5, "option")


@pytest.mark.parametrize("limiter", [LearningLimiter(None), LearningLimiter(2.0)], ids=["unknown", "known"])
def test_the_gate_starts_slowly_where_the_limiter_knows_no_limit(limiter):
    concurrency = client_with(limiter).limit_status.concurrency
    assert concurrency == (128 if limiter.limit_known else 8)


def test_two_clients_of_one_limiter_count_together():
    limiter = Foreign(LearningLimiter(4.0))
    one, other = client_with(limiter), client_with(limiter)
    alone = client_with(LearningLimiter(4.0))
    for client in (one, other, one):
        client.gate.sent(client.gate.enter_now())
    last = other.gate.enter_now()
    assert last is not None
    assert one.gate.enter_now() is None, "one of the four is granted and not sent"
    other.gate.leave(last)
    one.gate.sent(one.gate.enter_now())
    assert (one.gate.enter_now(), other.gate.enter_now()) == (None, None)
    assert one.seconds_for(1) == pytest.approx(other.seconds_for(1), abs=0.05)
    assert one.seconds_for(1) > 0
    assert alone.gate.enter_now() is not None, "a client with a limiter of its own is not held"
