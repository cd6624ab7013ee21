"""What others do to the files of a job while it runs: a second process, and whoever moves or removes them."""

import gzip
import json

import pytest
from support import commands
from support.bulk_jobs import lines, queries, ranked, write_jsonl
from support.clients import client_for
from support.services import honest, refusal, service

from rerank_async.bulk import JobError, OutputError, ledger, rerank_file
from rerank_async.bulk.files import JobFiles
from rerank_async.bulk.journal import Journal
from rerank_async.cli.exits import Exit

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


# Whoever moves or removes a file

MOVED = "it was moved or removed while the job wrote it; put it back and go on with"


async def changed_by(change, job):
    """Runs a job, and makes a change once its first query is kept."""
    async with job:
        async for _ in job:
            change()
            change = lambda: None  # noqa: E731 - once


@pytest.mark.parametrize(("ordered", "name"), [(False, "ranked.jsonl"), (True, "ranked.jsonl.journal")])
@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
async def test_a_job_whose_file_is_gone_says_so_and_can_go_on_when_it_is_back(server, source, out, ordered, name, how):
    path, aside = out.with_name(name), out.with_name("aside")

    def change():
        path.rename(aside)
        if how == "replaced":
            path.write_bytes(b"mine\n")

    async with client_for(server) as client:
        job = rerank_file(client, source, out, ordered=ordered, max_in_flight=2)
        with pytest.raises(OutputError, match=f"cannot write {path}: {MOVED}"):
            await changed_by(change, job)
        assert not job.summary.complete
        kept = len(lines(aside))
        assert kept == COUNT
        sent = server.counts.rerank
        if how == "removed":
            aside.unlink()
        else:
            aside.replace(path)
        assert (await rerank_file(client, source, out, ordered=ordered, resume=True)).done == COUNT
        assert server.counts.rerank == sent + (COUNT if how == "removed" else 0)
    assert content(out) == RIGHT
    assert names(out.parent) == FINISHED


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_job_whose_folder_is_gone_says_so(server, source, tmp_path, ordered):
    folder = tmp_path / "folder"
    folder.mkdir()
    async with client_for(server) as client:
        job = rerank_file(client, source, folder / "out.jsonl", ordered=ordered, max_in_flight=2)
        with pytest.raises(OutputError, match=MOVED):
            await changed_by(lambda: folder.rename(tmp_path / "aside"), job)


async def test_a_list_of_failures_that_is_gone_is_noticed_too(server, source, out):
    source.write_bytes(b"nonsense\n" + source.read_bytes())
    failed = out.with_name("ranked.jsonl.failed.jsonl")
    async with client_for(server) as client:
        job = rerank_file(client, source, out, max_in_flight=2)
        with pytest.raises(OutputError, match=f"cannot write {failed}: {MOVED}"):
            await changed_by(failed.unlink, job)
        assert not job.summary.complete
        summary = await rerank_file(client, source, out, resume=True)
    assert (summary.done, summary.failed) == (COUNT, 1)
    assert len(lines(failed)) == 1


async def test_a_file_that_is_gone_is_noticed_long_before_the_end(server, tmp_path, out):
    source = write_jsonl(tmp_path / "queries.jsonl", queries(300))
    async with client_for(server) as client:
        job = rerank_file(client, source, out, max_in_flight=2)
        with pytest.raises(OutputError, match=MOVED):
            await changed_by(out.unlink, job)
    assert server.counts.rerank < 100


# Under another name


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("there", [True, False], ids=["file", "dangling"])
async def test_an_output_that_is_a_link_stays_one(server, source, tmp_path, ordered, there):
    folder, link = tmp_path / "folder", tmp_path / "link.jsonl"
    folder.mkdir()
    link.symlink_to("folder/store")
    if there:
        (folder / "store").write_bytes(b"before\n")
    async with client_for(server) as client:
        async with rerank_file(client, source, link, max_in_flight=2, ordered=ordered, overwrite=there) as job:
            async for _ in job:
                break
        summary = await rerank_file(client, source, link, ordered=ordered, resume=True)
    assert (summary.output, summary.done, summary.complete) == (str(link), COUNT, True)
    assert link.is_symlink()
    assert content(folder / "store") == RIGHT
    assert names(folder) == ["store", "store.job.json"]
    assert names(tmp_path) == ["folder", "link.jsonl", "queries.jsonl"]


async def test_a_link_is_compressed_by_its_own_name(server, source, tmp_path):
    link = tmp_path / "link.jsonl.gz"
    link.symlink_to("store")
    async with client_for(server) as client:
        await rerank_file(client, source, link)
    assert [json.loads(line) for line in gzip.decompress((tmp_path / "store").read_bytes()).splitlines()] == RIGHT


async def test_a_link_to_what_is_no_file_is_refused_by_its_own_name(server, source):
    args = ("bulk", str(source), "-o", "/dev/stdout", "--model", "lexical")
    ran = await commands.run(*args, server=server)
    assert ran.code == Exit.USAGE
    assert "/dev/stdout is not a plain file; name one, or - for standard output" in commands.one_sentence(ran)


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_second_job_is_seen_under_the_name_of_a_link(server, source, tmp_path, out, ordered):
    link = tmp_path / "link.jsonl"
    link.symlink_to(out.name)
    seen = False
    async with client_for(server) as client:
        async with rerank_file(client, source, out, ordered=ordered, max_in_flight=2) as job:
            async for _ in job:
                if not seen:
                    with pytest.raises(JobError, match="another process writes"):
                        await rerank_file(client, source, link, ordered=ordered, overwrite=True)
                    seen = True
        assert content(out) == RIGHT
    assert link.is_symlink()


async def test_what_is_finished_of_standard_input_is_looked_for_where_the_link_leads(tmp_path, source):
    folder, link = tmp_path / "folder", tmp_path / "link.jsonl"
    folder.mkdir()
    link.symlink_to(folder / "store")
    args = ("bulk", "-", "-o", str(link), "--model", "lexical", "--requests-per-second", "inf", "--ordered")
    async with service(lambda seen: refusal(403, "token_quota_reached", "Used up")) as server:
        ran = await commands.run(*args, server=server, stdin=source.read_bytes())
    assert f"what is finished is in {folder / 'store.journal'}, but standard input cannot be resumed" in ran.err


# What the command line makes of it


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda source, out: out.unlink(), Exit.UNWRITTEN, MOVED),
        (lambda source, out: source.write_bytes(b""), Exit.USAGE, "has changed since this job began to read it"),
    ],
    ids=["output", "source"],
)
async def test_the_summary_is_written_whatever_ended_the_job(tmp_path, out, change, code, words):
    source = write_jsonl(tmp_path / "queries.jsonl", queries(300))
    args = ("bulk", str(source), "-o", str(out), "--model", "lexical", "--requests-per-second", "inf", "--resume")

    def answer(seen):
        if seen.number == 10:
            change(source, out)
        return honest(seen)

    for options in (("--json",), ()):
        out.unlink(missing_ok=True)
        write_jsonl(source, queries(300))
        async with service(answer) as server:
            ran = await commands.run(*args, "--max-in-flight", "2", *options, server=server)
        assert ran.code == code
        assert words in commands.one_sentence(ran)
        if options:
            summary = json.loads(ran.out)
            assert (summary["complete"], summary["queries"], summary["failed"]) == (False, 300, 0)
            assert 9 <= summary["done"] <= 96
        else:
            assert ran.out == ""


async def test_a_job_that_did_not_begin_has_no_summary(server, source, out):
    out.write_bytes(b"mine\n")
    ran = await commands.run("bulk", str(source), "-o", str(out), "--model", "lexical", "--json", server=server)
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "is there" in commands.one_sentence(ran)
