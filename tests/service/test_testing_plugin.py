"""The pytest plugin as its users meet it: new projects of a few lines, each run by a pytest of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "testing.md"
EXAMPLES = ROOT / "examples" / "testing"
STRICT = "[pytest]\nfilterwarnings = error\nasyncio_default_fixture_loop_scope = function\n"

ASK = """
async def ask(server, texts=("a", "bbb", "bb"), **options):
    async with server.client(**options) as client:
        return await client.generate("q", texts)
"""


def run_pytest(folder, *args, **files):
    """Runs pytest in a folder with these files; gives the exit code and all that was printed."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, "utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONPATH"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path):
    (tmp_path / "pytest.ini").write_text(STRICT, "utf-8")
    return tmp_path


def ten_lines():
    code = re.search(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    return code


def test_a_new_project_of_ten_lines_has_the_fixture_without_configuration(tmp_path):
    code, out = run_pytest(tmp_path, test_ten=ten_lines())
    assert code == 0, out
    assert "1 passed" in out


def test_a_failing_test_of_it_says_why(tmp_path):
    broken = ten_lines().replace("len(text)", "TABLE[text]").replace("import asyncio", "import asyncio; TABLE = {}")
    code, out = run_pytest(tmp_path, test_ten=broken)
    assert code == 1
    assert "1 failed" in out
    assert "error" not in out.splitlines()[-1], "the error is not told once more at the end of the test"
    section = out.partition("- rerank server -")[2]
    assert "2 rerank requests, 1 token request at http://127.0.0.1:" in section
    assert "1: 429 by the fault rate_limited (any/model, 3 texts)" in section
    assert "2: 400 (any/model, 3 texts)" in section
    assert "raised KeyError for text 0: 'short'" in section
    assert "TABLE[text]" in section, "the line of the author's own function"


def test_the_code_in_the_documentation_runs():
    from sybil import Sybil
    from sybil.parsers.markdown import PythonCodeBlockParser

    examples = list(Sybil(parsers=[PythonCodeBlockParser()]).parse(DOCS).examples())
    assert len(examples) == 2
    for example in examples:
        example.evaluate()


def test_the_example_tests_pass():
    code, out = run_pytest(EXAMPLES, "-W", "error")
    assert code == 0, out
    assert "5 passed" in out


SYNC = "import asyncio\ndef test_it(rerank_server):\n    assert asyncio.run(ask(rerank_server)).results\n"
AUTO = "async def test_it(rerank_server):\n    assert (await ask(rerank_server)).results\n"
MARKED = "import pytest\n@pytest.mark.{}\n" + AUTO
BLOCKING = """
import urllib.request, urllib.error
def test_it(rerank_server):
    try:
        urllib.request.urlopen(rerank_server.url + "/nothing")
    except urllib.error.HTTPError as error:
        assert error.code == 404
        error.close()
"""


@pytest.mark.parametrize(
    ("args", "test"),
    [
        (["-p", "no:asyncio", "-p", "no:anyio", "-p", "no:timeout"], SYNC),
        (["-p", "no:asyncio", "-p", "no:anyio"], BLOCKING),
        (["-o", "asyncio_mode=auto"], AUTO),
        (["-o", "asyncio_mode=strict"], MARKED.format("asyncio")),
        (["-o", "asyncio_mode=strict"], SYNC),
        (["-p", "no:asyncio"], MARKED.format("anyio") + "\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'\n"),
    ],
    ids=["pytest alone", "blocking", "asyncio auto", "asyncio strict", "sync beside asyncio", "anyio"],
)
def test_the_fixture_serves_tests_of_every_kind(project, args, test):
    if "no:asyncio" in args:
        (project / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", "utf-8")
    code, out = run_pytest(project, *args, test_kind=ASK + test)
    assert code == 0, out
    assert "1 passed" in out
    assert "warning" not in out.lower()


def test_an_error_of_the_score_function_fails_a_test_that_swallowed_it(project):
    swallowing = """
import asyncio
def test_it(rerank_server):
    rerank_server.score = lambda query, text: float("nan")
    try:
        asyncio.run(ask(rerank_server))
    except Exception:
        pass
"""
    code, out = run_pytest(project, test_it=ASK + swallowing)
    assert code == 1
    assert "1 passed, 1 error" in out
    assert "returned nan for text 0; a score is a finite number" in out
    code, out = run_pytest(project, test_it=ASK + swallowing + "    rerank_server.errors.clear()\n")
    assert code == 0, out


def test_a_script_that_no_request_met_is_in_the_report(project):
    code, out = run_pytest(
        project,
        test_it="def test_it(rerank_server):\n    rerank_server.script({5: 'reset_before'})\n    assert 0\n",
    )
    assert code == 1
    assert "nothing was asked for: does the service use the url and the key of this server?" in out
    assert "reset_before, planned for rerank request 5 (0 came)" in out


def test_fixtures_of_ones_own_are_reported_too_whatever_their_scope(project):
    own = """
import asyncio, pytest
from rerank_async.testing import rerank_server as make

@pytest.fixture(scope="module")
def shared():
    with make() as server:
        yield server

@pytest.fixture
def service(shared):
    shared.reset()
    return lambda: asyncio.run(ask(shared))

@pytest.fixture
def broken(rerank_server):
    raise LookupError("this fixture fails")

def test_first(service, shared):
    service()
    assert len(shared.requests) == 1

def test_second(service):
    service()
    service()
    assert 0

def test_setup(broken):
    pass
"""
    code, out = run_pytest(project, test_own=ASK + own)
    assert code == 1
    assert "1 failed, 1 passed, 1 error" in out
    assert out.count("- rerank server -") == 2
    assert "2 rerank requests, 2 token requests at" in out, "those of the first test are forgotten"
    assert "0 rerank requests, 0 token requests at" in out


def test_options_come_by_marker_and_the_nearest_wins(project):
    marked = """
import pytest
pytestmark = pytest.mark.rerank_server(models=("one",), project_id="mine")

@pytest.mark.rerank_server(models=("two",))
def test_it(rerank_server):
    assert rerank_server.project_id == "mine"
    assert rerank_server.report().startswith("0 rerank requests")
    import asyncio
    assert asyncio.run(ask(rerank_server, model_id="two")).model_id == "two"

def test_the_other(rerank_server):
    import asyncio
    from rerank_async.errors import ModelNotSupportedError
    with pytest.raises(ModelNotSupportedError, match="Supported: one"):
        asyncio.run(ask(rerank_server, model_id="two"))
"""
    code, out = run_pytest(project, "--strict-markers", test_it=ASK + marked)
    assert code == 0, out
    assert "2 passed" in out


def test_a_wrong_marker_is_told(project):
    wrong = {
        "limit=0": "limit (unless it is a RateLimit) is at least 1, not 0",
        "5": "takes options by name only, such as limit=5, not (5,)",
        "limits=5": "unexpected keyword argument 'limits'",
        "script={2: 'rate_limit'}": "There is no fault 'rate_limit'. Did you mean 'rate_limited'? The faults are:",
    }
    tests = [
        f"@pytest.mark.rerank_server({marker})\ndef test_{number}(rerank_server):\n    pass\n"
        for number, marker in enumerate(wrong)
    ]
    code, out = run_pytest(project, test_it="import pytest\n" + "\n".join(tests))
    assert code == 1
    assert f"{len(wrong)} errors" in out
    assert [words for words in wrong.values() if words not in out] == []


def test_pytest_starts_without_loading_the_package(tmp_path):
    look = """
import sys
def pytest_sessionfinish(session):
    assert session.config.pluginmanager.has_plugin("rerank_async")
    print("LOADED", sorted({"rerank_async", "rerank_async_pytest", "aiohttp", "attr", "attrs", "yarl"} & set(sys.modules)))
"""
    code, out = run_pytest(tmp_path, "--co", "-s", "-p", "no:asyncio", conftest=look, test_none="def test_it(): pass\n")
    assert code == 0, out
    assert "LOADED ['rerank_async_pytest']" in out


def test_the_fixture_and_the_marker_are_listed(tmp_path):
    code, out = run_pytest(tmp_path, "--markers")
    assert code == 0
    assert "@pytest.mark.rerank_server(**options): options of rerank_async.testing.rerank_server" in out
    code, out = run_pytest(tmp_path, "--fixtures")
    assert code == 0
    assert re.search(r"^rerank_server -- .*rerank_async_pytest.py", out, re.MULTILINE)
