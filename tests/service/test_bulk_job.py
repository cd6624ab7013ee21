"""Bulk jobs from Python: awaited, iterated, watched, stopped; and what an outage does to them."""

import asyncio
import gzip
import io
import json
import os

import pytest
from support import codecs
from support.bulk_jobs import by_id, lines, queries, ranked, write_jsonl
from support.clients import client_for, client_tasks, until
from support.clock import FakeClock
from support.services import honest, refusal, service

from rerank_async import Answered, LimitOptions, Merged, RetryOptions, Sent, errors
from rerank_async.bulk import (
    JobError,
    JobStoppedError,
    Outage,
    OutageOver,
    OutputError,
    QueryDone,
    SourceError,
    Started,
    outage,
    plan_file,
    rerank_file,
)

ONCE = RetryOptions(max_attempts=1)
SPENT = RetryOptions(budget=0)
"""As after many failures: one retry a second, for all queries together, so that none fails for good for a while."""


@pytest.fixture
def source(tmp_path):
    return write_jsonl(tmp_path / "queries.jsonl", queries(20))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "ranked.jsonl"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(outage, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(outage, "LONGEST_PAUSE", 0.002)


async def test_awaited_it_runs_to_the_end(server, source, out):
    async with client_for(server) as client:
        summary = await rerank_file(client, source, out)
    assert (summary.queries, summary.done, summary.failed, summary.complete) == (20, 20, 0, True)
    assert (summary.requests, summary.inputs, summary.output) == (20, 100, str(out))
    assert by_id(lines(out)) == {value["id"]: ranked(value) for value in queries(20)}


async def test_iterated_it_hands_out_each_query_once_it_is_kept(server, source, out):
    async with client_for(server) as client:
        job = rerank_file(client, source, out, max_in_flight=3)
        seen = {}
        async with job:
            async for done in job:
                assert done.id in by_id(lines(out))
                seen[done.id] = [(result.index, result.score) for result in done.response.results]
    assert set(seen) == {value["id"] for value in queries(20)}
    assert job.summary.complete


async def test_left_early_it_can_be_resumed(server, source, out):
    async with client_for(server) as client:
        async with rerank_file(client, source, out, max_in_flight=2) as job:
            async for _ in job:
                break
        assert client_tasks() == []
        assert not job.summary.complete
        summary = await rerank_file(client, source, out, max_in_flight=2, resume=True)
    assert summary.complete
    assert summary.resumed >= 1
    assert server.counts.rerank <= 20 + 2
    assert by_id(lines(out)) == {value["id"]: ranked(value) for value in queries(20)}


@pytest.mark.parametrize("ordered", [False, True])
async def test_it_tells_what_was_finished_or_had_failed_before_it_began(server, source, out, ordered):
    source.write_bytes(b"nonsense\n" * ordered + source.read_bytes())
    async with client_for(server) as client:
        async with rerank_file(client, source, out, ordered=ordered, max_in_flight=2) as job:
            async for done in job:
                if done.error is None:
                    break
        assert job.summary.resumed == 0
        before = job.summary.done + ordered
        summary = await rerank_file(client, source, out, ordered=ordered, resume=True)
        assert (summary.resumed, summary.done, summary.failed) == (before, 20, ordered)
        summary = await rerank_file(client, source, out, ordered=ordered, resume=True)
        assert summary.resumed == 20 + ordered, "of a finished job, all"
        source.write_bytes(source.read_bytes().removeprefix(b"nonsense\n"))
        await rerank_file(client, source, out, ordered=ordered, overwrite=True)
        assert (await rerank_file(client, source, out, ordered=ordered, resume=True)).resumed == 20


async def test_stopped_before_its_first_query_it_tells_so_too(server, source, out):
    async with client_for(server) as client:
        await rerank_file(client, source, out)

        def watch(event):
            if isinstance(event, Started):
                job.stop()

        job = rerank_file(client, source, out, resume=True, observer=watch)
        summary = await job
    assert (summary.resumed, summary.done, summary.complete) == (20, 20, False)


async def test_stopped_it_returns_what_it_did(server, source, out):
    async with client_for(server) as client:

        def watch(event):
            if isinstance(event, QueryDone):
                job.stop()

        job = rerank_file(client, source, out, max_in_flight=2, observer=watch)
        summary = await job
        assert not summary.complete
        assert 1 <= summary.done <= 3
        assert (await rerank_file(client, source, out, resume=True)).done == 20


async def test_cancelled_it_leaves_nothing_running(server, source, out):
    async with client_for(server) as client:
        task = asyncio.create_task(_awaited(rerank_file(client, source, out)))
        while server.counts.rerank < 3:  # noqa: ASYNC110 - the server has no events
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client_tasks() == []
        assert (await rerank_file(client, source, out, resume=True)).done == 20


async def _awaited(job):
    return await job


async def test_an_observer_hears_of_the_job_and_of_its_requests_and_the_clients_own_does_too(server, source, out):
    heard, own = [], []
    async with client_for(server, observer=own.append) as client:
        await rerank_file(client, source, out, observer=heard.append)
    kinds = [type(event) for event in heard]
    assert kinds[0] is Started
    assert [kinds.count(kind) for kind in (QueryDone, Sent, Merged)] == [20, 20, 20]
    assert [type(event) for event in own].count(Sent) == 20


async def test_an_observer_that_raises_is_logged_and_the_job_goes_on(server, source, out, caplog):
    def fails(event):
        raise RuntimeError("mine")

    async with client_for(server) as client:
        assert (await rerank_file(client, source, out, observer=fails)).done == 20
    assert "an observer raised" in caplog.text


async def test_a_stream_takes_the_results_in_order(server, source):
    stream = io.BytesIO()
    async with client_for(server) as client:
        summary = await rerank_file(client, source, stream, ordered=True, max_in_flight=2)
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == list(map(ranked, queries(20)))
    assert summary.output == "-"


async def test_a_job_runs_once(server, source, out):
    async with client_for(server) as client:
        job = rerank_file(client, source, out)
        await job
        with pytest.raises(errors.ClientStateError, match="make a new one"):
            await job


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"on_error": "maybe"}, "on_error"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"max_outage": -1}, "max_outage"),
        ({"depth": 0}, "depth"),
        ({"resume": True, "overwrite": True}, "overwrite"),
        ({"corpus": "c"}, "corpus"),
        ({"source": None}, "source"),
        ({"source": None, "run": "r", "corpus": "c", "queries": "q", "tag": "two words"}, "tag"),
        ({"source": None, "run": "r", "corpus": "c", "queries": "q", "tag": ""}, "tag"),
        ({"source": None, "run": "r", "corpus": "c", "queries": "q", "tag": "a\udcff"}, "tag"),
        ({"tag": "mine"}, "tag"),
        ({"output": ""}, "output"),
        ({"output": io.StringIO()}, "output"),
        ({"output": io.BufferedReader(io.BytesIO())}, "output"),
        ({"output": None}, "output"),
        ({"source": ""}, "source"),
        ({"source": None, "run": "r", "corpus": "", "queries": "q"}, "corpus"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_wrong_argument_is_named_at_once(server, options, argument):
    async with client_for(server) as client:
        arguments = {"source": "q.jsonl", "output": "out", **options}
        with pytest.raises(errors.InvalidArgumentError) as caught:
            rerank_file(client, **arguments)
    assert caught.value.argument == argument


async def test_its_errors_are_errors_of_this_package(server, source, out, tmp_path):
    async with client_for(server) as client:
        with pytest.raises(SourceError):
            await rerank_file(client, tmp_path / "absent", out)
        with pytest.raises(OutputError):
            await rerank_file(client, source, tmp_path / "no" / "x")
        out.write_text("x\n")
        with pytest.raises(JobError) as caught:
            await rerank_file(client, source, out)
    assert isinstance(caught.value, errors.RerankError)


@pytest.mark.parametrize("options", [{"overwrite": True}, {"resume": True}, {"ordered": True, "overwrite": True}, {}])
@pytest.mark.parametrize("compressed", [False, True])
async def test_an_output_that_is_the_source_is_refused_and_left_as_it_is(server, tmp_path, options, compressed):
    source = write_jsonl(tmp_path / "q.jsonl", queries(2))
    if compressed:
        source = tmp_path / "q.jsonl.gz"
        source.write_bytes(gzip.compress((tmp_path / "q.jsonl").read_bytes()))
    content, there = source.read_bytes(), sorted(tmp_path.iterdir())
    async with client_for(server) as client:
        with pytest.raises(JobError, match="is the same file as the source"):
            await rerank_file(client, source, tmp_path / "." / source.name, **options)
    assert (source.read_bytes(), sorted(tmp_path.iterdir())) == (content, there)


@pytest.mark.parametrize("name", ["corpus", "queries", "run"])
async def test_an_output_that_is_a_file_of_a_run_is_refused_and_left_as_it_is(server, tmp_path, name):
    (tmp_path / "run").write_text("q Q0 d 1 1.0 t\n")
    (tmp_path / "queries").write_text("q\twhy\n")
    (tmp_path / "corpus").write_text("d\ttext\n")
    files = {each: tmp_path / each for each in ("run", "queries", "corpus")}
    content = files[name].read_bytes()
    async with client_for(server) as client:
        with pytest.raises(JobError, match="is the same file as the"):
            await rerank_file(client, None, files[name], **files, overwrite=True)
    assert files[name].read_bytes() == content


async def test_a_plan_counts_what_a_job_sends(server, source, out):
    async with client_for(server) as client:
        plan = await plan_file(client, source, depth=2)
        assert server.counts.rerank == 0
        summary = await rerank_file(client, source, out, depth=2)
    assert (plan.queries, plan.inputs, plan.requests) == (20, 40, summary.requests)


@pytest.mark.parametrize("rate", [2.0, 8.0, 20.0])
async def test_a_plan_takes_as_long_as_the_job(tmp_path, out, monkeypatch, rate):
    clock, sent, answered = FakeClock(), [], []
    monkeypatch.setattr("rerank_async.api_client.MonotonicClock", lambda: clock)
    source = write_jsonl(
        tmp_path / "q.jsonl",
        [
            *queries(75),
            {"id": "same", "query": "a", "inputs": ["x", "y"] * 1250},
            {"id": "many", "query": "a", "inputs": [f"text {number}" for number in range(1001)]},
            {"id": "none", "query": "a", "inputs": []},
            *({**value, "id": f"again-{value['id']}"} for value in queries(22)),
        ],
    )

    def watch(event):
        if isinstance(event, Sent):
            sent.append(clock.now())
        elif isinstance(event, Answered):
            answered.append(clock.now())

    async with service() as server, client_for(server, limits=LimitOptions(requests_per_second=rate)) as client:
        plan = await plan_file(client, source)
        began = clock.now()
        running = asyncio.create_task(_awaited(rerank_file(client, source, out, observer=watch)))
        while not running.done():
            await asyncio.sleep(0)
            if clock.pending and len(sent) == len(answered):  # the next request waits for the limit
                clock.stall(clock.pending[0] - clock.now())
                clock.run_due()
        summary = await running
    assert plan.requests == summary.requests == len(sent) == 75 + 1 + 2 + 22
    assert plan.seconds == pytest.approx(sent[-1] - began, rel=0.1)
    assert plan.seconds == pytest.approx((100 - rate) / rate, rel=0.1), "a burst of one second, then one by one"


@pytest.mark.parametrize("name", codecs.NAMES)
async def test_half_of_a_surrogate_pair_fails_its_line_alone_under_either_codec(server, tmp_path, out, name):
    good = queries(2)
    source = write_jsonl(tmp_path / "q.jsonl", [good[0], {"id": "\ud800", "query": "q", "inputs": ["a"]}, good[1]])
    with codecs.use_codec(name):
        async with client_for(server) as client:
            summary = await rerank_file(client, source, out)
            assert (summary.done, summary.failed) == (2, 1)
            assert (await rerank_file(client, source, out, resume=True)).complete
    (failed,) = lines(out.with_name("ranked.jsonl.failed.jsonl"))
    assert (failed["line"], failed["code"]) == (2, "bad_line")
    assert by_id(lines(out)) == {value["id"]: ranked(value) for value in good}


@pytest.mark.parametrize("ordered", [True, False])
async def test_what_a_job_that_was_killed_while_it_wrote_has_left_is_removed(server, source, out, ordered):
    left = [out.with_name(f".{out.name}{end}.{pid}.tmp") for end in ("", ".job.json") for pid in (7, os.getpid())]
    others = [out.with_name(f".{name}.7.tmp") for name in ("ranked", "ranked.jsonl.more", "queries.jsonl")]
    for path in (*left, *others):
        path.write_bytes(b"half")
    async with client_for(server) as client:
        await rerank_file(client, source, out, ordered=ordered, resume=True)
    assert [path for path in left if path.exists()] == []
    assert [path for path in others if not path.exists()] == []


@pytest.mark.parametrize(
    "before", [b"", b'{"id": "bad", "line": 21, "code": "bad_line", "message": "m", "trace": null}\n']
)
async def test_a_torn_line_of_the_list_of_failures_does_not_outlive_the_job(server, source, out, before):
    failed = out.with_name("ranked.jsonl.failed.jsonl")
    with source.open("ab") as file:
        file.write(b"nonsense\n" if before else b"")
    async with client_for(server) as client:
        async with rerank_file(client, source, out, max_in_flight=2) as job:
            async for _ in job:
                break
        failed.write_bytes(before + b'{"id": "q3", "li')
        summary = await rerank_file(client, source, out, resume=True)
    assert (summary.done, summary.failed) == (20, bool(before))
    assert (failed.read_bytes() if failed.exists() else b"") == before
    assert failed.exists() == bool(before)


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_other_order_does_not_go_on_with_a_journal_that_it_would_not_find(server, source, out, ordered):
    async with client_for(server) as client:
        async with rerank_file(client, source, out, ordered=ordered, max_in_flight=2) as job:
            async for _ in job:
                break
        there = {path: path.read_bytes() for path in out.parent.iterdir()}
        with pytest.raises(JobError, match="is of another job: the order of the output was"):
            await rerank_file(client, source, out, ordered=not ordered, resume=True)
        assert {path: path.read_bytes() for path in out.parent.iterdir()} == there
        assert (await rerank_file(client, source, out, ordered=ordered, resume=True)).resumed >= 1


async def test_another_order_from_the_beginning_leaves_no_journal_of_before(server, source, out):
    async with client_for(server) as client:
        async with rerank_file(client, source, out, ordered=True, max_in_flight=2) as job:
            async for _ in job:
                break
        assert out.with_name("ranked.jsonl.journal").exists()
        await rerank_file(client, source, out, overwrite=True)
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "queries.jsonl",
        "ranked.jsonl",
        "ranked.jsonl.job.json",
    ]


async def test_without_resume_too_it_is_said_that_the_output_is_of_another_job(server, source, out):
    async with client_for(server) as client:
        await rerank_file(client, source, out)
        with pytest.raises(JobError, match="is of another job: the depth was null, now it is 2"):
            await rerank_file(client, source, out, depth=2)
        with pytest.raises(JobError, match="--resume goes on with it"):
            await rerank_file(client, source, out)


# Outages


async def test_an_outage_is_waited_out_and_fails_no_query(source, out):
    heard = []

    def answer(seen):
        return refusal(503, "unavailable", "Down") if 5 <= seen.number < 30 else honest(seen)

    async with service(answer) as server, client_for(server, retries=ONCE) as client:
        summary = await rerank_file(client, source, out, max_in_flight=4, observer=heard.append)
    assert (summary.done, summary.failed, summary.outages) == (20, 0, 1)
    kinds = [type(event) for event in heard if isinstance(event, Outage | OutageOver)]
    assert kinds[0] is Outage
    assert kinds[-1] is OutageOver
    assert by_id(lines(out)) == {value["id"]: ranked(value) for value in queries(20)}


async def test_an_outage_that_lasts_stops_the_job_and_lists_no_query(source, out):
    def answer(seen):
        return refusal(503, "unavailable", "Down") if seen.number >= 5 else honest(seen)

    async with service(answer) as server, client_for(server, retries=ONCE) as client:
        with pytest.raises(JobStoppedError, match="has not answered for") as caught:
            await rerank_file(client, source, out, max_in_flight=4, max_outage=0)
        assert isinstance(caught.value.reason, errors.ServiceError)
        assert len(lines(out)) == 4
        assert not out.with_name("ranked.jsonl.failed.jsonl").exists()


@pytest.fixture
def _suspicious(monkeypatch):
    monkeypatch.setattr(outage, "SUSPICIOUS", 0.05)


@pytest.mark.usefixtures("_suspicious")
async def test_the_clients_own_retries_do_not_hide_an_outage(source, out):
    heard = []

    def answer(seen):
        return refusal(503, "unavailable", "Down") if seen.number >= 5 else honest(seen)

    async with service(answer) as server, client_for(server, retries=SPENT) as client, asyncio.timeout(10):
        with pytest.raises(JobStoppedError, match="has not answered for 1 s"):
            await rerank_file(client, source, out, max_in_flight=8, max_outage=1, observer=heard.append)
    assert next(event for event in heard if isinstance(event, Outage)).seconds < 0.5
    assert not out.with_name("ranked.jsonl.failed.jsonl").exists()


@pytest.mark.usefixtures("_suspicious")
async def test_after_an_outage_in_the_middle_of_retries_everything_goes_on(source, out):
    down = True

    def answer(seen):
        return refusal(503, "unavailable", "Down") if down and seen.number >= 5 else honest(seen)

    def hear(event):
        nonlocal down
        down = down and not isinstance(event, Outage)

    async with service(answer) as server, client_for(server, retries=SPENT) as client, asyncio.timeout(10):
        summary = await rerank_file(client, source, out, max_in_flight=3, observer=hear)
    assert (summary.done, summary.failed, summary.outages) == (20, 0, 1)
    assert by_id(lines(out)) == {value["id"]: ranked(value) for value in queries(20)}


async def test_a_service_that_is_down_from_the_start_stops_the_job_in_time(source, out):
    async with service() as server:
        pass
    async with client_for(server, retries=RetryOptions()) as client, asyncio.timeout(10):
        with pytest.raises(JobStoppedError, match="has not answered for") as caught:
            await rerank_file(client, source, out, max_outage=0.1)
    assert isinstance(caught.value.reason, errors.NoAnswerError)


async def test_a_token_quota_that_ends_meanwhile_stops_the_job_at_once(source, out):
    def answer(seen):
        return refusal(403, "token_quota_reached", "Used up") if seen.number >= 5 else honest(seen)

    async with service(answer) as server, client_for(server) as client:
        with pytest.raises(JobStoppedError, match="Used up") as caught:
            await rerank_file(client, source, out, max_in_flight=2)
    assert isinstance(caught.value.reason, errors.QuotaExceededError)
    assert not out.with_name("ranked.jsonl.failed.jsonl").exists()


async def test_a_query_that_fails_while_others_do_not_is_given_up_in_the_end(source, out):
    poisoned = queries(20)[7]["query"]

    def answer(seen):
        return refusal(500, "downstream", "Oh") if seen.json["query"] == poisoned else honest(seen)

    wrong = {value["id"] for value in queries(20) if value["query"] == poisoned}
    async with service(answer) as server, client_for(server, retries=ONCE) as client:
        summary = await rerank_file(client, source, out, max_in_flight=4)
    assert (summary.done, summary.failed, summary.outages) == (20 - len(wrong), len(wrong), 0)
    failed = lines(out.with_name("ranked.jsonl.failed.jsonl"))
    assert {line["id"] for line in failed} == wrong
    assert {(line["code"], line["trace"]) for line in failed} == {("downstream", "0123456789abcdef")}


async def test_refusals_of_every_query_from_the_first_on_stop_the_job(tmp_path, out):
    source = write_jsonl(tmp_path / "q.jsonl", queries(60))
    async with (
        service(lambda seen: refusal(400, "invalid_input_argument", "Bad project")) as server,
        client_for(server) as client,
    ):
        with pytest.raises(
            JobStoppedError, match=r"refused each of the first 20 queries.*other parameters.*--overwrite"
        ):
            await rerank_file(client, source, out, max_in_flight=2)
        assert len(server.seen) <= 22


async def test_on_error_stop_ends_with_the_services_error(source, out):
    def answer(seen):
        return refusal(400, "invalid_input_argument", "No") if seen.number == 5 else honest(seen)

    async with service(answer) as server, client_for(server) as client:
        with pytest.raises(JobStoppedError, match=r"query 'q4' \(line 5\)") as caught:
            await rerank_file(client, source, out, max_in_flight=1, on_error="stop")
        assert isinstance(caught.value.reason, errors.BadRequestError)
        assert (await rerank_file(client, source, out, resume=True)).done == 20


# Going on


async def test_a_job_that_was_just_broken_off_waits_until_a_window_of_the_limit_has_passed(server, source, out):
    limits = LimitOptions(requests_per_second=10.0, burst=10_000)
    clock = FakeClock()
    async with client_for(server, limits=limits) as client:
        async with rerank_file(client, source, out, max_in_flight=2) as job:
            async for _ in job:
                break
        job = rerank_file(client, source, out, resume=True)
        job._clock = clock
        running = asyncio.create_task(_awaited(job))
        while not clock.pending:  # noqa: ASYNC110 - a thread reads the source meanwhile
            await asyncio.sleep(0)
        (due,) = clock.pending
        assert 500 < due - clock.now() <= 1000
        sent = server.counts.rerank
        clock.stall(1000)
        clock._timers[0][2].run()
        assert (await running).complete
        assert server.counts.rerank > sent


@pytest.mark.parametrize("how", ["stopped", "left", "cancelled"])
async def test_a_job_that_waits_for_the_limit_ends_at_once(server, source, out, how):
    clock = FakeClock()
    async with client_for(server, limits=LimitOptions(requests_per_second=10.0, burst=10_000)) as client:
        async with rerank_file(client, source, out, max_in_flight=2) as job:
            async for _ in job:
                break
        sent = server.counts.rerank
        job = rerank_file(client, source, out, resume=True)
        job._clock = clock
        async with asyncio.timeout(10):
            if how == "left":
                async with job:
                    await until(lambda: clock.pending)
            else:
                running = asyncio.create_task(_awaited(job))
                await until(lambda: clock.pending)
                if how == "stopped":
                    job.stop()
                    assert not (await running).complete
                else:
                    running.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await running
        assert (clock.pending, client_tasks(), server.counts.rerank) == ([], [], sent)
        assert not job.summary.complete
