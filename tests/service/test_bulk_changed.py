"""What a job reads changes, between two runs of it or during one."""

import gzip

import pytest
from support.bulk_jobs import by_id, lines, queries, ranked, write_jsonl
from support.clients import client_for

from rerank_async.bulk import JobError, rerank_file

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
