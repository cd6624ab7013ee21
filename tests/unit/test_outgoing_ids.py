"""The ids that requests carry."""

import os

import pytest

from rerank_async.runtime.outgoing import whole_headers
from rerank_async.values.contract import TRANSACTION_HEADER


def new_id():
    return whole_headers({}, None, None)[TRANSACTION_HEADER]


def test_no_two_are_the_same():
    assert len({new_id() for _ in range(10_000)}) == 10_000


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 and later, of fork beside threads
def test_a_forked_child_does_not_repeat_those_of_its_parent():
    new_id()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, new_id().encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        theirs = pipe.read()
    os.waitpid(child, 0)
    assert len(theirs) == 32
    assert theirs not in {new_id() for _ in range(100)}
