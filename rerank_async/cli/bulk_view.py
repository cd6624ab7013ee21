"""What a person sees of a bulk job: a live view on a terminal, else a plain line now and then."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rerank_async.bulk.errors import BadItemError
from rerank_async.bulk.events import BulkEvent, Outage, OutageOver, QueryDone, Started
from rerank_async.cli.exits import note
from rerank_async.cli.wording import for_commands
from rerank_async.values.events import Answered, Event, Failed, Merged, Queued, Retried, Sent, Throttled

if TYPE_CHECKING:
    from rerank_async.client import AsyncRerank

PLAIN_EVERY = 30.0
"""Seconds between two plain lines."""
_WINDOW = 60.0  # seconds that rates are taken over
_STEP = 1.0  # seconds between two points of that window
_PER_SECOND = 4  # pictures of the live view
_UNSEEN = frozenset({Answered, Failed, Merged, Queued})
_FAILURES_TOLD = 10  # failures that are told one by one, where a file lists them all


class BulkView:
    """An observer of a job, on standard error."""

    def __init__(self, *, tell_all: bool = False) -> None:
        """Shows nothing yet.

        Args:
            tell_all: Whether every failure is told, because nothing else lists them.
        """
        self._failures_told = math.inf if tell_all else _FAILURES_TOLD
        self._phase = "reading the source"
        self._total: int | None = None
        self._before = self._done = self._failed = 0
        self._inputs = self._tokens = self._requests = self._retries = self._throttled = 0
        self._points: deque[tuple[float, int, int, int]] = deque()
        self._told_at = time.monotonic()
        self._client: AsyncRerank | None = None
        live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._live = (
            Live(
                get_renderable=self._picture,
                console=Console(stderr=True),
                refresh_per_second=_PER_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            if live
            else None
        )

    def watch(self, client: AsyncRerank) -> None:
        """The client whose limit is shown."""
        self._client = client
        self.say("reading the source")

    def say(self, what: str) -> None:
        """What is being done now."""
        self._phase = what

    @property
    def began(self) -> bool:
        """Whether the job had begun: before, there is nothing to sum up."""
        return bool(self._points)

    def __call__(self, event: BulkEvent | Event) -> None:
        """Takes an event of the job or of its client."""
        kind = type(event)
        if kind in _UNSEEN:
            return
        if kind is Sent:
            self._requests += 1
        elif isinstance(event, QueryDone):
            self._finished(event)
        elif kind is Retried:
            self._retries += 1
            self._tell_now_and_then(time.monotonic())
        elif kind is Throttled:
            self._throttled += 1
            self._tell_now_and_then(time.monotonic())
        elif isinstance(event, Started):
            self._started(event)
        elif isinstance(event, Outage):
            left = event.most - event.seconds
            self._tell(f"the service does not answer; waiting for {length(left)} at most ({event.error})")
            self.say("waiting for the service")
        elif isinstance(event, OutageOver):
            self._tell(f"the service answers again, after {length(event.seconds)}")
            self.say("ranking")

    def stop(self) -> None:
        """Takes the live view off the terminal. Harmless when repeated."""
        if self._live is not None:
            self._live.stop()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _started(self, event: Started) -> None:
        self._total = event.queries
        self._before = event.done + event.failed
        self._done, self._failed = event.done, event.failed
        if event.repaired:
            self._tell(f"cut off {event.repaired} bytes of a line that was not finished")
        if event.index_seconds:
            self._tell(f"built the index of the corpus in {length(event.index_seconds)}")
        self.say("ranking")
        self._told_at = time.monotonic()
        self._points.append((self._told_at, self._before, 0, self._requests))

    def _finished(self, event: QueryDone) -> None:
        if event.response is None:
            self._failed += 1
            if self._failed <= self._failures_told:
                self._tell(f"failed: {_failure(event)}")
        else:
            self._done += 1
            self._inputs += event.inputs
            self._tokens += event.response.input_token_count or 0
        now = time.monotonic()
        if now - self._points[-1][0] >= _STEP:
            self._points.append((now, self._done + self._failed, self._inputs, self._requests))
            while now - self._points[0][0] > _WINDOW and len(self._points) > 2:
                self._points.popleft()
        self._tell_now_and_then(now)

    def _tell_now_and_then(self, now: float) -> None:
        if self._live is None and self._points and now - self._told_at >= PLAIN_EVERY:
            self._told_at = now
            note(self._line())

    def _tell(self, sentence: str) -> None:
        if self._live is None:
            note(sentence)
        else:
            self._live.console.print(Text(f"rerank-async: {' '.join(sentence.split())}"))

    def _speeds(self) -> tuple[float, float, float]:
        """Queries, inputs and requests per second."""
        if not self._points:
            return 0.0, 0.0, 0.0
        at, queries, inputs, requests = self._points[0]
        seconds = max(time.monotonic() - at, 1e-3)
        return (
            (self._done + self._failed - queries) / seconds,
            (self._inputs - inputs) / seconds,
            (self._requests - requests) / seconds,
        )

    def _figures(self) -> list[str]:
        queries, inputs, requests = self._speeds()
        rate = math.inf if self._client is None else self._client.limit_status.requests_per_second
        figures = [f"{queries:.1f} queries/s", f"{inputs:.0f} inputs/s"]
        if rate < math.inf:
            figures.append(f"{requests / rate:.0%} of the limit ({rate:g}/s)")
        if self._total is not None and queries > 0:
            figures.append(f"{length((self._total - self._done - self._failed) / queries)} left")
        figures.append(f"{self._retries} retries, {self._throttled} times 429, {self._failed} failed")
        figures.append(f"{self._tokens} tokens")
        return figures

    def _line(self) -> str:
        of = "" if self._total is None else f"/{self._total}"
        return f"{self._phase}: {self._done + self._failed}{of} queries; " + "; ".join(self._figures())

    def _picture(self) -> Table:
        done = self._done + self._failed
        table = Table.grid(padding=(0, 1))
        top = Table.grid(padding=(0, 1))
        of = "" if self._total is None else f"/{self._total}"
        top.add_row(Text(self._phase), ProgressBar(total=self._total, completed=done, width=40), Text(f"{done}{of}"))
        table.add_row(top)
        if self._points:
            table.add_row(Text("; ".join(self._figures())))
        return table


def _failure(event: QueryDone) -> str:
    """Which query failed, and why."""
    error = for_commands(str(event.error))
    if isinstance(event.error, BadItemError):  # it names file and line
        return error if event.id is None else f"query {event.id!r}: {error}"
    return f"query {event.id!r} (line {event.line}): {error}"


def length(seconds: float) -> str:
    """A length of time in words."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
