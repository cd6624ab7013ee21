"""kill -9 where no request is under way: an index is built, a job begins, the output is put together."""

import gzip
import os
import signal
import sys

import pytest
from support import commands
from support.bulk_jobs import WORDS, write_jsonl
from support.services import service

COUNT = 12
FAST = ("--model", "lexical", "--requests-per-second", "inf")
FORMS = {"run": ("out.run", ()), "json lines": ("out.jsonl", ("--ordered",)), "gzip": ("out.jsonl.gz", ())}
BUILDING = [
    ("corpus.jsonl", "index_is_half_written"),
    ("corpus.jsonl", "before_name:/corpus.jsonl.rerank-index"),
    ("corpus.jsonl", "after_name:/corpus.jsonl.rerank-index"),
    ("corpus.jsonl.gz", "copy_is_not_committed"),
    ("corpus.jsonl.gz", "before_name:/corpus.jsonl.gz.rerank-index"),
    ("corpus.jsonl.gz", "after_name:/corpus.jsonl.gz.rerank-index"),
]
BEGINNING = ["before_name:/{out}.job.json", "after_name:/{out}.job.json"]
ASSEMBLING = ["third_result_is_assembled", "before_name:/{out}", "after_name:/{out}"]
ENDING = [f"{moment}:2" for moment in BEGINNING]  # the same file, written again
MOMENTS = [(form, moment) for form in FORMS for moment in ASSEMBLING]
MOMENTS += [("run", moment) for moment in (*BEGINNING, *ENDING)]


def collection(folder):
    """A run over a corpus that is there plain and compressed."""
    folder.mkdir()
    corpus = [{"_id": f"d{number}", "text": " ".join(WORDS[number % 11 :: number % 3 + 1])} for number in range(40)]
    plain = write_jsonl(folder / "corpus.jsonl", corpus)
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    write_jsonl(folder / "queries.jsonl", [{"_id": f"q{n}", "text": WORDS[n % 11]} for n in range(COUNT)])
    rows = [f"q{query} Q0 d{3 * query + rank} {rank} {-rank} t\n" for query in range(COUNT) for rank in range(1, 5)]
    (folder / "first.run").write_text("".join(rows))


async def bulk(folder, moment, server, out, *options, corpus="corpus.jsonl"):
    """The same command each time, killed at a moment."""
    files = ("--run", folder / "first.run", "--corpus", folder / corpus, "--queries", folder / "queries.jsonl")
    args = ("bulk", *map(str, files), "-o", str(folder / out), *FAST, "--resume", *options)
    command = (sys.executable, "-W", "error", "-m", "support.killed", moment)
    return await commands.run(*args, server=server, command=command, PYTHONPATH=os.pathsep.join(sys.path))


@pytest.fixture
def folders(tmp_path):
    """Two folders with the same: one for an undisturbed run, and one."""
    found = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in found:
        collection(folder)
    return found


@pytest.mark.parametrize(("corpus", "moment"), BUILDING)
async def test_while_an_index_is_built(folders, corpus, moment):
    apart, folder = folders
    built = moment.startswith("after")
    async with service() as server:
        assert (await bulk(apart, "never", server, "out.run", corpus=corpus)).code == 0
        ran = await bulk(folder, moment, server, "out.run", corpus=corpus)
        assert (ran.code, len(server.seen)) == (-signal.SIGKILL, COUNT), ran.err
        assert (folder / f"{corpus}.rerank-index").exists() == built
        ran = await bulk(folder, "never", server, "out.run", corpus=corpus)
        assert (ran.code, len(server.seen)) == (0, 2 * COUNT), ran.err
        assert ("built the index" in ran.err) != built
    assert (folder / "out.run").read_bytes() == (apart / "out.run").read_bytes()


@pytest.mark.parametrize(("form", "moment"), MOMENTS)
async def test_when_a_job_begins_and_while_the_output_is_put_together(folders, form, moment):
    apart, folder = folders
    out, options = FORMS[form]
    async with service() as server:
        assert (await bulk(apart, "never", server, out, *options)).code == 0
        ran = await bulk(folder, moment.format(out=out), server, out, *options)
        sent = 0 if moment in BEGINNING else COUNT
        assert (ran.code, len(server.seen)) == (-signal.SIGKILL, COUNT + sent), ran.err
        assert (folder / out).exists() == (moment in ("after_name:/{out}", *ENDING))
        ran = await bulk(folder, "never", server, out, *options)
        assert (ran.code, len(server.seen)) == (0, 2 * COUNT), "what is in the journal is not sent again"
    assert (folder / out).read_bytes() == (apart / out).read_bytes()
    assert not (folder / f"{out}.journal").exists()
