"""Whose failure an error is, when an outage is one, and whether a difference is chance."""

import asyncio
import inspect
import itertools
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import FakeClock, settle

from rerank_async import bulk, errors
from rerank_async.bulk.errors import JobStoppedError
from rerank_async.bulk.events import Outage, OutageOver
from rerank_async.bulk.outage import Watch
from rerank_async.bulk.pulse import Pulse
from rerank_async.bulk.significance import randomisation_test
from rerank_async.bulk.verdicts import Verdict, code_of, trace_of, verdict
from rerank_async.values.events import Answered, Merged, Queued, Retried, Sent, Throttled

# Verdicts

QUERY, JOB, MOMENT = Verdict.QUERY, Verdict.JOB, Verdict.MOMENT


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("AuthenticationError", JOB),
        ("BadAnswerError", MOMENT),
        ("BadRequestError", QUERY),
        ("CertificateError", JOB),
        ("ClientClosedError", JOB),
        ("ConnectionFailedError", MOMENT),
        ("DeadlineExceededError", MOMENT),
        ("DecodeError", MOMENT),
        ("InputTooLongError", QUERY),
        ("IntegrityError", MOMENT),
        ("InvalidArgumentError", QUERY),
        ("InvalidTypeError", QUERY),
        ("ModelNotSupportedError", JOB),
        ("PermissionDeniedError", JOB),
        ("QuotaExceededError", JOB),
        ("RateLimitError", MOMENT),
        ("RedirectError", JOB),
        ("RequestTimeoutError", MOMENT),
        ("ServiceError", MOMENT),
    ],
)
def test_whose_failure_each_error_is(name, right):
    assert verdict(getattr(errors, name)("words")) is right


def test_a_connection_that_cannot_come_about_is_the_jobs():
    assert verdict(errors.ConnectionFailedError("no TLS there", final=True)) is JOB


def test_what_is_no_error_of_ours_is_the_jobs():
    assert verdict(MemoryError()) is JOB


def test_codes_and_traces():
    assert code_of(errors.ServiceError("x", code="c")) == "c"
    assert code_of(errors.ServiceError("x")) == "ServiceError"
    assert trace_of(errors.ServiceError("x", trace="t")) == "t"
    assert trace_of(ValueError("x")) is None


# Outages


class Service:
    """Answers the tiny request as it is told to, and then well."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.asked = 0

    async def ask(self):
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)


class Told:
    def __init__(self, service, max_outage=600.0, **more):
        self.clock, self.events, self.stops, self.settled = FakeClock(), [], [], []

        async def settled(outage):
            self.settled.append(outage)

        self.watch = Watch(
            service.ask,
            settled=settled,
            tell=self.events.append,
            stop=self.stops.append,
            clock=self.clock,
            max_outage=max_outage,
            **more,
        )


DOWN = errors.ConnectionFailedError("refused")


async def test_where_the_service_answers_it_was_no_outage():
    service = Service()
    told = Told(service)
    told.watch.suspect()
    assert not told.watch.clear.is_set()
    await settle()
    assert (told.settled, told.events, told.watch.outages, told.watch.clear.is_set()) == ([False], [], 0, True)


async def test_a_refusal_of_the_tiny_request_is_an_answer():
    told = Told(Service(errors.BadRequestError("no", status=400)))
    told.watch.suspect()
    await settle()
    assert told.settled == [False]


async def test_an_outage_is_asked_about_after_one_second_then_two_then_four():
    service = Service(DOWN, DOWN, DOWN)
    told = Told(service)
    told.watch.suspect()
    await settle()
    assert service.asked == 1
    for seconds, asked in [(0.9, 1), (0.2, 2), (1.8, 2), (0.2, 3), (3.8, 3), (0.2, 4)]:
        await told.clock.advance(seconds)
        assert service.asked == asked
    assert [type(event) for event in told.events] == [Outage, Outage, Outage, OutageOver]
    assert told.events[-1].seconds == pytest.approx(7.0)
    assert (told.settled, told.watch.outages, told.watch.clear.is_set()) == ([True], 1, True)


async def test_after_the_longest_outage_the_job_stops():
    told = Told(Service(*[DOWN] * 1000), max_outage=100.0)
    told.watch.suspect()
    await told.clock.advance(99)
    assert told.stops == []
    await told.clock.advance(2)
    (stop,) = told.stops
    assert isinstance(stop, JobStoppedError)
    assert stop.reason is DOWN
    assert "has not answered for 100 s" in str(stop)
    assert told.settled == []


async def test_a_retry_after_beyond_the_longest_outage_stops_the_job_at_once():
    told = Told(Service(errors.RateLimitError("later", status=429, retry_after=3600.0)))
    told.watch.suspect()
    await settle()
    assert len(told.stops) == 1


async def test_a_retry_after_within_it_is_kept():
    service = Service(errors.RateLimitError("later", status=429, retry_after=50.0))
    told = Told(service)
    told.watch.suspect()
    await told.clock.advance(49)
    assert service.asked == 1
    await told.clock.advance(2)
    assert service.asked == 2


async def test_a_credential_that_dies_meanwhile_stops_the_job():
    dead = errors.AuthenticationError("expired", status=401)
    told = Told(Service(DOWN, dead))
    told.watch.suspect()
    await told.clock.advance(2)
    assert [stop.reason for stop in told.stops] == [dead]


async def test_what_fails_while_it_is_settled_is_asked_about_too():
    service = Service()
    told = Told(service)

    async def settled(outage):
        told.settled.append(outage)
        if len(told.settled) == 1:
            told.watch.suspect()

    told.watch._settled = settled
    told.watch.suspect()
    await settle()
    assert (service.asked, len(told.settled), told.watch.clear.is_set()) == (2, 2, True)


async def test_an_error_while_settling_stops_the_job_rather_than_holding_it_for_ever():
    told = Told(Service())
    broken = OSError("full")

    async def settled(outage):
        raise broken

    told.watch._settled = settled
    told.watch.suspect()
    await settle()
    assert told.stops == [broken]
    assert told.watch.clear.is_set()


async def test_closing_ends_the_waiting():
    told = Told(Service(*[DOWN] * 10))
    told.watch.suspect()
    await settle()
    await told.watch.aclose()
    await told.watch.aclose()
    assert told.watch.clear.is_set()
    assert told.clock.pending == []
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


# What the client meets


SENT = Sent(1, 0.0, 0, 5, 1, 0.0)
GOOD = Merged(1, 0.0, 5, 0.1)
BROKEN = Retried(2, 0.0, 0, 1, 0.1, "ConnectionFailedError")


def answered(status, call=2):
    return Answered(call, 0.0, 0, 5, status, 0.1, None)


@pytest.mark.parametrize(
    ("events", "failing_since"),
    [
        ([GOOD], None),
        ([BROKEN], 1),
        ([BROKEN, BROKEN], 1),
        ([BROKEN, GOOD], None),
        ([BROKEN, GOOD, BROKEN], 3),
        ([answered(503), BROKEN], 2),
        ([BROKEN, answered(503)], 1),
        ([BROKEN, answered(400)], None),
        ([BROKEN, answered(200)], 1),
        ([answered(401), BROKEN], None),
        ([answered(401, call=3), BROKEN], 2),
        ([BROKEN, Throttled(2, 0.0, 0, 1.0, None)], None),
        ([BROKEN, Merged(1, 0.0, 0, 0.0)], 1),
        ([BROKEN, Queued(1, 0.0, 5, 5, 1), SENT], 1),
    ],
)
def test_since_when_the_service_fails(events, failing_since):
    pulse = Pulse()
    pulse.hear(SENT, 0)
    for now, event in enumerate(events, start=1):
        pulse.hear(event, now)
    assert pulse.failing_since == failing_since


def test_before_the_first_request_it_is_the_token_that_is_missing():
    pulse = Pulse()
    pulse.hear(Queued(1, 0.0, 5, 5, 1), 7)
    pulse.hear(Queued(2, 0.0, 5, 5, 1), 8)
    assert pulse.failing_since == 7
    pulse.hear(SENT, 9)
    assert pulse.failing_since is None


async def test_retries_without_an_answer_in_between_are_asked_about_within_seconds():
    service = Service(*[DOWN] * 100)
    told = Told(service, max_outage=10.0)
    for event in (SENT, GOOD, BROKEN):
        told.watch.hear(event)
    for _ in range(3):
        await told.clock.advance(0.6)
        told.watch.hear(BROKEN)
    assert (service.asked, told.watch.clear.is_set()) == (0, True)
    await told.clock.advance(0.3)
    assert (service.asked, told.watch.clear.is_set()) == (1, False)
    assert [round(event.seconds, 6) for event in told.events] == [2.0], "it counts from the first failure"
    await told.clock.advance(7.8)
    assert told.stops == []
    await told.clock.advance(0.2)
    (stop,) = told.stops
    assert "has not answered for 10 s" in str(stop)


async def test_faults_while_others_are_answered_are_no_reason_to_ask():
    service = Service(*[DOWN] * 100)
    told = Told(service)
    for _ in range(50):
        for event in (SENT, BROKEN):
            told.watch.hear(event)
        await told.clock.advance(1.9)
        told.watch.hear(GOOD)
        await told.clock.advance(1.9)
    assert (service.asked, told.events, told.clock.pending) == (0, [], [])


class Silent:
    """Never answers the tiny request."""

    async def ask(self):
        await asyncio.Event().wait()


async def test_a_tiny_request_without_an_answer_is_waited_for_for_seconds():
    told = Told(Silent(), max_outage=8.0)
    told.watch.suspect()
    await told.clock.advance(4.9)
    assert told.events == []
    await told.clock.advance(0.2)
    assert "no answer to a tiny request within 5 s" in str(told.events[0].error)
    await told.clock.advance(3)
    assert len(told.stops) == 1, "after 8 s, and not after 11"


async def test_what_is_known_to_have_failed_is_told_in_the_place_of_no_answer():
    told = Told(Silent(), max_outage=1.0, known=lambda: DOWN)
    told.watch.suspect()
    await told.clock.advance(1.1)
    (stop,) = told.stops
    assert stop.reason is DOWN
    assert str(stop).endswith("so the job stops: refused")


async def test_a_tiny_request_that_waits_while_others_are_answered_says_nothing():
    told = Told(Silent())
    told.watch.suspect()
    await told.clock.advance(3)
    told.watch.hear(GOOD)
    await told.clock.advance(3)
    assert (told.events, told.settled) == ([], [False])


async def test_any_answer_ends_the_wait_for_the_next_question():
    service = Service(DOWN, DOWN, DOWN, DOWN)
    told = Told(service)
    told.watch.suspect()
    await told.clock.advance(8)
    assert service.asked == 4
    told.watch.hear(GOOD)
    await settle()
    assert (service.asked, told.settled, type(told.events[-1])) == (5, [True], OutageOver)


async def test_closed_it_asks_no_more():
    service = Service()
    told = Told(service)
    told.watch.hear(SENT)
    told.watch.hear(BROKEN)
    await told.watch.aclose()
    told.watch.suspect()
    await told.clock.advance(10)
    assert (service.asked, told.clock.pending) == (0, [])


# Significance


def exact(differences):
    signed = [each for each in differences if each]
    sums = [
        abs(sum(sign * each for sign, each in zip(signs, signed, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(signed))
    ]
    bound = abs(sum(signed)) - 1e-9
    return sum(each >= bound for each in sums) / len(sums)


@pytest.mark.parametrize(
    ("differences", "p"),
    [([], 1.0), ([0.0, 0.0], 1.0), ([1.0], 1.0), ([1.0, 1.0, 1.0], 0.25), ([1.0, -1.0], 1.0), ([3.0, 1.0, 0.0], 0.5)],
)
def test_p_worked_out_by_hand(differences, p):
    assert randomisation_test(differences) == p


@given(st.lists(st.integers(-8, 8).map(lambda number: number / 8), max_size=11))
def test_few_differences_are_tried_in_every_way(differences):
    assert randomisation_test(differences) == pytest.approx(exact(differences))


@given(st.lists(st.integers(1, 8).map(float), min_size=12, max_size=12))
def test_random_ones_come_near_the_exact_p(differences):
    signed = [each if place % 3 else -each for place, each in enumerate(differences)]
    # The standard error of a share of 2,000 draws is at most 0.012.
    assert randomisation_test(signed, 2000) == pytest.approx(exact(signed), abs=0.06)


def test_many_differences_on_one_side_are_no_chance_and_the_same_p_each_time():
    differences = [0.1] * 200 + [-0.1] * 100
    assert randomisation_test(differences) == randomisation_test(differences) < 0.001
    assert randomisation_test([0.1, -0.1] * 150) == 1.0


# The public face

CLASSES = [getattr(bulk, name) for name in bulk.__all__ if inspect.isclass(getattr(bulk, name))]


def test_all_is_sorted_and_complete():
    def place(name):
        return (1 if name[0].isupper() else 2, name)

    assert bulk.__all__ == sorted(set(bulk.__all__), key=place)
    shown = {name for name, value in vars(bulk).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert shown == set(bulk.__all__)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_is_documented(kind):
    assert len((vars(kind).get("__doc__") or "").split()) >= 3
    for field in getattr(kind, "_fields", ()):
        assert f"{field}: " in kind.__doc__ or kind.__name__ == "QueryChange", field


@pytest.mark.parametrize(
    "error",
    [
        bulk.SourceError("words"),
        bulk.BadItemError("words", code="c", line=3),
        bulk.JobError("words"),
        bulk.OutputError("words"),
        JobStoppedError("words", reason=errors.QuotaExceededError("used up", status=403)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_pickles(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), "words")
    assert {name: str(value) for name, value in vars(again).items()} == {
        name: str(value) for name, value in vars(error).items()
    }
    assert isinstance(again, errors.RerankError)
