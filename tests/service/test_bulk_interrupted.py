"""A job that is broken off, in whatever way, goes on with `--resume` and ends with the file of an undisturbed run."""

import asyncio
import errno
import json
import os
import random
import shlex
import signal
import subprocess
import sys

import pytest
from support import commands
from support.bulk_jobs import lines, queries, write_jsonl
from support.commands import CLI, one_sentence, start
from support.services import honest, refusal, service

from rerank_async.bulk.journal import Journal
from rerank_async.cli.exits import Exit

IN_FLIGHT = 8
COUNT = 300
FAST = ("--model", "lexical", "--requests-per-second", "inf", "--max-in-flight", str(IN_FLIGHT))
FORMS = {"as completed": ("ranked.jsonl", ()), "ordered": ("ranked.jsonl", ("--ordered",)), "gzip": ("r.jsonl.gz", ())}


@pytest.fixture
def source(tmp_path):
    return write_jsonl(tmp_path / "queries.jsonl", queries(COUNT))


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def form(request, tmp_path):
    """An output, and the options that make its form."""
    name, options = request.param
    return tmp_path / name, options


def content(out):
    """The output's bytes; of one in the order of completion, its lines in an order of their own."""
    found = out.read_bytes()
    return sorted(found.splitlines()) if out.suffix == ".jsonl" and not ordered(out) else found


def ordered(out):
    return b'"ordered": true' in out.with_name(f"{out.name}.test").read_bytes()


async def undisturbed(source, out, options, server, code=0):
    """The content that an undisturbed run gives, which ends with this exit code."""
    apart = out.with_name("undisturbed") / out.name
    apart.parent.mkdir(exist_ok=True)
    ran = await commands.run("bulk", str(source), "-o", str(apart), *FAST, *options, server=server)
    assert ran.code == code, ran.err
    for each in (out, apart):
        each.with_name(f"{each.name}.test").write_text('"ordered": true' if "--ordered" in options else "")
    return content(apart)


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.endswith((".journal", ".tmp", ".failed.jsonl")))


class Killer:
    """Answers honestly, and sends a signal to the process once a number of requests was seen."""

    def __init__(self):
        self.process = None
        self.number = signal.SIGKILL
        self.at = None
        self.reached = asyncio.Event()

    def __call__(self, seen):
        if self.at is not None and seen.number >= self.at:
            self.at = None
            self.reached.set()
            self.process.send_signal(self.number)
        return honest(seen)

    async def run(self, server, source, out, *options, after):
        """Runs the command until it is ended after so many requests; its exit code and words."""
        self.process = await start("bulk", str(source), "-o", str(out), *FAST, *options, server=server)
        self.at = len(server.seen) + after
        said, told = await self.process.communicate()
        return commands.Ran(self.process.returncode, said, told)


async def test_kill_9_at_random_moments_loses_nothing_and_repeats_little(source, form):
    out, options = form
    draw, killer, kills = random.Random(f"{out}"[-12:]), Killer(), 0
    async with service(killer) as server:
        right = await undisturbed(source, out, options, server)
        before = len(server.seen)
        while kills < 6:
            ran = await killer.run(server, source, out, "--resume", *options, after=draw.randint(1, 45))
            assert ran.code == -signal.SIGKILL
            kills += 1
            if kills % 2:  # a line that was not finished, as the end of a machine may leave it
                journal = out if out.exists() else out.with_name(f"{out.name}.journal")
                with journal.open("ab") as file:
                    file.write(draw.choice([b'{"id":"q7","resul', b'{"at":299,"id', b"\0" * 40, b"{}x\n"]))
        ran = await commands.run("bulk", str(source), "-o", str(out), *FAST, "--resume", *options, server=server)
        assert ran.code == 0, ran.err
        assert content(out) == right
        assert len(server.seen) - before <= COUNT + IN_FLIGHT * kills
        assert leftovers(out.parent) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
async def test_an_interrupted_job_says_how_to_go_on(source, form, number):
    out, options = form
    killer = Killer()
    killer.number = number
    async with service(killer) as server:
        right = await undisturbed(source, out, options, server)
        ran = await killer.run(server, source, out, *options, after=40)
        assert ran.code == Exit.INTERRUPTED
        assert "stopped: the same command with --resume goes on" in ran.err
        assert "Traceback" not in ran.err
        ran = await commands.run("bulk", str(source), "-o", str(out), *FAST, *options, server=server)
        assert ran.code == Exit.USAGE
        assert "is of a job that was not finished" in one_sentence(ran) or "is there" in one_sentence(ran)
        ran = await commands.run("bulk", str(source), "-o", str(out), *FAST, "--resume", *options, server=server)
        assert (ran.code, content(out)) == (0, right)


@pytest.mark.parametrize(("options", "where"), [((), ""), (("--ordered",), ".journal")], ids=["plain", "ordered"])
async def test_an_interrupted_job_from_standard_input_does_not_promise_that_it_can_be_resumed(
    tmp_path, source, options, where
):
    out, killer = tmp_path / "ranked.jsonl", Killer()

    def answer(seen):
        if seen.number == 40:
            killer.process.send_signal(signal.SIGINT)
        return honest(seen)

    async with service(answer) as server:
        killer.process = await start("bulk", "-", "-o", str(out), *FAST, *options, server=server)
        _, told = await killer.process.communicate(source.read_bytes())
        assert killer.process.returncode == Exit.INTERRUPTED
        assert f"what is finished is in {out}{where}, but standard input cannot be resumed: begin anew" in told.decode()
        assert "--resume goes on" not in told.decode()
        ran = await commands.run("bulk", "-", "-o", str(out), *FAST, *options, server=server, stdin=b"")
        assert ran.code == Exit.USAGE
        assert "standard input cannot be gone on with, --overwrite begins anew" in one_sentence(ran)


async def test_a_second_ctrl_c_does_not_wait_for_what_is_under_way(source, form):
    out, options = form
    hanging, reached = asyncio.Event(), asyncio.Event()

    async def answer(seen):
        if seen.number > before + 20:
            reached.set()
            await hanging.wait()
        return honest(seen)

    async with service(answer) as server:
        before = 10**9
        right = await undisturbed(source, out, options, server)
        before = len(server.seen)
        process = await start("bulk", str(source), "-o", str(out), *FAST, *options, server=server)
        await reached.wait()
        process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)  # two at once are one
        process.send_signal(signal.SIGINT)
        _, told = await process.communicate()
        assert process.returncode == Exit.INTERRUPTED
        assert b"Traceback" not in told
        assert b"gone at once; the same command with --resume goes on" in told
        before = 10**9
        hanging.set()
        ran = await commands.run("bulk", str(source), "-o", str(out), *FAST, "--resume", *options, server=server)
        assert (ran.code, content(out)) == (0, right)


@pytest.mark.parametrize(
    ("refuse", "code", "words"),
    [
        (lambda: refusal(403, "token_quota_reached", "Used up"), Exit.REFUSED, "Used up"),
        (lambda: refusal(403, "no_associated_service_instance_error", "No instance"), Exit.REFUSED, "No instance"),
        (lambda: refusal(404, "model_not_supported", "No such model"), Exit.USAGE, "No such model"),
    ],
    ids=["quota", "permission", "model"],
)
async def test_a_refusal_that_holds_for_all_stops_the_job_and_fails_no_query(source, form, refuse, code, words):
    out, options = form
    limit = 10**9

    def answer(seen):
        return refuse() if seen.number > limit else honest(seen)

    async with service(answer) as server:
        right = await undisturbed(source, out, options, server)
        limit = len(server.seen) + 100
        ran = await commands.run("bulk", str(source), "-o", str(out), *FAST, *options, "--json", server=server)
        assert ran.code == code
        summary = json.loads(ran.out)
        assert (summary["complete"], summary["failed"], 90 <= summary["done"] <= 100) == (False, 0, True)
        *_, counts, way_on, why = ran.err.splitlines()
        assert f"{summary['done']} of 300 queries done, 0 failed" in counts
        assert way_on == "rerank-async: stopped: the same command with --resume goes on"
        assert words in why
        assert "the job stops" in why
        assert len(server.seen) <= limit + IN_FLIGHT
        limit = 10**9
        ran = await commands.run("bulk", str(source), "-o", str(out), *FAST, "--resume", *options, server=server)
        assert (ran.code, content(out)) == (0, right)
        assert leftovers(out.parent) == []


async def test_a_service_that_is_gone_for_too_long_stops_the_job_and_fails_no_query(tmp_path, source):
    out = tmp_path / "ranked.jsonl"
    killer = Killer()
    async with service(killer) as server:
        right = await undisturbed(source, out, ("--ordered",), server)
        killer.number = signal.SIGSTOP
        process = asyncio.create_task(killer.run(server, source, out, "--ordered", "--max-outage", "0", after=50))
        await killer.reached.wait()
    killer.process.send_signal(signal.SIGCONT)  # nobody listens any more
    ran = await process
    assert ran.code == Exit.SERVICE
    assert "the service has not answered for" in ran.err
    assert leftovers(tmp_path) == ["ranked.jsonl.journal"]
    async with service() as server:
        ran = await commands.run("bulk", str(source), "-o", str(out), *FAST, "--resume", "--ordered", server=server)
        assert (ran.code, content(out)) == (0, right)


async def test_a_source_that_changed_since_is_refused_and_the_job_goes_on_with_the_first_one(source, form):
    out, options = form
    killer = Killer()
    again = ("bulk", str(source), "-o", str(out), *FAST, "--resume", *options)
    async with service(killer) as server:
        right = await undisturbed(source, out, options, server)
        ran = await killer.run(server, source, out, *options, after=COUNT // 2)
        assert ran.code == -signal.SIGKILL
        then, kept, sent = source.read_bytes(), everything(out), len(server.seen)
        write_jsonl(source, queries(COUNT, seed=2))
        ran = await commands.run(*again, server=server)
        assert ran.code == Exit.USAGE
        assert "the source has changed since the job began" in one_sentence(ran)
        assert (everything(out), len(server.seen)) == (kept, sent)
        source.write_bytes(then)
        ran = await commands.run(*again, server=server)
        assert (ran.code, content(out)) == (0, right)
        assert len(server.seen) <= sent + COUNT // 2 + IN_FLIGHT
        assert leftovers(out.parent) == []


def everything(out):
    """What a job has left, by name."""
    return {path.name: path.read_bytes() for path in out.parent.glob(f"{out.name}*")}


async def test_a_bad_line_stops_the_job_if_asked_to_and_is_listed_when_it_goes_on(source, form):
    out, options = form
    rows = source.read_bytes().splitlines(keepends=True)
    source.write_bytes(b"".join([*rows[:200], b'{"id": "torn", "query": "mar\n', *rows[200:]]))
    words = f"{source}, line 201: not JSON at character 25: Unterminated string"
    args = ("bulk", str(source), "-o", str(out), *FAST, *options)
    async with service() as server:
        right = await undisturbed(source, out, options, server, code=Exit.SOME_FAILED)
        ran = await commands.run(*args, "--on-error", "stop", server=server)
        assert ran.code == Exit.USAGE
        assert words in ran.err
        assert "Traceback" not in ran.err
        ran = await commands.run(*args, "--on-error", "stop", "--resume", server=server)
        assert (ran.code, len(server.seen)) == (Exit.USAGE, COUNT + 200), "what is finished is not sent again"
        ran = await commands.run(*args, "--resume", server=server)
        assert (ran.code, content(out)) == (Exit.SOME_FAILED, right)
        assert len(server.seen) == 2 * COUNT
        (failed,) = lines(out.with_name(f"{out.name}.failed.jsonl"))
        assert (failed["line"], failed["code"]) == (201, "bad_line")
        assert words in failed["message"]


async def test_a_job_that_was_begun_anew_or_reads_a_pipe_says_how_it_goes_on_too(source, tmp_path):
    async with service(lambda seen: refusal(403, "token_quota_reached", "Used up")) as server:
        out = str(tmp_path / "ranked.jsonl")
        ran = await commands.run("bulk", str(source), "-o", out, *FAST, "--overwrite", server=server)
        assert "the same command with --resume in the place of --overwrite goes on" in ran.err
        content = source.read_bytes()
        ran = await commands.run("bulk", "-", "-o", out, *FAST, "--overwrite", server=server, stdin=content)
        assert "standard input cannot be resumed: begin anew with --overwrite" in ran.err
        ran = await commands.run("bulk", "-", "-o", "-", *FAST, server=server, stdin=content)
        assert "-o - keeps nothing to resume" in ran.err


SLOW_START = """
import sys, time
from rerank_async.cli import connection, main
def slow(*args, **more):
    print("loading", flush=True)
    time.sleep(60)
connection._local = slow
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
async def test_a_signal_while_the_model_is_loaded_ends_with_the_documented_code(source, tmp_path, number):
    args = ("bulk", str(source), "-o", str(tmp_path / "ranked.jsonl"), "--local", "--model", "lexical")
    process = await start("-c", SLOW_START, *args, command=(commands.sys.executable,))
    await process.stdout.readline()
    process.send_signal(number)
    _, told = await process.communicate()
    assert (process.returncode, b"Traceback" in told) == (Exit.INTERRUPTED, False)


# A full disk

FULL = f"""
import errno, os, sys
from rerank_async.bulk import journal
left, write = 30_000, os.write
def full(file, data):
    global left
    if len(data) > left:
        raise OSError({errno.ENOSPC}, os.strerror({errno.ENOSPC}))
    left -= len(data)
    return write(file, data[: len(data) // 2 or 1])
journal.os = type("Os", (), dict(vars(os), write=staticmethod(full)))
from rerank_async.cli import main
sys.exit(main())
"""


def can_mount():
    return subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("way", ["small tmpfs", "writer"])
async def test_a_full_disk_ends_the_job_with_its_own_code_and_the_job_goes_on_when_there_is_room(
    tmp_path, source, form, way
):
    out, options = form
    async with service() as server:
        right = await undisturbed(source, out, options, server)
        command = [*CLI, "bulk", str(source), "-o", out.name, *FAST, *options]
        if way == "small tmpfs" and can_mount():
            folder = tmp_path / "small"
            folder.mkdir()
            script = f"""
                mount -t tmpfs -o size=32k none {folder} && cd {folder} || exit 99
                {shlex.join(command)}; echo "first: $?"
                mount -o remount,size=8m {folder}
                {shlex.join([*command, "--resume"])} 2>/dev/null; echo "second: $?"
                cp {out.name} {out}
            """
            ran = await commands.run("-c", script, server=server, command=("unshare", "-rm", "sh"))
            assert ran.out.split("\n")[:2] == [f"first: {Exit.UNWRITTEN}", "second: 0"], ran.err
        else:
            full = ("-c", FULL, *command[len(CLI) :][:1], str(source), "-o", str(out), *FAST, *options)
            ran = await commands.run(*full, server=server, command=(commands.sys.executable,))
            assert ran.code == Exit.UNWRITTEN
            again = await commands.run("bulk", str(source), "-o", str(out), *FAST, *options, "--resume", server=server)
            assert again.code == 0
        assert "No space left on device; make room or choose another place" in ran.err
        assert content(out) == right


FULL_SCRATCH = """
import sqlite3, sys
from support.bulk_jobs import small_databases
sqlite3.connect = small_databases(sqlite3.connect)
from rerank_async.cli import main
sys.exit(main())
"""


async def test_no_room_for_temporary_files_ends_the_job_likewise(tmp_path, source, form):
    out, options = form
    args = ("bulk", str(source), "-o", str(out), *FAST, *options)
    async with service() as server:
        right = await undisturbed(source, out, options, server)
        by_hand = (commands.sys.executable, "-c", FULL_SCRATCH)
        ran = await commands.run(
            *args, server=server, command=by_hand, SQLITE_TMPDIR=str(tmp_path), PYTHONPATH=os.pathsep.join(sys.path)
        )
        assert ran.code == Exit.UNWRITTEN
        words = f"cannot write the temporary files for the ids that were read in {tmp_path}: database or disk is full"
        assert words in one_sentence(ran)
        assert "name another folder in SQLITE_TMPDIR, then give the same command again, with --resume" in ran.err
        ran = await commands.run(*args, "--resume", server=server)
        assert (ran.code, content(out)) == (0, right)
        assert len(server.seen) <= 2 * COUNT + IN_FLIGHT


# Beside the journal


async def test_another_process_at_the_same_job_is_refused(source, tmp_path):
    out = tmp_path / "ranked.jsonl"
    async with service() as server:
        journal = Journal(out)
        ran = await commands.run("bulk", str(source), "-o", str(out), *FAST, server=server)
        assert ran.code == Exit.USAGE
        assert "another process writes" in one_sentence(ran)
        journal.close()
        assert (await commands.run("bulk", str(source), "-o", str(out), *FAST, "--resume", server=server)).code == 0
        assert len(lines(out)) == COUNT


async def test_a_journal_with_a_foreign_line_is_refused(source, tmp_path):
    out = tmp_path / "ranked.jsonl"
    async with service() as server:
        await commands.run("bulk", str(source), "-o", str(out), *FAST, server=server)
        first, *rest = out.read_bytes().splitlines(keepends=True)
        out.write_bytes(b"".join([first, b"hello\n", *rest]))
        ran = await commands.run("bulk", str(source), "-o", str(out), *FAST, "--resume", server=server)
        assert ran.code == Exit.USAGE
        assert f"{out}, line 2: not a finished query" in one_sentence(ran)


async def test_a_reader_of_the_pipe_that_has_seen_enough_is_no_error(source):
    async with service() as server:
        line = f"set -o pipefail; {shlex.join(CLI)} bulk {source} -o - {shlex.join(FAST)} | head -n 1"
        ran = await commands.run(server=server, command=("bash", "-c", line))
        assert (ran.code, len(ran.rows)) == (0, 1)
        assert "Traceback" not in ran.err
