"""Runs scenarios against the benchmarks' server: doors, clients, workers, and the command line of each part."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import attrs
from door import KINDS, Arrival, score
from report import Figure, table

from rerank_async import AsyncRerank, Credentials, RerankResponse

RUNS = 5
QUERY = "how do I run a coroutine with a timeout"


@attrs.define
class Door:
    """A door of the server that runs beside us.

    Attributes:
        url: Where a client goes.
    """

    url: str
    _port: int
    _control: Callable[..., Awaitable[Any]]

    async def change(self, **settings: Any) -> float:
        """Sets some of `door.Settings` anew; gives the moment, on the machine's monotonic clock."""
        return float(await self._control("change", port=self._port, **settings))

    async def shut(self, seconds: float) -> float:
        """Refuses connections from now on for a while; gives the moment."""
        return float(await self._control("shut", port=self._port, seconds=seconds))

    async def log(self) -> list[Arrival]:
        """Who came, in order."""
        return [Arrival(*row) for row in await self._control("log", port=self._port)]


@attrs.define
class Place:
    """Where a scenario runs.

    Attributes:
        kind: The kind of limit that its doors have.
        quick: Whether to take the short form.
        session: For raw requests; it never queues.
        run: The number of the run, from 0: a seed.
    """

    kind: str
    quick: bool
    session: aiohttp.ClientSession
    run: int
    control_url: str

    async def open(self, **settings: Any) -> Door:
        """A new door; see `door.Settings`."""
        settings = {"kind": self.kind, "seed": self.run + 1, **settings}
        port = await self._control("open", **settings)
        scheme = "https" if settings.get("certificate") else "http"
        return Door(f"{scheme}://127.0.0.1:{port}", port, self._control)

    async def _control(self, command: str, **given: Any) -> Any:
        async with self.session.post(f"{self.control_url}/{command}", data=json.dumps(given)) as said:
            return await said.json()


@attrs.frozen
class Scenario:
    """Something to measure.

    Attributes:
        point: Where its figures belong.
        what: What it is, in few words.
        run: Measures it.
    """

    point: str
    what: str
    run: Callable[[Place], Awaitable[list[Figure]]]


Group = Sequence[Scenario]
"""Scenarios that run side by side: they load the machine little, and time is all they need."""


def scenario(point: str, what: str) -> Callable[[Callable[[Place], Awaitable[list[Figure]]]], Scenario]:
    """Makes a scenario of a function."""
    return partial(Scenario, point, what)


@contextlib.contextmanager
def bench_server() -> Iterator[str]:
    """Starts the server in a process of its own; gives the URL of its control port."""
    command = [sys.executable, str(Path(__file__).with_name("server.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def client(url: str, **options: Any) -> AsyncRerank:
    """Our client at a door, with a token in hand: no token is fetched."""
    return AsyncRerank("canned", credentials=Credentials(url, token="made-up"), project_id="p", **options)


def passages(count: int, length: int = 200, tag: str = "") -> list[str]:
    """Texts of this many characters, all different."""
    filling = "some words that a passage of a usual length may have " * (length // 50 + 1)
    return [f"passage {tag}{number}: {filling}"[:length] for number in range(count)]


def is_right(response: RerankResponse, texts: Sequence[str]) -> bool:
    """Whether this is the one ranking of the texts, each with its own score."""
    wanted = sorted(((-score(text), index) for index, text in enumerate(texts)))
    return [(-result.score, result.index) for result in response.results] == wanted


async def crowd(
    call: Callable[[int], Awaitable[Any]], calls: int | None, workers: int, until: float = 1e99
) -> Counter[str]:
    """Makes calls by workers, each one after the other.

    Args:
        call: Given its number.
        calls: How many; None: until the time is up.
        workers: How many at a time.
        until: When no more begin, on the monotonic clock.

    Returns:
        The classes of the exceptions that calls ended with, counted.
    """
    failed: Counter[str] = Counter()
    numbers = iter(range(calls if calls is not None else 10**9))

    async def worker() -> None:
        for number in numbers:
            if time.monotonic() >= until:
                return
            try:
                await call(number)
            except Exception as error:  # noqa: BLE001 - a failed call is what is counted
                failed[type(error).__name__] += 1

    await asyncio.gather(*(worker() for _ in range(workers)))
    return failed


def outcomes(log: Sequence[Arrival], start: float = -1e99, stop: float = 1e99) -> Counter[str]:
    """What came of the requests that arrived in a span."""
    return Counter(arrival.outcome for arrival in log if start <= arrival.at < stop)


def used(log: Sequence[Arrival], rate: float, start: float, stop: float) -> float:
    """Which part of the limit was used in a span: requests that passed, to rate times seconds.

    A client may send a second's requests at once, so that a span may hold one bunch more or less: this is the mean over
    spans that begin 0 to 1 s later and are 1 s shorter.
    """
    passed = [arrival.at for arrival in log if arrival.outcome != "limited"]
    span, steps = stop - start - 1, 50
    counts = (sum(start + step / steps <= at < start + step / steps + span for at in passed) for step in range(steps))
    return sum(counts) / steps / span / rate


def most_in(times: Sequence[float], window: float) -> int:
    """The most of these moments, which ascend, that any window of so many seconds holds."""
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - window:
            first += 1
        most = max(most, last - first + 1)
    return most


def place_of(log: Sequence[Arrival], tag: str, since: float) -> int:
    """The place, from 1, of the first request of a query among those that arrived from a moment on; 10**6: it never came."""
    later = [arrival for arrival in log if arrival.at >= since]
    return next((place for place, arrival in enumerate(later, 1) if arrival.tag == tag), 10**6)


@contextlib.asynccontextmanager
async def _place(kind: str, run: int, *, quick: bool) -> AsyncIterator[Place]:
    with bench_server() as control_url:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            yield Place(kind, quick, session, run, control_url)


async def _attempt(chosen: Scenario, place: Place) -> list[Figure]:
    try:
        return await chosen.run(place)
    except Exception as error:  # noqa: BLE001 - one scenario that cannot run must not hide the others
        words = " ".join(f"{type(error).__name__}: {error}".split())[:150]
        return [Figure(point=chosen.point, what=chosen.what, value=float("nan"), context=words)]


async def _run(groups: Sequence[Group], kind: str, run: int, *, quick: bool, only: str) -> list[Figure]:
    figures: list[Figure] = []
    for group in groups:
        chosen = [each for each in group if only in f"{each.point}: {each.what}"]
        if chosen:
            async with _place(kind, run, quick=quick) as place:
                for found in await asyncio.gather(*(_attempt(each, place) for each in chosen)):
                    figures += found
    return figures


def main(limited: Sequence[Group] = (), others: Sequence[Group] = ()) -> None:
    """The command line of a part.

    Args:
        limited: Groups that are run with each kind of limit.
        others: Groups for which the kind does not matter.
    """
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--quick", action="store_true", help="once, with one kind of limit")
    parser.add_argument("--kind", choices=KINDS, help="this kind of limit only; --quick: the first one")
    parser.add_argument("--json", action="store_true", help="figures as JSON, one a line, for run.py")
    parser.add_argument("--only", default="", help="scenarios of which '<point>: <what>' holds this")
    options = parser.parse_args()
    kinds = (options.kind,) if options.kind else KINDS[:1] if options.quick else KINDS
    figures = []
    for run in range(1 if options.quick else RUNS):
        for kind in kinds:
            found = asyncio.run(_run(limited, kind, run, quick=options.quick, only=options.only))
            found = [attrs.evolve(figure, kind=kind) for figure in found]
            if kind == kinds[0]:
                found += asyncio.run(_run(others, kind, run, quick=options.quick, only=options.only))
            figures += found
            for figure in found if options.json else ():
                print(json.dumps(attrs.asdict(figure)), flush=True)
    if not options.json:
        print(table(figures))


def resident() -> float:
    """MB of memory that this process holds."""
    with Path("/proc/self/statm").open(encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
