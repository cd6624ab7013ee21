"""`RerankMany`: many calls side by side, with bounded memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Generator, Iterable
from functools import partial
from typing import Any, Final

from rerank_async.errors import ClientStateError, InvalidArgumentError, InvalidTypeError
from rerank_async.handout import Handout
from rerank_async.values.checks import integer
from rerank_async.values.requests import RerankOutcome, RerankRequest
from rerank_async.values.response import RerankResponse

Run = Callable[[RerankRequest], Coroutine[Any, Any, RerankResponse]]
Requests = Iterable[RerankRequest] | AsyncIterable[RerankRequest]

_END: Final = object()


class _Slot:
    """The place of one request, from when it is asked for until its outcome is taken."""

    __slots__ = ("outcome", "request")

    def __init__(self, request: RerankRequest) -> None:
        self.request = request
        self.outcome: RerankOutcome | None = None


class RerankMany(Handout[RerankOutcome]):
    """Many calls under way, made by ``AsyncRerank.generate_many``; to be used with ``async with``.

    Iterating it gives one `RerankOutcome` for each request. A request holds one of the ``max_in_flight`` places from
    the moment it is asked for until its outcome is taken, so a consumer that stops reading stops the producer too, and
    memory is bounded however many requests there are.

    The run ends early in three ways: the producer raises, it yields something that is no `RerankRequest`, or the client
    is closed. No further request is asked for; the requests before it are finished and their outcomes handed out; then
    the error is raised: the producer's own, an `InvalidTypeError` that names the position, or a `ClientClosedError`.

    Leaving the ``async with`` cancels what is still under way, and the generator that was handed in is closed.
    """

    _maker = "client.generate_many(...)"

    def __init__(
        self, run: Run, requests: Requests, check: Callable[[], object], *, ordered: bool, max_in_flight: int
    ) -> None:
        """For use by ``AsyncRerank`` alone.

        Args:
            run: Makes one call.
            requests: What to run.
            check: Raises if no call can be made now.
            ordered: Whether outcomes come in the order of the requests.
            max_in_flight: Places.

        Raises:
            InvalidArgumentError: An argument is wrong.
        """
        super().__init__()
        if not isinstance(requests, AsyncIterable | Iterable):
            raise InvalidTypeError(
                f"requests must be an iterable or async iterable of RerankRequest, not {type(requests).__name__}",
                argument="requests",
            )
        if not isinstance(ordered, bool):
            raise InvalidTypeError(f"ordered must be True or False, not {type(ordered).__name__}", argument="ordered")
        if integer(max_in_flight, "max_in_flight") < 1:
            raise InvalidArgumentError(
                f"max_in_flight must be at least 1, not {max_in_flight}", argument="max_in_flight"
            )
        self._run = run
        self._requests: Requests = requests
        self._check = check
        self._places = max_in_flight
        self._held = 0
        self._line: deque[_Slot] | None = deque() if ordered else None
        self._ready: deque[RerankOutcome] = deque()
        self._calls: set[asyncio.Task[RerankResponse]] = set()
        self._feeder: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._stopped: BaseException | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self._calls)} calls under way, {self._held} of {self._places} places>"

    async def aclose(self) -> None:
        """Ends it: what is under way is cancelled and awaited, what was not handed out is dropped. Harmless when repeated.

        May be called from any task. It ends in full even if its own caller is cancelled meanwhile.

        Raises:
            Exception: The producer's own, if it raised while it was ended.
        """
        feeding = None if self._feeder is None or self._feeder.done() or self._closed else self._feeder
        await super().aclose()
        if feeding is not None and feeding.done() and not feeding.cancelled():
            error = feeding.exception()
            if error is not None:
                raise error

    def _begin(self) -> None:
        self._check()
        source = _Source(self._requests)
        self._requests = ()
        self._feeder = asyncio.get_running_loop().create_task(self._feed(source), name="rerank_async requests")
        self._feeder.add_done_callback(lambda _: self._wake())

    async def _feed(self, source: _Source) -> None:
        """Asks for one request after the other, as there is room for them."""
        index = 0
        try:
            while await self._feed_one(source, index):
                index += 1
        finally:
            await source.close()

    async def _feed_one(self, source: _Source, index: int) -> bool:
        """Asks for the next request and starts it; returns whether there was one."""
        while self._held >= self._places:
            self._room = asyncio.get_running_loop().create_future()
            try:
                await self._room
            finally:
                self._room = None
        request = await source.next()
        if request is _END or self._closed or self._stopped is not None:  # a producer can ignore that it is cancelled
            return False
        if not isinstance(request, RerankRequest):
            raise InvalidTypeError(
                f"requests[{index}] must be a RerankRequest, not {type(request).__name__}",
                argument="requests",
                index=index,
            )
        self._start(request)
        return True

    def _start(self, request: RerankRequest) -> None:
        self._held += 1
        slot = _Slot(request)
        if self._line is not None:
            self._line.append(slot)
        call = asyncio.get_running_loop().create_task(self._run(request), name="rerank_async request")
        self._calls.add(call)
        call.add_done_callback(partial(self._landed, slot))

    def _landed(self, slot: _Slot, call: asyncio.Task[RerankResponse]) -> None:
        self._calls.discard(call)
        error = ClientStateError("this request's task was cancelled") if call.cancelled() else call.exception()
        if self._closed:
            return
        if error is None or isinstance(error, Exception):
            slot.outcome = RerankOutcome(slot.request, call.result() if error is None else None, error)
            if self._line is None:
                self._ready.append(slot.outcome)
        fatal = isinstance(error, ClientStateError) and not call.cancelled() and not self._is_usable()
        if self._feeder is not None and self._stopped is None and (fatal or slot.outcome is None):
            self._stopped = error
            self._feeder.cancel()
        self._wake()

    def _is_usable(self) -> bool:
        """Whether calls can be made: an error of this kind may come from the request's own inputs."""
        try:
            self._check()
        except ClientStateError:
            return False
        return True

    def _take(self) -> RerankOutcome | None:
        outcome: RerankOutcome | None = None
        if self._line is None:
            outcome = self._ready.popleft() if self._ready else None
        elif self._line and self._line[0].outcome is not None:
            outcome = self._line.popleft().outcome
        if outcome is not None:
            self._held -= 1
            if self._room is not None and not self._room.done():
                self._room.set_result(None)
        return outcome

    def _finished(self) -> bool:
        if self._stopped is not None and not isinstance(self._stopped, Exception):
            return True  # pytest's Exit and its like: no outcome holds them, and nothing comes after them
        return self._feeder is not None and self._feeder.done() and not self._held

    def _failure(self) -> BaseException | None:
        if self._stopped is not None or self._feeder is None:
            return self._stopped
        if self._feeder.cancelled():
            return ClientStateError("the task that asks for requests was cancelled: by the producer, or from outside")
        return self._feeder.exception()

    def _tasks(self) -> Iterable[asyncio.Task[Any]]:
        return (*self._calls, *(() if self._feeder is None else (self._feeder,)))

    def _drop(self) -> None:
        self._requests = ()
        self._ready.clear()
        if self._line is not None:
            self._line.clear()


class _Source:
    """Reads an iterable of either kind, and closes it if it is a generator."""

    def __init__(self, requests: Requests) -> None:
        self._later = aiter(requests) if isinstance(requests, AsyncIterable) else None
        self._now = None if isinstance(requests, AsyncIterable) else iter(requests)

    async def next(self) -> object:
        """The next item, or _END."""
        await asyncio.sleep(0)  # what was started gets a turn between two items
        if self._now is not None:
            try:
                return next(self._now, _END)
            except StopAsyncIteration as exc:  # as Python does: raised on, it would look like the end
                raise RuntimeError("the producer of requests raised StopAsyncIteration") from exc
        assert self._later is not None  # noqa: S101 - one of the two
        try:
            return await anext(self._later)
        except StopAsyncIteration:
            return _END

    async def close(self) -> None:
        """Closes a generator, in the task that read it."""
        if isinstance(self._now, Generator):
            self._now.close()
        if isinstance(self._later, AsyncGenerator):
            await self._later.aclose()
