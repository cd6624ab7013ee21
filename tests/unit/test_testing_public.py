"""The public face of `rerank_async.testing`: sorted, complete, and loaded name by name."""

import subprocess
import sys

import pytest

from rerank_async import LimitOptions, RetryOptions, testing


def test_all_is_sorted_and_there():
    assert testing.__all__ == sorted(
        testing.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    assert [name for name in testing.__all__ if not hasattr(testing, name)] == []
    assert set(testing.__all__) <= set(dir(testing))
    assert all((getattr(testing, name).__doc__ or "").strip() for name in testing.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        testing.nonsense  # noqa: B018 - asking is the test


@pytest.mark.parametrize(("name", "server"), [("Reranker", False), ("quick_options", False), ("rerank_server", True)])
def test_a_program_that_annotates_loads_no_server(name, server):
    code = f"import sys; from rerank_async.testing import {name}; print('rerank_async.server.serving' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(server)


def test_the_options_only_take_out_the_waiting():
    options = testing.quick_options()
    assert options["limits"] == testing.UNPACED
    assert options["retries"] == testing.QUICK_RETRIES
    assert testing.QUICK_RETRIES.max_attempts == RetryOptions().max_attempts
    assert testing.UNPACED.max_concurrency == LimitOptions().max_concurrency
    options["limits"] = LimitOptions()
    assert testing.quick_options()["limits"] == testing.UNPACED, "each caller has a dict of its own"
