"""`RerankStream`: one call whose batches are handed out as they land."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from rerank_async.errors import ClientStateError
from rerank_async.handout import Handout
from rerank_async.values.response import BatchFailure, RerankResponse, RerankResult

Results = tuple[RerankResult, ...]
Landed = Callable[[Results], None]
Begin = Callable[[Landed], Coroutine[Any, Any, RerankResponse]]


class RerankStream(Handout[Results]):
    """One call under way, made by ``AsyncRerank.stream``; to be used with ``async with``.

    Iterating it gives one tuple of `RerankResult` for each batch, in the order in which they land: best first inside a
    tuple, each with its index in the caller's ``inputs``; identical texts each have a result of their own. The call
    goes on whether or not anybody reads: what has landed waits here, which is never more than the call's results. An
    error of the call is raised after everything that had landed before it.

    Leaving the ``async with`` ends a call that is still under way.
    """

    _maker = "client.stream(...)"

    def __init__(self, begin: Begin) -> None:
        """For use by ``AsyncRerank`` alone.

        Args:
            begin: Gives the call, which brings its results to the function handed in.
        """
        super().__init__()
        self._begin_call = begin
        self._landed: deque[Results] = deque()
        self._call: asyncio.Task[RerankResponse] | None = None

    async def response(self) -> RerankResponse:
        """Waits for the end of the call, whether or not its batches were read, and gives the whole ranking.

        It is what ``generate`` gives: ``top_n`` holds here. It can be asked for repeatedly, and after the
        ``async with`` too if the call had ended by then.

        Raises:
            RerankError: The error of the call.
            ClientStateError: The stream was not entered, or was closed before the call ended.
        """
        call = self._call
        if call is None:
            raise ClientStateError(f"this object was not entered; use `async with {self._maker} as ...`")
        if not call.done():
            await asyncio.wait([call])  # a caller that is cancelled takes the call from nobody else
        error = self._failure()
        if error is not None:
            raise error
        return call.result()

    @property
    def failures(self) -> tuple[BatchFailure, ...]:
        """Those of the response, once the call has ended; empty before, and if it failed."""
        call = self._call
        if call is None or not call.done() or call.cancelled() or call.exception() is not None:
            return ()
        return call.result().failures

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self._landed)} batches to read>"

    def _begin(self) -> None:
        self._call = asyncio.get_running_loop().create_task(
            self._begin_call(self._bring_in), name="rerank_async stream"
        )
        self._call.add_done_callback(lambda _: self._wake())

    def _bring_in(self, results: Results) -> None:
        self._landed.append(results)
        self._wake()

    def _take(self) -> Results | None:
        return self._landed.popleft() if self._landed else None

    def _finished(self) -> bool:
        return self._call is not None and self._call.done()

    def _failure(self) -> BaseException | None:
        if self._call is None:
            return None
        if self._call.cancelled():
            return ClientStateError(
                "the stream was closed before its call ended" if self._closed else "the stream's call was cancelled"
            )
        return self._call.exception()

    def _tasks(self) -> Iterable[asyncio.Task[Any]]:
        return () if self._call is None else (self._call,)

    def _drop(self) -> None:
        self._landed.clear()
