"""What a job reads changes, between two runs of it or during one."""

import gzip
import os

import pytest
from support.bulk_jobs import by_id, lines, queries, ranked, write_jsonl
from support.clients import client_for

from rerank_async.bulk import JobError, SourceError, Started, plan_file, reader, rerank_file, reranking
from rerank_async.bulk.lookup import open_texts
from rerank_async.bulk.source import Source

COUNT = 20
RUN = "".join(f"q{query} Q0 d{rank} {rank} {-rank} t\n" for query in range(COUNT) for rank in range(1, 4))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "ranked.jsonl"


@pytest.fixture(params=["lines", "lines.gz", "run", "run.gz"])
def files(request, tmp_path):
    """What `rerank_file` reads; the first of them is the main file."""
    kind, _, end = request.param.partition(".")
    write_jsonl(tmp_path / "lines", queries(COUNT))
    (tmp_path / "run").write_text(RUN)
    (tmp_path / "corpus").write_text("".join(f"d{number}\ttext {number}\n" for number in range(4)))
    (tmp_path / "queries").write_text("".join(f"q{number}\tquery {number}\n" for number in range(COUNT)))
    main = tmp_path / request.param
    if end:
        main.write_bytes(gzip.compress((tmp_path / kind).read_bytes()))
    if kind == "lines":
        return {"source": main}
    return {"run": main, "corpus": tmp_path / "corpus", "queries": tmp_path / "queries"}


def job_of(client, files, out, **options):
    more = dict(files)
    return rerank_file(client, more.pop("source", None), out, max_in_flight=2, **more, **options)


def content_of(path):
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def write(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


# Between two runs


@pytest.mark.parametrize("where", ["first", "between", "last"])
@pytest.mark.parametrize("blank", [b"\n", b"  \n"])
async def test_a_blank_line_more_or_less_is_a_change(server, files, out, where, blank):
    main = next(iter(files.values()))
    then = content_of(main)
    rows = then.splitlines(keepends=True)
    place = {"first": 0, "between": 3, "last": len(rows)}[where]
    more = b"".join([*rows[:place], blank, *rows[place:]])
    for before, after in ((then, more), (more, then)):
        write(main, before)
        async with client_for(server) as client:
            async with job_of(client, files, out, overwrite=True) as job:
                async for _ in job:
                    break
            write(main, after)
            with pytest.raises(JobError, match="has changed since the job began"):
                await job_of(client, files, out, resume=True)
            write(main, before)
            assert (await job_of(client, files, out, resume=True)).complete


async def test_with_a_blank_line_more_no_query_takes_the_place_of_one_that_failed(server, tmp_path, out):
    good = queries(3)
    source = write_jsonl(tmp_path / "q.jsonl", [good[0], {"id": "bad"}, *good[1:]])
    then = source.read_bytes()
    async with client_for(server) as client:
        async with rerank_file(client, source, out, max_in_flight=1) as job:
            async for done in job:
                if done.error is not None:
                    break
        out.write_bytes(b"")  # killed before the first query came back
        source.write_bytes(b"\n" + then)
        with pytest.raises(JobError, match="the source has changed since the job began"):
            await rerank_file(client, source, out, resume=True)
        source.write_bytes(then)
        summary = await rerank_file(client, source, out, resume=True)
    assert (summary.done, summary.failed, summary.complete) == (3, 1, True)
    assert by_id(lines(out)) == {value["id"]: ranked(value) for value in good}


async def test_a_compressed_source_that_was_compressed_anew_is_the_same(server, tmp_path, out):
    source = tmp_path / "q.jsonl.gz"
    content = write_jsonl(tmp_path / "q.jsonl", queries(COUNT)).read_bytes()
    source.write_bytes(gzip.compress(content, 1))
    async with client_for(server) as client:
        await rerank_file(client, source, out)
        source.write_bytes(gzip.compress(content, 9))
        assert (await rerank_file(client, source, out, resume=True)).complete


# During a run


@pytest.fixture
def _small_helpings(monkeypatch):
    monkeypatch.setattr(reader, "HELPING", 4)


@pytest.fixture
def old_files(files):
    """As `files`, written an hour ago: times of files are exact to some milliseconds only."""
    for path in files.values():
        then = path.stat().st_mtime - 3600
        os.utime(path, (then, then))
    return files


def rewritten(then):
    """Other content of the same length."""
    return then.replace(b" d1 ", b" d0 ").replace(b"market", b"garden")


def longer(then):
    last = then.splitlines(keepends=True)[-1]
    return then + last.replace(b"q19", b"q20")


def shorter(then):
    return then[: then.rindex(b"q9")]


async def interrupted_by(change, job):
    """Runs a job, and makes a change once its first query is kept."""
    async with job:
        async for _ in job:
            change()
            change = lambda: None  # noqa: E731 - once


@pytest.mark.usefixtures("_small_helpings")
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("change", [rewritten, longer, shorter])
async def test_a_source_that_is_written_while_the_job_runs_ends_it_and_nothing_new_is_sent(
    server, old_files, out, change, ordered
):
    main = next(iter(old_files.values()))
    then = content_of(main)
    async with client_for(server) as client:
        undisturbed = out.with_name("undisturbed.jsonl")
        await job_of(client, old_files, undisturbed, ordered=ordered)
        right, sent = sorted(undisturbed.read_bytes().splitlines()), server.counts.rerank
        job = job_of(client, old_files, out, ordered=ordered)
        with pytest.raises(SourceError, match=f"{main} has changed since this job began .* go on with --resume, or"):
            await interrupted_by(lambda: write(main, change(then)), job)
        assert (job.summary.complete, job.summary.failed) == (False, 0)
        assert 1 <= job.summary.done <= 8
        with pytest.raises(JobError, match="has changed since the job began"):
            await job_of(client, old_files, out, ordered=ordered, resume=True)
        write(main, then)
        summary = await job_of(client, old_files, out, ordered=ordered, resume=True)
    assert (summary.done, summary.failed, summary.complete) == (COUNT, 0, True)
    assert sorted(out.read_bytes().splitlines()) == right
    assert server.counts.rerank <= sent + COUNT + 2


@pytest.mark.usefixtures("_small_helpings")
async def test_a_source_that_is_replaced_or_removed_while_the_job_runs_is_read_on_as_it_was(server, old_files, out):
    main = next(iter(old_files.values()))
    another = main.with_name(f"another-{main.name}")
    write(another, rewritten(content_of(main)))
    async with client_for(server) as client:
        undisturbed = out.with_name("undisturbed.jsonl")
        await job_of(client, old_files, undisturbed, ordered=True)
        for overwrite, change in ((False, lambda: another.replace(main)), (True, main.unlink)):
            if overwrite:
                await job_of(client, old_files, undisturbed, ordered=True, overwrite=True)
            job = job_of(client, old_files, out, ordered=True, overwrite=overwrite)
            await interrupted_by(change, job)
            assert job.summary.complete
            assert out.read_bytes() == undisturbed.read_bytes()


@pytest.mark.parametrize("change", [rewritten, longer, shorter])
async def test_so_is_one_that_is_replaced_between_its_first_reading_and_its_second(server, old_files, out, change):
    main = next(iter(old_files.values()))
    then = content_of(main)
    another = main.with_name(f"another-{main.name}")

    def replace(event):
        if isinstance(event, Started):
            write(another, change(then))
            another.replace(main)

    async with client_for(server) as client:
        undisturbed = out.with_name("undisturbed.jsonl")
        await job_of(client, old_files, undisturbed, ordered=True)
        assert (await job_of(client, old_files, out, ordered=True, observer=replace)).complete
        assert out.read_bytes() == undisturbed.read_bytes()
        with pytest.raises(JobError, match="has changed since the job began"):
            await job_of(client, old_files, out, ordered=True, resume=True)


@pytest.mark.usefixtures("_small_helpings")
@pytest.mark.parametrize("name", ["corpus", "queries"])
@pytest.mark.parametrize("files", ["run"], indirect=True)
async def test_so_does_a_corpus_or_a_file_of_queries_that_is_looked_up_on_the_disk(
    server, old_files, out, name, monkeypatch
):
    monkeypatch.setitem(open_texts.__kwdefaults__, "in_memory", 0)
    path = old_files[name]
    then = path.read_bytes()
    async with client_for(server) as client:
        job = job_of(client, old_files, out)
        with pytest.raises(SourceError, match=f"{path} has changed since this job began"):
            await interrupted_by(lambda: path.write_bytes(then.replace(b"e", b"x")), job)
        assert not job.summary.complete
        path.write_bytes(then)
        assert (await job_of(client, old_files, out, resume=True)).done == COUNT


def test_a_source_that_is_written_while_it_is_read_for_the_first_time_is_refused(old_files):
    more = dict(old_files)
    source = Source(more.pop("source", None) and str(old_files["source"]), **{name: str(more[name]) for name in more})
    source.open()
    main = next(iter(old_files.values()))
    write(main, longer(content_of(main)))
    with pytest.raises(SourceError, match="has changed since this job began"):
        source.survey()
    source.close()


async def test_a_plan_of_a_source_that_changed_meanwhile_is_none(server, tmp_path, monkeypatch):
    source = write_jsonl(tmp_path / "q.jsonl", queries(COUNT))
    plan_of = reranking.plan_of

    def changing(*args):
        source.write_bytes(b"")
        return plan_of(*args)

    monkeypatch.setattr(reranking, "plan_of", changing)
    async with client_for(server) as client:
        with pytest.raises(SourceError, match="has changed since this job began"):
            await plan_file(client, source)


async def test_a_job_whose_numbers_do_not_add_up_is_not_called_complete(server, tmp_path, out):
    source = write_jsonl(tmp_path / "q.jsonl", queries(COUNT))
    failed = out.with_name("ranked.jsonl.failed.jsonl")
    for ordered in (False, True):
        async with client_for(server) as client:
            async with rerank_file(client, source, out, ordered=ordered, overwrite=True, max_in_flight=2) as job:
                async for _ in job:
                    break
            failed.write_bytes(b'{"id": "q99", "line": 99, "code": "c", "message": "m", "trace": null}\n')
            job = rerank_file(client, source, out, ordered=ordered, resume=True)
            with pytest.raises(JobError, match="20 queries are finished and 1 failed, but the source holds 20"):
                await job
            assert not job.summary.complete


async def test_a_finished_job_whose_numbers_do_not_add_up_is_not_called_complete_either(server, tmp_path, out):
    source = write_jsonl(tmp_path / "q.jsonl", queries(COUNT))
    identity = out.with_name("ranked.jsonl.job.json")
    async with client_for(server) as client:
        await rerank_file(client, source, out, ordered=True)
        identity.write_text(identity.read_text().replace('"done": 20', '"done": 19'))
        with pytest.raises(JobError, match="19 queries are finished and 0 failed, but the source holds 20"):
            await rerank_file(client, source, out, ordered=True, resume=True)


# Nothing has


async def test_what_is_finished_is_not_sent_again(server, files, out):
    for ordered in (False, True):
        sent = server.counts.rerank
        async with client_for(server) as client:
            async with job_of(client, files, out, ordered=ordered, overwrite=True) as job:
                async for _ in job:
                    break
            assert (await job_of(client, files, out, ordered=ordered, resume=True)).done == COUNT
        assert server.counts.rerank <= sent + COUNT + 2
        assert len(by_id(lines(out))) == len(lines(out)) == COUNT


async def test_an_id_that_is_no_utf_8_is_not_taken_for_one_that_is_finished(server, tmp_path, out):
    (tmp_path / "run").write_bytes(b"\xef\xbf\xbd Q0 d 1 1.0 t\nq Q0 d 1 1.0 t\n\xff Q0 d 1 1.0 t\n")
    (tmp_path / "corpus").write_text("d\ttext\n")
    (tmp_path / "queries").write_text("q\ta query\n\N{REPLACEMENT CHARACTER}\tanother\n")
    files = {name: tmp_path / name for name in ("run", "corpus", "queries")}
    async with client_for(server) as client:
        await job_of(client, files, out)
        out.with_name("ranked.jsonl.failed.jsonl").unlink()
        summary = await job_of(client, files, out, resume=True)
    assert (summary.done, summary.failed) == (2, 1)
