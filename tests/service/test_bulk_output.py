"""What others do to the files of a job while it runs: a second process, and whoever moves or removes them."""

import pytest
from support.bulk_jobs import lines, queries, ranked, write_jsonl
from support.clients import client_for

from rerank_async.bulk import JobError, ledger, rerank_file
from rerank_async.bulk.files import JobFiles
from rerank_async.bulk.journal import Journal

COUNT = 20
RIGHT = [ranked(value) for value in queries(COUNT)]


@pytest.fixture
def source(tmp_path):
    return write_jsonl(tmp_path / "queries.jsonl", queries(COUNT))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "ranked.jsonl"


def content(out):
    """The results, in the source's order."""
    return sorted(lines(out), key=lambda value: int(value["id"][1:]))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


FINISHED = ["queries.jsonl", "ranked.jsonl", "ranked.jsonl.job.json"]

# A second process


@pytest.mark.parametrize("first", [False, True], ids=["first as completed", "first ordered"])
@pytest.mark.parametrize("second", [False, True], ids=["second as completed", "second ordered"])
async def test_a_second_job_at_the_output_is_refused_and_the_first_one_is_not_disturbed(
    server, source, out, first, second
):
    async with client_for(server) as client:
        job, refused = rerank_file(client, source, out, ordered=first, max_in_flight=2), 0
        async with job:
            async for _ in job:
                if refused:
                    continue
                there = names(out.parent)
                for options in ({"overwrite": True}, {"resume": True}, {}):
                    with pytest.raises(JobError) as caught:
                        await rerank_file(client, source, out, ordered=second, **options)
                    assert ("another process writes" in str(caught.value)) == (
                        "overwrite" in options or ("resume" in options and first == second)
                    )
                    refused += 1
                assert names(out.parent) == there
        assert job.summary.complete
        assert refused == 3
        assert content(out) == RIGHT
        assert names(out.parent) == FINISHED
        assert (await rerank_file(client, source, out, ordered=second, overwrite=True)).complete


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_second_job_that_begins_at_the_same_moment_is_seen_too(server, source, out, ordered, monkeypatch):
    files = JobFiles.of(str(out), appended=not ordered)
    others = []

    def journal(path):
        others.append(Journal(files.other))  # between the look for it and the own lock
        return Journal(path)

    monkeypatch.setattr(ledger, "Journal", journal)
    async with client_for(server) as client:
        with pytest.raises(JobError, match=f"another process writes {files.other};"):
            await rerank_file(client, source, out, ordered=ordered, overwrite=True)
    others[0].close()


async def test_a_job_that_another_process_has_just_finished_is_not_sent_again(server, source, out, monkeypatch):
    class Late(Journal):
        def __init__(self, path):
            identity.write_bytes(finished)
            super().__init__(path)

    identity = out.with_name("ranked.jsonl.job.json")
    async with client_for(server) as client:
        async with rerank_file(client, source, out, ordered=True, max_in_flight=2) as job:
            async for _ in job:
                break
        unfinished = identity.read_bytes()
        await rerank_file(client, source, out, ordered=True, resume=True)
        finished, sent = identity.read_bytes(), server.counts.rerank
        identity.write_bytes(unfinished)
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "Journal", Late)
            with pytest.raises(JobError, match=f"another process has just worked at {out}; give the same command"):
                await rerank_file(client, source, out, ordered=True, resume=True)
        assert (await rerank_file(client, source, out, ordered=True, resume=True)).done == COUNT
        assert server.counts.rerank == sent
    assert content(out) == RIGHT
