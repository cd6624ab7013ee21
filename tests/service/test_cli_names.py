"""Names that a command is given: empty ones, as a variable of the shell that is not set leaves, and such as are no UTF-8."""

import json
import os
import pty
import subprocess

import pytest
from support import commands
from support.bulk_jobs import by_id, lines, queries, ranked, write_jsonl
from support.commands import CLI, one_sentence

from rerank_async.cli.exits import Exit

LOCAL = ("--local", "--model", "lexical")
RUN = ("--run", "r", "--corpus", "c", "--queries", "q")


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("bulk", "s.jsonl", *LOCAL, "-o", ""), "'-o' / '--output'"),
        (("bulk", *LOCAL, "-o", "x", ""), "'[SOURCE]'"),
        (("bulk", *RUN, "-o", "x", *LOCAL, "--run", ""), "'--run'"),
        (("bulk", *RUN, "-o", "x", *LOCAL, "--corpus", ""), "'--corpus'"),
        (("bulk", *RUN, "-o", "x", *LOCAL, "--queries", ""), "'--queries'"),
        (("bulk", "s.jsonl", "-o", "x", "--local", "--model", ""), "'--model'"),
        (("bulk", "s.jsonl", "--dry-run", "--url", ""), "'--url'"),
        (("eval", "--qrels", "", "a.run"), "'--qrels'"),
        (("eval", "--qrels", "s.jsonl", "a.run", ""), "'RUN...'"),
        (("rank", "q", "", *LOCAL), "'FILE'"),
        (("rank", "q", "s.jsonl", "--local", "--model", ""), "'--model'"),
    ],
    ids=lambda value: value[-2] if isinstance(value, tuple) else "",
)
async def test_an_empty_name_is_wrong_usage_and_means_no_default(tmp_path, monkeypatch, args, named):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "s.jsonl", queries(1))
    ran = await commands.run(*args, WATSONX_URL="http://127.0.0.1:9", WATSONX_APIKEY="k", WATSONX_PROJECT_ID="p")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert f"Invalid value for {named}: it is empty; if it comes from a variable of the shell" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["s.jsonl"]


# Not UTF-8. On Linux a file's name is any bytes; Python gives such bytes as half of a surrogate pair.


@pytest.fixture
def odd(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"s\xff.jsonl")
    try:
        write_jsonl(tmp_path / name, queries(3))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    return name


async def test_a_job_with_names_that_are_not_utf_8_is_done_and_resumed(tmp_path, odd):
    out = os.fsdecode(b"r\xff.jsonl")
    ran = await commands.run("bulk", odd, "-o", out, "--json", *LOCAL)
    assert ran.code == 0
    assert json.loads(ran.out)["output"] == out
    assert by_id(lines(tmp_path / out)) == {value["id"]: ranked(value) for value in queries(3)}
    assert json.loads((tmp_path / f"{out}.job.json").read_bytes())["source"]["name"] == odd
    ran = await commands.run("bulk", odd, "-o", out, "--json", "--resume", *LOCAL)
    assert (ran.code, json.loads(ran.out)["resumed"]) == (0, 3)


async def test_a_tag_that_is_not_utf_8_is_refused_before_anything_is_written(tmp_path, odd):
    ran = await commands.run("bulk", *RUN, "-o", "x.run", "--tag", os.fsdecode(b"a\xff"), *LOCAL)
    assert ran.code == Exit.USAGE
    assert r"tag must be UTF-8, which 'a\udcff' is not" in one_sentence(ran)
    assert [path.name for path in tmp_path.iterdir()] == [odd]


async def test_a_table_and_lines_show_a_name_that_is_not_utf_8_with_escapes(tmp_path, odd):
    run = os.fsdecode(b"a\xff[b].run")
    for name in (run, "b.run"):
        (tmp_path / name).write_text("q Q0 d 1 1.0 t\n")
    (tmp_path / "qrels").write_text("q 0 d 1\n")
    args = ("eval", "--qrels", "qrels", "--measures", "AP", run, "b.run")
    assert (await commands.run(*args)).rows[0] == [r"a\udcff[b].run", "1.0000"]
    reading, terminal = pty.openpty()
    subprocess.run([*CLI, *args], stdout=terminal, check=True)  # noqa: ASYNC221 - short, and its output fits the terminal
    os.close(terminal)
    shown = os.read(reading, 100_000).decode()
    os.close(reading)
    assert r"a\udcff[b].run" in shown
    assert r"against a\udcff[b].run" in shown
