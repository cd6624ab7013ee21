"""The limiter at simulated instances, on a hand-turned clock: what is asked of it for each kind of limit and source."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.instance import BOTH, HEADER, KINDS, NEITHER, TEXT, Client, Instance

from rerank_async.policy.limiting import LearningLimiter

each_kind = pytest.mark.parametrize("kind", KINDS)
each_seed = pytest.mark.parametrize("seed", range(6))

LATENCY, JITTER = 0.1, 0.01


def instance(kind, requests, **settings):
    return Instance(kind, requests, **{"latency": LATENCY, "jitter": JITTER, **settings})


# Told the limit


@each_kind
@each_seed
@pytest.mark.parametrize("told", [NEITHER, HEADER, TEXT], ids=["silent", "header", "text"])
def test_told_the_limit_240_calls_take_no_longer_than_they_must(kind, seed, told):
    service = instance(kind, 8, told=told, seed=seed)
    client = Client(service, calls=240)
    service.run(100.0)
    assert len(client.done_at) == 240
    assert service.refused() <= 1
    assert client.done_at[-1] <= 1.03 * ((240 - 8) / 8 + LATENCY + 2 * JITTER)
    assert service.most_in_a_window() <= 8 + 1


# Headers


@each_kind
@pytest.mark.parametrize("requests", [5, 20])
@pytest.mark.parametrize("option", [8.0, None], ids=["8", "none"])
@pytest.mark.parametrize("told", [HEADER, BOTH], ids=["header", "header and text"])
def test_a_header_is_taken_at_once(kind, requests, option, told):
    service = instance(kind, requests, told=told)
    Client(service, LearningLimiter(option))
    service.run(62.0)
    assert service.used(2.0, 62.0) >= 0.97
    assert service.refused() <= 8


@each_kind
@each_seed
def test_a_limit_that_halves_and_doubles_is_followed_by_the_header(kind, seed):
    service = instance(kind, 8, told=HEADER, seed=seed)
    client = Client(service)
    service.run(20.3)
    service.set(4)
    service.run(23.3)
    assert client.limiter.rate == pytest.approx(4.0)
    service.run(63.3)
    assert service.refused() <= 8 + 8, "8, and at the halving the surplus of a window"
    assert service.used(23.3, 63.3) >= 0.95
    service.set(8)
    service.run(66.3)
    assert client.limiter.rate == pytest.approx(8.0)
    service.run(126.3)
    assert service.refused() <= 8 + 8
    assert service.used(66.3, 126.3) >= 0.95


# The words of a 429


@each_kind
@each_seed
@pytest.mark.parametrize("option", [8.0, None], ids=["8", "none"])
def test_a_limit_that_halves_and_doubles_is_followed_by_the_words(kind, seed, option):
    service = instance(kind, 8, told=TEXT, seed=seed)
    client = Client(service, LearningLimiter(option))
    service.run(60.3)
    service.set(4)
    service.run(63.3)
    assert client.limiter.rate == pytest.approx(4.0)
    service.run(123.3)
    assert service.used(63.3, 123.3) >= 0.95
    assert probes(service, 63.3, 123.3) <= 2, "one in 30 s"
    service.set(8)
    service.run(183.3)
    assert client.limiter.rate >= 0.97 * 8
    service.run(243.3)
    assert service.used(183.3, 243.3) >= 0.95
    assert probes(service, 183.3, 243.3) <= 2


def probes(service, since, until):
    return service.refused(since, until)


@each_kind
@each_seed
@pytest.mark.parametrize(
    ("requests", "option"), [(5, 8.0), (5, None), (8, None), (20, None)], ids=["5 of 8", "5", "8", "20"]
)
def test_without_any_word_the_limit_is_found(kind, seed, requests, option):
    service = instance(kind, requests, told=NEITHER, seed=seed)
    Client(service, LearningLimiter(option))
    service.run(70.0)
    assert service.used(10.0, 70.0) >= 0.8
    assert service.refused_part(10.0, 70.0) <= 0.05


# Stray 429s and storms


@each_kind
@each_seed
@pytest.mark.parametrize(
    "headers",
    [None, {"x-requests-limit-rate": "0", "x-requests-limit-remaining": "0"}],
    ids=["silent", "a header that says 0"],
)
def test_stray_429s_cost_little(kind, seed, headers):
    service = instance(
        kind, 8, told=NEITHER if headers is None else HEADER, stray=0.02, stray_headers=headers, seed=seed
    )
    client = Client(service, calls=500)
    service.run(200.0)
    assert len(client.done_at) == 500
    assert client.done_at[-1] <= ((500 - 8) / 8 + LATENCY) / 0.85


@settings(max_examples=40)
@given(
    kind=st.sampled_from(KINDS),
    told=st.sampled_from([HEADER, TEXT, BOTH, NEITHER]),
    seed=st.integers(0, 1000),
    storms=st.lists(st.tuples(st.floats(0.5, 20.0), st.floats(0.0, 1.0), st.integers(1, 20)), min_size=1, max_size=3),
)
def test_after_any_storm_the_limit_is_used_again(kind, told, seed, storms):
    service = instance(kind, 8, told=told, seed=seed)
    Client(service)
    now = 0.0
    for seconds, stray, requests in storms:
        service.set(requests)
        service.stray = stray
        now += seconds
        service.run(now)
    service.set(8)
    service.stray = 0.0
    service.run(now + 150.0)
    assert service.used(now + 120.0, now + 150.0) >= 0.95


# Several clients that know nothing of one another


@each_kind
@each_seed
def test_four_clients_share_the_limit_fairly(kind, seed):
    service = instance(kind, 8, seed=seed)
    begins = random.Random(seed)
    clients = [Client(service, begins=begins.random()) for _ in range(4)]
    service.run(70.0)
    assert service.used(10.0, 70.0) >= 0.85
    assert service.refused_part(10.0, 70.0) <= 0.05
    assert min(service.passed(10.0, 70.0, client) for client in clients) >= 60.0 * 8 / 4 / 2


@each_kind
def test_workers_with_a_fixed_share_each_meet_no_429(kind):
    service = instance(kind, 8)
    for i in range(4):
        Client(service, LearningLimiter(8.0, share=0.25), begins=i / 7)
    service.run(60.0)
    assert service.refused() == 0
    assert service.used(2.0, 60.0) >= 0.97


@each_kind
def test_the_simulation_refuses_a_client_that_keeps_no_pace(kind):
    """The instance is a judge only if it says no: unpaced clients are refused most of the time."""
    service = instance(kind, 8)
    Client(service, Careless(), calls=200)
    service.run(20.0)
    assert service.refused() > service.passed()
    assert service.passed() <= 8 * 22


class Careless(LearningLimiter):
    """Hears nothing and waits for nothing."""

    def __init__(self):
        super().__init__(float("inf"))

    def throttled(self, now, sent_at, retry_after, heard):
        return 0.0
