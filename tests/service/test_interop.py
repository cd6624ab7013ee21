"""The bench of other clients, with stand-ins for them: it passes the good, names the bad, and lets nothing stray."""

import json
import subprocess
import sys
from functools import partial

import pytest
from interop import run
from interop.calling import HERE, DriverError, ours, theirs
from interop.run import Place, by_id, row_of
from support.certificates import certificate_files

from rerank_async.server import LexicalScorer


@pytest.fixture
def place(tmp_path):
    (tmp_path / "other").mkdir()
    files, other = certificate_files(tmp_path), certificate_files(tmp_path / "other")
    return Place(files, other.ca, by_id([LexicalScorer()]), by_id([LexicalScorer()]))


async def stand_in(ca_file, calls, *, change=lambda results: results, strayed=(), verify=None):
    """`AsyncRerank` in another client's place; asks nothing that makes it wait."""
    asked = [call for call in calls if call.name != "refused once"]
    report = await ours(ca_file if verify is None else verify, asked)
    for answer in report["answers"].values():
        if "results" in answer:
            answer["results"] = change(answer["results"])
    report["answers"] |= {call.name: {"error": "Skipped"} for call in calls if call not in asked}
    return report | {"strayed": list(strayed)}


async def test_a_good_client_has_no_fault_and_its_habits_are_told(place):
    row = await row_of("good", stand_in, place, None)
    assert row.faults == []
    assert (row.good, row.compared, row.largest) == (4, 4, 0.0)
    assert row.habits["unsorted"] == "sorted"
    assert row.habits["too many"].endswith(" x 200: answered"), "an idle client cuts as fine as it likes"
    assert row.habits["unknown authority"] == "refused, sent nothing"


async def test_another_order_and_another_score_are_faults_of_every_ranking(place):
    swapped = partial(stand_in, change=lambda results: [results[1], results[0], *results[2:]])
    row = await row_of("bad", swapped, place, None)
    assert (row.good, len(row.faults)) == (0, 4)
    assert "place 1 is text" in row.faults[0]
    higher = partial(stand_in, change=lambda results: [[index, score + 1e-5] for index, score in results])
    row = await row_of("bad", higher, place, None)
    assert (row.good, len(row.faults)) == (0, 4)
    assert "differs from the scorer's own by 1e-05" in row.faults[0]


async def test_a_client_that_checks_no_certificate_is_found_out(place):
    row = await row_of("bad", partial(stand_in, verify=False), place, None)
    assert row.faults == ["it trusted a server whose authority is not in the CA file that it was given"]
    assert row.habits["unknown authority"] == "went on unchecked, sent the key and the texts"


async def test_a_client_that_reaches_for_another_host_is_found_out(place):
    row = await row_of("bad", partial(stand_in, strayed=["elsewhere.example"]), place, None)
    assert row.faults == ["it reached for elsewhere.example"]


async def test_a_client_without_its_environment_is_a_fault_that_says_what_to_do(place, tmp_path):
    row = await row_of("ibm", partial(theirs, tmp_path / "python", "drive_ibm.py"), place, {})
    assert "`make interop` makes that environment" in row.faults[0]
    assert row.good == 0


async def test_a_driver_that_fails_is_quoted():
    # This environment has none of the clients.
    with pytest.raises(DriverError, match=r"drive_nothing\.py ended with 2"):
        await theirs(sys.executable, "drive_nothing.py", None, [])


def test_any_fault_makes_the_run_fail_and_is_told(monkeypatch, capsys, tmp_path):
    async def rows(_):
        return [run.Row("rerank_async 1", good=1, compared=1), run.Row("other 2", faults=["q: place 1 is text 4"])]

    monkeypatch.setattr(run, "rows", rows)
    assert run.main([str(tmp_path)]) == 1
    assert "interop: other 2: q: place 1 is text 4" in capsys.readouterr().err


DRIVER = """
import socket
from driving import drive

def ranker(ca_file):
    print("a client prints what it likes")
    def rank(call):
        TRY
        return [(0, 1.0)]
    return rank

drive([], ranker)
"""


@pytest.mark.parametrize(
    ("tried", "strayed"),
    [
        ("socket.getaddrinfo('elsewhere.invalid', 443)", ["elsewhere.invalid"]),
        ("socket.create_connection(('192.0.2.1', 443), 1)", ["192.0.2.1"]),
        ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 53))", ["192.0.2.1"]),
        ("socket.getaddrinfo('127.0.0.1', 443)", []),
    ],
    ids=["name", "address", "datagram", "loopback"],
)
def test_a_driver_is_kept_on_this_machine_and_its_report_is_all_it_prints(tried, strayed):
    task = json.dumps({"ca_file": None, "calls": [{"name": "one"}]})
    command = [sys.executable, "-c", DRIVER.replace("TRY", tried)]
    done = subprocess.run(command, input=task, capture_output=True, text=True, check=True, cwd=HERE)
    report = json.loads(done.stdout)
    assert set(strayed) == set(report["strayed"])
    assert ("error" in report["answers"]["one"]) is bool(strayed)
    assert "a client prints what it likes" in done.stderr
