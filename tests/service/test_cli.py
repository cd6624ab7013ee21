"""The command line as a user meets it: the real entry point in a process of its own, against a live local server."""

import asyncio
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner
from support import commands
from support.certificates import certificate_files
from support.commands import CLI, environment, exported, one_sentence, serving, start

from rerank_async import AsyncRerank
from rerank_async.cli.app import group
from rerank_async.cli.exits import Exit, code_of
from rerank_async.server import Fault, LexicalScorer, serve

TEXTS = ["The harbour lies behind the customs house.", "The market opens at seven.", "Bicycles are repaired here."]
LINES = "\n".join(TEXTS).encode() + b"\n"
RANK = ("rank", "when does the market open", "-", "--model", "lexical")
SEQUENCE = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[[\d;]*(?:3[0-8]|4[0-8]|9\d)[\d;]*m")


def run(*args, stdin=LINES, **more):
    return commands.run(*args, stdin=stdin, **more)


# Ranking


async def test_a_pipe_gets_tab_separated_lines_best_first_and_nothing_else(server):
    ran = await run(*RANK, server=server)
    assert (ran.code, ran.err) == (0, "")
    assert [row[0] for row in ran.rows] == ["1", "2", "3"]
    assert ran.rows[0][2:] == ["2", TEXTS[1]]
    assert float(ran.rows[0][1]) > float(ran.rows[1][1])
    assert "\x1b" not in ran.out


async def test_json_is_the_body_of_the_rest_answer_with_texts_and_lines(server):
    ran = await run(*RANK, "--json", "--top-n", "2", stdin=b"\n" + LINES, server=server)
    body = json.loads(ran.out)
    assert ran.code == 0
    assert body["model_id"] == "lexical"
    assert len(body["results"]) == 2
    assert body["results"][0] | {"score": 0} == {"index": 1, "score": 0, "input": {"text": TEXTS[1]}, "line": 3}
    assert body["input_token_count"] > 0


async def test_blank_lines_are_skipped_and_counted_in_line_numbers(server):
    ran = await run(*RANK, stdin=b"\xef\xbb\xbf\n  \r\nmarket\r\n\n\nharbour", server=server)
    assert [row[2:] for row in ran.rows] == [["3", "market"], ["6", "harbour"]]


async def test_top_n_truncate_and_space_reach_the_service(server):
    ran = await run(*RANK, "--top-n", "1", server=server)
    assert len(ran.rows) == 1
    long = b"word " * 600
    assert (await run(*RANK, stdin=long, server=server)).code == Exit.USAGE
    assert (await run(*RANK, "--truncate", "100", stdin=long, server=server)).code == 0
    del_project = environment(server, WATSONX_PROJECT_ID="")
    assert (await run(*RANK, "--space-id", server.space_id, **del_project)).code == 0


async def test_the_rate_paces_requests(server):
    three_requests = b"".join(b"%d market\n" % number for number in range(2001))
    slow, fast = ("--requests-per-second", "0.01", "--timeout", "60"), ("--requests-per-second", "inf")
    ran = await run(*RANK, *slow, stdin=three_requests, server=server)
    assert (ran.code, server.counts.rerank) == (Exit.TIMED_OUT, 0)
    assert "the call needs 3 requests" in one_sentence(ran)
    ran = await run(*RANK, *fast, stdin=three_requests, server=server)
    assert (ran.code, len(ran.rows)) == (0, 2001)
    assert server.counts.rerank >= 3, "an idle client cuts finer"


async def test_options_win_over_the_environment(server):
    given = ("--url", server.url, "--project-id", server.project_id)
    ran = await run(*RANK, *given, server=server, WATSONX_URL="http://127.0.0.1:1", WATSONX_PROJECT_ID="another")
    assert (ran.code, len(ran.rows)) == (0, 3)


async def test_a_token_from_the_environment_will_do(server):
    ran = await run(*RANK, server=server, WATSONX_APIKEY="", WATSONX_TOKEN=server.issue_token())
    assert (ran.code, server.counts.token_requests) == (0, 0)


async def test_a_text_with_control_characters_stays_one_line_and_cannot_steer_a_terminal(server):
    content = json.dumps({"text": "a\nmarket\tof \x1b[31mred\u2028things"}).encode()
    ran = await run(*RANK, stdin=content, server=server)
    assert ran.out.count("\n") == 1
    assert ran.rows[0][3:] == ["a market of  [31mred things"]


async def test_the_local_model_needs_no_key_and_no_environment(tmp_path):
    file = tmp_path / "passages.txt"
    file.write_bytes(LINES)
    ran = await run("rank", "Where do ships land?", str(file), "--local", "--top-n", "1")
    assert (ran.code, ran.err) == (0, "")
    assert ran.rows[0][3] == TEXTS[0]


async def test_a_reader_that_has_seen_enough_is_no_error(server):
    many = b"".join(b"%d market %s\n" % (number, b"x" * 100) for number in range(3000))
    line = f"set -o pipefail; {shlex.join(CLI)} {shlex.join(RANK)} | head -n 1"
    ran = await run(stdin=many, server=server, command=("bash", "-c", line))
    assert (ran.code, ran.err, len(ran.rows)) == (0, "", 1)


@pytest.mark.parametrize("content", [b"", b"\n \n"])
async def test_nothing_to_rank_is_an_empty_ranking_and_a_note(server, content):
    ran = await run(*RANK, stdin=content, server=server)
    assert (ran.code, ran.out) == (0, "")
    assert "holds no passages" in one_sentence(ran)
    assert json.loads((await run(*RANK, "--json", stdin=content, server=server)).out)["results"] == []
    assert server.counts.rerank == 0


# JSON Lines


@pytest.mark.parametrize(
    ("name", "options"), [("a.jsonl", ()), ("a.NDJSON", ()), ("a.txt", ()), ("a.txt", ("--format", "jsonl"))]
)
async def test_json_lines_are_known_by_name_content_or_option(server, tmp_path, name, options):
    file = tmp_path / name
    file.write_text("\n" + "\n\n".join(json.dumps({"id": 1, "text": text}) for text in TEXTS))
    ran = await run("rank", "market", str(file), "--model", "lexical", *options, server=server)
    assert ran.rows[0][2:] == ["4", TEXTS[1]]


async def test_another_field_and_lines_by_option(server):
    content = b'{"text": "x", "body": "market"}'
    assert (await run(*RANK, "--field", "body", stdin=content, server=server)).rows[0][3] == "market"
    assert (await run(*RANK, "--format", "lines", stdin=content, server=server)).rows[0][3] == content.decode()


async def test_json_without_the_field_is_ranked_as_lines_with_a_note(server):
    ran = await run(*RANK, stdin=b'{"body": "market"}', server=server)
    assert ran.rows[0][3] == '{"body": "market"}'
    assert "--field" in one_sentence(ran)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"text": "b"', "not JSON at character"),
        (b'["b"]', "a JSON array"),
        (b'{"body": "b"}', "no field 'text'; its fields: 'body'"),
        (b'{"text": 7}', "is a JSON number, not a string"),
        (b'{"text": null}', "is a JSON null, not a string"),
        (b'{"text": "\\ud800"}', "half of a surrogate pair"),
        (b'{"text": "\xff"}', "byte 11 is not UTF-8"),
        (b"[" * 100_000, "not JSON that can be read"),
    ],
)
async def test_a_bad_line_is_named_with_its_file_and_number(server, tmp_path, line, what):
    file = tmp_path / "some.jsonl"
    file.write_bytes(b'{"text": "a"}\n\n' + line + b"\n")
    ran = await run("rank", "q", str(file), server=server)
    assert ran.code == Exit.USAGE
    assert f"{file}, line 3: " in one_sentence(ran)
    assert what in ran.err


async def test_a_file_that_cannot_be_read_is_named(server, tmp_path):
    for file in (tmp_path / "missing", tmp_path):
        ran = await run("rank", "q", str(file), server=server)
        assert ran.code == Exit.USAGE
        assert f"cannot read {file}: " in one_sentence(ran)


# Exit codes


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("rank", " ", "-"), "query is empty"),
        (("rank", "q", "-", "--model", "no/such-model"), "model_not_supported"),
        (("rank", "q", "-", "--timeout", "0"), "timeout must be above 0"),
        (("rank", "q", "-", "--requests-per-second", "nan"), "requests_per_second"),
        (("rank", "q", "-", "--url", "no-scheme"), "has no scheme"),
        (("rank", "q", "-", "--url", "http://203.0.113.1"), "plain http"),
        (("rank", "q", "-", "--project-id", "p", "--space-id", "s"), "both given"),
        (("rank", "q", "-", "--local", "--url", "http://localhost:1"), "--local"),
        (("rank", "q", "-", "--local", "--model", "no/such-model"), "no/such-model"),
        (("serve", "--window", "2"), "--limit"),
        (("serve", "--limit", "8", "--window", "0"), "window"),
        (("serve", "--latency", "-1"), "Latency"),
        (("serve", "--fault", "nonsense=0.1"), "nonsense"),
        (("serve", "--fault", "hang=2"), "share"),
        (("serve", "--token-lifetime", "0"), "token_lifetime"),
        (("serve", "--host", "203.0.113.1"), "203.0.113.1:8008"),
    ],
)
async def test_two_for_input_that_cannot_be_right(server, args, words):
    ran = await run(*args, server=server)
    assert ran.code == Exit.USAGE == 2
    assert words in one_sentence(ran)


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ("WATSONX_URL", "WATSONX_URL"),
        ("WATSONX_APIKEY", "WATSONX_APIKEY"),
        ("WATSONX_PROJECT_ID", "--project-id"),
    ],
)
async def test_two_where_the_environment_lacks_something(server, without, words):
    ran = await run(*RANK, server=server, **{without: ""})
    assert ran.code == Exit.USAGE
    assert words in one_sentence(ran)


# What only a program could follow: a keyword argument, a class of options, an attribute, a coroutine.
OF_PYTHON = re.compile(
    r"\b(?!SSL_CERT_FILE)[A-Za-z_]+=(?!\d|/)(?!\.\.\.)|Options|Timeouts|await|attached|credentials\."
)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WATSONX_URL": "https://us-sout.ml.cloud.ibm.com"}, "mean 'https://us-south.ml.cloud.ibm.com'?"),
        ({"WATSONX_URL": "http://cpd.example.com"}, "Use https://"),
        ({"WATSONX_URL": "https://cpd.example.com"}, "set WATSONX_USERNAME with WATSONX_PASSWORD or WATSONX_APIKEY"),
        ({"WATSONX_APIKEY": ""}, "No credentials: set one of WATSONX_APIKEY"),
        ({"WATSONX_URL": "https://example.com", "HTTPS_PROXY": "socks5://proxy.example:1"}, "or unset it"),
    ],
)
async def test_what_the_environment_lacks_is_said_without_arguments_of_python(server, variables, words):
    given = {"WATSONX_TOKEN": "t", "WATSONX_APIKEY": ""} if "HTTPS_PROXY" in variables else {}
    ran = await run(*RANK, server=server, **given | variables)
    assert ran.code == Exit.USAGE
    assert words in one_sentence(ran)
    assert not OF_PYTHON.search(ran.err.replace("Credentials(auth_url=...)", "")), ran.err


async def test_what_the_service_answers_is_said_without_arguments_of_python(server):
    too_long = b"word " * 600
    unknown = await run(*RANK[:-1], "no/such-model", server=server)
    long = await run(*RANK, stdin=too_long, server=server)
    async with serve(faults=[Fault("hang", share=1)]) as hanging:
        late = await run(*RANK, "--timeout", "0.5", server=hanging)
    for ran, words in [
        (unknown, "`rerank-async models` lists what there is"),
        (long, "cut them with --truncate N [trace"),
        (late, "nothing was scored by then"),
    ]:
        assert ran.code != 0
        assert words in one_sentence(ran)
        assert not OF_PYTHON.search(ran.err), ran.err


async def test_three_where_the_service_refuses(server):
    bad_key = await run(*RANK, server=server, WATSONX_APIKEY="not-this-key")
    assert bad_key.code == Exit.REFUSED == 3
    assert "not-this-key" not in one_sentence(bad_key)
    assert (await run(*RANK, "--project-id", "another", server=server)).code == Exit.REFUSED
    async with serve(faults=[Fault("quota", share=1)]) as used_up:
        ran = await run(*RANK, server=used_up)
    assert ran.code == Exit.REFUSED
    assert "token_quota_reached" in one_sentence(ran)


async def test_four_where_the_service_or_the_network_fails():
    async with serve(faults=[Fault("redirect", share=1)]) as server:
        ran = await run(*RANK, server=server)
    assert ran.code == Exit.SERVICE == 4
    assert "redirect" in one_sentence(ran)
    gone = await run("models", server=server)
    assert gone.code == Exit.SERVICE
    assert "cannot connect" in one_sentence(gone)


async def test_five_where_time_runs_out():
    async with serve(faults=[Fault("hang", share=1)]) as server:
        ran = await run(*RANK, "--timeout", "0.5", server=server)
    assert ran.code == Exit.TIMED_OUT == 5
    assert "deadline" in one_sentence(ran)


async def test_one_for_what_nobody_expected(server):
    broken = (
        "import sys, rerank_async.cli.rank as rank\n"
        "rank.read_passages = lambda *args: 1 / 0\n"
        "from rerank_async.cli import main\n"
        "sys.exit(main())"
    )
    ran = await run(*RANK, command=(sys.executable, "-c", broken), server=server)
    assert ran.code == Exit.UNEXPECTED == 1
    assert "unexpected ZeroDivisionError" in one_sentence(ran)


class Stuck(LexicalScorer):
    """Never scores; says when it was asked to."""

    def __init__(self):
        super().__init__()
        self.asked = asyncio.Event()

    async def score(self, query, texts, truncate):
        self.asked.set()
        await asyncio.get_running_loop().create_future()


async def test_130_for_ctrl_c():
    stuck = Stuck()
    async with serve(scorers={"lexical": stuck}) as server:
        process = await start(*RANK, server=server)
        process.stdin.write(LINES)
        process.stdin.close()
        await stuck.asked.wait()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == Exit.INTERRUPTED == 130
    assert (out, err.strip()) == (b"", b"rerank-async: interrupted")


def test_every_error_has_its_code():
    from rerank_async import errors

    codes = {name: code_of(getattr(errors, name)("what happened")) for name in errors.__all__}
    assert {name for name, code in codes.items() if code is Exit.UNEXPECTED} == {
        "ClientClosedError",
        "ClientStateError",
        "EventLoopError",
    }
    assert {name for name, code in codes.items() if code is Exit.REFUSED} == {
        "AuthenticationError",
        "PermissionDeniedError",
        "QuotaExceededError",
    }
    assert {name for name, code in codes.items() if code is Exit.TIMED_OUT} == {
        "DeadlineExceededError",
        "RequestTimeoutError",
    }


async def test_the_log_shows_the_traceback_and_no_secret(server):
    ran = await run(*RANK, "--project-id", "another", server=server, RERANK_ASYNC_LOG="debug")
    assert ran.code == Exit.REFUSED
    assert "Traceback" in ran.err
    assert "Queued(" in ran.err
    assert server.api_key not in ran.err
    assert TEXTS[0] not in ran.err


# What is installed, and usage


@pytest.mark.parametrize("missing", ["click", "rich"])
async def test_without_the_extra_one_line_says_what_to_install(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from rerank_async.cli import main; sys.exit(main())"
    ran = await run("--version", command=(sys.executable, "-c", code))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "the command line needs the extra 'cli': pip install '.[cli]' in a checkout of rerank_async\n"


async def test_without_the_model_local_says_what_to_install():
    code = "import sys; sys.modules['onnxruntime'] = None; from rerank_async.cli import main; sys.exit(main())"
    ran = await run("rank", "q", "-", "--local", command=(sys.executable, "-c", code))
    assert ran.code == Exit.USAGE
    assert "pip install '.[local]' in a checkout" in one_sentence(ran)


@pytest.mark.parametrize(
    "args",
    [
        ["rank"],
        ["rank", "q"],
        ["rank", "q", "-", "--top-n", "0"],
        ["rank", "q", "-", "--truncate", "x"],
        ["rank", "q", "-", "--format", "csv"],
        ["rank", "q", "-", "--api-key", "on-the-command-line"],
        ["serve", "--port", "65536"],
        ["serve", "--fault", "hang"],
        ["serve", "--fault", "hang=often"],
        ["serve", "--limit", "8", "--retry-after", "soon"],
        ["serve", "--limit-kind", "leaky"],
        ["nonsense"],
    ],
)
def test_wrong_usage_is_refused_with_the_way_to_the_help(args):
    result = CliRunner().invoke(group, args)
    assert result.exit_code == 2
    assert "Usage: " in result.output
    assert re.search(r"Try '.* (-h|--help)' for help", result.output)  # which of them depends on click's version


@pytest.mark.parametrize("command", [[], ["rank"], ["models"], ["serve"]])
def test_the_help_lists_the_exit_codes(command):
    text = CliRunner().invoke(group, [*command, "--help"]).output
    assert all(re.search(rf"^ +{code.value}  ", text, re.MULTILINE) for code in Exit)


async def test_the_console_script_and_its_version():
    from pathlib import Path

    from rerank_async import __version__

    script = Path(sys.executable).with_name("rerank-async")
    ran = await run("--version", command=(str(script),))
    assert (ran.code, ran.out.split()[-1]) == (0, __version__)


# A terminal


def on_terminal_now(*args, **variables):
    control, terminal = pty.openpty()
    process = subprocess.Popen([*CLI, *args], stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, env=variables)
    os.close(terminal)
    parts = []
    try:
        while part := os.read(control, 65536):
            parts.append(part)
    except OSError:  # how Linux says that the last writer has left
        pass
    os.close(control)
    return process.wait(), b"".join(parts).decode()


async def on_terminal(*args, server=None, **more):
    """Runs a command on a pseudo-terminal; gives the exit code and all that it shows."""
    shown = environment(server, TERM="xterm-256color", COLUMNS="100", **more)
    return await asyncio.to_thread(on_terminal_now, *args, **shown)


@pytest.fixture
def passages(tmp_path):
    file = tmp_path / "passages.txt"
    file.write_text("\n".join([*TEXTS, "A [bold]bracket[/bold] stays as it is."]))
    return str(file)


async def test_a_terminal_gets_progress_and_a_table(server, passages):
    code, shown = await on_terminal("rank", "market", passages, "--model", "lexical", server=server)
    assert code == 0
    assert "ranking in 1 request" in shown
    assert "4/4" in shown
    assert re.search(r"rank +score +line +text", SEQUENCE.sub("", shown))
    assert "A [bold]bracket[/bold] stays as it is." in shown
    assert COLOUR.search(shown)


async def test_a_terminal_gets_a_live_view_of_a_bulk_job(server, tmp_path):
    source = tmp_path / "q.jsonl"
    source.write_text("".join(f'{{"id": {number}, "query": "market", "inputs": ["a"]}}\n' for number in range(300)))
    bulk = ("bulk", str(source), "-o", str(tmp_path / "out.jsonl"), "--model", "lexical")
    code, shown = await on_terminal(*bulk, "--requests-per-second", "400", server=server)
    assert code == 0
    words = SEQUENCE.sub("", shown)
    assert re.search(r"ranking .*\d+/300", words)
    assert "of the limit (400/s)" in words
    assert "300 of 300 queries done" in words


async def test_long_texts_are_cut_at_the_edge_and_numbers_stay_whole(server, tmp_path):
    file = tmp_path / "long.txt"
    file.write_text("\n" * 1000 + "market " * 100)
    code, shown = await on_terminal("rank", "market", str(file), "--model", "lexical", server=server)
    row = SEQUENCE.sub("", shown).split("\n")[-3]
    assert code == 0
    assert re.match(r" +1 +1\.0000 +1001 +market market.*…", row), row
    assert len(row.rstrip("\r")) == 100


async def test_no_color_is_honoured(server, passages):
    code, shown = await on_terminal("rank", "market", passages, "--model", "lexical", server=server, NO_COLOR="1")
    assert code == 0
    assert TEXTS[1] in shown
    assert not COLOUR.search(shown)


async def test_progress_says_what_holds_a_ranking_up(passages):
    async with serve(faults=[Fault("rate_limited", nth=(1,)), Fault("unavailable", nth=(2,))]) as server:
        _, shown = await on_terminal("rank", "market", passages, "--model", "lexical", server=server)
    assert "held by the rate limit" in shown
    assert "again after ServiceError" in shown


# Models


async def test_models_lists_what_the_service_has_without_a_key(server):
    ran = await run("models", "--url", server.url)
    assert (ran.code, ran.err) == (0, "")
    rows = {row[0]: row[1:] for row in ran.rows}
    assert rows["lexical"] == ["local", "512", "rerank", "available"]
    assert "sentence-transformers/all-minilm-l6-v2" in rows
    assert server.counts.token_requests == 0


async def test_models_as_json_and_of_the_local_server():
    ran = await run("models", "--local", "--json")
    specs = json.loads(ran.out)
    assert "lexical" in [spec["model_id"] for spec in specs]
    assert all("functions" in spec for spec in specs)


# Serving


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_serve_answers_a_client_and_ends_well(number):
    process, said = await serving("--api-key", "a made-up key", "--limit", "50", "--latency", "0.001")
    given = exported(said)
    credentials = {"url": given["WATSONX_URL"], "api_key": given["WATSONX_APIKEY"]}
    async with AsyncRerank("lexical", None, credentials, given["WATSONX_PROJECT_ID"]) as client:
        response = await client.generate("market", TEXTS)
    assert response.results[0].index == 1
    process.send_signal(number)
    _, err = await process.communicate()
    assert process.returncode == 0
    assert err.decode() == "rerank-async: stopped after 1 rerank requests\n"


async def test_without_the_extra_serve_suggests_a_model_that_works_and_models_lists_only_that():
    code = "import sys; sys.modules['onnxruntime'] = None; from rerank_async.cli import main; sys.exit(main())"
    process, said = await serving(command=(sys.executable, "-c", code))
    given = exported(said)
    assert "sentence-transformers/all-minilm-l6-v2 (not available: needs the extra 'local'), lexical\n" in said
    assert said.splitlines()[-2].endswith(" --model lexical")
    ran = await run("models", **given)
    assert [row[0] for row in ran.rows] == ["lexical"]
    process.send_signal(signal.SIGINT)
    await process.communicate()


async def test_with_the_extra_serve_suggests_the_real_model():
    process, said = await serving()
    assert "Models: sentence-transformers/all-minilm-l6-v2, lexical\n" in said
    assert said.splitlines()[-2].endswith(" --model sentence-transformers/all-minilm-l6-v2")
    process.send_signal(signal.SIGINT)
    await process.communicate()


async def test_serve_keeps_its_limit_and_brings_its_faults():
    options = ("--limit", "1", "--window", "3600", "--limit-kind", "sliding_window", "--retry-after", "7200")
    process, said = await serving(*options, "--fault", "extra_fields=1")
    first, second = [await run(*RANK, **exported(said)) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert first.code == 0
    assert "the service warns: " in one_sentence(first)
    assert second.code == Exit.SERVICE
    assert "to wait for 7200 s, above the limit of " in one_sentence(second)
    assert b"1 of them answered with a 429" in err


async def test_a_port_in_use_is_a_sentence(server):
    ran = await run("serve", "--port", server.url.rpartition(":")[2])
    assert ran.code == Exit.USAGE
    assert "in use" in one_sentence(ran)


async def test_serve_speaks_tls_and_says_how_to_trust_it(tmp_path):
    files = certificate_files(tmp_path)
    process, said = await serving("--tls-cert", files.cert, "--tls-key", files.key)
    given = exported(said)
    assert given["WATSONX_URL"].startswith("https://127.0.0.1:")
    assert f"trust the certificate in {files.cert}" in said
    assert "SSL_CERT_FILE=ca.pem" in said
    assert "verify='ca.pem'" in said
    trusting, doubting = await run(*RANK, **given, SSL_CERT_FILE=files.ca), await run(*RANK, **given)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (trusting.code, trusting.rows[0][3]) == (0, TEXTS[1])
    assert doubting.code == Exit.SERVICE
    assert "If its CA is your own, set SSL_CERT_FILE=/path/to/ca.pem" in one_sentence(doubting)
    assert err.decode() == "rerank-async: stopped after 1 rerank requests\n"


async def test_bad_files_for_tls_are_a_sentence_that_names_option_and_file(tmp_path):
    files = certificate_files(tmp_path)
    (tmp_path / "other").mkdir()
    other = certificate_files(tmp_path / "other")
    (tmp_path / "tls_key.txt").write_text("no key")
    for options, words in [
        (("--tls-cert", files.cert), "--tls-cert needs --tls-key"),
        (("--tls-key", files.key), "--tls-key needs --tls-cert"),
        (("--tls-cert", "gone.pem", "--tls-key", files.key), "--tls-cert 'gone.pem' cannot be read: No such file"),
        (("--tls-cert", files.cert, "--tls-key", str(tmp_path / "tls_key.txt")), "tls_key.txt' is no PEM file"),
        (("--tls-cert", files.cert, "--tls-key", other.key), "do not belong together"),
    ]:
        ran = await run("serve", "--port", "0", *options)
        assert ran.code == Exit.USAGE
        assert words in one_sentence(ran)


async def test_serving_beyond_this_machine_warns_and_names_an_address_that_works():
    process, said = await serving("--host", "0.0.0.0")
    assert exported(said)["WATSONX_URL"].startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert b"warning: 0.0.0.0 is not loopback" in err


def test_list_faults_lists_all_of_them():
    from rerank_async.server import FAULTS

    result = CliRunner().invoke(group, ["serve", "--list-faults"])
    assert [line.split("\t")[0] for line in result.output.splitlines()] == list(FAULTS)
