"""Clients that we did not write, unpatched, against the local server: their rankings must be those of `AsyncRerank`.

Usage: ``python -m interop.run FOLDER``, where FOLDER holds a virtual environment for each client; `make interop` does
all of it. Ends with 1 and says what differed, if anything did.
"""

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import attrs
from interop.calling import DriverError, ours, theirs
from interop.comparing import TOLERANCE, compare, ranked
from interop.habits import QUESTIONS, habits_of
from interop.scenes import scenes
from support.certificates import Files, certificate_files

from rerank_async.server import LexicalScorer, MiniLMScorer, Scorer

CLIENTS = ("ibm", "langchain", "litellm")


@attrs.frozen
class Place:
    """What the servers are made of; the judges are scorers of the same models that share nothing with the served."""

    files: Files
    other_ca: str
    scorers: dict[str, Scorer]
    judges: dict[str, Scorer]


@attrs.define
class Row:
    """What is reported of one client; `orders` has the indices of each ranking, as the client gave them."""

    title: str
    beside: str = ""
    good: int = 0
    compared: int = 0
    largest: float = 0.0
    faults: list[str] = attrs.Factory(list)
    orders: dict[str, list[int]] = attrs.Factory(dict)
    habits: dict[str, str] = attrs.Factory(dict)


async def row_of(name, answering, place, orders):
    """Let one client do everything.

    Args:
        name: Its short name.
        answering: Answers calls, given a CA file or None.
        place: What the servers are made of.
        orders: Indices, best first, by the name of a ranking; None: the scorer's own.
    """
    async with AsyncExitStack() as stack:
        scene = await scenes(stack, name, place.scorers, place.files)
        # Processes of their own: what a client was told of an authority, it may remember. One after the other: the
        # first compiles what the client imports, for the others too.
        asked = {place.files.ca: [*scene.rankings, *scene.habits], None: [scene.untold], place.other_ca: [scene.misled]}
        try:
            reports = [await answering(ca_file, calls) for ca_file, calls in asked.items()]
        except DriverError as exc:
            return Row(name, faults=[str(exc)])
        versions = [f"{distribution} {version}" for distribution, version in reports[0]["versions"].items()]
        row = Row(versions[0], beside=", ".join(versions[1:]))
        strayed = {host for report in reports for host in report["strayed"]}
        row.faults += [f"it reached for {host}" for host in sorted(strayed)]
        if not scene.servers["honest"].counts.tokens:
            row.faults.append("it never exchanged its API key for a token")
        if scene.servers["wrong authority"].counts.token_requests:
            row.faults.append("it trusted a server whose authority is not in the CA file that it was given")
        answers = {name: answer for report in reports for name, answer in report["answers"].items()}
        for call in scene.rankings:
            judge(row, call, answers[call.name], place.judges[call.model_id], orders)
        row.habits = habits_of(answers, scene.servers)
        return row


def judge(row, call, answer, scorer, orders):
    """Compare one ranking, and write down what came of it."""
    row.compared += 1
    if "error" in answer:
        row.faults.append(f"{call.name}: {answer['error']}")
        return
    scores = scorer.score_now(call.query, call.texts).scores
    order = [index for index, _ in ranked(scores, call.top_n)] if orders is None else orders[call.name]
    found = compare(answer["results"], order, scores)
    row.largest = max(row.largest, found.largest)
    row.orders[call.name] = [index for index, _ in answer["results"]]
    if found.fault is None:
        row.good += 1
    else:
        row.faults.append(f"{call.name}: {found.fault}")


async def rows(folder):
    """Give the row of every client; our own is the first, and the others are held against it."""
    with tempfile.TemporaryDirectory() as room:
        (Path(room) / "other").mkdir()
        files, other = certificate_files(Path(room)), certificate_files(Path(room) / "other")
        served, judges = ((LexicalScorer(), MiniLMScorer.load()) for _ in range(2))
        place = Place(files, other.ca, by_id(served), by_id(judges))
        try:
            found = [await row_of("rerank_async", ours, place, None)]
            for name in CLIENTS if not found[0].faults else ():
                answering = partial(theirs, folder / name / "bin" / "python", f"drive_{name}.py")
                found.append(await row_of(name, answering, place, found[0].orders))
            return found
        finally:
            for scorer in (*served, *judges):
                await scorer.close()


def by_id(scorers):
    """Give scorers by the id of their model."""
    return {scorer.model_id: scorer for scorer in scorers}


def page(found):
    """Give the tables as text."""
    lines = ["", f"Rankings in the order of AsyncRerank, scores within {TOLERANCE:g} of the scorer's own:", ""]
    for row in found:
        beside = f"  (with {row.beside})" if row.beside else ""
        lines.append(f"  {row.title:<24}{row.good} of {row.compared}, scores off by {row.largest:.1g}{beside}")
    lines += ["", "What else they do, which is reported and not judged:"]
    for situation, question in QUESTIONS.items():
        lines += ["", f"  {question}"]
        lines += [f"    {row.title:<22}{row.habits.get(situation, 'not seen')}" for row in found]
    lines += [""]
    return "\n".join(lines) + "\n"


def main(arguments):
    """Run everything; gives the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m interop.run FOLDER\n")
        return 2
    folder = Path(arguments[0]).resolve()
    found = asyncio.run(rows(folder))
    sys.stdout.write(page(found))
    faults = [f"{row.title}: {fault}" for row in found for fault in row.faults]
    for fault in faults:
        sys.stderr.write(f"interop: {fault}\n")
    if not faults:
        sys.stdout.write(f"interop: {len(found) - 1} clients rank as AsyncRerank does\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
