"""From events to statistics, by hand."""

from rerank_async.policy.statistics import stats_of
from rerank_async.values.events import Answered, Failed, Merged, Queued, Retried, Sent, Throttled
from rerank_async.values.response import ResponseStats


def fields(stats):
    return stats._asdict()


def test_no_events_are_no_requests():
    assert fields(stats_of([])) == fields(ResponseStats())


def test_a_call_of_two_batches_with_a_throttle_and_a_retry():
    refused = Answered(1, 1.0, 0, 2, 429, 0.5, "f0")
    broken = Answered(1, 1.25, 1, 1, 503, 0.5, None)
    first = Answered(1, 3.5, 0, 2, 200, 0.5, "f1")
    second = Answered(1, 4.25, 1, 1, 200, 0.25, "f2")
    events = [
        Queued(1, 0.0, 4, 3, 2),
        Sent(1, 0.5, 0, 2, 1, 0.5),
        Sent(1, 0.75, 1, 1, 1, 0.25),
        refused,
        Throttled(1, 1.0, 0, 2.0, 2.0),
        broken,
        Retried(1, 1.25, 1, 1, 0.1, "ServiceError"),
        Sent(1, 3.0, 0, 2, 1, 2.0),
        Sent(1, 3.0, 1, 1, 2, 0.0),
        Retried(1, 3.5, 1, 2, 0.2, "ConnectionFailedError"),  # no answer came to this one
        first,
        Sent(1, 4.0, 1, 1, 3, 0.125),
        second,
        Merged(1, 4.5, 4, 4.5),
    ]
    assert fields(stats_of(events)) == fields(
        ResponseStats(
            requests=5,
            retries=2,
            throttled=1,
            hedges=0,
            waited=2.875,
            seconds=4.5,
            exchanges=(refused, broken, first, second),
        )
    )


def test_the_sums_do_not_change_when_more_happens_afterwards():
    events = [Sent(1, 0.0, 0, 1, 1, 0.0), Answered(1, 0.5, 0, 1, 200, 0.5, None)]
    before = stats_of(events)
    events += [Sent(1, 1.0, 1, 1, 1, 0.0), Answered(1, 1.5, 1, 1, 500, 0.5, None), Failed(1, 2.0, "x", 2.0)]
    after = stats_of(events)
    assert (before.requests, len(before.exchanges)) == (1, 1)
    assert (after.requests, len(after.exchanges)) == (2, 2)
