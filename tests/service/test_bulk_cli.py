"""`bulk` and `eval` as a user meets them: the real entry point in a process of its own, against a live local server."""

import csv
import gzip
import json
import os
import shlex

import pytest
from support import commands
from support.bulk_jobs import LONGEST_NAME, by_id, lines, queries, ranked, write_jsonl
from support.commands import CLI, one_sentence
from support.services import honest, refusal, service

from rerank_async.cli.exits import Exit

FAST = ("--model", "lexical", "--requests-per-second", "inf")


async def bulk(*args, server, **more):
    return await commands.run("bulk", *map(str, args), *FAST, server=server, **more)


@pytest.fixture
def source(tmp_path):
    return write_jsonl(tmp_path / "queries.jsonl", queries(12))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "ranked.jsonl"


# JSON Lines


async def test_every_query_is_ranked_as_the_model_alone_ranks_it(server, source, out):
    ran = await bulk(source, "-o", out, server=server)
    assert (ran.code, ran.out) == (0, "")
    assert by_id(lines(out)) == {value["id"]: ranked(value) for value in queries(12)}
    assert "12 of 12 queries done, 0 failed; 60 inputs in 12 requests" in ran.err
    assert server.counts.rerank == 12


async def test_ordered_output_has_the_sources_order_and_leaves_no_journal(server, source, out):
    ran = await bulk(source, "-o", out, "--ordered", server=server)
    assert ran.code == 0
    assert lines(out) == [ranked(value) for value in queries(12)]
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "queries.jsonl",
        "ranked.jsonl",
        "ranked.jsonl.job.json",
    ]


async def test_compressed_files_by_name(server, tmp_path):
    source = tmp_path / "q.jsonl.gz"
    source.write_bytes(gzip.compress(b"".join(json.dumps(value).encode() + b"\n" for value in queries(3))))
    ran = await bulk(source, "-o", tmp_path / "r.jsonl.gz", server=server)
    assert ran.code == 0
    content = (tmp_path / "r.jsonl.gz").read_bytes()
    assert [json.loads(line) for line in gzip.decompress(content).splitlines()] == list(map(ranked, queries(3)))
    assert content[4:8] == bytes(4), "a time inside would make two runs differ"


async def test_pipes_on_both_sides_in_order(server):
    content = b"".join(json.dumps(value).encode() + b"\n" for value in queries(40))
    ran = await bulk("-", "-o", "-", "--ordered", "--max-in-flight", 3, server=server, stdin=content)
    assert ran.code == 0
    assert [json.loads(line) for line in ran.out.splitlines()] == list(map(ranked, queries(40)))


async def test_plain_texts_are_named_by_index_and_a_missing_id_by_its_line(server, tmp_path, out):
    source = write_jsonl(tmp_path / "q.jsonl", [{"query": "market", "inputs": ["harbour", "market"]}])
    await bulk(source, "-o", out, server=server)
    (line,) = lines(out)
    assert line["id"] == 1
    assert [result["index"] for result in line["results"]] == [1, 0]


async def test_depth_top_n_and_params_reach_the_request(server, source, out):
    params = '{"truncate_input_tokens": 4}'
    ran = await bulk(source, "-o", out, "--depth", 4, "--top-n", 2, "--params", params, server=server)
    assert ran.code == 0
    assert all(len(line["results"]) == 2 for line in lines(out))
    assert {result["id"][-1] for line in lines(out) for result in line["results"]} <= set("0123")


async def test_no_candidates_is_an_empty_ranking_and_no_request(server, tmp_path, out):
    source = write_jsonl(tmp_path / "q.jsonl", [{"id": "a", "query": "x", "inputs": []}])
    ran = await bulk(source, "-o", out, server=server)
    assert (ran.code, lines(out), server.counts.rerank) == (0, [{"id": "a", "results": []}], 0)


async def test_the_summary_as_json(server, source, out):
    ran = await bulk(source, "-o", out, "--json", server=server)
    body = json.loads(ran.out)
    assert {name: body[name] for name in ("queries", "done", "failed", "inputs", "requests", "complete")} == {
        "queries": 12,
        "done": 12,
        "failed": 0,
        "inputs": 60,
        "requests": 12,
        "complete": True,
    }
    assert body["tokens"] > 0


async def test_local_needs_no_environment(source, out):
    ran = await commands.run("bulk", str(source), "-o", str(out), "--local", "--model", "lexical")
    assert ran.code == 0
    assert len(lines(out)) == 12


# Failures of single queries


def spoilt():
    return [
        *queries(2),
        {"id": "q0", "query": "again", "inputs": []},
        {"id": "no-query", "inputs": ["a"]},
        {"id": "empty", "query": " ", "inputs": ["a"]},
        {"id": "large", "query": "a", "inputs": ["x" * 10_000_000]},
        {"id": "long", "query": "a", "inputs": ["word " * 600]},
        {"id": "twins", "query": "a", "inputs": [{"id": 1, "text": "a"}, {"id": 1, "text": "b"}]},
    ]


async def test_what_fails_is_listed_with_its_line_and_the_rest_is_ranked(server, tmp_path, out):
    source = write_jsonl(tmp_path / "q.jsonl", spoilt())
    with source.open("ab") as file:
        file.write(b'{"id": "latin", "query": "caf\xe9", "inputs": []}\n[1]\n')
    ran = await bulk(source, "-o", out, server=server)
    assert ran.code == Exit.SOME_FAILED
    assert by_id(lines(out)) == {value["id"]: ranked(value) for value in queries(2)}
    failed = {line["line"]: line for line in lines(out.with_name("ranked.jsonl.failed.jsonl"))}
    assert sorted(failed) == [3, 4, 5, 6, 7, 8, 9, 10]
    assert failed[3]["code"] == "duplicate_id"
    assert "line 4: no field 'query'; its fields: 'id', 'inputs'" in failed[4]["message"]
    assert (failed[5]["id"], failed[5]["message"]) == ("empty", "query is empty")
    assert "max_bytes" in failed[6]["message"]
    assert failed[7]["trace"] is not None
    assert "same id 1" in failed[8]["message"]
    assert "line 9: byte 30 is not UTF-8" in failed[9]["message"]
    assert "a JSON array where an object" in failed[10]["message"]
    assert "--retry-failed takes it up again" in ran.err
    assert "failed: query 'empty' (line 5): query is empty" in ran.err
    assert "failed: query 'no-query': " in ran.err
    assert "cut them with --truncate N" in ran.err
    assert "BatchOptions" not in ran.err
    assert "max_bytes" not in ran.err
    assert "params" not in ran.err
    ran = await bulk(source, "-o", out, "--resume", server=server)
    assert "2 of 10 queries done, 8 failed (10 of these before this start)" in ran.err


@pytest.mark.parametrize(
    ("ids", "line", "told"),
    [
        (["a", 3, None], 3, True),
        (["a", None, 2], 3, True),
        ([1, 1], 2, True),
        (["3", "b", None, "3"], 4, False),
        ([5, 5], 2, False),
    ],
    ids=["own number", "number of another", "both are ids", "text", "no line's number"],
)
async def test_an_id_that_stands_twice_is_explained_where_it_may_be_a_lines_number(
    server, tmp_path, out, ids, line, told
):
    values = [{"id": name, "query": "market", "inputs": ["a"]} for name in ids]
    for value in values:
        if value["id"] is None:
            del value["id"]
    ran = await bulk(write_jsonl(tmp_path / "q.jsonl", values), "-o", out, server=server)
    assert ran.code == Exit.SOME_FAILED
    (failed,) = lines(out.with_name("ranked.jsonl.failed.jsonl"))
    words = f"line {line}: the id {ids[line - 1] or line!r} stands in an earlier line too"
    hint = "; where a line has no id, its number is its id, so give each line one" if told else ""
    assert (failed["line"], failed["code"]) == (line, "duplicate_id")
    assert failed["message"].endswith(words + hint)


async def test_what_fails_is_named_on_standard_error_where_no_file_lists_it(server, tmp_path):
    empty = [{"id": f"e{number}", "query": "", "inputs": ["a"]} for number in range(30)]
    ran = await bulk(write_jsonl(tmp_path / "q.jsonl", empty), "-o", "-", server=server)
    assert ran.code == Exit.SOME_FAILED
    for number in range(30):
        assert f"failed: query 'e{number}' (line {number + 1}): query is empty" in ran.err


async def test_what_fails_of_standard_input_is_not_promised_to_be_taken_up_again(server, out):
    ran = await bulk("-", "-o", out, server=server, stdin=b"nonsense\n")
    assert ran.code == Exit.SOME_FAILED
    assert "standard input cannot be read again" in ran.err
    assert "--retry-failed" not in ran.err


async def test_on_error_stop_ends_at_the_bad_line_and_skip_goes_on_from_there(server, tmp_path, out):
    source = tmp_path / "q.jsonl"
    source.write_bytes(
        b"".join(json.dumps(value).encode() + b"\n" for value in queries(3)) + b"nonsense\n"
        b'{"id": "last", "query": "market", "inputs": []}\n'
    )
    ran = await bulk(source, "-o", out, "--on-error", "stop", server=server)
    assert ran.code == Exit.USAGE
    assert f"{source}, line 4: not JSON at character 1" in ran.err
    ran = await bulk(source, "-o", out, "--resume", server=server)
    assert ran.code == Exit.SOME_FAILED
    assert set(by_id(lines(out))) == {"q0", "q1", "q2", "last"}
    assert server.counts.rerank == 3


async def test_retry_failed_takes_up_what_failed_and_nothing_else(tmp_path, out):
    source = write_jsonl(tmp_path / "q.jsonl", queries(6))

    def refusing_six(seen):
        return refusal(400, "invalid_input_argument", "No") if seen.number <= 6 else honest(seen)

    async with service(refusing_six) as server:
        ran = await bulk(source, "-o", out, "--max-in-flight", 1, server=server)
        assert ran.code == Exit.SOME_FAILED
        assert len(lines(out.with_name("ranked.jsonl.failed.jsonl"))) == 6
        ran = await bulk(source, "-o", out, "--resume", server=server)
        assert (ran.code, len(server.seen)) == (Exit.SOME_FAILED, 6)
        ran = await bulk(source, "-o", out, "--retry-failed", server=server)
        assert ran.code == 0
        assert by_id(lines(out)) == {value["id"]: ranked(value) for value in queries(6)}
        assert not out.with_name("ranked.jsonl.failed.jsonl").exists()


# What is refused before anything is sent


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "nothing to rank"),
        (("q.jsonl",), "nowhere to write to"),
        (("q.jsonl", "-o", "-", "--resume"), "keeps no journal"),
        (("q.jsonl", "-o", "-", "--json"), "both write to standard output"),
        (("q.jsonl", "-o", "x", "--overwrite", "--resume"), "nothing to resume"),
        (("q.jsonl", "-o", "x", "--dry-run", "--resume"), "plans the whole"),
        (("q.jsonl", "-o", "x", "--run", "r"), "one source is needed"),
        (("--run", "r", "-o", "x"), "a run needs the file of its documents: give corpus (--corpus)"),
        (("q.jsonl", "-o", "x", "--corpus", "c"), "give run (--run) too, or leave corpus (--corpus) out"),
        (("--run", "r", "--corpus", "c", "-o", "x"), "a run needs the file of its queries: give queries (--queries)"),
        (
            ("q.jsonl", "-o", "x", "--tag", "mine"),
            "tag (--tag) is the last column of a run, but JSON Lines are written",
        ),
        (
            (
                "--run",
                "q.jsonl",
                "--corpus",
                "q.jsonl",
                "--queries",
                "q.jsonl",
                "-o",
                "x.jsonl",
                "--tag",
                "rerank_async",
            ),
            "tag (--tag) is the last column of a run",
        ),
        (("q.jsonl", "-o", "x", "--params", '{"top": 1}'), "--params: unknown name 'top'"),
        (("q.jsonl", "-o", "x", "--top-n", "1", "--params", '{"return_options": {"top_n": 2}}'), "both set top_n"),
        (("q.jsonl", "-o", "x", "--params", '{"return_options": {"inputs": true}}'), "not written"),
        (("absent.jsonl", "-o", "x"), "cannot read absent.jsonl: No such file"),
        (("-", "-o", "x", "--resume"), "standard input cannot be compared"),
        (("q.jsonl", "-o", "."), "is not a plain file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
async def test_wrong_usage_is_one_sentence(server, tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "q.jsonl", queries(1))
    ran = await bulk(*args, server=server)
    assert ran.code == Exit.USAGE
    assert words in one_sentence(ran)
    assert server.counts.rerank == 0
    assert [path.name for path in tmp_path.iterdir() if path.name != "q.jsonl"] == []


async def test_an_output_that_exists_is_left_alone(server, source, out):
    out.write_bytes(b"mine\n")
    for options in ((), ("--resume",)):
        ran = await bulk(source, "-o", out, *options, server=server)
        assert ran.code == Exit.USAGE
        assert "no ranked.jsonl.job.json that says of which job it is" in one_sentence(ran)
        assert "choose another output, or begin anew with --overwrite" in one_sentence(ran)
        assert "--resume" not in one_sentence(ran)
    assert out.read_bytes() == b"mine\n"
    assert (await bulk(source, "-o", out, "--overwrite", server=server)).code == 0
    assert len(lines(out)) == 12


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["job", "dry run"])
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("/dev/stdin",), "/dev/stdin is a pipe or a device, which can be read once only; give -"),
        (("fifo",), "fifo is a pipe or a device, which can be read once only; give -"),
        (("--run", "fifo", "--corpus", "q.jsonl", "--queries", "q.jsonl"), "fifo is a pipe"),
        (("--run", "q.jsonl", "--corpus", "fifo", "--queries", "q.tsv"), "corpus and queries are looked up"),
        (("--run", "q.jsonl", "--corpus", "q.jsonl", "--queries", "fifo"), "corpus and queries are looked up"),
    ],
    ids=["standard input by its path", "source", "run", "corpus", "queries"],
)
async def test_a_pipe_given_by_its_path_is_refused_and_not_taken_for_empty(
    server, tmp_path, monkeypatch, args, words, options
):
    monkeypatch.chdir(tmp_path)
    content = write_jsonl(tmp_path / "q.jsonl", queries(2)).read_bytes()
    (tmp_path / "q.tsv").write_text("q\tx\n")
    os.mkfifo("fifo")
    ran = await bulk(*args, "-o", "x", *options, server=server, stdin=content)
    assert ran.code == Exit.USAGE
    assert words in one_sentence(ran)
    assert not (tmp_path / "x").exists()


async def test_standard_input_from_the_output_is_refused_before_the_output_is_emptied(server, source):
    content = source.read_bytes()
    line = shlex.join([*CLI, "bulk", "-", "-o", str(source), *FAST, "--overwrite"])
    ran = await commands.run(server=server, command=("bash", "-c", f"{line} < {shlex.quote(str(source))}"))
    assert ran.code == Exit.USAGE
    assert f"{source}, the output, is the same file as the source, standard input" in one_sentence(ran)
    assert source.read_bytes() == content


@pytest.mark.parametrize("by", ["name", "standard input"])
async def test_standard_output_onto_the_source_is_refused(server, source, by):
    content, name = source.read_bytes(), shlex.quote(str(source))
    read = name if by == "name" else f"- < {name}"
    line = f"{shlex.join(CLI)} bulk {read} -o - {shlex.join(FAST)} >> {name}"
    ran = await commands.run(server=server, command=("bash", "-c", line))
    assert ran.code == Exit.USAGE
    assert "the output is the same file as the source, " in one_sentence(ran)
    assert source.read_bytes() == content
    assert server.counts.rerank == 0


async def test_standard_output_into_another_file_is_written(server, source, out):
    line = shlex.join([*CLI, "bulk", str(source), "-o", "-", *FAST])
    assert (await commands.run(server=server, command=("bash", "-c", f"{line} > {shlex.quote(str(out))}"))).code == 0
    assert by_id(lines(out)) == {value["id"]: ranked(value) for value in queries(12)}


async def test_a_finished_job_has_nothing_left_to_do(server, source, out):
    for options in ((), ("--ordered",)):
        assert (await bulk(source, "-o", out, "--overwrite", *options, server=server)).code == 0
        content, sent = out.read_bytes(), server.counts.rerank
        ran = await bulk(source, "-o", out, "--resume", *options, server=server)
        assert (ran.code, out.read_bytes(), server.counts.rerank) == (0, content, sent)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--top-n", "3"), "the parameters were {}, now they are {"),
        (("--depth", "2"), "the depth was null, now it is 2"),
    ],
    ids=["params", "depth"],
)
async def test_the_journal_of_another_job_is_refused_with_the_reason(server, source, out, options, words):
    await bulk(source, "-o", out, server=server)
    content = out.read_bytes()
    ran = await bulk(source, "-o", out, "--resume", *options, server=server)
    assert ran.code == Exit.USAGE
    assert words in one_sentence(ran)
    assert out.read_bytes() == content


async def test_a_source_that_changed_since_is_refused(server, source, out):
    await bulk(source, "-o", out, server=server)
    write_jsonl(source, queries(12)[:-1])
    ran = await bulk(source, "-o", out, "--resume", server=server)
    assert ran.code == Exit.USAGE
    assert "the source has changed since the job began" in one_sentence(ran)
    write_jsonl(source, queries(12))
    assert (await bulk(source, "-o", out, "--resume", server=server)).code == 0


async def test_a_journal_of_another_version_is_refused(server, source, out):
    await bulk(source, "-o", out, server=server)
    out.with_name("ranked.jsonl.job.json").write_text('{"format": 99}')
    ran = await bulk(source, "-o", out, "--resume", server=server)
    assert ran.code == Exit.USAGE
    assert "another version of the journal (99" in one_sentence(ran)


async def test_the_longest_name_can_be_written_and_resumed(server, source, tmp_path):
    out = tmp_path / ("x" * LONGEST_NAME)
    assert (await bulk(source, "-o", out, "--ordered", server=server)).code == 0
    assert (await bulk(source, "-o", out, "--ordered", "--resume", server=server)).code == 0
    assert len(out.read_text().splitlines()) == 12


@pytest.mark.parametrize(
    "name", ["x" * (LONGEST_NAME + 1), "x" * 250, "x" * 300, "x/" * 3000 + "x"], ids=["aside", "own", "far", "path"]
)
async def test_a_name_that_is_too_long_is_an_output_that_cannot_be_written(server, source, tmp_path, name):
    ran = await bulk(source, "-o", tmp_path / name, server=server)
    assert ran.code == Exit.UNWRITTEN
    assert "File name too long, counting what stands beside it" in one_sentence(ran)
    assert "choose a shorter one" in one_sentence(ran)
    assert list(tmp_path.iterdir()) == [source]


async def test_a_folder_that_is_missing_cannot_be_written(server, source, tmp_path):
    ran = await bulk(source, "-o", tmp_path / "no" / "out.jsonl", server=server)
    assert ran.code == Exit.UNWRITTEN
    assert "does not exist" in one_sentence(ran)
    assert server.counts.rerank == 0


# Plans


def planned_source(tmp_path):
    values = [
        *queries(3),
        {"id": "same", "query": "a", "inputs": ["x"] * 2500},
        {"id": "many", "query": "a", "inputs": [f"text {number}" for number in range(1001)]},
        {"id": "none", "query": "a", "inputs": []},
    ]
    return write_jsonl(tmp_path / "q.jsonl", values)


async def test_a_dry_run_tells_the_exact_number_of_requests_and_sends_none(server, tmp_path, out):
    source = planned_source(tmp_path)
    ran = await bulk(source, "--dry-run", "--json", server=server)
    plan = json.loads(ran.out)
    assert (ran.code, server.counts.rerank, server.counts.token_requests) == (0, 0, 0)
    assert (plan["queries"], plan["inputs"], plan["unique"]) == (6, 3516, 1017)
    await bulk(source, "-o", out, server=server)
    assert server.counts.rerank == plan["requests"] == 6


async def test_a_dry_run_says_how_long_it_takes_and_what_cannot_be_sent(server, tmp_path):
    source = write_jsonl(tmp_path / "q.jsonl", [*queries(100), {"id": "bad"}, {"id": "e", "query": "", "inputs": []}])
    ran = await commands.run(
        "bulk", str(source), "--dry-run", "--model", "lexical", "--requests-per-second", "2", server=server
    )
    assert ran.code == 0
    assert "100 queries, 500 inputs (500 to send), 100 requests" in ran.out
    assert "s at 2 requests/s" in ran.out
    assert "line 101: no field 'query'" in ran.err
    assert "query 'e' (line 102): query is empty" in ran.err


# Runs, and how good they are


@pytest.fixture
def collection(tmp_path):
    """Three queries, their documents, a run that ranks them badly, and judgements."""
    corpus = [{"_id": f"d{number}", "title": word, "text": f"of the {word}"} for number, word in enumerate("abcdefgh")]
    write_jsonl(tmp_path / "corpus.jsonl", corpus)
    (tmp_path / "queries.tsv").write_text("".join(f"q{number}\t{word}\n" for number, word in enumerate("abc")))
    with (tmp_path / "first.run").open("w") as file:
        for query in range(3):
            for rank, document in enumerate(reversed(range(8)), start=1):
                file.write(f"q{query} Q0 d{document} {rank} {-rank} first\n")
    with (tmp_path / "qrels.tsv").open("w", newline="") as file:
        rows = csv.writer(file, delimiter="\t")
        rows.writerow(("query-id", "corpus-id", "score"))
        rows.writerows((f"q{number}", f"d{number}", 1) for number in range(3))
    return tmp_path


def run_of(folder):
    return ("--run", folder / "first.run", "--corpus", folder / "corpus.jsonl", "--queries", folder / "queries.tsv")


async def test_a_run_becomes_a_run(server, collection):
    ran = await bulk(*run_of(collection), "-o", collection / "out.run", "--top-n", 2, "--tag", "mine", server=server)
    assert ran.code == 0
    rows = [line.split() for line in (collection / "out.run").read_text().splitlines()]
    assert [(row[0], row[2], row[3]) for row in rows[::2]] == [("q0", "d0", "1"), ("q1", "d1", "1"), ("q2", "d2", "1")]
    assert all(row[1] == "Q0" and row[5] == "mine" for row in rows)
    assert len(rows) == 6
    assert not (collection / "out.run.journal").exists()


async def test_a_run_becomes_json_lines_if_the_name_says_so(server, collection):
    ran = await bulk(*run_of(collection), "-o", collection / "out.jsonl", "--depth", 3, server=server)
    assert ran.code == 0
    found = by_id(lines(collection / "out.jsonl"))
    assert {result["id"] for result in found["q0"]["results"]} == {"d7", "d6", "d5"}


async def test_a_document_that_the_corpus_lacks_fails_its_query_alone(server, collection):
    with (collection / "first.run").open("a") as file:
        file.write("q9 Q0 d1 1 1.0 first\nq8 Q0 nowhere 1 1.0 first\n")
    with (collection / "queries.tsv").open("a") as file:
        file.write("q8\tz\n")
    ran = await bulk(*run_of(collection), "-o", collection / "out.run", server=server)
    assert ran.code == Exit.SOME_FAILED
    failed = lines(collection / "out.run.failed.jsonl")
    assert [(line["id"], line["code"]) for line in failed] == [("q9", "missing_query"), ("q8", "missing_document")]
    assert "names document nowhere, which" in failed[1]["message"]
    assert len((collection / "out.run").read_text().splitlines()) == 24


async def test_rows_of_a_query_in_two_places_are_refused_before_anything_is_sent(server, collection):
    with (collection / "first.run").open("a") as file:
        file.write("q0 Q0 d1 1 1.0 first\n")
    ran = await bulk(*run_of(collection), "-o", collection / "out.run", server=server)
    assert ran.code == Exit.USAGE
    assert "line 25: query q0 stands in two places" in one_sentence(ran)
    assert server.counts.rerank == 0


@pytest.mark.parametrize("on_error", ["skip", "stop"])
async def test_rows_of_a_query_in_two_places_of_a_pipe_end_the_job_where_it_shows(server, collection, on_error):
    content = (collection / "first.run").read_bytes() + b"q0 Q0 d1 1 1.0 first\nq1 Q0 d1 1 1.0 first\n"
    args = ("--run", "-", *run_of(collection)[2:], "--on-error", on_error)
    ran = await bulk(*args, "-o", collection / "out.run", server=server, stdin=content)
    assert ran.code == Exit.USAGE
    assert "standard input, line 25: query q0 stands in two places" in one_sentence(ran)
    assert "sort -s -k1,1; then begin anew with --overwrite" in one_sentence(ran)
    assert not (collection / "out.run").exists()
    assert not (collection / "out.run.failed.jsonl").exists()


async def test_eval_measures_runs_and_compares_them(server, collection):
    await bulk(*run_of(collection), "-o", collection / "out.run", server=server)
    args = ("eval", "--qrels", collection / "qrels.tsv", collection / "first.run", collection / "out.run")
    ran = await commands.run(*map(str, args))
    assert (ran.code, ran.err) == (0, "")
    first, second, *rest = ran.rows
    assert first[0].endswith("first.run")
    assert second[1:] == ["1.0000", "1.0000", "1.0000", "1.0000"]
    assert rest[0][0] == "nDCG@10"
    assert rest[0][2:] == ["0.2500", "3", "0", "0"], "3 signs can be set in 8 ways, 2 of them as extreme"
    body = json.loads((await commands.run(*map(str, args), "--json", "--measures", "RR@10")).out)
    assert body["by_query"][str(collection / "first.run")]["RR@10"] == {"q0": 0.125, "q1": 1 / 7, "q2": 1 / 6}
