"""A few threads that work for many requests in turn, share what two requests ask, and end when there is no work."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, TypeVar

import attrs

from rerank_async.server.turns import Turns

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@attrs.define(eq=False)
class _Lane:
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]
    results: dict[Any, Any] = attrs.Factory(dict)

    def end(self, error: BaseException | None) -> None:
        # The loop may be gone, when a program ends with work in flight; then nobody waits for the answer.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle, error)

    def _settle(self, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)


class FairPool:
    """Runs small blocking calls in threads, round robin between the callers of `run`.

    A thread lives only while there is work, so that a pool that nobody closes leaves nothing behind. It may serve
    several event loops.

    Args:
        threads: The most threads at once.
        name: What the threads are called.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._most: Final = threads
        self._name: Final = name
        self._lock = threading.Lock()
        self._turns: Turns[_Lane, Any] = Turns()
        self._calls: dict[Any, Callable[[], Any]] = {}
        self._threads: set[threading.Thread] = set()
        self._closed = False

    async def run(self, work: Mapping[K, Callable[[], T]]) -> dict[K, T]:
        """Work all of this out.

        A key that another caller is waiting for is not worked out twice: it has to mean the same call.
        When the awaiting task is cancelled, what nobody else wants is not begun.

        Args:
            work: Calls by key. Each holds up the others of its thread, so it should take milliseconds.

        Returns:
            Results by key.

        Raises:
            RuntimeError: The pool is closed.
            BaseException: Whatever the first call that failed raised.
        """
        if not work:
            return {}
        loop = asyncio.get_running_loop()
        lane = _Lane(loop, loop.create_future())
        self._enter(lane, work)
        try:
            await lane.future
        finally:
            self._leave(lane)
        return lane.results

    async def close(self) -> None:
        """Refuse and fail all work, and wait for the calls that are being worked out."""
        with self._lock:
            self._closed = True
            left = list(self._threads)
            lanes = self._turns.lanes()
        for lane in lanes:
            self._leave(lane)
            lane.end(RuntimeError("the scorer was closed"))
        for thread in left:
            await asyncio.to_thread(thread.join)

    def _enter(self, lane: _Lane, work: Mapping[K, Callable[[], T]]) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError("the scorer was closed")
            for key, call in work.items():
                self._calls.setdefault(key, call)
            self._turns.add(lane, work)
            fresh = [
                threading.Thread(target=self._serve, name=self._name)
                for _ in range(min(len(work), self._most - len(self._threads)))
            ]
            self._threads.update(fresh)
        for thread in fresh:
            thread.start()

    def _leave(self, lane: _Lane) -> None:
        with self._lock:
            for key in self._turns.drop(lane):
                del self._calls[key]

    def _serve(self) -> None:
        while (key := self._next()) is not None:
            result, error = None, None
            try:
                result = self._calls[key]()
            except BaseException as exc:  # noqa: BLE001 - raised where the work was asked for
                error = exc
            self._finish(key, result, error)

    def _next(self) -> Any:
        with self._lock:
            key = self._turns.take()
            if key is None:
                self._threads.discard(threading.current_thread())
            return key

    def _finish(self, key: Hashable, result: object, error: BaseException | None) -> None:
        ended: list[_Lane] = []
        with self._lock:
            del self._calls[key]
            for lane, complete in self._turns.done(key):
                lane.results[key] = result
                if error is not None:
                    for freed in self._turns.drop(lane):
                        del self._calls[freed]
                if complete or error is not None:
                    ended.append(lane)
        for lane in ended:
            lane.end(error)
