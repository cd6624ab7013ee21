"""The values that a server is set up with: what they refuse, and in which words."""

import pytest

from rerank_async.server import Fault, Latency, RateLimit
from rerank_async.server.settings import Settings


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: RateLimit(requests=0), ValueError, "RateLimit.requests is at least 1, not 0"),
        (lambda: RateLimit(requests=2.5), TypeError, "RateLimit.requests is a whole number, not 2.5"),
        (lambda: RateLimit(requests=True), TypeError, "RateLimit.requests is a whole number, not True"),
        (lambda: RateLimit(window=0), ValueError, "RateLimit.window is a number of seconds above 0, not 0"),
        (lambda: RateLimit(window=float("inf")), ValueError, "RateLimit.window"),
        (lambda: RateLimit(kind="leaky"), ValueError, "token_bucket, fixed_window, sliding_window, not 'leaky'"),
        (lambda: RateLimit(retry_after=-1), ValueError, "RateLimit.retry_after"),
        (lambda: Latency(base=-0.1), ValueError, "Latency.base is a number of seconds of at least 0, not -0.1"),
        (lambda: Latency(per_input="1"), TypeError, "Latency.per_input is a number of seconds, not '1'"),
        (lambda: Fault("server_eror", share=1), ValueError, "Did you mean 'server_error'?"),
        (lambda: Fault("xyz", share=1), ValueError, "The faults are: rate_limited, pool_full, quota,"),
        (lambda: Fault("hang", share=1.5), ValueError, "Fault.share is a number from 0 to 1, not 1.5"),
        (lambda: Fault("hang", share=float("nan")), ValueError, "Fault.share"),
        (lambda: Fault("hang", share="1"), TypeError, "Fault.share is a number from 0 to 1, not '1'"),
        (lambda: Fault("hang", nth=(0,)), ValueError, "A number in Fault.nth is at least 1, not 0"),
        (lambda: Fault("hang"), ValueError, "needs a share above 0, nth or outage"),
        (lambda: Fault("slow", nth=(1,), seconds=-1), ValueError, "Fault.seconds"),
    ],
)
def test_a_value_out_of_range_is_refused_with_what_it_should_be(make, error, words):
    with pytest.raises(error) as caught:
        make()
    assert words in str(caught.value)


def test_latency_grows_with_the_inputs():
    assert Latency(base=0.5, per_input=0.25).delay(4) == 1.5


@pytest.mark.parametrize(
    ("retry_after", "delay", "header"),
    [
        (False, 0.3, None),
        (True, 0.3, "1"),
        (True, 2.1, "3"),
        (True, 0.0, "1"),
        (7, 0.3, "7"),
        (0, 0.3, "0"),
        (0.5, 3, "0.5"),
    ],
)
def test_retry_after_is_absent_or_whole_seconds_rounded_up_or_what_was_set(retry_after, delay, header):
    settings = Settings(scorers={}, limit=RateLimit(retry_after=retry_after))
    assert settings.retry_after(delay) == header


def test_the_api_key_is_not_in_the_settings_repr():
    assert "hush" not in repr(Settings(scorers={}, api_key="hush"))
