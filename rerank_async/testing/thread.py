"""An async context held open in a thread with an event loop of its own, so that sync and async tests can use it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any


class LoopThread:
    """Opens a context in a new thread and closes it there. Used once.

    Args:
        open_context: Makes the context; called in the thread.
        name: What the thread is called.
    """

    def __init__(self, open_context: Callable[[], AbstractAsyncContextManager[Any]], name: str) -> None:
        self._open = open_context
        # A daemon: a context that nobody closes must not hold up the end of the test run.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ready: Future[None] = Future()
        self._ended: Future[None] = Future()
        for future in (self._ready, self._ended):
            future.set_running_or_notify_cancel()  # a cancelled waiter must not cancel it
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._asked = False

    def start(self) -> None:
        """Open the context.

        Raises:
            BaseException: Whatever opening it raised.
        """
        self._thread.start()
        try:
            self._ready.result()
        except BaseException:
            self._ask()
            raise

    async def start_async(self) -> None:
        """As `start`, without holding up the caller's event loop."""
        self._thread.start()
        try:
            await asyncio.wrap_future(self._ready)
        except BaseException:
            self._ask()
            raise

    def stop(self) -> None:
        """Close the context, and wait for the thread."""
        self._ask()
        self._ended.result()
        self._thread.join()

    async def stop_async(self) -> None:
        """As `stop`, without holding up the caller's event loop, unless this is cancelled."""
        self._ask()
        try:
            await asyncio.wrap_future(self._ended)
        finally:
            self._thread.join()

    def _ask(self) -> None:
        self._asked = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
                self._loop.call_soon_threadsafe(self._stop.set)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._serve())
        except BaseException as exc:  # noqa: BLE001 - raised where it was started or stopped
            error = exc
        if not self._ready.done():
            self._ready.set_exception(error or RuntimeError("stopped before it was ready"))
            error = None
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._asked:  # between the start and here
            return
        async with self._open():
            self._ready.set_result(None)
            await self._stop.wait()
