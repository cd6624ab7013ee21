"""The learning limiter: what it believes of whom, its pauses, its permits; and its promises over random schedules."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.policy.heard import Heard, Limit, heard_of
from rerank_async.policy.limiter import UNPACED
from rerank_async.policy.limiting import LearningLimiter, Limiter

INF = math.inf


def begin(limiter, now):
    """A permit that is used at once."""
    limiter.grant()
    limiter.start(now)


def burst(limiter, now):
    """How many start at once."""
    count = 0
    while not limiter.wait(now) and count < 10_000:
        begin(limiter, now)
        count += 1
    return count


def header(requests, remaining=None):
    return Heard(Limit(requests, 1.0, "header"), remaining)


def text(requests, seconds=1.0):
    return Heard(Limit(requests, seconds, "429"), None)


def test_it_is_a_limiter():
    limiter: Limiter = LearningLimiter()
    assert (limiter.rate, limiter.ceiling, limiter.source) == (8.0, 8.0, "option")
    assert limiter.paced
    assert limiter.limit_known
    assert limiter.paused_until <= 0


# The option


@pytest.mark.parametrize(
    ("rate", "size", "share", "at_once", "then"),
    [
        (8.0, None, 1.0, 8, 1.015),
        (2.0, None, 1.0, 2, 1.015),
        (2.5, None, 1.0, 2, 0.812),
        (0.5, None, 1.0, 1, 2.03),
        (8.0, 1, 1.0, 1, 0.126875),
        (8.0, 16, 1.0, 16, 2.03),
        (8.0, None, 0.25, 2, 1.015),
        (8.0, None, 0.125, 1, 1.015),
        (8.0, None, 0.05, 1, 2.5375),
    ],
    ids=["8", "2", "2.5", "0.5", "burst 1", "burst 16", "quarter", "eighth", "twentieth"],
)
def test_the_option_the_burst_and_the_share(rate, size, share, at_once, then):
    limiter = LearningLimiter(rate, size, share)
    assert limiter.ceiling == limiter.rate == pytest.approx(rate * share)
    assert limiter.free(10.0) == at_once
    assert burst(limiter, 10.0) == at_once
    assert limiter.wait(10.0) == pytest.approx(then)
    assert limiter.free(10.0) == 0


def test_unknown_is_not_paced_until_something_is_heard():
    limiter = LearningLimiter(None)
    assert (limiter.paced, limiter.limit_known) == (False, False)
    assert (limiter.rate, limiter.ceiling, limiter.free(0.0)) == (INF, INF, UNPACED)
    assert limiter.ready_at(5.0, 10**6) == 5.0
    begin(limiter, 0.0)
    limiter.answered(0.1, 0.0, header(5))
    assert (limiter.paced, limiter.limit_known, limiter.ceiling, limiter.source) == (True, True, 5.0, "header")


def test_infinite_is_not_paced_and_not_unknown():
    limiter = LearningLimiter(INF)
    assert (limiter.paced, limiter.limit_known) == (False, True)
    for _ in range(1000):
        assert limiter.wait(5.0) == 0.0
        begin(limiter, 5.0)


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"requests_per_second": 0}, InvalidArgumentError, "requests_per_second"),
        ({"requests_per_second": -1.0}, InvalidArgumentError, "requests_per_second"),
        ({"requests_per_second": math.nan}, InvalidArgumentError, "requests_per_second"),
        ({"requests_per_second": "8"}, InvalidTypeError, "requests_per_second"),
        ({"requests_per_second": 10**400}, InvalidArgumentError, "requests_per_second"),
        ({"burst": 0}, InvalidArgumentError, "burst"),
        ({"burst": 1.5}, InvalidTypeError, "burst"),
        ({"share": 0.0}, InvalidArgumentError, "share"),
        ({"share": 1.01}, InvalidArgumentError, "share"),
        ({"share": math.nan}, InvalidArgumentError, "share"),
        ({"share": None}, InvalidTypeError, "share"),
    ],
    ids=[
        "zero",
        "negative",
        "nan",
        "str",
        "huge",
        "burst 0",
        "burst 1.5",
        "share 0",
        "share 1.01",
        "share nan",
        "none",
    ],
)
def test_bad_input_is_named(arguments, error, named):
    with pytest.raises(error) as caught:
        LearningLimiter(**arguments)
    assert caught.value.argument == named
    assert named in str(caught.value)


# What is heard


@pytest.mark.parametrize(
    ("option", "heard", "ceiling", "source"),
    [
        (8.0, header(20), 20.0, "header"),
        (8.0, header(5), 5.0, "header"),
        (None, header(5), 5.0, "header"),
        (INF, header(5), 5.0, "header"),
        (8.0, Heard(None, 3), 8.0, "option"),
        (8.0, None, 8.0, "option"),
    ],
    ids=["above", "below", "none", "inf", "only remaining", "nothing"],
)
def test_a_header_sets_the_ceiling_also_above_the_option(option, heard, ceiling, source):
    limiter = LearningLimiter(option)
    begin(limiter, 0.0)
    limiter.answered(0.1, 0.0, heard)
    assert (limiter.ceiling, limiter.source) == (ceiling, source)


@pytest.mark.parametrize(
    ("option", "heard", "ceiling", "source"),
    [
        (8.0, text(5), 5.0, "429"),
        (8.0, text(20), 8.0, "option"),
        (None, text(20), 20.0, "429"),
        (INF, text(20), 20.0, "429"),
        (8.0, text(120, 60.0), 2.0, "429"),
        (8.0, header(5), 5.0, "header"),
    ],
    ids=["below", "above", "none", "inf", "a minute", "header"],
)
def test_the_words_of_a_429_lower_the_ceiling_and_never_lift_it_over_the_option(option, heard, ceiling, source):
    limiter = LearningLimiter(option)
    begin(limiter, 0.0)
    limiter.throttled(0.1, 0.0, None, heard)
    limiter.answered(0.2, 0.1, None)
    assert (limiter.ceiling, limiter.source) == (ceiling, source)


def test_a_429_that_is_explained_by_the_lower_limit_costs_no_pace():
    limiter = LearningLimiter(8.0)
    for _ in range(8):
        begin(limiter, 0.0)
    for i in range(3):
        limiter.throttled(0.1 + i / 100, 0.0, None, text(5))
    assert limiter.rate == limiter.ceiling == 5.0


def test_a_429_that_names_more_than_is_believed_raises_nothing_itself_but_the_next_answer_does():
    limiter = LearningLimiter(None)
    begin(limiter, 0.0)
    limiter.throttled(0.1, 0.0, None, text(4))
    begin(limiter, 10.0)
    limiter.throttled(10.1, 10.0, None, text(8))
    assert limiter.ceiling == 4.0
    limiter.answered(10.5, 10.4, None)
    assert limiter.ceiling == 8.0


def test_answers_that_come_in_another_order_than_their_requests_went():
    limiter = LearningLimiter(8.0)
    limiter.answered(1.0, 0.9, header(4))
    limiter.answered(1.1, 0.5, header(8))
    assert limiter.ceiling == 4.0, "8 was said before 4"
    limiter.answered(1.2, 1.0, header(8))
    assert limiter.ceiling == 8.0


def test_a_header_keeps_the_seconds_that_a_429_named_for_the_same_number():
    limiter = LearningLimiter(None)
    limiter.answered(0.0, 0.0, header(120))
    assert limiter.ceiling == 120.0
    limiter.throttled(1.0, 0.5, None, heard_of({"x-requests-limit-rate": "120"}, "Rate limit of 120 requests per 1m"))
    assert (limiter.ceiling, limiter.source) == (2.0, "header")
    limiter.answered(2.0, 1.5, header(120))
    assert limiter.ceiling == 2.0
    limiter.answered(3.0, 2.5, header(8))
    assert limiter.ceiling == 8.0


def test_the_share_is_of_whatever_the_ceiling_is():
    limiter = LearningLimiter(8.0, share=0.5)
    limiter.answered(1.0, 0.9, header(20))
    assert limiter.ceiling == 10.0
    limiter.throttled(2.0, 1.9, None, header(4))
    assert limiter.ceiling == 2.0


def test_a_burst_is_bounded_by_the_limit_that_was_heard():
    limiter = LearningLimiter(8.0, burst=16)
    limiter.answered(0.0, 0.0, header(5))
    assert burst(limiter, 10.0) == 5
    small = LearningLimiter(8.0, burst=2)
    small.answered(0.0, 0.0, header(5))
    assert burst(small, 10.0) == 2
    assert small.wait(10.0) == pytest.approx(0.4 * 1.015)


@pytest.mark.parametrize("rate", ["banana", "0", "1000000000", "-3", "nan"])
def test_a_header_of_nonsense_neither_wedges_nor_frees(rate):
    limiter = LearningLimiter(8.0)
    for i in range(50):
        limiter.answered(i / 10, i / 10, heard_of({"x-requests-limit-rate": rate, "x-requests-limit-remaining": rate}))
    assert limiter.ceiling == 8.0
    assert 1 <= burst(limiter, 100.0) <= 8


def test_nothing_left_holds_the_next_start_until_some_of_the_limit_is_back():
    limiter = LearningLimiter(8.0)
    begin(limiter, 0.0)
    limiter.answered(0.01, 0.0, header(8, 0))
    assert limiter.wait(0.01) == pytest.approx(1.015 / 8 - 0.01), "one of eight comes back in an eighth of the window"
    begin(limiter, 1.015 / 8)
    assert limiter.wait(1.015 / 8) == pytest.approx(1.015 / 8), "which that start took"
    assert burst(limiter, 1.1) == 7, "after a window the clamp is over: seven, and the one that is still in the window"


def test_what_is_left_bounds_what_starts_after_that_request():
    limiter = LearningLimiter(8.0)
    begin(limiter, 0.0)
    limiter.answered(0.01, 0.0, header(8, 2))
    assert burst(limiter, 0.01) == 2


def test_a_stray_429_with_a_header_that_says_0_does_not_stop_the_client():
    limiter = LearningLimiter(8.0)
    begin(limiter, 0.0)
    pause = limiter.throttled(
        0.05, 0.0, None, heard_of({"x-requests-limit-rate": "0", "x-requests-limit-remaining": "0"}, "")
    )
    assert pause <= 1.015
    assert limiter.wait(0.05) <= 1.015
    assert limiter.rate == 8.0, "the first is not yet evidence"


# Pauses


@pytest.mark.parametrize("seconds", [0.0, 0.001, 3.0, 59.9])
def test_a_retry_after_is_kept_to_the_letter(seconds):
    limiter = LearningLimiter(8.0)
    begin(limiter, 0.0)
    assert limiter.throttled(1.0, 0.0, seconds, None) == pytest.approx(seconds)
    assert limiter.wait(1.0) == pytest.approx(seconds)


def test_without_one_until_the_next_permit_is_due():
    limiter = LearningLimiter(8.0)
    begin(limiter, 0.0)
    assert limiter.throttled(1.0, 0.0, None, None) == pytest.approx(1.015 / 8)
    slow = LearningLimiter(0.5)
    begin(slow, 0.0)
    assert slow.throttled(3.0, 0.0, None, None) == pytest.approx(2.03)


def test_429s_of_one_burst_do_not_draw_the_pause_out_nor_decrease_twice():
    limiter = LearningLimiter(8.0)
    burst(limiter, 0.0)
    for _ in range(5):
        limiter.throttled(0.1, 0.0, None, None)
    rate = limiter.rate
    assert rate < 8.0, "four are free, five are not"
    until = limiter.paused_until
    for i in range(3):
        assert limiter.throttled(0.1 + i / 100, 0.0, None, None) == pytest.approx(until - 0.1 - i / 100)
    assert limiter.rate == rate
    assert limiter.throttled(0.2, 0.0, 2.0, None) == pytest.approx(2.0), "a Retry-After counts in any case"


def test_where_nothing_is_named_the_first_429_gives_the_measure():
    limiter = LearningLimiter(None)
    for i in range(24):
        begin(limiter, i / 24)
    limiter.throttled(1.0, 0.9, None, None)
    assert (limiter.paced, limiter.limit_known, limiter.source) == (True, True, "learned")
    assert 8.0 <= limiter.ceiling <= 24.0
    first = LearningLimiter(None)
    begin(first, 0.0)
    first.throttled(0.1, 0.0, None, None)
    assert first.ceiling == 8.0, "one request measures nothing: the default"


# Deadlines


def test_ready_at_by_hand():
    limiter = LearningLimiter(8.0)
    assert [limiter.ready_at(0.0, ahead) for ahead in (0, 7, 8, 16)] == pytest.approx([0.0, 0.0, 1.015, 2.03])
    burst(limiter, 0.0)
    assert limiter.ready_at(0.0, 0) == pytest.approx(1.015)
    limiter.throttled(0.1, 0.0, 5.0, None)
    assert limiter.ready_at(0.1, 0) == pytest.approx(5.1)
    assert limiter.ready_at(0.1, 8) == pytest.approx(6.115)


def test_after_429s_it_counts_that_the_pace_grows_again():
    limiter = LearningLimiter(8.0)
    now = 0.0
    for _ in range(12):
        now += 1.0
        begin(limiter, now)
        limiter.throttled(now + 0.1, now, None, None)
    assert limiter.rate < 2.0
    told = limiter.ready_at(now, 400) - now
    assert told < 400 / limiter.rate / 2, "at the pace as it is now it would take more than twice as long"
    assert told > 400 / 8.0


def test_asking_changes_nothing():
    limiter = LearningLimiter(8.0)
    burst(limiter, 0.0)
    for _ in range(5):
        assert limiter.ready_at(0.5, 3) == limiter.ready_at(0.5, 3)
        assert limiter.wait(0.5) == pytest.approx(0.515)
        assert limiter.free(0.5) == 0


# Over random schedules


HEARD = st.one_of(
    st.none(),
    st.builds(Heard, st.none(), st.integers(0, 9)),
    st.builds(header, st.integers(1, 30), st.none() | st.integers(0, 40)),
)
REFUSED = HEARD | st.builds(text, st.integers(1, 30), st.sampled_from([0.5, 1.0, 10.0, 60.0]))
STEP = st.one_of(
    st.tuples(st.just("wait"), st.one_of(st.floats(0, 0.5), st.floats(0, 40))),
    st.tuples(st.sampled_from(["begin", "grant", "start", "give_back", "forget"]), st.none()),
    st.tuples(st.just("answered"), st.tuples(st.floats(0, 2), HEARD)),
    st.tuples(st.just("throttled"), st.tuples(st.floats(0, 2), st.none() | st.floats(0, 20), REFUSED)),
)
STEPS = st.lists(STEP, max_size=120)
OPTIONS = st.sampled_from([8.0, 2.0, 0.5, 2.5, 40.0, None, INF])
BURSTS = st.none() | st.integers(1, 12)
SHARES = st.sampled_from([1.0, 0.5, 0.3, 0.05])


class Run:
    """Takes a limiter through a schedule as a gate would, and remembers what started."""

    def __init__(self, limiter, begins=0.0):
        self.limiter, self.now, self.starts, self.out = limiter, begins, [], 0

    def do(self, what, value):
        limiter = self.limiter
        if what == "wait":
            self.now += value
        elif what in {"begin", "grant"} and not limiter.wait(self.now):
            limiter.grant()
            self.out += 1
        if what in {"begin", "start"} and self.out:
            limiter.start(self.now)
            self.out -= 1
            self.starts.append(self.now)
        elif what == "give_back" and self.out:
            limiter.give_back()
            self.out -= 1
        elif what == "forget":
            limiter.forget_granted()
            self.out = 0
        elif what == "answered":
            limiter.answered(self.now, self.now - value[0], value[1])
        elif what == "throttled":
            limiter.throttled(self.now, self.now - value[0], value[1], value[2])


def quiet(steps):
    """The schedule without anything that says what the limit is."""
    cut = {"answered": lambda v: (v[0], None), "throttled": lambda v: (v[0], v[1], None)}
    return [(what, cut[what](value) if what in cut else value) for what, value in steps]


@given(option=st.sampled_from([8.0, 2.0, 0.5, 2.5, 40.0]), size=BURSTS, share=SHARES, steps=STEPS, at=st.floats(0, 1e6))
def test_never_more_than_n_starts_in_any_window(option, size, share, steps, at):
    run = Run(LearningLimiter(option, size, share), at)
    n = size or max(1, math.floor(option * share + 1e-9))
    for what, value in quiet(steps):
        run.do("begin" if what == "grant" else what, value)  # a permit that starts late is counted when it starts
    window = n / (option * share)
    for first, beyond in zip(run.starts, run.starts[n:], strict=False):
        assert beyond - first > window, f"{n + 1} starts in {beyond - first} s"


@given(option=OPTIONS, size=BURSTS, share=SHARES, steps=STEPS)
def test_a_throttle_never_raises_the_rate(option, size, share, steps):
    run = Run(LearningLimiter(option, size, share))
    for what, value in steps:
        rate, ceiling = run.limiter.rate, run.limiter.ceiling
        run.do(what, value)
        if what == "throttled":
            assert run.limiter.rate <= rate * (1 + 1e-12)
            assert run.limiter.ceiling <= ceiling * (1 + 1e-12)
        assert 0 < run.limiter.rate <= run.limiter.ceiling * (1 + 1e-12)


@given(option=OPTIONS, size=BURSTS, share=SHARES, steps=STEPS)
def test_permits_that_were_cancelled_leak_nothing(option, size, share, steps):
    limiter, other = LearningLimiter(option, size, share), LearningLimiter(option, size, share)
    run, same = Run(limiter), Run(other)
    for what, value in steps:
        if not limiter.wait(run.now):
            limiter.grant()  # granted and cancelled at once
            limiter.give_back()
        run.do(what, value)
        same.do(what, value)
        assert limiter.wait(run.now) == other.wait(same.now)
        assert limiter.free(run.now) == other.free(same.now)
    assert run.starts == same.starts


@given(option=OPTIONS, size=BURSTS, share=SHARES, steps=STEPS)
def test_it_is_never_wedged(option, size, share, steps):
    run = Run(LearningLimiter(option, size, share))
    for what, value in steps:
        run.do(what, value)
    run.do("forget", None)
    limiter, waited = run.limiter, 0
    while wait := limiter.wait(run.now):
        assert wait < INF
        assert run.now + wait > run.now, "waiting takes time, or the caller would spin"
        run.now += wait
        waited += 1
        assert waited < 20
    longest = max([0.0, *(value[1] or 0.0 for what, value in steps if what == "throttled")])
    run.do("begin", None)
    assert limiter.wait(run.now) <= longest + 2 * 61.0 / share + 2, "half of the slowest limit that is believed"


@given(option=OPTIONS, size=BURSTS, share=SHARES, steps=STEPS)
def test_free_permits_can_be_taken(option, size, share, steps):
    run = Run(LearningLimiter(option, size, share))
    for what, value in steps:
        run.do(what, value)
    free = min(run.limiter.free(run.now), 50)
    assert (free == 0) == bool(run.limiter.wait(run.now))
    for _ in range(free):
        assert not run.limiter.wait(run.now)
        run.limiter.grant()


# No pacing


def test_without_pacing_a_429_that_names_no_limit_is_a_pause_and_no_more():
    limiter = LearningLimiter(INF)
    assert limiter.throttled(1000.0, 999.9, None, None) == 0.125
    assert limiter.throttled(1000.05, 999.9, None, None) == pytest.approx(0.075), "of the same burst"
    assert (limiter.rate, limiter.paced, limiter.wait(1000.125)) == (INF, False, 0.0)
    assert limiter.throttled(1000.2, 1000.13, None, None) == 0.25, "another, with no answer in between"
    assert limiter.throttled(1000.3, 1000.2, 7.0, None) == 7.0, "what the service asks for"
    limiter.answered(1008.0, 1007.5, None)
    assert limiter.throttled(1009.0, 1008.5, None, None) == 0.125


def test_without_pacing_the_pause_stays_short_whatever_comes():
    limiter, now = LearningLimiter(INF), 1000.0
    for _ in range(50):
        now += limiter.throttled(now + 0.01, now, None, None) + 0.01
    assert now < 1000.0 + 50 * 4.1
    assert limiter.ceiling == INF
