"""What a person sees of a job: the plain lines, the figures, lengths of time in words."""

import math
from types import SimpleNamespace

import pytest
from rich.console import Console

from rerank_async import RerankResponse, RerankResult, errors
from rerank_async.bulk.errors import BadItemError
from rerank_async.bulk.events import Outage, OutageOver, QueryDone, Started
from rerank_async.cli import bulk_view
from rerank_async.cli.bulk_view import BulkView, length
from rerank_async.values.events import Retried, Sent, Throttled


@pytest.fixture
def clock(monkeypatch):
    time = SimpleNamespace(now=1000.0)
    time.monotonic = lambda: time.now
    monkeypatch.setattr(bulk_view, "time", time)
    return time


def done(number, *, tokens=7, inputs=5):
    results = tuple(RerankResult(index, 0.0) for index in range(5))
    response = RerankResponse(model_id="m", results=results, input_token_count=tokens)
    return QueryDone(number, number + 1, response, None, inputs)


def limited(rate):
    return SimpleNamespace(limit_status=SimpleNamespace(requests_per_second=rate))


def run(view, clock, seconds, *, per_second):
    for number in range(seconds * per_second):
        clock.now += 1 / per_second
        view(Sent(1, clock.now, 0, 5, 1, 0.0))
        view(done(number))


def test_a_plain_line_now_and_then_says_how_it_goes(clock, capsys):
    view = BulkView()
    view.watch(limited(8.0))
    view(Started(1000, 0, 0, 0.0, 0))
    run(view, clock, 29, per_second=4)
    assert capsys.readouterr().err == ""
    view(Retried(1, 0, 0, 1, 0.1, "x"))
    view(Throttled(1, 0, 0, 0.1, None))
    run(view, clock, 1, per_second=4)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "rerank-async: ranking: 120/1000 queries; 4.0 queries/s; 20 inputs/s; 50% of the limit (8/s); "
        "3 min 40 s left; 1 retries, 1 times 429, 0 failed; 840 tokens"
    )


def test_without_a_limit_and_a_known_end_neither_is_spoken_of(clock, capsys):
    view = BulkView()
    view.watch(limited(math.inf))
    view(Started(None, 0, 0, 0.0, 0))
    run(view, clock, 30, per_second=2)
    line = capsys.readouterr().err
    assert "60 queries; 2.0 queries/s" in line
    assert "limit" not in line
    assert "left" not in line


def test_what_was_done_before_is_no_speed_of_now(clock):
    view = BulkView()
    view(Started(1000, 900, 0, 0.0, 0))
    run(view, clock, 10, per_second=1)
    assert view._speeds()[0] == pytest.approx(1.0)
    assert "910/1000" in view._line()


def test_what_happens_is_told_in_a_sentence(clock, capsys):
    view = BulkView()
    view(Started(10, 0, 0, 12.5, 17))
    view(Outage(errors.ServiceError("no"), 0.0, 600.0))
    view(OutageOver(75.0))
    view(QueryDone(None, 3, None, BadItemError("q.jsonl, line 3: bad", line=3)))
    view(QueryDone("q7", 4, None, BadItemError("q.jsonl, line 4: bad", line=4)))
    view(QueryDone("q8", 12, None, errors.InvalidArgumentError("query is empty")))
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "rerank-async: cut off 17 bytes of a line that was not finished",
        "rerank-async: built the index of the corpus in 12.5 s",
        "rerank-async: the service does not answer; waiting for 10 min 0 s at most (no)",
        "rerank-async: the service answers again, after 75.0 s",
        "rerank-async: failed: q.jsonl, line 3: bad",
        "rerank-async: failed: query 'q7': q.jsonl, line 4: bad",
        "rerank-async: failed: query 'q8' (line 12): query is empty",
    ]


def test_only_the_first_failures_are_told_one_by_one(clock, capsys):
    view = BulkView()
    view(Started(100, 0, 0, 0.0, 0))
    for number in range(50):
        view(QueryDone(number, number, None, ValueError("bad")))
    assert capsys.readouterr().err.count("): bad") == 10
    assert "50 failed" in view._line()


def test_all_failures_are_told_where_nothing_else_lists_them(clock, capsys):
    view = BulkView(tell_all=True)
    view(Started(100, 0, 0, 0.0, 0))
    for number in range(50):
        view(QueryDone(number, number, None, ValueError("bad")))
    assert len(capsys.readouterr().err.splitlines()) == 50


def test_inputs_are_what_was_scored_however_many_results_there_are(clock):
    view = BulkView()
    view(Started(100, 0, 0, 0.0, 0))
    for number in range(10):
        clock.now += 1
        view(done(number, inputs=100))
    assert "100 inputs/s" in view._line()


def test_a_line_comes_also_while_no_query_is_finished(clock, capsys):
    view = BulkView()
    view(Started(100, 0, 0, 0.0, 0))
    for event in (Retried(1, 0, 0, 1, 0.1, "x"), Throttled(1, 0, 0, 0.1, None)):
        clock.now += 31
        view(event)
    first, second = capsys.readouterr().err.splitlines()
    assert "ranking: 0/100 queries" in first
    assert "1 retries, 1 times 429" in second


def test_the_picture_holds_the_same_figures(clock):
    view = BulkView()
    view.watch(limited(8.0))
    view(Started(200, 0, 0, 0.0, 0))
    run(view, clock, 20, per_second=8)
    console = Console(width=200, record=True, force_terminal=False)
    with console.capture() as shown:
        console.print(view._picture())
    assert "160/200" in shown.get()
    assert "100% of the limit (8/s); 5.0 s left" in shown.get()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (99.94, "99.9 s"), (100, "1 min 40 s"), (3599.4, "59 min 59 s"), (36_000, "10 h 0 min")],
)
def test_lengths_in_words(seconds, words):
    assert length(seconds) == words
