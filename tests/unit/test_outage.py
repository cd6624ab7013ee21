"""A service that refuses connections: when an outage begins and ends, and when the next request may go."""

import math

from rerank_async.policy.outage import PROBE_EVERY, Outage


def test_one_probe_a_second():
    assert PROBE_EVERY == 1.0


def test_at_first_there_is_none_and_nothing_ever_answered():
    outage = Outage()
    assert (outage.lasts, outage.answered_at, outage.wait(5.0), outage.seconds(5.0)) == (False, -math.inf, 0.0, 0.0)


def test_it_begins_with_the_first_refusal_and_the_others_say_nothing_new():
    outage = Outage()
    assert outage.refused(1.0, 1.5)
    assert not outage.refused(1.0, 1.6)
    assert not outage.refused(2.5, 2.6)
    assert (outage.lasts, outage.seconds(4.0)) == (True, 2.5)


def test_a_second_lies_between_probes():
    outage = Outage()
    outage.refused(1.0, 1.5)
    assert outage.wait(1.5) == 1.0
    assert outage.wait(2.25) == 0.25
    assert outage.wait(2.5) == 0.0
    assert outage.wait(9.0) == 0.0
    outage.granted(9.0)
    assert outage.wait(9.25) == 0.75


def test_any_answer_ends_it():
    outage = Outage()
    outage.refused(1.0, 1.5)
    assert outage.answered(3.0)
    assert (outage.lasts, outage.wait(3.0), outage.seconds(9.0), outage.answered_at) == (False, 0.0, 0.0, 3.0)
    assert not outage.answered(4.0), "there was none"


def test_a_request_that_began_before_the_last_answer_says_nothing():
    outage = Outage()
    outage.answered(3.0)
    assert not outage.refused(2.9, 3.5)
    assert not outage.lasts
    assert outage.refused(3.0, 3.5)


def test_the_next_one_is_counted_from_its_own_beginning():
    outage = Outage()
    outage.refused(1.0, 1.0)
    outage.answered(50.0)
    assert outage.refused(60.0, 61.0)
    assert outage.seconds(63.0) == 2.0
    assert outage.wait(61.5) == 0.5
