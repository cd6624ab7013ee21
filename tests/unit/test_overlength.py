"""The search for texts that are too long: how many requests it takes, and that nothing is lost or named wrongly."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async.errors import InputTooLongError
from rerank_async.policy.overlength import MAX_REQUESTS, Isolation, failures_of, lengths_of


class Searched:
    """A search played against a service that refuses what holds one of ``over``; answers come in random order."""

    def __init__(self, lengths, over, batches=None, *, seed=0, told=True, fails=(), **options):
        over, order = set(over), Random(seed)
        isolation = Isolation(lengths, **options)
        batches = [tuple(range(len(lengths)))] if batches is None else batches
        waiting = [(batch, True) for batch in batches]
        self.requests, self.scored, self.lost, self.rounds = 0, [], [], 0
        while waiting:
            part, whole = waiting.pop(order.randrange(len(waiting)))
            assert list(part) == sorted(set(part))
            if not whole:
                self.requests += 1
            if over & set(part):
                more = isolation.split(part)
            elif not whole and self.requests in fails:
                self.lost.extend(part)
                more = isolation.dropped(part)
            else:
                self.scored.extend(part)
                more = isolation.scored(part) if told or not whole else []
            assert all(more), "a part without members"
            waiting.extend((each, False) for each in more)
        self.over, self.unscored = isolation.over(), isolation.unscored()
        assert set(self.over) <= over, "named wrongly"
        everything = [*self.scored, *self.over, *self.unscored, *self.lost]
        assert sorted(everything) == sorted(index for batch in batches for index in batch), "lost, or there twice"


def test_a_batch_that_is_one_text_needs_no_request():
    isolation = Isolation([10, 20, 30])
    assert isolation.split((1,)) == []
    assert isolation.over() == (1,)
    assert isolation.unscored() == ()


def test_by_hand_the_longest_of_four():
    # By length: 3, 1, 0, 2.
    isolation = Isolation([30, 20, 40, 10])
    assert isolation.split((0, 1, 2, 3)) == [(1, 3)]
    assert isolation.scored((1, 3)) == [(0,)]  # so one of 0 and 2 is too long
    assert isolation.scored((0,)) == []  # so it is 2, which nobody needs to ask for
    assert isolation.over() == (2,)
    assert isolation.unscored() == ()


def test_by_hand_a_short_one_of_four():
    isolation = Isolation([30, 20, 40, 10])
    assert isolation.split((0, 1, 2, 3)) == [(1, 3)]
    assert isolation.split((1, 3)) == [(3,)]  # 0 and 2 are put aside
    assert isolation.scored((3,)) == [(0, 2)]  # 1 is too long; what was put aside is tried
    assert isolation.scored((0, 2)) == []
    assert isolation.over() == (1,)


def test_the_longest_of_a_thousand_costs_ten_requests():
    found = Searched(range(1000), [999])
    assert (found.requests, found.over, found.unscored) == (10, (999,), ())


@pytest.mark.parametrize("place", [0, 1, 499, 500, 501, 750, 998])
def test_one_of_a_thousand_wherever_its_length_puts_it(place):
    found = Searched(range(1000), [place])
    assert found.requests <= 20
    assert found.over == (place,)
    assert len(found.scored) == 999


@given(st.data())
def test_one_of_up_to_a_thousand_of_any_lengths_is_found_and_all_others_scored(data):
    count = data.draw(st.integers(1, 1000))
    seed = data.draw(st.integers(0, 10**6))
    lengths = Random(seed).choices(range(1, data.draw(st.sampled_from([1, 3, 100, 5000])) + 1), k=count)
    place = data.draw(st.integers(0, count - 1))
    found = Searched(lengths, [place], seed=seed, told=False)
    assert found.requests <= 2 * (count - 1).bit_length() <= 20
    assert found.over == (place,)
    assert len(found.scored) == count - 1


def test_fifty_of_a_thousand_cost_what_is_allowed_and_every_shorter_text_is_scored():
    lengths = list(range(1000))
    Random(3).shuffle(lengths)
    found = Searched(lengths, [index for index in range(1000) if lengths[index] >= 950])
    assert found.requests == MAX_REQUESTS == 39
    assert len(found.scored) == 950
    assert len(found.over) + len(found.unscored) == 50
    assert found.over


def test_twenty_refused_batches_share_what_the_first_one_found():
    random = Random(5)
    lengths = [random.randrange(100, 3000) for _ in range(20_000)]
    over = [index for index in range(20_000) if lengths[index] > 2900]
    for seed in range(5):
        found = Searched(lengths, over, [tuple(range(at, at + 1000)) for at in range(0, 20_000, 1000)], seed=seed)
        assert found.requests <= 39
        assert len(found.scored) >= 0.95 * (20_000 - len(over))


def test_batches_that_were_scored_stay_out_of_it():
    batches = [tuple(range(100)), tuple(range(100, 200))]
    found = Searched(range(200), [150], batches)
    assert found.requests <= 14
    assert len(found.scored) == 199


def test_a_second_batch_waits_until_the_first_search_is_over():
    isolation = Isolation(range(8))
    assert isolation.split((0, 1, 2, 3)) == [(0, 1)]
    assert isolation.split((4, 5, 6, 7)) == []
    assert isolation.scored((0, 1)) == [(2,)]
    # 3 is too long; the second batch has only longer ones, and is halved.
    assert isolation.scored((2,)) == [(4, 5)]


def test_when_requests_run_short_the_batch_with_the_most_to_score_goes_first():
    lengths = [1, 9, 2, 8, 9, 9, 3, 4, 5, 6, 7, 9]
    isolation = Isolation(lengths, max_requests=2)
    assert isolation.split((0, 1)) == [(0,)]
    assert isolation.split((2, 3, 4, 5)) == []
    assert isolation.split((6, 7, 8, 9, 10, 11)) == []
    # 1 is too long, at a length of 9; 0 was scored at 1. Below the middle of the two, 5, the second batch has one text to
    # try, the third one two; there is one request left.
    assert isolation.scored((0,)) == [(6, 7)]
    assert isolation.requests == 0
    assert isolation.scored((6, 7)) == []
    assert isolation.unscored() == (2, 3, 4, 5, 8, 9, 10, 11)


LENGTHS = {
    "two kinds": lambda random: 3000 if random.random() < 0.01 else random.randint(150, 250),
    "normal": lambda random: max(1, int(random.gauss(900, 250))),
    "even": lambda random: random.randint(10, 1575),
    "falling": lambda random: int(random.expovariate(1 / 300)) + 1,
}


@pytest.mark.parametrize("kind", LENGTHS)
@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    ("disagree", "most"),
    [
        (0.0, {"two kinds": 0, "normal": 60, "even": 60, "falling": 60}),
        (0.1, {"two kinds": 0, "normal": 1100, "even": 8000, "falling": 1100}),  # the second has 1,000 beyond the limit
    ],
)
def test_what_twenty_refused_batches_lose_beside_what_is_too_long(kind, by_length, at_once, disagree, most):
    random = Random(11)
    lengths = [LENGTHS[kind](random) for _ in range(20_000)]
    if by_length:
        lengths.sort()
    over = {index for index, length in enumerate(lengths) if length * random.uniform(1 - disagree, 1 + disagree) > 1500}
    isolation, scored = Isolation(lengths), set()
    waiting = [tuple(range(at, at + 1000)) for at in range(0, 20_000, 1000)]
    while waiting:
        part = waiting.pop(0)
        if over.isdisjoint(part):
            scored.update(part)
            more = isolation.scored(part)
        else:
            more = isolation.split(part)
        # What a call sends again goes before what it has not cut yet; with many permits those batches are out already.
        waiting = [*waiting, *more] if at_once else [*more, *waiting]
    lost = 20_000 - len(over) - len(scored)
    assert lost <= (0 if by_length and not disagree else most[kind]), "those close to the limit"


def test_the_search_ends_only_where_nothing_of_the_call_was_scored_before_it_either():
    assert Searched(range(1000), range(1000)).requests == 20
    assert Searched(range(1001), range(1000), [tuple(range(1000))], scored=[(1000,)]).requests == 39
    assert Searched(range(1001), range(1000), [tuple(range(1000))], failed=[(1000,)]).requests == 20


@pytest.mark.parametrize("known", ["scored", "failed"])
def test_what_was_put_aside_is_tried_when_every_batch_has_an_answer(known):
    found = Searched([1, 9, 2, 3, 5], [0], [(0, 1, 2, 3)], **{known: [(4,)]})
    assert sorted(found.scored) == [1, 2, 3]
    assert found.over == (0,)


def test_where_nothing_at_all_is_scored_the_search_ends_after_twenty_requests():
    found = Searched(range(1000), range(1000))
    assert found.requests == 20
    assert found.scored == []
    # With something scored elsewhere it goes on to the bound.
    found = Searched(range(1100), range(1000), [tuple(range(1000)), tuple(range(1000, 1100))])
    assert 20 < found.requests <= 39


def test_a_part_that_fails_in_another_way_is_the_caller_s_and_the_rest_is_tried():
    isolation = Isolation(range(4))
    assert isolation.split((0, 1, 2, 3)) == [(0, 1)]
    assert isolation.dropped((0, 1)) == [(2, 3)]
    assert isolation.scored((2, 3)) == []
    assert (isolation.over(), isolation.unscored()) == ((), ())


def test_a_search_that_is_broken_off_accounts_for_all_that_is_not_on_its_way():
    isolation = Isolation(range(8))
    assert isolation.split(tuple(range(8))) == [(0, 1, 2, 3)]
    assert isolation.unscored() == (4, 5, 6, 7)
    assert isolation.split((0, 1, 2, 3)) == [(0, 1)]
    assert isolation.unscored() == (2, 3, 4, 5, 6, 7)
    assert isolation.over() == ()


@given(
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=120),
    share=st.floats(0, 1),
    size=st.integers(1, 60),
    bound=st.integers(0, 40),
    seed=st.integers(0, 10**6),
    by_length=st.booleans(),
    fails=st.frozensets(st.integers(1, 40), max_size=5),
)
def test_in_any_order_of_answers_everything_is_accounted_for_within_the_bound(
    lengths, share, size, bound, seed, by_length, fails
):
    random = Random(seed)
    count = len(lengths)
    over = [i for i in range(count) if (lengths[i] / 20 > share if by_length else random.random() < share)]
    batches = [tuple(range(at, min(at + size, count))) for at in range(0, count, size)]
    found = Searched(lengths, over, batches, seed=seed, max_requests=bound, fails=fails)
    assert found.requests <= bound


@given(st.integers(2, 200), st.integers(0, 10**6), st.data())
def test_with_requests_enough_every_text_that_can_be_scored_is(count, seed, data):
    random = Random(seed)
    lengths = [random.randrange(50) for _ in range(count)]
    over = data.draw(st.sets(st.integers(0, count - 1), max_size=count - 1))
    # Something was scored elsewhere, so the search does not end early.
    found = Searched([*lengths, 0], over, [(count,), tuple(range(count))], seed=seed, max_requests=10_000)
    if found.unscored:
        assert not found.scored, "it ended early because nothing was scored by then"
    else:
        assert set(found.over) == over


def test_the_length_of_a_text_is_its_bytes():
    assert lengths_of(["", "abc", "aé", "中", "🥒"]) == [0, 3, 3, 3, 4]


# Failures

REFUSAL = InputTooLongError("Words of the service", status=400, code="invalid_input_argument", trace="f00", url="u")


def ended(max_requests):
    """Four texts of which the two longest are too long."""
    isolation = Isolation([1, 2, 3, 4], max_requests)
    parts = isolation.split((0, 1, 2, 3))
    while parts:
        part = parts.pop()
        parts += isolation.split(part) if {2, 3} & set(part) else isolation.scored(part)
    return isolation


def test_what_is_too_long_fails_with_the_service_s_error():
    (failure,) = failures_of(ended(40), REFUSAL, None)
    assert failure.indices == (2, 3)
    assert failure.error is REFUSAL


def test_what_was_left_open_fails_apart_from_it_in_the_indices_of_the_caller():
    confirmed, left_open = failures_of(ended(2), REFUSAL, [[0, 9], [1], [8, 2], [3, 7]])
    assert confirmed.indices == (2, 8)
    assert left_open.indices == (3, 7)
    assert "not scored" in str(left_open.error)
    assert "Words of the service" in str(left_open.error)
    assert (left_open.error.status, left_open.error.code) == (400, "invalid_input_argument")
    assert (left_open.error.trace, left_open.error.url) == ("f00", "u")


def test_a_search_that_found_nothing_leaves_no_failure():
    assert failures_of(Isolation([1, 2]), REFUSAL, None) == ()
