"""Names that a command is given and can do nothing with: empty ones, as a variable of the shell that is not set leaves."""

import pytest
from support import commands
from support.bulk_jobs import queries, write_jsonl

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
