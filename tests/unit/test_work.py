"""What a call has still to send: batches cut when one may go, those that go again first, and what has no score."""

import json

import pytest
from support.gates import gate_of
from support.wire import Service

from rerank_async.work import Work


def work_of(texts, **options):
    service = Service()
    top_n, whole = options.pop("top_n", None), options.pop("whole", False)
    job = service.job(texts, **{"adaptive": False, "max_inputs": 3} | options)._replace(top_n=top_n, whole=whole)
    return Work(job), service.gate


def texts_in(batch):
    return [each["text"] for each in json.loads(batch.body)["inputs"]]


def drained(work, gate):
    batches = []
    while (batch := work.take(len(batches), gate)) is not None:
        batches.append(batch)
    return batches


def test_texts_are_cut_in_their_order_into_full_batches():
    work, gate = work_of("abcdefgh")
    assert work.has_more()
    batches = drained(work, gate)
    assert [texts_in(batch) for batch in batches] == [list("abc"), list("def"), list("gh")]
    assert [list(batch.members) for batch in batches] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert [(batch.number, batch.ticket) for batch in batches] == [(0, 0), (1, 1), (2, 2)]
    assert not work.has_more()
    assert work.take(9, gate) is None


def test_what_goes_again_goes_first_by_number_and_keeps_its_ticket():
    work, gate = work_of("abcdefgh")
    first, second = work.take(10, gate), work.take(11, gate)
    assert work.ticket is None
    work.put_back(second)
    work.put_back(first)
    assert work.ticket == 10
    assert [batch.number for batch in drained(work, gate)] == [0, 1, 2]
    assert (first.ticket, second.ticket) == (10, 11)


def test_what_is_dropped_is_not_sent_and_those_that_were_to_go_again_come_back():
    work, gate = work_of("abcdefgh")
    first = work.take(0, gate)
    work.put_back(first)
    assert work.drop() == [first]
    assert not work.has_more()
    assert work.take(1, gate) is None
    assert work.drop() == []


def test_when_the_call_has_failed_there_is_nothing_to_take_and_what_was_to_go_again_still_comes_back():
    work, gate = work_of("abcdefgh")
    first, second = work.take(0, gate), work.take(1, gate)
    work.put_back(second)
    work.stop()
    assert not work.has_more()
    assert work.ticket is None
    assert work.take(2, gate) is None
    work.put_back(first)
    work.stop()
    assert work.drop() == [first, second]


def test_failures_and_what_is_unscored_are_told_by_the_caller_s_indices():
    work, gate = work_of(["a", "b", "a", "c", "b", "a", "d"])
    batch = work.take(0, gate)
    assert texts_in(batch) == ["a", "b", "c"]
    assert work.unscored() == [0, 1, 2, 3]
    error = ValueError("x")
    work.fail((1, 0), error)
    (failure,) = work.failures
    assert (failure.indices, failure.error) == ((0, 1, 2, 4, 5), error)
    assert work.unscored() == [2, 3]
    work.done.append(((2,), None))
    assert work.unscored() == [3]
    assert work.indices((3, 2)) == [3, 6]


def test_any_positions_can_be_made_a_batch():
    work, _ = work_of("abcdef")
    batch = work.batch((1, 4, 5), 7)
    assert (texts_in(batch), batch.ticket, batch.number) == (["b", "e", "f"], 7, 0)
    assert work.batch(range(6), 8).number == 1
    assert work.texts(range(2, 4)) == ["c", "d"]


@pytest.mark.parametrize(
    ("top_n", "whole", "pushed"),
    [(None, False, None), (1, False, 2), (2, False, 2), (3, False, None), (9, False, None), (2, True, None)],
)
def test_top_n_is_pushed_down_where_it_cuts_something_off(top_n, whole, pushed):
    work, gate = work_of("abc", top_n=top_n, whole=whole)
    assert work.take(0, gate).top_n == pushed


# Sizes that fit the moment


def many(count):
    return [f"text {number}" for number in range(count)]


def sizes(batches):
    return [len(batch.members) for batch in batches]


def test_an_idle_gate_has_a_list_cut_finer_and_evenly():
    work, gate = work_of(many(1000), adaptive=True, max_inputs=1000)
    cut = sizes(drained(work, gate))
    assert sum(cut) == 1000
    assert len(cut) > 1
    assert max(cut) - min(cut) <= 1


def test_where_somebody_waits_batches_are_full():
    work, _ = work_of(many(2500), adaptive=True, max_inputs=1000)
    gate = FullHouse()
    assert sizes(drained(work, gate)) == [1000, 1000, 500]


class FullHouse:
    """A gate at which somebody waits."""

    queued = 1

    def free(self):
        return 0

    def lanes(self):
        return 0


def test_where_permits_are_short_a_list_takes_no_more_than_half_of_them():
    work, _ = work_of(many(1000), adaptive=True, max_inputs=1000)
    gate, _ = gate_of(8.0)
    batches = []
    while work.has_more():
        gate.sent(gate.enter_now())  # None if it took more permits than there are
        batches.append(work.take(len(batches), gate))
    assert 1 < len(batches) <= 4
    assert gate.free() >= 4


def test_a_small_list_is_one_batch():
    work, gate = work_of(many(10), adaptive=True, max_inputs=1000)
    assert sizes(drained(work, gate)) == [10]


def test_the_plan_of_the_beginning_holds_when_the_service_turns_out_slower():
    work, gate = work_of(many(5_000), adaptive=True, max_inputs=1000)
    planned = len(drained(*work_of(many(5_000), adaptive=True, max_inputs=1000)))
    first = work.take(0, gate)
    latency = work._job.terms.latency
    for inputs in (100, 1000):
        for _ in range(32):
            latency.observe(inputs, 0.02 + 0.002 * inputs)  # ten times what was expected of an input
    later, _ = work_of(many(5_000), adaptive=True, max_inputs=1000)
    later._job = later._job._replace(terms=work._job.terms)
    assert len(drained(later, gate)) > 1.5 * planned
    assert len([first, *drained(work, gate)]) == planned
