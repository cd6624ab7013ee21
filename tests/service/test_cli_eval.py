"""`eval` as a user meets it: pipes, and what is wrong in one sentence. Beside `bulk` it stands in test_bulk_cli.py."""

import shlex

import pytest
from support import commands
from support.commands import CLI, one_sentence

from rerank_async.cli.exits import Exit


@pytest.mark.parametrize("form", ["run", "one row", "JSON Lines"])
async def test_eval_reads_a_run_from_a_pipe_from_its_first_line_on(tmp_path, form):
    qrels, run = tmp_path / "qrels", tmp_path / "a.run"
    qrels.write_text("q1 0 d1 1\nq2 0 d2 1\n")
    content = {
        "run": b"q1 Q0 d1 1 2.0 t\nq2 Q0 d3 1 2.0 t\nq2 Q0 d2 2 1.0 t\n",
        "one row": b"q1 Q0 d1 1 2.0 t\n",
        "JSON Lines": b'{"id": "q1", "results": [{"id": "d1", "score": 2.0}]}\n',
    }[form]
    run.write_bytes(content)
    args = ("eval", "--qrels", str(qrels), "--measures", "RR@10")
    piped = await commands.run(*args, "-", stdin=content)
    assert (piped.code, piped.rows) == (0, [["-", "0.7500" if form == "run" else "0.5000"]])
    assert (await commands.run(*args, str(run))).rows[0][1] == piped.rows[0][1]
    line = f"{shlex.join(CLI)} {shlex.join(args)} <(cat {run})"
    assert (await commands.run(command=("bash", "-c", line))).rows[0][1] == piped.rows[0][1]
    ran = await commands.run("eval", "--qrels", "-", "-", stdin=content)
    assert ran.code == Exit.USAGE
    assert "standard input can be read as one file only" in one_sentence(ran)


@pytest.mark.parametrize("content", [b"", b"\n \n"], ids=["empty", "blank lines"])
async def test_an_empty_run_lacks_every_query(tmp_path, content):
    qrels, full, empty = tmp_path / "qrels", tmp_path / "a.run", tmp_path / "e.run"
    qrels.write_text("q1 0 d1 1\nq2 0 d2 1\n")
    full.write_bytes(b"q1 Q0 d1 1 2.0 t\n")
    empty.write_bytes(content)
    ran = await commands.run("eval", "--qrels", str(qrels), "--measures", "RR@10", str(full), str(empty))
    assert (ran.code, ran.rows[:2]) == (0, [[str(full), "0.5000"], [str(empty), "0.0000"]])
    assert f"{empty} lacks 2 of 2 judged queries; they count as 0" in ran.err
    ran = await commands.run("eval", "--qrels", str(qrels), "--measures", "RR@10", "-", stdin=content)
    assert (ran.code, ran.rows) == (0, [["-", "0.0000"]])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("a.run", "a.run"), "named twice"),
        (("a.run", "--measures", "best@3"), "'best@3' is not one that ir-measures knows"),
        (("absent.run",), "cannot read absent.run"),
        (("bad.run",), "line 1: 2 fields where"),
    ],
    ids=["twice", "measure", "absent", "bad"],
)
async def test_eval_says_what_is_wrong(tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.run").write_text("q Q0 d 1 1 t\n")
    (tmp_path / "bad.run").write_text("q d\n")
    (tmp_path / "qrels").write_text("q 0 d 1\n")
    ran = await commands.run("eval", "--qrels", "qrels", *args)
    assert ran.code == Exit.USAGE
    assert words in one_sentence(ran)


async def test_eval_without_the_extra_says_what_to_install(tmp_path):
    (tmp_path / "a.run").write_text("q Q0 d 1 1 t\n")
    (tmp_path / "qrels").write_text("q 0 d 1\n")
    code = "import sys; sys.modules['ir_measures'] = None; from rerank_async.cli import main; sys.exit(main())"
    args = ("eval", "--qrels", str(tmp_path / "qrels"), str(tmp_path / "a.run"))
    ran = await commands.run(*args, command=(commands.sys.executable, "-c", code))
    assert ran.code == Exit.USAGE
    assert "pip install '.[eval]' in a checkout" in one_sentence(ran)
