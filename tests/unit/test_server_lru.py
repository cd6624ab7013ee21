"""The bounded memory."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerank_async.server.lru import LRU

# How fast a machine draws examples is no claim of ours.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_what_was_asked_for_least_recently_is_forgotten():
    memory = LRU(2)
    memory.put("a", 1)
    memory.put("b", 2)
    assert memory.known(["a"]) == {"a": 1}
    memory.put("c", 3)
    assert memory.known(["a", "b", "c"]) == {"a": 1, "c": 3}


def test_a_value_is_replaced_and_a_memory_of_nothing_holds_nothing():
    memory = LRU(2)
    memory.put("a", 1)
    memory.put("a", 2)
    assert (len(memory), memory.known(["a"])) == (1, {"a": 2})
    none = LRU(0)
    none.put("a", 1)
    assert (len(none), none.known(["a"])) == (0, {})


@patient
@given(size=st.integers(0, 4), steps=st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=60))
def test_it_is_the_last_distinct_keys_touched(size, steps):
    memory, touched = LRU(size), []
    for is_put, key in steps:
        if is_put:
            memory.put(key, key)
        elif not memory.known([key]):
            continue
        touched = [*(old for old in touched if old != key), key][-size:] if size else []
    assert set(memory.known(range(7))) == set(touched)
