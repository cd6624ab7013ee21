"""Standard streams that are closed, as cron's scripts and daemons may leave them, or for which there is no room."""

import json
import shlex
from pathlib import Path

import pytest
from support import commands
from support.bulk_jobs import by_id, lines, queries, ranked, write_jsonl
from support.commands import CLI, one_sentence

from rerank_async.cli.exits import Exit

LOCAL = "--local --model lexical"
BULK = f"bulk s.jsonl -o out.jsonl {LOCAL}"

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "s.jsonl", queries(3))
    (tmp_path / "a.run").write_text("q Q0 d 1 1.0 t\n")
    (tmp_path / "qrels").write_text("q 0 d 1\n")


async def shell(line):
    """The command as a shell starts it; without an address where it does not ask for a local server."""
    address = {"WATSONX_URL": "http://127.0.0.1:9", "WATSONX_APIKEY": "k", "WATSONX_PROJECT_ID": "p"}
    return await commands.run(command=("bash", "-c", f"{shlex.join(CLI)} {line}"), **address)


@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&- <&-", "2>/dev/full"])
async def test_a_job_needs_no_standard_streams(tmp_path, streams):
    ran = await shell(f"{BULK} --ordered {streams}")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert lines(tmp_path / "out.jsonl") == list(map(ranked, queries(3)))


@pytest.mark.parametrize(
    "line",
    [
        f"bulk - -o out.jsonl {LOCAL}",
        "eval --qrels qrels -",
        "eval --qrels - a.run",
        f"rank q - {LOCAL}",
        "auth check --credentials -",
    ],
)
async def test_standard_input_that_is_closed_is_an_input_that_is_missing(line):
    ran = await shell(f"{line} <&-")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "standard input is closed, so there is nothing to read; name a file" in one_sentence(ran)


@pytest.mark.parametrize(
    "line",
    [
        f"bulk s.jsonl -o - {LOCAL}",
        f"{BULK} --json",
        "bulk s.jsonl --dry-run",
        "bulk s.jsonl --dry-run --json",
        "eval --qrels qrels a.run",
        "eval --qrels qrels a.run --json",
        f"rank q a.run {LOCAL}",
        "serve --port 0",
    ],
)
async def test_standard_output_that_is_closed_or_full_cannot_be_written(tmp_path, line):
    ran = await shell(f"{line} >&-")
    assert ran.code == Exit.UNWRITTEN
    assert "standard output is closed, so nothing can be written to it" in one_sentence(ran)
    assert not (tmp_path / "out.jsonl").exists(), "it is said before the work, not behind it"
    ran = await shell(f"{line} >/dev/full")
    assert ran.code == Exit.UNWRITTEN
    assert ran.err.splitlines()[-1].startswith("rerank-async: cannot write ")
    assert ran.err.endswith(": No space left on device\n")


async def test_a_job_whose_summary_finds_no_room_is_done_and_says_so(tmp_path):
    ran = await shell(f"{BULK} --json >/dev/full")
    assert ran.code == Exit.UNWRITTEN
    assert "3 of 3 queries done" in ran.err
    assert by_id(lines(tmp_path / "out.jsonl")) == {value["id"]: ranked(value) for value in queries(3)}
    assert json.loads((tmp_path / "out.jsonl.job.json").read_bytes())["finished"]
