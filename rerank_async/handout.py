"""What `RerankStream` and `RerankMany` have in common: `async with`, `async for`, `aclose`, and tasks that end with it.

Objects rather than async generators: ``break`` does not close a generator, and a yield inside a task group or a timeout
misplaces cancellation (PEP 789).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from rerank_async.errors import ClientStateError

T = TypeVar("T")


class Handout(ABC, Generic[T]):
    """Hands out what its tasks bring in, one item at a time, to one task at a time.

    Attributes:
        _maker: What makes a new one, for messages.
    """

    _maker: str

    def __init__(self) -> None:
        self._entered = False
        self._closed = False
        self._exhausted = False
        self._waiter: asyncio.Future[None] | None = None

    async def aclose(self) -> None:
        """Ends it: what is under way is cancelled and awaited, what was not handed out is dropped. Harmless when repeated.

        May be called from any task. It ends in full even if its own caller is cancelled meanwhile.
        """
        tasks = tuple(self._tasks())
        if not self._closed:  # once: a second cancellation would break into what the first one lets end in order
            self._closed = True
            self._wake()
            for task in tasks:
                task.cancel()  # of one that has failed: nobody need ask for its error any more
        self._drop()
        current = asyncio.current_task()  # a producer that closes its own run does not wait for itself
        await ended(task for task in tasks if task is not current)

    async def __aenter__(self) -> Self:
        if self._closed or self._entered:
            raise ClientStateError(
                f"this object was {'closed' if self._closed else 'entered'} before; make a new one with {self._maker}"
            )
        self._begin()
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        self._check_usable()
        if self._exhausted:
            raise ClientStateError(f"this object was iterated to its end before; make a new one with {self._maker}")
        return self

    async def __anext__(self) -> T:
        self._check_usable()
        if self._waiter is not None:
            raise ClientStateError("another task waits for the next item already; iterate in one task")
        while not self._exhausted:
            item = self._take()
            if item is not None:
                return item
            if self._finished():
                self._exhausted = True
                error = self._failure()
                if error is not None:
                    raise error
                break
            await self._changed()
            if self._closed:
                raise ClientStateError("this object was closed while it was iterated")
        raise StopAsyncIteration

    def _check_usable(self) -> None:
        if self._closed:
            raise ClientStateError(f"this object was closed; make a new one with {self._maker}")
        if not self._entered:
            raise ClientStateError(f"this object was not entered; use `async with {self._maker} as ...`")

    async def _changed(self) -> None:
        """Waits until something was brought in, or everything has ended."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @abstractmethod
    def _begin(self) -> None:
        """Starts the tasks."""

    @abstractmethod
    def _take(self) -> T | None:
        """The next item, if there is one now."""

    @abstractmethod
    def _finished(self) -> bool:
        """Whether no item will come any more."""

    @abstractmethod
    def _failure(self) -> BaseException | None:
        """The error to raise at the end."""

    @abstractmethod
    def _tasks(self) -> Iterable[asyncio.Task[Any]]:
        """The tasks; those that have ended may be among them."""

    @abstractmethod
    def _drop(self) -> None:
        """Forgets what was not handed out."""


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Waits until the tasks have ended in whatever way; a cancellation of the caller is raised only then."""
    waiting = {task for task in tasks if not task.done()}
    cancelled: asyncio.CancelledError | None = None
    while waiting:
        try:
            _, waiting = await asyncio.wait(waiting)
        except asyncio.CancelledError as exc:
            cancelled = exc
            waiting = {task for task in waiting if not task.done()}
    if cancelled is not None:
        raise cancelled
