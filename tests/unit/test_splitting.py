"""What becomes of a batch that has too many bytes: halves, and the shortest text alone where it may be the query."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async.policy.splitting import Splitting, halves, slices


def test_halves_by_hand():
    sizes = [10, 10, 10, 90, 1, 1]
    assert halves((0, 1), sizes) == ((0,), (1,))
    assert halves((0, 1, 2), sizes) == ((0, 1), (2,))
    assert halves((0, 1, 2, 3), sizes) == ((0, 1, 2), (3,))
    assert halves((3, 4, 5), sizes) == ((3,), (4, 5))
    assert halves((3,), sizes) is None


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=50))
def test_two_halves_are_the_whole_and_neither_is_empty(sizes):
    first, second = halves(range(len(sizes)), sizes)
    assert first
    assert second
    assert [*first, *second] == list(range(len(sizes)))


def test_slices_by_hand():
    assert slices((5, 6, 7, 8, 9), 2) == [(5, 6), (7, 8), (9,)]
    assert slices(range(3), 5) == [(0, 1, 2)]


class Service:
    """Takes what `takes` takes, one batch after the other; ``head`` bytes stand before the texts."""

    def __init__(self, sizes, takes, head=0):
        self.sizes, self.takes, self.head = sizes, takes, head
        self.splitting = Splitting(sizes)
        self.sent, self.done, self.lost = [], [], []

    @property
    def scored(self):
        return [at for members in self.done for at in members]

    def send(self, *batches):
        line = [range(len(self.sizes))] if not batches else list(batches)
        while line:
            members = line.pop(0)
            self.sent.append(list(members))
            size = self.head + sum(self.sizes[at] for at in members)
            if self.takes(members, size):
                self.done.append(members)
                line += self.splitting.settled(members)
            else:
                parts, lost = self.splitting.split(members, body_bytes=size, scored=self.done)
                line += parts
                self.lost.extend(at for part in lost for at in part)
        assert sorted(self.scored + self.lost) == list(range(len(self.sizes)))
        return self


@pytest.mark.parametrize("texts", [1, 2, 3, 1000])
def test_a_query_that_is_too_long_costs_three_requests(texts):
    service = Service([5] * texts, lambda members, size: size < 1_000_000, head=1_000_000).send()
    assert service.sent == [list(range(texts)), [0], [1]][: 3 if texts > 1 else 1]
    assert len(service.lost) == texts


def test_a_query_that_is_half_of_the_body_and_too_long_is_found_once_a_part_is_refused():
    service = Service([9, 8, 7, 8] * 250, lambda members, size: size < 1000, head=1000).send()
    assert len(service.sent) == 1 + 2 + 2
    assert service.sent[-2:] == [[2], [6]]
    assert len(service.lost) == 1000


def test_a_batch_that_is_too_large_is_halved_until_it_goes_and_one_text_goes_ahead():
    service = Service([10] * 64, lambda members, size: size <= 80).send()
    assert sorted(service.scored) == list(range(64))
    assert service.lost == []
    refused = sum(10 * len(members) > 80 for members in service.sent)
    assert len(service.sent) <= 1 + 2 * refused + 1


def test_one_text_at_fault_is_all_that_is_lost():
    service = Service([10] * 500 + [9000] + [10] * 499, lambda members, size: 500 not in members).send()
    assert service.lost == [500]
    assert len(service.sent) <= 1 + 2 * 10 + 2


def test_texts_as_long_as_one_that_was_refused_alone_are_given_up_and_shorter_ones_go():
    sizes = [100, 90, 100, 20, 120, 30]
    service = Service(sizes, lambda members, size: size < 80).send()
    assert sorted(service.lost) == [0, 1, 2, 4]
    assert sorted(service.scored) == [3, 5]


def test_the_shortest_text_may_be_what_is_at_fault():
    service = Service([10, 5, 10, 10], lambda members, size: 1 not in members, head=100).send()
    assert service.lost == [1]


def test_a_short_text_that_is_refused_for_another_reason_costs_no_longer_ones():
    sizes = [10] * 100 + [1] + [10] * 100 + [2] + [10] * 100
    service = Service(sizes, lambda members, size: not {100, 201} & set(members)).send(range(150), range(150, 302))
    assert service.lost == [100, 201]


def test_what_is_refused_while_the_shortest_text_is_on_its_way_waits_for_it():
    splitting = Splitting([10] * 8)
    assert splitting.split((0, 1, 2, 3), body_bytes=1000, scored=[]) == ([(0,)], [])
    assert splitting.split((4, 5, 6, 7), body_bytes=1000, scored=[]) == ([], [])
    assert splitting.settled((0,)) == [(1, 2), (3,), (4, 5), (6, 7)]
    assert splitting.settled((0,)) == []
    assert splitting.split((4, 5), body_bytes=1000, scored=[]) == ([(4,), (5,)], [])


def test_what_waited_for_a_text_that_went_is_sent_whatever_was_refused_meanwhile():
    splitting = Splitting([10, 20, 30, 15])
    splitting.split((0, 1, 2), body_bytes=1000, scored=[])
    splitting.split((3,), body_bytes=1000, scored=[])
    assert splitting.settled((0,)) == [(1,), (2,)]


def test_what_waited_is_given_up_with_the_two_shortest_texts():
    splitting = Splitting([10, 10, 7, 12, 12])
    assert splitting.split((0, 1), body_bytes=1000, scored=[]) == ([(0,)], [])
    assert splitting.split((2, 3, 4), body_bytes=1000, scored=[]) == ([], [])
    assert splitting.split((0,), body_bytes=990, scored=[]) == ([(2,)], [(0,)])
    assert splitting.split((2,), body_bytes=990, scored=[]) == ([], [(2,), [1], [3, 4]])


def test_what_waited_and_is_shorter_than_one_of_two_that_were_refused_alone_goes():
    splitting = Splitting([10, 10, 5, 10, 20])
    splitting.split((0, 1), body_bytes=1000, scored=[])
    splitting.split((2, 3), body_bytes=1000, scored=[])
    splitting.split((4,), body_bytes=1000, scored=[])
    assert splitting.split((0,), body_bytes=990, scored=[]) == ([(1,), (2,), (3,)], [(0,)])


def test_no_text_goes_ahead_where_the_query_has_gone_before():
    splitting = Splitting([10] * 4)
    assert splitting.split(range(4), body_bytes=1000, scored=[(0,)]) == ([(0, 1), (2, 3)], [])


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    head=st.integers(0, 100),
    most=st.integers(0, 300),
    cuts=st.lists(st.integers(1, 59), max_size=4, unique=True),
)
def test_what_would_go_alone_is_scored_and_nothing_else_is_lost(sizes, head, most, cuts):
    places = [0, *sorted(cut for cut in cuts if cut < len(sizes)), len(sizes)]
    batches = [range(start, stop) for start, stop in pairwise(places)]
    service = Service(sizes, lambda members, size: size <= most, head).send(*batches)
    assert sorted(service.scored) == [at for at, size in enumerate(sizes) if head + size <= most]
