"""Every example runs as it stands, with warnings as errors, and prints what it is meant to show."""

import asyncio
import os
import re
import runpy
import sys
from pathlib import Path

import pytest

from rerank_async import errors

FOLDER = Path(__file__).parent.parent.parent / "examples"


async def run(*args):
    """Runs Python in a process of its own; gives the exit code and both outputs."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, *args, stdout=pipe, stderr=pipe, env=os.environ | {"PYTHONWARNINGS": "error"}
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def printed(name):
    code, out, err = await run(str(FOLDER / name))
    assert (code, err.strip()) == (0, "")  # rich before 14.3 ends a bar that is not shown with an empty line
    return out


def test_every_example_is_run_here():
    source = Path(__file__).read_text("utf-8")
    served = ["fastapi_app.py"]  # in test_fastapi_example.py: it runs until it is stopped
    programs = [path.name for path in FOLDER.glob("*.py") if "__main__" in path.read_text("utf-8")]
    assert [name for name in programs if f'printed("{name}")' not in source] == served
    assert len(programs) >= 7


async def test_quickstart_puts_the_answer_first():
    lines = (await printed("quickstart.py")).splitlines()
    assert len(lines) == 3
    assert lines[0].endswith("The bridge was closed for repairs until spring.")


async def test_moving_from_ibm_reads_the_response_both_ways():
    lines = (await printed("moving_from_ibm.py")).splitlines()
    assert [line.split()[0] for line in lines] == ["2", "1", "best:"]
    assert lines[2] == f"best: {lines[0]}"


async def test_a_shared_client_needs_one_token():
    out = await printed("shared_client.py")
    assert out.splitlines()[-1] == "8 requests, 1 token, 0 answered with a 429"
    answers = re.findall(r"(small|large): where is the harbour\? (.*)", out)
    assert answers == [(name, "The harbour lies behind the old customs house.") for name in ("small", "large")]


async def test_a_bulk_script_of_less_than_forty_lines_prints_a_thousand_answers_as_they_come():
    assert len((FOLDER / "bulk_script.py").read_text("utf-8").splitlines()) < 40
    *lines, last = (await printed("bulk_script.py")).splitlines()
    answers = [
        re.fullmatch(r"(\d+): what does a (\w+) eat\? Where the (\w+) lives, .* \(0\.\d\d\)", line) for line in lines
    ]
    assert sorted(int(answer[1]) for answer in answers) == list(range(1000))
    assert all(answer[2] == answer[3] for answer in answers)
    at_once = re.fullmatch(r"1000 requests, at most (\d+) at once", last)
    assert 1 < int(at_once[1]) <= 32


async def test_a_bulk_job_that_is_left_half_way_goes_on_and_repeats_nothing_it_had_finished():
    first, second, summary, last = (await printed("bulk_job.py")).splitlines()
    assert first == "200 queries, 0 of them done before"
    before = int(re.fullmatch(r"200 queries, (\d+) of them done before", second)[1])
    assert 60 <= before < 200
    done, resumed, requests = map(int, re.findall(r"\d+", summary))
    assert (done, resumed) == (200, before)
    assert 200 <= requests <= 200 + 16
    assert last.startswith('{"id":')


async def test_many_queries_go_on_after_a_bad_one_and_keep_their_order():
    *lines, last = (await printed("many_queries.py")).splitlines()
    answers = [
        re.fullmatch(r"(\d+): what does a (\w+) eat\? Where the (\w+) lives, .* \(0\.\d\d\)", line) for line in lines
    ]
    assert [number for number, answer in enumerate(answers) if answer is None] == [500]
    assert lines[500] == "500: failed: query is empty"
    assert all(answer is None or (int(answer[1]), answer[2]) == (n, answer[3]) for n, answer in enumerate(answers))
    assert len(answers) == 1000
    at_once = re.fullmatch(r"999 requests, at most (\d+) at once", last)
    assert 1 < int(at_once[1]) <= 32


async def test_stream_results_shows_how_many_are_scored_and_the_best_so_far():
    *lines, last = (await printed("stream_results.py")).splitlines()
    assert [line.split(" of 4000 scored; the best so far: ")[0] for line in lines] == ["1000", "2000", "3000", "4000"]
    assert last == "the best of all: Room 3141 is in the 41. house on the left."
    assert lines[-1].endswith(last.removeprefix("the best of all: "))


async def test_error_handling_meets_each_kind_and_says_what_to_do():
    out = await printed("error_handling.py")
    met = dict(re.findall(r"^([\w -]+): (\w+)$", out, re.MULTILINE))
    assert met == {
        "bad input": "InvalidTypeError",
        "over-length": "InputTooLongError",
        "unknown model": "ModelNotSupportedError",
        "bad key": "AuthenticationError",
        "wrong project": "PermissionDeniedError",
        "quota": "QuotaExceededError",
        "deadline": "DeadlineExceededError",
        "redirect": "RedirectError",
        "failing": "ServiceError",
        "server down": "ConnectionFailedError",
    }
    assert set(met.values()) <= set(errors.__all__)
    advice = re.findall(r"^    do:   (.*)$", out, re.MULTILINE)
    assert len(advice) == len(met)
    assert not any("a bug on our side: the client" in line for line in advice)


# A word of the advice that fits the class, for every class there is.
ADVICE = {
    "AnswerTooLargeError": "check url",
    "AuthenticationError": "check the key or token",
    "BadAnswerError": "check url",
    "BadRequestError": "look at what is sent",
    "CertificateError": "do not go on without checking",
    "ClientClosedError": "the client was closed",
    "ClientStateError": "the client was closed",
    "ConnectionFailedError": "tell operations",
    "DeadlineExceededError": "scored in time",
    "DecodeError": "check url",
    "EventLoopError": "two threads use it",
    "InputTooLongError": "truncate_input_tokens",
    "IntegrityError": "check url",
    "InvalidArgumentError": "a bug on our side: look at the arguments",
    "InvalidTypeError": "a bug on our side: look at the arguments",
    "ModelNotSupportedError": "pick a model",
    "NoAnswerError": "tell operations",
    "OverloadedError": "requests wait already",
    "PermissionDeniedError": "check project_id",
    "ProxyError": "the proxy's name and password",
    "QuotaExceededError": "until the plan has tokens again",
    "RateLimitError": "send less",
    "RedirectError": "the service's own address",
    "RequestTimeoutError": "tell operations",
    "RequestTooLargeError": "split the longest texts",
    "RerankError": "look at the message",
    "ServiceError": "tell operations",
    "StatusError": "look at what is sent",
}


@pytest.mark.parametrize("name", errors.__all__)
def test_error_handling_has_the_right_advice_for_every_class(name):
    what_to_do = runpy.run_path(str(FOLDER / "error_handling.py"))["what_to_do"]
    advice = what_to_do(getattr(errors, name)("what happened"))
    assert ADVICE[name] in advice
    assert "None" not in advice
    others = set(ADVICE.values()) - {ADVICE[name], "the client was closed", "two threads use it"}
    assert not [words for words in others if words in advice]


async def test_search_stdlib_finds_what_was_asked_for():
    out = await printed("search_stdlib.py")
    heading, *lines = [line.rstrip() for line in out.splitlines() if line.strip()]
    passages, questions = map(int, re.findall(r"\d+", heading)[:2])
    assert passages > 2000
    best: dict[str, list[str]] = {}
    for line in lines:
        if row := re.match(r" +0\.\d{3} +([\w.]+): ", line):
            best[title].append(row[1])  # noqa: F821 - a title stands above the first row
        elif not line.startswith(" "):
            title = line
            best[title] = []
    best = {title: names for title, names in best.items() if names}
    assert len(best) == questions == 12
    assert all(len(names) == 5 for names in best.values())
    assert {"asyncio.timeout", "asyncio.Timeout", "asyncio.wait_for"} & set(best["run a coroutine with a timeout"])
    assert best["create a temporary directory that is removed afterwards"][0] == "tempfile.TemporaryDirectory"
    assert best["parse command line arguments"][0] == "argparse.ArgumentParser"
    assert best["copy a whole folder to another place"][0] == "shutil.copytree"
    assert best["split a shell command into words"][0] == "shlex.split"
    sent, throttled = map(int, re.findall(r"\d+", next(line for line in lines if " requests, " in line))[:2])
    waited = float(re.search(r"waited ([\d.]+) s on average", out)[1])
    assert waited > 0
    assert sent - throttled == questions * -(-passages // 1000)


@pytest.mark.parametrize("missing", ["rich", "onnxruntime"])
async def test_search_stdlib_says_what_to_install(missing):
    block = f"import runpy, sys; sys.modules[{missing!r}] = None"
    block += f"; sys.path.insert(0, {str(FOLDER)!r})"
    start = f"runpy.run_path({str(FOLDER / 'search_stdlib.py')!r}, run_name='__main__')"
    code, _, err = await run("-c", f"{block}; {start}")
    assert code == 1
    assert "pip install '.[" in err
    assert "Traceback" not in err
