"""Progress of a ranking on a terminal, fed by the client's events."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from rerank_async.values.events import Answered, Event, Queued, Retried, Throttled


class RankProgress:
    """A line on standard error while it is open, if that is a terminal; an observer of one call.

    The bar counts texts that were scored. It vanishes at the end, so that only the results stay.
    """

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._scored: dict[int, int] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[texts]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self._shown,
        )
        self._total = 0
        self._task = self._progress.add_task("connecting", total=None, texts="")

    def say(self, what: str) -> None:
        """What is being done now."""
        self._progress.update(self._task, description=what)

    def __call__(self, event: Event) -> None:
        """Takes an event of the client."""
        if isinstance(event, Queued):
            self._total = event.unique
            requests = "1 request" if event.requests == 1 else f"{event.requests} requests"
            self.say(f"ranking in {requests}")
        elif isinstance(event, Answered) and event.status == 200:
            self._scored[event.batch] = event.inputs
        elif isinstance(event, Throttled):
            self.say(f"held by the rate limit for {event.delay:.1f} s")
        elif isinstance(event, Retried):
            self._scored.pop(event.batch, None)  # an answer that made no sense
            self.say(f"again after {event.reason}")
        done = sum(self._scored.values())
        self._progress.update(self._task, total=self._total or None, completed=done, texts=f"{done}/{self._total}")

    def __enter__(self) -> Self:
        if self._shown:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown:  # else rich before 14.3 ends with an empty line
            self._progress.stop()
