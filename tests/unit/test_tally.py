"""What a call tells of itself: its sums by hand, the events in order, and observers that raise."""

import logging
from itertools import pairwise

from rerank_async.tally import Tally
from rerank_async.values.events import Answered, Failed, Hedged, Merged, Queued, Retried, Sent, Throttled
from rerank_async.values.response import ResponseStats


def a_call_of_two_batches(tally):
    """A throttle, a retry after an answer, one after none, and a hedge whose first copy never answered."""
    call = tally.call
    tally.queued(0.0, 4, 3, 2)
    tally.sent(0.5, 0, 2, 1, 0.5)
    tally.sent(0.75, 1, 1, 1, 0.25)
    tally.answered(1.0, 0, 2, 429, 0.5, "f0")
    tally.again(Throttled(call, 1.0, 0, 2.0, 2.0))
    tally.answered(1.25, 1, 1, 503, 0.5, None)
    tally.again(Retried(call, 1.25, 1, 1, 0.1, "ServiceError"))
    tally.sent(3.0, 0, 2, 1, 2.0)
    tally.sent(3.0, 1, 1, 2, 0.0)
    tally.again(Retried(call, 3.5, 1, 2, 0.2, "ConnectionFailedError"))
    tally.hedged(3.25, 0, 0.25)
    tally.sent(3.25, 0, 2, 2, 0.0)
    tally.answered(3.5, 0, 2, 200, 0.25, "f1")
    tally.sent(4.0, 1, 1, 3, 0.125)
    tally.answered(4.25, 1, 1, 200, 0.25, "f2")
    tally.merged(4.5, 4, 4.5)


def events_of(call):
    return [
        Queued(call, 0.0, 4, 3, 2),
        Sent(call, 0.5, 0, 2, 1, 0.5),
        Sent(call, 0.75, 1, 1, 1, 0.25),
        Answered(call, 1.0, 0, 2, 429, 0.5, "f0"),
        Throttled(call, 1.0, 0, 2.0, 2.0),
        Answered(call, 1.25, 1, 1, 503, 0.5, None),
        Retried(call, 1.25, 1, 1, 0.1, "ServiceError"),
        Sent(call, 3.0, 0, 2, 1, 2.0),
        Sent(call, 3.0, 1, 1, 2, 0.0),
        Retried(call, 3.5, 1, 2, 0.2, "ConnectionFailedError"),
        Hedged(call, 3.25, 0, 0.25),
        Sent(call, 3.25, 0, 2, 2, 0.0),
        Answered(call, 3.5, 0, 2, 200, 0.25, "f1"),
        Sent(call, 4.0, 1, 1, 3, 0.125),
        Answered(call, 4.25, 1, 1, 200, 0.25, "f2"),
        Merged(call, 4.5, 4, 4.5),
    ]


def fields(stats):
    return stats._asdict()


def test_a_call_to_which_nothing_happened():
    assert fields(Tally(()).stats(0.0)) == fields(ResponseStats())


def test_the_sums_of_a_call_by_hand():
    tally = Tally(())
    a_call_of_two_batches(tally)
    events = events_of(tally.call)
    assert fields(tally.stats(4.5)) == fields(
        ResponseStats(
            requests=6,
            retries=2,
            throttled=1,
            hedges=1,
            waited=2.875,
            seconds=4.5,
            exchanges=tuple(event for event in events if isinstance(event, Answered)),
            again=tuple(event for event in events if isinstance(event, Retried | Throttled)),
        )
    )


def test_every_observer_hears_every_event_in_order():
    first, second = [], []
    tally = Tally((first.append, second.append))
    a_call_of_two_batches(tally)
    tally.failed(5.0, "x", 5.0)
    assert first == second == [*events_of(tally.call), Failed(tally.call, 5.0, "x", 5.0)]


def test_the_sums_do_not_depend_on_who_listens():
    alone, watched = Tally(()), Tally(([].append,))
    for tally in (alone, watched):
        a_call_of_two_batches(tally)

    def without_call(stats):
        events = [each._replace(call=0) for each in (*stats.exchanges, *stats.again)]
        return fields(stats) | {"exchanges": events, "again": None}

    assert without_call(alone.stats(1.0)) == without_call(watched.stats(1.0))


def test_sums_that_were_taken_do_not_change_when_more_happens():
    tally = Tally(())
    tally.sent(0.0, 0, 1, 1, 0.0)
    tally.answered(0.5, 0, 1, 429, 0.5, None)
    tally.again(Throttled(tally.call, 0.5, 0, 1.0, None))
    before = tally.stats(0.5)
    tally.sent(1.0, 1, 1, 1, 0.0)
    tally.answered(1.5, 1, 1, 500, 0.5, None)
    tally.again(Retried(tally.call, 1.5, 1, 1, 0.1, "x"))
    after = tally.stats(1.5)
    assert (before.requests, len(before.exchanges), len(before.again), before.retries) == (1, 1, 1, 0)
    assert (after.requests, len(after.exchanges), len(after.again), after.retries) == (2, 2, 2, 1)


def test_each_call_has_a_number_of_its_own():
    numbers = [Tally(()).call for _ in range(5)]
    assert all(later > earlier for earlier, later in pairwise(numbers))


def test_an_observer_that_raises_is_logged_and_the_others_hear_all_the_same(caplog):
    heard = []

    def broken(_):
        raise RuntimeError("observer's own")

    tally = Tally((broken, heard.append))
    with caplog.at_level(logging.ERROR, "rerank_async"):
        tally.sent(0.0, 0, 1, 1, 0.0)
        tally.merged(1.0, 1, 1.0)
    assert heard == [Sent(tally.call, 0.0, 0, 1, 1, 0.0), Merged(tally.call, 1.0, 1, 1.0)]
    assert [record.exc_info[0] for record in caplog.records] == [RuntimeError, RuntimeError]
    assert tally.stats(1.0).requests == 1
