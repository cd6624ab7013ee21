"""From events to statistics, by hand."""

from attrs import asdict

from rerank_async.policy.statistics import Statistics
from rerank_async.values.events import Answered, Failed, Merged, Queued, Retried, Sent, Throttled
from rerank_async.values.response import ExchangeStats, ResponseStats


def test_no_events_are_no_requests():
    assert asdict(Statistics().stats()) == asdict(ResponseStats())


def test_a_call_of_two_batches_with_a_throttle_and_a_retry():
    statistics = Statistics()
    for event in [
        Queued(1, 0.0, 4, 3, 2),
        Sent(1, 0.5, 0, 2, 1, 0.5),
        Sent(1, 0.75, 1, 1, 1, 0.25),
        Answered(1, 1.0, 0, 2, 429, 0.5, "f0"),
        Throttled(1, 1.0, 0, 2.0, 2.0),
        Answered(1, 1.25, 1, 1, 503, 0.5, None),
        Retried(1, 1.25, 1, 1, 0.1, "ServiceError"),
        Sent(1, 3.0, 0, 2, 1, 2.0),
        Sent(1, 3.0, 1, 1, 2, 0.0),
        Retried(1, 3.5, 1, 2, 0.2, "ConnectionFailedError"),  # no answer came to this one
        Answered(1, 3.5, 0, 2, 200, 0.5, "f1"),
        Sent(1, 4.0, 1, 1, 3, 0.125),
        Answered(1, 4.25, 1, 1, 200, 0.25, "f2"),
        Merged(1, 4.5, 4, 4.5),
    ]:
        statistics(event)
    assert asdict(statistics.stats()) == asdict(
        ResponseStats(
            requests=5,
            retries=2,
            throttled=1,
            hedges=0,
            waited=2.875,
            seconds=4.5,
            exchanges=(
                ExchangeStats(0, 2, 429, 0.5, "f0"),
                ExchangeStats(1, 1, 503, 0.5, None),
                ExchangeStats(0, 2, 200, 0.5, "f1"),
                ExchangeStats(1, 1, 200, 0.25, "f2"),
            ),
        )
    )


def test_the_sums_so_far_can_be_read_at_any_time_and_do_not_change_afterwards():
    statistics = Statistics()
    statistics(Sent(1, 0.0, 0, 1, 1, 0.0))
    before = statistics.stats()
    statistics(Sent(1, 1.0, 1, 1, 1, 0.0))
    statistics(Failed(1, 2.0, "x", 2.0))
    assert (before.requests, statistics.stats().requests) == (1, 2)
